/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A corpus as an ordinary test: each file of the directories given, once, from memory of exactly its size, and each with some
 * bytes changed. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define FILE_BYTES_MAX (2 * 1024 * 1024)
#define CHANGES 2000 /* of each file */

static void change_and_try(uint8_t *data, size_t size)
{
    uint32_t random = 1;
    for (int i = 0; size > 0 && i < CHANGES; i++) {
        random = random * 1664525u + 1013904223u;
        size_t at = (random >> 8) % size;
        uint8_t kept = data[at];
        data[at] = (uint8_t)(random >> 3);
        LLVMFuzzerTestOneInput(data, size);
        if (i % 4 != 0) { /* some changes stay, and add up */
            data[at] = kept;
        }
    }
}

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    uint8_t *room = malloc(FILE_BYTES_MAX);
    size_t size = fread(room, 1, FILE_BYTES_MAX, file);
    fclose(file);
    uint8_t *data = malloc(size + (size == 0));
    memcpy(data, room, size);
    free(room);
    LLVMFuzzerTestOneInput(data, size);
    change_and_try(data, size);
    free(data);
    return 0;
}

static int replay_directory(const char *dir, size_t *count)
{
    DIR *stream = opendir(dir);
    if (stream == NULL) {
        perror(dir);
        return 1;
    }
    int failures = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
            failures += replay(path);
            ++*count;
        }
    }
    closedir(stream);
    return failures;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    int failures = 0;
    for (int i = 1; i < argc; i++) {
        failures += replay_directory(argv[i], &count);
    }
    printf("%zu files\n", count);
    return failures == 0 && count > 0 ? 0 : 1;
}
