/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The contract of <cpn/trainer.h>, for any trainer: unit-trainer PLUGIN.so [OTHER.so], which must agree with the first.
 * Needs no libcpn, no network and no data, so that it also runs alone on a machine with a GPU. What a trainer computes
 * is compared with a slow reference in double. */
#include "trainer_fixture.h"

static double *doubles(const float *values, uint64_t count)
{
    double *copy = malloc(count * sizeof *copy);
    for (uint64_t i = 0; i < count; i++) {
        copy[i] = (double)values[i];
    }
    return copy;
}

static void gradient_matches_finite_differences(void **state)
{
    (void)state;
    for (uint32_t hidden = 0; hidden <= 2; hidden++) {
        struct cpn_trainer_spec spec = small_spec();
        spec.hidden_count = hidden;
        spec.batch = ROWS;
        struct reference reference = reference_of(&spec);
        void *t = made(&spec, 1);
        uint64_t count = info_of(t).weights;
        float *weights = weights_of(t), *gradient = malloc(count * sizeof *gradient);
        double *exact = malloc(count * sizeof *exact), *at = doubles(weights, count);
        struct cpn_trainer_result result = { 0 };
        finite_differences(&reference, at, count, exact);
        assert_int_equal(trainer->gradient(t, gradient, &result, detail), 0);
        assert_int_equal(result.samples, ROWS);
        assert_true(fabs(result.loss_sum / ROWS - mean_loss(&reference, at)) < 1e-6);
        for (uint64_t i = 0; i < count; i++) {
            assert_true(fabs((double)gradient[i] - exact[i]) < 2e-6 + 1e-4 * fabs(exact[i]));
        }
        free(weights);
        free(gradient);
        free(exact);
        free(at);
        trainer->destroy(t);
    }
}

static void optimizer_matches_reference(uint32_t optimizer, float decay)
{
    struct cpn_trainer_spec spec = small_spec();
    spec.batch = ROWS;
    spec.optimizer = optimizer;
    spec.weight_decay = decay;
    spec.epsilon = 1e-4f; /* gradients near 0 would otherwise show their rounding error at full size */
    struct reference reference = reference_of(&spec);
    void *t = made(&spec, 1);
    uint64_t count = info_of(t).weights;
    float *weights = weights_of(t);
    double *at = doubles(weights, count), *gradient = malloc(count * sizeof *gradient);
    double *m = calloc(count, sizeof *m), *v = calloc(count, sizeof *v);
    for (int i = 1; i <= 5; i++) {
        finite_differences(&reference, at, count, gradient);
        reference_step(&spec, i, count, gradient, at, m, v);
    }
    steps(t, 5);
    assert_int_equal(trainer->get_weights(t, weights), 0);
    for (uint64_t i = 0; i < count; i++) {
        assert_true(fabs((double)weights[i] - at[i]) < 1e-5 + 1e-4 * fabs(at[i]));
    }
    free(weights);
    free(at);
    free(gradient);
    free(m);
    free(v);
    trainer->destroy(t);
}

static void optimizers_match_reference(void **state)
{
    (void)state;
    optimizer_matches_reference(CPN_TRAINER_ADAM, 0);
    optimizer_matches_reference(CPN_TRAINER_ADAM, 0.05f);
    optimizer_matches_reference(CPN_TRAINER_SGD, 0);
    optimizer_matches_reference(CPN_TRAINER_SGD, 0.05f);
}

static void step_is_gradient_and_apply(void **state)
{
    (void)state;
    for (uint32_t optimizer = 0; optimizer <= 1; optimizer++) {
        struct cpn_trainer_spec spec = small_spec();
        spec.optimizer = optimizer;
        spec.weight_decay = 0.01f;
        void *whole = made(&spec, 1), *halves = made(&spec, 1);
        float *gradient = malloc(info_of(halves).weights * sizeof *gradient);
        for (int i = 0; i < 12; i++) { /* over the end of an epoch */
            struct cpn_trainer_result one = steps(whole, 1), other;
            assert_int_equal(trainer->gradient(halves, gradient, &other, detail), 0);
            assert_int_equal(trainer->apply(halves, gradient, detail), 0);
            assert_int_equal(one.samples, other.samples);
            assert_int_equal(one.correct, other.correct);
        }
        assert_same_weights(whole, halves);
        gradient[3] = NAN;
        assert_int_equal(trainer->apply(halves, gradient, detail), CPN_EBADINPUT);
        assert_same_weights(whole, halves);
        free(gradient);
        trainer->destroy(whole);
        trainer->destroy(halves);
    }
}

