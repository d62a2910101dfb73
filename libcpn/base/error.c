/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Names and texts of the public error codes, roles and log levels. */
#include <cpn/error.h>
#include <cpn/log.h>
#include <cpn/types.h>

const char *cpn_strerror(int error)
{
    switch (error) {
#define TEXT(name, number, text) \
    case name:                   \
        return text;
        CPN_ERRORS(TEXT)
#undef TEXT
    default:
        return error >= 0 ? "no error" : "unknown error";
    }
}

const char *cpn_error_name(int error)
{
    switch (error) {
#define NAME(name, number, text) \
    case name:                   \
        return #name;
        CPN_ERRORS(NAME)
#undef NAME
    default:
        return error >= 0 ? "CPN_OK" : "CPN_E?";
    }
}

const char *cpn_role_name(enum cpn_role role)
{
    static const char *const names[] = { "none", "node", "user", "admin" };
    return role <= CPN_ROLE_ADMIN ? names[role] : names[0];
}

const char *cpn_log_level_name(enum cpn_log_level level)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    return level <= CPN_LOG_ERROR ? names[level] : names[CPN_LOG_ERROR];
}
