/* What a client does with more than one key or request: copies, uploads in parts, listings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/sys/sim/sim.h"
#include "tests/sim/operation.h"

enum { ID = 100, PAGE_MAX = 64, LIST_TARGET = 256 };

/* The text between two others, behind *at, which moves on; false: there is none. */
static bool between(const char **at, const char *before, const char *after, char *out, size_t room)
{
    const char *from = *at ? strstr(*at, before) : NULL;
    const char *to = from ? strstr(from + strlen(before), after) : NULL;
    if (!to)
        return false;
    from += strlen(before);
    *at = to;
    snprintf(out, room, "%.*s", (int)(to - from), from);
    return true;
}

/* An ETag in XML, its quotes as entities or plain. */
static bool xml_etag(const char **at, char out[MODEL_ETAG])
{
    char text[2 * MODEL_ETAG];
    if (!between(at, "<ETag>", "</ETag>", text, sizeof text))
        return false;
    const char *from = text;
    if (strncmp(from, "&quot;", 6) == 0)
        from += 6;
    from += *from == '"';
    snprintf(out, MODEL_ETAG, "%.*s", (int)strcspn(from, "&\""), from);
    return true;
}

/* ---- copies ---- */

/* The source is read and the target written, at two moments of the request. One attempt: another
 * would be another copy. */
void operation_copy(struct client *c, uint32_t from, uint32_t key)
{
    struct workload *w = c->work;
    char target[OPERATION_TARGET], source[OPERATION_TARGET], etag[MODEL_ETAG];
    struct s3_answer a;
    if (from == key)
        return;
    operation_target(key, target);
    operation_target(from, source);
    size_t read = operation_begin(c, source, HISTORY_GET, HISTORY_ALWAYS, 0, 0);
    size_t number = operation_begin(c, target, HISTORY_PUT, HISTORY_ALWAYS, 0, HISTORY_ANYTHING);
    s3_send(c->gateway,
            &(struct s3_request){.method = "PUT", .target = target, .copy_source = source}, &a);
    const char *at = a.exchange.answer_body;
    if (a.status == 200 && operation_contains(&a, "<CopyObjectResult") && xml_etag(&at, etag)) {
        uint64_t value = model_value(etag), seed = model_find(w->model, value);
        if (!seed)
            workload_fail(w, "COPY %s to %s: ETag %s is of nothing that was ever written", source,
                          target, etag);
        operation_done(c, number, value);
        /* What was uploaded in parts has another ETag than its copy. */
        operation_done(c, read, model_large(seed) ? HISTORY_ANYTHING : value);
        w->copies++;
    } else if (a.status == 404) {
        history_drop(w->history, number);
        operation_done(c, read, HISTORY_NOTHING);
    } else {
        w->refused++;
        if (operation_certain(a.status) && a.status != 200)
            operation_complain(c, "COPY", target, &a);
    }
    s3_release(&a);
}

/* ---- multipart ---- */

/* False: it did not work; an answer that cannot be is complained of. */
static bool upload_call(struct client *c, struct s3_request r, const char *expected, char *out,
                        size_t room)
{
    struct s3_answer a;
    operation_send(c, &r, &a);
    const char *at = a.exchange.answer_body;
    bool good = a.status == 200 && (!expected || operation_contains(&a, expected));
    if (good && out)
        good = between(&at, expected, "<", out, room);
    if (operation_certain(a.status) && a.status != 200)
        operation_complain(c, "upload", r.target, &a);
    c->work->refused += !good;
    s3_release(&a);
    return good;
}

static bool upload_parts(struct client *c, const char *key, const char *id, const uint8_t *bytes,
                         size_t n)
{
    char target[OPERATION_TARGET + ID + 60];
    for (int part = 0; part < 2; part++) {
        snprintf(target, sizeof target, "%s?partNumber=%d&uploadId=%s", key, part + 1, id);
        struct s3_request r = {.method = "PUT",
                               .target = target,
                               .body = bytes + (part ? MODEL_PART : 0),
                               .n = part ? n - MODEL_PART : MODEL_PART};
        if (!upload_call(c, r, NULL, NULL, 0))
            return false;
    }
    return true;
}

static void upload_complete(struct client *c, const char *key, const char *target, uint64_t seed,
                            const uint8_t *bytes)
{
    struct workload *w = c->work;
    char etag[MODEL_ETAG], md5[2][2 * MD5_BYTES + 1], xml[400];
    uint8_t digest[MD5_BYTES];
    for (int part = 0; part < 2; part++) {
        digest_md5(bytes + (part ? MODEL_PART : 0),
                   part ? model_size(seed) - MODEL_PART : MODEL_PART, digest);
        hex_encode(digest, MD5_BYTES, md5[part]);
    }
    snprintf(xml, sizeof xml,
             "<CompleteMultipartUpload>"
             "<Part><PartNumber>1</PartNumber><ETag>\"%s\"</ETag></Part>"
             "<Part><PartNumber>2</PartNumber><ETag>\"%s\"</ETag></Part>"
             "</CompleteMultipartUpload>",
             md5[0], md5[1]);
    uint64_t value = model_add(w->model, seed, bytes, true, etag);
    size_t number = operation_begin(c, key, HISTORY_PUT, HISTORY_ALWAYS, 0, value);
    struct s3_request r = {.method = "POST", .target = target, .body = xml, .n = strlen(xml)};
    if (upload_call(c, r, "<CompleteMultipartUploadResult", NULL, 0)) {
        operation_done(c, number, value);
        w->uploads++;
    }
}

