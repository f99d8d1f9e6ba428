/* The benchmark's parts: percentiles, the S3 client against a server of the test, users' keys, files
 * of credentials. */
#include <stdio.h>
#include "common/base/seal.h"
#include "common/sys/sys.h"
#include "gateway/sigv4.h"
#include "tests/unit/suite.h"
#include "tools/bench_s3.h"
#include "tools/bench_stats.h"
#include "tools/credentials.h"
#include "tools/user_new.h"

static void percentiles(void)
{
    struct stats *s = sys_alloc(2 * sizeof *s), *t = s + 1;
    CHECK_EQ(stats_percentile(s, 500), 0);
    for (int64_t i = 1; i <= 1000; i++)
        stats_add(i % 2 ? s : t, i * 1000000);
    stats_merge(s, t);
    CHECK_EQ(s->count, 1000);
    CHECK_EQ(s->max_ns, 1000000000);
    int64_t p50 = stats_percentile(s, 500), p99 = stats_percentile(s, 990);
    CHECK(p50 >= 500000000 && p50 < 508000000);
    CHECK(p99 >= 990000000 && p99 <= 1000000000);
    CHECK_EQ(stats_percentile(s, 1000), 1000000000);
    stats_add(s, -5);
    stats_add(s, INT64_MAX);
    CHECK_EQ(stats_percentile(s, 1000), INT64_MAX);
    CHECK_EQ(stats_percentile(s, 1), 1007615); /* the second smallest: the top of its bucket */
    sys_free(s);
}

static void small_times_are_exact(void)
{
    struct stats *s = sys_alloc(sizeof *s);
    for (int64_t i = 0; i < 128; i++)
        stats_add(s, i);
    CHECK_EQ(stats_percentile(s, 500), 63);
    CHECK_EQ(stats_percentile(s, 250), 31);
    CHECK_EQ(stats_percentile(s, 1000), 127);
    sys_free(s);
}

static void endpoints(void)
{
    struct s3_target t = {0};
    CHECK_OK(s3_target_parse(&t, "http://127.0.0.1:9000", 0));
    CHECK_TEXT(t.host, "127.0.0.1:9000");
    CHECK_EQ(t.address.port, 9000);
    CHECK_OK(s3_target_parse(&t, "http://127.0.0.1:9000/", 0));
    CHECK_TEXT(t.host, "127.0.0.1:9000");
    CHECK_ERR(s3_target_parse(&t, "https://127.0.0.1:9000", 0), ERR_UNSUPPORTED);
    CHECK_ERR(s3_target_parse(&t, "http://127.0.0.1:9000/path", 0), ERR_UNSUPPORTED);
    CHECK_ERR(s3_target_parse(&t, "http:///", 0), ERR_UNSUPPORTED);
}

/* ---- a server that says what it is told to, connection by connection ---- */

struct script {
    struct sys_socket *listener;
    const char *const *answers; /* one per request; NULL: hang up and accept again; ends with "" */
    char requests[4][4096];
    size_t count;
};

static void serve(void *arg)
{
    struct script *s = arg;
    struct sys_socket *c = NULL;
    for (size_t i = 0; !s->answers[i] || *s->answers[i]; i++) {
        if (!s->answers[i]) {
            if (c)
                sys_socket_close(c);
            c = NULL;
            continue;
        }
        if (!c && sys_accept(s->listener, sys_now() + 5 * SYS_SECOND, &c))
            return;
        char *text = s->requests[s->count++];
        size_t n = 0, got;
        while (!strstr(text, "\r\n\r\n") &&
               sys_recv(c, text + n, 4095 - n, sys_now() + 5 * SYS_SECOND, &got) == OK)
            n += got;
        struct sys_slice v = {s->answers[i], strlen(s->answers[i])};
        while (v.length && sys_send(c, &v, 1, false, sys_now() + 5 * SYS_SECOND, &got) == OK) {
            v.data = (const char *)v.data + got;
            v.length -= got;
        }
    }
    if (c)
        sys_socket_close(c);
}

struct got {
    char text[64];
    size_t n;
};
static void take(void *arg, const uint8_t *data, size_t n)
{
    struct got *g = arg;
    for (size_t i = 0; i < n && g->n + 1 < sizeof g->text; i++)
        g->text[g->n++] = (char)data[i];
}

