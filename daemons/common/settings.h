/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a program can be told, described once: each setting is a flag of the command line, a variable of the environment and a key of
 * cpn.conf, in this order of precedence. Help, checks and error messages come from the same description. Must not know what any
 * setting is for. */
#ifndef CPN_SETTINGS_H
#define CPN_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SETTING_LIST_MAX 128 /* items of a list: columns of a table, configurations of a session, addresses of a machine */

enum setting_kind {
    SETTING_FLAG,   /* to: bool */
    SETTING_TEXT,   /* to: const char * */
    SETTING_LIST,   /* to: struct setting_list; repeat the flag, or separate by commas */
    SETTING_REPEAT, /* to: struct setting_list; each time the flag is given is one item, commas and all */
    SETTING_COUNT,  /* to: uint32_t */
    SETTING_NUMBER, /* to: double, decimal */
    SETTING_TIME,   /* to: uint64_t, milliseconds; written "500ms", "30s", "10m", "1h", "7d"; without a unit: seconds */
    SETTING_BYTES,  /* to: uint64_t; written "64MiB", "8GiB"; without a unit: bytes */
};

/* NULL-terminated, as the option structs of libcpn want it. */
struct setting_list {
    const char *items[SETTING_LIST_MAX + 1];
    size_t count;
};

struct setting {
    const char *name; /* "max-tasks": --max-tasks, CPN_MAX_TASKS, max_tasks */
    char letter;      /* of the short flag; 0: none */
    enum setting_kind kind;
    void *to;
    const char *value; /* how help calls the value; NULL for a flag */
    const char *help;
};

/* Settings that come together. The name is the section of cpn.conf; NULL: these are flags only. */
struct setting_table {
    const char *section;
    const struct setting *items;
    size_t count;
};

struct program {
    const char *name;                   /* "cpn predict" */
    const char *synopsis;               /* what follows the name: "MODEL FILE|DIR… [-o OUT]" */
    const char *about;                  /* for help, ends with a line break */
    const struct setting_table *tables; /* at most SETTINGS_TABLES_MAX */
    size_t table_count;
    int operands_min, operands_max;     /* -1: no limit */
};
#define SETTINGS_TABLES_MAX 3

/* What the parsed values stand on. */
struct settings {
    char **texts;
    size_t text_count;
};

/* Read configuration file, environment and command line into what the tables point at. Returns the index of the first operand in
 * argv (operands are moved to the end), or -1 when the program is to end now with *status: after --help or --version, or after a
 * sentence on stderr about what is wrong. */
int settings_parse(const struct program *program, int argc, char **argv, struct settings *out, int *status);
void settings_free(struct settings *settings);

void settings_help(const struct program *program);

/* The parts that read one value, for tests and for who has a text from elsewhere; false: not such a value. */
bool setting_time(const char *text, uint64_t *ms);
bool setting_bytes(const char *text, uint64_t *bytes);

#endif