void operation_upload(struct client *c, uint32_t number)
{
    char key[OPERATION_TARGET], target[OPERATION_TARGET + ID + 60], id[ID];
    uint64_t seed = model_seed(sim_random(), true);
    operation_target(number, key);
    snprintf(target, sizeof target, "%s?uploads=", key);
    if (!upload_call(c, (struct s3_request){.method = "POST", .target = target}, "<UploadId>", id,
                     sizeof id))
        return;
    uint8_t *bytes = model_bytes(seed);
    bool good = upload_parts(c, key, id, bytes, model_size(seed));
    snprintf(target, sizeof target, "%s?uploadId=%s", key, id);
    if (good) {
        upload_complete(c, key, target, seed, bytes);
    } else {
        struct s3_answer a;
        s3_send(c->gateway, &(struct s3_request){.method = "DELETE", .target = target}, &a);
        s3_release(&a);
    }
    sys_free(bytes);
}

/* ---- listings ---- */

/* What a page shows, and its last key's name in after. */
static size_t page_entries(struct client *c, const char *xml, struct history_listed *out,
                           char after[OPERATION_TARGET])
{
    struct workload *w = c->work;
    char name[OPERATION_TARGET], etag[MODEL_ETAG], size[32];
    size_t n = 0;
    while (n < PAGE_MAX && between(&xml, "<Key>", "</Key>", name, sizeof name)) {
        if (strcmp(name, after) <= 0)
            workload_fail(w, "LIST: %s comes behind %s", name, after);
        if (!xml_etag(&xml, etag) || !between(&xml, "<Size>", "</Size>", size, sizeof size))
            workload_fail(w, "LIST: %s has no ETag or size", name);
        uint64_t value = model_value(etag), seed = model_find(w->model, value);
        if (!seed || strtoull(size, NULL, 10) != model_size(seed))
            workload_fail(w, "LIST: %s with ETag %s and %s bytes is nothing that was ever written",
                          name, etag, size);
        if (w->failed)
            return n;
        out[n++] = (struct history_listed){history_key(w->history, name), value};
        snprintf(after, OPERATION_TARGET, "%s", name);
    }
    return n;
}

/* One page; false: not answered. */
static bool list_page(struct client *c, const char *prefix, unsigned page,
                      char after[OPERATION_TARGET], bool *more)
{
    struct workload *w = c->work;
    struct history_listed entries[PAGE_MAX];
    char target[LIST_TARGET], from[OPERATION_TARGET];
    struct s3_answer a;
    const char *slash = strchr(after, '/');
    snprintf(from, sizeof from, "%s", after);
    snprintf(target, sizeof target, "/bucket?list-type=2&max-keys=%u&prefix=%s%s", page, prefix,
             *prefix ? "%2F" : "");
    if (slash) /* encoded, and the query stays sorted */
        snprintf(target + strlen(target), sizeof target - strlen(target), "&start-after=%.*s%%2F%s",
                 (int)(slash - after), after, slash + 1);
    int64_t invoke = operation_stamp(c);
    s3_send(c->gateway, &(struct s3_request){.method = "GET", .target = target}, &a);
    bool answered = a.status == 200 && a.exchange.answer_body;
    if (answered) {
        char full[OPERATION_TARGET];
        size_t n = page_entries(c, a.exchange.answer_body, entries, after);
        *more = operation_contains(&a, "<IsTruncated>true");
        snprintf(full, sizeof full, "%s%s", prefix, *prefix ? "/" : "");
        if (*more && n == 0)
            workload_fail(w, "LIST %s: an empty page that is not the last", target);
        history_list(w->history, c->number, invoke, operation_stamp(c), full, from,
                     *more ? after : NULL, entries, n);
    } else if (operation_certain(a.status)) {
        operation_complain(c, "LIST", target, &a);
    }
    s3_release(&a);
    return answered;
}

bool operation_list(struct client *c)
{
    static const char *const prefixes[] = {"work", "claim", ""};
    const char *prefix = prefixes[sim_random() % 3];
    unsigned page = sim_random() % 2 ? 2 : PAGE_MAX;
    char after[OPERATION_TARGET] = "";
    for (bool more = true; more && !c->work->failed;)
        if (!list_page(c, prefix, page, after, &more)) {
            c->work->refused++;
            return false;
        }
    c->work->lists++;
    return true;
}
