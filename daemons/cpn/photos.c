/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See photos.h. */
#include "photos.h"

#include <errno.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <uthash.h>

#include "common/exitcode.h"

/* A copy that must not be written where something else of this run lies. */
struct taken {
    char *path;
    UT_hash_handle hh;
};
struct source {
    struct {
        dev_t dev;
        ino_t ino;
    } file;
    UT_hash_handle hh;
};

struct collect {
    struct photos *photos;
    const char *out;
    bool out_exists;
    struct stat out_status;
    struct taken *taken;
    struct source *sources;
};

static bool is_photo(const char *name)
{
    static const char *const kinds[] = { ".jpg", ".jpeg", ".png", ".webp" };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcasecmp(dot, kinds[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_out(const struct collect *collect, const struct stat *status)
{
    return collect->out_exists && status->st_dev == collect->out_status.st_dev && status->st_ino == collect->out_status.st_ino;
}

/* ---- where copies go ---- */

static int remember_source(struct collect *collect, const struct stat *status)
{
    struct source *source = calloc(1, sizeof *source);
    if (source == NULL) {
        return EXIT_CODE_MACHINE;
    }
    source->file.dev = status->st_dev;
    source->file.ino = status->st_ino;
    struct source *known;
    HASH_FIND(hh, collect->sources, &source->file, sizeof source->file, known);
    if (known != NULL) {
        free(source);
    } else {
        HASH_ADD(hh, collect->sources, file, sizeof source->file, source);
    }
    return 0;
}

static bool is_source(const struct collect *collect, const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return false;
    }
    struct source key = { 0 };
    key.file.dev = status.st_dev;
    key.file.ino = status.st_ino;
    struct source *known;
    HASH_FIND(hh, collect->sources, &key.file, sizeof key.file, known);
    return known != NULL;
}

/* "x.jpg", or "x-2.jpg" when another operand has an x.jpg, too. */
static int choose_out(struct collect *collect, const char *relative, char **out)
{
    const char *dot = strrchr(relative, '.');
    const char *slash = strrchr(relative, '/');
    int stem = dot != NULL && (slash == NULL || dot > slash + 1) ? (int)(dot - relative) : (int)strlen(relative);
    struct taken *taken = calloc(1, sizeof *taken);
    struct taken *known = NULL;
    for (int i = 1; taken != NULL; i++) {
        char number[16] = "";
        if (i > 1) {
            snprintf(number, sizeof number, "-%d", i);
        }
        if (asprintf(&taken->path, "%s/%.*s%s%s", collect->out, stem, relative, number, relative + stem) < 0) {
            break;
        }
        HASH_FIND_STR(collect->taken, taken->path, known);
        if (known == NULL) {
            HASH_ADD_KEYPTR(hh, collect->taken, taken->path, strlen(taken->path), taken);
            *out = taken->path;
            return 0;
        }
        free(taken->path);
    }
    free(taken);
    return EXIT_CODE_MACHINE;
}

static int add(struct collect *collect, const char *path, const char *relative, const struct stat *status)
{
    struct photos *photos = collect->photos;
    if (photos->count == PHOTOS_MAX) {
        fprintf(stderr, "cpn predict: more than %d photos; call it for parts of them\n", PHOTOS_MAX);
        return EXIT_CODE_INPUT;
    }
    if (photos->count == photos->room) {
        size_t room = photos->room == 0 ? 64 : 2 * photos->room;
        struct photo *items = realloc(photos->items, room * sizeof *items);
        if (items == NULL) {
            return EXIT_CODE_MACHINE;
        }
        photos->items = items;
        photos->room = room;
    }
    struct photo photo = { .path = strdup(path) };
    int rc = photo.path == NULL ? EXIT_CODE_MACHINE : remember_source(collect, status);
    if (rc == 0 && collect->out != NULL) {
        rc = choose_out(collect, relative, &photo.out);
    }
    if (rc == 0) {
        photos->items[photos->count++] = photo;
    } else {
        free(photo.path);
    }
    return rc;
}

/* ---- what there is ---- */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add_entry(struct collect *collect, FTS *tree, FTSENT *entry, size_t root)
{
    switch (entry->fts_info) {
    case FTS_D:
        if (entry->fts_level > 0 && is_out(collect, entry->fts_statp)) {
            fts_set(tree, entry, FTS_SKIP);
        }
        return 0;
    case FTS_F:
        return is_photo(entry->fts_name) ? add(collect, entry->fts_path, entry->fts_path + root, entry->fts_statp) : 0;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        fprintf(stderr, "cpn predict: %s: %s\n", entry->fts_path, strerror(entry->fts_errno));
        return EXIT_CODE_INPUT;
    default:
        return 0;
    }
}

static int add_directory(struct collect *collect, const char *path)
{
    size_t root = strlen(path);
    while (root > 1 && path[root - 1] == '/') {
        root--;
    }
    char *copy = strndup(path, root);
    char *const roots[] = { copy, NULL };
    FTS *tree = copy != NULL ? fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name) : NULL;
    int rc = tree == NULL ? EXIT_CODE_MACHINE : 0;
    FTSENT *entry;
    while (rc == 0 && (entry = fts_read(tree)) != NULL) {
        rc = add_entry(collect, tree, entry, strcmp(copy, "/") == 0 ? 1 : root + 1);
    }
    if (tree != NULL) {
        fts_close(tree);
    }
    free(copy);
    return rc;
}

static int add_operand(struct collect *collect, const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        fprintf(stderr, "cpn predict: %s: %s\n", path, strerror(errno));
        return EXIT_CODE_INPUT;
    }
    if (S_ISDIR(status.st_mode)) {
        return add_directory(collect, path);
    }
    if (!S_ISREG(status.st_mode)) {
        fprintf(stderr, "cpn predict: %s: expected a photo or a directory\n", path);
        return EXIT_CODE_INPUT;
    }
    const char *slash = strrchr(path, '/');
    return add(collect, path, slash != NULL ? slash + 1 : path, &status);
}

