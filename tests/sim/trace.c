/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What is told of a run: one line for each thing that happened to a process and each thing that it wants. Nothing is kept while a run is
 * good: a failed seed is simply run again, with this on. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINES 50
#define WIDTH 400

static char ring[LINES][WIDTH];
static size_t lines;
static bool on, printing;

void trace_mix(struct sim *sim, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = sim->hash;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 29;
    }
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    sim->hash = hash;
}

bool trace_on(void)
{
    return on;
}

void trace_reset(bool record, bool print)
{
    on = record || print;
    printing = print;
    lines = 0;
}

void trace_line(struct sim *sim, const struct proc *proc, const char *format, ...)
{
    if (!on || sim->failed || sim->options->trace_from_us > sim->now_us) {
        return;
    }
    char *line = ring[lines++ % LINES];
    int used = snprintf(line, WIDTH, "%11.6f %-9s ", (double)sim->now_us / 1e6, proc == NULL ? "" : proc->place->name);
    va_list list;
    va_start(list, format);
    vsnprintf(line + used, WIDTH - (size_t)used, format, list);
    va_end(list);
    if (printing) {
        puts(line);
    }
}

void trace_dump(void)
{
    for (size_t i = lines > LINES ? lines - LINES : 0; i < lines; i++) {
        fprintf(stderr, "%s\n", ring[i % LINES]);
    }
}

/* ---- messages: the type and what tells one from another ---- */

static int describe_field(const struct cpni_field *field, const uint8_t *at, const uint8_t *body, char *text, size_t room)
{
    char hex[CPN_KEY_TEXT];
    uint64_t number;
    struct cpni_str str;
    struct cpni_bytes *bytes;
    uint32_t count;
    switch (field->kind) {
    case CPNI_FIELD_BOOL:
        return *at == 0 ? 0 : snprintf(text, room, " %s", field->name);
    case CPNI_FIELD_U32:
    case CPNI_FIELD_I32:
    case CPNI_FIELD_F32:
        memcpy(&count, at, sizeof count);
        return count == 0 ? 0 : snprintf(text, room, " %s %d", field->name, (int)count);
    case CPNI_FIELD_U64:
        memcpy(&number, at, sizeof number);
        return number == 0 ? 0 : snprintf(text, room, " %s %llu", field->name, (unsigned long long)number);
    case CPNI_FIELD_STR:
        memcpy(&str, at, sizeof str);
        return str.size == 0 ? 0 : snprintf(text, room, " %s \"%.*s\"", field->name, (int)str.size, str.text);
    case CPNI_FIELD_ID:
        return snprintf(text, room, " %s %.8s", field->name, cpn_id_text((const struct cpn_id *)(const void *)at, hex));
    case CPNI_FIELD_HASH:
        cpn_hash_text((const struct cpn_hash *)(const void *)at, hex);
        return strncmp(hex, "00000000", 8) == 0 ? 0 : snprintf(text, room, " %s %.8s", field->name, hex);
    case CPNI_FIELD_FRAME:
        memcpy(&bytes, at, sizeof bytes);
        return bytes == NULL ? 0 : snprintf(text, room, " %s[%zu]", field->name, bytes->size);
    case CPNI_FIELD_LIST:
        memcpy(&count, body + field->count_offset, sizeof count);
        return count == 0 ? 0 : snprintf(text, room, " %s:%u", field->name, count);
    default:
        return 0;
    }
}

static void describe(struct cpni_msg *msg, char *text, size_t room)
{
    const struct cpni_layout *layout = cpni_msg_layout(msg->type);
    int used = snprintf(text, room, "%s", cpni_msg_name(msg->type));
    const uint8_t *body = cpni_msg_body(msg);
    for (size_t i = 0; layout != NULL && i < layout->field_count && (size_t)used < room; i++) {
        used += describe_field(&layout->fields[i], body + layout->fields[i].offset, body, text + used, room - (size_t)used);
    }
}

static const char *const event_names[] = { "TICK",   "PACKET", "BAD_PACKET", "CONNECTED", "DISCONNECTED", "REFUSED", "COMMIT", "NOTES", "DISK",
                                           "MODEL",  "FINISHED", "TRAINER", "LOAD", "SUBMIT", "CANCEL", "ASK", "FETCH", "FORGET_ASK", "STOP" };
static const char *const disk_names[] = { "?", "BEGIN", "WRITE_CHUNK", "FINISH", "ABORT", "READ_CHUNK", "READ_LEAVES", "IMPORT_BYTES",
                                          "REMOVE" };

static void trace_packet(const struct proc *proc, const struct cpni_event_packet *packet)
{
    for (size_t i = 0; i < packet->count; i++) {
        char text[WIDTH];
        describe(&packet->msgs[i], text, sizeof text);
        trace_line(proc->sim, proc, "<- conn %llu link %u seq %llu: %s", (unsigned long long)packet->conn, packet->link,
                   (unsigned long long)packet->sequence, text);
    }
}

