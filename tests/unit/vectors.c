/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The vectors of man/cpn-protocol.7: fixed bytes that this and every other implementation must write and read. They
 * change only with the protocol's version. Each stands in the page too, and the test fails when the page has other
 * bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include <cpn/error.h>

#include "filler.h"
#include "net/keys.h"
#include "store/tree.h"
#include "wire/manifest.h"
#include "wire/packet.h"

#define TEXT(text_) { (text_), sizeof(text_) - 1 }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char why[CPNI_WHY];

/* ---- the page ---- */

static char *page; /* its text without any white space: long lines are broken there */

static int read_page(void **state)
{
    (void)state;
    FILE *file = fopen(CPN_SOURCE_ROOT "/man/cpn-protocol.7", "r");
    assert_non_null(file);
    size_t size = 0;
    size_t room = 1 << 20;
    page = malloc(room);
    for (int c; (c = fgetc(file)) != EOF && size + 1 < room;){
        if (c != ' ' && c != '\n' && c != '\t'){
            page[size++] = (char)c;
        }
    }
    page[size] = 0;
    fclose(file);
    return 0;
}

static int free_page(void **state)
{
    (void)state;
    free(page);
    return 0;
}

static void assert_on_page(const char *hex)
{
    if (strstr(page, hex) == NULL){
        fail_msg("man/cpn-protocol.7 does not have %s", hex);
    }
}

static char *hex_of(const void *data, size_t size)
{
    char *hex = malloc(2 * size + 1);
    sodium_bin2hex(hex, 2 * size + 1, data, size);
    return hex;
}

static void assert_bytes(const void *data, size_t size, const char *expected)
{
    char *hex = hex_of(data, size);
    assert_string_equal(hex, expected);
    assert_on_page(hex);
    free(hex);
}

/* ---- packets ---- */

static const struct cpn_id boot = { "0123456789abcdef" };
static const struct cpn_id task_a = { "task-aaaaaaaaaaa" };
static const struct cpn_id task_b = { "task-bbbbbbbbbbb" };
static const struct cpn_hash root = { "root-root-root-root-root-root-32" };

/* Both ways, and the page. The messages hold at most one payload frame each; `msgs` gives the references back. */
static void check(const struct cpni_packet_head *head, struct cpni_msg *msgs, size_t count, const char *expected)
{
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t frame_count = 0;
    assert_int_equal(cpni_packet_encode(head, msgs, count, frames, COUNT(frames), &frame_count), count);
    assert_bytes(frames[0]->data, frames[0]->size, expected);
    struct cpni_arena arena = { 0 };
    struct cpni_packet_head back_head;
    struct cpni_msg *back;
    size_t back_count = 0;
    assert_int_equal(cpni_packet_decode(frames, frame_count, &arena, &back_head, &back, &back_count, why), 0);
    assert_int_equal(back_head.link, head->link);
    assert_int_equal(back_head.seq, head->seq);
    assert_int_equal(back_count, count);
    for (size_t i = 0; i < count; i++){
        assert_int_equal(back[i].type, msgs[i].type);
        assert_true(filler_equal(cpni_msg_layout(msgs[i].type), (const uint8_t *)&msgs[i].hello,
                                 (const uint8_t *)&back[i].hello));
        cpni_msg_drop(&back[i]);
        cpni_msg_drop(&msgs[i]);
    }
    for (size_t i = 0; i < frame_count; i++){
        cpni_bytes_unref(frames[i]);
    }
    cpni_arena_free(&arena);
}

