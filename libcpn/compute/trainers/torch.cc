/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Trainer torch: the model of <cpn/trainer.h> on libtorch, on a GPU if there is one. The only C++ of the trainers;
 * every entry is noexcept and turns exceptions into errors. Must not know of files, sessions or peers.
 *
 * Weights, gradient and moments are flat tensors in the flat order of weights; the layers' tensors are views of them,
 * so that autograd's sums land where an optimizer step over everything at once reads them. */
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include <torch/torch.h>
#include <torch/version.h>

#include <cpn/error.h>
#include <cpn/trainer.h>

extern "C" {
#include "compute/trainers/model.h"
#include "compute/trainers/order.h"
#include "compute/trainers/state.h"
}

namespace
{

constexpr uint32_t MAGIC = 0x73726f74; /* "tors": of its state */
constexpr int64_t ROWS_AT_ONCE = 1024; /* of an evaluation */

struct Layer {
    torch::Tensor weights, bias; /* leaves whose memory and gradient lie in the flat tensors */
};

struct Trainer {
    cpn_trainer_spec spec;
    cpni_model model;
    cpni_order order;
    cpni_state state;
    torch::Device device = torch::kCPU;
    torch::Tensor weights, gradient, first, second; /* flat */
    std::vector<Layer> layers;
    std::vector<uint32_t> rows; /* of the batch at work */

    ~Trainer()
    {
        cpni_order_free(&order);
    }
};

int told(char *detail, int rc, const char *what)
{
    std::snprintf(detail, CPN_TRAINER_DETAIL, "%.*s", CPN_TRAINER_DETAIL - 1, what);
    return rc;
}

/* Run a piece of an entry; what libtorch throws becomes an error. */
template <typename Body> int guarded(char *detail, Body body) noexcept
{
    try {
        return body();
    } catch (const c10::OutOfMemoryError &) {
        return told(detail, CPN_ENOMEM, "out of GPU memory: choose smaller widths or batches");
    } catch (const std::bad_alloc &) {
        return told(detail, CPN_ENOMEM, "out of memory: choose smaller widths or batches");
    } catch (const std::exception &e) {
        return told(detail, CPN_EINTERNAL, e.what());
    } catch (...) {
        return told(detail, CPN_EINTERNAL, "libtorch threw something unknown");
    }
}

torch::Device best_device()
{
    return torch::cuda::is_available() ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
}

/* A view of a flat tensor's part as a leaf of autograd; its gradient is the same part of the flat gradient. */
torch::Tensor leaf(Trainer &t, size_t at, torch::IntArrayRef shape)
{
    int64_t count = c10::multiply_integers(shape);
    auto part = [&](const torch::Tensor &flat) { return flat.narrow(0, static_cast<int64_t>(at), count).view(shape); };
    torch::Tensor view = part(t.weights).detach();
    view.set_requires_grad(true);
    view.mutable_grad() = part(t.gradient);
    return view;
}

void copy_in(torch::Tensor &to, const float *from)
{
    torch::NoGradGuard no_gradient;
    to.copy_(torch::from_blob(const_cast<float *>(from), to.sizes(), torch::kFloat32));
}

void copy_out(const torch::Tensor &from, float *to)
{
    torch::Tensor host = from.detach().to(torch::kCPU).contiguous();
    std::memcpy(to, host.data_ptr<float>(), static_cast<size_t>(host.numel()) * sizeof(float));
}

void build(Trainer &t)
{
    at::set_num_threads(static_cast<int>(t.spec.threads));
    at::globalContext().setDeterministicAlgorithms(t.spec.reproducible != 0, true);
    auto options = torch::TensorOptions().dtype(torch::kFloat32).device(t.device);
    int64_t count = static_cast<int64_t>(t.model.weight_count);
    t.weights = torch::zeros({ count }, options);
    t.gradient = torch::zeros({ count }, options);
    t.first = torch::zeros({ count }, options);
    t.second = torch::zeros({ count }, options);
    std::vector<float> fresh(t.model.weight_count);
    cpni_model_first_weights(&t.model, t.spec.seed, fresh.data());
    copy_in(t.weights, fresh.data());
    for (uint32_t l = 0; l < t.model.layer_count; l++) {
        const cpni_model_layer &layer = t.model.layers[l];
        t.layers.push_back({ leaf(t, layer.weights, { layer.in, layer.out }),
            leaf(t, layer.weights + static_cast<size_t>(layer.in) * layer.out, { layer.out }) });
    }
    t.rows.resize(t.spec.batch);
}

int create(const cpn_trainer_spec *spec, void **trainer, char *detail) noexcept
{
    return guarded(detail, [&] {
        cpni_model model;
        int rc = cpni_model_init(&model, spec, detail);
        if (rc < 0) {
            return rc;
        }
        auto made = std::make_unique<Trainer>();
        made->spec = *spec;
        made->model = model;
        cpni_order_init(&made->order, spec->seed, spec->batch);
        cpni_state_init(&made->state, MAGIC, &made->spec, model.weight_count, &made->order);
        made->device = best_device();
        build(*made);
        *trainer = made.release();
        return 0;
    });
}

void destroy(void *trainer) noexcept
{
    delete static_cast<Trainer *>(trainer);
}

/* The processor decides which kernels torch and its BLAS choose, and so the bits. */
std::string processor()
{
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) {
            return line.substr(line.find(": ") + 2);
        }
    }
    return "unknown processor";
}

