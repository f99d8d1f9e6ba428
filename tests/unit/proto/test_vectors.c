/* Messages as they lie in logs and on disks and travel between versions: each is packed and compared
 * with committed bytes, so that a field number that is changed or used again is seen. A vector is
 * only ever added; one that changes is a change of format. */
#include <stdio.h>
#include "common/base/arena.h"
#include "common/base/text.h"
#include "common/proto/command.pb-c.h"
#include "common/proto/message.h"
#include "common/proto/query.pb-c.h"
#include "common/proto/service.pb-c.h"
#include "tests/unit/suite.h"

enum { PACKED_MAX = 4096 };

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static char *text(const char *t)
{
    return (char *)(uintptr_t)t;
}

/* Packs to the vector, and back to the same. */
static void check_vector(const char *name, const ProtobufCMessage *message, const char *vector)
{
    struct arena arena;
    uint8_t *packed, *again;
    size_t n, again_n;
    char hex[2 * PACKED_MAX + 1];
    ProtobufCMessage *back = NULL;
    arena_init(&arena);
    CHECK_OK(message_pack(message, &arena, PACKED_MAX, &packed, &n));
    hex_encode(packed, n, hex);
    if (!suite_check(strcmp(hex, vector) == 0, __FILE__, __LINE__, "%s packs as before", name))
        printf("  %s: %s\n", name, hex);
    CHECK_OK(message_unpack(message->descriptor, &arena, packed, n, &back));
    CHECK_OK(message_pack(back, &arena, PACKED_MAX, &again, &again_n));
    CHECK(again_n == n && memcmp(again, packed, n) == 0);
    arena_release(&arena);
}

static void fill_head(ObjectHead *head, Pair *type, Pair **headers)
{
    pair__init(type);
    type->name = bytes("cache-control");
    type->value = bytes("no-cache");
    headers[0] = type;
    object_head__init(head);
    head->size = 20480;
    head->etag = bytes("d41d8cd98f00b204e9800998ecf8427e");
    head->modified = 5;
    head->content_type = text("text/plain");
    head->headers = headers;
    head->n_headers = 1;
    head->metadata = headers;
    head->n_metadata = 1;
    head->checksums = headers;
    head->n_checksums = 1;
    head->pool = 1;
    head->delete_marker = true;
    head->version = 77;
    head->part_count = 2;
    head->write_id = bytes("0123456789ab");
}

static void put_object(void)
{
    Pair type, *headers[1];
    ObjectHead head;
    fill_head(&head, &type, headers);
    ChunkRun run = CHUNK_RUN__INIT, *runs[] = {&run};
    run.pool = 1;
    run.write_id = bytes("0123456789ab");
    run.first_sequence = 3;
    run.count = 2;
    run.chunk_size = 67108864;
    run.last_length = 99;
    uint64_t parts[] = {1, 300};
    ObjectBody body = OBJECT_BODY__INIT;
    body.inline_data = bytes("inline");
    body.runs = runs;
    body.n_runs = 1;
    body.part_sizes = parts;
    body.n_part_sizes = 2;
    uint32_t disks[] = {1, 0, 300};
    ChunkDurable durable = CHUNK_DURABLE__INIT, *durables[] = {&durable};
    durable.sequence = 3;
    durable.disks = disks;
    durable.n_disks = 3;
    durable.nonce = 0x0102030405060708;
    Conditions conditions = CONDITIONS__INIT;
    conditions.if_absent = true;
    conditions.if_match_etag = bytes("*");
    SdkRetry retry = SDK_RETRY__INIT;
    retry.access_key = text("AK");
    retry.invocation_id = text("id");
    retry.fingerprint = bytes("fp");
    retry.attempt = 2;
    PutObject put = PUT_OBJECT__INIT;
    put.bucket = 9;
    put.key = bytes("a/b");
    put.head = &head;
    put.body = &body;
    put.began = 4;
    put.durable = durables;
    put.n_durable = 1;
    put.conditions = &conditions;
    put.retry = &retry;
    put.rewrite_head = true;
    put.if_version = 6;
    Command command = COMMAND__INIT;
    command.time = 11;
    command.client = bytes("0123456789abcdef");
    command.slot = 7;
    command.sequence = 8;
    command.body_case = COMMAND__BODY_PUT_OBJECT;
    command.put_object = &put;
    check_vector("put_object", &command.base,
                 "080b121030313233343536373839616263646566180720088201810208091203612f621a9b010880"
                 "a001122064343164386364393866303062323034653938303039393865636638343237651805220a"
                 "746578742f706c61696e2a190a0d63616368652d636f6e74726f6c12086e6f2d636163686532190a"
                 "0d63616368652d636f6e74726f6c12086e6f2d63616368653a190a0d63616368652d636f6e74726f"
                 "6c12086e6f2d636163686540014801504d5802620c303132333435363738396162222a0a06696e6c"
                 "696e65121b0801120c30313233343536373839616218032002288080802030631a0301ac02280432"
                 "11080312040100ac021908070605040302013a05080112012a420e0a02414b120269641a02667020"
                 "0248015006");
}

static void result(void)
{
    Result r = RESULT__INIT;
    r.error = -44;
    r.index = 1;
    r.time = 2;
    r.etag = bytes("e");
    r.disk = 3;
    r.size = 4;
    r.chunk = 5;
    r.epoch = 6;
    r.existed = bytes("x");
    check_vector("result", &r.base, "08571001180222016528033004380540064a0178");
}

