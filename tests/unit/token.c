/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* net/: key material, key files, join lines and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "net/joinline.h"
#include "net/keyfile.h"

static void token_pair_is_the_same_for_ever(void **state)
{
    (void)state;
    struct cpni_seed seed;
    for (size_t i = 0; i < sizeof seed.bytes; i++) {
        seed.bytes[i] = (uint8_t)i;
    }
    struct cpni_curve_keys keys;
    char text[CPN_KEY_TEXT];
    cpni_curve_from_seed(&seed, &keys);
    /* the protocol's vector: a token made by one version is redeemed by another */
    assert_string_equal(cpn_key_text(&keys.public_key, text),
                        "ec9c28851263bfbf416b39c2d902c358b97b195fce245feacaf3233fe506af14");
    seed.bytes[0] ^= 1;
    struct cpni_curve_keys other;
    cpni_curve_from_seed(&seed, &other);
    assert_memory_not_equal(&keys.public_key, &other.public_key, sizeof keys.public_key);
}

static void signature_holds_for_one_text_and_one_key(void **state)
{
    (void)state;
    struct cpni_sign_keys keys;
    struct cpni_sign_keys other;
    struct cpni_signature signature;
    cpni_sign_generate(&keys);
    cpni_sign_generate(&other);
    cpni_sign(&keys, "manifest", 8, &signature);
    assert_int_equal(cpni_sign_verify(&keys.public_key, "manifest", 8, &signature), 0);
    assert_int_equal(cpni_sign_verify(&keys.public_key, "manifesT", 8, &signature), CPN_ECORRUPT);
    assert_int_equal(cpni_sign_verify(&other.public_key, "manifest", 8, &signature), CPN_ECORRUPT);
    signature.bytes[10] ^= 1;
    assert_int_equal(cpni_sign_verify(&keys.public_key, "manifest", 8, &signature), CPN_ECORRUPT);
}

static struct cpni_joinline sample_line(void)
{
    struct cpni_joinline line;
    memset(&line, 0, sizeof line);
    struct cpni_curve_keys master;
    line.role = CPN_ROLE_NODE;
    cpni_curve_generate(&master);
    line.master = master.public_key;
    cpni_seed_generate(&line.seed);
    line.endpoint_count = 3;
    assert_int_equal(cpni_endpoint_make("192.168.1.7", 4711, line.endpoints[0]), 0);
    assert_int_equal(cpni_endpoint_make("2001:db8::7", 4711, line.endpoints[1]), 0);
    assert_int_equal(cpni_endpoint_make("lab-7.example.org", 65535, line.endpoints[2]), 0);
    return line;
}

static void join_line_comes_back_as_it_was(void **state)
{
    (void)state;
    const struct cpni_joinline line = sample_line();
    char text[CPNI_JOINLINE_TEXT];
    assert_int_equal(cpni_joinline_print(&line, text), 0);
    assert_ptr_equal(strstr(text, "cpn://192.168.1.7:4711,[2001:db8::7]:4711,lab-7.example.org:65535/node-"), text);
    assert_null(strpbrk(text, " \t\n'\"\\$&|;<>(){}*?!`#~")); /* one word, in a shell too */
    struct cpni_joinline back;
    assert_int_equal(cpni_joinline_parse(text, &back, NULL), 0);
    assert_memory_equal(&back, &line, sizeof line);
    char pasted[CPNI_JOINLINE_TEXT + 8];
    snprintf(pasted, sizeof pasted, "  %s \r\n", text);
    assert_int_equal(cpni_joinline_parse(pasted, &back, NULL), 0);
}

static void every_truncation_and_every_changed_character_is_noticed(void **state)
{
    (void)state;
    const struct cpni_joinline line = sample_line();
    char text[CPNI_JOINLINE_TEXT];
    assert_int_equal(cpni_joinline_print(&line, text), 0);
    const size_t size = strlen(text);
    struct cpni_joinline back;
    char damaged[CPNI_JOINLINE_TEXT];
    for (size_t keep = 0; keep < size; keep++) {
        char detail[CPNI_NET_DETAIL] = "";
        memcpy(damaged, text, keep);
        damaged[keep] = 0;
        assert_int_equal(cpni_joinline_parse(damaged, &back, detail), CPN_EINVAL);
        assert_true(strstr(detail, keep < 6 ? "not a join line" : "join line") != NULL);
        if (keep > size - 90) {
            char missing[64];
            snprintf(missing, sizeof missing, "cut off: %zu characters are missing", size - keep);
            assert_non_null(strstr(detail, missing));
        }
    }
    for (size_t i = 0; i < size; i++) {
        memcpy(damaged, text, size + 1);
        damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
        assert_int_equal(cpni_joinline_parse(damaged, &back, NULL), CPN_EINVAL);
    }
    snprintf(damaged, sizeof damaged, "%sx", text);
    assert_int_equal(cpni_joinline_parse(damaged, &back, NULL), CPN_EINVAL);
}

