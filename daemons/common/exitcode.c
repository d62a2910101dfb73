/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See exitcode.h. */
#include "exitcode.h"

#include <cpn/error.h>

int exit_code_of(int error)
{
    switch (error) {
    case 0:
        return EXIT_CODE_OK;
    case CPN_ETIMEDOUT:
    case CPN_EUNREACHABLE:
    case CPN_ECLOSED:
    case CPN_EAGAIN:
    case CPN_ENONODE:
        return EXIT_CODE_UNREACHABLE;
    case CPN_EDENIED:
    case CPN_EKEY:
    case CPN_ETOKEN:
    case CPN_EVERSION:
    case CPN_ECOPIED:
    case CPN_EPROTO:
        return EXIT_CODE_REFUSED;
    case CPN_EINVAL:
    case CPN_ENOTFOUND:
    case CPN_EEXISTS:
    case CPN_ECORRUPT:
    case CPN_ETOOBIG:
    case CPN_EBADINPUT:
    case CPN_EMODEL:
    case CPN_ESTATE:
    case CPN_ENOTSUP:
        return EXIT_CODE_INPUT;
    case CPN_ECANCELLED:
    case CPN_EINTR:
        return EXIT_CODE_INTERRUPTED;
    case CPN_EPOISON:
    case CPN_ECRASHED:
    case CPN_ENODELOST:
    case CPN_EDIVERGED:
    case CPN_EFAILED:
        return EXIT_CODE_PARTLY;
    default:
        return EXIT_CODE_MACHINE;
    }
}