static void map(void)
{
    DiskInfo disk = DISK_INFO__INIT, *disks[] = {&disk};
    disk.id = 1;
    disk.uuid = bytes("0123456789abcdef");
    disk.admin_state = 2;
    disk.up = true;
    disk.suspect = true;
    disk.capacity_bytes = 3;
    disk.weight = 4;
    disk.zone = text("z");
    disk.rack = text("r");
    disk.host = text("h");
    disk.address = text("1.2.3.4:5");
    disk.incarnation = 6;
    disk.down_since = 7;
    disk.changed = 8;
    disk.node = bytes("n");
    disk.removed = true;
    PoolInfo pool = POOL_INFO__INIT, *pools[] = {&pool};
    pool.id = 1;
    pool.name = text("standard");
    pool.k = 4;
    pool.m = 2;
    pool.cell = 65536;
    pool.failure_domain = 1;
    pool.pg_bits = 7;
    pool.assigned = true;
    pool.changed = 9;
    Holder holder = HOLDER__INIT, *holders[] = {&holder};
    holder.disk = 1;
    holder.since_epoch = 5;
    Slot slot = SLOT__INIT, *slots[] = {&slot};
    slot.holders = holders;
    slot.n_holders = 1;
    PgInfo pg = PG_INFO__INIT, *pgs[] = {&pg};
    pg.pool = 1;
    pg.pg = 2;
    pg.slots = slots;
    pg.n_slots = 1;
    pg.changed = 10;
    MapInfo m = MAP_INFO__INIT;
    m.epoch = 10;
    m.since = 3;
    m.disks = disks;
    m.n_disks = 1;
    m.pools = pools;
    m.n_pools = 1;
    m.pgs = pgs;
    m.n_pgs = 1;
    m.cluster = bytes("c");
    check_vector("map", &m.base,
                 "080a10031a3e08011210303132333435363738396162636465661802200128013003380442017a4a"
                 "01725201685a09312e322e332e343a356006680770087a016e800101221c080112087374616e6461"
                 "7264180420022880800430013807400148092a0e080110021a060a0408011005200a320163");
}

static void shards(void)
{
    ShardOpen open = SHARD_OPEN__INIT;
    open.disk = 1;
    open.pool = 2;
    open.chunk_id = bytes("0123456789abcdef");
    open.index = 3;
    open.k = 4;
    open.m = 5;
    open.cell = 6;
    open.chunk_length = 7;
    open.nonce = 8;
    open.began = 9;
    open.since_epoch = 10;
    open.shard_length = 11;
    check_vector("shard_open", &open.base,
                 "080110021a1030313233343536373839616263646566200328043005380640074908000000000000"
                 "005009580a600b");
    uint32_t crcs[] = {1, 0xffffffff};
    ShardAppend append = SHARD_APPEND__INIT;
    append.offset = 65536;
    append.block_crc = crcs;
    append.n_block_crc = 2;
    check_vector("shard_append", &append.base, "08808004120801000000ffffffff");
    ShardReadReply reply = SHARD_READ_REPLY__INIT;
    reply.block_crc = crcs;
    reply.n_block_crc = 2;
    reply.nonce = 12;
    reply.chunk_length = 13;
    check_vector("shard_read_reply", &reply.base, "0a0801000000ffffffff110c00000000000000180d");
}

/* The number of each command in the log. */
static void command_numbers(void)
{
    static const struct {
        Command__BodyCase body;
        int number;
    } numbers[] = {
        {COMMAND__BODY_REGISTER_CLIENT, 10},   {COMMAND__BODY_CREATE_USER, 11},
        {COMMAND__BODY_DELETE_USER, 12},       {COMMAND__BODY_CREATE_POOL, 13},
        {COMMAND__BODY_CREATE_BUCKET, 14},     {COMMAND__BODY_DELETE_BUCKET, 15},
        {COMMAND__BODY_PUT_OBJECT, 16},        {COMMAND__BODY_DELETE_OBJECTS, 17},
        {COMMAND__BODY_CREATE_UPLOAD, 18},     {COMMAND__BODY_PUT_PART, 19},
        {COMMAND__BODY_COMPLETE_UPLOAD, 20},   {COMMAND__BODY_ABORT_UPLOAD, 21},
        {COMMAND__BODY_ABORT_WRITE, 22},       {COMMAND__BODY_REGISTER_DISK, 23},
        {COMMAND__BODY_SET_DISK_STATE, 24},    {COMMAND__BODY_SET_DISKS_UP, 25},
        {COMMAND__BODY_ASSIGN_POOL, 26},       {COMMAND__BODY_PUSH_HOLDERS, 27},
        {COMMAND__BODY_FINISH_HOLDER, 28},     {COMMAND__BODY_ORDER_REPAIRS, 29},
        {COMMAND__BODY_FINISH_REPAIRS, 30},    {COMMAND__BODY_COLLECT_RUN, 31},
        {COMMAND__BODY_SET_FEATURE_LEVEL, 32}, {COMMAND__BODY_CONFIRM_TIME, 40},
        {COMMAND__BODY_SET_DISKS_SUSPECT, 41},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        CHECK_EQ(numbers[i].body, numbers[i].number);
}

static const struct test tests[] = {{"put object", put_object},
                                    {"result", result},
                                    {"map", map},
                                    {"shards", shards},
                                    {"command numbers", command_numbers},
                                    {0}};
SUITE("vectors", tests)