static void malformed_join_lines_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "", " ", "http://a:1/node-x", "cpn://", "cpn:///", "cpn://a:1", "cpn://a/node-x", "cpn://a:0/node-x",
        "cpn://a:65536/node-x",
        "cpn://a:1,/node-x", "cpn://,a:1/node-x", "cpn://a:-1/node-x", "cpn://[::1:1/node-x", "cpn://[g]:1/node-x",
        "cpn://a b:1/node-x",
        "cpn://a:1/", "cpn://a:1/boss-x", "cpn://a:1/node", "cpn://a:1/node-", "cpn://a:1/node-%%%%",
        "cpn://a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1/node-x",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char detail[CPNI_NET_DETAIL] = "";
        struct cpni_joinline out;
        memset(&out, 7, sizeof out);
        const struct cpni_joinline before = out;
        assert_int_equal(cpni_joinline_parse(lines[i], &out, detail), CPN_EINVAL);
        assert_true(strlen(detail) > 10);
        assert_memory_equal(&out, &before, sizeof out);
    }
    struct cpni_joinline line = sample_line();
    char text[CPNI_JOINLINE_TEXT];
    line.endpoint_count = 0;
    assert_int_equal(cpni_joinline_print(&line, text), CPN_EINVAL);
    line = sample_line();
    line.role = CPN_ROLE_NONE;
    assert_int_equal(cpni_joinline_print(&line, text), CPN_EINVAL);
    line = sample_line();
    snprintf(line.endpoints[1], sizeof line.endpoints[1], "inproc://x");
    assert_int_equal(cpni_joinline_print(&line, text), CPN_EINVAL);
}

static void longest_join_line_fits(void **state)
{
    (void)state;
    struct cpni_joinline line = sample_line();
    char host[CPNI_HOST_TEXT];
    memset(host, 'h', sizeof host);
    host[sizeof host - 1] = 0;
    line.endpoint_count = CPNI_ENDPOINTS_MAX;
    line.role = CPN_ROLE_ADMIN;
    for (size_t i = 0; i < CPNI_ENDPOINTS_MAX; i++) {
        assert_int_equal(cpni_endpoint_make(host, 65535, line.endpoints[i]), 0);
    }
    char text[CPNI_JOINLINE_TEXT];
    struct cpni_joinline back;
    assert_int_equal(cpni_joinline_print(&line, text), 0);
    assert_int_equal(cpni_joinline_parse(text, &back, NULL), 0);
    assert_memory_equal(&back, &line, sizeof line);
}

static char directory[] = "/tmp/cpn-token-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL || cpni_keys_init() != 0 ? -1 : 0;
}

static const char *in_directory(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = { "key", "sign", "key.new", "short", "wide" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unlink(in_directory(names[i]));
    }
    return rmdir(directory);
}

static void key_file_is_private_and_never_overwritten(void **state)
{
    (void)state;
    struct cpni_curve_keys keys;
    struct cpni_curve_keys back;
    cpni_curve_generate(&keys);
    const char *path = in_directory("key");
    assert_int_equal(cpni_keyfile_read_curve(path, &back, NULL), CPN_ENOTFOUND);
    assert_int_equal(cpni_keyfile_write_curve(path, &keys, NULL), 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(cpni_keyfile_read_curve(path, &back, NULL), 0);
    assert_memory_equal(&back, &keys, sizeof keys);

    struct cpni_curve_keys other;
    cpni_curve_generate(&other);
    char detail[CPNI_NET_DETAIL] = "";
    assert_int_equal(cpni_keyfile_write_curve(path, &other, detail), CPN_EEXISTS);
    assert_non_null(strstr(detail, path));
    assert_int_equal(cpni_keyfile_read_curve(path, &back, NULL), 0);
    assert_memory_equal(&back, &keys, sizeof keys);
    assert_int_equal(access(in_directory("key.new"), F_OK), -1);
}

static void key_file_that_others_can_read_is_refused(void **state)
{
    (void)state;
    struct cpni_curve_keys keys;
    struct cpni_curve_keys back;
    cpni_curve_generate(&keys);
    const char *path = in_directory("wide");
    assert_int_equal(cpni_keyfile_write_curve(path, &keys, NULL), 0);
    static const mode_t modes[] = { 0640, 0604, 0620, 0601 };
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char detail[CPNI_NET_DETAIL] = "";
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(cpni_keyfile_read_curve(path, &back, detail), CPN_EDENIED);
        assert_non_null(strstr(detail, "chmod 600"));
    }
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(cpni_keyfile_read_curve(path, &back, NULL), 0);
}

