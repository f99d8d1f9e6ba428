#include "gateway/s3_bodies.h"
#include <string.h>
#include "common/base/text.h"
#include "gateway/xml_reader.h"

static enum s3_error root_of(struct arena *a, const char *text, size_t n, const char *name,
                             struct xml_node **root)
{
    if (n == 0 || xml_read(a, text, n, root) || strcmp((*root)->name, name) != 0)
        return S3_MALFORMED_XML;
    return S3_OK;
}

static size_t count(const struct xml_node *root, const char *name)
{
    size_t n = 0;
    for (const struct xml_node *c = xml_child(root, name); c; c = xml_next(c, name))
        n++;
    return n;
}

static enum s3_error part_parse(struct arena *a, const struct xml_node *node,
                                struct s3_completed_part *out)
{
    const char *number = xml_child_text(node, "PartNumber"), *etag = xml_child_text(node, "ETag");
    uint64_t value;
    if (!number || !etag || decimal_parse(number, strlen(number), &value))
        return S3_MALFORMED_XML;
    if (value < 1 || value > S3_PARTS_MAX)
        return S3_INVALID_ARGUMENT;
    out->number = (uint32_t)value;
    out->etag = s3_etag_bare(a, etag);
    return S3_OK;
}

enum s3_error s3_complete_parse(struct arena *a, const char *text, size_t n,
                                struct s3_complete *out)
{
    struct xml_node *root;
    memset(out, 0, sizeof *out);
    enum s3_error e = root_of(a, text, n, "CompleteMultipartUpload", &root);
    if (e)
        return e;
    size_t parts = count(root, "Part");
    if (parts == 0 || parts > S3_PARTS_MAX)
        return S3_MALFORMED_XML;
    out->parts = arena_alloc(a, parts * sizeof *out->parts);
    for (const struct xml_node *c = xml_child(root, "Part"); c; c = xml_next(c, "Part")) {
        struct s3_completed_part *p = &out->parts[out->parts_n];
        e = part_parse(a, c, p);
        if (e)
            return e;
        if (out->parts_n && p->number <= p[-1].number)
            return S3_INVALID_PART_ORDER;
        out->parts_n++;
    }
    return S3_OK;
}

enum s3_error s3_delete_parse(struct arena *a, const char *text, size_t n, struct s3_delete *out)
{
    struct xml_node *root;
    memset(out, 0, sizeof *out);
    enum s3_error e = root_of(a, text, n, "Delete", &root);
    if (e)
        return e;
    size_t entries = count(root, "Object");
    if (entries == 0 || entries > S3_PAGE_MAX)
        return S3_MALFORMED_XML;
    const char *quiet = xml_child_text(root, "Quiet");
    out->quiet = quiet && text_equal_fold(quiet, "true");
    out->entries = arena_alloc(a, entries * sizeof *out->entries);
    for (const struct xml_node *c = xml_child(root, "Object"); c; c = xml_next(c, "Object")) {
        const struct xml_node *key = xml_child(c, "Key");
        if (!key || key->text_n == 0)
            return S3_MALFORMED_XML;
        if (key->text_n > S3_KEY_MAX)
            return S3_KEY_TOO_LONG;
        const char *etag = xml_child_text(c, "ETag"), *version = xml_child_text(c, "VersionId");
        out->entries[out->entries_n++] =
            (struct s3_delete_entry){key->text, key->text_n, version && *version ? version : NULL,
                                     etag ? s3_etag_bare(a, etag) : NULL};
    }
    return S3_OK;
}

enum s3_error s3_create_bucket_parse(struct arena *a, const char *text, size_t n,
                                     const char **location)
{
    struct xml_node *root;
    *location = "";
    if (n == 0)
        return S3_OK;
    enum s3_error e = root_of(a, text, n, "CreateBucketConfiguration", &root);
    if (e)
        return e;
    const char *value = xml_child_text(root, "LocationConstraint");
    if (value)
        *location = value;
    /* What else this body may ask for changes what a bucket is. */
    return xml_child(root, "Bucket") || xml_child(root, "Location") ? S3_NOT_IMPLEMENTED : S3_OK;
}
