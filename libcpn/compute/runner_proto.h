/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a runner and its parent say to each other over a SOCK_SEQPACKET pair: one packet, one fixed struct, and bytes
 * behind it. Both sides are of one build, so the structs are native; the version catches a mixed installation. The
 * parent believes nothing it receives: a runner that decoded a hostile image may say anything.
 *
 * parent: LOAD (plug-in, directory, parameters)   runner: LOADED parent: RUN (input inline or as a descriptor)
 * runner: OUTPUT..., DONE (labels)
 *
 * Outputs go inline, in pieces, so that a confined runner needs no file of its own (RLIMIT_FSIZE 0 covers memfds
 * too) and the parent never handles a descriptor that a runner made. */
#ifndef CPNI_RUNNER_PROTO_H
#define CPNI_RUNNER_PROTO_H

#include <stdint.h>

#include <cpn/backend.h>

#define CPNI_RUNNER_VERSION 1
#define CPNI_RUNNER_FD 3 /* the runner's end of the pair */
#define CPNI_RUNNER_INLINE_MAX (48u << 10) /* larger inputs go as a descriptor, larger outputs in pieces */
#define CPNI_RUNNER_LOAD_MAX (64u << 10) /* bytes of LOAD's texts */
#define CPNI_RUNNER_PARAMS_MAX 256
#define CPNI_RUNNER_INPUT_MAX (1u << 30) /* bytes of one input: what a runner agrees to map */

enum cpni_runner_type {
    CPNI_RUNNER_LOAD = 1,
    CPNI_RUNNER_RUN,
    CPNI_RUNNER_LOADED,
    CPNI_RUNNER_OUTPUT,
    CPNI_RUNNER_DONE
};

struct cpni_runner_head {
    uint32_t version;
    uint32_t type;
};

struct cpni_runner_load {
    struct cpni_runner_head head;
    uint32_t threads;
    uint32_t param_count;
    uint64_t memory_bytes; /* to be had beyond what it has after loading */
    uint64_t
        text_bytes; /* behind this: plug-in's path, bundle's directory, then key and value of each; all 0-terminated */
};

struct cpni_runner_run {
    struct cpni_runner_head head;
    uint32_t annotate;
    uint32_t described; /* not 0: the input is the descriptor that comes along; else it is behind this */
    uint64_t input_bytes;
    char name[128];
};

struct cpni_runner_loaded {
    struct cpni_runner_head head;
    int32_t code;
    char detail[CPN_BACKEND_DETAIL];
};

struct cpni_runner_done {
    struct cpni_runner_head head;
    int32_t code;
    int32_t width, height;
    uint32_t label_count; /* behind this */
    uint64_t decode_us, infer_us, encode_us;
    uint64_t output_bytes; /* sent before this */
    char output_type[32];
    char detail[CPN_BACKEND_DETAIL];
};

#define CPNI_RUNNER_PACKET_MAX (sizeof(struct cpni_runner_done) + CPN_RESULT_LABELS * sizeof(struct cpn_label))

#endif
