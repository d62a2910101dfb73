/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See net.h. */
#include "compute/trainers/net.h"

#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

static uint32_t whole_panels(uint32_t width)
{
    return (width + CPNI_PANEL - 1) / CPNI_PANEL * CPNI_PANEL;
}

static void lay_out(struct cpni_net *net)
{
    for (uint32_t l = 0; l < net->layer_count; l++) {
        struct cpni_net_layer *layer = &net->layers[l];
        layer->in = net->model.layers[l].in;
        layer->out = net->model.layers[l].out;
        layer->width = whole_panels(layer->out);
        layer->weights = net->padded_count;
        layer->bias = layer->weights + (size_t)layer->in * layer->width;
        net->padded_count = layer->bias + layer->width;
    }
}

/* Hand out the parts of one block, or (memory NULL) count what they need. */
static size_t place(struct cpni_net *net, float *memory)
{
    size_t used = 0;
    uint32_t widest = 0, deepest = 0;
#define TAKE(field, count)                                                                                             \
    do {                                                                                                               \
        (field) = memory == NULL ? NULL : memory + used;                                                               \
        used += ((size_t)(count) + CPNI_PANEL - 1) / CPNI_PANEL * CPNI_PANEL;                                          \
    } while (0)
    TAKE(net->weights, net->padded_count);
    TAKE(net->m, net->padded_count);
    TAKE(net->v, net->padded_count);
    TAKE(net->gradient, net->padded_count);
    TAKE(net->inputs, (size_t)net->rows_max * net->layers[0].in);
    for (uint32_t l = 0; l < net->layer_count; l++) {
        struct cpni_net_layer *layer = &net->layers[l];
        TAKE(layer->outputs, (size_t)net->rows_max * layer->width);
        TAKE(layer->deltas, (size_t)net->rows_max * layer->width);
        widest = layer->width > widest ? layer->width : widest;
        deepest = l > 0 && layer->in > deepest ? layer->in : deepest;
    }
    TAKE(net->deltas_turned, (size_t)widest * net->rows_padded);
    TAKE(net->inputs_turned, (size_t)deepest * net->rows_padded);
#undef TAKE
    return used;
}

int cpni_net_init(
    struct cpni_net *net, const struct cpni_model *model, const struct cpni_kernels *kernels, uint32_t rows_max)
{
    struct cpni_net made = { .model = *model,
        .layer_count = model->layer_count,
        .kernels = kernels,
        .rows_max = rows_max,
        .rows_padded = whole_panels(rows_max) };
    lay_out(&made);
    size_t count = place(&made, NULL);
    made.memory = cpni_calloc(count + CPNI_KERNEL_ALIGN / sizeof(float), sizeof(float));
    if (made.memory == NULL) {
        return CPN_ENOMEM;
    }
    uintptr_t at = ((uintptr_t)made.memory + CPNI_KERNEL_ALIGN - 1) / CPNI_KERNEL_ALIGN * CPNI_KERNEL_ALIGN;
    place(&made, (float *)at);
    *net = made;
    return 0;
}

void cpni_net_free(struct cpni_net *net)
{
    cpni_free(net->memory);
    *net = (struct cpni_net){ 0 };
}

static size_t panel_at(const struct cpni_net_layer *layer, uint32_t column)
{
    return layer->weights + (size_t)(column / CPNI_PANEL) * layer->in * CPNI_PANEL + column % CPNI_PANEL;
}

static uint32_t panel_columns(const struct cpni_net_layer *layer, uint32_t column)
{
    return layer->out - column < CPNI_PANEL ? layer->out - column : CPNI_PANEL;
}

void cpni_net_import(const struct cpni_net *net, const float *flat, float *padded)
{
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const struct cpni_net_layer *layer = &net->layers[l];
        for (uint32_t column = 0; column < layer->out; column += CPNI_PANEL) {
            float *to = padded + panel_at(layer, column);
            for (uint32_t row = 0; row < layer->in; row++, to += CPNI_PANEL) {
                memcpy(to, flat + (size_t)row * layer->out + column, panel_columns(layer, column) * sizeof *to);
            }
        }
        flat += (size_t)layer->in * layer->out;
        memcpy(padded + layer->bias, flat, layer->out * sizeof *flat);
        flat += layer->out;
    }
}