int info(void *trainer, cpn_trainer_info *out) noexcept
{
    const Trainer &t = *static_cast<const Trainer *>(trainer);
    char unused[CPN_TRAINER_DETAIL];
    if (out->size < sizeof *out) {
        return CPN_EINVAL;
    }
    return guarded(unused, [&] {
        bool cpu = t.device.is_cpu();
        cpn_trainer_info made{};
        made.size = out->size;
        made.weights = t.model.weight_count;
        made.state_bytes = cpni_state_bytes(&t.state);
        made.epoch = t.order.epoch;
        made.step = t.order.next / t.order.batch;
        made.epoch_steps = (uint64_t{ t.order.count } + t.order.batch - 1) / t.order.batch;
        made.reproducible = cpu && t.spec.threads == 1 && t.spec.reproducible != 0;
        std::snprintf(made.device, sizeof made.device, "%s", t.device.str().c_str());
        std::snprintf(made.fingerprint, sizeof made.fingerprint, "torch %s %s %u threads, %.80s", TORCH_VERSION,
            t.device.str().c_str(), t.spec.threads, processor().c_str());
        *out = made;
        return 0;
    });
}

int bind_rows(void *trainer, const cpn_trainer_rows *rows, char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    int rc = cpni_rows_check(rows, t.spec.inputs, t.spec.classes, detail);
    return rc < 0 ? rc : cpni_order_bind(&t.order, rows, detail);
}

torch::Tensor logits(const Trainer &t, torch::Tensor x)
{
    for (size_t l = 0; l < t.layers.size(); l++) {
        x = torch::addmm(t.layers[l].bias, x, t.layers[l].weights);
        if (l + 1 < t.layers.size()) {
            x = torch::relu(x);
        }
    }
    return x;
}

struct Batch {
    torch::Tensor features, labels;
};

Batch gather(const Trainer &t, const cpn_trainer_rows &rows, const uint32_t *numbers, int64_t count)
{
    torch::Tensor x = torch::empty({ count, int64_t{ rows.columns } }, torch::kFloat32);
    torch::Tensor y = torch::empty({ count }, torch::kInt64);
    float *features = x.data_ptr<float>();
    int64_t *labels = y.data_ptr<int64_t>();
    for (int64_t i = 0; i < count; i++, features += rows.columns) {
        std::memcpy(features, rows.features + size_t{ numbers[i] } * rows.columns, rows.columns * sizeof(float));
        labels[i] = rows.labels[numbers[i]];
    }
    return { x.to(t.device), y.to(t.device) };
}

