/* A log beside a model of what it must hold. The model lives in the test's memory and survives the
 * log's process: `sure` is what was acknowledged, `maybe` what an unanswered append would make of it. */
#pragma once
#include <stdio.h>
#include <string.h>
#include "common/sys/sim/sim.h"
#include "metadata/log.h"
#include "metadata/raft/configuration.h"
#include "tests/unit/suite.h"

enum { MODEL_ENTRIES = 4096, MODEL_HOST = 2 };

struct model_state {
    uint64_t base, last;
    uint64_t configuration; /* the last one's index up to base; 0: none */
    struct raft_hard_state hard;
    struct model_entry {
        uint64_t term, seed;
        uint32_t length;
        bool configuration;
    } v[MODEL_ENTRIES]; /* entry i at v[i % MODEL_ENTRIES] */
};
struct model {
    struct model_state sure, maybe;
    uint64_t random, steps_left, seed_next;
    uint64_t segment_bytes;
    bool finished, is_corrupt, never_compact;
    bool lingers; /* when it has finished, until the power fails */
    uint64_t opened, cut, recovered_maybe, segments;
    enum err open_error;
};

static inline uint64_t model_roll(struct model *m, uint64_t n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random % n;
}

static inline void model_fill(uint64_t seed, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        out[i] = (uint8_t)(seed >> 56);
    }
}

static inline struct raft_entry model_make(const struct model_state *s, uint64_t index)
{
    const struct model_entry *v = &s->v[index % MODEL_ENTRIES];
    uint8_t bytes[8192];
    model_fill(v->seed, bytes, v->length);
    return (struct raft_entry){.index = index,
                               .term = v->term,
                               .type =
                                   v->configuration ? RAFT_ENTRY_CONFIGURATION : RAFT_ENTRY_COMMAND,
                               .payload = v->length ? raft_payload_new(bytes, v->length) : NULL};
}

static inline bool model_equal(const struct model_state *s, const struct raft_entry *e)
{
    struct raft_entry want = model_make(s, e->index);
    bool same =
        want.term == e->term && want.type == e->type &&
        raft_entry_length(&want) == raft_entry_length(e) &&
        (!want.payload || memcmp(want.payload->data, e->payload->data, want.payload->length) == 0);
    raft_payload_unref(want.payload);
    return same;
}

/* Whether the recovered log is the first entries of this state, at least up to `least`. */
static inline bool model_is(const struct model_state *s, uint64_t least,
                            const struct log_recovery *r, const struct raft_entries *e)
{
    if (r->terms.last_index < least || r->terms.last_index > s->last)
        return false;
    for (size_t i = 0; i < e->n; i++)
        if (!model_equal(s, &e->v[i]))
            return false;
    return true;
}

/* Of what came back, no more is called committed than was, and of the log that it was committed in. */
static inline bool model_commit_holds(const struct model *m, const struct log_recovery *r,
                                      const struct raft_entries *e)
{
    for (size_t i = 0; i < e->n && e->v[i].index <= r->hard.commit; i++)
        if (e->v[i].index > m->maybe.hard.commit || !model_equal(&m->maybe, &e->v[i]))
            return false;
    return true;
}

static inline bool model_read_all(struct log_store *s, const struct log_recovery *r,
                                  struct raft_entries *out)
{
    for (uint64_t at = r->terms.base_index + 1; at <= r->terms.last_index;) {
        size_t before = out->n;
        if (!CHECK_OK(log_store_read(s, at, r->terms.last_index, 20000, out)))
            return false;
        at += out->n - before;
    }
    return CHECK_EQ(out->n, r->terms.last_index - r->terms.base_index);
}

