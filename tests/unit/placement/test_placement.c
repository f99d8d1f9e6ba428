/* The cluster map, straw2 and the planner: committed vectors and properties over many trees. */
#include <stdio.h>
#include "tests/unit/suite.h"
#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "placement/planner.h"
#include "placement/straw2.h"

static uint64_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return xxh64(state, sizeof *state, 0);
}

static void add_disk(struct cluster_map *map, disk_id id, unsigned zone, unsigned host,
                     uint32_t weight)
{
    struct cluster_disk d = {.id = id, .weight = weight, .admin = DISK_IN, .up = true};
    snprintf(d.zone, sizeof d.zone, "z%u", zone);
    snprintf(d.rack, sizeof d.rack, "r%u", zone);
    snprintf(d.host, sizeof d.host, "h%u", host);
    CHECK_OK(cluster_map_put_disk(map, &d));
}

static const struct cluster_pool *add_pool(struct cluster_map *map, uint32_t id, uint8_t k,
                                           uint8_t m, enum failure_domain domain, uint8_t bits)
{
    struct cluster_pool pool = {
        .id = id, .k = k, .m = m, .pg_bits = bits, .cell_bytes = 65536, .domain = domain};
    snprintf(pool.name, sizeof pool.name, "p%u", id);
    CHECK_OK(cluster_map_put_pool(map, &pool));
    return cluster_map_pool(map, id);
}

/* Plans, carries out and ends every move; the number of moves. */
static size_t settle(struct cluster_map *map, uint32_t pool_id, struct planner_report *report)
{
    struct planner_move *moves;
    size_t count;
    CHECK_OK(planner_plan(map, pool_id, &moves, &count, report));
    CHECK_OK(planner_carry_out(map, moves, count, map->epoch + 1));
    sys_free(moves);
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++)
        for (unsigned s = 0; s < pool_width(pool); s++) {
            struct pg_slot *slot = pool_slot(pool, pg, s);
            if (slot->count > 0)
                CHECK_OK(slot_finish(slot, slot_newest(slot), slot_since(slot)));
        }
    return count;
}

/* Every PG: k+m different disks that are in, no domain above most; counts within one of ideal. */
static void check_table(const struct cluster_map *map, uint32_t pool_id, unsigned most, bool even)
{
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    uint64_t *ideal = sys_alloc(map->disk_count * sizeof *ideal);
    int64_t *count = sys_alloc(map->disk_count * sizeof *count);
    CHECK_OK(planner_ideal(map, pool_id, ideal));
    bool distinct = true, placed = true, apart = true, close = true;
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
        disk_id acting[POOL_SLOTS_MAX];
        unsigned n = pg_acting(pool, pg, acting);
        for (unsigned i = 0; i < n; i++) {
            const struct cluster_disk *a = cluster_map_disk(map, acting[i]);
            unsigned shared = 0;
            placed = placed && a != NULL && a->admin == DISK_IN;
            for (unsigned j = 0; a != NULL && j < n; j++) {
                const struct cluster_disk *b = cluster_map_disk(map, acting[j]);
                distinct = distinct && (i == j || a != b);
                shared += b != NULL &&
                          (pool->domain == DOMAIN_DISK
                               ? a == b
                               : strcmp(a->zone, b->zone) == 0 && (pool->domain == DOMAIN_ZONE ||
                                                                   strcmp(a->host, b->host) == 0));
            }
            apart = apart && shared <= most;
            if (a != NULL)
                count[a - map->disks]++;
        }
    }
    for (size_t i = 0; i < map->disk_count; i++) {
        int64_t off = count[i] * 65536 - (int64_t)ideal[i];
        close = close && off <= 65536 + 64 && off >= -65536 - 64;
    }
    CHECK(placed);
    CHECK(distinct);
    CHECK(apart);
    CHECK(close || !even);
    sys_free(ideal);
    sys_free(count);
}

