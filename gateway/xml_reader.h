/* XML in: a small tree from a client's bytes. No DTD, no entities but the five; bounded in size,
 * depth and elements. Namespaces are ignored, as S3 does: only local names count. */
#pragma once
#include <stddef.h>
#include "common/base/arena.h"
#include "common/base/err.h"

enum { XML_READ_DEPTH_MAX = 12, XML_READ_NODES_MAX = 64 * 1024 };

struct xml_node {
    const char *name;
    const char *text; /* of itself alone, whitespace kept; "" when none */
    size_t text_n;
    struct xml_node *first, *last, *next;
};
/* ERR_FORMAT: not well formed, or something this reader refuses; ERR_TOO_BIG: too deep or too many. */
enum err xml_read(struct arena *a, const char *text, size_t n, struct xml_node **root) MUST_USE;
const struct xml_node *xml_child(const struct xml_node *n, const char *name);
const struct xml_node *xml_next(const struct xml_node *n,
                                const char *name); /* among its siblings */
/* A child's text; NULL when there is no such child. */
const char *xml_child_text(const struct xml_node *n, const char *name);
