/* Makes and finds the files of a local cluster. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "tools/cluster_key.h"
#include "tools/dev_cluster.h"

/* Below the range from which the kernel picks ports of outgoing connections: there a stopped
 * server's port could be taken by anyone before it is started again. */
enum { PORT_FIRST = 20000, PORT_LAST = 31999, PORT_TRIES = 2000 };
enum { CONF_MAX = 8192 };

struct ports {
    uint16_t metadata[DEV_METADATA_MAX], chunk[DEV_DISKS_MAX], s3;
    uint16_t metrics[DEV_PROCESSES_MAX]; /* in the order of metadata, chunk, gateway */
};

static enum err problem_is(char *problem, size_t max, enum err e, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static enum err problem_is(char *problem, size_t max, enum err e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(problem, max, format, args);
    va_end(args);
    return e;
}

/* ---- ports ---- */

static enum err try_port(uint16_t port, struct sys_socket **held)
{
    char text[32];
    struct sys_addr address;
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    enum err e = sys_addr_parse(text, &address);
    return e ? e : sys_listen(&address, held);
}

static enum err pick_port(uint16_t *out, struct sys_socket **held)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        uint16_t random;
        sys_random(&random, sizeof random);
        *out = (uint16_t)(PORT_FIRST + random % (PORT_LAST - PORT_FIRST + 1));
        enum err e = try_port(*out, held);
        if (e != ERR_ADDRESS_IN_USE)
            return e;
    }
    return ERR_ADDRESS_IN_USE;
}

/* All are held until all are picked, so that no two are the same. */
static enum err pick_ports(const struct dev_plan *plan, struct ports *out)
{
    struct sys_socket *held[2 * DEV_PROCESSES_MAX];
    size_t processes = plan->metadata + plan->disks + 1;
    size_t n = 0;
    enum err e = OK;
    if (plan->s3_port) {
        out->s3 = (uint16_t)plan->s3_port;
        e = try_port(out->s3, &held[0]);
    } else {
        e = pick_port(&out->s3, &held[0]);
    }
    n += !e;
    for (size_t i = 0; !e && i < plan->metadata; i++)
        if (!(e = pick_port(&out->metadata[i], &held[n])))
            n++;
    for (size_t i = 0; !e && i < plan->disks; i++)
        if (!(e = pick_port(&out->chunk[i], &held[n])))
            n++;
    for (size_t i = 0; !e && i < processes; i++)
        if (!(e = pick_port(&out->metrics[i], &held[n])))
            n++;
    while (n > 0)
        sys_socket_close(held[--n]);
    return e;
}

/* ---- files ---- */

static enum err write_file(const char *path, const char *text, bool secret)
{
    struct sys_file *f;
    enum err e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE | SYS_OPEN_EXCLUSIVE, &f);
    if (e)
        return e;
    if (secret)
        e = sys_file_private(path);
    if (!e)
        e = sys_file_write(f, 0, text, strlen(text));
    sys_file_close(f);
    return e;
}

static enum err make_directory(const char *path)
{
    enum err e = sys_mkdir(path);
    return e == ERR_EXISTS ? OK : e;
}