void cpni_net_export(const struct cpni_net *net, const float *padded, float *flat)
{
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const struct cpni_net_layer *layer = &net->layers[l];
        for (uint32_t column = 0; column < layer->out; column += CPNI_PANEL) {
            const float *from = padded + panel_at(layer, column);
            for (uint32_t row = 0; row < layer->in; row++, from += CPNI_PANEL) {
                memcpy(flat + (size_t)row * layer->out + column, from, panel_columns(layer, column) * sizeof *from);
            }
        }
        flat += (size_t)layer->in * layer->out;
        memcpy(flat, padded + layer->bias, layer->out * sizeof *flat);
        flat += layer->out;
    }
}

/* What a layer reads, and the floats from one of its rows to the next. */
static const float *input_of(const struct cpni_net *net, uint32_t l, size_t *stride)
{
    *stride = l == 0 ? net->layers[0].in : net->layers[l - 1].width;
    return l == 0 ? net->inputs : net->layers[l - 1].outputs;
}

void cpni_net_forward(struct cpni_net *net, uint32_t rows)
{
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const struct cpni_net_layer *layer = &net->layers[l];
        size_t stride;
        const float *input = input_of(net, l, &stride);
        net->kernels->product(&(struct cpni_product){ .rows = rows,
            .depth = layer->in,
            .panels = layer->width / CPNI_PANEL,
            .a = input,
            .a_row = stride,
            .a_depth = 1,
            .b = net->weights + layer->weights,
            .b_depth = CPNI_PANEL,
            .b_panel = (size_t)layer->in * CPNI_PANEL,
            .c = layer->outputs,
            .c_row = layer->width,
            .c_panel = CPNI_PANEL,
            .start = net->weights + layer->bias,
            .end = l + 1 < net->layer_count ? CPNI_PRODUCT_RELU : CPNI_PRODUCT_STORE });
    }
}

static uint32_t most_probable(const float *row, uint32_t classes)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < classes; i++) {
        best = row[i] > row[best] ? i : best;
    }
    return best;
}

double cpni_net_softmax(struct cpni_net *net, uint32_t rows, const int32_t *labels, uint64_t *correct)
{
    const struct cpni_net_layer *last = &net->layers[net->layer_count - 1];
    double loss = 0;
    for (uint32_t r = 0; r < rows; r++) {
        float *row = last->outputs + (size_t)r * last->width;
        loss += net->kernels->softmax(row, last->out, labels == NULL ? -1 : labels[r]);
        if (labels != NULL) {
            *correct += most_probable(row, last->out) == (uint32_t)labels[r];
        }
    }
    return loss;
}

/* to[column][row] = from[row][column]; in blocks that both fit a cache's lines. */
static void turn(const float *from, uint32_t rows, size_t columns, size_t from_stride, float *to, size_t to_stride)
{
    enum { BLOCK = 16 };
    for (uint32_t r = 0; r < rows; r += BLOCK) {
        uint32_t row_end = rows - r < BLOCK ? rows : r + BLOCK;
        for (size_t c = 0; c < columns; c += BLOCK) {
            size_t column_end = columns - c < BLOCK ? columns : c + BLOCK;
            for (uint32_t i = r; i < row_end; i++) {
                for (size_t j = c; j < column_end; j++) {
                    to[j * to_stride + i] = from[i * from_stride + j];
                }
            }
        }
    }
}

/* The deltas of layer l - 1 from those of layer l. W lies in panels of columns and W * deltas^T reads them as they lie,
 * which the product deltas * W^T would not; so both sides are turned, and they are small. */
