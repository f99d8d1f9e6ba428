/* The names of what can be wrong with a cluster: what `cairn status` says, what metrics and alerts
 * are named by. A name is never reused for something else. */
#pragma once

enum health_level { HEALTH_OK, HEALTH_WARN, HEALTH_ERR };

/*  X(name, level, what to do) */
#define HEALTH_LIST(X)                                                                          \
    X(METADATA_UNREACHABLE, HEALTH_ERR,                                                         \
      "Start the metadata servers, or mend the addresses and the key in the configuration.")    \
    X(METADATA_NO_LEADER, HEALTH_ERR,                                                           \
      "Bring a majority of the metadata servers back; until then nothing is read or written.")  \
    X(METADATA_MEMBER_UNREACHABLE, HEALTH_WARN,                                                 \
      "Start that metadata server again, or look into its log.")                                \
    X(METADATA_TOLERATES_LESS, HEALTH_WARN,                                                     \
      "Let every member join until all vote, and keep their number odd.")                       \
    X(METADATA_DISK_FULL, HEALTH_ERR,                                                           \
      "Puts are refused: make room on these servers' disks, or delete objects.")                \
    X(METADATA_DISK_HANGS, HEALTH_WARN,                                                         \
      "Its log or state stands still: look at that server's disk and the kernel's log.")        \
    X(METADATA_CLOCK_OFF, HEALTH_WARN,                                                          \
      "Set that server's clock (see to NTP); until then it does not lead.")                     \
    X(METADATA_CLOCKS_DISAGREE, HEALTH_ERR,                                                     \
      "Set the metadata servers' clocks (see to NTP); until then nothing deleted is freed.")    \
    X(METADATA_TIME_HELD, HEALTH_WARN,                                                          \
      "If log time is right, cairn raft confirm-time; else set the clocks before it ends.")     \
    X(DISK_DOWN, HEALTH_WARN,                                                                   \
      "Start its chunkserver; if the disk is lost, say so with cairn disk fail ID.")            \
    X(DISK_FAILED, HEALTH_WARN,                                                                 \
      "Wait for the rebuild, then cairn disk remove ID, and put another disk in its place.")    \
    X(DISK_READ_ONLY, HEALTH_WARN,                                                              \
      "Its file system was made read-only: see the kernel's log; then as for DISK_FAILED.")     \
    X(DISK_MISSING, HEALTH_WARN,                                                                \
      "Mount its file system again, or make room on it: it is used as soon as that can be. If " \
      "lost, cairn disk fail ID.")                                                              \
    X(DISK_READ_ERRORS, HEALTH_WARN,                                                            \
      "What could not be read is repaired; a disk that goes on so should be replaced.")         \
    X(DISK_SUSPECT, HEALTH_WARN,                                                                \
      "It answers slowly: look at the kernel's log and the disk's own tests, or drain it.")     \
    X(DISK_OUT, HEALTH_WARN,                                                                    \
      "It is well and holds nothing new: cairn disk add ID, or cairn disk remove ID.")          \
    X(DISK_NEARFULL, HEALTH_WARN, "Add disks, or delete objects, before it is full.")           \
    X(DISK_BACKFILLFULL, HEALTH_WARN,                                                           \
      "Nothing is moved or rebuilt onto it any more: add disks, or delete objects.")            \
    X(DISK_FULL, HEALTH_ERR, "Writes to it are refused: add disks, or delete objects.")         \
    X(DISK_INDEXING, HEALTH_WARN,                                                               \
      "Its index is made anew from its extents; it serves again when that is done.")            \
    X(SCRUB_LATE, HEALTH_WARN,                                                                  \
      "Raise scrub_rate on their servers, or scrub_days: rot is found too late.")               \
    X(CORRUPT_SHARDS, HEALTH_WARN,                                                              \
      "They are repaired from the others; replace a disk that shows them again and again.")     \
    X(PG_UNAVAILABLE, HEALTH_ERR,                                                               \
      "Bring back the disks that are down: some objects cannot be read until then.")            \
    X(PG_DEGRADED, HEALTH_WARN,                                                                 \
      "Shards are missing; watch the rebuild with cairn rebuild status --watch.")               \
    X(PG_MOVING, HEALTH_WARN,                                                                   \
      "All shards are there and move to other disks; nothing is to be done.")                   \
    X(PG_STRANDED, HEALTH_WARN,                                                                 \
      "Add disks in other failure domains: no disk can take what has to move.")                 \
    X(PG_UNASSIGNED, HEALTH_WARN,                                                               \
      "The pool needs at least k+m disks that are in before it can take objects.")              \
    X(POOL_DOMAINS_FEW, HEALTH_WARN,                                                            \
      "Name each chunkserver's host (key host), and add disks on other hosts.")                 \
    X(REPAIR_PENDING, HEALTH_WARN,                                                              \
      "Single shards wait for repair; it goes on by itself while their disks are up.")

enum health_code {
#define X(name, level, advice) HEALTH_CODE_##name,
    HEALTH_LIST(X)
#undef X
        HEALTH_CODES
};

/* How full a disk is, by the marks that its chunkserver has been given. Sent in reports. */
enum disk_mark { DISK_MARK_NONE, DISK_MARK_NEARFULL, DISK_MARK_BACKFILLFULL, DISK_MARK_FULL };

/* Why a disk is given up by its own chunkserver. Sent in reports. */
enum disk_fault {
    DISK_FAULT_NONE,
    DISK_FAULT_SYNC,      /* a sync has failed */
    DISK_FAULT_INDEX,     /* its index can be neither written nor made anew */
    DISK_FAULT_READS,     /* too much of it cannot be read */
    DISK_FAULT_READ_ONLY, /* its file system has become read-only */
    DISK_FAULT_GONE,      /* its directory is not there, or is another disk's */
    DISK_FAULTS
};

const char *disk_fault_name(enum disk_fault fault); /* "read_only" */
const char *health_name(enum health_code code);     /* "DISK_DOWN" */
const char *health_advice(enum health_code code);   /* a sentence: what to do */
enum health_level health_level(enum health_code code);
const char *health_level_name(enum health_level level); /* "HEALTH_WARN" */
