#include <string.h>
#include "gateway/gateway_internal.h"

/* DeleteObject and DeleteObjects: groups of keys, each group one command. */

enum { DELETE_BODY_MAX = 2 * 1024 * 1024, KEYS_PER_COMMAND = 100 };

enum s3_error op_delete_object(struct op *op)
{
    BucketInfo *bucket;
    Conditions conditions;
    if (s3_request_param(&op->request, "versionId"))
        return S3_NOT_IMPLEMENTED;
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    if (s == S3_OK)
        s = op_write_conditions(op, &conditions);
    if (s != S3_OK)
        return s;
    ProtobufCBinaryData key = op_bytes(op->request.key, op->request.key_n);
    DeleteObjects body = DELETE_OBJECTS__INIT;
    body.bucket = bucket->id;
    body.keys = &key;
    body.n_keys = 1;
    body.conditions = &conditions;
    body.retry = op_sdk_retry(op, bucket->id, "", 0);
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_DELETE_OBJECTS;
    command.delete_objects = &body;
    return op_execute_empty(op, &command);
}

static void write_error(struct xml_writer *w, const struct s3_delete_entry *entry,
                        enum s3_error error)
{
    xml_open(w, "Error", NULL);
    xml_text_n(w, "Key", entry->key, entry->key_n);
    xml_text(w, "Code", s3_error_code(error));
    xml_text(w, "Message", s3_error_message(error));
    xml_close(w);
}

/* A list on its way. */
struct deletion {
    struct op *op;
    uint64_t bucket;
    bool quiet;
    struct xml_writer *w;
    size_t decided;   /* keys of which metadata has said what becomes of them */
    enum err stopped; /* metadata did not carry out a command, and is asked no more */
};

/* Every command may take as long as metadata may take to answer, and a client waits for all: after one
 * that failed the others would fail alike. */
static enum err execute(struct deletion *d, Command *command, size_t n)
{
    Result *result = NULL;
    if (d->stopped != OK)
        return d->stopped;
    enum err e = op_execute(d->op, command, &result);
    if (e != OK && s3_error_status(s3_error_from(e)) >= 500)
        d->stopped = e;
    else
        d->decided += n;
    return e;
}

/* One command for some keys; what each came to goes into the answer. */
static void delete_group(struct deletion *d, const struct s3_delete_entry *entries, size_t n,
                         const Conditions *conditions)
{
    ProtobufCBinaryData keys[KEYS_PER_COMMAND];
    for (size_t i = 0; i < n; i++)
        keys[i] = op_bytes(entries[i].key, entries[i].key_n);
    DeleteObjects body = DELETE_OBJECTS__INIT;
    body.bucket = d->bucket;
    body.keys = keys;
    body.n_keys = n;
    body.conditions = (Conditions *)(uintptr_t)conditions;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_DELETE_OBJECTS;
    command.delete_objects = &body;
    enum err e = execute(d, &command, n);
    for (size_t i = 0; i < n; i++) {
        if (e != OK) {
            write_error(d->w, &entries[i], s3_error_from(e));
        } else if (!d->quiet) {
            xml_open(d->w, "Deleted", NULL);
            xml_text_n(d->w, "Key", entries[i].key, entries[i].key_n);
            xml_close(d->w);
        }
    }
}

/* Keys that stand alone (with a condition), that cannot be deleted, or in groups. */
static void delete_all(struct deletion *d, const struct s3_delete *list)
{
    struct s3_delete_entry group[KEYS_PER_COMMAND];
    size_t n = 0;
    for (size_t i = 0; i < list->entries_n; i++) {
        const struct s3_delete_entry *entry = &list->entries[i];
        if (entry->version && strcmp(entry->version, "null") != 0) {
            write_error(d->w, entry, S3_NO_SUCH_VERSION);
        } else if (entry->etag) {
            Conditions conditions = CONDITIONS__INIT;
            conditions.if_match_etag = op_text(entry->etag);
            delete_group(d, entry, 1, &conditions);
        } else {
            group[n++] = *entry;
        }
        if (n == KEYS_PER_COMMAND || (n > 0 && i + 1 == list->entries_n)) {
            delete_group(d, group, n, NULL);
            n = 0;
        }
    }
}

enum s3_error op_delete_objects(struct op *op)
{
    BucketInfo *bucket;
    struct s3_delete list;
    char *text = NULL;
    size_t n = 0;
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    if (s == S3_OK)
        s = body_whole(op->exchange, &op->auth, DELETE_BODY_MAX, true, &text, &n);
    if (s == S3_OK)
        s = s3_delete_parse(op->arena, text, n, &list);
    if (s != S3_OK)
        return s;
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "DeleteResult", S3_XMLNS);
    struct deletion d = {.op = op, .bucket = bucket->id, .quiet = list.quiet, .w = &w};
    delete_all(&d, &list);
    if (d.stopped != OK && d.decided == 0)
        return op_failed(op, d.stopped);
    xml_close(&w);
    return op_respond_xml(op, &w);
}
