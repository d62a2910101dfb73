/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See trainer_body.h. Exit status 0: the parent hung up. */
#include "trainer_body.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "compute/runner_io.h"
#include "compute/sandbox.h"
#include "compute/trainer_lane.h"

union packet {
    struct cpni_trainer_open open;
    struct cpni_trainer_share share;
    struct cpni_trainer_round round;
};

const struct cpn_trainer *cpni_trainer_plugin(const char *path, char *detail)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        const char *why = dlerror();
        snprintf(detail, CPN_TRAINER_DETAIL, "cannot load the trainer: %s", why != NULL ? why : path);
        return NULL;
    }
    const struct cpn_trainer *plugin = dlsym(object, CPN_TRAINER_SYMBOL);
    if (plugin == NULL || plugin->abi != CPN_TRAINER_ABI || plugin->size < sizeof *plugin) {
        snprintf(detail, CPN_TRAINER_DETAIL, "%s is no trainer of this version (expected %s with ABI %d)", path,
            CPN_TRAINER_SYMBOL, CPN_TRAINER_ABI);
        return NULL;
    }
    return plugin;
}

static int say(struct cpni_trainer_answer *answer)
{
    answer->version = CPNI_TRAINER_VERSION;
    return cpni_body_send(answer, sizeof *answer, NULL, 0);
}

/* A packet of the type that is due; anything else is the end. */
static bool next(union packet *packet, uint32_t type, size_t size, int *fd)
{
    size_t got = cpni_body_receive(packet, sizeof *packet, fd);
    return got == size && packet->share.version == CPNI_TRAINER_VERSION && packet->share.type == type;
}

static int said(void *arg, struct cpni_trainer_answer *answer)
{
    (void)arg;
    union packet packet;
    int fd, rc = say(answer);
    if (rc == 0 && answer->type == CPNI_TRAINER_GRADIENT) {
        rc = next(&packet, CPNI_TRAINER_APPLY_PACKET, sizeof packet.share, &fd) ? 0 : CPN_ECLOSED;
    }
    return rc;
}

/* ---- opening ---- */

/* The trainer is made from the header alone, and only then, confined, the process looks at what a user sent. */
static int make(struct cpni_lane *lane, const struct cpni_trainer_open *open, int dataset_fd, char *detail)
{
    struct cpni_dataset_header header;
    struct stat status;
    if (dataset_fd < 0 || fstat(dataset_fd, &status) != 0
        || pread(dataset_fd, &header, sizeof header, 0) != (ssize_t)sizeof header) {
        snprintf(detail, CPN_TRAINER_DETAIL, "the dataset is too short to be one");
        return CPN_EBADINPUT;
    }
    if (memcmp(header.magic, CPNI_DATASET_MAGIC, sizeof header.magic) != 0) {
        snprintf(detail, CPN_TRAINER_DETAIL, "the dataset does not start like one");
        return CPN_EBADINPUT;
    }
    lane->plugin = cpni_trainer_plugin(open->plugin, detail);
    if (lane->plugin == NULL) {
        return CPN_ENOTSUP;
    }
    int rc = cpni_lane_create(lane, open, header.columns, header.classes, detail);
    if (rc < 0) {
        return rc;
    }
    lane->checkpoint_bytes = cpni_lane_checkpoint_bytes(lane);
    uint64_t region = cpni_trainer_region(lane->info.weights, lane->checkpoint_bytes).size;
    uint64_t memory = open->memory_bytes + 2 * (uint64_t)status.st_size + region + 2 * lane->checkpoint_bytes;
    /* A driver of another device opens files and speaks ioctl whenever it likes: such a trainer runs unconfined. It
     * never sees more of a user's than numbers. */
    return strncmp(lane->info.device, "cpu", 3) == 0 ? cpni_sandbox_enter(0, open->threads, memory, detail) : 0;
}

static int share(struct cpni_lane *lane, uint64_t size, int fd)
{
    struct cpni_trainer_region at = cpni_trainer_region(lane->info.weights, lane->checkpoint_bytes);
    uint8_t *map
        = size == at.size && fd >= 0 ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        return CPN_ENOMEM;
    }
    close(fd);
    lane->in = (float *)(void *)(map + at.in_at);
    lane->out = (float *)(void *)(map + at.out_at);
    lane->checkpoint = map + at.state_at;
    return 0;
}

