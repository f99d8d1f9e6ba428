/* The edge on real sockets: clients that leave, drip or come in numbers; a stop with everything open. */
#include "tests/unit/gateway_posix/edge_rig.h"

static void notices_who_leaves(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
    CHECK(say_pattern(c, 1000000));
    sys_socket_close(c);
    CHECK(app_wait(&s, &s.app.failures, 1));
    CHECK_ERR(s.app.last_error, ERR_CLIENT_GONE);
    c = dial(&s);
    CHECK(say(c, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.begun, 2));
    sys_socket_close(c);
    CHECK(app_wait(&s, &s.app.failures, 2));
    CHECK_ERR(s.app.last_error, ERR_CLIENT_GONE);
    c = dial(&s);
    CHECK(say(c, "GET /bytes/300000000 HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.begun, 3));
    sys_socket_close(c);
    CHECK(app_wait(&s, &s.app.failures, 3));
    CHECK_ERR(s.app.last_error, ERR_CLIENT_GONE);
    c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "5\r\nabcde\r\nzz\r\n"));
    CHECK(app_wait(&s, &s.app.failures, 4));
    CHECK(s.app.last_error == ERR_FORMAT || s.app.last_error == ERR_CLIENT_GONE);
    sys_socket_close(c);
    edge_stop(&s);
}

/* Sends one byte each few ms until the server has had enough. */
static bool drip(struct sys_socket *c, int64_t step_ms, int steps)
{
    for (int i = 0; i < steps; i++) {
        char byte = (char)('a' + i % 26);
        if (!say_n(c, &byte, 1))
            return true;
        struct sys_poll p = {.socket = c, .want = SYS_READ};
        if (sys_poll(&p, 1, soon(step_ms)) == OK)
            return true;
    }
    return false;
}