struct talk {
    struct script script;
    struct sys_thread *thread;
    struct s3_target target;
    struct s3_connection *connection;
};

static void begin(struct talk *k, const char *const *answers)
{
    struct sys_addr any;
    memset(k, 0, sizeof *k);
    k->target = (struct s3_target){.access_key = "AKID", .secret = "SECRET", .region = "here"};
    CHECK_OK(sys_addr_parse("127.0.0.1:9000", &any));
    CHECK_OK(sys_listen(&any, &k->script.listener));
    CHECK_OK(s3_target_parse(&k->target, "http://127.0.0.1:9000", 0));
    k->script.answers = answers;
    k->connection = s3_connection_new(&k->target);
    CHECK_OK(sys_thread_start(&k->thread, "script", 0, serve, &k->script));
}

static void end(struct talk *k)
{
    s3_connection_free(k->connection);
    sys_thread_join(k->thread);
    sys_socket_close(k->script.listener);
}

static enum err get(struct talk *k, struct got *g, struct s3_reply *reply)
{
    *g = (struct got){.n = 0};
    struct s3_request r = {.method = "GET",
                           .path = "/b/k",
                           .take = take,
                           .arg = g,
                           .deadline = sys_now() + 5 * SYS_SECOND};
    return s3_exchange(k->connection, &r, reply);
}

static void answers_are_read(void)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 44\r\n\r\n"
        "<Error><Code>NoSuchKey</Code><Other/></Error",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        NULL,
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!",
        ""};
    struct talk k;
    struct got g;
    struct s3_reply reply;
    begin(&k, answers);
    CHECK_OK(get(&k, &g, &reply));
    CHECK_EQ(reply.status, 200);
    CHECK_TEXT(g.text, "hello");
    CHECK_OK(get(&k, &g, &reply));
    CHECK_EQ(reply.status, 404);
    CHECK_TEXT(reply.code, "NoSuchKey");
    CHECK_EQ(g.n, 0);
    CHECK_OK(get(&k, &g, &reply));
    CHECK_TEXT(g.text, "ok");
    CHECK_OK(get(&k, &g, &reply));
    CHECK_TEXT(g.text, "!");
    CHECK(strstr(k.script.requests[0], "GET /b/k HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n") ==
          k.script.requests[0]);
    CHECK(strstr(k.script.requests[0], "Credential=AKID/") != NULL);
    end(&k);
}

static void an_idle_connection_may_be_closed(void)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", NULL,
                                          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2", NULL,
                                          ""};
    struct talk k;
    struct got g;
    struct s3_reply reply;
    begin(&k, answers);
    CHECK_OK(get(&k, &g, &reply));
    CHECK_OK(get(&k, &g, &reply));
    CHECK_TEXT(g.text, "2");
    end(&k);
}

static void a_short_body_is_an_error(void)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234", NULL,
                                          "garbage\r\n\r\n", ""};
    struct talk k;
    struct got g;
    struct s3_reply reply;
    begin(&k, answers);
    CHECK_ERR(get(&k, &g, &reply), ERR_TRUNCATED);
    CHECK_ERR(get(&k, &g, &reply), ERR_FORMAT);
    end(&k);
}

/* ---- signatures: what the client signs, the gateway accepts ---- */

static enum err secret_of(void *arg, const char *key_id, char *out, size_t max)
{
    (void)arg;
    snprintf(out, max, "%s", strcmp(key_id, "AKID") == 0 ? "SECRET" : "");
    return OK;
}

static enum s3_error verify(const char *method, const char *path, const char *query,
                            const char *payload, const char *authorization)
{
    struct arena arena;
    struct sigv4_result result = {0};
    arena_init(&arena);
    struct http_request r = {.method = method, .path = path, .query = query, .arena = &arena};
    http_headers_init(&r.headers, &arena);
    http_headers_add(&r.headers, "Host", "127.0.0.1:9000");
    http_headers_add(&r.headers, "x-amz-date", "20261121T060000Z");
    http_headers_add(&r.headers, "x-amz-content-sha256", payload);
    http_headers_add(&r.headers, "Authorization", authorization);
    const struct sigv4_config config = {.region = "here",
                                        .now = INT64_C(1795240800) * SYS_SECOND,
                                        .skew = 900 * SYS_SECOND,
                                        .secret = secret_of};
    enum s3_error e = sigv4_verify(&r, &config, &result);
    arena_release(&arena);
    return e;
}

