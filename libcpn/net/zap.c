/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See zap.h. */
#include "zap.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <zmq.h>

#include <cpn/error.h>

#include "base/alloc.h"

#define ENDPOINT "inproc://zeromq.zap.01" /* given by the RFC */
#define SERVICE_BATCH 256                 /* requests answered in one go, so that a flood of clients starves nothing */

enum { VERSION, REQUEST_ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS, REQUEST_FRAMES };

#define FRAME_BYTES 255 /* kept of a frame; only a malformed request is longer */

struct request {
    size_t count; /* frames seen, kept or not */
    struct {
        size_t size; /* as received, also when more than is kept */
        uint8_t data[FRAME_BYTES];
    } frames[REQUEST_FRAMES];
};

struct cpni_zap {
    struct cpni_context *context;
    struct cpni_loop *loop;
    void *socket;
    cpni_zap_admit *admit;
    void *arg;
    struct cpni_zap_counts counts;
};

int cpni_zap_open(struct cpni_context *context, struct cpni_loop *loop, cpni_zap_admit *admit, void *arg,
                  struct cpni_zap **out)
{
    struct cpni_zap *zap = cpni_calloc(1, sizeof *zap);
    if (zap == NULL) {
        return CPN_ENOMEM;
    }
    zap->context = cpni_context_ref(context);
    zap->loop = loop;
    zap->admit = admit;
    zap->arg = arg;
    zap->socket = cpni_context_socket(context, ZMQ_REP);
    int rc = zap->socket != NULL ? 0 : CPN_ENOMEM;
    if (rc == 0 && zmq_bind(zap->socket, ENDPOINT) != 0) {
        rc = errno == EADDRINUSE ? CPN_EEXISTS : CPN_EIO;
    }
    if (rc == 0) {
        rc = cpni_loop_add_socket(loop, zap->socket);
    }
    if (rc != 0) {
        cpni_zap_close(zap);
        return rc;
    }
    *out = zap;
    return 0;
}

void cpni_zap_close(struct cpni_zap *zap)
{
    if (zap == NULL) {
        return;
    }
    if (zap->socket != NULL) {
        cpni_loop_remove_socket(zap->loop, zap->socket);
        zmq_close(zap->socket);
    }
    cpni_context_unref(zap->context);
    cpni_free(zap);
}

static bool recv_request(void *socket, struct request *request)
{
    request->count = 0;
    int more = 1;
    while (more) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&part);
            return false;
        }
        if (request->count < REQUEST_FRAMES) {
            const size_t size = zmq_msg_size(&part);
            request->frames[request->count].size = size;
            memcpy(request->frames[request->count].data, zmq_msg_data(&part), size < FRAME_BYTES ? size : FRAME_BYTES);
        }
        request->count++;
        more = zmq_msg_more(&part);
        zmq_msg_close(&part);
    }
    return true;
}

static bool frame_is(const struct request *request, size_t index, const char *text)
{
    return request->frames[index].size == strlen(text) && memcmp(request->frames[index].data, text, strlen(text)) == 0;
}

static bool well_formed(const struct request *request)
{
    return request->count == REQUEST_FRAMES && frame_is(request, VERSION, "1.0") &&
           request->frames[REQUEST_ID].size <= FRAME_BYTES && frame_is(request, DOMAIN, CPNI_ZAP_DOMAIN) &&
           frame_is(request, MECHANISM, "CURVE") && request->frames[CREDENTIALS].size == sizeof(struct cpn_key);
}

/* A reply that cannot be sent is not sent: the client is not admitted. */
static void reply(void *socket, const struct request *request, const char *status, const char *text, const char *user)
{
    const bool has_id = request->count > REQUEST_ID && request->frames[REQUEST_ID].size <= FRAME_BYTES;
    const struct {
        const void *data;
        size_t size;
    } frames[] = {
        { "1.0", 3 },
        { request->frames[REQUEST_ID].data, has_id ? request->frames[REQUEST_ID].size : 0 },
        { status, strlen(status) },
        { text, strlen(text) },
        { user, strlen(user) },
        { "", 0 }, /* no metadata */
    };
    const size_t count = sizeof frames / sizeof frames[0];
    for (size_t i = 0; i < count; i++) {
        zmq_send(socket, frames[i].data, frames[i].size, ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0));
    }
}

static void answer(struct cpni_zap *zap, const struct request *request)
{
    if (!well_formed(request)) {
        zap->counts.malformed++;
        reply(zap->socket, request, "400", "not a request of this network", "");
        return;
    }
    struct cpn_key key;
    memcpy(key.bytes, request->frames[CREDENTIALS].data, sizeof key.bytes);
    if (!zap->admit(zap->arg, &key)) {
        zap->counts.refused++;
        reply(zap->socket, request, "400", "key not enrolled or revoked", "");
        return;
    }
    char user[CPN_KEY_TEXT]; /* as text: libzmq hands User-Id out as a 0-terminated string */
    zap->counts.admitted++;
    reply(zap->socket, request, "200", "OK", cpn_key_text(&key, user));
}

void cpni_zap_service(struct cpni_zap *zap)
{
    struct request request;
    for (size_t i = 0; i < SERVICE_BATCH && recv_request(zap->socket, &request); i++) {
        answer(zap, &request);
    }
}

struct cpni_zap_counts cpni_zap_counts(const struct cpni_zap *zap)
{
    return zap->counts;
}
