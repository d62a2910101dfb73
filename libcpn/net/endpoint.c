/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See endpoint.h. */
#include "endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

static bool is_name(const char *host, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)host[i]) && strchr(".-_", host[i]) == NULL) {
            return false;
        }
    }
    return size > 0 && size < CPNI_HOST_TEXT && host[0] != '-';
}

/* An IPv6 address, with a zone or without. */
static bool is_ipv6(const char *host, size_t size)
{
    char text[INET6_ADDRSTRLEN];
    const char *percent = memchr(host, '%', size);
    const size_t bare = percent != NULL ? (size_t)(percent - host) : size;
    if (bare >= sizeof text || (percent != NULL && !is_name(percent + 1, size - bare - 1))) {
        return false;
    }
    memcpy(text, host, bare);
    text[bare] = 0;
    struct in6_addr address;
    return size < CPNI_HOST_TEXT && inet_pton(AF_INET6, text, &address) == 1;
}

/* The port, or 0 for what is not one. */
static unsigned parse_port(const char *text, size_t size)
{
    unsigned port = 0;
    for (size_t i = 0; i < size && i < 6; i++) {
        if (!isdigit((unsigned char)text[i])) {
            return 0;
        }
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return size >= 1 && size <= 5 && port <= 65535 ? port : 0;
}

int cpni_endpoint_parse(const char *text, size_t size, char out[CPNI_ENDPOINT_TEXT])
{
    const char *colon = memrchr(text, ':', size);
    if (colon == NULL) {
        return CPN_EINVAL;
    }
    const size_t host = (size_t)(colon - text);
    const unsigned port = parse_port(colon + 1, size - host - 1);
    const bool ipv6 = host > 2 && text[0] == '[' && text[host - 1] == ']' && is_ipv6(text + 1, host - 2);
    if (port == 0 || (!ipv6 && !is_name(text, host))) {
        return CPN_EINVAL;
    }
    snprintf(out, CPNI_ENDPOINT_TEXT, CPNI_ENDPOINT_SCHEME "%.*s:%u", (int)host, text, port);
    return 0;
}

int cpni_endpoint_make(const char *host, uint16_t port, char out[CPNI_ENDPOINT_TEXT])
{
    const size_t size = strlen(host);
    const bool ipv6 = is_ipv6(host, size);
    if (port == 0 || (!ipv6 && !is_name(host, size))) {
        return CPN_EINVAL;
    }
    snprintf(out, CPNI_ENDPOINT_TEXT, CPNI_ENDPOINT_SCHEME "%s%s%s:%u", ipv6 ? "[" : "", host, ipv6 ? "]" : "", port);
    return 0;
}

/* The text of an interface's address if it is of this family and of use to another machine. */
static bool address_text(const struct ifaddrs *entry, int family, char text[CPNI_HOST_TEXT])
{
    if (entry->ifa_addr == NULL || entry->ifa_addr->sa_family != family || (entry->ifa_flags & IFF_UP) == 0 ||
        (entry->ifa_flags & IFF_LOOPBACK) != 0) {
        return false;
    }
    if (family == AF_INET) {
        struct sockaddr_in address;
        memcpy(&address, entry->ifa_addr, sizeof address);
        return inet_ntop(AF_INET, &address.sin_addr, text, CPNI_HOST_TEXT) != NULL;
    }
    struct sockaddr_in6 address;
    memcpy(&address, entry->ifa_addr, sizeof address);
    return !IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr) &&
           inet_ntop(AF_INET6, &address.sin6_addr, text, CPNI_HOST_TEXT) != NULL;
}

size_t cpni_local_addresses(char out[CPNI_ENDPOINTS_MAX][CPNI_HOST_TEXT])
{
    static const int families[] = { AF_INET, AF_INET6 };
    struct ifaddrs *list = NULL;
    size_t count = 0;
    if (getifaddrs(&list) != 0) {
        list = NULL; /* then loopback is what we know */
    }
    for (size_t f = 0; f < 2; f++) {
        for (const struct ifaddrs *i = list; i != NULL && count < CPNI_ENDPOINTS_MAX - 1; i = i->ifa_next) {
            count += address_text(i, families[f], out[count]);
        }
    }
    if (list != NULL) {
        freeifaddrs(list);
    }
    snprintf(out[count++], CPNI_HOST_TEXT, "127.0.0.1");
    return count;
}