static void seed_decides(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    void *a = made(&spec, 1), *b = made(&spec, 1);
    spec.seed = 4;
    void *other = made(&spec, 1);
    steps(a, 20);
    steps(b, 13);
    steps(b, 7); /* how steps are divided into calls does not show */
    steps(other, 20);
    assert_same_weights(a, b);
    float *left = weights_of(a), *right = weights_of(other);
    assert_memory_not_equal(left, right, info_of(a).weights * sizeof *left);
    free(left);
    free(right);
    trainer->destroy(a);
    trainer->destroy(b);
    trainer->destroy(other);
}

static void epochs_give_every_row_once(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    spec.batch = 16; /* 16, 16, 8 */
    void *t = made(&spec, 1);
    assert_int_equal(info_of(t).epoch_steps, 3);
    assert_int_equal(steps(t, 2).samples, 32);
    assert_int_equal(info_of(t).step, 2);
    assert_int_equal(steps(t, 1).samples, 8);
    assert_int_equal(info_of(t).epoch, 1);
    assert_int_equal(info_of(t).step, 0);
    assert_int_equal(steps(t, 6).samples, 2 * ROWS);
    trainer->destroy(t);
}

static void checkpoint_resumes(void **state)
{
    (void)state;
    for (uint32_t optimizer = 0; optimizer <= 1; optimizer++) {
        struct cpn_trainer_spec spec = small_spec();
        spec.optimizer = optimizer;
        void *first = made(&spec, 1);
        steps(first, 8); /* in the middle of the second epoch */
        struct cpn_trainer_info info = info_of(first);
        float *weights = weights_of(first);
        void *bytes = malloc(info.state_bytes);
        assert_int_equal(trainer->get_state(first, bytes), 0);
        steps(first, 9);
        for (int state_first = 0; state_first <= 1; state_first++) {
            void *second = made(&spec, !state_first);
            assert_int_equal(trainer->set_weights(second, weights, detail), 0);
            assert_int_equal(trainer->set_state(second, bytes, info.state_bytes, detail), 0);
            if (state_first) {
                struct cpn_trainer_rows rows = all_rows();
                rows.rows--;
                assert_int_equal(trainer->bind(second, &rows, detail), CPN_EBADINPUT);
                rows.rows++;
                assert_int_equal(trainer->bind(second, &rows, detail), 0);
            }
            steps(second, 9);
            assert_same_weights(first, second);
            trainer->destroy(second);
        }
        free(weights);
        free(bytes);
        trainer->destroy(first);
    }
}

static void foreign_state_is_refused(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    void *t = made(&spec, 1);
    steps(t, 3);
    uint64_t size = info_of(t).state_bytes;
    uint8_t *bytes = malloc(size);
    assert_int_equal(trainer->get_state(t, bytes), 0);
    assert_int_equal(trainer->set_state(t, bytes, size - 1, detail), CPN_ECORRUPT);
    bytes[0] ^= 1;
    assert_int_equal(trainer->set_state(t, bytes, size, detail), CPN_EVERSION);
    bytes[0] ^= 1;
    memset(bytes + size - 4, 0xff, 4);
    assert_int_equal(trainer->set_state(t, bytes, size, detail), CPN_EBADINPUT);
    assert_int_equal(info_of(t).step, 3);
    assert_int_equal(trainer->get_state(t, bytes), 0);
    spec.seed++;
    void *other = made(&spec, 1);
    assert_int_equal(trainer->set_state(other, bytes, size, detail), CPN_ECORRUPT);
    free(bytes);
    trainer->destroy(t);
    trainer->destroy(other);
}

static void shard_is_an_index(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    uint32_t index[] = { 39, 0, 17, 3, 21 };
    struct cpn_trainer_rows rows = all_rows();
    rows.index = index;
    rows.index_count = 5;
    void *t = made(&spec, 0);
    struct cpn_trainer_result result, sum = { 0 };
    assert_int_equal(trainer->evaluate(t, &rows, NULL, NULL, &result, detail), 0);
    assert_int_equal(result.samples, 5);
    for (uint32_t i = 0; i < 5; i++) {
        struct cpn_trainer_result one;
        rows.index = index + i;
        rows.index_count = 1;
        assert_int_equal(trainer->evaluate(t, &rows, NULL, NULL, &one, detail), 0);
        sum.loss_sum += one.loss_sum;
        sum.correct += one.correct;
    }
    assert_true(fabs(result.loss_sum - sum.loss_sum) < 1e-5);
    assert_int_equal(result.correct, sum.correct);
    index[4] = ROWS;
    assert_int_equal(trainer->bind(t, &rows, detail), CPN_EBADINPUT);
    trainer->destroy(t);
}

