/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* man/cpn-protocol.7 against the field tables: every message and record with each field (number, name, kind, a
 * description), who may send it, every error code, and the limits that the page states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "proto/limits.h"
#include "proto/msg.h"
#include "wire/manifest.h"
#include "wire/packet.h"
#include "wire/reader.h"

static char *page;

static int read_page(void **state)
{
    (void)state;
    FILE *file = fopen(CPN_SOURCE_ROOT "/man/cpn-protocol.7", "r");
    assert_non_null(file);
    page = calloc(1, 1 << 20);
    assert_true(fread(page, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return 0;
}

static int free_page(void **state)
{
    (void)state;
    free(page);
    return 0;
}

/* The lines from a heading to the next one, to be freed. */
static char *section(const char *heading)
{
    char line[128];
    snprintf(line, sizeof line, "\n%s\n", heading);
    const char *start = strstr(page, line);
    if (start == NULL) {
        fail_msg("no line '%s'", heading);
    }
    start += strlen(line);
    const char *end = strstr(start, "\n.S");
    size_t size = end != NULL ? (size_t)(end - start) + 1 : strlen(start);
    char *copy = malloc(size + 1);
    memcpy(copy, start, size);
    copy[size] = 0;
    return copy;
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what)) {
        count++;
    }
    return count;
}

static void check_fields(const char *heading, const struct cpni_layout *layout)
{
    static const char *const kinds[] = {
        [CPNI_FIELD_BOOL] = "BOOL", [CPNI_FIELD_U32] = "U32",     [CPNI_FIELD_U64] = "U64",
        [CPNI_FIELD_I32] = "I32",   [CPNI_FIELD_F32] = "F32",     [CPNI_FIELD_STR] = "STR",
        [CPNI_FIELD_ID] = "ID",     [CPNI_FIELD_KEY] = "KEY",     [CPNI_FIELD_HASH] = "HASH",
        [CPNI_FIELD_SIG] = "SIG",   [CPNI_FIELD_FRAME] = "FRAME", [CPNI_FIELD_LIST] = "LIST of ",
    };
    char *text = section(heading);
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct cpni_field *field = &layout->fields[i];
        char row[160];
        snprintf(row, sizeof row, "\n%u\t%s\t%s%s\tT{\n", field->number, field->name, kinds[field->kind],
                 field->kind == CPNI_FIELD_LIST ? field->record->name : "");
        const char *found = strstr(text, row);
        if (found == NULL || strncmp(found + strlen(row), "T}", 2) == 0) {
            fail_msg("%s: no row for field %u %s, or none with this kind and a description", heading, field->number,
                     field->name);
        }
    }
    if (count_of(text, "\tT{\n") != layout->field_count) {
        fail_msg("%s has %zu rows for %zu fields", heading, count_of(text, "\tT{\n"), layout->field_count);
    }
    free(text);
}

static void check_senders(const char *heading, unsigned from)
{
    static const struct {
        unsigned bit;
        const char *name;
    } senders[] = { { CPNI_FROM_NODE, "nodes" },
                    { CPNI_FROM_USER, "users" },
                    { CPNI_FROM_ADMIN, "admins" },
                    { CPNI_FROM_TOKEN, "token holders" },
                    { CPNI_FROM_MASTER, "the master" } };
    char *text = section(heading);
    char *line = strstr(text, "\nSent by ");
    assert_non_null(line);
    *strchr(line + 1, '\n') = 0;
    for (size_t i = 0; i < sizeof senders / sizeof senders[0]; i++) {
        if ((strstr(line, senders[i].name) != NULL) != ((from & senders[i].bit) != 0)) {
            fail_msg("%s: wrong about %s in '%s'", heading, senders[i].name, line + 1);
        }
    }
    free(text);
}

static void every_message_is_described(void **state)
{
    (void)state;
    for (unsigned type = 1; type < CPNI_MSG_TYPES; type++) {
        char heading[80];
        snprintf(heading, sizeof heading, ".SS \"%u %s\"", type, cpni_msg_name(type));
        check_fields(heading, cpni_msg_layout(type));
        check_senders(heading, cpni_msg_layout(type)->from);
    }
}