static void vectors(void)
{
    CHECK_EQ(straw2_log(UINT64_MAX), 0);
    CHECK_EQ(straw2_log(0), INT64_C(64) << 40);
    CHECK_EQ(straw2_log((UINT64_C(1) << 63) - 1), INT64_C(1) << 40);
    CHECK_EQ(straw2_log(UINT64_C(0x123456789abcdef0)), 4193298610996);
    CHECK_EQ(straw2_cost(1, 2, 3), 23424848149697877);
    struct chunk_id chunk = {.sequence = 7};
    for (int i = 0; i < WRITE_ID_BYTES; i++)
        chunk.write.bytes[i] = (uint8_t)i;
    CHECK_EQ(chunk_hash(&chunk), (int64_t)UINT64_C(0x583cbaa73c8f7c2d));
    CHECK_EQ(pg_of_hash(UINT64_C(0xffe0000000000000), 8), 0xff);
    CHECK_EQ(pg_of_hash(UINT64_MAX, 0), 0);
    uint64_t first, last;
    pg_hash_range(3, 2, &first, &last);
    CHECK(first == UINT64_C(0xc000000000000000) && last == UINT64_MAX);
    CHECK_EQ(pool_default_pg_bits(8, 6), 7);
    CHECK_EQ(pool_default_pg_bits(1, 40), 3);
    CHECK_EQ(pool_default_pg_bits(4096, 6), 9);
    /* A whole table, as one number. */
    struct cluster_map *map = cluster_map_new();
    for (disk_id d = 1; d <= 12; d++)
        add_disk(map, d, 1, d / 2, 100 + d);
    const struct cluster_pool *pool = add_pool(map, 1, 4, 2, DOMAIN_HOST, 6);
    struct planner_report report;
    settle(map, 1, &report);
    uint64_t hash = 0;
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++)
        for (unsigned s = 0; s < 6; s++) {
            uint8_t id = (uint8_t)slot_newest(pool_slot(pool, pg, s));
            hash = xxh64(&id, 1, hash);
        }
    CHECK_EQ(hash, (int64_t)UINT64_C(6562913840990734790));
    cluster_map_free(map);
}

/* Frequencies follow weights; a disk that joins takes only its share and nothing else moves. */
static void straw_movement(void)
{
    struct straw2_item items[11];
    unsigned won[11] = {0}, moved = 0, strayed = 0;
    uint64_t weights = 0;
    for (unsigned i = 0; i < 11; i++) {
        items[i] = (struct straw2_item){.id = i + 1, .weight = 100 * (1 + i % 4)};
        weights += i < 10 ? items[i].weight : 0;
    }
    enum { DRAWS = 40000 };
    for (uint64_t key = 0; key < DRAWS; key++) {
        int before = straw2_choose(key, items, 10), after = straw2_choose(key, items, 11);
        won[before]++;
        moved += before != after;
        strayed += before != after && after != 10;
    }
    for (unsigned i = 0; i < 10; i++) {
        double want = (double)DRAWS * items[i].weight / (double)weights;
        CHECK(won[i] > want * 0.93 && won[i] < want * 1.07);
    }
    double share = (double)DRAWS * items[10].weight / (double)(weights + items[10].weight);
    CHECK_EQ(strayed, 0);
    CHECK(moved > share * 0.93 && moved < share * 1.07);
}

static void slots(void)
{
    struct cluster_map *map = cluster_map_new();
    struct pg_slot slot = {0};
    for (disk_id d = 1; d <= 9; d++)
        add_disk(map, d, 1, d, 10);
    CHECK_OK(slot_push(map, &slot, 1, 5));
    CHECK_ERR(slot_push(map, &slot, 2, 5), ERR_INVALID);
    CHECK_OK(slot_push(map, &slot, 2, 6));
    CHECK_OK(slot_push(map, &slot, 1, 7)); /* cancel: 1 again, 2 stays a source */
    CHECK(slot.count == 2 && slot_newest(&slot) == 1 && slot.holders[1].disk == 2);
    CHECK_ERR(slot_finish(&slot, 1, 5), ERR_MISMATCH); /* a late end of the earlier time */
    CHECK_ERR(slot_finish(&slot, 2, 6), ERR_MISMATCH);
    CHECK_EQ(slot.count, 2);
    for (disk_id d = 3; d <= 8; d++)
        CHECK_OK(slot_push(map, &slot, d, 10 + d));
    CHECK_ERR(slot_push(map, &slot, 9, 30), ERR_BUSY);
    CHECK_EQ(slot.count, 8);
    cluster_map_disk_mutable(map, 4)->admin = DISK_FAILED;
    CHECK_OK(slot_push(map, &slot, 9, 30));
    CHECK(!slot_has_holder(&slot, 4));
    CHECK_OK(slot_finish(&slot, 9, 30));
    CHECK(slot.count == 1 && slot_newest(&slot) == 9);
    cluster_map_free(map);
}

