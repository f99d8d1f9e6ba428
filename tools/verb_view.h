/* What the verbs of an operator ask of a cluster, and how they say that it cannot be had.
 *
 *   struct cluster_view v;
 *   int status = view_open(cli, &v);
 *   if (!status) status = view_need_map(&v);
 *   ..
 *   view_close(&v);            also after a failed open
 *
 * Everything asked lives in the view's arena, until view_forget or view_close. */
#pragma once
#include "tools/admin.h"
#include "tools/cli.h"
#include "tools/health.h"

struct cluster_view {
    struct config config;
    struct admin admin;
    struct arena arena;
    struct cluster_facts facts;
    struct cluster_map *map;              /* facts.map */
    const Members *own[VIEW_MEMBERS_MAX]; /* what each member says of itself, NULL: no answer */
};

/* Reads the configuration and prepares the calls. An exit status; what is wrong has been said. */
int view_open(struct cli *cli, struct cluster_view *v);
void view_close(struct cluster_view *v);
/* Ready to ask anew. */
void view_forget(struct cluster_view *v);

/* Each asks once and keeps the answer in facts. */
enum err view_ask_members(struct cluster_view *v); /* and every member for itself */
enum err view_ask_map(struct cluster_view *v);
enum err view_ask_reports(struct cluster_view *v);
enum err view_ask_status(struct cluster_view *v);
/* Slots that have to move and cannot, as the leader's planner sees it. */
uint32_t view_stranded(const struct cluster_map *map);
/* All of them, and what is to be thought of it. */
void view_judge(struct cluster_view *v, struct health *out);
/* The map, or an exit status having said why not. */
int view_need_map(struct cluster_view *v);

/* One query, one command; *answer or *result is set when the group answered. */
enum err view_query(struct cluster_view *v, const Query *query, Answer **answer);
enum err view_execute(struct cluster_view *v, Command *command, Result **result);
/* One call to a server at "host:port". */
enum err view_call(struct cluster_view *v, const char *address, uint16_t type,
                   const ProtobufCMessage *body, const ProtobufCMessageDescriptor *reply_type,
                   int64_t timeout, ProtobufCMessage **reply);

/* Says that the group could not be asked, and what to do. Returns CLI_FAILED. */
int view_failed(const struct cluster_view *v, enum err e, const char *what);

/* A verb's only word, the id of a disk. An exit status; what is wrong has been said. */
int view_disk_word(const struct cli *cli, int argc, char **argv, uint32_t *id);
/* NULL when there is none, or it was removed. */
const DiskInfo *view_disk(const struct cluster_view *v, uint32_t id);
/* By name or by number. */
const struct cluster_pool *view_pool(const struct cluster_view *v, const char *text);
const char *view_admin_name(uint32_t admin_state);          /* "draining" */
const char *view_bytes(struct cluster_view *v, uint64_t n); /* "1.5 GiB", in the arena */
const char *view_hex(struct cluster_view *v, const void *data, size_t n);
