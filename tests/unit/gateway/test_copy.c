/* What a copy may not bring: objects that came in parts can be larger than any one write. And what the
 * client of a copy hears that takes long. */
#include "tests/unit/gateway/gateway_kit.h"

enum { SIZE = 5 << 20, TEXT_MAX = 8192 };

static void too_large_a_source(void)
{
    struct world w = {.chunk_count = 4, .k = 2, .m = 1};
    struct world_test t = {0};
    struct arena arena;
    world_start(&w);
    world_open(&t, &w);
    arena_init(&arena);
    struct op op = {.gateway = kit_open(&t), .arena = &arena};
    Answer source = ANSWER__INIT;
    ObjectBody body;
    struct object_written written;
    uint8_t md5[MD5_BYTES];
    static const uint64_t sizes[] = {OBJECT_PUT_MAX + 1, UINT64_C(1) << 39, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        op.error.message = NULL;
        CHECK_EQ(op_store_copy(&op, &source, 0, sizes[i], 1, 1, 0, &body, &written, md5),
                 S3_INVALID_REQUEST);
        CHECK(op.error.message != NULL);
    }
    CHECK_EQ(gateway_oldest_read(op.gateway), 0);
    gateway_free(op.gateway);
    arena_release(&arena);
    world_client_close(&t.c);
    world_stop(&w);
}

/* ---- long copies ---- */

struct scene {
    struct world w;
    struct world_test t;
    struct gateway *g;
    char text[TEXT_MAX]; /* the answer's body */
    size_t n;
    unsigned pieces; /* in which it came */
    bool crashes;    /* with the first piece all disks are gone */
    bool leaves;     /* with the second one the client */
};

static void open_scene(struct scene *s, int64_t keepalive)
{
    static uint8_t bytes[SIZE];
    memset(s, 0, sizeof *s);
    world_fill(1, 0, bytes, SIZE);
    s->w = (struct world){.chunk_count = 4, .k = 2, .m = 1};
    world_start(&s->w);
    world_open(&s->t, &s->w);
    s->t.c.timeouts.answer_keepalive = keepalive;
    s->g = kit_open(&s->t);
    CHECK_EQ(kit_send(s->g, "PUT", "/test/from", NULL, 0, bytes, SIZE, NULL), 200);
}

static void close_scene(struct scene *s)
{
    gateway_free(s->g);
    world_client_close(&s->t.c);
    world_stop(&s->w);
}

static enum err hear(void *arg, const void *data, size_t n)
{
    struct scene *s = arg;
    CHECK(s->n + n < TEXT_MAX);
    memcpy(s->text + s->n, data, n);
    s->n += n;
    s->pieces++;
    for (unsigned i = 0; s->crashes && i < s->w.chunk_count; i++)
        sim_crash(s->w.chunk_pid[i]);
    return s->leaves && s->pieces == 2 ? ERR_CLIENT_GONE : OK;
}

/* Its status; the answer is in the scene. */
static int copy(struct scene *s, const char *target, struct http_memory *m)
{
    const struct http_header headers[] = {{"x-amz-copy-source", "/test/from"}};
    *m = (struct http_memory){.consume = hear, .arg = s};
    s->n = s->pieces = 0;
    memset(s->text, 0, sizeof s->text);
    return kit_run(s->g, "PUT", target, headers, 1, m);
}

static bool copied(struct scene *s)
{
    struct http_memory m;
    static uint8_t bytes[SIZE];
    world_fill(1, 0, bytes, SIZE);
    bool same = kit_send(s->g, "GET", "/test/to", NULL, 0, NULL, 0, &m) == 200 &&
                m.answer_body_n == SIZE && memcmp(m.answer_body, bytes, SIZE) == 0;
    http_memory_release(&m);
    return same;
}

static bool ends_with(const struct scene *s, const char *text)
{
    size_t n = strlen(text);
    return s->n >= n && memcmp(s->text + s->n - n, text, n) == 0;
}