static void a_worker_says_hello(void **state)
{
    (void)state;
    struct cpni_rec_TEXT backends[] = { { TEXT("echo 1") }, { TEXT("opencv.face 4.6.0") } };
    struct cpni_rec_ATTEMPT attempts[] = { { task_a, 1, 3 } };
    struct cpni_msg msg = { .type = CPNI_MSG_HELLO };
    msg.hello = (struct cpni_msg_hello){
        .boot = boot, .kind = CPNI_KIND_WORKER, .name = TEXT("w1"), .slots = 2, .cores = 8, .memory = 1ull << 34,
        .backends = backends, .backends_count = 2, .attempts = attempts, .attempts_count = 1, .credit_tasks = 4,
        .credit_bytes = 1u << 27,
    };
    check(&(struct cpni_packet_head){ .seq = 1 }, &msg, 1,
          "940100019192018a01c41030313233343536373839616263646566030104a277310602070808cf00000004000000000a9281"
          "01a66563686f20318101b16f70656e63762e6661636520342e362e300b918301c4107461736b2d6161616161616161616161"
          "020103030f0410ce08000000");
}

static void a_master_welcomes(void **state)
{
    (void)state;
    struct cpni_msg msg = { .type = CPNI_MSG_WELCOME };
    msg.welcome = (struct cpni_msg_welcome){ .link = 70000, .term = 3, .heartbeat_ms = 1000, .gone_ms = 3000,
                                             .role = CPN_ROLE_NODE, .name = TEXT("w1"), .master = TEXT("lab") };
    check(&(struct cpni_packet_head){ .link = 70000, .seq = 1 }, &msg, 1,
          "9401ce00011170019192028701ce00011170020303cd03e804cd0bb8050106a2773109a36c6162");
}

static void two_tasks_travel_together(void **state)
{
    (void)state;
    struct cpni_msg msgs[2] = { { .type = CPNI_MSG_TASK }, { .type = CPNI_MSG_TASK } };
    msgs[0].task = (struct cpni_msg_task){ .task = task_a,
                                            .attempt = 1,
                                            .term = 3,
                                            .model = TEXT("faces"),
                                            .version = 2,
                                            .root = root,
                                            .input = cpni_bytes_copy("first", 5),
                                            .input_name = TEXT("caf\xc3\xa9.jpg"),
                                            .annotate = true };
    msgs[1].task = (struct cpni_msg_task){ .task = task_b,
                                            .attempt = 2,
                                            .term = 3,
                                            .model = TEXT("faces"),
                                            .version = 2,
                                            .root = root,
                                            .input = cpni_bytes_copy("", 0),
                                            .deadline_ms = 60000 };
    check(&(struct cpni_packet_head){ .link = 70000, .seq = 2 }, msgs, 2,
          "9401ce000111700292920c8901c4107461736b2d61616161616161616161610201030304a56661636573050206c420726f6f"
          "742d726f6f742d726f6f742d726f6f742d726f6f742d726f6f742d333207000aa9636166c3a92e6a70670bc3920c8801c410"
          "7461736b2d62626262626262626262620202030304a56661636573050206c420726f6f742d726f6f742d726f6f742d726f6f"
          "742d726f6f742d726f6f742d333207010ccdea60");
}

static void a_result_has_labels(void **state)
{
    (void)state;
    struct cpni_rec_LABEL labels[] = { { TEXT("ann"), 0.5f, 10, 20, 64, 64 },
                                       { TEXT("unknown"), 0.25f, -3, 0, 300, 70000 } };
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result = (struct cpni_msg_result){ .task = task_a,
                                            .attempt = 1,
                                            .term = 3,
                                            .labels = labels,
                                            .labels_count = 2,
                                            .image = cpni_bytes_copy("jpeg", 4),
                                            .image_type = CPNI_IMAGE_JPEG,
                                            .width = 640,
                                            .height = 480,
                                            .infer_us = 142000,
                                            .model = TEXT("faces"),
                                            .version = 2 };
    check(&(struct cpni_packet_head){ .link = 70000, .seq = 255 }, &msg, 1,
          "9401ce00011170ccff91920e8b01c4107461736b2d61616161616161616161610201030307928601a3616e6e02ca3f000000"
          "030a0414054006408501a7756e6b6e6f776e02ca3e80000003fd05cd012c06ce0001117008000b010ccd02800dcd01e012ce"
          "00022ab014a566616365731502");
}

