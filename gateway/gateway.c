#include "gateway/gateway.h"
#include <assert.h>
#include <string.h>
#include "common/sys/log.h"
#include "gateway/gateway_internal.h"

/* From an HTTP exchange to an S3 operation: parse, authenticate, dispatch, answer what went wrong. */

#define USER_TTL (10 * SYS_SECOND) /* a removed user or key works for at most so long */

struct gateway *gateway_new(const struct gateway_config *config)
{
    struct gateway *g = sys_alloc(sizeof *g);
    g->config = *config;
    sys_mutex_init(&g->lock);
    known_buckets_init(&g->buckets);
    return g;
}

void gateway_free(struct gateway *g)
{
    if (!g)
        return;
    known_buckets_release(&g->buckets);
    sys_mutex_release(&g->lock);
    sys_free(g);
}

/* ---- running reads ---- */

int gateway_read_begin(struct gateway *g, int64_t log_time)
{
    int place = -1;
    sys_mutex_lock(&g->lock);
    for (int i = 0; i < READS_MAX && place < 0; i++)
        if (g->reads[i] == 0)
            place = i;
    if (place >= 0)
        g->reads[place] = log_time > 0 ? log_time : 1;
    sys_mutex_unlock(&g->lock);
    return place;
}

void gateway_read_end(struct gateway *g, int place)
{
    if (place < 0)
        return;
    sys_mutex_lock(&g->lock);
    g->reads[place] = 0;
    sys_mutex_unlock(&g->lock);
}

int64_t gateway_oldest_read(struct gateway *g)
{
    int64_t oldest = 0;
    sys_mutex_lock(&g->lock);
    for (int i = 0; i < READS_MAX; i++)
        if (g->reads[i] != 0 && (oldest == 0 || g->reads[i] < oldest))
            oldest = g->reads[i];
    sys_mutex_unlock(&g->lock);
    return oldest;
}

/* ---- users ---- */

static bool cached(struct gateway *g, const char *access_key, struct cached_user *out)
{
    bool found = false;
    int64_t now = sys_now();
    sys_mutex_lock(&g->lock);
    for (size_t i = 0; i < USERS_CACHED && !found; i++) {
        const struct cached_user *u = &g->users[i];
        found = u->until > now && strcmp(u->access_key, access_key) == 0;
        if (found)
            *out = *u;
    }
    sys_mutex_unlock(&g->lock);
    return found;
}

static enum err take_user(struct op *op, const UserInfo *info)
{
    struct gateway *g = op->gateway;
    struct cached_user u = {.root = info->root, .until = sys_now() + USER_TTL};
    uint8_t secret[SIGV4_SECRET_MAX + SEAL_OVERHEAD];
    size_t n = 0;
    if (strlen(info->access_key) > SIGV4_KEY_ID_MAX || strlen(info->name) > USER_NAME_MAX ||
        info->sealed_secret.len > sizeof secret)
        return ERR_FORMAT;
    enum err e = seal_open(g->config.key, info->access_key, info->sealed_secret.data,
                           info->sealed_secret.len, secret, &n);
    if (e != OK) {
        log_error("gateway", "the secret of user %s does not open under this cluster key: %s",
                  info->name, err_text(e));
        return e;
    }
    memcpy(u.access_key, info->access_key, strlen(info->access_key));
    memcpy(u.name, info->name, strlen(info->name));
    memcpy(u.secret, secret, n);
    op->user = u;
    sys_mutex_lock(&g->lock);
    g->users[g->next_user++ % USERS_CACHED] = u;
    sys_mutex_unlock(&g->lock);
    return OK;
}

/* sigv4_config.secret: also tells the operation who asks. */
static enum err find_secret(void *arg, const char *key_id, char *out, size_t max)
{
    struct op *op = arg;
    if (!cached(op->gateway, key_id, &op->user)) {
        GetUser get = GET_USER__INIT;
        get.access_key = arena_string(op->arena, key_id);
        Query query = QUERY__INIT;
        query.body_case = QUERY__BODY_GET_USER;
        query.get_user = &get;
        Answer *answer = NULL;
        enum err e = op_query(op, &query, &answer);
        if (e == OK)
            e = answer->n_users == 1 ? take_user(op, answer->users[0]) : ERR_NO_USER;
        if (e != OK)
            return e;
    }
    if (strlen(op->user.secret) >= max)
        return ERR_TOO_BIG;
    memcpy(out, op->user.secret, strlen(op->user.secret) + 1);
    return OK;
}

/* ---- dispatch ---- */

