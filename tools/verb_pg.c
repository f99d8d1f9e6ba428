/* `cairn pg ..` and `cairn pool list`: where placement groups lie. */
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "tools/verb_view.h"
#include "tools/verbs.h"

static const char *number(struct cluster_view *v, uint64_t n)
{
    return arena_format(&v->arena, "%llu", (unsigned long long)n);
}

static int open_map(struct cli *cli, struct cluster_view *v)
{
    int status = view_open(cli, v);
    if (!status)
        status = view_need_map(v);
    if (status)
        view_close(v);
    return status;
}

static int no_pool(const struct cluster_view *v, const char *text)
{
    for (size_t i = 0; i < v->facts.info->n_pools; i++)
        if (strcmp(v->facts.info->pools[i]->name, text) == 0)
            return cli_failed("pool %s has no placement groups yet: it needs k+m disks that are in",
                              text);
    return cli_failed("there is no pool \"%.60s\": see cairn pool list", text);
}

/* ---- pool list ---- */

static int run_pools(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"id",   "name",   "data", "parity",
                                          "cell", "domain", "pgs",  NULL};
    struct cluster_view v;
    int status = cli_options_only(cli, NULL, argc, argv);
    if (!status)
        status = open_map(cli, &v);
    if (status)
        return status;
    struct cli_table *table = cli_table_new(columns);
    for (size_t i = 0; i < v.facts.info->n_pools; i++) {
        const PoolInfo *p = v.facts.info->pools[i];
        cli_table_row(table, (const char *const[]){number(&v, p->id), p->name, number(&v, p->k),
                                                   number(&v, p->m), number(&v, p->cell),
                                                   failure_domain_name(p->failure_domain),
                                                   number(&v, p->assigned ? 1u << p->pg_bits : 0)});
    }
    cli_table_print(cli, table);
    cli_table_free(table);
    view_close(&v);
    return status;
}

/* ---- pg list ---- */

/* "3 5 8>1 2": a slot's holders newest first, joined by "<": 3<7 moves from 7 to 3. */
static const char *slots_text(struct cluster_view *v, const struct cluster_pool *pool, uint32_t pg)
{
    char text[POOL_SLOTS_MAX * SLOT_HOLDERS_MAX * 12 + 1];
    size_t n = 0;
    text[0] = 0;
    for (unsigned i = 0; i < pool_width(pool); i++) {
        const struct pg_slot *slot = pool_slot(pool, pg, i);
        n += (size_t)snprintf(text + n, sizeof text - n, i ? " " : "");
        for (unsigned h = 0; h < slot->count; h++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%u", h ? "<" : "",
                                  slot->holders[h].disk);
        if (!slot->count)
            n += (size_t)snprintf(text + n, sizeof text - n, "-");
    }
    return arena_string(&v->arena, text);
}

static void list_pool(struct cluster_view *v, const struct cluster_pool *pool, bool only_unwell,
                      struct cli_table *table)
{
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
        enum pg_condition c = pg_condition(v->map, pool, pg);
        unsigned moving = 0, missing = 0;
        if (only_unwell && c == PG_WHOLE)
            continue;
        for (unsigned i = 0; i < pool_width(pool); i++) {
            const struct pg_slot *slot = pool_slot(pool, pg, i);
            moving += slot->count > 1;
            missing += slot_condition(v->map, slot) == SLOT_MISSING;
        }
        cli_table_row(table, (const char *const[]){
                                 arena_format(&v->arena, "%s/%u", pool->name, pg),
                                 pg_condition_name(c), number(v, moving), number(v, missing),
                                 number(v, pg_primary(v->map, pool, pg)), slots_text(v, pool, pg)});
    }
}

