/* Metrics as Prometheus reads them. */
#include "tests/unit/suite.h"
#include "tools/metrics_text.h"

static void families(void)
{
    struct metrics_text t = {0};
    const struct metrics_label one[] = {{"disk", "3"}, {0}};
    const struct metrics_label two[] = {{"disk", "4"}, {"directory", "/d"}, {0}};
    metrics_family(&t, "cairn_x_bytes", "gauge", "What it is.");
    metrics_sample(&t, "cairn_x_bytes", NULL, 0);
    metrics_sample(&t, "cairn_x_bytes", one, 270553174016.0);
    metrics_family(&t, "cairn_y_seconds_total", "counter", "Time.");
    metrics_sample(&t, "cairn_y_seconds_total", two, 0.000445704);
    CHECK_TEXT(t.text, "# HELP cairn_x_bytes What it is.\n"
                       "# TYPE cairn_x_bytes gauge\n"
                       "cairn_x_bytes 0\n"
                       "cairn_x_bytes{disk=\"3\"} 270553174016\n"
                       "# HELP cairn_y_seconds_total Time.\n"
                       "# TYPE cairn_y_seconds_total counter\n"
                       "cairn_y_seconds_total{disk=\"4\",directory=\"/d\"} 0.000445704\n");
    CHECK_EQ(t.length, strlen(t.text));
    metrics_text_release(&t);
    CHECK(!t.text && t.length == 0);
}

/* A directory may have any name. */
static void escaped(void)
{
    struct metrics_text t = {0};
    const struct metrics_label odd[] = {{"directory", "/a \"b\"\\c\nd/\xc3\xa9\xff\xc3"}, {0}};
    metrics_sample(&t, "cairn_x", odd, 1);
    CHECK_TEXT(t.text, "cairn_x{directory=\"/a \\\"b\\\"\\\\c\\nd/\xc3\xa9??\"} 1\n");
    metrics_text_release(&t);
}

static void large(void)
{
    struct metrics_text t = {0};
    const struct metrics_label one[] = {{"disk", "3"}, {0}};
    for (int i = 0; i < 10000; i++)
        metrics_sample(&t, "cairn_x", one, i);
    CHECK(t.length > 10000 * strlen("cairn_x{disk=\"3\"} 0\n"));
    CHECK_TEXT(t.text + t.length - 23, "cairn_x{disk=\"3\"} 9999\n");
    metrics_text_release(&t);
}

static const struct test tests[] = {
    {"families and samples", families},
    {"labels are escaped", escaped},
    {"many samples", large},
    {0},
};
SUITE("metrics text", tests)
