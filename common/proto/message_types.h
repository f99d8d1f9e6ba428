/* The numbers of the frames' message types. Never reused. A reply carries the type of its request;
 * the frame's own status says how it ended. */
#pragma once

enum message_type {
    /* metadata: control transport */
    MSG_COMMAND = 1,      /* Command -> Result */
    MSG_QUERY = 2,        /* Query -> Answer */
    MSG_MEMBERS = 3,      /* (empty Members) -> Members; answered by any member, leader or not */
    MSG_HEARTBEAT = 4,    /* Heartbeat -> HeartbeatReply; leader only */
    MSG_REPORTS = 5,      /* (empty Reports) -> Reports; leader only */
    MSG_JOIN = 6,         /* Join -> Members; leader only */
    MSG_GROUP = 7,        /* Group -> Members */
    MSG_RAFT = 16,        /* one-way, between members */
    MSG_MEMBER_NOTE = 17, /* one-way, between members */

    /* every role: control transport */
    MSG_NODE_STATUS = 32, /* (empty NodeStatus) -> NodeStatus */

    /* chunkserver: bulk transport */
    MSG_SHARD_OPEN = 64,   /* one-way: begins a shard write on this connection */
    MSG_SHARD_APPEND = 65, /* one-way, with payload */
    MSG_SHARD_COMMIT = 66, /* -> empty; the write is durable when the status is OK */
    MSG_SHARD_READ = 67,   /* ShardRead -> ShardReadReply with payload */
    /* chunkserver: control transport */
    MSG_SHARD_DELETE = 80,
    MSG_SHARD_VERIFY = 81,  /* ShardVerify -> ShardVerifyReply */
    MSG_SHARD_SUSPECT = 82, /* one-way hint */
    MSG_SCRUB_START = 83,   /* ScrubStart -> empty, once it is noted */
    MSG_DISK_DRILL = 84,    /* DiskDrill -> empty */
    MSG_SCRUB_GROUPS = 85,  /* ScrubGroups (disk) -> ScrubGroups */
};