static void a_failure_has_a_code(void **state)
{
    (void)state;
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result = (struct cpni_msg_result){ .task = task_b, .attempt = 2, .term = 3, .code = CPN_EBADINPUT,
                                           .failure = CPNI_FAILURE_INPUT, .text = TEXT("photo.jpg: not an image") };
    check(&(struct cpni_packet_head){ .link = 70000, .seq = 256 }, &msg, 1,
          "9401ce00011170cd010091920e8601c4107461736b2d62626262626262626262620202030304ec050106b770686f746f2e6a"
          "70673a206e6f7420616e20696d616765");
}

static void an_idle_beat_is_empty(void **state)
{
    (void)state;
    struct cpni_msg msg = { .type = CPNI_MSG_BEAT };
    check(&(struct cpni_packet_head){ .link = 70000, .seq = 1ull << 32 }, &msg, 1,
          "9401ce00011170cf000000010000000091920580");
}

static void chunks_are_asked_for(void **state)
{
    (void)state;
    struct cpni_msg msgs[2] = { { .type = CPNI_MSG_WANT }, { .type = CPNI_MSG_RECEIVED } };
    msgs[0].want = (struct cpni_msg_want){ .root = root, .first = 4, .count = 2, .size = 7340033 };
    msgs[1].received = (struct cpni_msg_received){ .root = root };
    check(&(struct cpni_packet_head){ .link = 70001, .seq = 9 }, msgs, 2,
          "9401ce00011171099292188401c420726f6f742d726f6f742d726f6f742d726f6f742d726f6f742d726f6f742d3332030404"
          "0205ce00700001921c8101c420726f6f742d726f6f742d726f6f742d726f6f742d726f6f742d726f6f742d3332");
}

/* ---- keys and manifests ---- */

