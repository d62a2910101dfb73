/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The version, which is the one thing that belongs to no layer. */
#include <cpn/options.h>

const char *cpn_version(void)
{
    return CPNI_VERSION;
}
