#include "tools/health.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/sys/sys.h"

enum { NAMED_MAX = 6 };

static void find(struct health *h, enum health_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void find(struct health *h, enum health_code code, const char *format, ...)
{
    struct health_finding *f = &h->findings[h->count++];
    va_list args;
    f->code = code;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    if (health_level(code) > h->level)
        h->level = health_level(code);
}

/* "3, 5, 8 and 4 more" */
struct names {
    size_t count;
    char text[HEALTH_TEXT / 2];
    size_t length;
};

static void name(struct names *n, const char *text)
{
    if (n->count++ >= NAMED_MAX || n->length >= sizeof n->text)
        return;
    int m = snprintf(n->text + n->length, sizeof n->text - n->length, "%s%s", n->length ? ", " : "",
                     text);
    n->length += m > 0 ? (size_t)m : 0;
}

static void name_disk(struct names *n, uint32_t id)
{
    char text[16];
    snprintf(text, sizeof text, "%u", id);
    name(n, text);
}

static void find_named(struct health *h, enum health_code code, const struct names *n,
                       const char *one, const char *many, const char *what)
{
    if (n->count == 0)
        return;
    char more[32] = "";
    if (n->count > NAMED_MAX)
        snprintf(more, sizeof more, " and %zu more", n->count - NAMED_MAX);
    find(h, code, "%s %s%s %s", n->count == 1 ? one : many, n->text, more, what);
}

const DiskReport *facts_report(const struct cluster_facts *facts, uint32_t disk)
{
    const DiskReport *found = NULL;
    if (!facts->reports)
        return NULL;
    for (size_t i = 0; i < facts->reports->n_heartbeats; i++) {
        const Heartbeat *h = facts->reports->heartbeats[i];
        for (size_t d = 0; d < h->n_disks; d++)
            if (h->disks[d]->id == disk &&
                (!found || h->disks[d]->incarnation >= found->incarnation))
                found = h->disks[d];
    }
    return found;
}

int health_tolerates(const struct health *h)
{
    size_t majority = h->voters / 2 + 1;
    return h->voters_answering < majority ? -1 : (int)(h->voters_answering - majority);
}

/* What the members have told one another of their disks and clocks. */
static void judge_members(const Members *m, struct health *h)
{
    struct names full = {0}, hangs = {0}, off = {0};
    for (size_t i = 0; i < m->n_members; i++) {
        const MemberInfo *one = m->members[i];
        char text[HEALTH_TEXT];
        snprintf(text, sizeof text, "%s (%llu MiB left%s)", one->address,
                 (unsigned long long)(one->disk_free_bytes >> 20),
                 one->ballast_gone ? ", the ballast is gone" : "");
        if (one->disk_low)
            name(&full, text);
        if (one->stalled)
            name(&hangs, one->address);
        snprintf(text, sizeof text, "%s (%+.1f s)", one->address,
                 (double)one->clock_offset_ns / 1e9);
        if (one->clock_off)
            name(&off, text);
    }
    find_named(h, HEALTH_CODE_METADATA_DISK_FULL, &full, "metadata server", "metadata servers",
               "all but full");
    find_named(h, HEALTH_CODE_METADATA_DISK_HANGS, &hangs, "metadata server", "metadata servers",
               "waiting for the disk");
    find_named(h, HEALTH_CODE_METADATA_CLOCK_OFF, &off, "metadata server", "metadata servers",
               "out of time with the others");
    if (m->clocks_disagree)
        find(h, HEALTH_CODE_METADATA_CLOCKS_DISAGREE,
             "no majority of the metadata servers' clocks agrees: log time stands still");
    if (m->time_held_ns)
        find(h, HEALTH_CODE_METADATA_TIME_HELD,
             "log time has made a step: nothing is deleted or given up for %lld s",
             (long long)(m->time_held_ns / SYS_SECOND + 1));
}

static void judge_metadata(const struct cluster_facts *f, struct health *h)
{
    struct names unreachable = {0};
    if (!f->members) {
        find(h, HEALTH_CODE_METADATA_UNREACHABLE, "no metadata server answers: %s",
             err_text(f->members_error));
        return;
    }
    for (size_t i = 0; i < f->members->n_members && i < VIEW_MEMBERS_MAX; i++) {
        const MemberInfo *m = f->members->members[i];
        h->voters += m->voter;
        h->voters_answering += m->voter && f->member_answers[i] == OK;
        if (f->member_answers[i])
            name(&unreachable, m->address);
    }
    if (!f->members->leader || f->map_error)
        find(h, HEALTH_CODE_METADATA_NO_LEADER, "%s, %zu of %zu voting members answer",
             f->members->leader ? "the leader answers no query"
                                : "the metadata group has no leader",
             h->voters_answering, h->voters);
    find_named(h, HEALTH_CODE_METADATA_MEMBER_UNREACHABLE, &unreachable, "metadata server",
               "metadata servers", "cannot be reached");
    judge_members(f->members, h);
    size_t learners = f->members->n_members - h->voters;
    if (learners)
        find(h, HEALTH_CODE_METADATA_TOLERATES_LESS, "%zu of %zu metadata servers do not vote",
             learners, f->members->n_members);
    else if (h->voters % 2 == 0)
        find(h, HEALTH_CODE_METADATA_TOLERATES_LESS,
             "%zu metadata servers vote: no better than %zu", h->voters, h->voters - 1);
}

bool facts_absent(const struct cluster_facts *f, uint32_t disk)
{
    for (size_t i = 0; f->reports && i < f->reports->n_heartbeats; i++)
        for (size_t k = 0; k < f->reports->heartbeats[i]->n_absent; k++)
            if (f->reports->heartbeats[i]->absent[k]->id == disk)
                return true;
    return false;
}

/* Directories that their servers cannot use; the disk is often not known. */
static void judge_absent(const struct cluster_facts *f, struct health *h)
{
    struct names missing = {0};
    for (size_t i = 0; f->reports && i < f->reports->n_heartbeats; i++)
        for (size_t k = 0; k < f->reports->heartbeats[i]->n_absent; k++) {
            const AbsentDisk *a = f->reports->heartbeats[i]->absent[k];
            char id[24] = "", text[2 * HEALTH_TEXT];
            const char *why =
                a->error == ERR_NOT_FOUND ? "no disk is there" : err_text((enum err)a->error);
            if (a->id)
                snprintf(id, sizeof id, "disk %u, ", a->id);
            snprintf(text, sizeof text, "%.100s (%sof %.64s: %.100s)", a->directory, id,
                     f->reports->heartbeats[i]->address, why);
            name(&missing, text);
        }
    find_named(h, HEALTH_CODE_DISK_MISSING, &missing, "directory", "directories", "not usable");
}

static void judge_disks(const struct cluster_facts *f, struct health *h)
{
    struct names down = {0}, failed = {0}, suspect = {0}, near = {0}, full = {0}, corrupt = {0};
    struct names backfill = {0}, indexing = {0}, late = {0}, read_only = {0}, unread = {0};
    struct names out = {0};
    uint64_t bad = 0, unread_count = 0;
    for (size_t i = 0; i < f->info->n_disks; i++) {
        const DiskInfo *d = f->info->disks[i];
        if (d->removed)
            continue;
        const DiskReport *r = facts_report(f, d->id);
        if (d->admin_state == DISK_FAILED)
            name_disk(r && r->fault == DISK_FAULT_READ_ONLY ? &read_only : &failed, d->id);
        else if (!d->up && !facts_absent(f, d->id))
            name_disk(&down, d->id);
        else if (d->suspect)
            name_disk(&suspect, d->id);
        else if (d->up && d->admin_state == DISK_OUT)
            name_disk(&out, d->id);
        if (!r || !d->up || d->admin_state == DISK_FAILED)
            continue;
        if (r->mark == DISK_MARK_FULL)
            name_disk(&full, d->id);
        else if (r->mark == DISK_MARK_BACKFILLFULL)
            name_disk(&backfill, d->id);
        else if (r->mark == DISK_MARK_NEARFULL)
            name_disk(&near, d->id);
        if (r->indexing)
            name_disk(&indexing, d->id);
        if (r->scrub_late)
            name_disk(&late, d->id);
        if (r->io_errors) {
            name_disk(&unread, d->id);
            unread_count += r->io_errors;
        }
        if (r->corrupt) {
            name_disk(&corrupt, d->id);
            bad += r->corrupt;
        }
    }
    find_named(h, HEALTH_CODE_DISK_FULL, &full, "disk", "disks", "full");
    find_named(h, HEALTH_CODE_DISK_FAILED, &failed, "disk", "disks", "failed");
    find_named(h, HEALTH_CODE_DISK_READ_ONLY, &read_only, "disk", "disks",
               "failed: the file system is read-only");
    judge_absent(f, h);
    find_named(h, HEALTH_CODE_DISK_DOWN, &down, "disk", "disks", "down");
    find_named(h, HEALTH_CODE_DISK_SUSPECT, &suspect, "disk", "disks", "slow");
    find_named(h, HEALTH_CODE_DISK_OUT, &out, "disk", "disks", "up, and still out");
    find_named(h, HEALTH_CODE_DISK_NEARFULL, &near, "disk", "disks", "nearly full");
    find_named(h, HEALTH_CODE_DISK_BACKFILLFULL, &backfill, "disk", "disks",
               "too full for backfill");
    find_named(h, HEALTH_CODE_DISK_INDEXING, &indexing, "disk", "disks", "rebuilding the index");
    find_named(h, HEALTH_CODE_SCRUB_LATE, &late, "disk", "disks",
               "not read in whole for twice scrub_days");
    if (unread_count) {
        char what[80];
        snprintf(what, sizeof what, "had %llu failed reads and writes since the start",
                 (unsigned long long)unread_count);
        find_named(h, HEALTH_CODE_DISK_READ_ERRORS, &unread, "disk", "disks", what);
    }
    if (bad) {
        char what[64];
        snprintf(what, sizeof what, "found %llu bad shards since the start",
                 (unsigned long long)bad);
        find_named(h, HEALTH_CODE_CORRUPT_SHARDS, &corrupt, "disk", "disks", what);
    }
}

/* Pools that one host (rack, zone) can take data from. */
static void judge_domains(const struct cluster_facts *f, struct health *h)
{
    struct names few = {0};
    for (size_t i = 0; i < f->map->pool_count; i++) {
        const struct cluster_pool *pool = &f->map->pools[i];
        unsigned together = pool->m ? census_most_together(f->map, pool) : 0;
        char text[HEALTH_TEXT];
        if (together <= pool->m)
            continue;
        snprintf(text, sizeof text, "%s (%u of %u shards in one %s, %u may be lost)", pool->name,
                 together, pool_width(pool), failure_domain_name(pool->domain), pool->m);
        name(&few, text);
    }
    find_named(h, HEALTH_CODE_POOL_DOMAINS_FEW, &few, "pool", "pools",
               "would not survive the loss of one failure domain");
}

static void judge_groups(const struct cluster_facts *f, struct health *h)
{
    struct names unassigned = {0};
    const struct census *c = &h->census;
    census_take(f->map, &h->census);
    for (size_t i = 0; i < f->info->n_pools; i++)
        if (!f->info->pools[i]->assigned)
            name(&unassigned, f->info->pools[i]->name);
    if (c->pgs[PG_IS_UNAVAILABLE])
        find(h, HEALTH_CODE_PG_UNAVAILABLE,
             "%llu of %llu placement groups miss more shards than they tolerate",
             (unsigned long long)c->pgs[PG_IS_UNAVAILABLE], (unsigned long long)c->pg_count);
    if (c->pgs[PG_IS_DEGRADED])
        find(h, HEALTH_CODE_PG_DEGRADED,
             "%llu of %llu placement groups have less redundancy, %llu slots",
             (unsigned long long)c->pgs[PG_IS_DEGRADED], (unsigned long long)c->pg_count,
             (unsigned long long)c->slots_missing);
    if (c->pgs[PG_MOVES])
        find(h, HEALTH_CODE_PG_MOVING, "%llu of %llu placement groups are on the move",
             (unsigned long long)c->pgs[PG_MOVES], (unsigned long long)c->pg_count);
    if (f->stranded)
        find(h, HEALTH_CODE_PG_STRANDED, "%u slots have to move and no disk can take them",
             f->stranded);
    find_named(h, HEALTH_CODE_PG_UNASSIGNED, &unassigned, "pool", "pools", "without disks");
}

/* Worst first, else in the order of the list. */
static int finding_order(const void *a, const void *b)
{
    const struct health_finding *x = a, *y = b;
    int lx = (int)health_level(x->code), ly = (int)health_level(y->code);
    return lx != ly ? ly - lx : (int)x->code - (int)y->code;
}

void health_judge(const struct cluster_facts *f, struct health *h)
{
    memset(h, 0, sizeof *h);
    judge_metadata(f, h);
    if (f->info && f->map) {
        judge_disks(f, h);
        judge_groups(f, h);
        judge_domains(f, h);
    }
    if (f->status && f->status->repair_rows)
        find(h, HEALTH_CODE_REPAIR_PENDING, "%llu chunks wait for the repair of single shards",
             (unsigned long long)f->status->repair_rows);
    qsort(h->findings, h->count, sizeof h->findings[0], finding_order);
}
