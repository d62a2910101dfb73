/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The field tables of all messages, derived from the lists in msg.h, and the deep copy. */
#include "proto/msg.h"

#include <stdalign.h>
#include <string.h>

#include <cpn/error.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* clang-format off */
#define FIELD(number_, kind_, name_) \
    { .number = (number_), .kind = CPNI_FIELD_##kind_, .offset = offsetof(STRUCT, name_), .name = #name_ },
#define LIST(number_, record_, name_) \
    { .number = (number_), .kind = CPNI_FIELD_LIST, .offset = offsetof(STRUCT, name_), \
      .count_offset = offsetof(STRUCT, name_##_count), .record = &layout_##record_, .name = #name_ },

/* A record's layout must stand before the tables that list it. FIELD and LIST read the name STRUCT, which is why each table has
 * a line of its own rather than coming out of CPNI_MESSAGES. */
#define RECORD(NAME_) \
    static const struct cpni_layout layout_##NAME_ = { .name = #NAME_, .size = sizeof(struct cpni_rec_##NAME_), \
        .fields = rec_##NAME_, .field_count = COUNT(rec_##NAME_) };

#define STRUCT struct cpni_rec_TEXT
static const struct cpni_field rec_TEXT[] = { CPNI_FIELDS_REC_TEXT(FIELD, LIST) };
RECORD(TEXT)
#undef STRUCT

#define STRUCT struct cpni_rec_ATTEMPT
static const struct cpni_field rec_ATTEMPT[] = { CPNI_FIELDS_REC_ATTEMPT(FIELD, LIST) };
RECORD(ATTEMPT)
#undef STRUCT

#define STRUCT struct cpni_rec_HELD
static const struct cpni_field rec_HELD[] = { CPNI_FIELDS_REC_HELD(FIELD, LIST) };
RECORD(HELD)
#undef STRUCT

#define STRUCT struct cpni_rec_LABEL
static const struct cpni_field rec_LABEL[] = { CPNI_FIELDS_REC_LABEL(FIELD, LIST) };
RECORD(LABEL)
#undef STRUCT

#define STRUCT struct cpni_rec_NODE
static const struct cpni_field rec_NODE[] = { CPNI_FIELDS_REC_NODE(FIELD, LIST) };
RECORD(NODE)
#undef STRUCT

#define STRUCT struct cpni_rec_USER
static const struct cpni_field rec_USER[] = { CPNI_FIELDS_REC_USER(FIELD, LIST) };
RECORD(USER)
#undef STRUCT

#define STRUCT struct cpni_rec_MODEL
static const struct cpni_field rec_MODEL[] = { CPNI_FIELDS_REC_MODEL(FIELD, LIST) };
RECORD(MODEL)
#undef STRUCT

#define STRUCT struct cpni_rec_JOB
static const struct cpni_field rec_JOB[] = { CPNI_FIELDS_REC_JOB(FIELD, LIST) };
RECORD(JOB)
#undef STRUCT

#define STRUCT struct cpni_rec_TOKEN
static const struct cpni_field rec_TOKEN[] = { CPNI_FIELDS_REC_TOKEN(FIELD, LIST) };
RECORD(TOKEN)
#undef STRUCT

#define STRUCT struct cpni_rec_NOTE
static const struct cpni_field rec_NOTE[] = { CPNI_FIELDS_REC_NOTE(FIELD, LIST) };
RECORD(NOTE)
#undef STRUCT

#define STRUCT struct cpni_rec_WEIGHTS
static const struct cpni_field rec_WEIGHTS[] = { CPNI_FIELDS_REC_WEIGHTS(FIELD, LIST) };
RECORD(WEIGHTS)
#undef STRUCT

#define STRUCT struct cpni_rec_SESSION
static const struct cpni_field rec_SESSION[] = { CPNI_FIELDS_REC_SESSION(FIELD, LIST) };
RECORD(SESSION)
#undef STRUCT

#define STRUCT struct cpni_rec_LANE
static const struct cpni_field rec_LANE[] = { CPNI_FIELDS_REC_LANE(FIELD, LIST) };
RECORD(LANE)
#undef STRUCT

#define STRUCT struct cpni_rec_POINT
static const struct cpni_field rec_POINT[] = { CPNI_FIELDS_REC_POINT(FIELD, LIST) };
RECORD(POINT)
#undef STRUCT

#define STRUCT struct cpni_msg_hello
static const struct cpni_field msg_HELLO[] = { CPNI_FIELDS_HELLO(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_welcome
static const struct cpni_field msg_WELCOME[] = { CPNI_FIELDS_WELCOME(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_resync
static const struct cpni_field msg_RESYNC[] = { CPNI_FIELDS_RESYNC(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_refused
static const struct cpni_field msg_REFUSED[] = { CPNI_FIELDS_REFUSED(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_beat
static const struct cpni_field msg_BEAT[] = { CPNI_FIELDS_BEAT(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_bye
static const struct cpni_field msg_BYE[] = { CPNI_FIELDS_BYE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_enrol
static const struct cpni_field msg_ENROL[] = { CPNI_FIELDS_ENROL(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_enrolled
static const struct cpni_field msg_ENROLLED[] = { CPNI_FIELDS_ENROLLED(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_submit
static const struct cpni_field msg_SUBMIT[] = { CPNI_FIELDS_SUBMIT(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_accepted
static const struct cpni_field msg_ACCEPTED[] = { CPNI_FIELDS_ACCEPTED(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_busy
static const struct cpni_field msg_BUSY[] = { CPNI_FIELDS_BUSY(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_task
static const struct cpni_field msg_TASK[] = { CPNI_FIELDS_TASK(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_started
static const struct cpni_field msg_STARTED[] = { CPNI_FIELDS_STARTED(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_result
static const struct cpni_field msg_RESULT[] = { CPNI_FIELDS_RESULT(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_ack
static const struct cpni_field msg_ACK[] = { CPNI_FIELDS_ACK(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_handback
static const struct cpni_field msg_RETURN[] = { CPNI_FIELDS_RETURN(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_cancel
static const struct cpni_field msg_CANCEL[] = { CPNI_FIELDS_CANCEL(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_credit
static const struct cpni_field msg_CREDIT[] = { CPNI_FIELDS_CREDIT(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_prepare
static const struct cpni_field msg_PREPARE[] = { CPNI_FIELDS_PREPARE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_held
static const struct cpni_field msg_HELD[] = { CPNI_FIELDS_HELD(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_discard
static const struct cpni_field msg_DISCARD[] = { CPNI_FIELDS_DISCARD(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_publish
static const struct cpni_field msg_PUBLISH[] = { CPNI_FIELDS_PUBLISH(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_published
static const struct cpni_field msg_PUBLISHED[] = { CPNI_FIELDS_PUBLISHED(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_want
static const struct cpni_field msg_WANT[] = { CPNI_FIELDS_WANT(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_leaves
static const struct cpni_field msg_LEAVES[] = { CPNI_FIELDS_LEAVES(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_chunk
static const struct cpni_field msg_CHUNK[] = { CPNI_FIELDS_CHUNK(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_missing
static const struct cpni_field msg_MISSING[] = { CPNI_FIELDS_MISSING(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_received
static const struct cpni_field msg_RECEIVED[] = { CPNI_FIELDS_RECEIVED(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_query
static const struct cpni_field msg_QUERY[] = { CPNI_FIELDS_QUERY(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_reply
static const struct cpni_field msg_REPLY[] = { CPNI_FIELDS_REPLY(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_admin
static const struct cpni_field msg_ADMIN[] = { CPNI_FIELDS_ADMIN(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_done
static const struct cpni_field msg_DONE[] = { CPNI_FIELDS_DONE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_session
static const struct cpni_field msg_SESSION[] = { CPNI_FIELDS_SESSION(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_stop
static const struct cpni_field msg_STOP[] = { CPNI_FIELDS_STOP(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_enable
static const struct cpni_field msg_ENABLE[] = { CPNI_FIELDS_ENABLE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_enabled
static const struct cpni_field msg_ENABLED[] = { CPNI_FIELDS_ENABLED(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_lane
static const struct cpni_field msg_LANE[] = { CPNI_FIELDS_LANE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_unlane
static const struct cpni_field msg_UNLANE[] = { CPNI_FIELDS_UNLANE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_piece
static const struct cpni_field msg_PIECE[] = { CPNI_FIELDS_PIECE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_train
static const struct cpni_field msg_TRAIN[] = { CPNI_FIELDS_TRAIN(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_update
static const struct cpni_field msg_UPDATE[] = { CPNI_FIELDS_UPDATE(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_gradient
static const struct cpni_field msg_GRADIENT[] = { CPNI_FIELDS_GRADIENT(FIELD, LIST) };
#undef STRUCT

#define STRUCT struct cpni_msg_epoch
static const struct cpni_field msg_EPOCH[] = { CPNI_FIELDS_EPOCH(FIELD, LIST) };
#undef STRUCT

static const struct cpni_layout layouts[CPNI_MSG_TYPES] = {
#define MESSAGE_LAYOUT(number, NAME, name_, from_) \
    [number] = { .name = #NAME, .size = sizeof(struct cpni_msg_##name_), .from = (unsigned)(from_), \
                 .fields = msg_##NAME, .field_count = COUNT(msg_##NAME) },
    CPNI_MESSAGES(MESSAGE_LAYOUT)
};
/* clang-format on */

const struct cpni_layout *cpni_msg_layout(unsigned type)
{
    return type < CPNI_MSG_TYPES && layouts[type].name != NULL ? &layouts[type] : NULL;
}

const char *cpni_msg_name(unsigned type)
{
    const struct cpni_layout *layout = cpni_msg_layout(type);
    return layout != NULL ? layout->name : "?";
}

void *cpni_msg_body(struct cpni_msg *msg)
{
    return &msg->hello; /* all members of the union start where the union does */
}

static struct cpni_bytes **frame_at(const struct cpni_field *field, uint8_t *body)
{
    return (struct cpni_bytes **)(void *)(body + field->offset);
}

void cpni_msg_drop(struct cpni_msg *msg)
{
    const struct cpni_layout *layout = cpni_msg_layout(msg->type);
    for (size_t i = 0; layout != NULL && i < layout->field_count; i++) {
        if (layout->fields[i].kind == CPNI_FIELD_FRAME) {
            struct cpni_bytes **frame = frame_at(&layout->fields[i], cpni_msg_body(msg));
            cpni_bytes_unref(*frame);
            *frame = NULL;
        }
    }
}

static int copy_fields(struct cpni_arena *arena, const struct cpni_layout *layout, uint8_t *body);

static int copy_list(struct cpni_arena *arena, const struct cpni_field *field, uint8_t *body)
{
    uint32_t count = *(const uint32_t *)(const void *)(body + field->count_offset);
    void **list = (void **)(void *)(body + field->offset);
    if (count == 0) {
        *list = NULL;
        return 0;
    }
    uint8_t *copy = cpni_arena_memdup(arena, *list, count * field->record->size);
    if (copy == NULL) {
        return CPN_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        int rc = copy_fields(arena, field->record, copy + i * field->record->size);
        if (rc < 0) {
            return rc;
        }
    }
    *list = copy;
    return 0;
}

/* Replaces the borrowed parts of a struct that was copied flat. Records hold no frames. */
static int copy_fields(struct cpni_arena *arena, const struct cpni_layout *layout, uint8_t *body)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct cpni_field *field = &layout->fields[i];
        int rc = 0;
        if (field->kind == CPNI_FIELD_STR) {
            struct cpni_str *str = (struct cpni_str *)(void *)(body + field->offset);
            if (str->size != 0) {
                str->text = cpni_arena_memdup(arena, str->text, str->size);
                rc = str->text == NULL ? CPN_ENOMEM : 0;
            }
        } else if (field->kind == CPNI_FIELD_LIST) {
            rc = copy_list(arena, field, body);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int cpni_msg_copy(struct cpni_arena *arena, const struct cpni_msg *from, struct cpni_msg *to)
{
    const struct cpni_layout *layout = cpni_msg_layout(from->type);
    struct cpni_msg copy = *from;
    int rc = layout == NULL ? CPN_EINVAL : copy_fields(arena, layout, cpni_msg_body(&copy));
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < layout->field_count; i++) {
        if (layout->fields[i].kind == CPNI_FIELD_FRAME) {
            cpni_bytes_ref(*frame_at(&layout->fields[i], cpni_msg_body(&copy)));
        }
    }
    *to = copy;
    return 0;
}

/* An arena rounds every allocation up to its alignment. */
static size_t rounded(size_t size)
{
    const size_t align = alignof(max_align_t);
    return (size + align - 1) / align * align;
}

static size_t fields_bytes(const struct cpni_layout *layout, const uint8_t *body)
{
    size_t sum = 0;
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct cpni_field *field = &layout->fields[i];
        if (field->kind == CPNI_FIELD_STR) {
            sum += rounded(((const struct cpni_str *)(const void *)(body + field->offset))->size);
        } else if (field->kind == CPNI_FIELD_LIST) {
            uint32_t count = *(const uint32_t *)(const void *)(body + field->count_offset);
            const uint8_t *list = *(uint8_t *const *)(const void *)(body + field->offset);
            sum += rounded(count * field->record->size);
            for (uint32_t k = 0; k < count; k++) {
                sum += fields_bytes(field->record, list + k * field->record->size);
            }
        }
    }
    return sum;
}

size_t cpni_msg_copy_bytes(const struct cpni_msg *msg)
{
    const struct cpni_layout *layout = cpni_msg_layout(msg->type);
    return layout == NULL ? 0 : fields_bytes(layout, (const uint8_t *)&msg->hello);
}