/* Add what a batch came to. The loss is the mean, as backward() needs it. */
void add(cpn_trainer_result &result, const torch::Tensor &outputs, const torch::Tensor &labels, double loss)
{
    int64_t count = labels.size(0);
    result.steps++;
    result.samples += static_cast<uint64_t>(count);
    result.correct += static_cast<uint64_t>(outputs.argmax(1).eq(labels).sum().item<int64_t>());
    result.loss_sum += loss * static_cast<double>(count);
}

/* Forward and backward of the next batch: its gradient in t.gradient. CPN_EDIVERGED when the loss is not finite; then
 * nothing was added. */
int next_gradient(Trainer &t, cpn_trainer_result &result, char *detail)
{
    uint32_t count = cpni_order_batch(&t.order, t.rows.data());
    Batch batch = gather(t, t.order.rows, t.rows.data(), count);
    torch::Tensor outputs = logits(t, batch.features);
    torch::Tensor loss = torch::nn::functional::cross_entropy(outputs, batch.labels);
    double value = loss.item<double>();
    if (!std::isfinite(value)) {
        std::snprintf(detail, CPN_TRAINER_DETAIL,
            "the loss is not a number in epoch %llu after %llu updates: try a lower learning rate than %g",
            static_cast<unsigned long long>(t.order.epoch + 1), static_cast<unsigned long long>(t.state.updates),
            static_cast<double>(t.spec.learning_rate));
        return CPN_EDIVERGED;
    }
    t.gradient.zero_();
    loss.backward();
    add(result, outputs, batch.labels, value);
    return 0;
}

void update(Trainer &t)
{
    torch::NoGradGuard no_gradient;
    const cpn_trainer_spec &s = t.spec;
    torch::Tensor g = s.weight_decay > 0 ? t.gradient.add(t.weights, s.weight_decay) : t.gradient;
    if (s.optimizer == CPN_TRAINER_SGD) {
        t.first.mul_(s.momentum).add_(g);
        t.weights.add_(t.first, -s.learning_rate);
    } else {
        double beta1 = s.beta1, beta2 = s.beta2, rate = s.learning_rate;
        t.first.mul_(beta1).add_(g, 1 - beta1);
        t.second.mul_(beta2).addcmul_(g, g, 1 - beta2);
        double correction = std::sqrt(1 - cpni_state_next_beta2(&t.state));
        torch::Tensor root = t.second.sqrt().div_(correction).add_(s.epsilon);
        t.weights.addcdiv_(t.first, root, -rate / (1 - cpni_state_next_beta1(&t.state)));
    }
    cpni_state_updated(&t.state);
}

int unbound(char *detail)
{
    return told(detail, CPN_ESTATE, "no rows are bound");
}

int step(void *trainer, uint64_t steps, int (*cancelled)(void *arg), void *arg, cpn_trainer_result *result,
    char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    if (t.order.order == nullptr) {
        return unbound(detail);
    }
    *result = cpn_trainer_result{};
    return guarded(detail, [&] {
        for (uint64_t i = 0; i < steps; i++) {
            if (cancelled != nullptr && cancelled(arg) != 0) {
                return told(detail, CPN_ECANCELLED, "cancelled");
            }
            int rc = next_gradient(t, *result, detail);
            if (rc < 0) {
                return rc;
            }
            update(t);
            cpni_order_advance(&t.order);
        }
        return 0;
    });
}

