/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Face training (`cpn model train-faces`): a runner process makes the bundle, so that OpenCV and the photos stay out of
 * this one. */
#ifndef CPNI_FACETRAIN_H
#define CPNI_FACETRAIN_H

#include <stddef.h>
#include <stdint.h>

#include <cpn/backend.h>

struct cpni_train_faces_options {
    const char *from; /* folders of photos, each named by its person */
    const char *out; /* the bundle's directory: must not exist yet, or be empty */
    const char *runner; /* NULL: found, see plugins.h */
    const char *plugins; /* likewise */
    const struct cpn_backend_param *params; /* of opencv.face: "name", "cascade", "scale_factor"... */
    size_t param_count;
};

/* Blocks. 0 with a summary ("40 people, 397 photos, 3 skipped; ...") in `detail`, or negative with the reason.
 * `progress` may be NULL; it is called on this thread; not 0 from it cancels (CPN_ECANCELLED). */
int cpni_train_faces(const struct cpni_train_faces_options *options,
    int (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total), void *arg,
    char detail[CPN_BACKEND_DETAIL]);

#endif
