/* A unit suite: one program, a list of tests, CUnit underneath.
 *
 *   static void adds(void) { CHECK_EQ(1 + 1, 2); }
 *   static const struct test tests[] = {{"adds", adds}, {0}};
 *   SUITE("arithmetic", tests)
 *
 * Every test runs in a fresh simulated process (suite_sim.c) with a seed of its own: no ports, no
 * sleeps, virtual time. A suite under a folder that ends in _posix links the real floor instead
 * (suite_posix.c) and gets an empty directory in suite_dir().
 *
 * On the simulated floor a test whose name begins with "outside: " runs outside of any world and makes
 * its own (common/sys/sim/sim.h).
 *
 *   suite [--filter TEXT] [--seed N] [--list]
 *
 * Closes with "N passed, N failed"; exit status 0 only when none failed. */
#pragma once
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <CUnit/CUnit.h>
#include "common/base/err.h"

struct test {
    const char *name;
    void (*run)(void);
};

int suite_run(const char *name, const struct test *tests, int argc, char **argv);
/* The seed of this run (--seed, else 1) mixed with the test's name. */
uint64_t suite_seed(void);
/* A fresh directory for this test: in the simulator "/test", on posix one under $TMPDIR. */
const char *suite_dir(void);
/* Prints what and counts the failure when !ok; returns ok. */
bool suite_check(bool ok, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define CHECK(cond)        suite_check((cond), __FILE__, __LINE__, "%s", #cond)
#define CHECK_OK(e)        suite_check_ok((e), __FILE__, __LINE__, #e)
#define CHECK_ERR(e, want) suite_check_err((e), (want), __FILE__, __LINE__, #e)
#define CHECK_EQ(a, b) \
    suite_check_int((intmax_t)(a), (intmax_t)(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_BYTES(a, b, n) \
    suite_check(memcmp((a), (b), (n)) == 0, __FILE__, __LINE__, "%s", #a " equals " #b)
#define CHECK_TEXT(a, b) suite_check_text((a), (b), __FILE__, __LINE__)

bool suite_check_ok(enum err e, const char *file, int line, const char *text);
bool suite_check_err(enum err e, enum err want, const char *file, int line, const char *text);
bool suite_check_int(intmax_t a, intmax_t b, const char *file, int line, const char *text);
bool suite_check_text(const char *a, const char *b, const char *file, int line);

#define SUITE(name, tests)                         \
    int main(int argc, char **argv)                \
    {                                              \
        return suite_run(name, tests, argc, argv); \
    }
