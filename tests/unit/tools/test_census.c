/* What the map says about redundancy, the health drawn from it, and how a rebuild's progress is told:
 * on maps made by hand. */
#include <stdio.h>
#include "common/sys/sys.h"
#include "tests/unit/suite.h"
#include "tools/census.h"
#include "tools/health.h"
#include "tools/rebuild.h"

enum { DISKS = 5 };

/* One pool of 2+1 with two PGs on the disks 1 2 3 and 2 3 4; disk 5 is spare. */
static struct cluster_map *make_map(void)
{
    struct cluster_map *map = cluster_map_new();
    for (disk_id id = 1; id <= DISKS; id++) {
        struct cluster_disk d = {.id = id, .weight = 10, .admin = DISK_IN, .up = true};
        d.uuid.bytes[0] = (uint8_t)id;
        snprintf(d.host, sizeof d.host, "h%u", id);
        CHECK_OK(cluster_map_put_disk(map, &d));
    }
    struct cluster_pool pool = {
        .id = 1, .name = "p", .k = 2, .m = 1, .pg_bits = 1, .cell_bytes = 65536};
    CHECK_OK(cluster_map_put_pool(map, &pool));
    for (uint32_t pg = 0; pg < 2; pg++)
        for (unsigned i = 0; i < 3; i++)
            CHECK_OK(slot_push(map, pool_slot(cluster_map_pool(map, 1), pg, i), pg + i + 1, 2));
    map->epoch = 2;
    return map;
}

static void push(struct cluster_map *map, uint32_t pg, unsigned slot, disk_id disk)
{
    CHECK_OK(slot_push(map, pool_slot(cluster_map_pool(map, 1), pg, slot), disk, ++map->epoch));
}

static void conditions(void)
{
    struct cluster_map *map = make_map();
    const struct cluster_pool *pool = cluster_map_pool(map, 1);
    struct census c;
    census_take(map, &c);
    CHECK_EQ(c.pgs[PG_WHOLE], 2);
    CHECK_EQ(c.slot_count, 6);
    push(map, 0, 0, 4); /* 4<1, both up: nothing is missing */
    CHECK_EQ(pg_condition(map, pool, 0), PG_MOVES);
    cluster_map_disk_mutable(map, 1)->up = false; /* what only 1 had is out of reach */
    CHECK_EQ(pg_condition(map, pool, 0), PG_IS_DEGRADED);
    CHECK_EQ(slot_condition(map, pool_slot(pool, 0, 0)), SLOT_MISSING);
    cluster_map_disk_mutable(map, 2)->admin = DISK_FAILED;
    CHECK_EQ(pg_condition(map, pool, 0), PG_IS_UNAVAILABLE);
    CHECK_EQ(pg_condition(map, pool, 1), PG_IS_DEGRADED);
    census_take(map, &c);
    CHECK_EQ(c.slots_moving, 1);
    CHECK_EQ(c.slots_missing, 3);
    CHECK_EQ(c.slots_waiting, 2); /* both slots of disk 2 */
    CHECK_EQ(c.slots_down, 0);    /* disk 1 is only the older holder */
    cluster_map_free(map);
}

static void failing_a_disk_can_lose(void)
{
    struct cluster_map *map = make_map();
    CHECK_EQ(census_lost_without(map, 2), 0);
    cluster_map_disk_mutable(map, 1)->up = false;
    CHECK_EQ(census_lost_without(map, 2), 1); /* PG 0 would miss 1 and 2 */
    CHECK_EQ(census_lost_without(map, 4), 0);
    CHECK_EQ(census_lost_without(map, 5), 0); /* holds nothing */
    push(map, 1, 2, 5);                       /* 5<4: either may have what the other lacks */
    CHECK_EQ(census_disk(map, 5).newest, 1);
    CHECK_EQ(census_disk(map, 4).leaving, 1);
    CHECK_EQ(census_disk(map, 4).newest, 0);
    cluster_map_disk_mutable(map, 3)->up = false;
    CHECK_EQ(census_lost_without(map, 4), 1);
    cluster_map_free(map);
}

/* ---- health ---- */

