/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See kernels.h: which variant this processor runs. */
#include "compute/trainers/kernels.h"

#include <string.h>

extern const struct cpni_kernels cpni_kernels_plain;
#ifdef CPNI_KERNELS_X86
extern const struct cpni_kernels cpni_kernels_avx512, cpni_kernels_avx2, cpni_kernels_sse2;
#endif

const struct cpni_kernels *cpni_kernels_named(const char *name)
{
#ifdef CPNI_KERNELS_X86
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f")) {
        return &cpni_kernels_avx512;
    }
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return &cpni_kernels_avx2;
    }
    if (strcmp(name, "sse2") == 0) {
        return &cpni_kernels_sse2;
    }
#endif
    return strcmp(name, "plain") == 0 ? &cpni_kernels_plain : NULL;
}

const struct cpni_kernels *cpni_kernels_best(void)
{
    static const char *const best_first[] = { "avx512", "avx2", "sse2" };
    for (size_t i = 0; i < sizeof best_first / sizeof *best_first; i++) {
        const struct cpni_kernels *kernels = cpni_kernels_named(best_first[i]);
        if (kernels != NULL) {
            return kernels;
        }
    }
    return &cpni_kernels_plain;
}
