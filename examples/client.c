/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A client in a few lines: one photo, one model, the labels. Usage: client CONTEXT MODEL PHOTO
 * CONTEXT is the file that `cpn join` or the first start of cpn-master wrote. */
#include <stdio.h>
#include <stdlib.h>

#include <cpn/cpn.h>

static void *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
    }
    char *data = NULL;
    size_t room = 0;
    *size = 0;
    while (file != NULL && !feof(file) && !ferror(file)) {
        if (*size == room) {
            room = room == 0 ? 65536 : room * 2;
            data = realloc(data, room);
        }
        if (data == NULL) {
            break;
        }
        *size += fread(data + *size, 1, room - *size, file);
    }
    if (file != NULL) {
        fclose(file);
    }
    return data;
}

int main(int argc, char **argv)
{
    char why[CPN_DETAIL] = "";
    struct cpn_context *context = NULL;
    struct cpn_client *client = NULL;
    struct cpn_client_options options = CPN_CLIENT_OPTIONS_INIT;
    struct cpn_task_options order = CPN_TASK_OPTIONS_INIT;
    struct cpn_task *task = NULL;
    size_t count = 0;
    if (argc != 4 || cpn_context_load(argv[1], &context, why) < 0) {
        fprintf(stderr, "client CONTEXT MODEL PHOTO: %s\n", why);
        return 2;
    }
    options.context = context;
    int rc = cpn_client_open(&options, &client, why);
    if (rc == 0) {
        order.model = argv[2];
        order.name = argv[3];
        order.data = read_file(argv[3], &order.data_size);
        rc = cpn_client_submit(client, &order, &task);
        free((void *)order.data); /* it was copied */
    }
    if (rc == 0 && (rc = cpn_task_wait(task, 60000)) == 0) {
        rc = cpn_task_code(task);
        const struct cpn_label *labels = cpn_task_labels(task, &count);
        for (size_t i = 0; i < count; i++) {
            printf("%s %.2f at %d,%d %dx%d\n", labels[i].name, (double)labels[i].confidence, labels[i].x, labels[i].y,
                   labels[i].width, labels[i].height);
        }
    }
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", cpn_strerror(rc), task != NULL ? cpn_task_detail(task) : client != NULL ? cpn_client_detail(client) : why);
    }
    cpn_client_close(client);
    cpn_context_free(context);
    return rc < 0;
}
