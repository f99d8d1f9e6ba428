/* `cairn status`: the cluster's health in one screen. */
#include <stdio.h>
#include <string.h>
#include "common/sys/sys.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

struct disk_counts {
    size_t count, up, by_admin[DISK_ADMIN_COUNT], reported;
    uint64_t capacity, used, shards;
};

static void count_disks(const struct cluster_facts *f, struct disk_counts *c)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < f->info->n_disks; i++) {
        const DiskInfo *d = f->info->disks[i];
        if (d->removed || d->admin_state >= DISK_ADMIN_COUNT)
            continue;
        c->count++;
        c->up += d->up;
        c->by_admin[d->admin_state]++;
        const DiskReport *r = d->up ? facts_report(f, d->id) : NULL;
        if (!r)
            continue;
        c->reported++;
        c->capacity += r->capacity_bytes;
        c->used += r->used_bytes;
        c->shards += r->shards;
    }
}

/* ---- for people ---- */

static const char *leader_address(const Members *m)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i]->id == m->leader)
            return m->members[i]->address;
    return NULL;
}

static void print_metadata(const struct cluster_facts *f, const struct health *h)
{
    const Members *m = f->members;
    if (!m) {
        printf("metadata  nobody answers\n");
        return;
    }
    const char *leader = leader_address(m);
    int more = health_tolerates(h);
    printf("metadata  %zu members, %zu vote, %zu of these answer; ", m->n_members, h->voters,
           h->voters_answering);
    if (leader)
        printf("leader %s, term %llu", leader, (unsigned long long)m->term);
    else
        printf("no leader, term %llu", (unsigned long long)m->term);
    if (more >= 0)
        printf("; may lose %d more\n", more);
    else
        printf("; no majority\n");
}

static void print_disks(struct cluster_view *v)
{
    struct disk_counts c;
    count_disks(&v->facts, &c);
    printf("disks     %zu: %zu up, %zu down", c.count, c.up, c.count - c.up);
    for (uint32_t i = 0; i < DISK_ADMIN_COUNT; i++)
        if (c.by_admin[i])
            printf("%s %zu %s", i == DISK_IN ? ";" : ",", c.by_admin[i], view_admin_name(i));
    if (c.reported)
        printf("; %s used of %s", view_bytes(v, c.used), view_bytes(v, c.capacity));
    printf("\n");
}

static void print_pools(struct cluster_view *v, const struct health *h)
{
    const struct census *c = &h->census;
    for (size_t i = 0; i < v->facts.info->n_pools; i++) {
        const PoolInfo *p = v->facts.info->pools[i];
        printf("%-9s %s: %u+%u, over %ss", i ? "" : "pools", p->name, p->k, p->m,
               failure_domain_name(p->failure_domain));
        if (p->assigned)
            printf(", %u placement groups\n", 1u << p->pg_bits);
        else
            printf(", not assigned yet\n");
    }
    printf("groups    %llu:", (unsigned long long)c->pg_count);
    for (unsigned i = 0, printed = 0; i < PG_CONDITIONS; i++)
        if (c->pgs[i] || i == PG_WHOLE)
            printf("%s %llu %s", printed++ ? "," : "", (unsigned long long)c->pgs[i],
                   pg_condition_name(i));
    printf("; slots on the move: %llu\n", (unsigned long long)c->slots_moving);
}

static void print_findings(const struct health *h)
{
    printf("%s\n", health_level_name(h->level));
    for (size_t i = 0; i < h->count; i++)
        printf("  %s: %s.\n      %s\n", health_name(h->findings[i].code), h->findings[i].text,
               health_advice(h->findings[i].code));
}

static void print_people(struct cluster_view *v, const struct health *h)
{
    const struct cluster_facts *f = &v->facts;
    print_findings(h);
    printf("\n");
    if (f->members)
        printf("cluster   %s\n", view_hex(v, f->members->cluster.data, f->members->cluster.len));
    print_metadata(f, h);
    if (f->info) {
        print_disks(v);
        print_pools(v, h);
    }
    if (!f->status)
        return;
    const StatusInfo *s = f->status;
    printf("repair    %llu chunks wait for single shards; %llu runs wait for deletion\n",
           (unsigned long long)s->repair_rows, (unsigned long long)s->due_rows);
    printf("usage     %llu objects, %s, in %llu buckets of %llu users\n",
           (unsigned long long)s->objects, view_bytes(v, s->bytes), (unsigned long long)s->buckets,
           (unsigned long long)s->users);
}

/* ---- for programs ---- */

