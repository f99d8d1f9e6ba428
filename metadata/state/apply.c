/* From the bytes of a log entry to its result: unpacking, the session's check, the one switch over
 * all commands, what is remembered, and the bounded housekeeping that rides on every command.
 *
 * A command with a field or a kind that this version does not know stops the member (hazard 24):
 * ignoring it would let replicas drift apart. That also makes packing what was unpacked a pure
 * function of known fields, so that rows, and the hash over them, are equal everywhere. */
#include <assert.h>
#include "common/proto/message.h"
#include "common/sys/log.h"
#include "metadata/state/state_internal.h"

static bool message_known(const ProtobufCMessage *m);

/* Whether the sub-messages of one field are known to the last field. */
static bool field_known(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const uint8_t *base = (const uint8_t *)m;
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return true;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n;
        ProtobufCMessage *const *list;
        memcpy(&n, base + f->quantifier_offset, sizeof n);
        memcpy(&list, base + f->offset, sizeof list);
        for (size_t i = 0; i < n; i++)
            if (!message_known(list[i]))
                return false;
        return true;
    }
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t which;
        memcpy(&which, base + f->quantifier_offset, sizeof which);
        if (which != f->id)
            return true;
    }
    const ProtobufCMessage *sub;
    memcpy(&sub, base + f->offset, sizeof sub);
    return sub == NULL || message_known(sub);
}

static bool message_known(const ProtobufCMessage *m)
{
    if (m->n_unknown_fields > 0)
        return false;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++)
        if (!field_known(m, &m->descriptor->fields[i]))
            return false;
    return true;
}

static enum err command_unpack(struct arena *arena, const void *data, size_t n, Command **out)
{
    ProtobufCMessage *m = NULL;
    enum err e = message_unpack(&command__descriptor, arena, data, n, &m);
    if (e != OK)
        return ERR_FORMAT;
    *out = (Command *)m;
    if ((*out)->body_case == COMMAND__BODY__NOT_SET || !message_known(m))
        return ERR_UNSUPPORTED;
    if ((*out)->body_case == COMMAND__BODY_SET_FEATURE_LEVEL &&
        (*out)->set_feature_level->level > STATE_LEVEL_MAX)
        return ERR_UNSUPPORTED;
    return OK;
}

bool state_command_grows(const Command *command)
{
    switch (command->body_case) {
    case COMMAND__BODY_CREATE_BUCKET:
    case COMMAND__BODY_PUT_OBJECT:
    case COMMAND__BODY_CREATE_UPLOAD:
    case COMMAND__BODY_PUT_PART:
        return true;
    default:
        return false;
    }
}

enum err state_check_command(const void *data, size_t n, bool *grows)
{
    struct arena arena;
    Command *command;
    arena_init(&arena);
    enum err e = command_unpack(&arena, data, n, &command);
    *grows = e == OK && state_command_grows(command);
    arena_release(&arena);
    return e;
}

static enum err set_feature_level(struct apply *a, const SetFeatureLevel *c)
{
    if (c->level < a->state->level)
        return ERR_INVALID;
    a->state->level = c->level;
    return OK;
}

static const SdkRetry *retry_of(const Command *c)
{
    switch (c->body_case) {
    case COMMAND__BODY_PUT_OBJECT:
        return c->put_object->retry;
    case COMMAND__BODY_DELETE_OBJECTS:
        return c->delete_objects->retry;
    case COMMAND__BODY_COMPLETE_UPLOAD:
        return c->complete_upload->retry;
    default:
        return NULL;
    }
}

static enum err run_cluster(struct apply *a, const Command *c)
{
    switch (c->body_case) {
    case COMMAND__BODY_CREATE_USER:
        return apply_create_user(a, c->create_user);
    case COMMAND__BODY_DELETE_USER:
        return apply_delete_user(a, c->delete_user);
    case COMMAND__BODY_CREATE_POOL:
        return apply_create_pool(a, c->create_pool);
    case COMMAND__BODY_REGISTER_DISK:
        return apply_register_disk(a, c->register_disk);
    case COMMAND__BODY_SET_DISK_STATE:
        return apply_set_disk_state(a, c->set_disk_state);
    case COMMAND__BODY_SET_DISKS_SUSPECT:
        return apply_set_disks_suspect(a, c->set_disks_suspect);
    case COMMAND__BODY_SET_DISKS_UP:
        return apply_set_disks_up(a, c->set_disks_up);
    case COMMAND__BODY_ASSIGN_POOL:
        return apply_assign_pool(a, c->assign_pool);
    case COMMAND__BODY_PUSH_HOLDERS:
        return apply_push_holders(a, c->push_holders);
    case COMMAND__BODY_FINISH_HOLDER:
        return apply_finish_holder(a, c->finish_holder);
    case COMMAND__BODY_SET_FEATURE_LEVEL:
        return set_feature_level(a, c->set_feature_level);
    case COMMAND__BODY_CONFIRM_TIME:
        return apply_confirm_time(a, c->confirm_time);
    default:
        return ERR_UNSUPPORTED;
    }
}

