/* Addresses as text; the same on both floors. Pure: inet_pton and inet_ntop only convert. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include "common/sys/sys.h"

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* At most five digits, no sign, no blank: what strtoul would let through is refused. */
static enum err parse_port(const char *text, uint16_t *out)
{
    size_t digits = strlen(text);
    if (digits < 1 || digits > 5)
        return ERR_FORMAT;
    uint32_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9')
            return ERR_FORMAT;
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    if (value > UINT16_MAX)
        return ERR_FORMAT;
    *out = (uint16_t)value;
    return OK;
}

enum err sys_addr_parse(const char *text, struct sys_addr *out)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return ERR_FORMAT;
    bool v6 = text[0] == '[';
    const char *host = v6 ? text + 1 : text;
    const char *end = colon;
    if (v6) {
        if (colon == text || colon[-1] != ']')
            return ERR_FORMAT;
        end = colon - 1;
    }
    char buffer[SYS_ADDR_TEXT];
    if (end <= host || (size_t)(end - host) >= sizeof buffer)
        return ERR_FORMAT;
    memcpy(buffer, host, (size_t)(end - host));
    buffer[end - host] = 0;
    struct sys_addr a = {0};
    if (v6) {
        if (inet_pton(AF_INET6, buffer, a.host) != 1)
            return ERR_FORMAT;
    } else {
        memcpy(a.host, v4_prefix, sizeof v4_prefix);
        if (inet_pton(AF_INET, buffer, a.host + sizeof v4_prefix) != 1)
            return ERR_FORMAT;
    }
    enum err e = parse_port(colon + 1, &a.port);
    if (e)
        return e;
    *out = a;
    return OK;
}

void sys_addr_format(const struct sys_addr *a, char out[SYS_ADDR_TEXT])
{
    char host[INET6_ADDRSTRLEN];
    if (memcmp(a->host, v4_prefix, sizeof v4_prefix) == 0) {
        inet_ntop(AF_INET, a->host + sizeof v4_prefix, host, sizeof host);
        snprintf(out, SYS_ADDR_TEXT, "%s:%u", host, a->port);
    } else {
        inet_ntop(AF_INET6, a->host, host, sizeof host);
        snprintf(out, SYS_ADDR_TEXT, "[%s]:%u", host, a->port);
    }
}
