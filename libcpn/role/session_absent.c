/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Outcomes of training in a build that cannot write them (no protobuf-c, onnx.proto or jansson). */
#include "role/session.h"

int cpn_session_history(const struct cpn_session_report *report, enum cpn_history_format format, char **out, size_t *size)
{
    (void)report;
    (void)format;
    (void)out;
    (void)size;
    return CPN_ENOTSUP;
}

int cpn_session_export(struct cpn_client *client, const struct cpn_id *session, const char *path, int timeout_ms)
{
    (void)session;
    (void)timeout_ms;
    return cpni_client_fail(client, CPN_ENOTSUP, "%s cannot be written: this libcpn was built without ONNX", path);
}

int cpn_session_publish(struct cpn_client *client, const struct cpn_id *session, const struct cpn_session_publish_options *options,
                        int timeout_ms, uint32_t *version)
{
    (void)session;
    (void)options;
    (void)timeout_ms;
    (void)version;
    return cpni_client_fail(client, CPN_ENOTSUP, "no bundle can be made: this libcpn was built without ONNX and JSON");
}

int cpni_session_publishable(struct cpn_client *client, const struct cpn_session_publish_options *options, const struct cpni_schema *schema)
{
    (void)options;
    (void)schema;
    return cpni_client_fail(client, CPN_ENOTSUP, "nothing can be published later: this libcpn was built without ONNX and JSON");
}