static int bind_rows(struct cpni_lane *lane, const struct cpni_trainer_open *open, int dataset_fd, int state_fd,
    uint64_t state_size, char *detail)
{
    char why[CPNI_DATA_DETAIL] = "";
    int rc = cpni_dataset_open(dataset_fd, &lane->set, why);
    if (rc < 0) {
        snprintf(detail, CPN_TRAINER_DETAIL, "%.*s", CPN_TRAINER_DETAIL - 1, why);
        return rc == CPN_ECORRUPT || rc == CPN_EVERSION ? CPN_EBADINPUT : rc;
    }
    void *state = NULL;
    if (state_fd >= 0) {
        struct stat status;
        bool whole = fstat(state_fd, &status) == 0 && (uint64_t)status.st_size >= state_size && state_size != 0;
        state = whole ? mmap(NULL, state_size, PROT_READ, MAP_PRIVATE, state_fd, 0) : MAP_FAILED;
        if (state == MAP_FAILED) {
            snprintf(detail, CPN_TRAINER_DETAIL, "the lane's checkpoint cannot be read");
            return CPN_EIO;
        }
        close(state_fd);
    }
    rc = cpni_lane_bind(lane, open->train_rows, state, state_size, detail);
    if (state != NULL) {
        munmap(state, state_size);
    }
    return rc;
}

/* OPEN to OPENED. Negative: it was said, or nobody listens. */
static int open_lane(struct cpni_lane *lane)
{
    static union packet packet;
    static struct cpni_trainer_open open;
    int dataset_fd, region_fd, state_fd = -1;
    if (!next(&packet, CPNI_TRAINER_OPEN_PACKET, sizeof packet.open, &dataset_fd)) {
        return CPN_EPROTO;
    }
    open = packet.open;
    struct cpni_trainer_answer answer = { .type = CPNI_TRAINER_SIZED };
    answer.code = make(lane, &open, dataset_fd, answer.detail);
    answer.weights = lane->info.weights;
    answer.state_bytes = lane->checkpoint_bytes;
    if (say(&answer) < 0 || answer.code < 0) {
        return CPN_ECLOSED;
    }
    if (!next(&packet, CPNI_TRAINER_SHARE_PACKET, sizeof packet.share, &region_fd)) {
        return CPN_EPROTO;
    }
    answer = (struct cpni_trainer_answer) { .type = CPNI_TRAINER_OPENED, .reproducible = lane->info.reproducible };
    answer.code = share(lane, packet.share.size, region_fd);
    if (packet.share.state_follows && !next(&packet, CPNI_TRAINER_STATE_PACKET, sizeof packet.share, &state_fd)) {
        return CPN_EPROTO;
    }
    if (answer.code == 0) {
        answer.code = bind_rows(lane, &open, dataset_fd, state_fd, packet.share.size, answer.detail);
    }
    close(dataset_fd);
    snprintf(answer.device, sizeof answer.device, "%s", lane->info.device);
    snprintf(answer.fingerprint, sizeof answer.fingerprint, "%s", lane->info.fingerprint);
    answer.round = lane->round;
    return say(&answer) < 0 || answer.code < 0 ? CPN_ECLOSED : 0;
}

int cpni_trainer_serve(long parent)
{
    static struct cpni_lane lane; /* the process ends with it */
    static union packet packet;
    int fd;
    lane.said = said;
    if (cpni_sandbox_follow(parent) != 0 || open_lane(&lane) < 0) {
        return 1;
    }
    while (next(&packet, CPNI_TRAINER_ROUND_PACKET, sizeof packet.round, &fd)) {
        struct cpni_trainer_answer answer = { .type = CPNI_TRAINER_ROUNDED };
        answer.code = cpni_lane_round(&lane, &packet.round, &answer);
        if (answer.code == CPN_ECLOSED || say(&answer) < 0) {
            break;
        }
    }
    return 0;
}