static enum err run(struct apply *a, const Command *c)
{
    switch (c->body_case) {
    case COMMAND__BODY_REGISTER_CLIENT:
        return apply_register_client(a, c->register_client);
    case COMMAND__BODY_CREATE_BUCKET:
        return apply_create_bucket(a, c->create_bucket);
    case COMMAND__BODY_DELETE_BUCKET:
        return apply_delete_bucket(a, c->delete_bucket);
    case COMMAND__BODY_PUT_OBJECT:
        return apply_put_object(a, c->put_object);
    case COMMAND__BODY_DELETE_OBJECTS:
        return apply_delete_objects(a, c->delete_objects);
    case COMMAND__BODY_CREATE_UPLOAD:
        return apply_create_upload(a, c->create_upload);
    case COMMAND__BODY_PUT_PART:
        return apply_put_part(a, c->put_part);
    case COMMAND__BODY_COMPLETE_UPLOAD:
        return apply_complete_upload(a, c->complete_upload);
    case COMMAND__BODY_ABORT_UPLOAD:
        return apply_abort_upload(a, c->abort_upload);
    case COMMAND__BODY_ABORT_WRITE:
        return apply_abort_write(a, c->abort_write);
    case COMMAND__BODY_ORDER_REPAIRS:
        return apply_order_repairs(a, c->order_repairs);
    case COMMAND__BODY_FINISH_REPAIRS:
        return apply_finish_repairs(a, c->finish_repairs);
    case COMMAND__BODY_COLLECT_RUN:
        return apply_collect_run(a, c->collect_run);
    default:
        return run_cluster(a, c);
    }
}

static struct kv_slice pack_result(struct apply *a, Result *r)
{
    uint8_t *bytes;
    size_t n;
    enum err e = message_pack(&r->base, a->arena, STATE_RESULT_MAX, &bytes, &n);
    assert(e == OK); /* every field of a result has a bound */
    return (struct kv_slice){.data = bytes, .length = n};
}

/* Another attempt's result, marked: what this attempt wrote is named by no row. */
static struct kv_slice remembered_result(struct apply *a, struct kv_slice packed)
{
    ProtobufCMessage *m = NULL;
    if (message_unpack(&result__descriptor, a->arena, packed.data, packed.length, &m) != OK)
        return packed;
    ((Result *)m)->remembered = true;
    return pack_result(a, (Result *)m);
}

/* Whether an SDK is told this for good, and would perhaps not be at another time: then an attempt that
 * comes late must not be told, or do, otherwise (hazard 7). Not what is answered with 5xx, since the
 * SDK then tries again and must get somewhere; STALE_PLACEMENT is tried again by the gateway itself.
 * Not what stays refused anyway: a bucket or an upload that is gone does not come back, and the row of
 * the request's effect elsewhere would be overwritten. */
static bool lasting(enum err e)
{
    switch (e) {
    case OK:
    case ERR_PRECONDITION:
    case ERR_NO_KEY:
    case ERR_INVALID_PART:
        return true;
    default:
        return false;
    }
}

/* Runs the command behind its session's and its SDK's check. */
static struct kv_slice answer(struct apply *a, const Command *c)
{
    Result result = RESULT__INIT;
    struct kv_slice packed;
    const SdkRetry *retry = retry_of(c);
    a->result = &result;
    result.index = a->index;
    result.time = a->time;
    result.epoch = a->epoch;
    enum err e = c->client.len > 0 ? session_check(a, c, &packed) : OK;
    if (e == ERR_EXISTS)
        return packed;
    bool in_session = e == OK && c->client.len > 0;
    bool again = e == OK && retry != NULL && retry_known(a, retry, &packed);
    if (again) {
        packed = remembered_result(a, packed);
    } else {
        a->txn->rows = 0;
        if (e == OK)
            e = run(a, c);
        assert(a->txn->rows <= STATE_ROWS_MAX && (e == OK || a->txn->rows == 0));
        map_finish(a);
        result.error = e;
        result.epoch = a->epoch;
        packed = pack_result(a, &result);
        if (retry != NULL && lasting(e))
            retry_remember(a, retry, packed.data, packed.length);
    }
    if (in_session)
        session_remember(a, c, packed.data, packed.length);
    return packed;
}

enum err apply_command(struct apply *a, const void *data, size_t n, const void **result,
                       size_t *result_n)
{
    Command *c = NULL;
    Result refused = RESULT__INIT;
    struct kv_slice packed;
    a->epoch = a->state->map->epoch;
    enum err e = command_unpack(a->arena, data, n, &c);
    if (e == ERR_UNSUPPORTED) {
        log_error("state",
                  "a command of a later version, stopping: install that version index=%llu",
                  (unsigned long long)a->index);
        return e;
    }
    if (e != OK) {
        refused.error = e;
        refused.index = a->index;
        refused.time = a->time;
        packed = pack_result(a, &refused);
    } else {
        if (c->time > a->time)
            a->time = c->time;
        packed = answer(a, c);
        housekeeping(a);
    }
    *result = packed.data;
    *result_n = packed.length;
    return OK;
}
