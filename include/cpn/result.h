/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a model says about one input. The same struct is filled by a backend, travels to the client, and is read there. */
#ifndef CPN_RESULT_H
#define CPN_RESULT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CPN_LABEL_NAME 96     /* bytes of a label's name, with its terminating 0; UTF-8 */
#define CPN_RESULT_LABELS 1024 /* the most labels of one result; a backend keeps its most confident ones */

/* One finding: "ann, 0.93, at 10,20, 64x64 pixels". A classification has no box: width and height are 0. */
struct cpn_label {
    char name[CPN_LABEL_NAME]; /* "unknown" for a face that is nobody the model was shown */
    float confidence;          /* 0 to 1 */
    int32_t x, y;              /* pixels of the input image, top left corner of the box */
    int32_t width, height;     /* pixels; 0: the label is about the whole input */
};

/* Where the time of one attempt went, microseconds. */
struct cpn_timings {
    uint64_t queued_us;  /* at the master, waiting for a node */
    uint64_t waiting_us; /* on the node, waiting for a slot */
    uint64_t load_us;    /* loading the model; 0 when it was warm */
    uint64_t decode_us;
    uint64_t infer_us;
    uint64_t encode_us; /* drawing and encoding the annotated image; 0 when none was asked for */
};

#ifdef __cplusplus
}
#endif

#endif
