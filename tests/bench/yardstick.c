/* What no design can go under with these libraries: the bare pipeline of a PUT or a GET at 4+2, without
 * HTTP, metadata, placement or failures. Measured beside Cairn, so that its CPU time can be given as a
 * ratio that a busy machine does not bend.
 *
 *   yardstick put|get SIZE_BYTES OBJECTS_PER_CLIENT CLIENTS DIRECTORY
 *
 * Three processes over loopback: clients, a gateway, six chunkservers a client (four when reading),
 * all with a thread per connection.
 *   put  client -> gateway: MD5, CRC32C, encode -> chunkservers: check, O_DIRECT write, one fdatasync
 *        an object -> answer
 *   get  chunkserver: read (page cache), check -> gateway: check -> client; the next piece is asked
 *        for before the last one is sent
 * Prints one line of JSON: bytes and objects a second, CPU seconds of gateway and chunkservers per GiB
 * and per thousand objects. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <isa-l.h>
#include <openssl/evp.h>

enum { K = 4, M = 2, BLOCK = 4096, PIECE_MAX = 256 << 10, CLIENTS_MAX = 64 };

struct piece {
    uint32_t length, crc, last, unused;
};

struct run {
    bool get;
    size_t size, piece; /* piece: of one shard at a time */
    unsigned objects, clients, pieces;
    const char *directory;
    struct sockaddr_in gateway, chunkservers;
    int gateway_listener, chunkserver_listener;
};

static void must(bool held, const char *what)
{
    if (held)
        return;
    perror(what);
    exit(1);
}

static int listen_on(struct sockaddr_in *a)
{
    int s = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t n = sizeof *a;
    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    must(s >= 0 && bind(s, (struct sockaddr *)a, n) == 0 && listen(s, 512) == 0, "listen");
    must(getsockname(s, (struct sockaddr *)a, &n) == 0, "getsockname");
    return s;
}

static int connect_to(const struct sockaddr_in *a)
{
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    must(s >= 0 && connect(s, (const struct sockaddr *)a, sizeof *a) == 0, "connect");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return s;
}

static bool take(int s, void *into, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t some = recv(s, (char *)into + done, n - done, MSG_WAITALL);
        if (some <= 0)
            return false;
        done += (size_t)some;
    }
    return true;
}

static void give(int s, const void *from, size_t n, int flags)
{
    for (size_t done = 0; done < n;) {
        ssize_t some = send(s, (const char *)from + done, n - done, flags);
        must(some > 0, "send");
        done += (size_t)some;
    }
}

static uint8_t *piece_new(void)
{
    uint8_t *bytes = aligned_alloc(BLOCK, PIECE_MAX);
    must(bytes != NULL, "memory");
    memset(bytes, 7, PIECE_MAX);
    return bytes;
}

/* ---- chunkservers ---- */

static size_t padded(size_t n)
{
    return (n + BLOCK - 1) / BLOCK * BLOCK;
}

struct connection {
    const struct run *run;
    int socket;
    unsigned number;
    pthread_t thread;
};

static void *store(void *arg)
{
    struct connection *c = arg;
    char name[512];
    snprintf(name, sizeof name, "%s/yardstick-%u", c->run->directory, c->number);
    int fd = open(name, O_CREAT | O_RDWR | O_TRUNC | O_DIRECT, 0600);
    off_t whole = (off_t)(padded(c->run->piece) * c->run->pieces * c->run->objects), at = 0;
    must(fd >= 0 && fallocate(fd, 0, 0, whole) == 0, name);
    uint8_t *bytes = piece_new();
    struct piece p;
    while (take(c->socket, &p, sizeof p) && take(c->socket, bytes, p.length)) {
        must(crc32_iscsi(bytes, (int)p.length, ~0U) == p.crc, "crc");
        must(pwrite(fd, bytes, padded(p.length), at) > 0, "write");
        at += (off_t)padded(p.length);
        if (!p.last)
            continue;
        must(fdatasync(fd) == 0, "sync");
        give(c->socket, &p, sizeof p, 0);
    }
    close(fd);
    unlink(name);
    free(bytes);
    return NULL;
}

enum { SHARDS_ON_DISK = 256 };

