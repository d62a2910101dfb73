/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See inbox.h. */
#include "role/inbox.h"

#include <cpn/error.h>

#include "role/signing.h"
#include "wire/manifest.h"
#include "wire/packet.h"

typedef void sink_fn(void *arg, const struct cpni_event *event);

static void bad(const struct cpni_packet *packet, int code, const char *text, sink_fn *sink, void *arg)
{
    const struct cpni_event event = {
        .type = CPNI_EV_BAD_PACKET,
        .bad = { .conn = packet->conn, .key = packet->key, .code = code, .text = text },
    };
    sink(arg, &event);
}

static void check_manifest(struct cpni_arena *arena, struct cpni_bytes *bytes, const struct cpni_signature *signature,
                           const struct cpn_key *signer, struct cpni_manifest_check *check)
{
    char *why = cpni_arena_alloc(arena, CPNI_WHY);
    struct cpni_manifest *manifest = cpni_arena_alloc(arena, sizeof *manifest);
    if (why == NULL || manifest == NULL || bytes == NULL) {
        *check = (struct cpni_manifest_check){ .code = bytes == NULL ? CPN_EPROTO : CPN_ENOMEM, .text = "no manifest" };
        return;
    }
    if (bytes->size > CPNI_MANIFEST_BYTES_MAX) {
        *check = (struct cpni_manifest_check){ .code = CPN_ETOOBIG, .text = "the manifest is larger than 64 KiB" };
        return;
    }
    cpni_signing_root(bytes, &check->root);
    check->code = cpni_signing_verify(signer, bytes, signature);
    if (check->code < 0) {
        check->text = "the signature does not match the manifest and its publisher's key";
        return;
    }
    check->code = cpni_manifest_decode(bytes->data, bytes->size, arena, manifest, why);
    check->text = why;
    if (check->code == 0) {
        check->manifest = manifest;
    }
}

static struct cpni_manifest_check *check_all(struct cpni_arena *arena, const struct cpni_msg *msgs, size_t count)
{
    struct cpni_manifest_check *checks = NULL;
    for (size_t i = 0; i < count; i++) {
        if (msgs[i].type != CPNI_MSG_PREPARE && msgs[i].type != CPNI_MSG_PUBLISH) {
            continue;
        }
        if (checks == NULL) {
            checks = cpni_arena_alloc(arena, count * sizeof *checks);
        }
        if (checks == NULL) {
            return NULL; /* the core takes a manifest without a check for an unchecked one, and refuses it */
        }
        if (msgs[i].type == CPNI_MSG_PREPARE) {
            check_manifest(arena, msgs[i].prepare.manifest, &msgs[i].prepare.signature, &msgs[i].prepare.signer, &checks[i]);
        } else {
            check_manifest(arena, msgs[i].publish.manifest, &msgs[i].publish.signature, &msgs[i].publish.signer, &checks[i]);
        }
    }
    return checks;
}

static void deliver(struct cpni_inbox *inbox, const struct cpni_packet *packet, sink_fn *sink, void *arg)
{
    struct cpni_packet_head head;
    struct cpni_event event = { .type = CPNI_EV_PACKET };
    struct cpni_msg *msgs;
    size_t count;
    char why[CPNI_WHY];
    int rc = cpni_packet_decode(packet->frames, packet->count, &inbox->arena, &head, &msgs, &count, why);
    if (rc < 0) {
        bad(packet, rc, why, sink, arg);
        return;
    }
    event.packet = (struct cpni_event_packet){
        .conn = packet->conn,
        .key = packet->key,
        .local = packet->local,
        .link = head.link,
        .sequence = head.seq,
        .msgs = msgs,
        .count = count,
        .checks = check_all(&inbox->arena, msgs, count),
    };
    sink(arg, &event);
    for (size_t i = 0; i < count; i++) {
        cpni_msg_drop(&msgs[i]);
    }
}

void cpni_inbox_take(struct cpni_inbox *inbox, struct cpni_packet *packet, sink_fn *sink, void *arg)
{
    switch (packet->fault) {
    case CPNI_PACKET_SOUND:
        deliver(inbox, packet, sink, arg);
        break;
    case CPNI_PACKET_OVERLONG:
        bad(packet, CPN_ETOOBIG, "a message of more frames than the protocol allows", sink, arg);
        break;
    case CPNI_PACKET_UNKEYED:
        bad(packet, CPN_EKEY, "a message from TCP that no key vouches for", sink, arg);
        break;
    case CPNI_PACKET_FOREIGN:
        bad(packet, CPN_EPROTO, "a peer that chose its own routing id", sink, arg);
        break;
    }
    cpni_packet_clear(packet);
    cpni_arena_reset(&inbox->arena);
}

void cpni_inbox_free(struct cpni_inbox *inbox)
{
    cpni_arena_free(&inbox->arena);
}