static size_t add(char *text, size_t n, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static size_t add(char *text, size_t n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int k = vsnprintf(text + n, CONF_MAX - n, format, args);
    va_end(args);
    return k > 0 && n + (size_t)k < CONF_MAX ? n + (size_t)k : n;
}

/* What every configuration says: whom to ask, and with which key. */
static size_t add_common(char *text, const char *dir, const struct dev_plan *plan,
                         const struct ports *ports)
{
    size_t n = add(text, 0, "cluster_key = %s/cluster.key\nmetadata =\n", dir);
    for (size_t i = 0; i < plan->metadata; i++)
        n = add(text, n, "  127.0.0.1:%u\n", ports->metadata[i]);
    return n;
}

static enum err write_conf(const char *dir, const char *role, size_t number,
                           const struct dev_plan *plan, const struct ports *ports)
{
    char text[CONF_MAX], path[DEV_PATH];
    size_t n = add_common(text, dir, plan, ports);
    size_t before = strcmp(role, "metadata") == 0 ? 0
                    : strcmp(role, "chunk") == 0  ? plan->metadata
                                                  : plan->metadata + plan->disks;
    n = add(text, n, "roles = %s\nmetrics = 127.0.0.1:%u\n", role,
            ports->metrics[before + number - 1]);
    if (strcmp(role, "metadata") == 0)
        n = add(text, n,
                "metadata_dir = %s/data/metadata-%zu\nmetadata_listen = 127.0.0.1:%u\n"
                "pool = %s\nroot_credentials = %s/credentials.env\n",
                dir, number, ports->metadata[number - 1], plan->pool, dir);
    else if (strcmp(role, "chunk") == 0)
        n = add(text, n, "data = %s/data/chunk-%zu\nchunk_listen = 127.0.0.1:%u\nhost = host-%zu\n",
                dir, number, ports->chunk[number - 1], number);
    else
        n = add(text, n, "s3 = 127.0.0.1:%u\n", ports->s3);
    snprintf(path, sizeof path, "%s/data/%s-%zu", dir, role, number);
    enum err e = make_directory(path);
    if (e)
        return e;
    snprintf(path, sizeof path, "%s/conf/%s-%zu.conf", dir, role, number);
    return write_file(path, text, false);
}

static enum err write_credentials(const char *dir, const struct ports *ports)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    enum { ACCESS = 20, SECRET_RAW = 30 };
    uint8_t raw[ACCESS], secret_raw[SECRET_RAW];
    char access[ACCESS + 1], secret[SECRET_RAW * 2], text[CONF_MAX], path[DEV_PATH];
    sys_random(raw, sizeof raw);
    sys_random(secret_raw, sizeof secret_raw);
    memcpy(access, "CAIR", 4);
    for (size_t i = 4; i < ACCESS; i++)
        access[i] = letters[raw[i] % 32];
    access[ACCESS] = 0;
    base64_encode(secret_raw, sizeof secret_raw, secret);
    for (char *c = secret; *c; c++) /* nothing that a shell or a URL would change */
        if (*c == '+' || *c == '/')
            *c = 'x';
    add(text, 0,
        "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\nAWS_ENDPOINT_URL=http://127.0.0.1:%u\n"
        "AWS_REGION=us-east-1\nAWS_DEFAULT_REGION=us-east-1\n",
        access, secret, ports->s3);
    snprintf(path, sizeof path, "%s/credentials.env", dir);
    return write_file(path, text, true);
}

/* What Prometheus reads with file_sd_configs. */
static enum err write_targets(const char *dir, const struct dev_plan *plan,
                              const struct ports *ports)
{
    const struct {
        const char *role;
        uint64_t count;
    } roles[] = {{"metadata", plan->metadata}, {"chunk", plan->disks}, {"gateway", 1}};
    json_t *targets = json_array();
    char path[DEV_PATH], address[32], name[DEV_NAME];
    size_t k = 0;
    for (size_t r = 0; r < sizeof roles / sizeof *roles; r++)
        for (size_t i = 1; i <= roles[r].count; i++) {
            snprintf(address, sizeof address, "127.0.0.1:%u", ports->metrics[k++]);
            snprintf(name, sizeof name, "%s-%zu", roles[r].role, i);
            json_array_append_new(
                targets, json_pack("{s:[s], s:{s:s}}", "targets", address, "labels", "name", name));
        }
    enum { TARGET_MAX = 160 };
    size_t room = (k + 1) * TARGET_MAX;
    char *text = sys_alloc(room);
    size_t n = json_dumpb(targets, text, room - 1, JSON_INDENT(2));
    snprintf(path, sizeof path, "%s/metrics.json", dir);
    enum err e = n < room ? write_file(path, text, false) : ERR_TOO_BIG;
    sys_free(text);
    json_decref(targets);
    return e;
}

static enum err write_files(const char *dir, const struct dev_plan *plan, const struct ports *ports)
{
    static const char *const folders[] = {"conf", "run", "log", "data"};
    char path[DEV_PATH], text[CONF_MAX];
    enum err e = OK;
    for (size_t i = 0; !e && i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        e = make_directory(path);
    }
    snprintf(path, sizeof path, "%s/cluster.key", dir);
    if (!e)
        e = cluster_key_create(path);
    if (!e)
        e = write_credentials(dir, ports);
    for (size_t i = 1; !e && i <= plan->metadata; i++)
        e = write_conf(dir, "metadata", i, plan, ports);
    for (size_t i = 1; !e && i <= plan->disks; i++)
        e = write_conf(dir, "chunk", i, plan, ports);
    if (!e)
        e = write_conf(dir, "gateway", 1, plan, ports);
    if (!e)
        e = write_targets(dir, plan, ports);
    size_t n = add_common(text, dir, plan, ports);
    add(text, n, "s3 = 127.0.0.1:%u\nroot_credentials = %s/credentials.env\n", ports->s3, dir);
    snprintf(path, sizeof path, "%s/cairn.conf", dir);
    return e ? e : write_file(path, text, false); /* last: says that all of it is there */
}

