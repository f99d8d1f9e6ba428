/* The edge on real sockets: framing that must be refused, bodies both ways, answers in mid-body. */
#include "tests/unit/gateway_posix/edge_rig.h"

static void refuses_ambiguous_framing(void)
{
    static const char *const bad[] = {
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX-Folded: a\r\n b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX-Folded: a\r\n\tb\r\nY: c\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer: chunked\r\n -Encoding\r\n\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX: a\rContent-Length: 5\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\nX: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX: a\n\r\n",
        "GET /x HTTP/1.1\nHost: h\r\n\r\n",
        "GET /x HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nX y: i\r\n\r\n",
        "GET /x HTTP/1.1\r\nX: no host\r\n\r\n",
        "GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "PUT /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect(&s, bad[i], 400);
    CHECK_EQ(s.app.begun, 0);
    edge_stop(&s);
}

static void accepts_plain_requests(void)
{
    static const char *const good[] = {
        "GET /a//b/../c%2Fd%00e+f?x=%2B HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET /a//b/../c%2Fd%00e+f?x=%2B HTTP/1.1\r\nHost:h\r\nX:   a b \t \r\nEmpty:\r\n"
        "Cookie: a=b; c=d\r\nConnection: close\r\n\r\n",
        "GET /a//b/../c%2Fd%00e+f?x=%2B HTTP/1.1\r\nHost: h\r\nConnection: close\r\nLast:\r\n\r\n",
    };
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct heard h = talk(&s, good[i]);
        CHECK(heard_status(&h, 200));
        CHECK(strstr(h.text, "\r\n\r\n/a//b/../c%2Fd%00e+f?x=%2B") != NULL);
        CHECK(strstr(h.text, "X-Test: yes\r\n") && strstr(h.text, "Server: cairn\r\n"));
        sys_free(h.text);
    }
    edge_stop(&s);
}

static void refuses_what_is_too_long(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    char *big = sys_alloc(20000), *request = sys_alloc(30000);
    memset(big, 'a', 9000);
    snprintf(request, 30000, "GET /x HTTP/1.1\r\nHost: h\r\nX-Big: %s\r\n\r\n", big);
    expect(&s, request, 431);
    snprintf(request, 30000, "GET /%s HTTP/1.1\r\nHost: h\r\n\r\n", big);
    expect(&s, request, 414);
    CHECK_EQ(s.app.begun, 0);
    sys_free(big);
    sys_free(request);
    edge_stop(&s);
}