static void primaries(void)
{
    struct cluster_map *map = cluster_map_new();
    for (disk_id d = 1; d <= 6; d++)
        add_disk(map, d, 1, d, 10);
    const struct cluster_pool *pool = add_pool(map, 1, 4, 2, DOMAIN_DISK, 3);
    CHECK_EQ(pg_primary(map, pool, 0), 0);
    settle(map, 1, NULL);
    disk_id acting[POOL_SLOTS_MAX];
    pg_acting(pool, 5, acting);
    CHECK_EQ(pg_primary(map, pool, 5), acting[0]);
    cluster_map_disk_mutable(map, acting[0])->up = false;
    CHECK_EQ(pg_primary(map, pool, 5), acting[1]);
    cluster_map_free(map);
}

/* Too few disks: PGs wait, then are assigned; a table for a pool without one. */
static void waits_for_disks(void)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_report report;
    disk_id *table;
    size_t count;
    for (disk_id d = 1; d <= 5; d++)
        add_disk(map, d, 1, d, 10);
    add_pool(map, 1, 4, 2, DOMAIN_HOST, 0);
    CHECK_EQ(settle(map, 1, &report), 0);
    CHECK_EQ(report.unassigned_slots, 6);
    CHECK_ERR(planner_table(map, 1, 4, &table, &count, NULL), ERR_UNAVAILABLE);
    add_disk(map, 6, 1, 6, 10);
    CHECK_OK(planner_table(map, 1, 4, &table, &count, &report));
    CHECK_EQ(count, 16 * 6);
    CHECK(report.even && report.most_per_domain == 1);
    sys_free(table);
    struct cluster_pool spec = *cluster_map_pool(map, 1);
    spec.pg_bits = 4;
    CHECK_OK(cluster_map_put_pool(map, &spec));
    settle(map, 1, &report);
    check_table(map, 1, 1, true);
    CHECK_ERR(planner_table(map, 1, 4, &table, &count, NULL), ERR_EXISTS);
    spec.pg_bits = 5;
    CHECK_ERR(cluster_map_put_pool(map, &spec), ERR_INVALID);
    cluster_map_free(map);
}

/* 3 .. 40 disks, several shapes: distinct, even, and only about the ideal share moves. */
static void one_tree(unsigned disks, unsigned per_host, uint8_t k, uint8_t m, bool mixed)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_report report;
    enum failure_domain domain = per_host > 1 ? DOMAIN_HOST : DOMAIN_DISK;
    for (disk_id d = 1; d <= disks; d++)
        add_disk(map, d, 1, (d - 1) / per_host, mixed ? 100 + 50 * (d % 3) : 100);
    const struct cluster_pool *pool =
        add_pool(map, 3, k, m, domain, pool_default_pg_bits(disks, k + m));
    size_t slots_total = (size_t)pool_pg_count(pool) * pool_width(pool);
    CHECK_EQ(settle(map, 3, &report), slots_total);
    CHECK(report.even);
    check_table(map, 3, report.most_per_domain, true);
    unsigned hosts = (disks + per_host - 1) / per_host;
    if (hosts >= pool_width(pool))
        CHECK_EQ(report.most_per_domain, 1);
    CHECK_EQ(settle(map, 3, &report), 0); /* at rest nothing moves */

    /* A new disk on a host of its own takes its ideal and no more than a little else moves. */
    add_disk(map, disks + 1, 1, 1000, 100);
    uint64_t *ideal = sys_alloc((disks + 1) * sizeof *ideal);
    CHECK_OK(planner_ideal(map, 3, ideal));
    size_t share = (size_t)(ideal[disks] >> 16) + 1;
    size_t moved = settle(map, 3, &report);
    CHECK(moved <= share + share / 4 + disks + 1);
    check_table(map, 3, report.most_per_domain, report.even);

    /* It fails: its slots move, and few others. */
    size_t held = 0;
    for (size_t i = 0; i < slots_total; i++)
        held += slot_newest(&pool->slots[i]) == disks + 1;
    cluster_map_disk_mutable(map, disks + 1)->admin = DISK_FAILED;
    moved = settle(map, 3, &report);
    CHECK(moved >= held && moved <= held + held / 4 + disks + 1);
    CHECK(report.stranded_slots == 0 && report.even);
    check_table(map, 3, report.most_per_domain, true);
    sys_free(ideal);
    cluster_map_free(map);
}

