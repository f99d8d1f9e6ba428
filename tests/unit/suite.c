/* The part of a suite that is the same on both floors: arguments, CUnit, checks, the summary.
 *
 * Checks count here, with atomics, since a test may check from any of its threads and CUnit's
 * registry knows only one; each test then makes one CUnit assertion of its count. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <CUnit/TestRun.h>
#include "tests/unit/suite_internal.h"

static struct {
    const struct test *tests;
    const struct test *current;
    uint64_t seed;
    atomic_uint failures; /* of the current test */
} suite = {.seed = 1};

enum { PRINT_MOST = 50 }; /* failures shown per test */

bool suite_check(bool ok, const char *file, int line, const char *format, ...)
{
    if (ok)
        return true;
    if (atomic_fetch_add(&suite.failures, 1) < PRINT_MOST) {
        char text[1024];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        printf("\n    %s:%d: failed: %s", file, line, text);
        fflush(stdout);
    }
    return false;
}

bool suite_check_ok(enum err e, const char *file, int line, const char *text)
{
    return suite_check(e == OK, file, line, "%s is %s", text, err_name(e));
}

bool suite_check_err(enum err e, enum err want, const char *file, int line, const char *text)
{
    return suite_check(e == want, file, line, "%s is %s, not %s", text, err_name(e),
                       err_name(want));
}

bool suite_check_int(intmax_t a, intmax_t b, const char *file, int line, const char *text)
{
    return suite_check(a == b, file, line, "%s: %jd, %jd", text, a, b);
}

bool suite_check_text(const char *a, const char *b, const char *file, int line)
{
    return suite_check(a && b && strcmp(a, b) == 0, file, line, "\"%s\" is not \"%s\"",
                       a ? a : "(null)", b ? b : "(null)");
}

uint64_t suite_seed(void)
{
    uint64_t h = UINT64_C(14695981039346656037) ^ suite.seed;
    for (const char *c = suite.current ? suite.current->name : ""; *c; c++)
        h = (h ^ (uint8_t)*c) * UINT64_C(1099511628211);
    return h ^ (h >> 29);
}

static const struct test *find_test(const char *name)
{
    for (const struct test *t = suite.tests; t->name; t++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

/* Every test is registered with this function: CUnit says by name which one it is. */
static void run_current(void)
{
    suite.current = find_test(CU_get_current_test()->pName);
    atomic_store(&suite.failures, 0);
    printf("  %s", suite.current->name);
    fflush(stdout);
    suite_floor_run(suite.current, suite_seed());
    unsigned failures = atomic_load(&suite.failures);
    printf(failures ? "\n  FAILED %s: %u checks\n" : ": ok\n", suite.current->name, failures);
    fflush(stdout);
    CU_assertImplementation(failures == 0, (unsigned)__LINE__, suite.current->name, __FILE__, "",
                            CU_FALSE);
}

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--filter TEXT] [--seed N] [--list]\n", program);
    return 2;
}

int suite_run(const char *name, const struct test *tests, int argc, char **argv)
{
    const char *filter = "";
    bool list = false;
    suite.tests = tests;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc)
            filter = argv[++i];
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            suite.seed = strtoull(argv[++i], NULL, 0);
        else
            return usage(argv[0]);
    }
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite cu = CU_add_suite(name, NULL, NULL);
    for (const struct test *t = tests; t->name; t++) {
        if (!strstr(t->name, filter))
            continue;
        if (list)
            printf("%s\n", t->name);
        else if (!CU_add_test(cu, t->name, run_current))
            return 1;
    }
    unsigned run = 0, failed = 0;
    if (!list) {
        printf("%s\n", name);
        CU_run_all_tests();
        run = CU_get_number_of_tests_run();
        failed = CU_get_number_of_tests_failed();
        printf("%u passed, %u failed\n", run - failed, failed);
    }
    CU_cleanup_registry();
    return list ? 0 : failed == 0 && run > 0 ? 0 : 1;
}