static void the_token_s_key_pair(void **state)
{
    (void)state;
    struct cpni_seed seed;
    for (size_t i = 0; i < sizeof seed.bytes; i++){
        seed.bytes[i] = (uint8_t)i;
    }
    struct cpni_curve_keys keys;
    cpni_curve_from_seed(&seed, &keys);
    assert_bytes(seed.bytes, sizeof seed.bytes, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    assert_bytes(keys.secret, sizeof keys.secret,
          "6e6b24ca5a5304a1e670c70c3984129fbcb17da46a2a134a5248653fd8376429");
    assert_bytes(keys.public_key.bytes, sizeof keys.public_key.bytes,
          "ec9c28851263bfbf416b39c2d902c358b97b195fce245feacaf3233fe506af14");
}

static struct cpni_bytes *manifest_bytes(void)
{
    struct cpni_manifest_pair parameters[] = { { TEXT("cascade"), TEXT("haar.xml") },
                                               { TEXT("threshold"), TEXT("81.5") } };
    struct cpni_manifest_file files[] = { { .name = TEXT("faces.yml"), .size = 1048577 },
                                          { .name = TEXT("haar.xml"), .size = 1 } };
    /* the roots of the blobs of 1 MiB + 1 and of 1 byte, as in the transfer vectors */
    sodium_hex2bin(files[0].root.bytes, 32, "0d8fc945260097d0e3f1fa1faa403e86fbdb16b32ad6d9c7313a77668679e089", 64,
                   NULL, NULL, NULL);
    sodium_hex2bin(files[1].root.bytes, 32, "97031fc0a66d7c820bb6025c733a1adad71a2823ef8aabd624781f260775b42b", 64,
                   NULL, NULL, NULL);
    struct cpni_manifest_pair requires[] = { { TEXT("memory"), TEXT("536870912") } };
    struct cpni_manifest manifest = { .name = TEXT("faces"), .backend = TEXT("opencv.face"), .parameters = parameters,
                                      .parameter_count = 2, .files = files, .file_count = 2, .requires = requires,
                                      .requires_count = 1 };
    struct cpni_bytes *bytes = NULL;
    assert_int_equal(cpni_manifest_encode(&manifest, &bytes, why), 0);
    return bytes;
}

static void a_manifest_is_signed(void **state)
{
    (void)state;
    struct cpni_bytes *bytes = manifest_bytes();
    assert_bytes(bytes->data, bytes->size,
          "8501a5666163657302ab6f70656e63762e6661636503928201a76361736361646502a8686161722e786d6c8201a974687265"
          "73686f6c6402a438312e3504928301a966616365732e796d6c02ce0010000103c4200d8fc945260097d0e3f1fa1faa403e86"
          "fbdb16b32ad6d9c7313a77668679e0898301a8686161722e786d6c020103c42097031fc0a66d7c820bb6025c733a1adad71a"
          "2823ef8aabd624781f260775b42b05918201a66d656d6f727902a9353336383730393132");
    struct cpn_hash leaf;
    struct cpn_hash version;
    cpni_tree_leaf(bytes->data, bytes->size, &leaf);
    cpni_tree_root(bytes->size, &leaf, &version);
    assert_bytes(version.bytes, sizeof version.bytes,
          "56036f9d0f2ce6a323c8cc22f88e424b5c668ead767bdbf5004eb298efbb2cfa");

    uint8_t seed[32];
    for (size_t i = 0; i < sizeof seed; i++){
        seed[i] = (uint8_t)i;
    }
    struct cpni_sign_keys keys;
    crypto_sign_seed_keypair(keys.public_key.bytes, keys.secret, seed);
    assert_bytes(keys.public_key.bytes, sizeof keys.public_key.bytes,
          "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8");
    struct cpni_buf to_sign = { 0 };
    assert_int_equal(cpni_manifest_signed_bytes(bytes->data, bytes->size, &to_sign), 0);
    struct cpni_signature signature;
    cpni_sign(&keys, to_sign.data, to_sign.size, &signature);
    assert_bytes(signature.bytes, sizeof signature.bytes,
          "ff01ee57a374b3c6d7a41991426f38636a1067ab670d192904db663a6d22cebda314e52d75c9b903cec8a684e21aea7a8b2d"
          "dda561c75eb06a45cbc09ccc020b");
    assert_int_equal(cpni_sign_verify(&keys.public_key, to_sign.data, to_sign.size, &signature), 0);
    to_sign.data[to_sign.size - 1] ^= 1;
    assert_int_equal(cpni_sign_verify(&keys.public_key, to_sign.data, to_sign.size, &signature), CPN_ECORRUPT);
    cpni_buf_free(&to_sign);
    cpni_bytes_unref(bytes);
}

/* tests/unit/tree.c holds libcpn to these; here only that the page has the same ones. */
static void the_tree_s_vectors_are_on_the_page(void **state)
{
    (void)state;
    FILE *file = fopen(CPN_SOURCE_ROOT "/libcpn/store/tree-vectors.txt", "r");
    assert_non_null(file);
    char line[256];
    char hex[256];
    unsigned found = 0;
    while (fgets(line, sizeof line, file) != NULL){
        if (sscanf(line, "leaf %64s", hex) == 1 || sscanf(line, "root %64s", hex) == 1){
            assert_on_page(hex);
            found++;
        }
    }
    fclose(file);
    assert_true(found >= 8);
}

int main(void)
{
    if (cpni_keys_init() < 0){
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_says_hello),
        cmocka_unit_test(a_master_welcomes),
        cmocka_unit_test(two_tasks_travel_together),
        cmocka_unit_test(a_result_has_labels),
        cmocka_unit_test(a_failure_has_a_code),
        cmocka_unit_test(an_idle_beat_is_empty),
        cmocka_unit_test(chunks_are_asked_for),
        cmocka_unit_test(the_token_s_key_pair),
        cmocka_unit_test(a_manifest_is_signed),
        cmocka_unit_test(the_tree_s_vectors_are_on_the_page),
    };
    return cmocka_run_group_tests(tests, read_page, free_page);
}
