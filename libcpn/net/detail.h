/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The sentence that says why a call failed, for the person. */
#ifndef CPNI_DETAIL_H
#define CPNI_DETAIL_H

#define CPNI_NET_DETAIL 256 /* bytes, with the terminating 0 */

/* Write it; detail may be NULL. */
void cpni_explain(char *detail, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