static op_function *function_of(enum s3_operation operation)
{
    switch (operation) {
    case S3_LIST_BUCKETS:
        return op_list_buckets;
    case S3_CREATE_BUCKET:
        return op_create_bucket;
    case S3_DELETE_BUCKET:
        return op_delete_bucket;
    case S3_HEAD_BUCKET:
        return op_head_bucket;
    case S3_GET_BUCKET_LOCATION:
        return op_bucket_location;
    case S3_LIST_OBJECTS:
        return op_list_objects;
    case S3_LIST_OBJECTS_V2:
        return op_list_objects_v2;
    case S3_LIST_MULTIPART_UPLOADS:
        return op_list_uploads;
    case S3_DELETE_OBJECTS:
        return op_delete_objects;
    case S3_PUT_OBJECT:
        return op_put_object;
    case S3_GET_OBJECT:
        return op_get_object;
    case S3_HEAD_OBJECT:
        return op_head_object;
    case S3_DELETE_OBJECT:
        return op_delete_object;
    case S3_COPY_OBJECT:
        return op_copy_object;
    case S3_CREATE_MULTIPART_UPLOAD:
        return op_create_upload;
    case S3_UPLOAD_PART:
        return op_upload_part;
    case S3_UPLOAD_PART_COPY:
        return op_upload_part_copy;
    case S3_COMPLETE_MULTIPART_UPLOAD:
        return op_complete_upload;
    case S3_ABORT_MULTIPART_UPLOAD:
        return op_abort_upload;
    case S3_LIST_PARTS:
        return op_list_parts;
    default:
        return op_bucket_probe;
    }
}

static enum s3_error authenticate(struct op *op)
{
    const struct gateway_config *c = &op->gateway->config;
    const struct sigv4_config config = {
        .region = c->region,
        .now = sys_wall(),
        .skew = c->timeouts.clock_skew,
        .secret = find_secret,
        .arg = op,
    };
    enum s3_error e = sigv4_verify(http_request(op->exchange), &config, &op->auth);
    if (e == S3_OK && op->auth.anonymous)
        return S3_ACCESS_DENIED;
    if (e ==
        S3_AUTHORIZATION_HEADER_MALFORMED) { /* clients sign again with the region they read here */
        op->error.name = "Region";
        op->error.value = config.region;
    }
    return e;
}

/* ---- figures ---- */

static void count_begin(struct gateway *g)
{
    sys_mutex_lock(&g->lock);
    g->running++;
    sys_mutex_unlock(&g->lock);
}

static enum gateway_outcome outcome_of(enum s3_error e)
{
    if (e == S3_OK)
        return GATEWAY_ANSWERED;
    if (e == S3_CLIENT_GONE)
        return GATEWAY_GONE;
    int status = s3_error_status(e);
    return status < 400 ? GATEWAY_ANSWERED : status < 500 ? GATEWAY_REFUSED : GATEWAY_FAILED;
}

static uint64_t requests_of(const struct gateway_count *c)
{
    uint64_t n = 0;
    for (size_t i = 0; i < GATEWAY_OUTCOMES; i++)
        n += c->requests[i];
    return n;
}

static void count_end(struct gateway *g, enum s3_operation operation, enum s3_error e,
                      int64_t received)
{
    int64_t took = sys_now() - received;
    struct gateway_count *c = &g->counts[operation];
    sys_mutex_lock(&g->lock);
    g->running--;
    c->requests[outcome_of(e)]++;
    c->ns += took;
    sys_mutex_unlock(&g->lock);
}

size_t gateway_counts(struct gateway *g, struct gateway_count *out, size_t max, uint64_t *running)
{
    size_t n = 0;
    sys_mutex_lock(&g->lock);
    *running = g->running;
    for (int i = 0; i < S3_OPERATIONS && n < max; i++) {
        const struct gateway_count *c = &g->counts[i];
        if (requests_of(c) == 0)
            continue;
        out[n] = *c;
        out[n++].operation = s3_operation_name((enum s3_operation)i);
    }
    sys_mutex_unlock(&g->lock);
    return n;
}

/* ---- one request ---- */

static enum s3_error run(struct op *op)
{
    const struct http_request *http = http_request(op->exchange);
    const struct s3_request_config config = {.base_domain = op->gateway->config.base_domain};
    enum s3_error e = s3_request_parse(http, &config, &op->request);
    if (e == S3_OK)
        e = authenticate(op);
    if (e == S3_OK)
        e = function_of(op->request.operation)(op);
    if (e == S3_OK)
        return e;
    op->error.error = e;
    if (http_responded(op->exchange) && !http_kept_alive(op->exchange))
        http_abort(op->exchange);
    else
        s3_respond_error(op->exchange, &op->ids, &op->error);
    if (s3_error_status(e) >= 500)
        log_warn("gateway", "%s answered %s request=%s", s3_operation_name(op->request.operation),
                 s3_error_code(e), op->ids.request_id);
    return e;
}

void gateway_handle(struct http_exchange *exchange, void *app)
{
    const struct http_request *http = http_request(exchange);
    struct op *op = arena_alloc(http->arena, sizeof *op);
    op->gateway = app;
    op->exchange = exchange;
    op->arena = http->arena;
    sys_random(&op->data.trace, sizeof op->data.trace);
    op->data.deadline = http->received + op->gateway->config.timeouts.max_write_age;
    op->data.client = http_socket(exchange);
    op->context.trace = op->data.trace;
    op->heard = http->received;
    s3_ids_new(&op->ids);
    count_begin(op->gateway);
    enum s3_error e = run(op);
    count_end(op->gateway, op->request.operation, e, http->received);
}