static void the_gateway_accepts_signatures(void)
{
    struct s3_target t = {.access_key = "AKID", .secret = "SECRET", .region = "here"};
    uint8_t key[32];
    char header[S3_HEAD_MAX];
    snprintf(t.host, sizeof t.host, "127.0.0.1:9000");
    sigv4_signing_key("SECRET", "20261121", "here", "s3", key);
    struct s3_request r = {.method = "PUT", .path = "/bucket/key"};
    s3_authorization(&t, key, &r, "20261121T060000Z", "UNSIGNED-PAYLOAD", header);
    CHECK_EQ(verify("PUT", "/bucket/key", NULL, "UNSIGNED-PAYLOAD", header), S3_OK);
    CHECK(verify("PUT", "/bucket/other", NULL, "UNSIGNED-PAYLOAD", header) != S3_OK);
    r = (struct s3_request){.method = "POST", .path = "/bucket", .query = "delete"};
    s3_authorization(&t, key, &r, "20261121T060000Z", "UNSIGNED-PAYLOAD", header);
    CHECK_EQ(verify("POST", "/bucket", "delete", "UNSIGNED-PAYLOAD", header), S3_OK);
}

/* ---- users ---- */

static void a_new_user_is_sealed(void)
{
    struct rpc_key key = {.id = 3};
    struct user_keys keys, more;
    struct user_command c;
    uint8_t secret[256];
    size_t n = 0;
    memset(key.bytes, 7, sizeof key.bytes);
    user_keys_random(&keys);
    user_keys_random(&more);
    CHECK_EQ(strlen(keys.access_key), 20);
    CHECK_EQ(strlen(keys.secret), 40);
    CHECK(strcmp(keys.secret, more.secret) != 0);
    user_command(&c, &key, "anna", &keys, false);
    const UserInfo *u = c.command.create_user->user;
    CHECK_TEXT(u->name, "anna");
    CHECK_TEXT(u->access_key, keys.access_key);
    CHECK_OK(seal_open(key.bytes, u->access_key, u->sealed_secret.data, u->sealed_secret.len,
                       secret, &n));
    CHECK_EQ(n, 40);
    CHECK_BYTES(secret, keys.secret, 40);
    CHECK_ERR(seal_open(key.bytes, more.access_key, u->sealed_secret.data, u->sealed_secret.len,
                        secret, &n),
              ERR_AUTHENTICATION);
    CHECK(user_name_valid("anna.b-c_d@e") && user_name_valid("7"));
    CHECK(!user_name_valid("") && !user_name_valid("a b") && !user_name_valid("a/b"));
}

static void credentials(void)
{
    const char *text = "# keys\nexport A_KEY=1\nA_KEY_TOO=2\r\nEMPTY=\nLAST=x=y";
    char out[8];
    CHECK(credentials_value(text, "A_KEY", out, sizeof out));
    CHECK_TEXT(out, "1");
    CHECK(credentials_value(text, "A_KEY_TOO", out, sizeof out));
    CHECK_TEXT(out, "2");
    CHECK(credentials_value(text, "LAST", out, sizeof out));
    CHECK_TEXT(out, "x=y");
    CHECK(!credentials_value(text, "EMPTY", out, sizeof out));
    CHECK(!credentials_value(text, "KEY", out, sizeof out));
    CHECK(!credentials_value(text, "LAST", out, 3));
}

static const struct test tests[] = {
    {"percentiles", percentiles},
    {"small times are exact", small_times_are_exact},
    {"endpoints", endpoints},
    {"answers are read", answers_are_read},
    {"an idle connection may be closed", an_idle_connection_may_be_closed},
    {"a short body is an error", a_short_body_is_an_error},
    {"the gateway accepts signatures", the_gateway_accepts_signatures},
    {"a new user is sealed", a_new_user_is_sealed},
    {"credentials", credentials},
    {0},
};
SUITE("bench", tests)
