/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* How the programs end: the same few exit statuses everywhere, so that scripts can tell what to do next. */
#ifndef CPN_EXITCODE_H
#define CPN_EXITCODE_H

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_PARTLY = 1,      /* the program did its part, but some of the work failed: a photo, a node */
    EXIT_CODE_USAGE = 2,       /* the command line, a variable or cpn.conf is wrong */
    EXIT_CODE_UNREACHABLE = 3, /* nobody answered in time: try again later */
    EXIT_CODE_REFUSED = 4,     /* the network refused: key, token, role or version */
    EXIT_CODE_INPUT = 5,       /* what was given is not usable: a file, a bundle, a name that does not exist */
    EXIT_CODE_MACHINE = 6,     /* this machine: disk, memory, port or data directory in use */
    EXIT_CODE_INTERRUPTED = 130
};

/* The exit status for an error of libcpn (0: none). */
int exit_code_of(int error);

#endif
