/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See settings.h. Flags are collected first, since one of them may name the configuration file, and applied last, since they win. */
#include "settings.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conffile.h"
#include "exitcode.h"
#include "paths.h"
#include "values.h"

#define FLAGS_MAX 512    /* flags on one command line */
#define SETTINGS_MAX 64  /* settings of one program */
#define LONG_BASE 256    /* getopt's value of the first setting, past every letter */

struct given {
    const struct setting *setting;
    const char *text;
};

struct parse {
    const struct program *program;
    struct settings *settings;
    struct given flags[FLAGS_MAX];
    size_t flag_count;
    const char *config; /* --config */
};

static const struct setting *setting_at(const struct program *program, size_t index)
{
    for (size_t i = 0; i < program->table_count; i++) {
        if (index < program->tables[i].count) {
            return &program->tables[i].items[index];
        }
        index -= program->tables[i].count;
    }
    return NULL;
}

/* ---- the command line ---- */

static void getopt_tables(const struct program *program, struct option *longs, char *letters)
{
    *letters++ = ':';
    const struct setting *setting;
    for (size_t i = 0; i < SETTINGS_MAX && (setting = setting_at(program, i)) != NULL; i++) {
        bool has_value = setting->kind != SETTING_FLAG;
        *longs++ = (struct option){ setting->name, has_value ? required_argument : no_argument, NULL, LONG_BASE + (int)i };
        if (setting->letter != 0) {
            *letters++ = setting->letter;
            if (has_value) {
                *letters++ = ':';
            }
        }
    }
    *longs++ = (struct option){ "config", required_argument, NULL, 'C' };
    *longs++ = (struct option){ "help", no_argument, NULL, 'h' };
    *longs++ = (struct option){ "version", no_argument, NULL, 'V' };
    *longs = (struct option){ 0 };
    strcpy(letters, "h");
}

static const struct setting *setting_of_flag(const struct program *program, int flag)
{
    if (flag >= LONG_BASE) {
        return setting_at(program, (size_t)(flag - LONG_BASE));
    }
    const struct setting *setting;
    for (size_t i = 0; (setting = setting_at(program, i)) != NULL; i++) {
        if (setting->letter == flag) {
            return setting;
        }
    }
    return NULL;
}

static int usage_error(const struct program *program, int *status)
{
    fprintf(stderr, "%s: see %s --help\n", program->name, program->name);
    *status = EXIT_CODE_USAGE;
    return -1;
}

static int bad_flag(const struct program *program, int flag, char **argv, int *status)
{
    const char *what = flag == ':' ? "needs a value" : "is not a flag of this command";
    const char *text = argv[optind - 1];
    if (text[0] == '-' && text[1] != '-' && optopt != 0 && optopt < LONG_BASE) {
        fprintf(stderr, "%s: -%c %s\n", program->name, optopt, what);
    } else {
        fprintf(stderr, "%s: %s %s\n", program->name, text, what);
    }
    return usage_error(program, status);
}

