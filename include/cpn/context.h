/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Who a program is in which network: the master's addresses and public key, and this program's own keys. A context is made once, by
 * joining with a token or by the first start of a master, kept in a file of mode 0600, and then given to clients and workers.
 * Contexts never change after they were made, so any thread may read one. */
#ifndef CPN_CONTEXT_H
#define CPN_CONTEXT_H

#include <cpn/error.h>
#include <cpn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CPN_DETAIL 512 /* bytes of the sentence that explains a failure, with its terminating 0 */
#define CPN_NAME 96    /* bytes of the name of a node, user or model, with its terminating 0 */
#define CPN_LINE 1024  /* bytes of a join line, with its terminating 0 */

struct cpn_context;

/* Read a context file. CPN_ENOTFOUND, CPN_EDENIED (others may read it: it holds secrets), CPN_ECORRUPT, CPN_ESTATE (a join that
 * was begun and not finished: join again with the same line), CPN_EIO; `detail` (CPN_DETAIL bytes, may be NULL) has the sentence.
 * The context is the caller's: cpn_context_free(). */
int cpn_context_load(const char *path, struct cpn_context **out, char *detail);

/* Join a network with a line "cpn://…" that its master printed (cpn-master, cpn token create). Makes the keys, writes them to `path`
 * before they are used, so that a join that was cut off can be repeated with the same line, enrols them, and completes the file.
 * `name` is a wish (NULL: the host name); a name that the token was made with comes first. `role` restricts what the line may be for: CPN_ROLE_NONE takes any.
 * A file that is complete already is loaded and the line is not used. Blocks up to timeout_ms. CPN_EINVAL (the line is damaged),
 * CPN_ETOKEN (unknown, expired or used up), CPN_EUNREACHABLE, CPN_ETIMEDOUT, CPN_EEXISTS, CPN_EDENIED (a line for another role), CPN_EIO. */
int cpn_context_join(const char *line, const char *name, enum cpn_role role, const char *path, int timeout_ms, struct cpn_context **out,
                     char *detail);

void cpn_context_free(struct cpn_context *context); /* NULL is fine; wipes the secrets */

/* What it says; borrowed until cpn_context_free(). */
const char *cpn_context_name(const struct cpn_context *context);
enum cpn_role cpn_context_role(const struct cpn_context *context);
const char *cpn_context_endpoint(const struct cpn_context *context); /* "host:port", comma-separated when there are several */
struct cpn_key cpn_context_key(const struct cpn_context *context);

#ifdef __cplusplus
}
#endif

#endif
