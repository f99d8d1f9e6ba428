/* XML out: S3's answers. Text grows in an arena; whatever goes in is escaped. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/arena.h"

#define S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

enum { XML_DEPTH_MAX = 16 };
struct xml_writer {
    struct arena *arena;
    char *text; /* NUL-terminated */
    size_t n, max;
    size_t root; /* where the declaration ends */
    const char *open[XML_DEPTH_MAX];
    size_t depth;
};
/* Begins with the XML declaration. */
void xml_writer_init(struct xml_writer *w, struct arena *arena);
/* xmlns may be NULL. name must outlive the element. */
void xml_open(struct xml_writer *w, const char *name, const char *xmlns);
void xml_open_attribute(struct xml_writer *w, const char *name, const char *attribute,
                        const char *value);
void xml_close(struct xml_writer *w); /* the innermost */
/* <name>text</name>; characters that XML 1.0 cannot hold become '?'. */
void xml_text(struct xml_writer *w, const char *name, const char *text);
void xml_text_n(struct xml_writer *w, const char *name, const void *text, size_t n);
/* Text directly in the innermost element. */
void xml_chars(struct xml_writer *w, const char *text);
void xml_number(struct xml_writer *w, const char *name, uint64_t value);
void xml_bool(struct xml_writer *w, const char *name, bool value);
/* A key, prefix, delimiter or marker: percent-encoded ('/' kept) with encoding-type=url. */
void xml_key(struct xml_writer *w, const char *name, const void *key, size_t n, bool url_encode);
void xml_time(struct xml_writer *w, const char *name, int64_t wall_ns); /* ISO 8601 */
/* "\"etag\"" */
void xml_etag(struct xml_writer *w, const char *name, const char *etag);
