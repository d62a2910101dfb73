/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Labels as text, the same on both sides of the image benchmark, so that the two files can be compared byte by byte; and the reading of
 * a photo. */
#ifndef BENCH_LABELS_H
#define BENCH_LABELS_H

#include <sys/mman.h>

#include <cpn/result.h>

#include "measure.h"

#define LABELS_TEXT 16384 /* bytes of the labels of one photo: about 150 */

struct labels {
    size_t size;
    char text[LABELS_TEXT];
};

static inline void labels_add(struct labels *labels, const struct cpn_label *label)
{
    const size_t room = sizeof labels->text - labels->size;
    const int size = snprintf(labels->text + labels->size, room, "  %s %.9g %d,%d %dx%d\n", label->name, (double)label->confidence,
                              label->x, label->y, label->width, label->height);
    if (size < 0 || (size_t)size >= room) {
        fail("too many labels for one photo");
    }
    labels->size += (size_t)size;
}

static inline void labels_write(const char *path, const struct labels *labels, size_t count)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        fail("%s: %s", path, strerror(errno));
    }
    for (size_t i = 0; i < count; i++) {
        fprintf(file, "photo %zu\n%.*s", i, (int)labels[i].size, labels[i].text);
    }
    fclose(file);
}

static inline void *share_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fail("memory: %s", strerror(errno));
    }
    return memory;
}

static inline void *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fail("%s: %s", path, strerror(errno));
    }
    *size = (size_t)ftell(file);
    void *data = malloc(*size + 1);
    rewind(file);
    if (data == NULL || fread(data, 1, *size, file) != *size) {
        fail("%s: cannot be read", path);
    }
    fclose(file);
    return data;
}

#endif
