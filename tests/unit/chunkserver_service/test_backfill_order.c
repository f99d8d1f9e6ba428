/* What of a plan is done first: the most endangered, but for what has just failed. */
#include "chunkserver/backfill_internal.h"
#include "common/sys/sys.h"
#include "tests/unit/suite.h"

static struct task fill(uint32_t pg, unsigned danger)
{
    return (struct task){.kind = TASK_FILL, .pool = 1, .pg = pg, .disk = 3, .danger = danger};
}

static void put_off(void)
{
    struct task_list plan = {0}, failing = {0};
    struct task lost = fill(1, 3), late = fill(2, 2), good = fill(3, 1);
    int64_t now = 100 * SYS_SECOND;
    for (unsigned i = 0; i < 3; i++)
        task_list_add(&plan, &(const struct task[]){lost, late, good}[i]);
    task_failed(&lost, now);
    task_list_add(&failing, &lost);
    backfill_put_off(&failing, now + SYS_SECOND, &plan);
    CHECK(plan.v[0].pg == 2 && plan.v[1].pg == 3 && plan.v[2].pg == 1);
    CHECK_EQ(plan.count, 3);
    CHECK(plan.v[0].failures == 0 && plan.v[2].failures == 1);
    task_list_clear(&plan);
    for (unsigned i = 0; i < 3; i++)
        task_list_add(&plan, &(const struct task[]){lost, late, good}[i]);
    backfill_put_off(&failing, now + 3 * SYS_SECOND, &plan); /* its time has come */
    CHECK(plan.v[0].pg == 1 && plan.v[1].pg == 2 && plan.v[2].pg == 3);
    task_list_clear(&plan);
    task_list_clear(&failing);
}

static void longer_each_time(void)
{
    struct task t = fill(1, 3);
    int64_t before = 0;
    for (unsigned i = 0; i < 12; i++) {
        task_failed(&t, 0);
        CHECK(t.again_at >= before && t.again_at <= 192 * SYS_SECOND);
        before = t.again_at;
    }
    CHECK_EQ(t.again_at, 192 * SYS_SECOND);
}

static const struct test tests[] = {
    {"what has failed is put off", put_off},
    {"longer each time", longer_each_time},
    {0},
};
SUITE("backfill order", tests)