static int run_list(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"pg",      "state", "moving", "missing",
                                          "primary", "slots", NULL};
    const char *name = NULL;
    bool unwell = false;
    const struct cli_option options[] = {
        {"pool", CLI_TEXT, &name}, {"unwell", CLI_FLAG, &unwell}, {0}};
    struct cluster_view v;
    const struct cluster_pool *pool = NULL;
    int status = cli_options_only(cli, options, argc, argv);
    if (!status)
        status = open_map(cli, &v);
    if (status)
        return status;
    if (name && !(pool = view_pool(&v, name)))
        status = no_pool(&v, name);
    if (!status) {
        struct cli_table *table = cli_table_new(columns);
        for (size_t i = 0; i < v.map->pool_count; i++)
            if (!pool || pool == &v.map->pools[i])
                list_pool(&v, &v.map->pools[i], unwell, table);
        cli_table_print(cli, table);
        cli_table_free(table);
    }
    view_close(&v);
    return status;
}

/* ---- pg show ---- */

static void show_slot(struct cluster_view *v, const struct cluster_pool *pool, uint32_t pg,
                      unsigned index, struct cli_table *table)
{
    const struct pg_slot *slot = pool_slot(pool, pg, index);
    for (unsigned h = 0; h < slot->count; h++) {
        const struct cluster_disk *d = cluster_map_disk(v->map, slot->holders[h].disk);
        cli_table_row(
            table, (const char *const[]){number(v, index), index < pool->k ? "data" : "parity",
                                         slot_condition_name(slot_condition(v->map, slot)),
                                         h ? "leaving" : "newest", number(v, slot->holders[h].disk),
                                         number(v, slot->holders[h].since_epoch), d ? d->host : "-",
                                         !d      ? "gone"
                                         : d->up ? "up"
                                                 : "down",
                                         d ? view_admin_name(d->admin) : "-"});
    }
}

static int run_show(struct cli *cli, int argc, char **argv)
{
    static const char *const columns[] = {"slot",  "holds", "condition", "holder", "disk",
                                          "since", "host",  "up",        "state",  NULL};
    struct cluster_view v;
    char name[CLUSTER_NAME_MAX + 1];
    uint64_t pg = 0;
    int status = cli_options(cli, NULL, &argc, argv);
    if (!status && argc != 1)
        status = cli_usage(cli, "which placement group? for example standard/17");
    if (status)
        return status;
    const char *slash = strrchr(argv[0], '/');
    if (!slash || slash == argv[0] || (size_t)(slash - argv[0]) >= sizeof name ||
        decimal_parse(slash + 1, strlen(slash + 1), &pg))
        return cli_usage(cli, "\"%.60s\" is not POOL/PG, for example standard/17", argv[0]);
    memcpy(name, argv[0], (size_t)(slash - argv[0]));
    name[slash - argv[0]] = 0;
    status = open_map(cli, &v);
    if (status)
        return status;
    const struct cluster_pool *pool = view_pool(&v, name);
    if (!pool)
        status = no_pool(&v, name);
    else if (pg >= pool_pg_count(pool))
        status = cli_failed("pool %s has the placement groups 0 to %u", pool->name,
                            pool_pg_count(pool) - 1);
    if (!status) {
        struct cli_table *table = cli_table_new(columns);
        for (unsigned i = 0; i < pool_width(pool); i++)
            show_slot(&v, pool, (uint32_t)pg, i, table);
        if (!cli->json)
            printf("%s/%u is %s, primary %u, epoch %llu\n\n", pool->name, (uint32_t)pg,
                   pg_condition_name(pg_condition(v.map, pool, (uint32_t)pg)),
                   pg_primary(v.map, pool, (uint32_t)pg), (unsigned long long)v.map->epoch);
        cli_table_print(cli, table);
        cli_table_free(table);
    }
    view_close(&v);
    return status;
}

const struct cli_verb pool_verbs[] = {
    {"list", "", "Show the pools", NULL, run_pools, NULL},
    {0},
};

const struct cli_verb pg_verbs[] = {
    {"list", "[--pool POOL] [--unwell]", "Show the placement groups and their disks",
     "slots: the disk of each slot; 3<7 is a slot on its way from disk 7 to disk 3. missing: "
     "slots\n"
     "some of whose shards may be out of reach. --unwell leaves out those that are whole.\n",
     run_list, NULL},
    {"show", "POOL/PG", "Show one placement group, holder by holder", NULL, run_show, NULL},
    {0},
};
