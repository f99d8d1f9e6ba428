/* A server with handlers of every kind and a node that calls it, for the suites of both floors. */
#pragma once
#include <assert.h>
#include "common/base/digest.h"
#include "common/proto/service.pb-c.h"
#include "common/rpc/frame.h"
#include "common/rpc/gather.h"
#include "common/proto/message.h"
#include "common/rpc/rpc_call.h"
#include "common/rpc/rpc_peer.h"
#include "common/rpc/rpc_server.h"
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

enum {
    T_ECHO = 100,   /* answers at once: chunk_length = offset */
    T_KEEP = 101,   /* kept until rig_answer */
    T_NOTE = 102,   /* one-way: counted */
    T_ERROR = 103,  /* STALE_PLACEMENT with a body */
    T_READ = 110,   /* bulk: length bytes of pattern after offset ms */
    T_OPEN = 111,   /* stream */
    T_APPEND = 112, /* fails with NO_SPACE when its offset is BAD_OFFSET */
    T_COMMIT = 113, /* length = bytes received */
    T_HANG = 114,   /* bulk: waits for rig->release or 100 s */
    BAD_OFFSET = 999,
};

struct rig {
    struct sys_mutex lock;
    struct sys_cond changed;
    struct rpc_request *kept[64];
    unsigned kept_count, notes, requests, streams_destroyed, strays, hanging;
    bool release;
    int64_t last_deadline;
    bool stopped; /* the node, by the test */
    unsigned seen_when_stopped;
    uint64_t last_trace, epoch_of_server, epoch_seen_by_server, epoch_seen_by_node;
    struct rpc_identity identity;
    struct rpc_keys keys;
    struct sys_addr address;
    struct rpc_server *server;
    struct rpc_node_config node_config;
    struct rpc_node *node;
    struct rpc_peer *peer;
    struct sys_event *event;
    struct buf_pool *pool;
};

struct rig_stream {
    struct rig *rig;
    size_t received;
    uint32_t crc;
};

static inline uint8_t rig_pattern(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) * 3);
}

static inline void rig_echo(void *context, struct rpc_request *r)
{
    struct rig *rig = context;
    const ShardRead *m = (const ShardRead *)rpc_request_body(r);
    sys_mutex_lock(&rig->lock);
    rig->requests++;
    rig->last_deadline = rpc_request_deadline(r);
    rig->last_trace = rpc_request_context(r)->trace;
    sys_mutex_unlock(&rig->lock);
    ShardReadReply reply = SHARD_READ_REPLY__INIT;
    reply.chunk_length = m->offset;
    rpc_reply(r, OK, &reply.base, NULL, 0, 0);
}

static inline void rig_keep(void *context, struct rpc_request *r)
{
    struct rig *rig = context;
    rpc_request_keep(r);
    sys_mutex_lock(&rig->lock);
    assert(rig->kept_count < 64);
    rig->kept[rig->kept_count++] = r;
    sys_cond_broadcast(&rig->changed);
    sys_mutex_unlock(&rig->lock);
}

static inline void rig_note(void *context, struct rpc_request *r)
{
    struct rig *rig = context;
    sys_mutex_lock(&rig->lock);
    rig->notes++;
    sys_cond_broadcast(&rig->changed);
    sys_mutex_unlock(&rig->lock);
    (void)r;
}

static inline void rig_error(void *context, struct rpc_request *r)
{
    (void)context;
    ShardReadReply reply = SHARD_READ_REPLY__INIT;
    reply.chunk_length = 77;
    rpc_reply(r, ERR_STALE_PLACEMENT, &reply.base, NULL, 0, 0);
}

static inline void rig_read(void *context, struct rpc_request *r)
{
    struct rig *rig = context;
    const ShardRead *m = (const ShardRead *)rpc_request_body(r);
    sys_mutex_lock(&rig->lock);
    rig->requests++;
    sys_mutex_unlock(&rig->lock);
    if (m->offset > 0)
        sys_sleep_until(sys_now() + m->offset * SYS_MS);
    uint8_t *data = sys_alloc(m->length);
    for (size_t i = 0; i < m->length; i++)
        data[i] = rig_pattern(i);
    ShardReadReply reply = SHARD_READ_REPLY__INIT;
    reply.chunk_length = m->length;
    struct sys_slice v[2] = {{data, m->length / 2},
                             {data + m->length / 2, m->length - m->length / 2}};
    rpc_reply(r, OK, &reply.base, v, m->length ? 2 : 0, 0);
    sys_free(data);
}

static inline void rig_stream_destroy(void *state)
{
    struct rig_stream *s = state;
    sys_mutex_lock(&s->rig->lock);
    s->rig->streams_destroyed++;
    sys_cond_broadcast(&s->rig->changed);
    sys_mutex_unlock(&s->rig->lock);
    sys_free(s);
}

