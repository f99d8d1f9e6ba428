/* Shared by metadata_client.c (finding the leader) and metadata_session.c (exactly once). */
#pragma once
#include "common/client/metadata_client.h"
#include "common/rpc/retry.h"
#include "common/rpc/rpc_peer.h"
#include "common/sys/sys.h"

enum {
    METADATA_MEMBERS_MAX = 16,
    METADATA_ADDRESS_MAX = 128,
    SESSION_SLOTS = 256,
    CLIENT_ID_BYTES = 16,
};

struct member {
    bool local;
    struct metadata_local functions; /* local */
    char address[METADATA_ADDRESS_MAX];
    struct rpc_peer *peer; /* NULL until first used */
};

/* A slot runs one command at a time; its sequence grows with each. A slot whose last command has an
 * unknown outcome may be used again: the state machine executes a sequence once at most, and none
 * that is below the slot's highest. */
struct session_slot {
    uint32_t number;
    uint64_t sequence;
    uint32_t generation; /* of the client id under which its sequence counts */
    uint8_t client[CLIENT_ID_BYTES];
    bool busy;
};

/* One client id at a time, 128 random bits, registered by a command (hazard 7). When the group has
 * forgotten it, the next acquire registers a new one; a command under way keeps the id that it was
 * first sent with. */
struct session {
    struct sys_mutex lock;
    struct sys_cond changed;
    const char *name;
    uint8_t client[CLIENT_ID_BYTES];
    uint32_t generation;
    bool registered, registering;
    uint32_t busy;
    struct session_slot slots[SESSION_SLOTS];
};

struct metadata_client {
    struct rpc_node *node;
    struct timeouts timeouts;
    struct sys_mutex lock;
    struct member members[METADATA_MEMBERS_MAX];
    size_t member_count;
    size_t leader; /* index of whom to ask first */
    int64_t log_time;
    uint64_t epoch;
    struct retry_budget budget;
    struct session session;
};

/* One call, as many attempts as the deadline allows. *unknown is set when any attempt ended without
 * a known outcome; never cleared. */
enum err metadata_call(struct metadata_client *c, const struct request_context *request,
                       uint16_t type, const ProtobufCMessage *body, bool any_member,
                       struct arena *arena, ProtobufCMessage **reply, bool *unknown) MUST_USE;

void session_init(struct session *s, const char *name);
void session_release(struct session *s);
/* A free slot of a registered session; registers it first when need be. ERR_BUSY at the deadline. */
enum err session_acquire(struct metadata_client *c, const struct request_context *request,
                         struct session_slot **out) MUST_USE;
/* Valid until the slot is given back. */
void session_stamp(struct session_slot *slot, Command *command);
void session_give_back(struct session *s, struct session_slot *slot, bool expired);
