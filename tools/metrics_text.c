#include "tools/metrics_text.h"
#include <stdio.h>
#include <string.h>
#include "common/base/alloc.h"
#include "common/base/text.h"

enum { NUMBER = 40 };

static void append(struct metrics_text *t, const char *bytes, size_t n)
{
    if (t->length + n + 1 > t->room) {
        t->room = 2 * (t->length + n + 1);
        t->text = sys_realloc(t->text, t->room);
    }
    memcpy(t->text + t->length, bytes, n);
    t->length += n;
    t->text[t->length] = 0;
}

static void add(struct metrics_text *t, const char *text)
{
    append(t, text, strlen(text));
}

void metrics_family(struct metrics_text *t, const char *name, const char *type, const char *help)
{
    const char *const words[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        add(t, words[i]);
}

static void add_value(struct metrics_text *t, const char *value)
{
    for (size_t n = strlen(value), one; n > 0; value += one, n -= one) {
        one = utf8_length(value, n);
        if (one == 0) { /* it would make the reader refuse everything */
            add(t, "?");
            one = 1;
            continue;
        }
        if (*value == '\\' || *value == '"' || *value == '\n')
            add(t, "\\");
        append(t, *value == '\n' ? "n" : value, one);
    }
}

void metrics_sample(struct metrics_text *t, const char *name, const struct metrics_label *labels,
                    double value)
{
    char number[NUMBER];
    add(t, name);
    for (size_t i = 0; labels && labels[i].name; i++) {
        add(t, i ? "," : "{");
        add(t, labels[i].name);
        add(t, "=\"");
        add_value(t, labels[i].value);
        add(t, labels[i + 1].name ? "\"" : "\"}");
    }
    snprintf(number, sizeof number, " %.15g\n", value);
    add(t, number);
}

void metrics_text_release(struct metrics_text *t)
{
    sys_free(t->text);
    *t = (struct metrics_text){0};
}
