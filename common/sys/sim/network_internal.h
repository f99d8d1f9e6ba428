/* Between network.c (streams) and socket.c (sys.h). */
#pragma once
#include "common/sys/sim/sim_internal.h"

enum packet_kind { PACKET_DATA, PACKET_FIN, PACKET_RESET };
struct packet {
    struct packet *next;
    int64_t at; /* of delivery */
    enum packet_kind kind;
    size_t bytes, taken;
    uint8_t data[];
};
struct packet_queue {
    struct packet *first, *last;
};

struct stream {
    struct stream *next, *prev, *back; /* back: the other direction */
    struct timer timer;                /* of the first packet under way */
    uint32_t from, to;
    struct sys_socket *reader, *writer; /* NULL once closed */
    struct packet_queue flying, arrived;
    size_t arrived_bytes, unread;
    bool fin_sent, fin_arrived;
    int64_t last_at;
};

enum { BACKLOG = 128, WINDOW = 256 << 10 };

struct sys_socket {
    struct object object;
    bool listener, shut_read, shut_write, reset;
    bool half_open; /* broken on this side alone: the peer's next bytes are answered by a reset */
    struct sys_addr local, peer;
    struct stream *in, *out; /* NULL in a listener */
    struct wait_list waiters;
    struct sys_socket *next_listener;
    struct sys_socket *backlog[BACKLOG];
    size_t backlog_count;
};

/* Counts a call of this process that uses a connection; true: this one fails. */
bool network_fails(void);
bool network_is_cut(uint32_t from, uint32_t to);
int64_t network_delay(uint32_t from, uint32_t to);
void stream_pair(struct sys_socket *a, struct sys_socket *b);
void stream_leave(struct sys_socket *s); /* detaches a socket that closes */
/* Data on a link of limited bandwidth goes in pieces. */
void stream_put(struct stream *t, enum packet_kind kind, const void *data, size_t n);
void stream_put_at(struct stream *t, enum packet_kind kind, const void *data, size_t n, int64_t at);
size_t stream_read(struct stream *t, uint8_t *out, size_t max);
void connection_break(struct sys_socket *s); /* both ends, at once */
