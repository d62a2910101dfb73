/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See conffile.h. */
#include "conffile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <ini.h>

#include "values.h"

struct conffile {
    const char *path;
    FILE *file;
    unsigned line;
    bool failed; /* a sentence was printed */
    const struct program *program;
    struct settings *settings;
    const struct setting *last; /* a key that comes again adds to a list */
};

/* inih reads through this: it cuts longer lines in two without a word, and does not tell its handler the line. */
static char *read_line(char *text, int room, void *arg)
{
    struct conffile *conf = arg;
    if (conf->failed || fgets(text, room, conf->file) == NULL) {
        return NULL;
    }
    conf->line++;
    size_t length = strlen(text);
    if ((int)length == room - 1 && text[length - 1] != '\n' && !feof(conf->file)) {
        fprintf(stderr, "%s:%u: longer than %d bytes; use a flag or a variable for it\n", conf->path, conf->line, room - 2);
        conf->failed = true;
        return NULL;
    }
    return text;
}

static bool key_matches(const char *key, const char *name)
{
    for (; *key != 0 && *name != 0; key++, name++) {
        if (*key != *name && !(*key == '_' && *name == '-')) {
            return false;
        }
    }
    return *key == *name;
}

static const struct setting *find(const struct conffile *conf, const char *section, const char *key)
{
    for (size_t t = 0; t < conf->program->table_count; t++) {
        const struct setting_table *table = &conf->program->tables[t];
        if (table->section == NULL || strcmp(table->section, section) != 0) {
            continue;
        }
        for (size_t i = 0; i < table->count; i++) {
            if (key_matches(key, table->items[i].name)) {
                return &table->items[i];
            }
        }
    }
    return NULL;
}

static bool of_this_program(const struct program *program, const char *section)
{
    for (size_t t = 0; t < program->table_count; t++) {
        if (program->tables[t].section != NULL && strcmp(program->tables[t].section, section) == 0) {
            return true;
        }
    }
    return false;
}

static bool known_section(const char *section)
{
    static const char *const sections[] = { "master", "worker", "client", "submit" };
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (strcmp(section, sections[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int refuse(struct conffile *conf, const char *section, const char *key, const char *what)
{
    fprintf(stderr, "%s:%u: [%s] %s: %s\n", conf->path, conf->line, section, key, what);
    conf->failed = true;
    return 0;
}

/* For inih: not 0 to go on. */
static int handle(void *arg, const char *section, const char *key, const char *value)
{
    struct conffile *conf = arg;
    if (conf->failed) {
        return 0;
    }
    if (!known_section(section)) {
        return refuse(conf, section, key, "no such section; there are [master], [worker], [client] and [submit]");
    }
    if (!of_this_program(conf->program, section)) {
        return 1;
    }
    const struct setting *setting = find(conf, section, key);
    if (setting == NULL) {
        return refuse(conf, section, key, "no such key in this section (see cpn.conf.5)");
    }
    char origin[512];
    snprintf(origin, sizeof origin, "%s:%u: %s", conf->path, conf->line, key);
    const char *kept = value_keep(conf->settings, value);
    conf->failed = kept == NULL || !value_apply(setting, kept, setting != conf->last, origin, conf->settings);
    conf->last = setting;
    return conf->failed ? 0 : 1;
}

bool conffile_apply(const char *path, const struct program *program, struct settings *settings)
{
    struct conffile conf = { .path = path, .program = program, .settings = settings };
    conf.file = fopen(path, "re");
    if (conf.file == NULL) {
        fprintf(stderr, "%s: %s: %s\n", program->name, path, strerror(errno));
        return false;
    }
    int line = ini_parse_stream(read_line, &conf, handle, &conf);
    fclose(conf.file);
    if (line != 0 && !conf.failed) {
        fprintf(stderr, "%s:%d: expected [section] or key = value\n", path, line);
    }
    return line == 0 && !conf.failed;
}
