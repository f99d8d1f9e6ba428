/* Known buckets: found by name while they are fresh, replaced and forgotten. */
#include "gateway/known_buckets.h"
#include <stdio.h>
#include "tests/unit/suite.h"

static BucketInfo info(const char *name, uint64_t id)
{
    BucketInfo b = BUCKET_INFO__INIT;
    b.name = (ProtobufCBinaryData){.len = strlen(name), .data = (uint8_t *)(uintptr_t)name};
    b.owner = (char *)(uintptr_t) "root";
    b.id = id;
    b.pool = 7;
    return b;
}

static void finds(void)
{
    struct known_buckets *k = sys_alloc(sizeof *k);
    struct known_bucket found;
    known_buckets_init(k);
    CHECK(!known_buckets_find(k, "first", &found));
    CHECK(!known_buckets_find(k, "", &found));
    BucketInfo first = info("first", 11), again = info("first", 12);
    known_buckets_note(k, &first);
    CHECK(known_buckets_find(k, "first", &found));
    CHECK(found.id == 11 && found.pool == 7 && strcmp(found.owner, "root") == 0);
    CHECK(!known_buckets_find(k, "firs", &found));
    known_buckets_note(k, &again);
    CHECK(known_buckets_find(k, "first", &found) && found.id == 12);
    known_buckets_forget(k, "second");
    CHECK(known_buckets_find(k, "first", &found));
    known_buckets_forget(k, "first");
    CHECK(!known_buckets_find(k, "first", &found));
    known_buckets_release(k);
    sys_free(k);
}

static void ages(void)
{
    struct known_buckets *k = sys_alloc(sizeof *k);
    struct known_bucket found;
    known_buckets_init(k);
    BucketInfo b = info("first", 11);
    known_buckets_note(k, &b);
    sys_sleep_until(sys_now() + 9 * SYS_SECOND);
    CHECK(known_buckets_find(k, "first", &found));
    sys_sleep_until(sys_now() + 2 * SYS_SECOND);
    CHECK(!known_buckets_find(k, "first", &found));
    known_buckets_release(k);
    sys_free(k);
}

static void bounded(void)
{
    struct known_buckets *k = sys_alloc(sizeof *k);
    struct known_bucket found;
    char name[KNOWN_NAME_MAX + 2] = {0};
    known_buckets_init(k);
    memset(name, 'a', KNOWN_NAME_MAX + 1);
    BucketInfo b = info(name, 1);
    known_buckets_note(k, &b); /* longer than a bucket's name can be: not taken */
    CHECK(!known_buckets_find(k, name, &found));
    name[KNOWN_NAME_MAX] = 0;
    b = info(name, 2);
    known_buckets_note(k, &b);
    CHECK(known_buckets_find(k, name, &found) && found.id == 2);
    unsigned there = 0;
    for (unsigned i = 0; i < 4 * KNOWN_BUCKETS; i++) {
        char some[16];
        snprintf(some, sizeof some, "bucket-%u", i);
        b = info(some, i);
        known_buckets_note(k, &b);
        CHECK(known_buckets_find(k, some, &found) && found.id == i);
    }
    for (unsigned i = 0; i < KNOWN_BUCKETS; i++)
        there += k->places[i].until > 0;
    CHECK(there > KNOWN_BUCKETS / 2);
    known_buckets_release(k);
    sys_free(k);
}

static const struct test tests[] = {
    {"found by name", finds}, {"only while they are fresh", ages}, {"bounded", bounded}, {0}};
SUITE("known buckets", tests)