static void forward_agrees_with_evaluate(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    void *t = made(&spec, 1);
    struct cpn_trainer_result result;
    struct cpn_trainer_rows rows = all_rows();
    float probabilities[ROWS * CLASSES];
    steps(t, 50);
    assert_int_equal(trainer->evaluate(t, &rows, NULL, NULL, &result, detail), 0);
    assert_int_equal(trainer->forward(t, features, ROWS, probabilities, detail), 0);
    double loss = 0;
    for (int r = 0; r < ROWS; r++) {
        const float *row = probabilities + r * CLASSES;
        assert_true(fabsf(row[0] + row[1] + row[2] - 1) < 1e-5f);
        loss -= log((double)row[labels[r]]);
    }
    assert_true(fabs(loss - result.loss_sum) < 1e-3);
    trainer->destroy(t);
}

static void it_learns(void **state)
{
    (void)state;
    for (uint32_t optimizer = 0; optimizer <= 1; optimizer++) {
        struct cpn_trainer_spec spec = small_spec();
        spec.optimizer = optimizer;
        void *t = made(&spec, 1);
        double before = steps(t, 5).loss_sum;
        steps(t, 400);
        struct cpn_trainer_result after = steps(t, 5);
        assert_true(after.loss_sum < before / 4);
        assert_true(after.correct >= ROWS * 9 / 10);
        trainer->destroy(t);
    }
}

static int cancel_at(void *arg)
{
    int *left = arg;
    return (*left)-- <= 0;
}

static void cancels_within_a_batch(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    void *t = made(&spec, 1), *other = made(&spec, 1);
    struct cpn_trainer_result result;
    struct cpn_trainer_rows rows = all_rows();
    int left = 3;
    assert_int_equal(trainer->step(t, 1000, cancel_at, &left, &result, detail), CPN_ECANCELLED);
    assert_int_equal(result.steps, 3);
    steps(other, 3);
    assert_same_weights(t, other);
    left = 0;
    assert_int_equal(trainer->evaluate(t, &rows, cancel_at, &left, &result, detail), CPN_ECANCELLED);
    trainer->destroy(t);
    trainer->destroy(other);
}

static void divergence_is_said(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    spec.optimizer = CPN_TRAINER_SGD;
    spec.learning_rate = 1e30f;
    void *t = made(&spec, 1);
    struct cpn_trainer_result result;
    detail[0] = '\0';
    assert_int_equal(trainer->step(t, 1000, NULL, NULL, &result, detail), CPN_EDIVERGED);
    assert_true(result.steps >= 1 && result.steps < 1000 && isfinite(result.loss_sum));
    assert_non_null(strstr(detail, "learning rate"));
    trainer->destroy(t);
}

static void bad_rows_are_refused(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    void *t = made(&spec, 0);
    struct cpn_trainer_result result;
    assert_int_equal(trainer->step(t, 1, NULL, NULL, &result, detail), CPN_ESTATE);
    struct cpn_trainer_rows rows = all_rows();
    rows.columns++;
    assert_int_equal(trainer->bind(t, &rows, detail), CPN_EBADINPUT);
    rows.columns--;
    labels[11] = CLASSES;
    assert_int_equal(trainer->bind(t, &rows, detail), CPN_EBADINPUT);
    assert_non_null(strstr(detail, "row 11"));
    labels[11] = -1;
    assert_int_equal(trainer->evaluate(t, &rows, NULL, NULL, &result, detail), CPN_EBADINPUT);
    labels[11] = 11 % CLASSES;
    rows.rows = 0;
    assert_int_equal(trainer->bind(t, &rows, detail), CPN_EBADINPUT);
    float *weights = weights_of(t);
    weights[0] = INFINITY;
    assert_int_equal(trainer->set_weights(t, weights, detail), CPN_EBADINPUT);
    free(weights);
    trainer->destroy(t);
    trainer->destroy(NULL);
}

static void assert_refused(struct cpn_trainer_spec spec)
{
    void *t = NULL;
    detail[0] = '\0';
    assert_int_equal(trainer->create(&spec, &t, detail), CPN_EINVAL);
    assert_null(t);
    assert_non_null(strstr(detail, "expected"));
}