void trace_event(const struct proc *proc, const struct cpni_event *event)
{
    char hex[CPN_KEY_TEXT];
    if (!on || event->type == CPNI_EV_TICK || event->type == CPNI_EV_LOAD) {
        return;
    }
    switch (event->type) {
    case CPNI_EV_PACKET:
        trace_packet(proc, &event->packet);
        break;
    case CPNI_EV_CONNECTED:
    case CPNI_EV_DISCONNECTED:
    case CPNI_EV_REFUSED:
        trace_line(proc->sim, proc, "<- %s conn %llu", event_names[event->type], (unsigned long long)event->lost.conn);
        break;
    case CPNI_EV_DISK:
        trace_line(proc->sim, proc, "<- DISK ticket %llu %.8s %s%s", (unsigned long long)event->disk.ticket,
                   cpn_hash_text(&event->disk.root, hex), cpn_error_name(event->disk.code), event->disk.complete ? " complete" : "");
        break;
    case CPNI_EV_COMMIT:
        trace_line(proc->sim, proc, "<- COMMIT ticket %llu status %d %s", (unsigned long long)event->commit.ticket,
                   (int)event->commit.commit.status, cpn_error_name(event->commit.commit.code));
        break;
    case CPNI_EV_FINISHED:
        trace_line(proc->sim, proc, "<- FINISHED ticket %llu %s", (unsigned long long)event->finished.ticket,
                   cpn_error_name(event->finished.code));
        break;
    case CPNI_EV_TRAINER:
        trace_line(proc->sim, proc, "<- TRAINER ticket %llu said %d round %llu step %llu %s", (unsigned long long)event->trainer.ticket,
                   (int)event->trainer.said, (unsigned long long)event->trainer.round, (unsigned long long)event->trainer.step,
                   cpn_error_name(event->trainer.code));
        break;
    case CPNI_EV_MODEL:
        trace_line(proc->sim, proc, "<- MODEL %.8s %s", cpn_hash_text(&event->model.root, hex), cpn_error_name(event->model.code));
        break;
    default:
        trace_line(proc->sim, proc, "<- %s", event_names[event->type]);
    }
}

static void trace_action(const struct proc *proc, struct cpni_action *action)
{
    char text[WIDTH], hex[CPN_KEY_TEXT];
    switch (action->type) {
    case CPNI_ACT_SEND:
        describe(&action->send.msg, text, sizeof text);
        trace_line(proc->sim, proc, "-> conn %llu link %u: %s", (unsigned long long)action->send.conn, action->send.link, text);
        break;
    case CPNI_ACT_TELL:
        describe(&action->tell.msg, text, sizeof text);
        trace_line(proc->sim, proc, "-> TELL %s", text);
        break;
    case CPNI_ACT_DISK:
        trace_line(proc->sim, proc, "-> DISK ticket %llu %s %.8s %u", (unsigned long long)action->disk.ticket, disk_names[action->disk.op],
                   cpn_hash_text(&action->disk.root, hex), action->disk.index);
        break;
    case CPNI_ACT_RUN:
        trace_line(proc->sim, proc, "-> RUN ticket %llu slot %u task %.8s attempt %u", (unsigned long long)action->run.ticket,
                   action->run.slot, cpn_id_text(&action->run.task, hex), action->run.attempt);
        break;
    case CPNI_ACT_TRAINER:
        trace_line(proc->sim, proc, "-> TRAINER ticket %llu op %d lane %u round %llu%s%s", (unsigned long long)action->trainer.ticket,
                   (int)action->trainer.op, action->trainer.lane, (unsigned long long)action->trainer.round,
                   action->trainer.replay ? " replay" : "", action->trainer.state ? " state" : "");
        break;
    case CPNI_ACT_LOG:
        trace_line(proc->sim, proc, "   %s %.*s", action->log.event, (int)action->log.text.size, action->log.text.text);
        break;
    case CPNI_ACT_COMMIT:
        trace_line(proc->sim, proc, "-> COMMIT ticket %llu command %d", (unsigned long long)action->commit.ticket,
                   (int)action->commit.command.type);
        break;
    case CPNI_ACT_DROP:
    case CPNI_ACT_RECONNECT:
        trace_line(proc->sim, proc, "-> %s conn %llu", action->type == CPNI_ACT_DROP ? "DROP" : "RECONNECT",
                   (unsigned long long)action->conn.conn);
        break;
    case CPNI_ACT_KILL:
        trace_line(proc->sim, proc, "-> KILL ticket %llu", (unsigned long long)action->kill.ticket);
        break;
    default:
        trace_line(proc->sim, proc, "-> action %d", (int)action->type);
    }
}

void trace_actions(const struct proc *proc, size_t from)
{
    for (size_t i = from; on && i < proc->actions.count; i++) {
        trace_action(proc, &proc->actions.list[i]);
    }
}
