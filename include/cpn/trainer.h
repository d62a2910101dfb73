/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The plug-in ABI: what trains a SimpleDNN (fully connected layers, ReLU, softmax cross-entropy) on rows of floats.
 *
 * A trainer NAME is a shared object cpn-trainer-NAME.so that exports one object, `const struct cpn_trainer
 * cpn_trainer_v1`. It needs no symbol of libcpn. Only a runner process loads it; everything that opens files or starts
 * threads belongs in create(). One thread calls, one call at a time. Rows reach it as mapped memory, so it never reads
 * a dataset file itself.
 *
 * All trainers agree on the model, so that weights, gradients and results travel between them:
 *   - weights are flat float32, layer by layer: the matrix [inputs][outputs] row-major, then the bias [outputs];
 *   - the first weights come from the seed alone, uniform in +-1/sqrt(inputs of the layer), weights and bias alike;
 *   - the order of rows in epoch e comes from (seed, e, number of rows) alone; a batch is the next `batch` rows of it,
 *     the last batch of an epoch may be smaller;
 *   - the loss is the mean cross-entropy of a batch, weight decay adds decay * weight to the gradient (bias included),
 *     Adam and SGD with momentum are torch.optim's;
 *   - loss, accuracy and gradient of a batch are those before its update. */
#ifndef CPN_TRAINER_H
#define CPN_TRAINER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CPN_TRAINER_ABI 1
#define CPN_TRAINER_SYMBOL "cpn_trainer_v1"
#define CPN_TRAINER_DETAIL 256      /* bytes of the sentence that explains a failure, with its terminating 0 */
#define CPN_TRAINER_HIDDEN_MAX 8    /* hidden layers; deeper plain ReLU nets do not train well anyway */
#define CPN_TRAINER_WIDTH_MAX 65536 /* inputs, classes or units of a layer */
#define CPN_TRAINER_BATCH_MAX 65536
#define CPN_TRAINER_WEIGHTS_MAX (1u << 28) /* 1 GiB of float32; what one averaging round can sum */

#if defined(__GNUC__)
#define CPN_TRAINER_EXPORT __attribute__((visibility("default")))
#else
#define CPN_TRAINER_EXPORT
#endif

enum cpn_trainer_optimizer { CPN_TRAINER_ADAM = 0, CPN_TRAINER_SGD = 1 };

/* What to train. Fill it with CPN_TRAINER_SPEC_INIT, then set inputs, classes and what differs. */
struct cpn_trainer_spec {
    uint32_t size;    /* bytes of this struct; newer runners append fields */
    uint32_t inputs;  /* features of a row */
    uint32_t classes; /* at least 2 */
    uint32_t hidden_count;
    uint32_t hidden[CPN_TRAINER_HIDDEN_MAX]; /* units of each hidden layer */
    uint32_t optimizer;                      /* of enum cpn_trainer_optimizer */
    float learning_rate;
    float momentum;              /* SGD only */
    float beta1, beta2, epsilon; /* Adam only */
    float weight_decay;
    uint32_t batch;        /* rows */
    uint32_t threads;      /* how many threads the trainer may use */
    uint32_t reproducible; /* not 0: the same seed and rows give the same bits wherever fingerprints are equal */
    uint64_t seed;
};

#define CPN_TRAINER_SPEC_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(struct cpn_trainer_spec), 0, 0, 2, { 128, 64 }, CPN_TRAINER_ADAM, 1e-3f, 0.9f, 0.9f, 0.999f, 1e-8f, 0,  \
            64, 1, 0, 0                                                                                                \
    }

/* Rows of a dataset. What the pointers name is borrowed until other rows are bound, or for the time of the call. */
struct cpn_trainer_rows {
    uint32_t size;         /* bytes of this struct */
    uint32_t columns;      /* features of a row; must be the spec's inputs */
    const float *features; /* [rows][columns] */
    const int32_t *labels; /* [rows]; 0 to classes - 1 */
    uint64_t rows;
    const uint32_t *index; /* the rows that count (a shard, the validation rows), in this order; NULL: all of them */
    uint64_t index_count;
};

