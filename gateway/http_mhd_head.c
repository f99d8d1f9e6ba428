/* The head of a request as libmicrohttpd 0.9.75 parsed it, if that is what the client sent.
 *
 * The library parses in place and is lenient: it takes a bare CR or LF for the end of a line, joins a
 * folded line to the header's *name*, and cuts at NUL. Each of these lets two readers see different
 * requests. All of them leave a trace in where the strings lie, so this is checked:
 * 1. the first name follows the version by exactly CR LF;
 * 2. a value follows its name's colon by nothing but spaces and tabs;
 * 3. a name follows the value before it by trailing spaces and exactly CR LF;
 * 4. the section ends with exactly CR LF CR LF after the last value, where its size says. */
#include "gateway/http_mhd_internal.h"
#include <stdint.h>
#include <string.h>

struct head_walk {
    struct http_headers *headers;
    const char *start; /* the method: where the request begins */
    const char *end;   /* the request's size says that it ends here */
    const char *at;    /* the NUL that ended the version or the value before */
    bool broken;
};

static bool inside(const struct head_walk *w, const char *p)
{
    uintptr_t u = (uintptr_t)p;
    return u >= (uintptr_t)w->at && u < (uintptr_t)w->end;
}

/* Between from (the end of a string) and to: blanks, possibly cut by NULs, then CR LF overwritten. */
static bool line_ends(const char *from, const char *to)
{
    const char *line_end = to - 2;
    if (line_end < from)
        return false;
    for (const char *p = from; p < line_end; p++)
        if (*p != ' ' && *p != '\t' && *p != 0)
            return false;
    return (line_end[0] == 0 || line_end[0] == '\r') && (line_end[1] == 0 || line_end[1] == '\n');
}

static enum MHD_Result visit(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_n,
                             const char *value, size_t value_n)
{
    struct head_walk *w = arg;
    (void)kind;
    if (!value || !inside(w, name) || !inside(w, value) || value < name + name_n + 1 ||
        !line_ends(w->at, name)) {
        w->broken = true;
        return MHD_NO;
    }
    for (const char *p = name + name_n + 1; p < value; p++)
        if (*p != ' ' && *p != '\t')
            w->broken = true;
    if (strlen(name) != name_n || strlen(value) != value_n)
        w->broken = true;
    /* Looked at here, because the copy will have spaces in their place. */
    for (const char *p = value; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            w->broken = true;
    w->at = value + value_n;
    http_headers_add(w->headers, name, value);
    return w->broken ? MHD_NO : MHD_YES;
}

bool mhd_head(struct mhd_exchange *x, const char *method, const char *version,
              enum http_refusal *why)
{
    struct http_request *r = &x->base.request;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct head_walk w = {&r->headers, method, method + (info ? info->header_size : 0),
                          version + strlen(version), false};
    *why = HTTP_REFUSED_FRAMING;
    if (!info || (uintptr_t)version < (uintptr_t)method || !inside(&w, w.at))
        return false;
    MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, visit, &w);
    if (w.broken || w.end - w.at < 4 || !line_ends(w.at, w.end - 2))
        return false;
    r->method = arena_string(r->arena, method);
    r->peer = x->connection->peer;
    r->received = sys_now();
    return http_request_check(r, version, &x->server->limits, why);
}
