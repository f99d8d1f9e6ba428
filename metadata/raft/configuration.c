/* Raft, section 6; thesis, section 4.3 for joint configurations. */
#include "metadata/raft/configuration.h"
#include <string.h>
#include "common/base/alloc.h"
#include "common/base/cursor.h"

enum { CONFIGURATION_VERSION = 1, MEMBER_FIXED_BYTES = 10 };

const struct raft_member *raft_configuration_find(const struct raft_configuration *c, raft_id id)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->members[i].id == id)
            return &c->members[i];
    return NULL;
}

static void remove_at(struct raft_configuration *c, size_t i)
{
    memmove(&c->members[i], &c->members[i + 1], (c->count - i - 1) * sizeof c->members[0]);
    c->count--;
}

enum err raft_configuration_set(struct raft_configuration *c, raft_id id, uint8_t roles,
                                const char *address)
{
    if (id == 0)
        return ERR_INVALID;
    if (address && strlen(address) > RAFT_ADDRESS_MAX)
        return ERR_TOO_BIG;
    size_t i = 0;
    while (i < c->count && c->members[i].id < id)
        i++;
    bool there = i < c->count && c->members[i].id == id;
    if (roles == 0) {
        if (there)
            remove_at(c, i);
        return OK;
    }
    if (!there) {
        if (c->count == RAFT_MEMBERS_MAX)
            return ERR_TOO_BIG;
        memmove(&c->members[i + 1], &c->members[i], (c->count - i) * sizeof c->members[0]);
        c->count++;
        c->members[i] = (struct raft_member){.id = id};
    }
    c->members[i].roles = roles;
    if (address)
        memcpy(c->members[i].address, address, strlen(address) + 1);
    return OK;
}

bool raft_configuration_joint(const struct raft_configuration *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->members[i].roles & RAFT_OUTGOING)
            return true;
    return false;
}

static bool majority(const struct raft_configuration *c, uint8_t role, uint32_t yes)
{
    size_t voters = 0, votes = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (!(c->members[i].roles & role))
            continue;
        voters++;
        votes += yes >> i & 1;
    }
    return votes > voters / 2;
}

bool raft_configuration_quorum(const struct raft_configuration *c, uint32_t yes)
{
    return majority(c, RAFT_VOTER, yes) &&
           (!raft_configuration_joint(c) || majority(c, RAFT_OUTGOING, yes));
}

static uint64_t reached(const struct raft_configuration *c, uint8_t role, const uint64_t *values)
{
    uint64_t sorted[RAFT_MEMBERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (!(c->members[i].roles & role))
            continue;
        size_t at = n++;
        for (; at > 0 && sorted[at - 1] < values[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = values[i];
    }
    return n ? sorted[n / 2] : 0; /* descending: n / 2 + 1 members have at least this */
}

uint64_t raft_configuration_reached(const struct raft_configuration *c, const uint64_t *values)
{
    uint64_t incoming = reached(c, RAFT_VOTER, values);
    if (!raft_configuration_joint(c))
        return incoming;
    uint64_t outgoing = reached(c, RAFT_OUTGOING, values);
    return incoming < outgoing ? incoming : outgoing;
}

struct raft_payload *raft_configuration_encode(const struct raft_configuration *c)
{
    uint8_t bytes[2 + RAFT_MEMBERS_MAX * (MEMBER_FIXED_BYTES + RAFT_ADDRESS_MAX)];
    struct writer w;
    writer_init(&w, bytes, sizeof bytes);
    write_u8(&w, CONFIGURATION_VERSION);
    write_u8(&w, (uint8_t)c->count);
    for (size_t i = 0; i < c->count; i++) {
        const struct raft_member *m = &c->members[i];
        size_t n = strlen(m->address);
        write_u64(&w, m->id);
        write_u8(&w, m->roles);
        write_u8(&w, (uint8_t)n);
        write_bytes(&w, m->address, n);
    }
    return raft_payload_new(bytes, writer_used(&w));
}

enum err raft_configuration_decode(const void *data, size_t n, struct raft_configuration *out)
{
    struct reader r;
    reader_init(&r, data, n);
    *out = (struct raft_configuration){0};
    if (read_u8(&r) != CONFIGURATION_VERSION)
        return ERR_FORMAT;
    size_t count = read_u8(&r);
    if (count > RAFT_MEMBERS_MAX)
        return ERR_FORMAT;
    raft_id previous = 0;
    for (size_t i = 0; i < count; i++) {
        struct raft_member *m = &out->members[i];
        m->id = read_u64(&r);
        m->roles = read_u8(&r);
        size_t length = read_u8(&r);
        if (m->id <= previous || length > RAFT_ADDRESS_MAX || m->roles == 0 ||
            m->roles > (RAFT_VOTER | RAFT_OUTGOING | RAFT_LEARNER))
            return ERR_FORMAT;
        previous = m->id;
        read_bytes(&r, m->address, length);
        if (memchr(m->address, 0, length))
            return ERR_FORMAT;
    }
    out->count = count;
    return reader_finished(&r) ? OK : ERR_FORMAT;
}
