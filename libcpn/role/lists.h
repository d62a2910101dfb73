/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Rows of REPLY messages as arrays of public structs: what every list of the client is made with. An array, its texts and what its rows
 * point to are one arena; cpn_client_free_list() frees all. Must not know any table. */
#ifndef CPNI_LISTS_H
#define CPNI_LISTS_H

#include "role/client.h"

struct cpni_list;

/* A reply under construction. */
struct cpni_list_builder {
    size_t row_size;
    void (*convert)(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index);
    size_t (*rows_of)(const struct cpni_msg_reply *reply);
    /* the rest is the list's own */
    struct cpni_list *list;
    size_t count;
    bool more;
    bool failed;
};

/* For convert: a copy of a text; an array. In the list's memory; when that runs out, "" and NULL, and the list fails. */
const char *cpni_list_text(struct cpni_list_builder *builder, struct cpni_str from);
void *cpni_list_array(struct cpni_list_builder *builder, size_t count, size_t size);

/* Ask for the rows that follow those that are here already, until all pages are. After a failure, too, what is here is whole; after
 * CPN_ENOMEM it is of no use. */
int cpni_list_more(struct cpn_client *client, struct cpni_list_builder *builder, struct cpni_msg_query query, int timeout_ms);
void *cpni_list_rows(const struct cpni_list_builder *builder); /* for cpn_client_free_list(); moves with every row that comes */

/* All rows, as an array of the caller's. */
int cpni_list_ask(struct cpn_client *client, struct cpni_list_builder *builder, struct cpni_msg_query query, int timeout_ms, void **out,
                  size_t *count);

/* Bytes as a list, with a 0 behind them. NULL: out of memory. */
char *cpni_list_bytes(const void *data, size_t size);

#endif