static bool file_exists(const char *dir, const char *name)
{
    char path[DEV_PATH];
    struct sys_file *f;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path ||
        sys_file_open(path, SYS_OPEN_READ, &f))
        return false;
    sys_file_close(f);
    return true;
}

bool dev_cluster_exists(const char *dir)
{
    return file_exists(dir, "cairn.conf");
}

bool dev_cluster_is_complete(const struct dev_cluster *c)
{
    return file_exists(c->dir, "run/complete");
}

enum err dev_cluster_set_complete(const struct dev_cluster *c)
{
    char path[DEV_PATH];
    snprintf(path, sizeof path, "%s/run/complete", c->dir);
    enum err e = write_file(path, "", false);
    return e == ERR_EXISTS ? OK : e;
}

static void count_entry(void *arg, const char *name, bool is_dir)
{
    (void)name, (void)is_dir;
    ++*(size_t *)arg;
}

enum err dev_cluster_create(const char *dir, const struct dev_plan *plan, char *problem,
                            size_t problem_max)
{
    char real[DEV_DIR_MAX + 1];
    struct ports ports;
    size_t entries = 0;
    enum err e = make_directory(dir);
    if (!e)
        e = sys_path_real(dir, real, sizeof real);
    if (!e)
        e = sys_dir_list(real, count_entry, &entries);
    if (e == ERR_TOO_BIG)
        return problem_is(problem, problem_max, e, "%s: longer than %d bytes", dir, DEV_DIR_MAX);
    if (e)
        return problem_is(problem, problem_max, e, "%s: %s", dir, err_text(e));
    if (entries)
        return problem_is(problem, problem_max, ERR_EXISTS,
                          "%s holds something else: name an empty directory", dir);
    e = pick_ports(plan, &ports);
    if (e == ERR_ADDRESS_IN_USE && plan->s3_port)
        return problem_is(problem, problem_max, e,
                          "port %llu is in use: name another with --s3-port, 0 for a free one",
                          (unsigned long long)plan->s3_port);
    if (!e)
        e = write_files(real, plan, &ports);
    return e ? problem_is(problem, problem_max, e, "%s: %s", dir, err_text(e)) : OK;
}

/* ---- finding it again ---- */

static int role_rank(const char *name)
{
    static const char *const roles[] = {"metadata-", "chunk-", "gateway-"};
    for (int i = 0; i < 3; i++)
        if (strncmp(name, roles[i], strlen(roles[i])) == 0)
            return i;
    return 3;
}

static void take_conf(void *arg, const char *name, bool is_dir)
{
    struct dev_cluster *c = arg;
    size_t n = strlen(name);
    if (is_dir || n <= 5 || n - 5 >= DEV_NAME || strcmp(name + n - 5, ".conf") != 0 ||
        role_rank(name) == 3 || c->count == DEV_PROCESSES_MAX)
        return;
    struct dev_process *p = &c->processes[c->count++];
    memcpy(p->name, name, n - 5);
    p->name[n - 5] = 0;
}

static uint64_t number_of(const char *name)
{
    const char *digits = strchr(name, '-') + 1;
    uint64_t n = 0;
    return decimal_parse(digits, strlen(digits), &n) ? 0 : n;
}

static bool comes_before(const struct dev_process *a, const struct dev_process *b)
{
    int ra = role_rank(a->name), rb = role_rank(b->name);
    return ra != rb ? ra < rb : number_of(a->name) < number_of(b->name);
}

enum err dev_cluster_load(const char *dir, struct dev_cluster *out)
{
    char path[DEV_PATH];
    *out = (struct dev_cluster){0};
    if (!dev_cluster_exists(dir))
        return ERR_NOT_FOUND;
    enum err e = sys_path_real(dir, out->dir, sizeof out->dir);
    if (e)
        return e;
    snprintf(path, sizeof path, "%s/conf", out->dir);
    e = sys_dir_list(path, take_conf, out);
    for (size_t i = 1; i < out->count; i++)
        for (size_t j = i; j > 0 && comes_before(&out->processes[j], &out->processes[j - 1]); j--) {
            struct dev_process swap = out->processes[j];
            out->processes[j] = out->processes[j - 1];
            out->processes[j - 1] = swap;
        }
    return e;
}

const struct dev_process *dev_cluster_find(const struct dev_cluster *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->processes[i].name, name) == 0)
            return &c->processes[i];
    return NULL;
}

void dev_path(const struct dev_cluster *c, const char *folder, const struct dev_process *p,
              const char *suffix, char out[DEV_PATH])
{
    snprintf(out, DEV_PATH, "%s/%s/%s%s", c->dir, folder, p->name, suffix);
}
