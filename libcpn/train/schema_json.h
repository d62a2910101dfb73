/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A schema as JSON, for the bundle of a published model: which columns a row has, what is done to their values, what
 * the classes are called. What is written is read back equal. Must not know bundles. */
#ifndef CPNI_SCHEMA_JSON_H
#define CPNI_SCHEMA_JSON_H

#include <jansson.h>

#include "data/schema.h"

/* {"version": 1, "header": true, "label": "species", "columns": 9, "classes": ["Adelie", ...], "features": [{"name":
 * "sex", "categories": ["FEMALE", "MALE"], "fill": 1}, {"name": "mass", "fill": 4201.7, "mean": 4201.7, "deviation":
 * 801.9}, ...]} Absent: "fill" when missing values are refused, "mean" and "deviation" when 0 and 1. A new reference,
 * NULL when out of memory or a text is not UTF-8. */
json_t *cpni_schema_to_json(const struct cpni_schema *schema);

/* CPN_EVERSION, CPN_ECORRUPT with a sentence (CPNI_DATA_DETAIL bytes), CPN_ENOMEM. */
int cpni_schema_from_json(const json_t *json, struct cpni_schema *out, char *detail);

#endif