static void backward_deltas(struct cpni_net *net, uint32_t l, uint32_t rows)
{
    const struct cpni_net_layer *layer = &net->layers[l], *below = &net->layers[l - 1];
    size_t stride = net->rows_padded;
    turn(layer->deltas, rows, layer->width, layer->width, net->deltas_turned, stride);
    for (uint32_t column = 0; column < layer->width; column += CPNI_PANEL) {
        net->kernels->product(&(struct cpni_product){ .rows = layer->in,
            .depth = CPNI_PANEL,
            .panels = whole_panels(rows) / CPNI_PANEL,
            .a = net->weights + panel_at(layer, column),
            .a_row = CPNI_PANEL,
            .a_depth = 1,
            .b = net->deltas_turned + column * stride,
            .b_depth = stride,
            .b_panel = CPNI_PANEL,
            .c = net->inputs_turned,
            .c_row = stride,
            .c_panel = CPNI_PANEL,
            .add = column > 0,
            .end = CPNI_PRODUCT_STORE });
    }
    turn(net->inputs_turned, layer->in, rows, stride, below->deltas, below->width);
    size_t count = (size_t)rows * below->width;
    for (size_t i = 0; i < count; i++) {
        below->deltas[i] = below->outputs[i] > 0 ? below->deltas[i] : 0; /* ReLU let nothing else through */
    }
}

static void update_weights(struct cpni_net *net, uint32_t l, uint32_t rows, const struct cpni_net_update *update)
{
    const struct cpni_net_layer *layer = &net->layers[l];
    bool store = update->adam == NULL && update->sgd == NULL;
    size_t stride;
    const float *input = input_of(net, l, &stride);
    net->kernels->product(&(struct cpni_product){ .rows = layer->in,
        .depth = rows,
        .panels = layer->width / CPNI_PANEL,
        .a = input,
        .a_row = 1,
        .a_depth = stride,
        .b = layer->deltas,
        .b_depth = layer->width,
        .b_panel = CPNI_PANEL,
        .c = (store ? net->gradient : net->weights) + layer->weights,
        .c_row = CPNI_PANEL,
        .c_panel = (size_t)layer->in * CPNI_PANEL,
        .end = update->adam != NULL ? CPNI_PRODUCT_ADAM
            : update->sgd != NULL   ? CPNI_PRODUCT_SGD
                                    : CPNI_PRODUCT_STORE,
        .m = net->m + layer->weights,
        .v = net->v + layer->weights,
        .adam = update->adam,
        .sgd = update->sgd });
    float *bias = net->gradient + layer->bias;
    net->kernels->column_sums(layer->deltas, rows, layer->width, bias);
    if (update->adam != NULL) {
        net->kernels->adam(
            update->adam, layer->width, bias, net->weights + layer->bias, net->m + layer->bias, net->v + layer->bias);
    } else if (update->sgd != NULL) {
        net->kernels->sgd(update->sgd, layer->width, bias, net->weights + layer->bias, net->m + layer->bias);
    }
}

void cpni_net_backward(struct cpni_net *net, uint32_t rows, const int32_t *labels, const struct cpni_net_update *update)
{
    const struct cpni_net_layer *last = &net->layers[net->layer_count - 1];
    float share = 1.0f / (float)rows;
    for (uint32_t r = 0; r < rows; r++) {
        const float *probability = last->outputs + (size_t)r * last->width;
        float *delta = last->deltas + (size_t)r * last->width;
        for (uint32_t i = 0; i < last->out; i++) {
            delta[i] = (probability[i] - (i == (uint32_t)labels[r] ? 1.0f : 0.0f)) * share;
        }
    }
    for (uint32_t l = net->layer_count; l-- > 0;) {
        if (l > 0) {
            backward_deltas(net, l, rows); /* with the weights that forward saw */
        }
        update_weights(net, l, rows, update);
    }
}

void cpni_net_apply(struct cpni_net *net, const struct cpni_net_update *update)
{
    if (update->adam != NULL) {
        net->kernels->adam(update->adam, net->padded_count, net->gradient, net->weights, net->m, net->v);
    } else {
        net->kernels->sgd(update->sgd, net->padded_count, net->gradient, net->weights, net->m);
    }
}
