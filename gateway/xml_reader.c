/* expat, with its memory from the floor. A document type is refused as soon as it begins, so there are
 * no entities to expand. */
#include "gateway/xml_reader.h"
#include <expat.h>
#include <limits.h>
#include <string.h>
#include "common/base/alloc.h"

struct reading {
    XML_Parser parser;
    struct arena *arena;
    struct xml_node *root;
    struct xml_node *open[XML_READ_DEPTH_MAX];
    size_t text_max[XML_READ_DEPTH_MAX];
    size_t depth, nodes;
    enum err failed;
};

static void fail(struct reading *r, enum err err)
{
    if (!r->failed)
        r->failed = err;
    XML_StopParser(r->parser, XML_FALSE);
}

static void on_open(void *arg, const char *name, const char **attributes)
{
    struct reading *r = arg;
    const char *colon = strrchr(name, ':');
    (void)attributes;
    if (r->failed)
        return;
    if (r->depth == XML_READ_DEPTH_MAX || r->nodes == XML_READ_NODES_MAX) {
        fail(r, ERR_TOO_BIG);
        return;
    }
    struct xml_node *n = arena_alloc(r->arena, sizeof *n);
    n->name = arena_string(r->arena, colon ? colon + 1 : name);
    n->text = "";
    r->nodes++;
    if (r->depth == 0) {
        r->root = n;
    } else {
        struct xml_node *parent = r->open[r->depth - 1];
        if (parent->last)
            parent->last->next = n;
        else
            parent->first = n;
        parent->last = n;
    }
    r->text_max[r->depth] = 0;
    r->open[r->depth++] = n;
}

static void on_close(void *arg, const char *name)
{
    struct reading *r = arg;
    (void)name;
    if (!r->failed && r->depth)
        r->depth--;
}

static void on_text(void *arg, const char *text, int length)
{
    struct reading *r = arg;
    if (r->failed || r->depth == 0 || length <= 0)
        return;
    struct xml_node *n = r->open[r->depth - 1];
    size_t add = (size_t)length, *max = &r->text_max[r->depth - 1];
    if (n->text_n + add + 1 > *max) {
        *max = 2 * (n->text_n + add + 1);
        char *bigger = arena_alloc(r->arena, *max);
        memcpy(bigger, n->text, n->text_n);
        n->text = bigger;
    }
    memcpy((char *)n->text + n->text_n, text, add);
    n->text_n += add;
    ((char *)n->text)[n->text_n] = 0;
}

static void on_doctype(void *arg, const char *name, const char *system, const char *public_id,
                       int internal)
{
    (void)name;
    (void)system;
    (void)public_id;
    (void)internal;
    fail(arg, ERR_FORMAT);
}

enum err xml_read(struct arena *a, const char *text, size_t n, struct xml_node **root)
{
    static const XML_Memory_Handling_Suite memory = {sys_alloc, sys_realloc, sys_free};
    struct reading r = {.arena = a};
    *root = NULL;
    if (n > INT_MAX)
        return ERR_TOO_BIG;
    r.parser = XML_ParserCreate_MM("UTF-8", &memory, NULL);
    if (!r.parser)
        return ERR_BUSY;
    XML_SetHashSalt(r.parser, 0x5bd1e995); /* the same run twice; elements are few */
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_open, on_close);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    enum XML_Status status = XML_Parse(r.parser, text, (int)n, XML_TRUE);
    XML_ParserFree(r.parser);
    if (r.failed)
        return r.failed;
    if (status != XML_STATUS_OK || !r.root)
        return ERR_FORMAT;
    *root = r.root;
    return OK;
}

const struct xml_node *xml_child(const struct xml_node *n, const char *name)
{
    for (const struct xml_node *c = n->first; c; c = c->next)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

const struct xml_node *xml_next(const struct xml_node *n, const char *name)
{
    for (const struct xml_node *c = n->next; c; c = c->next)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

const char *xml_child_text(const struct xml_node *n, const char *name)
{
    const struct xml_node *c = xml_child(n, name);
    return c ? c->text : NULL;
}
