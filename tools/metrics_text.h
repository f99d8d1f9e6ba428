/* The text format of Prometheus, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format). */
#pragma once
#include <stddef.h>

/* Zeroed: empty. */
struct metrics_text {
    char *text; /* NUL behind it; NULL when empty */
    size_t length, room;
};
struct metrics_label {
    const char *name, *value; /* any bytes: escaped here, what is no UTF-8 becomes ? */
};

/* Begins a family: all its samples follow, before the next one begins. type: "gauge", "counter". */
void metrics_family(struct metrics_text *t, const char *name, const char *type, const char *help);
/* One sample of the family that was begun last; labels end with one without a name. NULL: none. */
void metrics_sample(struct metrics_text *t, const char *name, const struct metrics_label *labels,
                    double value);
void metrics_text_release(struct metrics_text *t);
