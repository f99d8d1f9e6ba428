/* Addresses and log lines: the pure parts of the floor. */
#include <string.h>
#include "common/sys/log.h"
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

static void check_round_trip(const char *text)
{
    struct sys_addr a;
    char out[SYS_ADDR_TEXT];
    if (!CHECK_OK(sys_addr_parse(text, &a)))
        return;
    sys_addr_format(&a, out);
    CHECK_TEXT(out, text);
}

static void round_trips(void)
{
    check_round_trip("127.0.0.1:9000");
    check_round_trip("0.0.0.0:0");
    check_round_trip("255.255.255.255:65535");
    check_round_trip("[::1]:9000");
    check_round_trip("[::]:80");
    check_round_trip("[2001:db8::ff]:1");
}

static void refused(void)
{
    static const char *const bad[] = {
        "",           "127.0.0.1",    "127.0.0.1:",    "127.0.0.1:65536",  "127.0.0.1:-1",
        "127.0.0:80", "localhost:80", ":80",           "::1:80",           "[::1]80",
        "[::1:80",    "[]:80",        "127.0.0.1: 80", "127.0.0.1:000080", "[127.0.0.1]:80",
        "]:80",       "[::1]]:80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sys_addr a;
        suite_check(sys_addr_parse(bad[i], &a) == ERR_FORMAT, __FILE__, __LINE__,
                    "\"%s\" is refused", bad[i]);
    }
}

static const struct test tests[] = {
    {"round trips", round_trips},
    {"refused", refused},
    {0},
};
SUITE("sys text", tests)