/* After a crash: which of the two it is, or something in between that is a beginning of maybe. */
static inline void model_compare(struct model *m, struct log_store *s, const struct log_recovery *r)
{
    struct raft_entries all = {0};
    if (!model_read_all(s, r, &all)) {
        raft_entries_release(&all);
        return;
    }
    uint64_t common = m->sure.last;
    bool truncates = false;
    for (uint64_t i = m->sure.base + 1; i <= m->sure.last && !truncates; i++)
        if (i > m->maybe.last ||
            m->sure.v[i % MODEL_ENTRIES].seed != m->maybe.v[i % MODEL_ENTRIES].seed) {
            common = i - 1;
            truncates = true;
        }
    bool is_sure = r->terms.base_index == m->sure.base && model_is(&m->sure, m->sure.last, r, &all);
    bool is_maybe = r->terms.base_index == m->maybe.base && model_is(&m->maybe, common, r, &all);
    suite_check(is_sure || is_maybe, __FILE__, __LINE__,
                "found %llu..%llu, sure %llu..%llu, maybe ..%llu",
                (unsigned long long)r->terms.base_index, (unsigned long long)r->terms.last_index,
                (unsigned long long)m->sure.base, (unsigned long long)m->sure.last,
                (unsigned long long)m->maybe.last);
    bool hard_sure = r->hard.term == m->sure.hard.term && r->hard.vote == m->sure.hard.vote;
    bool hard_maybe = r->hard.term == m->maybe.hard.term && r->hard.vote == m->maybe.hard.vote;
    CHECK(hard_sure || hard_maybe);
    CHECK(r->hard.commit >= m->sure.hard.commit);
    suite_check(model_commit_holds(m, r, &all), __FILE__, __LINE__,
                "committed up to %llu, was up to %llu; sure ..%llu, maybe ..%llu",
                (unsigned long long)r->hard.commit, (unsigned long long)m->maybe.hard.commit,
                (unsigned long long)m->sure.last, (unsigned long long)m->maybe.last);
    m->recovered_maybe += !is_sure;
    m->cut += r->cut_bytes != 0;
    if (!is_sure)
        m->sure = m->maybe;
    if (m->sure.base)
        CHECK_EQ(r->terms.base_term, m->sure.v[m->sure.base % MODEL_ENTRIES].term);
    if (m->sure.configuration && CHECK(r->configurations.n > 0))
        CHECK_EQ(r->configurations.v[0].index, m->sure.configuration);
    m->sure.hard = r->hard;
    m->sure.base = r->terms.base_index;
    m->sure.last = r->terms.last_index;
    m->maybe = m->sure;
    raft_entries_release(&all);
}

static inline void model_append(struct model *m, struct log_store *s)
{
    struct model_state *t = &m->maybe;
    struct log_append a = {0};
    struct raft_hard_state hard = t->hard;
    if (model_roll(m, 3) == 0) {
        hard.term += model_roll(m, 3);
        hard.vote = model_roll(m, 5);
        a.hard = &hard;
    }
    uint64_t kept = hard.commit > t->base + 1 ? hard.commit : t->base + 1;
    if (model_roll(m, 8) == 0 && t->last > kept) {
        uint64_t room = t->last - kept < 12 ? t->last - kept : 12;
        a.truncate_from = t->last - model_roll(m, room);
        t->last = a.truncate_from - 1;
    }
    struct raft_entries entries = {0};
    uint64_t term = hard.term;
    for (uint64_t n = model_roll(m, 12); n > 0; n--) {
        t->last++;
        t->v[t->last % MODEL_ENTRIES] =
            (struct model_entry){.term = term,
                                 .seed = ++m->seed_next,
                                 .length = model_roll(m, 6) ? (uint32_t)model_roll(m, 300)
                                                            : (uint32_t)model_roll(m, 8192),
                                 .configuration = model_roll(m, 20) == 0};
        if (t->v[t->last % MODEL_ENTRIES].configuration)
            t->v[t->last % MODEL_ENTRIES].length = 1 + (uint32_t)model_roll(m, 2000);
        struct raft_entry e = model_make(t, t->last);
        raft_entries_push(&entries, &e);
        raft_payload_unref(e.payload);
    }
    if (model_roll(m, 2) && t->last > hard.commit)
        hard.commit += 1 + model_roll(m, t->last - hard.commit);
    a.commit = hard.commit;
    t->hard = hard;
    a.entries = entries.v;
    a.count = entries.n;
    log_store_append(s, &a);
    raft_entries_release(&entries);
    m->sure = m->maybe;
}

