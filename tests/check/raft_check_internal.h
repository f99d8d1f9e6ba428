/* What the parts of the checker of Raft share: what it knows of each member, and of entries. */
#pragma once
#include "tests/check/raft_check.h"

enum { WRITES = 64, READS = 1024 };

/* A member's log. digest 0: not known (an entry that was seen only as a term after a restart). */
struct entry {
    uint64_t term, digest;
    uint64_t sequence; /* of the write that it is in; 0: of an earlier life, durable */
};
struct write {
    uint64_t sequence;
    struct raft_hard_state hard;
};
struct asked {
    uint64_t read, floor; /* what anybody knew as committed then */
};
struct member {
    raft_id id;
    const struct raft *core; /* NULL: none lives */
    struct entry *log;       /* index i at [i - 1] */
    size_t room;
    uint64_t base, last; /* at and below base nothing is known */
    uint64_t term, commit, persisted;
    raft_id vote;
    bool leads;
    uint64_t leads_term;
    struct raft_hard_state durable;
    struct write writes[WRITES]; /* a ring of those that are under way */
    size_t write_first, write_count;
    bool writes_lost; /* the ring was full: what is durable of term and vote is not known */
    uint64_t done;    /* the last sequence that it was told is durable */
    struct raft_configuration configuration; /* as it was before this step */
    size_t messages_before, reads_before;    /* in the effects, before this step */
    struct asked asked[READS];               /* by read number */
    /* of the effects that were looked at: so many entries, up to this one */
    size_t entries_seen;
    uint64_t seen_index, seen_term;
};

/* What is true of an index and term, wherever: its content and the term before it. */
struct fact {
    uint64_t index, term, digest, previous;
};
struct committed {
    uint64_t term, digest, by_term;
    uint64_t applied_digest, hash; /* of the command and of the state behind it */
    bool applied;
};
/* (member or 0, term) -> id: votes and leaders. */
struct choice {
    uint64_t member, term, choice;
};
struct applier {
    uint64_t member, applied;
};
struct raft_check {
    void (*violated)(void *arg, const char *text);
    void *arg;
    struct member *members;
    size_t member_count, member_room;
    struct fact *facts; /* open addressing; index 0: free */
    size_t fact_count, fact_size;
    struct choice *choices; /* open addressing; term 0: free */
    size_t choice_count, choice_size;
    struct committed *committed; /* index i at [i - 1] */
    size_t committed_room;
    uint64_t highest;
    uint64_t newest_term; /* that has had a leader */
    struct applier *appliers;
    size_t applier_count, applier_room;
    struct raft_check_counts counts;
};

void raft_check_violated(struct raft_check *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* 0: not known, or not there. */
uint64_t raft_check_term_at(const struct member *m, uint64_t index);
/* Whom the member voted for in the term, as those who got the vote saw it; 0: nobody knows. */
raft_id raft_check_vote_of(const struct raft_check *c, raft_id member, uint64_t term);

/* raft_promises.c. Behind all else of a step; commit: what was committed before it. new_leader: it began
 * to lead with it. */
void raft_promises_stepped(struct raft_check *c, const struct member *m,
                           const struct raft_event *event, const struct raft_effects *effects,
                           const struct raft_status *s, uint64_t commit, bool new_leader);
