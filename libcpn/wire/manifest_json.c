/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See manifest_json.h. */
#include "wire/manifest_json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include <cpn/error.h>

#include "wire/manifest.h"

struct bundle {
    const char *dir;
    int dir_fd;
    struct cpni_arena *arena;
    struct cpni_manifest manifest;
    char *why;
};

static int __attribute__((format(printf, 3, 4))) fail(struct bundle *bundle, int code, const char *format, ...)
{
    int used = snprintf(bundle->why, CPNI_WHY, "%.100s/" CPNI_MODEL_JSON ": ", bundle->dir);
    va_list list;
    va_start(list, format);
    vsnprintf(bundle->why + used, CPNI_WHY - (size_t)used, format, list);
    va_end(list);
    return code;
}

static int fail_memory(struct bundle *bundle)
{
    snprintf(bundle->why, CPNI_WHY, "out of memory");
    return CPN_ENOMEM;
}

static int keep_text(struct bundle *bundle, const char *text, size_t size, struct cpni_str *out)
{
    char *copy = cpni_arena_memdup(bundle->arena, text, size + 1); /* not empty, so that NULL means out of memory */
    if (copy == NULL) {
        return fail_memory(bundle);
    }
    *out = (struct cpni_str){ .text = copy, .size = (uint32_t)size };
    return 0;
}

/* ---- fields ---- */

static int read_text(struct bundle *bundle, const json_t *root, const char *field, bool needed, struct cpni_str *out)
{
    const json_t *value = json_object_get(root, field);
    if (value == NULL && !needed) {
        return 0;
    }
    if (!json_is_string(value)) {
        return fail(bundle, CPN_EBADINPUT, "%s: expected a text%s", field, value == NULL ? ", there is none" : "");
    }
    return keep_text(bundle, json_string_value(value), json_string_length(value), out);
}

/* Backends get parameters as text: 1.1 and "1.1" are one. The shortest form that reads back, with a point whatever the
 * program's locale is. */
static void real_text(double real, char *text, size_t room)
{
    double back = NAN; /* unequal to any */
    for (int digits = 1; digits <= 17 && memcmp(&back, &real, sizeof back) != 0; digits++) {
        snprintf(text, room, "%.*g", digits, real);
        back = strtod(text, NULL);
    }
    text[strcspn(text, ",")] = strchr(text, ',') != NULL ? '.' : 0;
}

static int pair_value(struct bundle *bundle, const char *field, const char *key, const json_t *value,
                      struct cpni_str *out)
{
    char text[64];
    if (json_is_string(value)) {
        return keep_text(bundle, json_string_value(value), json_string_length(value), out);
    }
    if (json_is_boolean(value)) {
        snprintf(text, sizeof text, "%s", json_is_true(value) ? "true" : "false");
    } else if (json_is_integer(value)) {
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        real_text(json_real_value(value), text, sizeof text);
    } else {
        return fail(bundle, CPN_EBADINPUT, "%s.%s: expected a text, a number, true or false", field, key);
    }
    return keep_text(bundle, text, strlen(text), out);
}

static int by_key(const void *a, const void *b)
{
    const struct cpni_manifest_pair *left = a;
    const struct cpni_manifest_pair *right = b;
    return strcmp(left->key.text, right->key.text);
}

static int read_pairs(struct bundle *bundle, json_t *root, const char *field, struct cpni_manifest_pair **out,
                      uint32_t *count)
{
    json_t *object = json_object_get(root, field);
    if (object == NULL) {
        return 0;
    }
    if (!json_is_object(object) || json_object_size(object) > CPNI_MANIFEST_PAIRS_MAX) {
        return fail(bundle, CPN_EBADINPUT, "%s: expected an object of at most %d entries", field,
                    CPNI_MANIFEST_PAIRS_MAX);
    }
    struct cpni_manifest_pair *pairs = cpni_arena_alloc(bundle->arena, (json_object_size(object) + 1) * sizeof *pairs);
    if (pairs == NULL) {
        return fail_memory(bundle);
    }
    uint32_t used = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        int rc = keep_text(bundle, key, strlen(key), &pairs[used].key);
        if (rc == 0) {
            rc = pair_value(bundle, field, key, value, &pairs[used].value);
        }
        if (rc < 0) {
            return rc;
        }
        used++;
    }
    qsort(pairs, used, sizeof *pairs, by_key);
    *out = pairs;
    *count = used;
    return 0;
}

/* ---- what a node must have ---- */

