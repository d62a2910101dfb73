/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See master_page.h. */
#include "core/master_page.h"

#define PAGE_BYTES (CPNI_HEADER_BYTES_MAX / 2)

struct cpni_mpage cpni_mpage_of(const struct cpni_msg_query *query)
{
    uint32_t limit = query->limit != 0 && query->limit < CPNI_REPLY_ROWS_MAX ? query->limit : CPNI_REPLY_ROWS_MAX;
    return (struct cpni_mpage){ .skip = query->since, .limit = limit };
}

bool cpni_mpage_take(struct cpni_mpage *page, size_t bytes)
{
    if (page->skip != 0) {
        page->skip--;
        return false;
    }
    if (page->more || page->count == page->limit || page->bytes >= PAGE_BYTES) {
        page->more = true;
        return false;
    }
    page->count++;
    page->bytes += bytes;
    return true;
}

void *cpni_mpage_room(struct cpni_master_core *core, size_t count, size_t size)
{
    void *memory = cpni_arena_alloc(&core->out->arena, count * size + 1);
    core->out->failed = core->out->failed || memory == NULL;
    return memory;
}

void cpni_mpage_reply(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_msg *msg, const struct cpni_msg_query *query,
                      const struct cpni_mpage *page)
{
    msg->type = CPNI_MSG_REPLY;
    msg->reply.request = query->request;
    msg->reply.more = page->more;
    if (!core->out->failed) {
        cpni_mconn_send(core, conn, msg);
    }
}