static inline void model_compact(struct model *m, struct log_store *s)
{
    struct model_state *t = &m->maybe;
    if (t->hard.commit < t->base + 30)
        return;
    uint64_t base = t->base + 1 + model_roll(m, t->hard.commit - t->base - 1);
    while (t->base < base)
        if (t->v[++t->base % MODEL_ENTRIES].configuration)
            t->configuration = t->base;
    log_store_compact(s, t->base);
    m->sure = m->maybe;
}

/* To before, at or behind the last entry; behind what is committed. */
static inline void model_reset(struct model *m, struct log_store *s)
{
    struct model_state *t = &m->maybe;
    uint64_t known = t->hard.commit > t->base ? t->hard.commit : t->base;
    uint64_t index = known + 1 + model_roll(m, t->last - known + 20);
    uint8_t bytes[100];
    model_fill(++m->seed_next, bytes, sizeof bytes);
    struct raft_entry c = {.index = index - model_roll(m, 3),
                           .type = RAFT_ENTRY_CONFIGURATION,
                           .payload = raft_payload_new(bytes, sizeof bytes)};
    t->configuration = c.index;
    t->base = t->last = t->hard.commit = index;
    t->v[index % MODEL_ENTRIES] =
        (struct model_entry){.term = t->hard.term, .seed = m->seed_next, .length = 0};
    log_store_reset(s, index, t->hard.term, &c);
    raft_payload_unref(c.payload);
    m->sure = m->maybe;
}

static inline void model_work(struct model *m, struct log_store *s)
{
    while (m->steps_left > 0) {
        m->steps_left--;
        uint64_t what = model_roll(m, 20);
        if (model_roll(m, 60) == 0 && !m->never_compact) {
            model_reset(m, s);
            continue;
        }
        if (m->maybe.last - m->maybe.base > 1500)
            what = 19;
        if (what < 16)
            model_append(m, s);
        else if (what < 19)
            log_store_mark(s);
        else if (!m->never_compact)
            model_compact(m, s);
    }
    log_store_mark(s);
}

static inline void model_main(void *arg)
{
    struct model *m = arg;
    struct log_store_options o = {
        .directory = "/log", .segment_bytes = m->segment_bytes, .batch_bytes = 16384};
    struct log_store_identity who = {.member = 42};
    struct log_store *s;
    struct log_recovery r;
    enum err e = log_store_create(&o, &who, NULL);
    if (e && e != ERR_EXISTS)
        sys_exit(3, "no log");
    m->open_error = e = log_store_open(&o, &s, &r);
    if (e) {
        m->is_corrupt = e == ERR_CORRUPT;
        sys_exit(4, "not opened");
    }
    m->opened++;
    CHECK_EQ(r.identity.member, 42);
    model_compare(m, s, &r);
    log_recovery_release(&r);
    model_work(m, s);
    struct log_store_status status;
    log_store_status(s, &status);
    m->segments = status.segments;
    log_store_close(s);
    m->finished = true;
    struct sys_poll stop = {.event = sys_stop_event()};
    if (m->lingers)
        CHECK(sys_poll(&stop, 1, SYS_FOREVER) == OK);
}

static inline void model_init(struct model *m, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    m->random = seed * 2654435761u + 88172645463325252u;
    m->segment_bytes = 64 << 10;
}

static inline void model_wait(int pid)
{
    while (sim_alive(pid))
        sys_sleep_until(sys_now() + SYS_MS);
}