static inline void rig_open(void *context, struct rpc_request *r)
{
    struct rig_stream *s = sys_alloc(sizeof *s);
    s->rig = context;
    rpc_connection_set_state(rpc_request_connection(r), s, rig_stream_destroy);
}

static inline void rig_append(void *context, struct rpc_request *r)
{
    struct rig *rig = context;
    struct rig_stream *s = rpc_connection_state(rpc_request_connection(r));
    const ShardAppend *m = (const ShardAppend *)rpc_request_body(r);
    if (!s || m->offset == BAD_OFFSET) {
        sys_mutex_lock(&rig->lock);
        rig->strays += !s;
        sys_mutex_unlock(&rig->lock);
        rpc_reply(r, ERR_NO_SPACE, NULL, NULL, 0, 0);
        return;
    }
    size_t n = rpc_request_payload_length(r);
    uint8_t *data = sys_alloc(n);
    if (rpc_payload_read(r, data, n) == OK) {
        s->crc = crc32c(s->crc, data, n);
        s->received += n;
    }
    sys_free(data);
}

static inline void rig_commit(void *context, struct rpc_request *r)
{
    (void)context;
    struct rig_stream *s = rpc_connection_take_state(rpc_request_connection(r));
    ShardVerifyReply reply = SHARD_VERIFY_REPLY__INIT;
    reply.length = s ? (uint32_t)s->received : 0;
    reply.nonce = s ? s->crc : 0;
    sys_free(s);
    rpc_reply(r, OK, &reply.base, NULL, 0, 0);
}

static inline void rig_hang(void *context, struct rpc_request *r)
{
    struct rig *rig = context;
    int64_t deadline = sys_now() + 100 * SYS_SECOND;
    sys_mutex_lock(&rig->lock);
    rig->hanging++;
    while (!rig->release && sys_cond_wait(&rig->changed, &rig->lock, deadline) == OK)
        ;
    rig->hanging--;
    sys_mutex_unlock(&rig->lock);
    rpc_reply(r, OK, NULL, NULL, 0, 0);
}

static inline uint64_t rig_server_epoch(void *context)
{
    return ((struct rig *)context)->epoch_of_server;
}

static inline void rig_seen_by_server(void *context, uint64_t epoch)
{
    struct rig *rig = context;
    sys_mutex_lock(&rig->lock);
    rig->epoch_seen_by_server = epoch;
    sys_mutex_unlock(&rig->lock);
}

static inline uint64_t rig_node_epoch(void *context)
{
    (void)context;
    return 5;
}

static inline void rig_seen_by_node(void *context, uint64_t epoch)
{
    struct rig *rig = context;
    sys_mutex_lock(&rig->lock);
    rig->seen_when_stopped += rig->stopped;
    rig->epoch_seen_by_node = epoch;
    sys_mutex_unlock(&rig->lock);
}

/* On rig->address; port 0 the first time. */
static inline void rig_serve(struct rig *rig, uint32_t connections_max)
{
    const struct rpc_route routes[] = {
        {T_ECHO, &shard_read__descriptor, rig_echo, rig},
        {T_KEEP, &shard_read__descriptor, rig_keep, rig},
        {T_NOTE, NULL, rig_note, rig},
        {T_ERROR, NULL, rig_error, rig},
        {T_READ, &shard_read__descriptor, rig_read, rig},
        {T_OPEN, &shard_open__descriptor, rig_open, rig},
        {T_APPEND, &shard_append__descriptor, rig_append, rig},
        {T_COMMIT, &shard_commit__descriptor, rig_commit, rig},
        {T_HANG, NULL, rig_hang, rig},
    };
    struct rpc_server_config c;
    rpc_server_config_default(&c);
    c.listen = rig->address;
    c.self = rig->identity;
    c.self.role = RPC_CHUNK;
    c.self.node_id = 1001;
    c.keys = rig->keys;
    c.routes = routes;
    c.routes_count = sizeof routes / sizeof *routes;
    c.connections_max = connections_max;
    c.epoch = (struct rpc_epoch){rig, rig_server_epoch, rig_seen_by_server};
    if (CHECK_OK(rpc_server_start(&c, &rig->server)))
        rig->address = rpc_server_address(rig->server);
    sys_mutex_lock(&rig->lock);
    rig->release = false;
    sys_mutex_unlock(&rig->lock);
}

/* Answers all kept requests so far; returns how many. */
static inline unsigned rig_answer(struct rig *rig, unsigned flags)
{
    struct rpc_request *kept[64];
    sys_mutex_lock(&rig->lock);
    unsigned n = rig->kept_count;
    memcpy(kept, rig->kept, sizeof kept);
    rig->kept_count = 0;
    sys_mutex_unlock(&rig->lock);
    for (unsigned i = 0; i < n; i++) {
        const ShardRead *m = (const ShardRead *)rpc_request_body(kept[i]);
        ShardReadReply reply = SHARD_READ_REPLY__INIT;
        reply.chunk_length = m->offset;
        rpc_reply(kept[i], OK, &reply.base, NULL, 0, flags);
    }
    return n;
}

