/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See number.h. */
#include "data/number.h"

#include <float.h>
#include <locale.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"

const double cpni_powers_of_ten[23] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
    1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

const double cpni_fractions_of_ten[23] = { 1e-0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11,
    1e-12, 1e-13, 1e-14, 1e-15, 1e-16, 1e-17, 1e-18, 1e-19, 1e-20, 1e-21, 1e-22 };

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

static bool is_number(const char *text, const char *end)
{
    const char *p = text;
    p += p < end && (*p == '-' || *p == '+');
    const char *digits = p;
    p = skip_digits(p, end);
    size_t count = (size_t)(p - digits);
    if (p < end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, end);
        count += (size_t)(p - digits);
    }
    if (count != 0 && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '-' || *p == '+');
        digits = p;
        p = skip_digits(p, end);
        count = (size_t)(p - digits);
    }
    return count != 0 && p == end;
}

/* A host may have set a locale in which the decimal point is a comma. */
static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static double exact(const char *text)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_c_locale);
    return c_locale != (locale_t)0 ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
}

enum cpni_number cpni_number_parse(const char *text, size_t size, float *out)
{
    char small[256], *copy = small;
    if (!is_number(text, text + size)) {
        return CPNI_NUMBER_NOT_ONE;
    }
    if (size >= sizeof small) {
        copy = cpni_malloc(size + 1);
        if (copy == NULL) {
            return CPNI_NUMBER_TOO_LARGE;
        }
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    double value = exact(copy);
    if (copy != small) {
        cpni_free(copy);
    }
    float rounded = (float)value;
    if (!(rounded <= FLT_MAX && rounded >= -FLT_MAX)) {
        return CPNI_NUMBER_TOO_LARGE;
    }
    *out = rounded;
    return CPNI_NUMBER_OK;
}