static void trees(void)
{
    for (unsigned disks = 3; disks <= 40; disks += disks < 12 ? 1 : 7) {
        if (disks >= 6)
            one_tree(disks, 1, 4, 2, false);
        one_tree(disks, 1, 1, 2, true);
        one_tree(disks, 2, 2, 1, false);
        if (disks >= 12)
            one_tree(disks, 2, 4, 2, true);
        if (disks >= 18)
            one_tree(disks, 4, 4, 2, false);
    }
}

/* 4+2 on three zones: two each, never three. */
static void three_zones(void)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_report report;
    for (disk_id d = 1; d <= 12; d++)
        add_disk(map, d, d % 3, d, 100);
    add_pool(map, 1, 4, 2, DOMAIN_ZONE, 6);
    settle(map, 1, &report);
    CHECK_EQ(report.domains, 3);
    CHECK_EQ(report.most_per_domain, 2);
    check_table(map, 1, 2, true);
    cluster_map_free(map);
}

/* Six disks, 4+2, one out: nowhere to go; told, and healed when a disk comes. */
static void stranded(void)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_report report;
    for (disk_id d = 1; d <= 6; d++)
        add_disk(map, d, 1, d, 100);
    const struct cluster_pool *pool = add_pool(map, 1, 4, 2, DOMAIN_DISK, 4);
    settle(map, 1, &report);
    cluster_map_disk_mutable(map, 2)->admin = DISK_OUT;
    CHECK_EQ(settle(map, 1, &report), 0);
    CHECK_EQ(report.stranded_slots, 16);
    add_disk(map, 7, 1, 7, 100);
    CHECK_EQ(settle(map, 1, &report), 16);
    for (uint32_t pg = 0; pg < 16; pg++)
        for (unsigned s = 0; s < 6; s++)
            CHECK(slot_newest(pool_slot(pool, pg, s)) != 2);
    cluster_map_free(map);
}

/* A disk returns before its moves are over: what is on its way goes back to it. */
static void returns(void)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_move *moves;
    size_t count;
    for (disk_id d = 1; d <= 8; d++)
        add_disk(map, d, 1, d, 100);
    const struct cluster_pool *pool = add_pool(map, 1, 4, 2, DOMAIN_DISK, 6);
    settle(map, 1, NULL);
    cluster_map_disk_mutable(map, 3)->admin = DISK_OUT;
    CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
    CHECK_OK(planner_carry_out(map, moves, count, map->epoch + 1));
    CHECK(count >= 40);
    sys_free(moves);
    cluster_map_disk_mutable(map, 3)->admin = DISK_IN;
    CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
    CHECK(count >= 40);
    for (size_t i = 0; i < count; i++)
        CHECK(moves[i].to != 3 || slot_has_holder(pool_slot(pool, moves[i].pg, moves[i].slot), 3) ||
              pool_slot(pool, moves[i].pg, moves[i].slot)->count == 1);
    CHECK_OK(planner_carry_out(map, moves, count, map->epoch + 1));
    sys_free(moves);
    check_table(map, 1, 1, true);
    CHECK(pool->slots[0].count >= 1);
    cluster_map_free(map);
}

/* A suspect disk gets stand-ins for all that it is the newest holder of, and no new slots; when it is well
 * again nearly everything goes back. Where no disk can take a slot, it stays. */
static void suspects(void)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_move *moves;
    size_t count, back = 0;
    for (disk_id d = 1; d <= 8; d++)
        add_disk(map, d, 1, d, 100);
    const struct cluster_pool *pool = add_pool(map, 1, 4, 2, DOMAIN_DISK, 6);
    settle(map, 1, NULL);
    cluster_map_disk_mutable(map, 3)->suspect = true;
    CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
    CHECK(count >= 40);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(moves[i].from, 3);
        CHECK(moves[i].to != 3);
        CHECK_EQ(moves[i].reason, MOVE_EVACUATE);
    }
    CHECK_OK(planner_carry_out(map, moves, count, map->epoch + 1));
    sys_free(moves);
    for (size_t i = 0; i < (size_t)pool_pg_count(pool) * pool_width(pool); i++)
        CHECK(slot_newest(&pool->slots[i]) != 3);
    CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
    CHECK_EQ(count, 0); /* and nothing is evened out towards it */
    cluster_map_disk_mutable(map, 3)->suspect = false;
    CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
    for (size_t i = 0; i < count; i++)
        back += moves[i].to == 3 && moves[i].reason == MOVE_BACK;
    CHECK(back >= 40 && back + 5 > count);
    sys_free(moves);
    /* Six disks for six slots. */
    for (disk_id d = 1; d <= 3; d++)
        cluster_map_disk_mutable(map, d)->suspect = true;
    CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
    for (size_t i = 0; i < count; i++)
        CHECK(moves[i].to > 3);
    CHECK_OK(planner_carry_out(map, moves, count, map->epoch + 1));
    sys_free(moves);
    check_table(map, 1, 1, false);
    cluster_map_free(map);
}

