/* Whether this member's state is what a majority has (hazard 24): all members tell one another the
 * hashes of what they applied, every checkpoint_every entries (member_notes.c). The one that differs from
 * a majority of the voters at some index marks its state as discarded and ends its process; when it
 * starts again it keeps its log and its votes, and takes the leader's state as a snapshot before it
 * applies anything. Where two differ and no majority is known, nobody stops, and an error says so. */
#include <inttypes.h>
#include "metadata/service_internal.h"

static const uint64_t *hash_at(const struct state_checkpoints *c, uint64_t index)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->index[i] == index)
            return &c->hash[i];
    return NULL;
}

/* Locked. NULL: none known. */
static const struct state_checkpoints *hashes_of(const struct metadata_service *s, raft_id id)
{
    if (id == s->identity.member)
        return &s->states.hashes;
    for (size_t i = 0; i < s->notes.count; i++)
        if (s->notes.v[i].id == id)
            return &s->notes.v[i].hashes;
    return NULL;
}

/* Locked. How many voters there are, and have this hash, or another one, at index. */
struct tally {
    size_t voters, same, other;
};
static struct tally count(const struct metadata_service *s, uint64_t index, uint64_t hash)
{
    struct tally t = {0};
    for (size_t i = 0; i < s->configuration.count; i++) {
        const struct raft_member *m = &s->configuration.members[i];
        if (!(m->roles & RAFT_VOTER))
            continue;
        t.voters++;
        const struct state_checkpoints *c = hashes_of(s, m->id);
        const uint64_t *has = c ? hash_at(c, index) : NULL;
        t.same += has && *has == hash;
        t.other += has && *has != hash;
    }
    return t;
}

/* Locked. Whether a majority has one hash at index that is not this one. */
static bool outvoted(const struct metadata_service *s, uint64_t index, uint64_t hash)
{
    for (size_t i = 0; i < s->configuration.count; i++) {
        const struct state_checkpoints *c = hashes_of(s, s->configuration.members[i].id);
        const uint64_t *has = c ? hash_at(c, index) : NULL;
        if (!has || *has == hash)
            continue;
        struct tally t = count(s, index, *has);
        if (t.same > t.voters / 2)
            return true;
    }
    return false;
}

void service_agreement_look(struct metadata_service *s)
{
    struct service_states *states = &s->states;
    for (size_t i = 0; i < states->hashes.count && !states->differs; i++) {
        uint64_t index = states->hashes.index[i], hash = states->hashes.hash[i];
        struct tally t = count(s, index, hash);
        if (t.other == 0 || t.same > t.voters / 2)
            continue;
        states->differs = outvoted(s, index, hash);
        if (states->differs || states->disputed >= index)
            continue;
        states->disputed = index;
        log_error("state",
                  "the states of two members differ at entry %" PRIu64
                  ", and no majority is known that has one of them",
                  index);
    }
}

void service_agreement_check(struct metadata_service *s, struct state *state)
{
    sys_mutex_lock(&s->lock);
    bool differs = s->states.differs;
    sys_mutex_unlock(&s->lock);
    if (!differs)
        return;
    const struct state_position at = state_position(state);
    struct state_home home = {
        .discarded = true,
        .at = {.index = at.index,
               .term = at.term,
               .configuration = {.index = at.configuration_index,
                                 .term = at.configuration_term,
                                 .type = RAFT_ENTRY_CONFIGURATION,
                                 .payload =
                                     raft_payload_new(at.configuration, at.configuration_length)}}};
    enum err e = state_home_write(s->config.directory, &home);
    log_error("state",
              "the state in %s differs from that of the other members, this member stops; %s",
              s->config.directory,
              e == OK ? "when it is started again it takes the leader's"
                      : "its directory cannot be written: cairn raft remove this member, and let a "
                        "new one join from an empty directory");
    sys_exit(1, "this member's state differs from that of the others");
}