static inline void rig_unserve(struct rig *rig)
{
    sys_mutex_lock(&rig->lock);
    rig->release = true;
    sys_cond_broadcast(&rig->changed);
    sys_mutex_unlock(&rig->lock);
    if (rig->server)
        rpc_server_stop(rig->server);
    (void)rig_answer(rig, 0);
    rpc_server_free(rig->server);
    rig->server = NULL;
}

static inline void rig_connect(struct rig *rig)
{
    rig->node = rpc_node_new(&rig->node_config);
    CHECK_OK(rpc_peer_get(rig->node, &rig->address, &rig->peer));
}

static inline void rig_init(struct rig *rig)
{
    *rig = (struct rig){.epoch_of_server = 9};
    sys_mutex_init(&rig->lock);
    sys_cond_init(&rig->changed);
    memset(rig->identity.cluster.bytes, 0xcc, UUID_BYTES);
    rig->identity.role = RPC_GATEWAY;
    rig->identity.node_id = 7;
    rig->keys.count = 1;
    rig->keys.key[0].id = 3;
    memset(rig->keys.key[0].bytes, 0x5a, RPC_KEY_BYTES);
    CHECK_OK(sys_addr_parse("127.0.0.1:0", &rig->address));
    rig_serve(rig, 64);
    rpc_node_config_default(&rig->node_config);
    rig->node_config.self = rig->identity;
    rig->node_config.keys = rig->keys;
    rig->node_config.epoch = (struct rpc_epoch){rig, rig_node_epoch, rig_seen_by_node};
    rig->pool = buf_pool_new(4 * 1024 * 1024);
    CHECK_OK(sys_event_new(&rig->event));
    rig_connect(rig);
}

static inline void rig_disconnect(struct rig *rig)
{
    rpc_node_free(rig->node);
    rig->node = NULL;
}

static inline void rig_release(struct rig *rig)
{
    rig_disconnect(rig);
    rig_unserve(rig);
    sys_event_free(rig->event);
    buf_pool_free(rig->pool);
    sys_cond_release(&rig->changed);
    sys_mutex_release(&rig->lock);
}

/* Waits, at most 5 s, until *counter (under the lock) is at least n. */
static inline bool rig_await(struct rig *rig, const unsigned *counter, unsigned n)
{
    int64_t deadline = sys_now() + 5 * SYS_SECOND;
    enum err e = OK;
    sys_mutex_lock(&rig->lock);
    while (*counter < n && e == OK)
        e = sys_cond_wait(&rig->changed, &rig->lock, deadline);
    bool reached = *counter >= n;
    sys_mutex_unlock(&rig->lock);
    return reached;
}

static inline struct request_context rig_context(int64_t timeout)
{
    return (struct request_context){.deadline = sys_now() + timeout, .trace = 0xabc};
}

/* A control call; *answer: chunk_length of the reply, or -1. */
static inline enum err rig_call(struct rig *rig, uint16_t type, uint32_t offset, int64_t timeout,
                                int64_t *answer)
{
    struct arena arena;
    arena_init(&arena);
    struct request_context context = rig_context(timeout);
    ShardRead m = SHARD_READ__INIT;
    m.offset = offset;
    ProtobufCMessage *reply;
    enum err e = rpc_control_call(rig->peer, &context, type, &m.base, &shard_read_reply__descriptor,
                                  &arena, &reply);
    *answer = reply ? (int64_t)((ShardReadReply *)reply)->chunk_length : -1;
    arena_release(&arena);
    return e;
}

static inline struct rpc_call rig_read_call(ShardRead *m, uint32_t delay_ms, uint32_t length,
                                            void *into, uint32_t tag)
{
    shard_read__init(m);
    m->offset = delay_ms;
    m->length = length;
    return (struct rpc_call){
        .tag = tag, .type = T_READ, .body = &m->base, .into = into, .into_bytes = length};
}

static inline bool rig_is_pattern(const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (data[i] != rig_pattern(i))
            return false;
    return true;
}

/* Sends pieces of a buffer as a stream until all have been taken; the result of the first refusal. */
static inline enum err rig_stream(struct rig *rig, struct gather *g, struct call *stream,
                                  struct buf *b, unsigned pieces, uint32_t bad_piece)
{
    (void)rig;
    for (unsigned i = 0; i < pieces;) {
        ShardAppend m = SHARD_APPEND__INIT;
        m.offset = i == bad_piece ? BAD_OFFSET : i;
        enum err e = rpc_stream_send(stream, T_APPEND, &m.base, b, 0, b->capacity, false);
        if (e == OK) {
            i++;
            continue;
        }
        if (e != ERR_BUSY)
            return e;
        struct call *c;
        e = gather_next(g, SYS_FOREVER, &c);
        if (e)
            return e;
        if (call_info(c).finished)
            return ERR_CLOSED;
    }
    return OK;
}