static void damaged_key_file_and_wrong_kind_are_refused(void **state)
{
    (void)state;
    struct cpni_sign_keys keys;
    struct cpni_sign_keys back;
    struct cpni_curve_keys curve;
    cpni_sign_generate(&keys);
    const char *path = in_directory("sign");
    assert_int_equal(cpni_keyfile_write_sign(path, &keys, NULL), 0);
    assert_int_equal(cpni_keyfile_read_sign(path, &back, NULL), 0);
    assert_memory_equal(&back, &keys, sizeof keys);
    char detail[CPNI_NET_DETAIL] = "";
    assert_int_equal(cpni_keyfile_read_curve(path, &curve, detail), CPN_ECORRUPT);
    assert_non_null(strstr(detail, "cpn-curve-secret-1"));
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(truncate(path, status.st_size - 2), 0);
    assert_int_equal(cpni_keyfile_read_sign(path, &back, NULL), CPN_ECORRUPT);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(cpni_keyfile_read_sign(path, &back, NULL), CPN_ECORRUPT);
    assert_int_equal(cpni_keyfile_read_sign(directory, &back, NULL), CPN_ECORRUPT);
    assert_int_equal(cpni_keyfile_write_sign("/nowhere/at/all", &keys, detail), CPN_ENOTFOUND);
}

static void rest_of_a_crashed_write_blocks_nothing(void **state)
{
    (void)state;
    const char *name = "short";
    FILE *rest = fopen(in_directory("short.new"), "w");
    assert_non_null(rest);
    fputs("cpn-cur", rest);
    fclose(rest);
    struct cpni_curve_keys keys;
    cpni_curve_generate(&keys);
    assert_int_equal(cpni_keyfile_write_curve(in_directory(name), &keys, NULL), 0);
    assert_int_equal(access(in_directory("short.new"), F_OK), -1);
}

static void addresses_of_this_machine_end_with_loopback(void **state)
{
    (void)state;
    char hosts[CPNI_ENDPOINTS_MAX][CPNI_HOST_TEXT];
    const size_t count = cpni_local_addresses(hosts);
    assert_in_range(count, 1, CPNI_ENDPOINTS_MAX);
    assert_string_equal(hosts[count - 1], "127.0.0.1");
    for (size_t i = 0; i < count; i++) {
        char endpoint[CPNI_ENDPOINT_TEXT];
        assert_int_equal(cpni_endpoint_make(hosts[i], 1, endpoint), 0);
        assert_int_equal(cpni_endpoint_parse(endpoint + strlen(CPNI_ENDPOINT_SCHEME),
                                             strlen(endpoint) - strlen(CPNI_ENDPOINT_SCHEME), endpoint), 0);
        assert_true(i + 1 == count || strncmp(hosts[i], "127.", 4) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_pair_is_the_same_for_ever),
        cmocka_unit_test(signature_holds_for_one_text_and_one_key),
        cmocka_unit_test(join_line_comes_back_as_it_was),
        cmocka_unit_test(every_truncation_and_every_changed_character_is_noticed),
        cmocka_unit_test(malformed_join_lines_are_refused_with_a_reason),
        cmocka_unit_test(longest_join_line_fits),
        cmocka_unit_test(key_file_is_private_and_never_overwritten),
        cmocka_unit_test(key_file_that_others_can_read_is_refused),
        cmocka_unit_test(damaged_key_file_and_wrong_kind_are_refused),
        cmocka_unit_test(rest_of_a_crashed_write_blocks_nothing),
        cmocka_unit_test(addresses_of_this_machine_end_with_loopback),
    };
    return cmocka_run_group_tests_name("token", tests, make_directory, remove_directory);
}
