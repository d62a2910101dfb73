/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Error codes. Every fallible function returns 0 (or a count) on success and one of these, all negative, on failure.
 * The sentence that says what exactly was wrong is held by the object that failed (cpn_client_detail() and its like). */
#ifndef CPN_ERROR_H
#define CPN_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, number, text). Numbers go over the wire and into scripts: never renumber, only append. */
#define CPN_ERRORS(X)                                                                                                \
    X(CPN_ENOMEM, -1, "out of memory")                                                                               \
    X(CPN_EINVAL, -2, "invalid argument")                                                                            \
    X(CPN_ETIMEDOUT, -3, "deadline passed")                                                                          \
    X(CPN_ECANCELLED, -4, "cancelled")                                                                               \
    X(CPN_EBUSY, -5, "queue is full, retry later")                                                                   \
    X(CPN_ENOTFOUND, -6, "not found")                                                                                \
    X(CPN_EEXISTS, -7, "exists already")                                                                             \
    X(CPN_EDENIED, -8, "not permitted for this role")                                                                \
    X(CPN_EPROTO, -9, "malformed or unexpected message")                                                             \
    X(CPN_EVERSION, -10, "protocol version not supported")                                                           \
    X(CPN_EIO, -11, "input/output error")                                                                            \
    X(CPN_ENOSPC, -12, "no space left")                                                                              \
    X(CPN_ECORRUPT, -13, "contents do not match their hash or signature")                                            \
    X(CPN_ETOOBIG, -14, "larger than the limit")                                                                     \
    X(CPN_ENOTSUP, -15, "not supported by this build")                                                               \
    X(CPN_ECLOSED, -16, "closed")                                                                                    \
    X(CPN_EUNREACHABLE, -17, "master cannot be reached")                                                             \
    X(CPN_EKEY, -18, "key not enrolled or revoked")                                                                  \
    X(CPN_ETOKEN, -19, "join token unknown, expired or used up")                                                     \
    X(CPN_EBADINPUT, -20, "input cannot be processed")                                                               \
    X(CPN_ECRASHED, -21, "runner crashed")                                                                           \
    X(CPN_EPOISON, -22, "parked after repeated crashes or timeouts")                                                 \
    X(CPN_ENODELOST, -23, "node lost")                                                                               \
    X(CPN_EMODEL, -24, "model cannot be loaded")                                                                     \
    X(CPN_ENONODE, -25, "no node can run this model")                                                                \
    X(CPN_EAGAIN, -26, "try again")                                                                                  \
    X(CPN_EINTR, -27, "interrupted")                                                                                 \
    X(CPN_ECOPIED, -28, "two processes use one identity: data directory copied?")                                    \
    X(CPN_EINTERNAL, -29, "internal error")                                                                          \
    X(CPN_ESTATE, -30, "not possible in this state")                                                                 \
    X(CPN_EDIVERGED, -31, "training diverged: the loss is not a number")                                             \
    X(CPN_EFAILED, -32, "the session failed")

enum cpn_error {
    CPN_OK = 0,
#define CPN_ERROR_ENUM(name, number, text) name = number,
    CPN_ERRORS(CPN_ERROR_ENUM)
#undef CPN_ERROR_ENUM
};

/* The text of an error code, static, never NULL ("unknown error" for other numbers). Any thread. */
const char *cpn_strerror(int error);

/* The symbolic name of an error code ("CPN_EBUSY"), static, never NULL. Any thread. */
const char *cpn_error_name(int error);

#ifdef __cplusplus
}
#endif

#endif
