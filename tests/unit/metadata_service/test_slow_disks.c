/* Which disks are called suspect, and for how long they have to be slow, or well, before. */
#include "metadata/slow_disks.h"
#include "tests/unit/suite.h"

enum { DISKS = 8 };
#define MS     INT64_C(1000000)
#define SECOND (1000 * MS)

struct scene {
    struct slow_disks slow;
    struct timeouts timeouts;
    struct disk_pace disks[DISKS];
    size_t count;
    int64_t now;
};

static void scene_init(struct scene *s, size_t count)
{
    *s = (struct scene){.count = count, .now = 1000 * SECOND};
    slow_disks_init(&s->slow);
    timeouts_default(&s->timeouts);
    for (size_t i = 0; i < count; i++)
        s->disks[i] = (struct disk_pace){.id = (disk_id)(i + 1), .pace_ns = 5 * MS};
}

/* Looks four times a second; the map follows what is said. How many disks are suspect then. */
static size_t after(struct scene *s, int64_t ns)
{
    struct disk_pace changed[DISKS];
    for (int64_t until = s->now + ns; s->now < until; s->now += 250 * MS) {
        size_t n = slow_disks_judge(&s->slow, &s->timeouts, s->now, s->disks, s->count, changed);
        for (size_t i = 0; i < n; i++)
            s->disks[changed[i].id - 1].suspect = changed[i].suspect;
    }
    size_t suspect = 0;
    for (size_t i = 0; i < s->count; i++)
        suspect += s->disks[i].suspect;
    return suspect;
}

static void one_is_slow(void)
{
    struct scene s;
    scene_init(&s, DISKS);
    CHECK_EQ(after(&s, 60 * SECOND), 0);
    s.disks[2].pace_ns = 200 * MS;
    CHECK_EQ(after(&s, 9 * SECOND), 0);
    CHECK_EQ(after(&s, 2 * SECOND), 1);
    CHECK(s.disks[2].suspect);
    CHECK_EQ(after(&s, 600 * SECOND), 1);
    s.disks[2].pace_ns = 5 * MS;
    CHECK_EQ(after(&s, 29 * SECOND), 1);
    CHECK_EQ(after(&s, 2 * SECOND), 0);
    slow_disks_release(&s.slow);
}

/* Neither a moment of it, nor one of what is not known. */
static void moments(void)
{
    struct scene s;
    scene_init(&s, DISKS);
    for (int i = 0; i < 20; i++) {
        s.disks[0].pace_ns = 900 * MS;
        CHECK_EQ(after(&s, 9 * SECOND), 0);
        s.disks[0].pace_ns = i % 2 ? 0 : 5 * MS;
        CHECK_EQ(after(&s, SECOND), 0);
    }
    s.disks[0].pace_ns = 900 * MS;
    CHECK_EQ(after(&s, 11 * SECOND), 1);
    for (int i = 0; i < 5; i++) {
        s.disks[0].pace_ns = 5 * MS;
        CHECK_EQ(after(&s, 29 * SECOND), 1);
        s.disks[0].pace_ns = i % 2 ? 0 : 900 * MS;
        CHECK_EQ(after(&s, SECOND), 1);
    }
    slow_disks_release(&s.slow);
}

/* Beside peers that are slow as well nobody is an outlier, nor is a disk that is merely the slowest. */
static void all_are_slow(void)
{
    struct scene s;
    scene_init(&s, DISKS);
    for (size_t i = 0; i < DISKS; i++)
        s.disks[i].pace_ns = 300 * MS + (int64_t)i * 20 * MS;
    CHECK_EQ(after(&s, 60 * SECOND), 0);
    s.disks[7].pace_ns = 1000 * MS;
    CHECK_EQ(after(&s, 60 * SECOND), 0);
    s.disks[7].pace_ns = 3000 * MS;
    CHECK_EQ(after(&s, 11 * SECOND), 1);
    /* All are quick: five times nothing is nothing. */
    slow_disks_release(&s.slow);
    scene_init(&s, DISKS);
    for (size_t i = 0; i < DISKS; i++)
        s.disks[i].pace_ns = MS / 10;
    s.disks[3].pace_ns = 40 * MS;
    CHECK_EQ(after(&s, 60 * SECOND), 0);
    s.disks[3].pace_ns = 60 * MS;
    CHECK_EQ(after(&s, 11 * SECOND), 1);
    slow_disks_release(&s.slow);
}

/* Of three, one crawls and one hangs: each has another slow one among its two peers. Of eight, two. */
static void several(void)
{
    struct scene s;
    scene_init(&s, DISKS);
    s.disks[1].pace_ns = 200 * MS;
    s.disks[6].pace_ns = 60 * SECOND;
    CHECK_EQ(after(&s, 11 * SECOND), 2);
    slow_disks_release(&s.slow);
    scene_init(&s, 2);
    s.disks[1].pace_ns = 60 * SECOND;
    CHECK_EQ(after(&s, 60 * SECOND), 0); /* who is to say which of the two is the odd one? */
    slow_disks_release(&s.slow);
    scene_init(&s, 3);
    s.disks[1].pace_ns = 60 * SECOND;
    CHECK_EQ(after(&s, 11 * SECOND), 1);
    CHECK(s.disks[1].suspect);
    slow_disks_release(&s.slow);
}

static const struct test tests[] = {
    {"one disk is slow", one_is_slow},
    {"moments do not count", moments},
    {"all are slow, all are quick", all_are_slow},
    {"several", several},
    {0},
};
SUITE("slow disks", tests)