/* How many newest holders of the PG lie in the domain of this disk. */
static unsigned in_domain(const struct cluster_map *map, const disk_id *acting, unsigned width,
                          disk_id disk, enum failure_domain level)
{
    const struct cluster_disk *d = cluster_map_disk(map, disk);
    unsigned n = 0;
    for (unsigned i = 0; i < width; i++)
        n += cluster_disks_share(cluster_map_disk(map, acting[i]), d, level);
    return n;
}

/* Carries out some of the moves, drawn at random, one after the other: after each no disk has two slots of the
 * PG, and no domain more than before them or after all of them. Returns how many steps broke that. */
static size_t steps_that_crowd(const struct cluster_map *map, const struct cluster_pool *pool,
                               const struct planner_move *moves, size_t count, uint64_t *state)
{
    size_t broken = 0;
    unsigned width = pool_width(pool);
    for (size_t at = 0, end; at < count; at = end) {
        disk_id before[POOL_SLOTS_MAX], now[POOL_SLOTS_MAX], after[POOL_SLOTS_MAX];
        for (end = at; end < count && moves[end].pg == moves[at].pg; end++)
            continue;
        pg_acting(pool, moves[at].pg, before);
        memcpy(now, before, sizeof now);
        memcpy(after, before, sizeof after);
        for (size_t i = at; i < end; i++)
            after[moves[i].slot] = moves[i].to;
        for (size_t steps = 2 * (end - at); steps > 0; steps--) {
            const struct planner_move *m = &moves[at + next(state) % (end - at)];
            now[m->slot] = m->to;
            for (int level = DOMAIN_DISK; level <= DOMAIN_ZONE; level++) {
                enum failure_domain l = (enum failure_domain)level;
                unsigned had = in_domain(map, before, width, m->to, l);
                unsigned gets = in_domain(map, after, width, m->to, l);
                broken += in_domain(map, now, width, m->to, l) > (had > gets ? had : gets);
            }
        }
    }
    return broken;
}

/* Hosts come and go: whatever part of a plan has been carried out, no two slots of a PG share a host, if they did
 * not before and are not to. */
static void partly_carried_out(void)
{
    uint64_t state = suite_seed();
    size_t broken = 0, many = 0;
    for (int round = 0; round < 30; round++) {
        struct cluster_map *map = cluster_map_new();
        disk_id last = 14;
        for (disk_id d = 1; d <= last; d++)
            add_disk(map, d, d % 7 % 3, d % 7, 50 + (uint32_t)(next(&state) % 100));
        const struct cluster_pool *pool =
            add_pool(map, 1, 4, 2, round % 3 ? DOMAIN_HOST : DOMAIN_ZONE, 5);
        settle(map, 1, NULL);
        for (int step = 0; step < 12; step++) {
            struct planner_move *moves;
            size_t count;
            disk_id d = 1 + (disk_id)(next(&state) % last);
            unsigned host = (unsigned)(next(&state) % 9);
            if (next(&state) % 3 == 0)
                add_disk(map, ++last, host % 3, host, 100);
            else if (cluster_map_disk(map, d)->admin == DISK_IN)
                cluster_map_disk_mutable(map, d)->admin = DISK_OUT;
            else
                cluster_map_disk_mutable(map, d)->admin = DISK_IN;
            CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
            broken += steps_that_crowd(map, pool, moves, count, &state);
            for (size_t i = 1; i < count; i++)
                many += moves[i].pg == moves[i - 1].pg;
            sys_free(moves);
            settle(map, 1, NULL);
        }
        cluster_map_free(map);
    }
    CHECK_EQ(broken, 0);
    CHECK(many > 30); /* PGs of several moves were there to be broken */
}

/* Three hosts of three disks hold two slots of every PG each; nine more hosts come. One slot of each two leaves as
 * from a disk that is out, what only evens out does not, and when the former are done each is on a host of its own. */
