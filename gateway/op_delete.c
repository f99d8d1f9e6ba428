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

/* One command for some keys; what each came to goes into the answer. */
static void delete_group(struct op *op, uint64_t bucket, const struct s3_delete_entry *entries,
                         size_t n, const Conditions *conditions, bool quiet, struct xml_writer *w)
{
    ProtobufCBinaryData keys[KEYS_PER_COMMAND];
    for (size_t i = 0; i < n; i++)
        keys[i] = op_bytes(entries[i].key, entries[i].key_n);
    DeleteObjects body = DELETE_OBJECTS__INIT;
    body.bucket = bucket;
    body.keys = keys;
    body.n_keys = n;
    body.conditions = (Conditions *)(uintptr_t)conditions;
    Command command = COMMAND__INIT;
    command.body_case = COMMAND__BODY_DELETE_OBJECTS;
    command.delete_objects = &body;
    Result *result = NULL;
    enum err e = op_execute(op, &command, &result);
    for (size_t i = 0; i < n; i++) {
        if (e != OK) {
            write_error(w, &entries[i], s3_error_from(e));
        } else if (!quiet) {
            xml_open(w, "Deleted", NULL);
            xml_text_n(w, "Key", entries[i].key, entries[i].key_n);
            xml_close(w);
        }
    }
}

/* Keys that stand alone (with a condition), that cannot be deleted, or in groups. */
static void delete_all(struct op *op, uint64_t bucket, const struct s3_delete *d,
                       struct xml_writer *w)
{
    struct s3_delete_entry group[KEYS_PER_COMMAND];
    size_t n = 0;
    for (size_t i = 0; i < d->entries_n; i++) {
        const struct s3_delete_entry *entry = &d->entries[i];
        if (entry->key_n > S3_KEY_MAX) {
            write_error(w, entry, S3_KEY_TOO_LONG);
        } else if (entry->version && strcmp(entry->version, "null") != 0) {
            write_error(w, entry, S3_NO_SUCH_VERSION);
        } else if (entry->etag) {
            Conditions conditions = CONDITIONS__INIT;
            conditions.if_match_etag = op_text(entry->etag);
            delete_group(op, bucket, entry, 1, &conditions, d->quiet, w);
        } else {
            group[n++] = *entry;
        }
        if (n == KEYS_PER_COMMAND || (n > 0 && i + 1 == d->entries_n)) {
            delete_group(op, bucket, group, n, NULL, d->quiet, w);
            n = 0;
        }
    }
}

enum s3_error op_delete_objects(struct op *op)
{
    BucketInfo *bucket;
    struct s3_delete d;
    char *text = NULL;
    size_t n = 0;
    enum s3_error s = op_find_bucket(op, &bucket, NULL);
    if (s == S3_OK)
        s = body_whole(op->exchange, &op->auth, DELETE_BODY_MAX, true, &text, &n);
    if (s == S3_OK)
        s = s3_delete_parse(op->arena, text, n, &d);
    if (s != S3_OK)
        return s;
    struct xml_writer w;
    xml_writer_init(&w, op->arena);
    xml_open(&w, "DeleteResult", S3_XMLNS);
    delete_all(op, bucket->id, &d, &w);
    xml_close(&w);
    return op_respond_xml(op, &w);
}