static void *fetch(void *arg)
{
    struct connection *c = arg;
    char name[512];
    snprintf(name, sizeof name, "%s/yardstick", c->run->directory);
    int fd = open(name, O_RDONLY);
    must(fd >= 0, name);
    uint8_t *bytes = piece_new();
    uint32_t wanted;
    while (take(c->socket, &wanted, sizeof wanted)) {
        size_t n = c->run->piece;
        must(pread(fd, bytes, n, (off_t)(wanted % SHARDS_ON_DISK) * PIECE_MAX) == (ssize_t)n,
             "read");
        struct piece p = {.length = (uint32_t)n, .crc = crc32_iscsi(bytes, (int)n, ~0U)};
        give(c->socket, &p, sizeof p, MSG_MORE);
        give(c->socket, bytes, n, 0);
    }
    close(fd);
    free(bytes);
    return NULL;
}

/* ---- the gateway ---- */

static void *put_objects(void *arg)
{
    struct connection *c = arg;
    const struct run *r = c->run;
    int to[K + M];
    uint8_t *shard[K + M], matrix[(K + M) * K], tables[32 * K * M], md5[EVP_MAX_MD_SIZE];
    for (int i = 0; i < K + M; i++) {
        to[i] = connect_to(&r->chunkservers);
        shard[i] = piece_new();
    }
    gf_gen_cauchy1_matrix(matrix, K + M, K);
    ec_init_tables(K, M, matrix + K * K, tables);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    for (unsigned n = 0; n < r->objects; n++) {
        uint32_t crc = ~0U;
        EVP_DigestInit_ex(digest, EVP_md5(), NULL);
        for (unsigned at = 0; at < r->pieces; at++) {
            for (int i = 0; i < K; i++) {
                must(take(c->socket, shard[i], r->piece), "client");
                EVP_DigestUpdate(digest, shard[i], r->piece);
                crc = crc32_iscsi(shard[i], (int)r->piece, crc);
            }
            ec_encode_data((int)r->piece, K, M, tables, shard, shard + K);
            for (int i = 0; i < K + M; i++) {
                struct piece p = {.length = (uint32_t)r->piece,
                                  .crc = crc32_iscsi(shard[i], (int)r->piece, ~0U),
                                  .last = at + 1 == r->pieces};
                give(to[i], &p, sizeof p, MSG_MORE);
                give(to[i], shard[i], r->piece, 0);
            }
        }
        EVP_DigestFinal_ex(digest, md5, NULL);
        struct piece done;
        for (int i = 0; i < K + M; i++)
            must(take(to[i], &done, sizeof done), "chunkserver");
        give(c->socket, &crc, sizeof crc, 0);
    }
    EVP_MD_CTX_free(digest);
    for (int i = 0; i < K + M; i++) {
        close(to[i]);
        free(shard[i]);
    }
    return NULL;
}

static void ask(const int from[K], uint32_t *next)
{
    for (int i = 0; i < K; i++, ++*next)
        give(from[i], next, sizeof *next, 0);
}

static void *get_objects(void *arg)
{
    struct connection *c = arg;
    const struct run *r = c->run;
    int from[K];
    uint8_t *shard[K];
    uint32_t wanted, next = 0;
    for (int i = 0; i < K; i++) {
        from[i] = connect_to(&r->chunkservers);
        shard[i] = piece_new();
    }
    for (unsigned n = 0; n < r->objects; n++) {
        must(take(c->socket, &wanted, sizeof wanted), "client");
        ask(from, &next);
        for (unsigned at = 0; at < r->pieces; at++) {
            if (at + 1 < r->pieces)
                ask(from, &next);
            for (int i = 0; i < K; i++) {
                struct piece p;
                must(take(from[i], &p, sizeof p) && take(from[i], shard[i], r->piece), "shard");
                must(crc32_iscsi(shard[i], (int)r->piece, ~0U) == p.crc, "crc");
            }
            for (int i = 0; i < K; i++)
                give(c->socket, shard[i], r->piece, 0);
        }
    }
    for (int i = 0; i < K; i++) {
        close(from[i]);
        free(shard[i]);
    }
    return NULL;
}

/* ---- clients ---- */

