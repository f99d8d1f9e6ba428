#include "gateway/s3_response.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"

void s3_ids_new(struct s3_ids *ids)
{
    uint8_t random[8 + 32];
    sys_random(random, sizeof random);
    hex_encode(random, 8, ids->request_id);
    for (char *p = ids->request_id; *p; p++)
        if (*p >= 'a')
            *p = (char)(*p - 'a' + 'A');
    base64_encode(random + 8, 32, ids->host_id);
}

void s3_headers_init(struct http_headers *h, struct arena *arena, const struct s3_ids *ids)
{
    http_headers_init(h, arena);
    http_headers_add(h, "x-amz-request-id", ids->request_id);
    http_headers_add(h, "x-amz-id-2", ids->host_id);
}

void s3_headers_etag(struct http_headers *h, const char *etag)
{
    http_headers_addf(h, "ETag", "\"%s\"", etag);
}

void s3_headers_last_modified(struct http_headers *h, int64_t wall_ns)
{
    char text[TIME_TEXT];
    time_format_http(wall_ns, text);
    http_headers_add(h, "Last-Modified", text);
}

void s3_error_xml(struct xml_writer *w, const struct s3_ids *ids, const struct s3_error_detail *d,
                  const char *resource)
{
    xml_open(w, "Error", NULL);
    xml_text(w, "Code", s3_error_code(d->error));
    xml_text(w, "Message", d->message ? d->message : s3_error_message(d->error));
    if (d->name)
        xml_text(w, d->name, d->value ? d->value : "");
    xml_text(w, "Resource", d->resource ? d->resource : resource);
    xml_text(w, "RequestId", ids->request_id);
    xml_text(w, "HostId", ids->host_id);
    xml_close(w);
}

void s3_respond_error(struct http_exchange *e, const struct s3_ids *ids,
                      const struct s3_error_detail *d)
{
    const struct http_request *r = http_request(e);
    struct http_headers h;
    struct xml_writer w;
    if (d->error == S3_CLIENT_GONE)
        return;
    int status = s3_error_status(d->error);
    s3_headers_init(&h, r->arena, ids);
    if (status == 503)
        http_headers_add(&h, "Retry-After", "1");
    if (status == 304) {
        (void)!http_respond(e, status, &h, 0);
        return;
    }
    xml_writer_init(&w, r->arena);
    s3_error_xml(&w, ids, d, r->path);
    if (s3_respond_xml(e, status, &h, &w) != OK)
        return; /* the client has gone: nobody is left to tell */
}

enum err s3_respond_xml(struct http_exchange *e, int status, struct http_headers *h,
                        const struct xml_writer *w)
{
    if (http_kept_alive(e)) /* the end of an answer that spaces have begun */
        return http_body_write(e, w->text + w->root, w->n - w->root);
    http_headers_add(h, "Content-Type", "application/xml");
    enum err err = http_respond(e, status, h, (int64_t)w->n);
    return err ? err : http_body_write(e, w->text, w->n);
}

size_t s3_refusal_body(void *app, enum http_refusal why, char *out, size_t max)
{
    enum s3_error error = S3_INVALID_REQUEST;
    struct s3_ids ids;
    (void)app;
    switch (why) {
    case HTTP_REFUSED_FRAMING:
    case HTTP_REFUSED_VERSION:
        break;
    case HTTP_REFUSED_TARGET:
        error = S3_KEY_TOO_LONG;
        break;
    case HTTP_REFUSED_HEADERS:
        error = S3_MAX_MESSAGE_LENGTH_EXCEEDED;
        break;
    case HTTP_REFUSED_BUSY:
        error = S3_SLOW_DOWN;
        break;
    case HTTP_REFUSED_SLOW:
        error = S3_REQUEST_TIMEOUT;
        break;
    case HTTP_REFUSED_UNANSWERED:
        error = S3_INTERNAL_ERROR;
        break;
    }
    s3_ids_new(&ids);
    int n = snprintf(out, max,
                     "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s"
                     "</Message><RequestId>%s</RequestId><HostId>%s</HostId></Error>",
                     s3_error_code(error), s3_error_message(error), ids.request_id, ids.host_id);
    return n > 0 && (size_t)n < max ? (size_t)n : 0;
}