struct world {
    struct cluster_facts facts;
    Members members;
    MemberInfo info[3], *member_list[3];
    MapInfo map_info;
    DiskInfo disks[DISKS], *disk_list[DISKS];
    PoolInfo pool, *pool_list[1];
    Reports reports;
    Heartbeat heartbeat, *heartbeats[1];
    DiskReport report[DISKS], *report_list[DISKS];
    StatusInfo status;
    struct cluster_map *map;
};

static void make_world(struct world *w)
{
    static char name[] = "p", address[] = "a";
    memset(w, 0, sizeof *w);
    members__init(&w->members);
    for (size_t i = 0; i < 3; i++) {
        member_info__init(&w->info[i]);
        w->info[i].id = i + 1;
        w->info[i].voter = true;
        w->info[i].address = address;
        w->member_list[i] = &w->info[i];
    }
    w->members.n_members = 3;
    w->members.members = w->member_list;
    w->members.leader = 1;
    map_info__init(&w->map_info);
    heartbeat__init(&w->heartbeat);
    for (size_t i = 0; i < DISKS; i++) {
        disk_info__init(&w->disks[i]);
        w->disks[i].id = (uint32_t)i + 1;
        w->disks[i].up = true;
        w->disk_list[i] = &w->disks[i];
        disk_report__init(&w->report[i]);
        w->report[i].id = (uint32_t)i + 1;
        w->report[i].capacity_bytes = 1000000;
        w->report[i].free_bytes = 900000;
        w->report_list[i] = &w->report[i];
    }
    w->map_info.n_disks = w->heartbeat.n_disks = DISKS;
    w->map_info.disks = w->disk_list;
    w->heartbeat.disks = w->report_list;
    pool_info__init(&w->pool);
    w->pool.name = name;
    w->pool.assigned = true;
    w->pool_list[0] = &w->pool;
    w->map_info.n_pools = 1;
    w->map_info.pools = w->pool_list;
    reports__init(&w->reports);
    w->heartbeats[0] = &w->heartbeat;
    w->reports.n_heartbeats = 1;
    w->reports.heartbeats = w->heartbeats;
    status_info__init(&w->status);
    w->map = make_map();
    w->facts = (struct cluster_facts){.members = &w->members,
                                      .info = &w->map_info,
                                      .map = w->map,
                                      .reports = &w->reports,
                                      .status = &w->status};
}

static void all_is_well(void)
{
    struct world w;
    struct health h;
    make_world(&w);
    health_judge(&w.facts, &h);
    CHECK_EQ(h.count, 0);
    CHECK_EQ(h.level, HEALTH_OK);
    CHECK_EQ(health_tolerates(&h), 1);
    cluster_map_free(w.map);
}

static void every_finding_has_its_name(void)
{
    struct world w;
    struct health h;
    make_world(&w);
    w.facts.member_answers[2] = ERR_REFUSED;
    w.disks[0].up = false;
    cluster_map_disk_mutable(w.map, 1)->up = false;
    w.disks[4].admin_state = DISK_FAILED;
    w.report[1].mark = DISK_MARK_FULL;
    w.report[2].mark = DISK_MARK_NEARFULL;
    w.report[3].corrupt = 2;
    w.report[3].mark = DISK_MARK_BACKFILLFULL;
    w.report[3].indexing = true;
    w.report[3].scrub_late = true;
    w.status.repair_rows = 7;
    push(w.map, 1, 2, 5);
    health_judge(&w.facts, &h);
    static const enum health_code want[] = {
        HEALTH_CODE_DISK_FULL,      HEALTH_CODE_METADATA_MEMBER_UNREACHABLE,
        HEALTH_CODE_DISK_DOWN,      HEALTH_CODE_DISK_FAILED,
        HEALTH_CODE_DISK_NEARFULL,  HEALTH_CODE_DISK_BACKFILLFULL,
        HEALTH_CODE_DISK_INDEXING,  HEALTH_CODE_SCRUB_LATE,
        HEALTH_CODE_CORRUPT_SHARDS, HEALTH_CODE_PG_DEGRADED,
        HEALTH_CODE_PG_MOVING,      HEALTH_CODE_REPAIR_PENDING,
    };
    CHECK_EQ(h.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < h.count && i < sizeof want / sizeof *want; i++)
        CHECK_TEXT(health_name(h.findings[i].code), health_name(want[i]));
    CHECK_EQ(h.level, HEALTH_ERR);
    CHECK_TEXT(h.findings[2].text, "disk 1 down");
    CHECK_EQ(health_tolerates(&h), 0);
    cluster_map_free(w.map);
}

