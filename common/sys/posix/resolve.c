/* Host names. getaddrinfo has no deadline, so each look-up has a thread of its own; one that outlives
 * its caller is kept on a list and joined by a later call. */
#define _GNU_SOURCE
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "common/sys/posix/posix_internal.h"

enum { STACK = 256 << 10 };

struct lookup {
    pthread_t thread;
    char host[256], port[8];
    struct sys_event *done;
    int result; /* of getaddrinfo; valid once done is set */
    struct addrinfo *found;
    struct lookup *next;
};

static struct {
    pthread_mutex_t mutex;
    struct lookup *list; /* given up, perhaps still running */
} abandoned = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void *lookup_main(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    l->result = getaddrinfo(l->host, l->port, &hints, &l->found);
    sys_event_set(l->done);
    return NULL;
}

static void lookup_join(struct lookup *l)
{
    pthread_join(l->thread, NULL);
    if (l->result == 0)
        freeaddrinfo(l->found);
    sys_event_free(l->done);
    sys_free(l);
}

static void abandon(struct lookup *l)
{
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
        if (sys_event_is_set(l->done)) {
            *at = l->next;
            lookup_join(l);
        } else {
            at = &l->next;
        }
    }
    pthread_mutex_unlock(&abandoned.mutex);
}

static enum err lookup_start(const char *host, uint16_t port, struct lookup **out)
{
    struct lookup *l = sys_alloc(sizeof *l);
    snprintf(l->host, sizeof l->host, "%s", host);
    snprintf(l->port, sizeof l->port, "%u", port);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    enum err e = sys_event_new(&l->done);
    if (!e && pthread_create(&l->thread, &attributes, lookup_main, l))
        e = ERR_BUSY;
    pthread_attr_destroy(&attributes);
    if (e) {
        sys_event_free(l->done);
        sys_free(l);
    } else {
        *out = l;
    }
    return e;
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

static bool numeric(const char *host, uint16_t port, struct sys_addr *out, size_t max, size_t *n)
{
    char text[8];
    snprintf(text, sizeof text, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    struct addrinfo *found;
    if (getaddrinfo(host, text, &hints, &found))
        return false;
    *n = collect(found, out, max);
    freeaddrinfo(found);
    return true;
}

enum err sys_resolve(const char *host, uint16_t port, int64_t deadline, struct sys_addr *out,
                     size_t max, size_t *n)
{
    *n = 0;
    reap();
    if (strlen(host) >= sizeof((struct lookup *)0)->host)
        return ERR_NOT_FOUND;
    if (numeric(host, port, out, max, n))
        return *n ? OK : ERR_NOT_FOUND;
    struct lookup *l;
    enum err e = lookup_start(host, port, &l);
    if (e)
        return e;
    struct sys_poll wait = {.event = l->done};
    e = sys_poll(&wait, 1, deadline);
    if (e) {
        abandon(l);
        return e;
    }
    if (l->result == 0)
        *n = collect(l->found, out, max);
    lookup_join(l);
    return *n ? OK : ERR_NOT_FOUND;
}
