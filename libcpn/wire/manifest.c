/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See manifest.h. */
#include "wire/manifest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "wire/fields.h"

/* clang-format off */
#define FIELD(number_, kind_, struct_, name_) \
    { .number = (number_), .kind = CPNI_FIELD_##kind_, .offset = offsetof(struct struct_, name_), .name = #name_ }
#define LIST(number_, struct_, name_, count_, record_) \
    { .number = (number_), .kind = CPNI_FIELD_LIST, .offset = offsetof(struct struct_, name_), \
      .count_offset = offsetof(struct struct_, count_), .record = (record_), .name = #name_ }
#define LAYOUT(struct_, fields_) \
    { .name = #struct_, .size = sizeof(struct struct_), .fields = (fields_), \
      .field_count = sizeof(fields_) / sizeof((fields_)[0]) }

static const struct cpni_field pair_fields[] = {
    FIELD(1, STR, cpni_manifest_pair, key),
    FIELD(2, STR, cpni_manifest_pair, value),
};
static const struct cpni_layout pair_layout = LAYOUT(cpni_manifest_pair, pair_fields);

static const struct cpni_field file_fields[] = {
    FIELD(1, STR, cpni_manifest_file, name),
    FIELD(2, U64, cpni_manifest_file, size),
    FIELD(3, HASH, cpni_manifest_file, root),
};
static const struct cpni_layout file_layout = LAYOUT(cpni_manifest_file, file_fields);

/* As for messages: append, never renumber. The numbers are part of what is signed. */
static const struct cpni_field manifest_fields[] = {
    FIELD(1, STR, cpni_manifest, name),
    FIELD(2, STR, cpni_manifest, backend),
    LIST(3, cpni_manifest, parameters, parameter_count, &pair_layout),
    LIST(4, cpni_manifest, files, file_count, &file_layout),
    LIST(5, cpni_manifest, requires, requires_count, &pair_layout),
    FIELD(6, STR, cpni_manifest, sample),
};
static const struct cpni_layout manifest_layout = LAYOUT(cpni_manifest, manifest_fields);
/* clang-format on */

static int __attribute__((format(printf, 2, 3))) invalid(char *why, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(why, CPNI_WHY, format, list);
    va_end(list);
    return CPN_EINVAL;
}

/* For "%.*s" in an error: no more than a line has room for. */
#define SHOW(text_) (int)((text_).size < 80 ? (text_).size : 80), (text_).size != 0 ? (text_).text : ""

static int compare(struct cpni_str a, struct cpni_str b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common != 0 ? memcmp(a.text, b.text, common) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static bool has_control(struct cpni_str text)
{
    for (uint32_t i = 0; i < text.size; i++) {
        if ((unsigned char)text.text[i] < 0x20 || text.text[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool is_alphanumeric(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
}

bool cpni_model_name_valid(struct cpni_str name)
{
    if (name.size == 0 || name.size >= CPNI_NAME_BYTES_MAX || !is_alphanumeric(name.text[0])) {
        return false;
    }
    for (uint32_t i = 1; i < name.size; i++) {
        char byte = name.text[i];
        if (!is_alphanumeric(byte) && byte != '.' && byte != '_' && byte != '-') {
            return false;
        }
    }
    return true;
}

bool cpni_file_name_valid(struct cpni_str name)
{
    return name.size != 0 && name.size <= CPNI_FILE_NAME_BYTES_MAX && name.text[0] != '.' &&
           memchr(name.text, '/', name.size) == NULL && !has_control(name) && cpni_text_valid(name.text, name.size);
}

static int check_pairs(const char *what, const struct cpni_manifest_pair *pairs, uint32_t count, char *why)
{
    if (count > CPNI_MANIFEST_PAIRS_MAX) {
        return invalid(why, "%s: %u entries, at most %d are taken", what, count, CPNI_MANIFEST_PAIRS_MAX);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (pairs[i].key.size == 0 || pairs[i].key.size >= CPNI_NAME_BYTES_MAX || has_control(pairs[i].key)) {
            return invalid(why, "%s: key '%.*s': expected 1 to %d bytes of plain text", what, SHOW(pairs[i].key),
                           CPNI_NAME_BYTES_MAX - 1);
        }
        if (i > 0 && compare(pairs[i - 1].key, pairs[i].key) >= 0) {
            return invalid(why, "%s: key '%.*s' comes twice or out of order", what, SHOW(pairs[i].key));
        }
    }
    return 0;
}

static int check_files(const struct cpni_manifest *manifest, char *why)
{
    static const struct cpn_hash none;
    if (manifest->file_count > CPNI_MANIFEST_FILES_MAX) {
        return invalid(why, "files: %u of them, at most %d are taken", manifest->file_count, CPNI_MANIFEST_FILES_MAX);
    }
    bool sample_found = manifest->sample.size == 0;
    for (uint32_t i = 0; i < manifest->file_count; i++) {
        const struct cpni_manifest_file *file = &manifest->files[i];
        if (!cpni_file_name_valid(file->name)) {
            return invalid(why, "files: name '%.*s': expected 1 to %d bytes, no '/', leading '.' or control character",
                           SHOW(file->name), CPNI_FILE_NAME_BYTES_MAX);
        }
        if (i > 0 && compare(manifest->files[i - 1].name, file->name) >= 0) {
            return invalid(why, "files: name '%.*s' comes twice or out of order", SHOW(file->name));
        }
        if (file->size > CPNI_BLOB_BYTES_MAX) {
            return invalid(why, "files: '%.*s' of %llu bytes, at most %llu are taken", SHOW(file->name),
                           (unsigned long long)file->size, (unsigned long long)CPNI_BLOB_BYTES_MAX);
        }
        if (memcmp(&file->root, &none, sizeof none) == 0) {
            return invalid(why, "files: '%.*s' has no hash", SHOW(file->name));
        }
        sample_found = sample_found || cpni_str_equal(file->name, manifest->sample);
    }
    return sample_found ? 0 : invalid(why, "sample: '%.*s' is none of the files", SHOW(manifest->sample));
}

int cpni_manifest_check(const struct cpni_manifest *manifest, char *why)
{
    if (!cpni_model_name_valid(manifest->name)) {
        return invalid(why, "name '%.*s': expected 1 to %d of a-z A-Z 0-9 . _ -, a letter or digit first",
                       SHOW(manifest->name), CPNI_NAME_BYTES_MAX - 1);
    }
    if (!cpni_model_name_valid(manifest->backend)) {
        return invalid(why, "backend '%.*s': expected a name like opencv.face", SHOW(manifest->backend));
    }
    int rc = check_pairs("parameters", manifest->parameters, manifest->parameter_count, why);
    if (rc == 0) {
        rc = check_pairs("requires", manifest->requires, manifest->requires_count, why);
    }
    return rc == 0 ? check_files(manifest, why) : rc;
}

int cpni_manifest_encode(const struct cpni_manifest *manifest, struct cpni_bytes **out, char *why)
{
    int rc = cpni_manifest_check(manifest, why);
    if (rc < 0) {
        return rc;
    }
    struct cpni_pack pack;
    cpni_pack_init(&pack, CPNI_MANIFEST_BYTES_MAX, NULL, 0);
    cpni_pack_fields(&pack, &manifest_layout, manifest);
    struct cpni_bytes *bytes = pack.error == 0 ? cpni_bytes_take(pack.buf.data, pack.buf.size) : NULL;
    if (bytes == NULL) {
        cpni_buf_free(&pack.buf);
        rc = pack.error == 0 ? CPN_ENOMEM : pack.error;
        invalid(why, "%s", rc == CPN_EINVAL ? "a text is not UTF-8" : cpn_strerror(rc));
        return rc;
    }
    *out = bytes;
    return 0;
}

/* Only these bytes stand for this manifest. */
static int check_canonical(const struct cpni_manifest *manifest, const void *data, size_t size, char *why)
{
    struct cpni_bytes *canonical;
    int rc = cpni_manifest_encode(manifest, &canonical, why);
    if (rc < 0) {
        return rc == CPN_ENOMEM ? rc : CPN_EPROTO;
    }
    bool same = canonical->size == size && memcmp(canonical->data, data, size) == 0;
    cpni_bytes_unref(canonical);
    if (!same) {
        invalid(why, "manifest: not in its canonical encoding");
    }
    return same ? 0 : CPN_EPROTO;
}

int cpni_manifest_decode(const void *data, size_t size, struct cpni_arena *arena, struct cpni_manifest *out, char *why)
{
    if (size > CPNI_MANIFEST_BYTES_MAX) {
        invalid(why, "manifest: %zu bytes, at most %d are taken", size, CPNI_MANIFEST_BYTES_MAX);
        return CPN_EPROTO;
    }
    struct cpni_unpack unpack = { .arena = arena, .why = why, .subject = "manifest" };
    unpack.reader = (struct cpni_reader){ data, (const uint8_t *)data + size };
    unpack.memory_left = size * CPNI_PACKET_MEMORY_FACTOR;
    struct cpni_manifest manifest = { 0 };
    int rc = cpni_unpack_fields(&unpack, &manifest_layout, &manifest);
    if (rc == 0 && unpack.reader.at != unpack.reader.end) {
        rc = cpni_unpack_refuse(&unpack, "%td bytes after its end", unpack.reader.end - unpack.reader.at);
    }
    if (rc == 0 && cpni_manifest_check(&manifest, why) < 0) {
        rc = CPN_EPROTO;
    }
    if (rc == 0 && !unpack.skipped) {
        rc = check_canonical(&manifest, data, size, why);
    }
    if (rc == 0) {
        *out = manifest;
    }
    return rc;
}

int cpni_manifest_signed_bytes(const void *data, size_t size, struct cpni_buf *out)
{
    int rc = cpni_buf_append(out, CPNI_MANIFEST_DOMAIN, sizeof CPNI_MANIFEST_DOMAIN);
    return rc < 0 ? rc : cpni_buf_append(out, data, size);
}