/* A disk that came back after it had been taken out; shards of one group on one host, more than may be lost. */
static void out_and_together(void)
{
    struct world w;
    struct health h;
    make_world(&w);
    w.disks[2].admin_state = DISK_OUT;
    w.disks[3].admin_state = DISK_OUT;
    w.disks[3].up = false;
    w.map->pools[0].domain = DOMAIN_HOST;
    CHECK_EQ(census_most_together(w.map, cluster_map_pool(w.map, 1)), 1);
    snprintf(cluster_map_disk_mutable(w.map, 2)->host, 8, "h4");
    CHECK_EQ(census_most_together(w.map, cluster_map_pool(w.map, 1)), 2);
    health_judge(&w.facts, &h);
    CHECK_EQ(h.count, 3);
    CHECK_TEXT(h.findings[0].text, "disk 4 down");
    CHECK_TEXT(h.findings[1].text, "disk 3 up, and still out");
    CHECK_TEXT(h.findings[2].text,
               "pool p (2 of 3 shards in one host, 1 may be lost) would not survive "
               "the loss of one failure domain");
    w.map->pools[0].domain = DOMAIN_DISK;
    health_judge(&w.facts, &h);
    CHECK_EQ(h.count, 2);
    cluster_map_free(w.map);
}

/* What members tell one another, each with its name. */
static void members_tell(void)
{
    struct world w;
    struct health h;
    make_world(&w);
    w.info[0].disk_low = w.info[0].ballast_gone = true;
    w.info[0].disk_free_bytes = 12 << 20;
    w.info[1].stalled = true;
    w.info[2].clock_off = true;
    w.info[2].clock_offset_ns = -86400 * SYS_SECOND;
    w.members.clocks_disagree = true;
    w.members.time_held_ns = 60 * SYS_SECOND;
    health_judge(&w.facts, &h);
    static const enum health_code want[] = {
        HEALTH_CODE_METADATA_DISK_FULL,  HEALTH_CODE_METADATA_CLOCKS_DISAGREE,
        HEALTH_CODE_METADATA_DISK_HANGS, HEALTH_CODE_METADATA_CLOCK_OFF,
        HEALTH_CODE_METADATA_TIME_HELD,
    };
    CHECK_EQ(h.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < h.count && i < sizeof want / sizeof *want; i++)
        CHECK_TEXT(health_name(h.findings[i].code), health_name(want[i]));
    CHECK_EQ(h.level, HEALTH_ERR);
    CHECK_TEXT(h.findings[0].text,
               "metadata server a (12 MiB left, the ballast is gone) all but full");
    CHECK_TEXT(h.findings[3].text, "metadata server a (-86400.0 s) out of time with the others");
    cluster_map_free(w.map);
}

static void metadata_troubles(void)
{
    struct world w;
    struct health h;
    make_world(&w);
    w.members.n_members = 2;
    health_judge(&w.facts, &h);
    CHECK_EQ(h.count, 1);
    CHECK_EQ(h.findings[0].code, HEALTH_CODE_METADATA_TOLERATES_LESS);
    w.members.leader = 0;
    w.facts.member_answers[0] = ERR_TIMEOUT;
    health_judge(&w.facts, &h);
    CHECK_EQ(h.findings[0].code, HEALTH_CODE_METADATA_NO_LEADER);
    CHECK_EQ(health_tolerates(&h), -1);
    struct cluster_facts none = {.members_error = ERR_TIMEOUT};
    health_judge(&none, &h);
    CHECK_EQ(h.count, 1);
    CHECK_EQ(h.findings[0].code, HEALTH_CODE_METADATA_UNREACHABLE);
    CHECK_EQ(h.level, HEALTH_ERR);
    cluster_map_free(w.map);
}