/* What steps or an evaluation came to. Sums, so that results of many calls and peers add up. */
struct cpn_trainer_result {
    uint64_t steps;   /* batches */
    uint64_t samples; /* rows */
    uint64_t correct; /* rows whose most probable class is their label */
    double loss_sum;  /* cross-entropy summed over the rows, natural logarithm */
};

struct cpn_trainer_info {
    uint32_t size;         /* bytes of this struct, set by the caller */
    uint64_t weights;      /* floats of weights and gradient */
    uint64_t state_bytes;  /* of get_state() */
    uint64_t epoch;        /* epochs completed since rows were bound, or the state's */
    uint64_t step;         /* batches done in the epoch that runs */
    uint64_t epoch_steps;  /* batches of an epoch; 0 before rows are bound */
    char device[64];       /* "cpu", "cuda:0 NVIDIA H100" */
    char fingerprint[192]; /* two nodes with equal text compute equal bits, if reproducible */
    uint32_t reproducible; /* 0: the bits may differ from run to run or node to node even if fingerprints are equal */
};

struct cpn_trainer {
    uint32_t abi;        /* CPN_TRAINER_ABI */
    uint32_t size;       /* bytes of this struct */
    const char *name;    /* as in the file's name: "dnn" */
    const char *version; /* "1.0", "1.13.1" */

    /* Make a trainer with fresh weights. 0 and *state, or negative with a sentence in `detail`: CPN_EINVAL for a spec
     * out of bounds, CPN_ENOTSUP for one that this build or machine cannot do. */
    int (*create)(const struct cpn_trainer_spec *spec, void **trainer, char *detail);
    void (*destroy)(void *trainer); /* NULL is fine */

    int (*info)(void *trainer, struct cpn_trainer_info *info);

    /* The rows to train on. Starts epoch 0, unless state was set before: then the epoch of the state goes on, and the
     * number of rows must be the one it was taken with. CPN_EBADINPUT for other columns or a label out of range. */
    int (*bind)(void *trainer, const struct cpn_trainer_rows *rows, char *detail);

    /* Train `steps` batches. `cancelled` (may be NULL) is asked before each batch; when it answers not 0,
     * CPN_ECANCELLED is returned. CPN_EDIVERGED when a loss is not finite: the weights are those before that batch.
     * *result tells what was done in these two cases, too. */
    int (*step)(void *trainer, uint64_t steps, int (*cancelled)(void *arg), void *arg,
        struct cpn_trainer_result *result, char *detail);

    /* Loss and accuracy over rows; nothing is learned. */
    int (*evaluate)(void *trainer, const struct cpn_trainer_rows *rows, int (*cancelled)(void *arg), void *arg,
        struct cpn_trainer_result *result, char *detail);

    /* Probabilities [rows][classes] of features [rows][inputs]. */
    int (*forward)(void *trainer, const float *features, uint64_t rows, float *probabilities, char *detail);

    /* One step in halves, for sums over peers: the gradient (without weight decay) of the next batch, which counts as
     * done; and an optimizer step with a gradient from wherever. gradient() then apply() of it is step() of one batch,
     * to the bit. */
    int (*gradient)(void *trainer, float *gradient, struct cpn_trainer_result *result, char *detail);
    int (*apply)(void *trainer, const float *gradient, char *detail);

    int (*get_weights)(void *trainer, float *weights);
    int (*set_weights)(void *trainer, const float *weights, char *detail); /* CPN_EBADINPUT when one is not finite */

    /* Everything else that the next steps depend on: optimizer moments, epoch and place in it. state_bytes bytes, of
     * this trainer's own making; another version or spec refuses them (CPN_EVERSION, CPN_ECORRUPT). Weights are not in
     * it. */
    int (*get_state)(void *trainer, void *state);
    int (*set_state)(void *trainer, const void *state, size_t size, char *detail);
};

#ifdef __cplusplus
}
#endif

#endif