static void *client(void *arg)
{
    struct connection *c = arg;
    const struct run *r = c->run;
    int s = connect_to(&r->gateway);
    uint8_t *bytes = piece_new();
    uint32_t word = 0;
    for (unsigned n = 0; n < r->objects; n++) {
        if (r->get)
            give(s, &word, sizeof word, 0);
        for (unsigned at = 0; at < r->pieces * K; at++) {
            if (r->get)
                must(take(s, bytes, r->piece), "object");
            else
                give(s, bytes, r->piece, 0);
        }
        if (!r->get)
            must(take(s, &word, sizeof word), "answer");
    }
    close(s);
    free(bytes);
    return NULL;
}

/* ---- the run ---- */

/* A process with so many threads, each with a connection of its own; listener -1: they connect. */
static pid_t process(const struct run *r, unsigned threads, int listener, void *(*run)(void *))
{
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid > 0)
        return pid;
    struct connection *c = calloc(threads, sizeof *c);
    must(c != NULL, "memory");
    for (unsigned i = 0; i < threads; i++) {
        c[i] = (struct connection){.run = r, .number = i};
        c[i].socket = listener < 0 ? -1 : accept(listener, NULL, NULL);
        must(listener < 0 || c[i].socket >= 0, "accept");
        int one = 1;
        if (listener >= 0)
            setsockopt(c[i].socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        must(pthread_create(&c[i].thread, NULL, run, &c[i]) == 0, "thread");
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(c[i].thread, NULL);
    _exit(0);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static double cpu_of(pid_t pid)
{
    struct rusage used;
    int status;
    must(wait4(pid, &status, 0, &used) == pid && status == 0, "a process of the yardstick failed");
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void prepare_reads(const struct run *r, char *name, size_t room)
{
    uint8_t *bytes = piece_new();
    snprintf(name, room, "%s/yardstick", r->directory);
    int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0600);
    for (int i = 0; i < SHARDS_ON_DISK; i++)
        must(write(fd, bytes, PIECE_MAX) == PIECE_MAX, name);
    must(fsync(fd) == 0 && close(fd) == 0, name);
    free(bytes);
}

static void measure(struct run *r)
{
    char name[512] = "";
    if (r->get)
        prepare_reads(r, name, sizeof name);
    r->gateway_listener = listen_on(&r->gateway);
    r->chunkserver_listener = listen_on(&r->chunkservers);
    double began = now();
    pid_t chunkservers = process(r, (r->get ? K : K + M) * r->clients, r->chunkserver_listener,
                                 r->get ? fetch : store);
    pid_t gateway = process(r, r->clients, r->gateway_listener, r->get ? get_objects : put_objects);
    pid_t clients = process(r, r->clients, -1, client);
    double client_cpu = cpu_of(clients), cpu = cpu_of(gateway) + cpu_of(chunkservers);
    double took = now() - began, objects = (double)r->objects * r->clients;
    double gib = objects * (double)r->size / (double)(1 << 30);
    printf(
        "{\"operation\": \"%s\", \"size\": %zu, \"concurrency\": %u, \"operations_per_s\": %.1f, "
        "\"mb_per_s\": %.1f, \"cpu_per_gib\": %.3f, \"cpu_per_1000\": %.4f, "
        "\"client_cpu_per_gib\": %.3f}\n",
        r->get ? "get" : "put", r->size, r->clients, objects / took,
        objects * (double)r->size / took / 1e6, cpu / gib, cpu * 1000 / objects, client_cpu / gib);
    if (name[0])
        unlink(name);
}

int main(int argc, char **argv)
{
    struct run r = {0};
    if (argc == 6) {
        r.get = strcmp(argv[1], "get") == 0;
        r.size = strtoul(argv[2], NULL, 10);
        r.objects = (unsigned)strtoul(argv[3], NULL, 10);
        r.clients = (unsigned)strtoul(argv[4], NULL, 10);
        r.directory = argv[5];
        r.piece = r.size / K < PIECE_MAX ? r.size / K : PIECE_MAX;
    }
    if (r.piece == 0 || r.size % (K * r.piece) || !r.objects || !r.clients ||
        r.clients > CLIENTS_MAX) {
        fprintf(stderr, "usage: yardstick put|get SIZE_BYTES OBJECTS_PER_CLIENT CLIENTS DIRECTORY\n"
                        "SIZE_BYTES: a multiple of 4, and of 1 MiB when it is larger than that\n");
        return 2;
    }
    r.pieces = (unsigned)(r.size / (K * r.piece));
    measure(&r);
    return 0;
}