static void many_names_are_cut(void)
{
    struct world w;
    struct health h;
    DiskInfo many[20], *list[20];
    make_world(&w);
    for (size_t i = 0; i < 20; i++) {
        disk_info__init(&many[i]);
        many[i].id = 4000 + (uint32_t)i;
        list[i] = &many[i];
    }
    w.map_info.n_disks = 20;
    w.map_info.disks = list;
    health_judge(&w.facts, &h);
    CHECK_EQ(h.count, 1);
    CHECK_TEXT(h.findings[0].text, "disks 4000, 4001, 4002, 4003, 4004, 4005 and 14 more down");
    cluster_map_free(w.map);
}

static void codes_are_described(void)
{
    for (enum health_code c = 0; c < HEALTH_CODES; c++) {
        CHECK(health_name(c)[0] >= 'A' && health_name(c)[0] <= 'Z');
        CHECK(strlen(health_advice(c)) > 20 && strchr(health_advice(c), '.'));
        CHECK(health_level(c) != HEALTH_OK);
    }
}

/* ---- rebuild ---- */

#define SECOND INT64_C(1000000000)

static void a_rebuild_goes_on(void)
{
    struct rebuild_progress p = {0};
    char words[REBUILD_WORDS];
    struct rebuild_look l = {.at = SECOND, .census = {.slots_waiting = 10, .slots_missing = 10}};
    CHECK(!rebuild_whole(&l) && !rebuild_waits(&l));
    rebuild_note(&p, &l);
    CHECK_EQ(p.permille, 0);
    CHECK_EQ(p.left_ns, -1);
    l = (struct rebuild_look){
        .at = 2 * SECOND, .census = {.slots_moving = 10, .slots_missing = 10}, .bytes = 1 << 20};
    rebuild_note(&p, &l);
    CHECK_EQ(p.permille, 0);
    CHECK_EQ(p.left_ns, -1);
    l.at += SECOND;
    l.census.slots_moving = 5;
    l.bytes = 2 << 20;
    rebuild_note(&p, &l);
    CHECK_EQ(p.permille, 499);
    CHECK(p.left_ns > 19 * SECOND / 10 && p.left_ns < 21 * SECOND / 10);
    CHECK_EQ(p.first_bytes, 0);
    CHECK(p.bytes_per_s > 1e6 && p.bytes_per_s < 1.1e6);
    rebuild_words(&l, &p, words);
    CHECK(strstr(words, "5 slots move") && strstr(words, "1.0 MiB/s") && strstr(words, "s left"));
    l = (struct rebuild_look){.at = 4 * SECOND};
    rebuild_note(&p, &l);
    CHECK(rebuild_whole(&l));
    CHECK_EQ(p.permille, 1000);
    CHECK_EQ(p.left_ns, 0);
}

static void a_disk_that_is_down_is_waited_for(void)
{
    struct rebuild_look l = {.census = {.slots_down = 3, .slots_missing = 3}};
    CHECK(rebuild_waits(&l) && !rebuild_whole(&l));
    l.census.slots_moving = 1;
    CHECK(!rebuild_waits(&l));
    l = (struct rebuild_look){.repair_rows = 1};
    CHECK(!rebuild_whole(&l) && !rebuild_waits(&l));
}

static const struct test tests[] = {
    {"conditions of slots and groups", conditions},
    {"failing a disk can lose", failing_a_disk_can_lose},
    {"all is well", all_is_well},
    {"every finding has its name", every_finding_has_its_name},
    {"metadata troubles", metadata_troubles},
    {"members tell of clocks and disks", members_tell},
    {"a disk that is still out, shards that lie together", out_and_together},
    {"many names are cut", many_names_are_cut},
    {"codes are described", codes_are_described},
    {"a rebuild goes on", a_rebuild_goes_on},
    {"a disk that is down is waited for", a_disk_that_is_down_is_waited_for},
    {0},
};
SUITE("census, health, rebuild", tests)
