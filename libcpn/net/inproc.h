/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Where a router and the dealers of its process meet. */
#ifndef CPNI_INPROC_H
#define CPNI_INPROC_H

#define CPNI_INPROC_ENDPOINT "inproc://cpn" /* a context has a name space of its own */

#endif
