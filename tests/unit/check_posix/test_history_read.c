/* Histories from files: every field, and lines that are wrong. */
#include <stdio.h>
#include "tests/check/linearizable.h"
#include "tests/unit/suite.h"

/* LINEARIZABLE or not; -1: the file is refused. */
static int judge(const char *text, char problem[200])
{
    char path[256];
    struct linearizable_report r;
    snprintf(path, sizeof path, "%s/history", suite_dir());
    FILE *f = fopen(path, "w");
    if (!CHECK(f != NULL))
        return -1;
    CHECK(fputs(text, f) >= 0);
    fclose(f);
    struct history *h = history_new();
    int verdict = -1;
    if (history_read(h, path, problem)) {
        verdict = (int)linearizable_check(h, LINEARIZABLE_STEPS, &r);
        linearizable_report_release(&r);
    }
    history_free(h);
    return verdict;
}

#define PUT \
    "{\"client\":0,\"op\":\"put\",\"key\":\"a\",\"value\":\"x\",\"invoke\":1,\"return\":2}\n"
#define LINE(rest) "{\"client\":1,\"invoke\":5,\"return\":9," rest "}\n"

static void every_field(void)
{
    static const struct {
        const char *line;
        int verdict;
    } cases[] = {
        {LINE("\"op\":\"get\",\"key\":\"a\",\"value\":\"x\""), LINEARIZABLE},
        {LINE("\"op\":\"get\",\"key\":\"a\",\"value\":\"*\""), LINEARIZABLE},
        {LINE("\"op\":\"get\",\"key\":\"a\",\"value\":null"), NOT_LINEARIZABLE},
        {LINE("\"op\":\"get\",\"key\":\"b\",\"value\":\"x\""), NOT_LINEARIZABLE},
        {LINE("\"op\":\"put\",\"key\":\"a\",\"value\":\"y\",\"if_absent\":true"), NOT_LINEARIZABLE},
        {LINE("\"op\":\"put\",\"key\":\"a\",\"value\":\"y\",\"if_absent\":true,\"refused\":true"),
         LINEARIZABLE},
        {LINE("\"op\":\"put\",\"key\":\"a\",\"value\":\"y\",\"if_match\":\"x\""), LINEARIZABLE},
        {LINE("\"op\":\"put\",\"key\":\"a\",\"value\":\"y\",\"if_match\":\"z\""), NOT_LINEARIZABLE},
        {LINE("\"op\":\"delete\",\"key\":\"a\"")
             LINE("\"op\":\"get\",\"key\":\"a\",\"value\":null"),
         LINEARIZABLE},
        {LINE("\"op\":\"list\",\"prefix\":\"\",\"keys\":{\"a\":\"x\"}"), LINEARIZABLE},
        {LINE("\"op\":\"list\",\"prefix\":\"\",\"keys\":{}"), NOT_LINEARIZABLE},
        {LINE("\"op\":\"list\",\"prefix\":\"\",\"after\":\"a\",\"keys\":{}"), LINEARIZABLE},
        {LINE("\"op\":\"list\",\"prefix\":\"\",\"until\":\"A\",\"keys\":{}"), LINEARIZABLE},
        {LINE("\"op\":\"list\",\"prefix\":\"b\",\"keys\":{}"), LINEARIZABLE},
        {"{\"client\":1,\"op\":\"list\",\"prefix\":\"\",\"invoke\":3}\n", LINEARIZABLE},
        {"{\"client\":1,\"op\":\"delete\",\"key\":\"a\",\"invoke\":3,\"return\":null}\n" LINE(
             "\"op\":\"get\",\"key\":\"a\",\"value\":null"),
         LINEARIZABLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1000], problem[200] = "";
        snprintf(text, sizeof text, "%s%s", PUT, cases[i].line);
        int verdict = judge(text, problem);
        suite_check(verdict == cases[i].verdict, __FILE__, __LINE__, "case %zu: %d %s", i, verdict,
                    problem);
    }
}

static void wrong_lines(void)
{
    static const char *const lines[] = {
        "not JSON\n",
        "{\"client\":0,\"op\":\"put\",\"key\":\"a\",\"val", /* cut off */
        LINE("\"op\":\"move\",\"key\":\"a\""),
        LINE("\"op\":\"put\",\"key\":\"a\""),
        LINE("\"op\":\"get\""),
        LINE("\"op\":\"put\",\"key\":\"a\",\"value\":\"y\",\"refused\":true"),
        LINE("\"op\":\"list\",\"prefix\":\"\""),
        "{\"client\":0,\"op\":\"delete\",\"key\":\"a\",\"invoke\":9,\"return\":3}\n",
        "{\"op\":\"delete\",\"key\":\"a\",\"invoke\":9,\"return\":11}\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char text[1000], problem[200] = "";
        snprintf(text, sizeof text, "%s%s", PUT, lines[i]);
        suite_check(judge(text, problem) == -1 && strstr(problem, "line 2"), __FILE__, __LINE__,
                    "line %zu is taken: %s", i, problem);
    }
}

static const struct test tests[] = {
    {"every field", every_field}, {"wrong lines", wrong_lines}, {0}};
SUITE("history read", tests)
