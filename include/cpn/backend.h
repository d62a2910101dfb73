/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The plug-in ABI: what turns a model bundle and an input into labels.
 *
 * A backend NAME is a shared object cpn-backend-NAME.so that exports one object, `const struct cpn_backend
 * cpn_backend_v1`. It needs no symbol of libcpn. Only a runner process loads it: it loads one model, is then
 * confined (no sockets, no new files, no new processes; see `flags`), and answers one input after the other on one
 * thread. A crash or a hang costs that runner and that attempt, never the worker. Declare the object
 * CPN_BACKEND_EXPORT, so that a build with hidden visibility exports it. */
#ifndef CPN_BACKEND_H
#define CPN_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include <cpn/result.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CPN_BACKEND_ABI 1
#define CPN_BACKEND_SYMBOL "cpn_backend_v1"
#define CPN_BACKEND_DETAIL 256 /* bytes of the sentence that explains a failure, with its terminating 0 */

#if defined(__GNUC__)
#define CPN_BACKEND_EXPORT __attribute__((visibility("default")))
#else
#define CPN_BACKEND_EXPORT
#endif

/* One entry of the manifest's `parameters`, as text: "scale_factor" -> "1.1". */
struct cpn_backend_param {
    const char *key;
    const char *value;
};

/* What a model is made of. Borrowed for the time of the call. */
struct cpn_backend_bundle {
    uint32_t size; /* bytes of this struct; newer runners append fields */
    const char *dir; /* the bundle's directory; files named in the parameters lie in it */
    const struct cpn_backend_param *params;
    size_t param_count;
    uint32_t
        threads; /* how many threads the backend may use, at least 1; clone() is refused to a backend that has one */
};

/* One input. Borrowed for the time of the call. */
struct cpn_backend_input {
    uint32_t size; /* bytes of this struct */
    const char *name; /* for messages only: "photo.jpg"; may be "" */
    const void *data;
    size_t data_size;
    uint32_t annotate; /* not 0: an annotated copy of the input is wanted as output */
};

/* Where a result goes. All calls are for the thread that called run(). What does not fit the limits of
 * <cpn/result.h> is refused with a negative CPN_E..., which run() should return. */
struct cpn_backend_sink {
    uint32_t size; /* bytes of this struct */
    void *arg; /* to be passed to each of these */
    int (*label)(void *arg, const struct cpn_label *label);
    int (*output)(void *arg, const void *data, size_t data_size, const char *type); /* appends; type "image/jpeg" */
    void (*image)(void *arg, int32_t width, int32_t height); /* pixels in which the boxes are counted */
    void (*timing)(void *arg, uint64_t decode_us, uint64_t infer_us, uint64_t encode_us);
};

enum cpn_backend_flag {
    CPN_BACKEND_READS = 1, /* run() opens files for reading; without it every open() fails after load() */
};

struct cpn_backend {
    uint32_t abi; /* CPN_BACKEND_ABI */
    uint32_t size; /* bytes of this struct */
    const char *name; /* as in the file's name: "opencv.face" */
    const char *version; /* "4.6.0" */
    uint32_t flags; /* of enum cpn_backend_flag */

    /* Make a model ready to run. 0 and *model, or negative with a sentence in `detail` (CPN_BACKEND_DETAIL bytes):
     * CPN_EMODEL when the bundle is at fault (it is not tried again on this node). Everything that opens files or
     * starts threads belongs here. */
    int (*load)(const struct cpn_backend_bundle *bundle, void **model, char *detail);

    /* Answer one input. 0, or negative with a sentence in `detail`: CPN_EBADINPUT when the input is at fault (final,
     * no other node is tried), CPN_EMODEL when the model is, anything else an internal error. What was sent to the
     * sink before a failure is dropped. */
    int (*run)(void *model, const struct cpn_backend_input *input, const struct cpn_backend_sink *sink, char *detail);

    void (*unload)(void *model);

    /* Optional (NULL): make a bundle in the new, empty directory `out` from the examples in `from`; `progress` is
     * called now and then, done of total. The parameters are options of this backend. Summary or failure, in one
     * sentence, in `detail`. */
    int (*build)(const char *from, const char *out, const struct cpn_backend_param *params, size_t param_count,
        void (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total), void *arg, char *detail);
};

/* The whole program of a runner; what the installed cpn-runner calls and nothing else. Returns the exit status. */
int cpn_runner_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif
