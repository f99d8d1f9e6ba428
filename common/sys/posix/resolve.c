/* Host names. getaddrinfo has no deadline, so it runs on libc's own helper thread; a look-up that
 * outlives its caller is kept on a list and freed by a later call. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "common/sys/posix/posix_internal.h"

struct lookup {
    struct gaicb request;
    struct addrinfo hints;
    char host[256], port[8];
    struct lookup *next;
};

static struct {
    pthread_mutex_t mutex;
    struct lookup *list; /* given up, perhaps still running */
} abandoned = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void lookup_free(struct lookup *l)
{
    if (l->request.ar_result)
        freeaddrinfo(l->request.ar_result);
    sys_free(l);
}

static void abandon(struct lookup *l)
{
    (void)gai_cancel(&l->request);
    pthread_mutex_lock(&abandoned.mutex);
    l->next = abandoned.list;
    abandoned.list = l;
    pthread_mutex_unlock(&abandoned.mutex);
}

static void reap(void)
{
    pthread_mutex_lock(&abandoned.mutex);
    for (struct lookup **at = &abandoned.list; *at;) {
        struct lookup *l = *at;
        if (gai_error(&l->request) == EAI_INPROGRESS) {
            at = &l->next;
        } else {
            *at = l->next;
            lookup_free(l);
        }
    }
    pthread_mutex_unlock(&abandoned.mutex);
}

static size_t collect(const struct addrinfo *list, struct sys_addr *out, size_t max)
{
    static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    size_t n = 0;
    for (const struct addrinfo *a = list; a && n < max; a = a->ai_next) {
        struct sys_addr *to = &out[n];
        if (a->ai_family == AF_INET) {
            const struct sockaddr_in *v4 = (const void *)a->ai_addr;
            memcpy(to->host, v4_prefix, sizeof v4_prefix);
            memcpy(to->host + sizeof v4_prefix, &v4->sin_addr, 4);
            to->port = ntohs(v4->sin_port);
        } else if (a->ai_family == AF_INET6) {
            const struct sockaddr_in6 *v6 = (const void *)a->ai_addr;
            memcpy(to->host, &v6->sin6_addr, 16);
            to->port = ntohs(v6->sin6_port);
        } else {
            continue;
        }
        n++;
    }
    return n;
}

enum err sys_resolve(const char *host, uint16_t port, int64_t deadline, struct sys_addr *out,
                     size_t max, size_t *n)
{
    *n = 0;
    reap();
    if (strlen(host) >= sizeof((struct lookup *)0)->host)
        return ERR_NOT_FOUND;
    struct lookup *l = sys_alloc(sizeof *l);
    snprintf(l->host, sizeof l->host, "%s", host);
    snprintf(l->port, sizeof l->port, "%u", port);
    l->hints = (struct addrinfo){.ai_family = AF_UNSPEC,
                                 .ai_socktype = SOCK_STREAM,
                                 .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    l->request = (struct gaicb){
        .ar_name = l->host, .ar_service = l->port, .ar_request = &l->hints, .ar_result = NULL};
    /* A numeric host needs no thread. */
    if (getaddrinfo(l->host, l->port, &l->hints, &l->request.ar_result) == 0) {
        *n = collect(l->request.ar_result, out, max);
        lookup_free(l);
        return *n ? OK : ERR_NOT_FOUND;
    }
    l->request.ar_result = NULL;
    l->hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    struct gaicb *one[1] = {&l->request};
    if (getaddrinfo_a(GAI_NOWAIT, one, 1, NULL)) {
        lookup_free(l);
        return ERR_BUSY;
    }
    const struct gaicb *const wait[1] = {&l->request};
    int state;
    while ((state = gai_error(&l->request)) == EAI_INPROGRESS) {
        struct timespec storage;
        int result = gai_suspend(wait, 1, posix_timeout(deadline, &storage));
        if (result == EAI_AGAIN && sys_now() >= deadline) {
            abandon(l);
            return ERR_TIMEOUT;
        }
    }
    if (state == 0)
        *n = collect(l->request.ar_result, out, max);
    lookup_free(l);
    return *n ? OK : ERR_NOT_FOUND;
}