/* "512MiB" to bytes, so that a node compares numbers. */
static int normal_memory(struct bundle *bundle, struct cpni_str *value)
{
    static const char *const units[] = { "", "KiB", "MiB", "GiB", "TiB" };
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value->text, &end, 10);
    while (*end == ' ') {
        end++;
    }
    for (unsigned i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i]) == 0 && end != value->text && value->text[0] >= '0' && value->text[0] <= '9' &&
            errno == 0 && number <= UINT64_MAX >> (10 * i)) {
            char text[24];
            int size = snprintf(text, sizeof text, "%llu", number << (10 * i));
            return keep_text(bundle, text, (size_t)size, value);
        }
    }
    return fail(bundle, CPN_EBADINPUT, "requires.memory: '%.40s': expected bytes, or a number with KiB, MiB, GiB",
                value->text);
}

static int check_requirement(struct bundle *bundle, struct cpni_manifest_pair *pair)
{
    const char *key = pair->key.text;
    if (strcmp(key, "memory") == 0) {
        return normal_memory(bundle, &pair->value);
    }
    if (strcmp(key, "cores") == 0) {
        if (pair->value.size == 0 || pair->value.size > 4 ||
            strspn(pair->value.text, "0123456789") != pair->value.size) {
            return fail(bundle, CPN_EBADINPUT, "requires.cores: '%.40s': expected a number", pair->value.text);
        }
        return 0;
    }
    if (strcmp(key, "gpu") == 0 || strcmp(key, "backend") == 0) {
        return 0;
    }
    return fail(bundle, CPN_EBADINPUT, "requires.%.60s: unknown; a node has memory, cores, gpu, backend", key);
}

static int check_requires(struct bundle *bundle)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < bundle->manifest.requires_count; i++) {
        rc = check_requirement(bundle, &bundle->manifest.requires[i]);
    }
    return rc;
}

/* ---- files ---- */

static int by_name(const void *a, const void *b)
{
    const struct cpni_manifest_file *left = a;
    const struct cpni_manifest_file *right = b;
    return strcmp(left->name.text, right->name.text);
}

static int room_for_files(struct bundle *bundle)
{
    bundle->manifest.files = cpni_arena_alloc(bundle->arena, CPNI_MANIFEST_FILES_MAX * sizeof *bundle->manifest.files);
    return bundle->manifest.files != NULL ? 0 : fail_memory(bundle);
}

static int add_file(struct bundle *bundle, const char *name)
{
    struct cpni_manifest *manifest = &bundle->manifest;
    struct stat status;
    if (manifest->file_count == CPNI_MANIFEST_FILES_MAX) {
        return fail(bundle, CPN_EBADINPUT, "files: more than %d", CPNI_MANIFEST_FILES_MAX);
    }
    if (!cpni_file_name_valid(cpni_str(name)) || strcmp(name, CPNI_MODEL_JSON) == 0) {
        return fail(bundle, CPN_EBADINPUT,
                    "files: '%.60s': expected the plain name of a file in the bundle, at most %d bytes", name,
                    CPNI_FILE_NAME_BYTES_MAX);
    }
    if (fstatat(bundle->dir_fd, name, &status, 0) < 0) {
        return fail(bundle, errno == ENOENT ? CPN_ENOTFOUND : CPN_EIO, "files: '%s': %s", name, strerror(errno));
    }
    if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size > CPNI_BLOB_BYTES_MAX) {
        return fail(bundle, CPN_EBADINPUT, "files: '%s': expected a regular file of at most %llu bytes", name,
                    (unsigned long long)CPNI_BLOB_BYTES_MAX);
    }
    struct cpni_manifest_file *file = &manifest->files[manifest->file_count];
    int rc = keep_text(bundle, name, strlen(name), &file->name);
    if (rc == 0) {
        file->size = (uint64_t)status.st_size;
        manifest->file_count++;
    }
    return rc;
}

/* Every regular file beside model.json, but not the hidden ones. */
static int list_files(struct bundle *bundle)
{
    int fd = openat(bundle->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return fail(bundle, CPN_EIO, "directory cannot be listed: %s", strerror(error));
    }
    int rc = 0;
    struct stat status;
    for (struct dirent *entry; rc == 0 && (entry = readdir(stream)) != NULL;) {
        bool wanted = entry->d_name[0] != '.' && strcmp(entry->d_name, CPNI_MODEL_JSON) != 0 &&
                      fstatat(bundle->dir_fd, entry->d_name, &status, 0) == 0 && S_ISREG(status.st_mode);
        if (wanted) {
            rc = add_file(bundle, entry->d_name);
        }
    }
    closedir(stream);
    return rc;
}