static void reaps_who_drips(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "GET /x HTTP/1.1\r\nHost: h\r\nX: "));
    CHECK(drip(c, 10, 200));
    sys_socket_close(c);
    c = dial(&s);
    CHECK(say(c, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(c, "/x", 3000);
    CHECK(heard_status(&h, 200));
    sys_free(h.text);
    CHECK(drip(c, 10, 200)); /* the same on a connection in use */
    sys_socket_close(c);
    c = dial(&s);
    CHECK(say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
    CHECK(drip(c, 10, 200));
    h = hear(c, NULL, 2000);
    CHECK(heard_status(&h, 400) || h.n == 0);
    sys_free(h.text);
    CHECK(app_wait(&s, &s.app.failures, 1));
    CHECK_ERR(s.app.last_error, ERR_TOO_SLOW);
    sys_socket_close(c);
    c = dial(&s); /* an idle one goes too */
    h = hear(c, NULL, 3000);
    CHECK(h.closed);
    sys_free(h.text);
    sys_socket_close(c);
    edge_stop(&s);
}

static void reaps_who_does_not_receive(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c = dial(&s);
    CHECK(say(c, "GET /bytes/300000000 HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.failures, 1));
    CHECK_ERR(s.app.last_error, ERR_TOO_SLOW);
    sys_socket_close(c);
    edge_stop(&s);
}

static void refuses_beyond_its_limit(void)
{
    struct edge s;
    edge_start(&s);
    s.config.connections_max = 2;
    s.config.idle_timeout = 5 * SYS_SECOND;
    if (!edge_run(&s))
        return;
    struct sys_socket *a = dial(&s), *b = dial(&s);
    CHECK(say(a, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(a, "/x", 3000);
    sys_free(h.text);
    CHECK(say(b, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    h = hear(b, "/x", 3000);
    sys_free(h.text);
    h = talk(&s, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(heard_status(&h, 503) && h.closed && strstr(h.text, "Retry-After"));
    sys_free(h.text);
    sys_socket_close(a);
    sys_socket_close(b);
    edge_stop(&s);
}

struct one_of_many {
    struct edge *s;
    bool ok;
};

static void many_main(void *arg)
{
    struct one_of_many *m = arg;
    struct sys_socket *c = dial(m->s);
    m->ok = true;
    for (int i = 0; i < 5 && m->ok; i++) {
        m->ok = say(c, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n") &&
                say_pattern(c, 200000);
        struct heard h = hear(c, "\r\n\r\n200000", 10000);
        m->ok = m->ok && strncmp(h.text, "HTTP/1.1 200", 12) == 0;
        sys_free(h.text);
    }
    sys_socket_close(c);
}

static void serves_many_at_once(void)
{
    enum { MANY = 64 };
    struct edge s;
    edge_start(&s);
    s.config.rate_window = 10 * SYS_SECOND;
    s.config.headers_timeout = s.config.idle_timeout = 10 * SYS_SECOND;
    if (!edge_run(&s))
        return;
    struct sys_thread *threads[MANY];
    struct one_of_many many[MANY];
    for (int i = 0; i < MANY; i++) {
        many[i] = (struct one_of_many){&s, false};
        CHECK_OK(sys_thread_start(&threads[i], "many", 512 * 1024, many_main, &many[i]));
    }
    for (int i = 0; i < MANY; i++) {
        sys_thread_join(threads[i]);
        CHECK(many[i].ok);
    }
    CHECK_EQ(s.app.handled, 5 * MANY);
    edge_stop(&s);
}

static void drains(void)
{
    struct edge s;
    edge_start(&s);
    s.config.idle_timeout = s.config.rate_window = 10 * SYS_SECOND;
    if (!edge_run(&s))
        return;
    struct sys_socket *idle = dial(&s), *busy = dial(&s);
    CHECK(say(idle, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
    struct heard h = hear(idle, "/x", 3000);
    sys_free(h.text);
    CHECK(say(busy, "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"));
    CHECK(app_wait(&s, &s.app.begun, 2));
    CHECK_ERR(http_server_drain(s.server, soon(100)), ERR_TIMEOUT);
    h = hear(idle, NULL, 2000);
    CHECK(h.closed);
    sys_free(h.text);
    CHECK(say(busy, "cd"));
    CHECK_OK(http_server_drain(s.server, soon(3000)));
    h = hear(busy, NULL, 2000);
    CHECK(heard_status(&h, 200) && h.closed && strstr(h.text, "Connection: close"));
    sys_free(h.text);
    struct sys_addr a = http_server_addr(s.server);
    struct sys_socket *late = NULL;
    CHECK_ERR(sys_connect(&a, soon(500), &late), ERR_REFUSED);
    sys_socket_close(idle);
    sys_socket_close(busy);
    edge_stop(&s);
}

static void stops_with_everything_open(void)
{
    struct edge s;
    edge_start(&s);
    if (!edge_run(&s))
        return;
    struct sys_socket *c[4];
    for (int i = 0; i < 4; i++)
        c[i] = dial(&s);
    CHECK(say(c[1], "GET /x HTT"));
    CHECK(say(c[2], "PUT /store HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"));
    CHECK(say(c[3], "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n"));
    CHECK(app_wait(&s, &s.app.begun, 2));
    int64_t began = sys_now();
    http_server_stop(s.server);
    CHECK(sys_now() - began < 2 * SYS_SECOND);
    CHECK_EQ(s.app.failures, 2);
    for (int i = 0; i < 4; i++)
        sys_socket_close(c[i]);
    sys_cond_release(&s.app.changed);
    sys_mutex_release(&s.app.mutex);
}

static void says_that_the_address_is_taken(void)
{
    struct edge s, t;
    edge_start(&s);
    edge_start(&t);
    if (!edge_run(&s))
        return;
    t.config.listen = http_server_addr(s.server);
    CHECK_ERR(http_server_start(&t.server, &t.config), ERR_ADDRESS_IN_USE);
    edge_stop(&s);
}

static const struct test tests[] = {
    {"notices who leaves", notices_who_leaves},
    {"reaps who drips", reaps_who_drips},
    {"reaps who does not receive", reaps_who_does_not_receive},
    {"refuses beyond its limit", refuses_beyond_its_limit},
    {"serves many at once", serves_many_at_once},
    {"drains", drains},
    {"stops with everything open", stops_with_everything_open},
    {"says that the address is taken", says_that_the_address_is_taken},
    {0},
};
SUITE("edge trouble", tests)
