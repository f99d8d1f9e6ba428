/* Who is a member: voters, in a joint change also the outgoing voters, and learners.
 *
 * A configuration is the payload of a log entry and holds from the moment it is appended (Raft,
 * section 6). As bytes: u8 version = 1, u8 count, then per member u64 id, u8 roles, u8 length of the
 * address, the address. Little-endian. Members in ascending order of id, each once. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "metadata/raft/types.h"

enum { RAFT_MEMBERS_MAX = 15, RAFT_ADDRESS_MAX = 127 };

enum raft_role_bits {
    RAFT_VOTER = 1,    /* of the (incoming) configuration */
    RAFT_OUTGOING = 2, /* voter of the configuration that a joint change leaves */
    RAFT_LEARNER = 4,  /* receives entries, is not counted */
};

struct raft_member {
    raft_id id;
    uint8_t roles;
    char address[RAFT_ADDRESS_MAX + 1]; /* where others find it; text that the core never reads */
};
struct raft_configuration {
    size_t count;
    struct raft_member members[RAFT_MEMBERS_MAX];
};

/* NULL when it is not there. */
const struct raft_member *raft_configuration_find(const struct raft_configuration *c, raft_id id);
/* Sets roles and address, adding the member; ERR_TOO_BIG when there is no room or the address is
 * too long. roles 0 removes it. address NULL keeps the old one. */
enum err raft_configuration_set(struct raft_configuration *c, raft_id id, uint8_t roles,
                                const char *address) MUST_USE;
bool raft_configuration_joint(const struct raft_configuration *c);
/* Whether the members with their bit (by position) in yes are a majority of the voters, and in a
 * joint configuration of the outgoing voters too. No voters: false. */
bool raft_configuration_quorum(const struct raft_configuration *c, uint32_t yes);
/* The largest value that a quorum has reached; values by position. */
uint64_t raft_configuration_reached(const struct raft_configuration *c, const uint64_t *values);

struct raft_payload *raft_configuration_encode(const struct raft_configuration *c);
enum err raft_configuration_decode(const void *data, size_t n,
                                   struct raft_configuration *out) MUST_USE; /* ERR_FORMAT */
