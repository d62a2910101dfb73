/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training of opencv.face: folders of photos named by person become a bundle. */
#ifndef CPNI_FACES_BUILD_HH
#define CPNI_FACES_BUILD_HH

#include <cpn/backend.h>

namespace cpni
{

/* cpn_backend.build. Parameters: `name` of the model ("faces"), `cascade` (a path, or a file name of Debian's
 * opencv-data), `false_names` (how many of 100 unknown faces may be given a name; 2), and those of faces.hh, which go
 * into the manifest. */
int build_faces(const char *from, const char *out, const cpn_backend_param *params, size_t param_count,
    void (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total), void *arg, char *detail) noexcept;

} // namespace cpni

#endif