static json_t *json_u64(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *json_metadata(const struct cluster_facts *f, const struct health *h)
{
    const Members *m = f->members;
    json_t *list = json_array(), *out;
    for (size_t i = 0; i < m->n_members && i < VIEW_MEMBERS_MAX; i++)
        json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:b}", "address",
                                              m->members[i]->address, "voter", m->members[i]->voter,
                                              "leader", m->members[i]->id == m->leader, "reachable",
                                              f->member_answers[i] == OK));
    out = json_pack("{s:o, s:s?, s:i, s:i, s:i}", "members", list, "leader", leader_address(m),
                    "voters", (int)h->voters, "voters_reachable", (int)h->voters_answering,
                    "may_lose", health_tolerates(h));
    json_object_set_new(out, "term", json_u64(m->term));
    json_object_set_new(out, "commit", json_u64(m->commit));
    json_object_set_new(out, "applied", json_u64(m->applied));
    return out;
}

static json_t *json_disks(const struct cluster_facts *f)
{
    struct disk_counts c;
    count_disks(f, &c);
    json_t *out = json_pack("{s:i, s:i, s:i}", "count", (int)c.count, "up", (int)c.up, "down",
                            (int)(c.count - c.up));
    for (uint32_t i = 0; i < DISK_ADMIN_COUNT; i++)
        json_object_set_new(out, view_admin_name(i), json_u64(c.by_admin[i]));
    json_object_set_new(out, "capacity_bytes", json_u64(c.capacity));
    json_object_set_new(out, "used_bytes", json_u64(c.used));
    json_object_set_new(out, "shards", json_u64(c.shards));
    return out;
}

static json_t *json_groups(const struct health *h)
{
    const struct census *c = &h->census;
    json_t *out = json_object();
    json_object_set_new(out, "count", json_u64(c->pg_count));
    for (unsigned i = 0; i < PG_CONDITIONS; i++)
        json_object_set_new(out, pg_condition_name(i), json_u64(c->pgs[i]));
    json_object_set_new(out, "slots", json_u64(c->slot_count));
    json_object_set_new(out, "slots_moving", json_u64(c->slots_moving));
    json_object_set_new(out, "slots_missing", json_u64(c->slots_missing));
    json_object_set_new(out, "slots_waiting", json_u64(c->slots_waiting));
    return out;
}

static json_t *json_pools(const MapInfo *info)
{
    json_t *out = json_array();
    for (size_t i = 0; i < info->n_pools; i++) {
        const PoolInfo *p = info->pools[i];
        json_array_append_new(
            out, json_pack("{s:i, s:s, s:i, s:i, s:i, s:s, s:b, s:i}", "id", (int)p->id, "name",
                           p->name, "k", (int)p->k, "m", (int)p->m, "cell", (int)p->cell,
                           "failure_domain", failure_domain_name(p->failure_domain), "assigned",
                           p->assigned, "pgs", p->assigned ? 1 << p->pg_bits : 0));
    }
    return out;
}

static json_t *json_usage(const StatusInfo *s)
{
    json_t *out = json_object();
    json_object_set_new(out, "buckets", json_u64(s->buckets));
    json_object_set_new(out, "objects", json_u64(s->objects));
    json_object_set_new(out, "bytes", json_u64(s->bytes));
    json_object_set_new(out, "users", json_u64(s->users));
    return out;
}

static void print_json(struct cluster_view *v, const struct health *h)
{
    const struct cluster_facts *f = &v->facts;
    json_t *findings = json_array(), *out;
    for (size_t i = 0; i < h->count; i++)
        json_array_append_new(
            findings,
            json_pack("{s:s, s:s, s:s, s:s}", "code", health_name(h->findings[i].code), "level",
                      health_level_name(health_level(h->findings[i].code)), "text",
                      h->findings[i].text, "advice", health_advice(h->findings[i].code)));
    out = json_pack("{s:s, s:o}", "health", health_level_name(h->level), "findings", findings);
    if (f->members) {
        json_object_set_new(
            out, "cluster",
            json_string(view_hex(v, f->members->cluster.data, f->members->cluster.len)));
        json_object_set_new(out, "metadata", json_metadata(f, h));
    }
    if (f->info) {
        json_object_set_new(out, "epoch", json_u64(f->info->epoch));
        json_object_set_new(out, "disks", json_disks(f));
        json_object_set_new(out, "pools", json_pools(f->info));
        json_object_set_new(out, "pgs", json_groups(h));
    }
    if (f->status) {
        json_object_set_new(out, "repair_rows", json_u64(f->status->repair_rows));
        json_object_set_new(out, "due_rows", json_u64(f->status->due_rows));
        json_object_set_new(out, "usage", json_usage(f->status));
    }
    cli_print_json(out);
}

int verb_status(struct cli *cli, int argc, char **argv)
{
    struct cluster_view v;
    struct health health;
    int status = cli_options_only(cli, NULL, argc, argv);
    if (status)
        return status;
    status = view_open(cli, &v);
    if (!status) {
        view_judge(&v, &health);
        if (cli->json)
            print_json(&v, &health);
        else
            print_people(&v, &health);
        status = health.level == HEALTH_ERR ? CLI_FAILED : CLI_OK;
    }
    view_close(&v);
    return status;
}