/* A document behind spaces, which is XML only without a declaration. */
static void check_spaces(const struct scene *s, const struct http_memory *m, const char *root)
{
    size_t spaces = strspn(s->text, " ");
    CHECK(spaces > 0);
    CHECK(strncmp(s->text + spaces, root, strlen(root)) == 0);
    CHECK_EQ(m->length, HTTP_CHUNKED);
    CHECK_TEXT(http_headers_get(&m->answer, "Content-Type"), "application/xml");
    CHECK(http_headers_get(&m->answer, "x-amz-request-id") != NULL);
}

static void short_copy(void)
{
    static struct scene s;
    struct http_memory m;
    open_scene(&s, 10 * SYS_SECOND);
    CHECK_EQ(copy(&s, "/test/to", &m), 200);
    CHECK(strncmp(s.text, "<?xml ", 6) == 0 && ends_with(&s, "</CopyObjectResult>"));
    CHECK_EQ(m.length, s.n);
    http_memory_release(&m);
    CHECK(copied(&s));
    CHECK_EQ(copy(&s, "/none/to", &m), 404);
    http_memory_release(&m);
    close_scene(&s);
}

static void long_copy(void)
{
    static struct scene s;
    struct http_memory m;
    open_scene(&s, SYS_MS);
    CHECK_EQ(copy(&s, "/test/to", &m), 200);
    check_spaces(&s, &m, "<CopyObjectResult");
    CHECK(ends_with(&s, "</CopyObjectResult>"));
    CHECK(s.pieces > 2);
    http_memory_release(&m);
    CHECK(copied(&s));
    CHECK_EQ(copy(&s, "/none/to", &m), 404); /* known before anything is copied */
    http_memory_release(&m);
    close_scene(&s);
}

static void long_part_copy(void)
{
    static struct scene s;
    struct http_memory m;
    char target[128];
    open_scene(&s, SYS_MS);
    CHECK_EQ(kit_send(s.g, "POST", "/test/to?uploads=", NULL, 0, NULL, 0, &m), 200);
    const char *id = strstr(m.answer_body, "<UploadId>");
    CHECK(id != NULL);
    snprintf(target, sizeof target, "/test/to?partNumber=1&uploadId=%.32s",
             id ? id + strlen("<UploadId>") : "");
    http_memory_release(&m);
    CHECK_EQ(copy(&s, target, &m), 200);
    check_spaces(&s, &m, "<CopyPartResult");
    CHECK(ends_with(&s, "</CopyPartResult>"));
    http_memory_release(&m);
    close_scene(&s);
}

static void long_copy_fails(void)
{
    static struct scene s;
    struct http_memory m;
    struct gateway_count counts[GATEWAY_COUNTS_MAX];
    uint64_t running;
    open_scene(&s, SYS_MS);
    s.crashes = true;
    CHECK_EQ(copy(&s, "/test/to", &m), 200);
    check_spaces(&s, &m, "<Error><Code>ServiceUnavailable</Code>");
    CHECK(ends_with(&s, "</Error>"));
    http_memory_release(&m);
    CHECK_EQ(kit_send(s.g, "HEAD", "/test/to", NULL, 0, NULL, 0, NULL), 404);
    size_t n = gateway_counts(s.g, counts, GATEWAY_COUNTS_MAX, &running);
    for (size_t i = 0; i < n; i++)
        if (strcmp(counts[i].operation, "CopyObject") == 0)
            CHECK_EQ(counts[i].requests[GATEWAY_FAILED], 1);
    close_scene(&s);
}

static void client_leaves(void)
{
    static struct scene s;
    struct http_memory m;
    open_scene(&s, SYS_MS);
    uint64_t shards = kit_shards(&s.t);
    s.leaves = true;
    CHECK_EQ(copy(&s, "/test/to", &m), 0);
    CHECK_EQ(s.pieces, 2);
    http_memory_release(&m);
    CHECK_EQ(kit_send(s.g, "HEAD", "/test/to", NULL, 0, NULL, 0, NULL), 404);
    CHECK_EQ(kit_shards(&s.t), shards);
    close_scene(&s);
}

static const struct test tests[] = {
    {"too large a source", too_large_a_source},
    {"a short copy", short_copy},
    {"a long copy", long_copy},
    {"a long copy of a part", long_part_copy},
    {"a long copy fails", long_copy_fails},
    {"the client leaves", client_leaves},
    {0},
};
SUITE("gateway copies", tests)
