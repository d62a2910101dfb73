/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* All of libcpn. */
#ifndef CPN_CPN_H
#define CPN_CPN_H

#include <cpn/backend.h>
#include <cpn/client.h>
#include <cpn/context.h>
#include <cpn/error.h>
#include <cpn/file.h>
#include <cpn/log.h>
#include <cpn/master.h>
#include <cpn/model.h>
#include <cpn/options.h>
#include <cpn/result.h>
#include <cpn/session.h>
#include <cpn/task.h>
#include <cpn/types.h>
#include <cpn/worker.h>

#endif