static void check_records(const struct cpni_layout *layout)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct cpni_layout *record = layout->fields[i].record;
        if (layout->fields[i].kind == CPNI_FIELD_LIST) {
            char heading[80];
            snprintf(heading, sizeof heading, ".SS %s", record->name);
            check_fields(heading, record);
            check_records(record);
        }
    }
}

static void every_record_is_described(void **state)
{
    (void)state;
    for (unsigned type = 1; type < CPNI_MSG_TYPES; type++) {
        check_records(cpni_msg_layout(type));
    }
}

static void every_error_code_is_listed(void **state)
{
    (void)state;
#define ERROR_ROW(name, number, text) "\n\\" #number "\t" #name "\tT{\n" text "\nT}\n",
    static const char *const rows[] = { CPN_ERRORS(ERROR_ROW) };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strstr(page, rows[i]) == NULL) {
            fail_msg("no row %s", rows[i]);
        }
    }
}

static void limits_are_stated(void **state)
{
    (void)state;
    static const struct {
        const char *heading;
        const char *text; /* with the number that follows */
        unsigned long long limit;
    } limits[] = {
        { ".SH PACKETS", "up to %llu of them", CPNI_PACKET_FRAMES_MAX },
        { ".SH PACKETS", "1 to %llu of them", CPNI_PACKET_MESSAGES_MAX },
        { ".SS Values", "at most %llu bytes", CPNI_STR_BYTES_MAX },
        { ".SS Values", "at most %llu long", CPNI_LIST_MAX },
        { ".SS \"Rules for growth\"", "nested up to %llu deep", CPNI_SKIP_DEPTH },
        { ".SS \"What a receiver refuses\"", "at most %llu bytes of header", CPNI_HEADER_BYTES_MAX },
        { ".SS \"What a receiver refuses\"", "more than %llu times the bytes", CPNI_PACKET_MEMORY_FACTOR },
        { ".SS \"What a receiver refuses\"", "at least %llu bytes", CPNI_PACKET_MEMORY_MIN },
        { ".SS \"What a receiver refuses\"", "A frame has at most %llu bytes", CPNI_ZMTP_FRAME_BYTES_MAX },
        { ".SS \"What a receiver refuses\"", "a packet %llu,", CPNI_ZMTP_MESSAGE_BYTES_MAX },
        { ".SS Liveness", "(%llu by default)", CPNI_HEARTBEAT_MS },
        { ".SS Liveness", "(%llu) without a packet", CPNI_GONE_MS },
        { ".SH TASKS", "over %llu bytes travel as blobs", CPNI_INLINE_BYTES_MAX },
        { ".SS Failures", "after %llu of them (or max_attempts) the task is parked", CPNI_ATTEMPTS_POISON },
        { ".SS Manifests", "at most %llu bytes", CPNI_MANIFEST_BYTES_MAX },
        { ".SS Manifests", "STR (1 to %llu bytes, no '/'", CPNI_FILE_NAME_BYTES_MAX },
        { ".SS Manifests", "key STR (1 to %llu bytes)", CPNI_NAME_BYTES_MAX - 1 },
        { ".SS Manifests", "at most %llu T} 5", CPNI_MANIFEST_FILES_MAX },
        { ".SH TRANSFER", "over chunks of %llu bytes", CPNI_CHUNK_BYTES },
        { ".SH TRANSFER", "at most %llu bytes", CPNI_BLOB_BYTES_MAX },
        { ".SH TRANSFER", "at most %llu chunks", CPNI_TRANSFER_WINDOW },
        { ".SH TRANSFER", "up to %llu times", CPNI_TRANSFER_RETRIES },
        { ".SH TRANSFER", "for %llu ms", CPNI_TRANSFER_STALL_MS },
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        char *text = section(limits[i].heading);
        for (char *at = text; (at = strchr(at, '\n')) != NULL;) {
            *at = ' '; /* sentences are broken into lines anywhere */
        }
        char expected[120];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(expected, sizeof expected, limits[i].text, limits[i].limit);
#pragma GCC diagnostic pop
        if (strstr(text, expected) == NULL) {
            fail_msg("%s: no '%s'", limits[i].heading, expected);
        }
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_described),
        cmocka_unit_test(every_record_is_described),
        cmocka_unit_test(every_error_code_is_listed),
        cmocka_unit_test(limits_are_stated),
    };
    return cmocka_run_group_tests(tests, read_page, free_page);
}
