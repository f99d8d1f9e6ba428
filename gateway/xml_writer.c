#include "gateway/xml_writer.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "gateway/s3_uri.h"

static void put_n(struct xml_writer *w, const char *text, size_t n)
{
    if (w->n + n + 1 > w->max) {
        size_t max = 2 * (w->n + n + 1);
        char *bigger = arena_alloc(w->arena, max);
        if (w->n)
            memcpy(bigger, w->text, w->n);
        w->text = bigger;
        w->max = max;
    }
    memcpy(w->text + w->n, text, n);
    w->n += n;
    w->text[w->n] = 0;
}

static void put(struct xml_writer *w, const char *text)
{
    put_n(w, text, strlen(text));
}

static void put_escaped(struct xml_writer *w, const void *text, size_t n)
{
    const unsigned char *p = text;
    for (size_t i = 0; i < n;) {
        size_t length = utf8_length(p + i, n - i);
        switch (p[i]) {
        case '&':
            put(w, "&amp;");
            break;
        case '<':
            put(w, "&lt;");
            break;
        case '>':
            put(w, "&gt;");
            break;
        case '"':
            put(w, "&quot;");
            break;
        case '\r':
            put(w, "&#13;");
            break;
        case '\n':
            put(w, "&#10;");
            break;
        case '\t':
            put(w, "&#9;");
            break;
        default:
            if (length == 0 || p[i] < 0x20)
                put(w, "?");
            else
                put_n(w, (const char *)p + i, length);
        }
        i += length ? length : 1;
    }
}

void xml_writer_init(struct xml_writer *w, struct arena *arena)
{
    memset(w, 0, sizeof *w);
    w->arena = arena;
    put(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    w->root = w->n;
}

void xml_open_attribute(struct xml_writer *w, const char *name, const char *attribute,
                        const char *value)
{
    assert(w->depth < XML_DEPTH_MAX);
    w->open[w->depth++] = name;
    put(w, "<");
    put(w, name);
    if (attribute) {
        put(w, " ");
        put(w, attribute);
        put(w, "=\"");
        put_escaped(w, value, strlen(value));
        put(w, "\"");
    }
    put(w, ">");
}

void xml_open(struct xml_writer *w, const char *name, const char *xmlns)
{
    xml_open_attribute(w, name, xmlns ? "xmlns" : NULL, xmlns);
}

void xml_close(struct xml_writer *w)
{
    assert(w->depth > 0);
    put(w, "</");
    put(w, w->open[--w->depth]);
    put(w, ">");
}

void xml_text_n(struct xml_writer *w, const char *name, const void *text, size_t n)
{
    put(w, "<");
    put(w, name);
    put(w, ">");
    put_escaped(w, text, n);
    put(w, "</");
    put(w, name);
    put(w, ">");
}

void xml_text(struct xml_writer *w, const char *name, const char *text)
{
    xml_text_n(w, name, text, strlen(text));
}

void xml_chars(struct xml_writer *w, const char *text)
{
    put_escaped(w, text, strlen(text));
}

void xml_number(struct xml_writer *w, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    xml_text(w, name, text);
}

void xml_bool(struct xml_writer *w, const char *name, bool value)
{
    xml_text(w, name, value ? "true" : "false");
}

void xml_key(struct xml_writer *w, const char *name, const void *key, size_t n, bool url_encode)
{
    if (url_encode)
        xml_text(w, name, uri_encode(w->arena, key, n, true));
    else
        xml_text_n(w, name, key, n);
}

void xml_time(struct xml_writer *w, const char *name, int64_t wall_ns)
{
    char text[TIME_TEXT];
    time_format_iso(wall_ns, text);
    xml_text(w, name, text);
}

void xml_etag(struct xml_writer *w, const char *name, const char *etag)
{
    xml_text(w, name, arena_format(w->arena, "\"%s\"", etag));
}