/* Sources are known only when all operands were seen. */
static int check_copies(const struct collect *collect)
{
    for (size_t i = 0; collect->out != NULL && i < collect->photos->count; i++) {
        if (is_source(collect, collect->photos->items[i].out)) {
            fprintf(stderr, "cpn predict: the copy of %s would overwrite %s, which is a photo of this call; say another -o\n",
                    collect->photos->items[i].path, collect->photos->items[i].out);
            return EXIT_CODE_USAGE;
        }
    }
    return 0;
}

static void forget(struct collect *collect)
{
    struct taken *taken, *next_taken;
    HASH_ITER(hh, collect->taken, taken, next_taken) {
        HASH_DEL(collect->taken, taken);
        free(taken); /* the path is the photo's */
    }
    struct source *source, *next_source;
    HASH_ITER(hh, collect->sources, source, next_source) {
        HASH_DEL(collect->sources, source);
        free(source);
    }
}

int photos_collect(char *const *operands, size_t count, const char *out, struct photos *photos)
{
    *photos = (struct photos){ 0 };
    struct collect collect = { .photos = photos, .out = out };
    collect.out_exists = out != NULL && stat(out, &collect.out_status) == 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = add_operand(&collect, operands[i]);
    }
    if (rc == 0) {
        rc = check_copies(&collect);
    }
    forget(&collect);
    if (rc == EXIT_CODE_MACHINE) {
        fprintf(stderr, "cpn predict: out of memory\n");
    }
    if (rc == 0 && photos->count == 0) {
        fprintf(stderr, "cpn predict: no photo there: expected files ending in .jpg, .jpeg, .png or .webp\n");
        rc = EXIT_CODE_INPUT;
    }
    if (rc != 0) {
        photos_free(photos);
    }
    return rc;
}

void photos_free(struct photos *photos)
{
    for (size_t i = 0; i < photos->count; i++) {
        free(photos->items[i].path);
        free(photos->items[i].out);
    }
    free(photos->items);
    *photos = (struct photos){ 0 };
}