static int collect_flags(struct parse *parse, int argc, char **argv, int *status)
{
    struct option longs[SETTINGS_MAX + 4];
    char letters[2 * SETTINGS_MAX + 3];
    const struct program *program = parse->program;
    getopt_tables(program, longs, letters);
    optind = 0; /* glibc: start afresh, with its own permutation of operands */
    for (int flag; (flag = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        const struct setting *setting = setting_of_flag(program, flag);
        if (flag == 'h' && setting == NULL) {
            settings_help(program);
            *status = EXIT_CODE_OK;
            return -1;
        }
        if (flag == 'V' && setting == NULL) {
            printf("cpn %s\n", CPN_PROGRAM_VERSION);
            *status = EXIT_CODE_OK;
            return -1;
        }
        if (flag == 'C' && setting == NULL) {
            parse->config = optarg;
        } else if (setting == NULL || parse->flag_count == FLAGS_MAX) {
            return bad_flag(program, flag, argv, status);
        } else {
            parse->flags[parse->flag_count++] = (struct given){ setting, optarg };
        }
    }
    return optind;
}

static bool apply_flags(struct parse *parse)
{
    for (size_t i = 0; i < parse->flag_count; i++) {
        const struct given *given = &parse->flags[i];
        bool first = true; /* the first one of a list replaces what file and environment said */
        for (size_t j = 0; j < i; j++) {
            first = first && parse->flags[j].setting != given->setting;
        }
        char origin[80];
        snprintf(origin, sizeof origin, "%s: --%s", parse->program->name, given->setting->name);
        if (!value_apply(given->setting, given->text, first, origin, parse->settings)) {
            return false;
        }
    }
    return true;
}

/* ---- the environment ---- */

static bool apply_environment(struct parse *parse)
{
    for (size_t t = 0; t < parse->program->table_count; t++) {
        const struct setting_table *table = &parse->program->tables[t];
        for (size_t i = 0; table->section != NULL && i < table->count; i++) {
            char variable[64];
            value_variable(table->items[i].name, variable, sizeof variable);
            const char *text = getenv(variable);
            if (text != NULL && *text != 0 && !value_apply(&table->items[i], text, true, variable, parse->settings)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the file ---- */

/* What was named must be there; the usual places may be empty. */
static bool apply_file(struct parse *parse)
{
    const char *named = parse->config != NULL ? parse->config : getenv("CPN_CONFIG");
    if (named != NULL && *named != 0) {
        return conffile_apply(named, parse->program, parse->settings);
    }
    char path[PATHS_MAX];
    if (paths_config(path, sizeof path) && access(path, F_OK) == 0) {
        return conffile_apply(path, parse->program, parse->settings);
    }
    return access(PATHS_SYSTEM_CONFIG, F_OK) != 0 || conffile_apply(PATHS_SYSTEM_CONFIG, parse->program, parse->settings);
}

static bool check_operands(const struct program *program, int count)
{
    if (count < program->operands_min) {
        fprintf(stderr, "%s: something is missing; usage: %s %s\n", program->name, program->name, program->synopsis);
        return false;
    }
    if (program->operands_max >= 0 && count > program->operands_max) {
        fprintf(stderr, "%s: more arguments than expected; usage: %s %s\n", program->name, program->name, program->synopsis);
        return false;
    }
    return true;
}

int settings_parse(const struct program *program, int argc, char **argv, struct settings *out, int *status)
{
    *out = (struct settings){ 0 };
    struct parse parse = { .program = program, .settings = out };
    int first = collect_flags(&parse, argc, argv, status);
    if (first < 0) {
        return -1;
    }
    if (!apply_file(&parse) || !apply_environment(&parse) || !apply_flags(&parse)) {
        settings_free(out);
        *status = EXIT_CODE_USAGE;
        return -1;
    }
    if (!check_operands(program, argc - first)) {
        settings_free(out);
        return usage_error(program, status);
    }
    return first;
}

void settings_free(struct settings *settings)
{
    for (size_t i = 0; i < settings->text_count; i++) {
        free(settings->texts[i]);
    }
    free(settings->texts);
    *settings = (struct settings){ 0 };
}

/* ---- help ---- */

static void help_setting(const struct setting *setting)
{
    char flag[64];
    char letter[5] = "    ";
    if (setting->letter != 0) {
        snprintf(letter, sizeof letter, "-%c, ", setting->letter);
    }
    snprintf(flag, sizeof flag, "%s--%s%s%s", letter, setting->name, setting->value != NULL ? " " : "",
             setting->value != NULL ? setting->value : "");
    printf("  %-30s %s\n", flag, setting->help);
}

void settings_help(const struct program *program)
{
    printf("usage: %s %s\n\n%s\n", program->name, program->synopsis, program->about);
    const struct setting *setting;
    for (size_t i = 0; (setting = setting_at(program, i)) != NULL; i++) {
        help_setting(setting);
    }
    printf("      %-26s %s\n", "--config FILE", "instead of ~/.config/cpn/cpn.conf and /etc/cpn/cpn.conf (cpn.conf.5)");
    printf("  %-30s %s\n      %-26s %s\n", "-h, --help", "this text", "--version", "the version");
    for (size_t i = 0; i < program->table_count; i++) {
        if (program->tables[i].section != NULL) {
            printf("\nWhat stands in section [%s] of cpn.conf may also be a variable: CPN_ and the name in capitals.\n",
                   program->tables[i].section);
        }
    }
}