static void receives_and_reuses(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
    CHECK(say_pattern(c, 3000000));
    struct heard h = hear(c, "\r\n\r\n3000000", 3000);
    CHECK(heard_status(&h, 200) && !h.closed);
    sys_free(h.text);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n"));
    h = hear(c, "\r\n\r\n8", 3000);
    CHECK(heard_status(&h, 200) && !h.closed);
    sys_free(h.text);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
    h = hear(c, "\r\n\r\n0", 3000);
    CHECK(heard_status(&h, 200) && !h.closed);
    sys_free(h.text);
    /* A small body that nobody reads does not cost the connection. */
    CHECK(say(c, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabcdefghij"));
    h = hear(c, "\r\n\r\nno", 3000);
    CHECK(heard_status(&h, 403) && !h.closed);
    sys_free(h.text);
    CHECK(say(c, "GET /again HTTP/1.1\r\nHost: h\r\n\r\n"));
    h = hear(c, "\r\n\r\n/again", 3000);
    CHECK(heard_status(&h, 200));
    sys_free(h.text);
    sys_socket_close(c);
    struct http_server_stats stats;
    http_server_stats(s.server, &stats);
    CHECK_EQ(stats.accepted, 1);
    CHECK_EQ(stats.requests, 5);
    edge_stop(&s);
}

static void pipelines(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n"
                 "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd"
                 "GET /three HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(c, "\r\n\r\n/three", 3000);
    const char *one = strstr(h.text, "\r\n\r\n/one"), *two = strstr(h.text, "\r\n\r\n4");
    if (!CHECK(one && two && one < two))
        printf("heard: %s\n", h.text);
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void continues_only_when_asked(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
                 "Expect: 100-continue\r\n\r\n"));
    struct heard h = hear(c, "HTTP/1.1 100 Continue\r\n\r\n", 3000);
    CHECK(!h.closed && heard_status(&h, 100));
    sys_free(h.text);
    CHECK(say(c, "abcde"));
    h = hear(c, "\r\n\r\n5", 3000);
    CHECK(heard_status(&h, 200));
    sys_free(h.text);
    sys_socket_close(c);
    c = dial(&s);
    CHECK(say(c, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
                 "Expect: 100-continue\r\n\r\n"));
    h = hear(c, NULL, 3000);
    CHECK(heard_status(&h, 403) && h.closed && strstr(h.text, "Connection: close\r\n"));
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void answers_in_mid_body(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    static const char *const paths[] = {"midway", "refuse"};
    for (int i = 0; i < 2; i++) {
        struct sys_socket *c = dial(&s);
        char head[100];
        snprintf(head, sizeof head,
                 "PUT /%s HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n", paths[i]);
        CHECK(say(c, head));
        CHECK(say_pattern(c, 4000000)); /* all of it can be sent: nobody resets */
        struct heard h = hear(c, NULL, 4000);
        CHECK(heard_status(&h, i ? 403 : 400) && h.closed);
        CHECK(strstr(h.text, i ? "\r\n\r\nno" : "\r\n\r\nbad") != NULL);
        sys_free(h.text);
        sys_socket_close(c);
    }
    edge_stop(&s);
}

static void sends_bodies(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    static const uint64_t sizes[] = {0, 1, 65536, 65537, 131072, 2000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int chunked = 0; chunked < 2; chunked++) {
            char request[200];
            snprintf(request, sizeof request,
                     "GET /%s/%" PRIu64 " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                     chunked ? "chunked" : "bytes", sizes[i]);
            struct heard h = talk(&s, request);
            CHECK(heard_status(&h, 200) && h.closed);
            const char *body = strstr(h.text, "\r\n\r\n");
            if (!chunked && CHECK(body != NULL)) {
                CHECK_EQ(h.n - (size_t)(body + 4 - h.text), sizes[i]);
                char *want = sys_alloc(sizes[i] + 1);
                pattern(want, sizes[i], 0);
                CHECK_BYTES(body + 4, want, sizes[i]);
                sys_free(want);
            } else {
                CHECK(h.n > 5 && strcmp(h.text + h.n - 5, "0\r\n\r\n") == 0);
            }
            sys_free(h.text);
        }
    edge_stop(&s);
}

static void head_announces(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "HEAD /bytes/2000000 HTTP/1.1\r\nHost: h\r\n\r\n"
                 "HEAD /bytes/20 HTTP/1.1\r\nHost: h\r\n\r\n"
                 "GET /end HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(c, "\r\n\r\n/end", 3000);
    CHECK(strstr(h.text, "Content-Length: 2000000\r\n") != NULL);
    CHECK(strstr(h.text, "Content-Length: 20\r\n") != NULL);
    CHECK(h.n < 2000);
    CHECK_EQ(s.app.failures, 0);
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void short_and_missing_answers(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct heard h = talk(&s, "GET /short HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(h.closed && h.n > 200000 && h.n < 201000);
    sys_free(h.text);
    h = talk(&s, "GET /tiny-short HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(h.closed && h.n == 0);
    sys_free(h.text);
    h = talk(&s, "GET /never HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(heard_status(&h, 500));
    sys_free(h.text);
    h = talk(&s, "POST /spaces HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(heard_status(&h, 200));
    CHECK(strstr(h.text, "\r\n\r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n7\r\n<done/>\r\n0\r\n\r\n") !=
          NULL);
    sys_free(h.text);
    edge_stop(&s);
}

static void sends_any_value(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct heard h = talk(&s, "GET /odd-headers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(heard_status(&h, 200));
    CHECK(strstr(h.text, "\r\nX-Empty:  \r\n") != NULL);
    CHECK(strstr(h.text, "\r\nX-Tab: a\tb\r\n") != NULL);
    CHECK(strstr(h.text, "\r\nX-Blank:  \r\n") != NULL);
    CHECK(strstr(h.text, "\r\n\r\nodd") != NULL);
    sys_free(h.text);
    edge_stop(&s);
}

/* Random damage to heads: any refusal, no crash, and the server goes on. */
static void survives_damage(void)
{
    static const char *const good = "PUT /store?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
                                    "X-Amz-Meta-A: b\r\nConnection: close\r\n\r\nabc";
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    uint64_t random = suite_seed() | 1;
    for (int i = 0; i < 300; i++) {
        char text[200];
        size_t n = strlen(good);
        memcpy(text, good, n);
        for (int k = 0; k < 2; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            text[(random >> 33) % n] = "0a:;\r\n \t\0\xff/?"[(random >> 50) % 12];
        }
        struct sys_socket *c = dial(&s);
        say_n(c, text, n);
        sys_socket_shutdown_write(c);
        struct heard h = hear(c, NULL, 2000);
        CHECK(h.closed);
        sys_free(h.text);
        sys_socket_close(c);
    }
    expect(&s, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200);
    edge_stop(&s);
}

static const struct test tests[] = {
    {"refuses ambiguous framing", refuses_ambiguous_framing},
    {"accepts plain requests", accepts_plain_requests},
    {"refuses what is too long", refuses_what_is_too_long},
    {"receives and reuses", receives_and_reuses},
    {"pipelines", pipelines},
    {"continues only when asked", continues_only_when_asked},
    {"answers in mid-body", answers_in_mid_body},
    {"sends bodies", sends_bodies},
    {"HEAD announces", head_announces},
    {"short and missing answers", short_and_missing_answers},
    {"sends any value", sends_any_value},
    {"survives damage", survives_damage},
    {0},
};
SUITE("edge", tests)
