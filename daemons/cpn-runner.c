/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The process in which models run; see <cpn/backend.h>. */
#include <cpn/backend.h>

int main(int argc, char **argv)
{
    return cpn_runner_main(argc, argv);
}