static void crowded(void)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_move *moves;
    struct planner_report report;
    size_t count, left = 0;
    for (disk_id d = 1; d <= 9; d++)
        add_disk(map, d, 1, d % 3, 100);
    add_pool(map, 1, 4, 2, DOMAIN_HOST, 6);
    settle(map, 1, &report);
    CHECK_EQ(report.most_per_domain, 2);
    for (disk_id d = 10; d <= 36; d++)
        add_disk(map, d, 1, d % 9 + 3, 100);
    CHECK_OK(planner_plan(map, 1, &moves, &count, &report));
    CHECK_EQ(report.most_per_domain, 1);
    for (size_t i = 0; i < count; i++)
        if (moves[i].reason == MOVE_EVACUATE)
            moves[left++] = moves[i];
        else
            CHECK_EQ(moves[i].reason, MOVE_EVEN);
    CHECK_EQ(left, 3 * 64);
    CHECK(count > left + 32);
    CHECK_OK(planner_carry_out(map, moves, left, map->epoch + 1));
    sys_free(moves);
    check_table(map, 1, 1, false);
    CHECK_OK(planner_plan(map, 1, &moves, &count, NULL));
    for (size_t i = 0; i < count; i++)
        CHECK(moves[i].reason != MOVE_EVACUATE);
    sys_free(moves);
    cluster_map_free(map);
}

/* Six hosts, one slot each; one goes out, and others take its slots in. When it is back these leave again, and not
 * those beside them. */
static void crowded_host_returns(void)
{
    struct cluster_map *map = cluster_map_new();
    struct planner_move *moves;
    struct planner_report report;
    size_t count;
    for (disk_id d = 1; d <= 12; d++)
        add_disk(map, d, 1, d % 6, 100);
    const struct cluster_pool *pool = add_pool(map, 1, 4, 2, DOMAIN_HOST, 6);
    settle(map, 1, NULL);
    for (int pass = 0; pass < 2; pass++) {
        for (disk_id d = 1; d <= 7; d += 6)
            cluster_map_disk_mutable(map, d)->admin = pass ? DISK_IN : DISK_OUT;
        CHECK_OK(planner_plan(map, 1, &moves, &count, &report));
        CHECK_EQ(count, 64);
        for (size_t i = 0; i < count; i++) {
            const struct pg_slot *slot = pool_slot(pool, moves[i].pg, moves[i].slot);
            CHECK_EQ(moves[i].reason, MOVE_EVACUATE);
            CHECK(slot_has_holder(slot, moves[i].to) == (pass == 1));
        }
        CHECK_EQ(report.most_per_domain, pass ? 1 : 2);
        CHECK_OK(planner_carry_out(map, moves, count, map->epoch + 1));
        sys_free(moves);
    }
    check_table(map, 1, 1, true);
    cluster_map_free(map);
}

/* Random histories of disks that come, go, fail and return: P4 and distinctness always hold. */
static void histories(void)
{
    uint64_t state = suite_seed();
    for (int round = 0; round < 12; round++) {
        struct cluster_map *map = cluster_map_new();
        struct planner_report report;
        disk_id last = 9;
        for (disk_id d = 1; d <= last; d++)
            add_disk(map, d, 1, d % 7, 50 + (uint32_t)(next(&state) % 100));
        add_pool(map, 1, 4, 2, round % 2 ? DOMAIN_HOST : DOMAIN_DISK, 5);
        for (int step = 0; step < 15; step++) {
            disk_id d = 1 + (disk_id)(next(&state) % last);
            if (next(&state) % 4 == 0)
                add_disk(map, ++last, 1, (unsigned)(next(&state) % 9), 100);
            else if (cluster_map_disk(map, d)->admin == DISK_IN)
                cluster_map_disk_mutable(map, d)->admin = 1 + (enum disk_admin)(next(&state) % 3);
            else
                cluster_map_disk_mutable(map, d)->admin = DISK_IN;
            settle(map, 1, &report);
            if (report.unassigned_slots == 0 && report.stranded_slots == 0)
                check_table(map, 1, report.most_per_domain, report.even);
        }
        cluster_map_free(map);
    }
}

static const struct test tests[] = {{"vectors", vectors},
                                    {"straw movement", straw_movement},
                                    {"slots", slots},
                                    {"primaries", primaries},
                                    {"trees", trees},
                                    {"waits for disks", waits_for_disks},
                                    {"three zones", three_zones},
                                    {"stranded", stranded},
                                    {"returns", returns},
                                    {"suspects", suspects},
                                    {"partly carried out", partly_carried_out},
                                    {"crowded", crowded},
                                    {"crowded host returns", crowded_host_returns},
                                    {"histories", histories},
                                    {0}};
SUITE("placement", tests)