static void bad_specs_are_refused(void **state)
{
    (void)state;
#define REFUSED(field, value)                                                                                          \
    do {                                                                                                               \
        struct cpn_trainer_spec spec = small_spec();                                                                   \
        spec.field = value;                                                                                            \
        assert_refused(spec);                                                                                          \
    } while (0)
    REFUSED(size, 8);
    REFUSED(inputs, 0);
    REFUSED(inputs, 65537);
    REFUSED(classes, 1);
    REFUSED(hidden_count, 9);
    REFUSED(hidden[1], 0);
    REFUSED(batch, 0);
    REFUSED(threads, 0);
    REFUSED(optimizer, 2);
    REFUSED(learning_rate, 0);
    REFUSED(learning_rate, NAN);
    REFUSED(weight_decay, -1);
    REFUSED(beta2, 1);
    REFUSED(epsilon, 0);
    struct cpn_trainer_spec spec = small_spec();
    spec.hidden[0] = spec.hidden[1] = 65536;
    assert_refused(spec);
}

static void it_says_what_it_is(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = small_spec();
    void *t = made(&spec, 0);
    struct cpn_trainer_info info = info_of(t);
    printf("trainer %s %s on %s, fingerprint \"%s\", reproducible %d\n", trainer->name, trainer->version, info.device,
        info.fingerprint, (int)info.reproducible);
    assert_int_equal(info.weights, (7 + 1) * 37 + (37 + 1) * 5 + (5 + 1) * 3);
    assert_true(info.device[0] != '\0' && info.fingerprint[0] != '\0');
    assert_int_equal(info.epoch_steps, 0);
    trainer->destroy(t);
}

/* Same seed, same rows: the same weights but for rounding, which grows with every step. */
static void trainers_agree(void **state)
{
    (void)state;
    if (other_trainer == NULL) {
        skip();
    }
    const struct cpn_trainer *first = trainer;
    for (uint32_t optimizer = 0; optimizer <= 1; optimizer++) {
        struct cpn_trainer_spec spec = small_spec();
        spec.optimizer = optimizer;
        spec.learning_rate = 0.003f;
        spec.epsilon = 1e-4f; /* see above */
        void *mine = made(&spec, 1);
        float *left = weights_of(mine);
        struct cpn_trainer_result result = steps(mine, 60);
        float *trained = weights_of(mine);
        trainer = other_trainer;
        void *others = made(&spec, 1);
        float *right = weights_of(others);
        assert_memory_equal(left, right, info_of(others).weights * sizeof *left); /* before the first step */
        struct cpn_trainer_result other_result = steps(others, 60);
        assert_int_equal(trainer->get_weights(others, right), 0);
        assert_true(fabs(result.loss_sum - other_result.loss_sum) < 1e-3 * result.loss_sum);
        for (uint64_t i = 0; i < info_of(others).weights; i++) {
            assert_true(fabs((double)trained[i] - (double)right[i]) < 1e-3);
        }
        trainer->destroy(others);
        trainer = first;
        trainer->destroy(mine);
        free(left);
        free(right);
        free(trained);
    }
}

static const struct cpn_trainer *load(const char *path)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct cpn_trainer *loaded = plugin != NULL ? dlsym(plugin, CPN_TRAINER_SYMBOL) : NULL;
    if (loaded == NULL || loaded->abi != CPN_TRAINER_ABI || loaded->size < sizeof *loaded) {
        fprintf(stderr, "unit-trainer: %s is no trainer of ABI %d: %s\n", path, CPN_TRAINER_ABI,
            plugin == NULL ? dlerror() : "");
        exit(2);
    }
    return loaded;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: unit-trainer PLUGIN.so [OTHER.so]\n");
        return 2;
    }
    trainer = load(argv[1]);
    other_trainer = argc > 2 ? load(argv[2]) : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_is),
        cmocka_unit_test(gradient_matches_finite_differences),
        cmocka_unit_test(optimizers_match_reference),
        cmocka_unit_test(step_is_gradient_and_apply),
        cmocka_unit_test(seed_decides),
        cmocka_unit_test(epochs_give_every_row_once),
        cmocka_unit_test(checkpoint_resumes),
        cmocka_unit_test(foreign_state_is_refused),
        cmocka_unit_test(shard_is_an_index),
        cmocka_unit_test(forward_agrees_with_evaluate),
        cmocka_unit_test(it_learns),
        cmocka_unit_test(cancels_within_a_batch),
        cmocka_unit_test(divergence_is_said),
        cmocka_unit_test(bad_rows_are_refused),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(trainers_agree),
    };
    return cmocka_run_group_tests(tests, make_rows, NULL);
}
