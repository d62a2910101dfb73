/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* One page of the rows that answer a QUERY: which rows are on it, and when it is full. Must not know what the rows are of. */
#ifndef CPNI_MASTER_PAGE_H
#define CPNI_MASTER_PAGE_H

#include "core/master_state.h"

struct cpni_mpage {
    uint64_t skip;
    uint32_t limit, count;
    size_t bytes; /* of what the rows say, about; a REPLY must fit a packet's header */
    bool more;
};

struct cpni_mpage cpni_mpage_of(const struct cpni_msg_query *query);

/* Whether the next row, of about so many bytes, is on this page. */
bool cpni_mpage_take(struct cpni_mpage *page, size_t bytes);

/* Zeroed, of the step's arena. NULL: no memory, the step has failed. */
void *cpni_mpage_room(struct cpni_master_core *core, size_t count, size_t size);

/* Completes the REPLY and sends it, unless the step has failed. */
void cpni_mpage_reply(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_msg *msg, const struct cpni_msg_query *query,
                      const struct cpni_mpage *page);

#endif
