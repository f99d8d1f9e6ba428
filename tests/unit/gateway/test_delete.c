/* DeleteObjects while the metadata servers do not answer: the client hears so soon, however many keys
 * it has named. */
#include "tests/unit/gateway/gateway_kit.h"

enum { KEYS = 500, BODY_MAX = KEYS * 80 + 100, THREAD_STACK = 64 * 1024 };

struct scene {
    struct world w;
    struct world_test t;
    struct gateway *g;
    char body[BODY_MAX];
    size_t body_n;
    bool sent;
    int64_t crash_after; /* the body was sent */
    struct sys_thread *crasher;
};

static void open_scene(struct scene *s)
{
    memset(s, 0, sizeof *s);
    s->w = (struct world){.chunk_count = 4, .k = 2, .m = 1};
    world_start(&s->w);
    world_open(&s->t, &s->w);
    s->g = kit_open(&s->t);
    s->body_n = (size_t)snprintf(s->body, BODY_MAX, "<Delete>");
    for (int i = 0; i < KEYS; i++) /* a condition, and so a command, for each */
        s->body_n += (size_t)snprintf(s->body + s->body_n, BODY_MAX - s->body_n,
                                      "<Object><Key>k%d</Key><ETag>\"0\"</ETag></Object>", i);
    s->body_n += (size_t)snprintf(s->body + s->body_n, BODY_MAX - s->body_n, "</Delete>");
}

static void close_scene(struct scene *s)
{
    gateway_free(s->g);
    world_client_close(&s->t.c);
    world_stop(&s->w);
}

static void crash(void *arg)
{
    struct scene *s = arg;
    sys_sleep_until(sys_now() + s->crash_after);
    sim_crash(s->w.metadata_pid);
}

static enum err produce(void *arg, const void **data, size_t *n)
{
    struct scene *s = arg;
    *n = s->sent ? 0 : s->body_n;
    *data = s->body;
    if (!s->sent && s->crash_after == 0)
        sim_crash(s->w.metadata_pid);
    else if (!s->sent)
        CHECK_OK(sys_thread_start(&s->crasher, "crasher", THREAD_STACK, crash, s));
    s->sent = true;
    return OK;
}

static int delete_all(struct scene *s, struct http_memory *m)
{
    uint8_t md5[MD5_BYTES];
    char text[32];
    digest_md5(s->body, s->body_n, md5);
    base64_encode(md5, sizeof md5, text);
    const struct http_header headers[] = {{"Content-MD5", text}};
    *m = (struct http_memory){.body_n = s->body_n, .produce = produce, .arg = s};
    int64_t began = sys_now();
    int status = kit_run(s->g, "POST", "/test?delete=", headers, 1, m);
    CHECK(sys_now() - began < s->crash_after + 2 * s->t.c.timeouts.metadata_call);
    if (s->crasher)
        sys_thread_join(s->crasher);
    return status;
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        n++;
    return n;
}

/* None is decided: the request as a whole has failed, so that an SDK tries again. */
static void none(void)
{
    static struct scene s;
    struct http_memory m;
    open_scene(&s);
    CHECK(delete_all(&s, &m) >= 500); /* 503, or 500 when it may have been carried out */
    http_memory_release(&m);
    close_scene(&s);
}

/* Some are decided: each key has its own answer. */
static void some(void)
{
    static struct scene s;
    struct http_memory m;
    open_scene(&s);
    s.crash_after = 200 * SYS_MS;
    CHECK_EQ(delete_all(&s, &m), 200);
    int decided = count(m.answer_body, "<Code>NoSuchKey<");
    int others = count(m.answer_body, "<Code>ServiceUnavailable<") +
                 count(m.answer_body, "<Code>InternalError<");
    CHECK(decided > 0 && others > 0);
    CHECK_EQ(decided + others, KEYS);
    http_memory_release(&m);
    close_scene(&s);
}

static const struct test tests[] = {
    {"without metadata", none},
    {"metadata goes meanwhile", some},
    {0},
};
SUITE("lists of deletes", tests)