int evaluate(void *trainer, const cpn_trainer_rows *rows, int (*cancelled)(void *arg), void *arg,
    cpn_trainer_result *result, char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    int rc = cpni_rows_check(rows, t.spec.inputs, t.spec.classes, detail);
    if (rc < 0) {
        return rc;
    }
    return guarded(detail, [&] {
        torch::NoGradGuard no_gradient;
        cpn_trainer_result sum{};
        std::vector<uint32_t> numbers(ROWS_AT_ONCE);
        uint64_t count = cpni_rows_count(rows);
        while (sum.samples < count) {
            if (cancelled != nullptr && cancelled(arg) != 0) {
                return told(detail, CPN_ECANCELLED, "cancelled");
            }
            int64_t now = std::min<int64_t>(static_cast<int64_t>(count - sum.samples), ROWS_AT_ONCE);
            for (int64_t i = 0; i < now; i++) {
                numbers[static_cast<size_t>(i)]
                    = static_cast<uint32_t>(cpni_rows_at(rows, sum.samples + static_cast<uint64_t>(i)));
            }
            Batch batch = gather(t, *rows, numbers.data(), now);
            torch::Tensor outputs = logits(t, batch.features);
            add(sum, outputs, batch.labels, torch::nn::functional::cross_entropy(outputs, batch.labels).item<double>());
        }
        *result = sum;
        return 0;
    });
}

int forward(void *trainer, const float *features, uint64_t rows, float *probabilities, char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    return guarded(detail, [&] {
        torch::NoGradGuard no_gradient;
        torch::Tensor x = torch::from_blob(
            const_cast<float *>(features), { static_cast<int64_t>(rows), int64_t{ t.spec.inputs } }, torch::kFloat32);
        copy_out(torch::softmax(logits(t, x.to(t.device)), 1), probabilities);
        return 0;
    });
}

int gradient(void *trainer, float *out, cpn_trainer_result *result, char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    if (t.order.order == nullptr) {
        return unbound(detail);
    }
    return guarded(detail, [&] {
        cpn_trainer_result done{};
        int rc = next_gradient(t, done, detail);
        if (rc == 0) {
            cpni_order_advance(&t.order);
            copy_out(t.gradient, out);
            *result = done;
        }
        return rc;
    });
}

int apply(void *trainer, const float *from, char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    int rc = cpni_model_check_finite(from, t.model.weight_count, "gradient", detail);
    if (rc < 0) {
        return rc;
    }
    return guarded(detail, [&] {
        copy_in(t.gradient, from);
        update(t);
        return 0;
    });
}

int get_weights(void *trainer, float *weights) noexcept
{
    char unused[CPN_TRAINER_DETAIL];
    return guarded(unused, [&] {
        copy_out(static_cast<Trainer *>(trainer)->weights, weights);
        return 0;
    });
}

int set_weights(void *trainer, const float *weights, char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    int rc = cpni_model_check_finite(weights, t.model.weight_count, "weight", detail);
    return rc < 0 ? rc : guarded(detail, [&] {
        copy_in(t.weights, weights);
        return 0;
    });
}

int get_state(void *trainer, void *bytes) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    char unused[CPN_TRAINER_DETAIL];
    return guarded(unused, [&] {
        std::vector<float> first(t.model.weight_count), second(t.model.weight_count);
        copy_out(t.first, first.data());
        copy_out(t.second, second.data());
        cpni_state_save(&t.state, first.data(), second.data(), bytes);
        return 0;
    });
}

int set_state(void *trainer, const void *bytes, size_t size, char *detail) noexcept
{
    Trainer &t = *static_cast<Trainer *>(trainer);
    return guarded(detail, [&] {
        std::vector<float> first(t.model.weight_count), second(t.model.weight_count);
        int rc = cpni_state_load(&t.state, bytes, size, first.data(), second.data(), detail);
        if (rc == 0) {
            copy_in(t.first, first.data());
            copy_in(t.second, second.data());
        }
        return rc;
    });
}

} // namespace

extern "C" CPN_TRAINER_EXPORT const struct cpn_trainer cpn_trainer_v1;
const struct cpn_trainer cpn_trainer_v1
    = { CPN_TRAINER_ABI, sizeof(struct cpn_trainer), "torch", TORCH_VERSION, create, destroy, info, bind_rows, step,
          evaluate, forward, gradient, apply, get_weights, set_weights, get_state, set_state };