static int read_files(struct bundle *bundle, const json_t *root)
{
    int rc = room_for_files(bundle);
    const json_t *files = json_object_get(root, "files");
    if (rc < 0) {
        return rc;
    }
    if (files == NULL) {
        rc = list_files(bundle);
    } else if (!json_is_array(files)) {
        rc = fail(bundle, CPN_EBADINPUT, "files: expected a list of file names");
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(files); i++) {
        const char *name = json_string_value(json_array_get(files, i));
        rc = name != NULL ? add_file(bundle, name) : fail(bundle, CPN_EBADINPUT, "files[%zu]: expected a file name", i);
    }
    qsort(bundle->manifest.files, bundle->manifest.file_count, sizeof *bundle->manifest.files, by_name);
    return rc;
}

/* ---- the whole ---- */

/* A misspelt field would else be a default that nobody asked for. */
static int check_known(struct bundle *bundle, json_t *root)
{
    static const char *const known[] = {
        "name", "backend", "parameters", "files", "requires", "sample", "description"
    };
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            found = found || strcmp(key, known[i]) == 0;
        }
        if (!found) {
            return fail(bundle, CPN_EBADINPUT, "unknown field '%.60s'%s", key,
                        strcmp(key, "version") == 0 ? ": versions are numbered by the master when the model is pushed"
                                                    : "");
        }
    }
    return 0;
}

static int read_fields(struct bundle *bundle, json_t *root)
{
    struct cpni_manifest *manifest = &bundle->manifest;
    if (!json_is_object(root)) {
        return fail(bundle, CPN_EBADINPUT, "expected one JSON object");
    }
    int rc = check_known(bundle, root);
    if (rc == 0) {
        rc = read_text(bundle, root, "name", true, &manifest->name);
    }
    if (rc == 0) {
        rc = read_text(bundle, root, "backend", true, &manifest->backend);
    }
    if (rc == 0) {
        rc = read_text(bundle, root, "sample", false, &manifest->sample);
    }
    if (rc == 0) {
        rc = read_pairs(bundle, root, "parameters", &manifest->parameters, &manifest->parameter_count);
    }
    if (rc == 0) {
        rc = read_pairs(bundle, root, "requires", &manifest->requires, &manifest->requires_count);
    }
    if (rc == 0) {
        rc = check_requires(bundle);
    }
    return rc == 0 ? read_files(bundle, root) : rc;
}

/* The same rules as for the bytes on the wire; roots are not here yet, so the check sees others in their place. */
static int check_manifest(struct bundle *bundle)
{
    struct cpni_manifest checked = bundle->manifest;
    checked.files = cpni_arena_memdup(bundle->arena, checked.files, CPNI_MANIFEST_FILES_MAX * sizeof *checked.files);
    if (checked.files == NULL) {
        return fail_memory(bundle);
    }
    for (uint32_t i = 0; i < checked.file_count; i++) {
        checked.files[i].root.bytes[0] = 1;
    }
    char why[CPNI_WHY];
    return cpni_manifest_check(&checked, why) < 0 ? fail(bundle, CPN_EBADINPUT, "%.140s", why) : 0;
}

static int load_json(struct bundle *bundle, json_t **out)
{
    int fd = openat(bundle->dir_fd, CPNI_MODEL_JSON, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fail(bundle, errno == ENOENT ? CPN_ENOTFOUND : CPN_EIO, "%s", strerror(errno));
    }
    struct stat status; /* a directory or a pipe of that name would else be read */
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > CPNI_MODEL_JSON_BYTES_MAX) {
        close(fd);
        return fail(bundle, CPN_EBADINPUT, "expected a regular file of at most %d bytes", CPNI_MODEL_JSON_BYTES_MAX);
    }
    json_error_t error;
    json_t *root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
    close(fd);
    if (root == NULL) {
        return fail(bundle, CPN_EBADINPUT, "line %d, column %d: %s", error.line, error.column, error.text);
    }
    *out = root;
    return 0;
}

int cpni_bundle_read(const char *dir, struct cpni_arena *arena, struct cpni_manifest *out, char *why)
{
    struct bundle bundle = { .dir = dir, .arena = arena, .why = why };
    bundle.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (bundle.dir_fd < 0) {
        int error = errno;
        snprintf(why, CPNI_WHY, "%.100s: %s; expected the directory of a bundle", dir, strerror(error));
        return error == ENOENT || error == ENOTDIR ? CPN_ENOTFOUND : CPN_EIO;
    }
    json_t *root = NULL;
    int rc = load_json(&bundle, &root);
    if (rc == 0) {
        rc = read_fields(&bundle, root);
    }
    if (rc == 0) {
        rc = check_manifest(&bundle);
    }
    json_decref(root);
    close(bundle.dir_fd);
    if (rc == 0) {
        *out = bundle.manifest;
    }
    return rc;
}
