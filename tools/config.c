/* The table of configuration keys, and reading it from file and command line. Adding a key is a
 * member of struct config and a line here. */
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "common/sys/sys.h"
#include "tools/config.h"

enum key_type { TYPE_TEXT, TYPE_ADDRESS, TYPE_LIST, TYPE_SIZE, TYPE_COUNT, TYPE_FLAG, TYPE_ROLES };
enum source { FROM_DEFAULT, FROM_FILE, FROM_COMMAND_LINE };
/* inih cuts lines at 200 bytes without a word. */
enum { LINE_BYTES_MAX = 190, FILE_BYTES_MAX = 1 << 20 };

struct key {
    const char *name;
    enum key_type type;
    size_t offset;
    uint64_t least, most;       /* of a size or a count */
    const char *const *choices; /* of a text, ending with NULL: nothing else is allowed */
    const char *initial;        /* NULL: none */
    const char *help;
};

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};

#define AT(member) offsetof(struct config, member)
#define KIB        UINT64_C(1024)
#define MIB        (1024 * KIB)
#define GIB        (1024 * MIB)
static const struct key keys[] = {
    {"roles", TYPE_ROLES, AT(roles), 0, 0, NULL, NULL,
     "what this process does: metadata, chunk, gateway; left out: all of them, with data"},
    {"data", TYPE_LIST, AT(data), 0, 0, NULL, NULL,
     "directories to keep shards in, each one a disk"},
    {"metadata_dir", TYPE_TEXT, AT(metadata_dir), 0, 0, NULL, NULL,
     "directory of the metadata member's log and state"},
    {"metadata_listen", TYPE_ADDRESS, AT(metadata_listen), 0, 0, NULL, "127.0.0.1:7100",
     "where the metadata member listens"},
    {"chunk_listen", TYPE_ADDRESS, AT(chunk_listen), 0, 0, NULL, "127.0.0.1:7200",
     "where the chunkserver listens"},
    {"s3", TYPE_ADDRESS, AT(s3), 0, 0, NULL, "127.0.0.1:9000", "where the gateway speaks S3"},
    {"metrics", TYPE_ADDRESS, AT(metrics), 0, 0, NULL, NULL,
     "where this process tells its metrics, at /metrics, for Prometheus; left out: nowhere"},
    {"metadata", TYPE_LIST, AT(metadata), 0, 0, NULL, NULL,
     "addresses of the metadata members, any of them"},
    {"cluster_key", TYPE_TEXT, AT(cluster_key), 0, 0, NULL, NULL,
     "file (mode 0600) with the key by which servers know each other"},
    {"root_credentials", TYPE_TEXT, AT(root_credentials), 0, 0, NULL, NULL,
     "file with AWS_ACCESS_KEY_ID= and AWS_SECRET_ACCESS_KEY= of the first user, for bootstrap"},
    {"bootstrap", TYPE_FLAG, AT(bootstrap), 0, 0, NULL, "false",
     "make a new cluster with this member as its first: once, on the command line, never in a "
     "file"},
    {"join", TYPE_FLAG, AT(join), 0, 0, NULL, "false",
     "make a new member of the cluster whose members `metadata` names"},
    {"zone", TYPE_TEXT, AT(zone), 0, 0, NULL, "default", "failure domain: the zone of this host"},
    {"rack", TYPE_TEXT, AT(rack), 0, 0, NULL, "default", "failure domain: the rack of this host"},
    {"host", TYPE_TEXT, AT(host), 0, 0, NULL, NULL,
     "failure domain: the name of this host; left out: what the machine calls itself"},
    {"pool", TYPE_TEXT, AT(pool), 0, 0, NULL, "4+2",
     "data + parity shards of the pool `standard` that bootstrap makes; 1+2 keeps three copies"},
    {"inline_max", TYPE_SIZE, AT(inline_max), 0, 64 * KIB, NULL, "4KiB",
     "objects up to this size are kept in the metadata"},
    {"buffer_memory", TYPE_SIZE, AT(buffer_memory), 8 * MIB, 64 * GIB, NULL, "96MiB",
     "memory for the payload of requests; beyond it they are told SlowDown"},
    {"disk_capacity", TYPE_SIZE, AT(disk_capacity), 0, UINT64_C(1024) * 1024 * GIB, NULL, "0",
     "use at most so much of each disk; 0: all that its file system has"},
    {"scrub_rate", TYPE_SIZE, AT(scrub_rate), 64 * KIB, 16 * GIB, NULL, "20MiB",
     "the scrubber reads at most so many bytes a second of each disk"},
    {"scrub_days", TYPE_COUNT, AT(scrub_days), 0, 3650, NULL, "7",
     "every block of a disk is read and checked once in so many days; 0: only on demand"},
    {"timeout_percent", TYPE_COUNT, AT(timeout_percent), 5, 10000, NULL, "100",
     "stretches or shrinks all time-outs between servers"},
    {"log_bytes", TYPE_SIZE, AT(log_bytes), 128 * KIB, 64 * GIB, NULL, "256MiB",
     "a metadata member's log is compacted when it is longer than this"},
    {"log_segment", TYPE_SIZE, AT(log_segment), 64 * KIB, GIB, NULL, "64MiB",
     "size of the log's files; a quarter of log_bytes or less"},
    {"checkpoint_entries", TYPE_COUNT, AT(checkpoint_entries), 10, 1000000, NULL, "1000",
     "metadata members compare a hash of their states every so many log entries"},
    {"lease_reads", TYPE_FLAG, AT(lease_reads), 0, 0, NULL, "false",
     "a leading metadata member answers queries without asking the others while it has a lease"},
    {"region", TYPE_TEXT, AT(region), 0, 0, NULL, "us-east-1", "the region that the gateway names"},
    {"base_domain", TYPE_TEXT, AT(base_domain), 0, 0, NULL, NULL,
     "serve BUCKET.base_domain as well as /BUCKET"},
    {"log_level", TYPE_TEXT, AT(log_level), 0, 0, log_levels, "info", "least level that is logged"},
};
enum { KEY_COUNT = sizeof keys / sizeof keys[0] };
_Static_assert((int)KEY_COUNT <= (int)CONFIG_KEYS_MAX, "given[] has a place for every key");

/* Hyphens count as underscores. */
static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        size_t j = 0;
        while (name[j] && (name[j] == '-' ? '_' : name[j]) == keys[i].name[j])
            j++;
        if (!name[j] && !keys[i].name[j])
            return &keys[i];
    }
    return NULL;
}

static enum err unknown_key(const char *where, const char *name, char problem[CONFIG_PROBLEM])
{
    size_t n = (size_t)snprintf(problem, CONFIG_PROBLEM, "%s: unknown key \"%.60s\"; known are",
                                where, name);
    for (size_t i = 0; i < KEY_COUNT && n < CONFIG_PROBLEM; i++)
        n += (size_t)snprintf(problem + n, CONFIG_PROBLEM - n, " %s", keys[i].name);
    return ERR_INVALID;
}

static enum err bad_value(const char *where, const struct key *key, const char *value,
                          const char *want, char problem[CONFIG_PROBLEM])
{
    snprintf(problem, CONFIG_PROBLEM, "%s: %s: \"%.80s\" is not %s", where, key->name, value, want);
    return ERR_INVALID;
}

static enum err set_roles(struct config *c, const char *word)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } roles[] = {{"metadata", ROLE_METADATA}, {"chunk", ROLE_CHUNK}, {"gateway", ROLE_GATEWAY}};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(word, roles[i].name) == 0) {
            c->roles |= roles[i].bit;
            return OK;
        }
    return ERR_INVALID;
}

static enum err parse_pool(struct config *c, const char *text)
{
    enum { K_MAX = 32, M_MAX = 8 };
    const char *plus = strchr(text, '+');
    uint64_t k, m;
    if (!plus || decimal_parse(text, (size_t)(plus - text), &k) ||
        decimal_parse(plus + 1, strlen(plus + 1), &m) || k < 1 || k > K_MAX || m > M_MAX)
        return ERR_INVALID;
    c->pool_k = (uint32_t)k;
    c->pool_m = (uint32_t)m;
    return OK;
}

static enum err set_text(struct config *c, const struct key *key, const char *value,
                         const char *where, char problem[CONFIG_PROBLEM])
{
    struct sys_addr address;
    if (key->type == TYPE_ADDRESS && sys_addr_parse(value, &address))
        return bad_value(where, key, value, "ADDR:PORT such as 127.0.0.1:9000", problem);
    if (key->choices) {
        unsigned i = 0;
        while (key->choices[i] && strcmp(key->choices[i], value) != 0)
            i++;
        if (!key->choices[i])
            return bad_value(where, key, value, "one of debug, info, warn, error", problem);
        c->log_level = (enum log_level)i;
        return OK;
    }
    if (key->offset == AT(pool) && parse_pool(c, value))
        return bad_value(where, key, value, "K+M with K of 1 to 32 and M of 0 to 8", problem);
    *(const char **)((char *)c + key->offset) = arena_string(&c->arena, value);
    return OK;
}

static void format_range(const struct key *key, char out[CONFIG_RANGE])
{
    char least[24], most[24];
    if (key->type == TYPE_SIZE) {
        bytes_format(key->least, least, sizeof least);
        bytes_format(key->most, most, sizeof most);
    } else {
        snprintf(least, sizeof least, "%llu", (unsigned long long)key->least);
        snprintf(most, sizeof most, "%llu", (unsigned long long)key->most);
    }
    snprintf(out, CONFIG_RANGE, "%s to %s", least, most);
}

static enum err set_number(struct config *c, const struct key *key, const char *value,
                           const char *where, char problem[CONFIG_PROBLEM])
{
    uint64_t number;
    enum err e = key->type == TYPE_SIZE ? bytes_parse(value, &number)
                                        : decimal_parse(value, strlen(value), &number);
    if (e || number < key->least || number > key->most) {
        char range[CONFIG_RANGE], want[CONFIG_RANGE + 16];
        format_range(key, range);
        snprintf(want, sizeof want, "a %s of %s", key->type == TYPE_SIZE ? "size" : "number",
                 range);
        return bad_value(where, key, value, want, problem);
    }
    *(uint64_t *)((char *)c + key->offset) = number;
    return OK;
}

static enum err set_flag(struct config *c, const struct key *key, const char *value,
                         const char *where, char problem[CONFIG_PROBLEM])
{
    bool yes = strcmp(value, "true") == 0 || strcmp(value, "yes") == 0;
    if (!yes && strcmp(value, "false") != 0 && strcmp(value, "no") != 0)
        return bad_value(where, key, value, "true or false", problem);
    *(bool *)((char *)c + key->offset) = yes;
    return OK;
}

static enum err add_words(struct config *c, const struct key *key, const char *value,
                          const char *where, char problem[CONFIG_PROBLEM])
{
    struct config_list *list = (struct config_list *)((char *)c + key->offset);
    while (*value) {
        size_t n = strcspn(value, " \t\r\n,");
        char *word = arena_copy(&c->arena, value, n + 1);
        word[n] = 0;
        value += n + strspn(value + n, " \t\r\n,");
        if (n == 0)
            continue;
        if (key->type == TYPE_ROLES) {
            if (set_roles(c, word))
                return bad_value(where, key, word, "metadata, chunk or gateway", problem);
        } else if (list->count == CONFIG_LIST_MAX) {
            return bad_value(where, key, word, "within the limit of 64 words", problem);
        } else {
            list->items[list->count++] = word;
        }
    }
    return OK;
}

static bool takes_words(const struct key *key)
{
    return key->type == TYPE_LIST || key->type == TYPE_ROLES;
}

static enum err set(struct config *c, const struct key *key, const char *value, enum source from,
                    const char *where, char problem[CONFIG_PROBLEM])
{
    size_t index = (size_t)(key - keys);
    if (takes_words(key)) {
        if (c->given[index] != from) { /* the stronger source replaces the list of the weaker */
            if (key->type == TYPE_ROLES)
                c->roles = 0;
            else
                ((struct config_list *)((char *)c + key->offset))->count = 0;
        }
    } else if (from != FROM_DEFAULT && c->given[index] == from) {
        snprintf(problem, CONFIG_PROBLEM, "%s: %s is given twice", where, key->name);
        return ERR_INVALID;
    }
    c->given[index] = (uint8_t)from;
    switch (key->type) {
    case TYPE_TEXT:
    case TYPE_ADDRESS:
        return set_text(c, key, value, where, problem);
    case TYPE_LIST:
    case TYPE_ROLES:
        return add_words(c, key, value, where, problem);
    case TYPE_SIZE:
    case TYPE_COUNT:
        return set_number(c, key, value, where, problem);
    case TYPE_FLAG:
        return set_flag(c, key, value, where, problem);
    }
    return ERR_INVALID;
}

void config_init(struct config *c)
{
    char problem[CONFIG_PROBLEM];
    *c = (struct config){0};
    arena_init(&c->arena);
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (keys[i].initial && set(c, &keys[i], keys[i].initial, FROM_DEFAULT, "default", problem))
            sys_exit(1, problem); /* a default out of its own range */
}

void config_release(struct config *c)
{
    arena_release(&c->arena);
}

/* ---- the file ---- */

struct reading {
    struct config *config;
    const char *path;
    char *problem;
    enum err e; /* of the first bad line */
};

static int take_line(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *r = arg;
    if (r->e)
        return 0;
    const struct key *key = find_key(name);
    if (*section) {
        snprintf(r->problem, CONFIG_PROBLEM, "%s: sections such as [%.60s] are not used", r->path,
                 section);
        r->e = ERR_INVALID;
    } else if (!key) {
        r->e = unknown_key(r->path, name, r->problem);
    } else {
        r->e = set(r->config, key, value, FROM_FILE, r->path, r->problem);
    }
    return r->e == OK;
}

static enum err read_text(const char *path, char **out)
{
    struct sys_file *f;
    uint64_t size;
    size_t done = 0;
    *out = NULL;
    enum err e = sys_file_open(path, SYS_OPEN_READ, &f);
    if (e)
        return e;
    e = sys_file_size(f, &size);
    if (!e && size > FILE_BYTES_MAX)
        e = ERR_TOO_BIG;
    if (!e) {
        *out = sys_alloc((size_t)size + 1);
        e = sys_file_read(f, 0, *out, (size_t)size, &done);
    }
    sys_file_close(f);
    return e;
}

static enum err check_lines(const char *path, const char *text, char problem[CONFIG_PROBLEM])
{
    for (unsigned line = 1; *text; line++) {
        size_t n = strcspn(text, "\n");
        if (n > LINE_BYTES_MAX) {
            snprintf(problem, CONFIG_PROBLEM,
                     "%s:%u: the line is longer than %d bytes; a list may go on, indented, on the "
                     "next",
                     path, line, LINE_BYTES_MAX);
            return ERR_FORMAT;
        }
        text += n + (text[n] == '\n');
    }
    return OK;
}

enum err config_read_file(struct config *c, const char *path, char problem[CONFIG_PROBLEM])
{
    char *text;
    enum err e = read_text(path, &text);
    if (e) {
        snprintf(problem, CONFIG_PROBLEM, "%s: %s", path, err_text(e));
    } else if (!(e = check_lines(path, text, problem))) {
        struct reading r = {.config = c, .path = path, .problem = problem};
        char reason[CONFIG_PROBLEM];
        r.problem = reason;
        int line = ini_parse_string(text, take_line, &r);
        if (line != 0) {
            e = ERR_FORMAT;
            size_t skip = r.e ? strlen(path) : 0;
            snprintf(problem, CONFIG_PROBLEM, "%s:%d%.480s", path, line,
                     r.e ? reason + skip : ": not of the form key = value");
        }
    }
    sys_free(text);
    return e;
}

/* ---- the command line ---- */

enum err config_read_arguments(struct config *c, int argc, char *const *argv,
                               char problem[CONFIG_PROBLEM])
{
    static const char where[] = "command line";
    for (int i = 0; i < argc;) {
        if (strncmp(argv[i], "--", 2) != 0) {
            snprintf(problem, CONFIG_PROBLEM, "%s: \"%.80s\" belongs to no --key", where, argv[i]);
            return ERR_INVALID;
        }
        const struct key *key = find_key(argv[i] + 2);
        if (!key)
            return unknown_key(where, argv[i], problem);
        i++;
        bool value = i < argc && strncmp(argv[i], "--", 2) != 0;
        if (!value && key->type != TYPE_FLAG) {
            snprintf(problem, CONFIG_PROBLEM, "%s: --%s needs a value", where, key->name);
            return ERR_INVALID;
        }
        enum err e = set(c, key, value ? argv[i] : "true", FROM_COMMAND_LINE, where, problem);
        i += value;
        while (!e && takes_words(key) && i < argc && strncmp(argv[i], "--", 2) != 0)
            e = set(c, key, argv[i++], FROM_COMMAND_LINE, where, problem);
        if (e)
            return e;
    }
    return OK;
}

/* ---- what it says ---- */

enum err config_check_server(const struct config *c, char problem[CONFIG_PROBLEM])
{
    const char *what = NULL;
    if (c->roles == 0 && c->data.count == 0)
        what = "no roles and no data: name the roles, or for all in one process the directories";
    else if (c->roles != 0 && !c->cluster_key)
        what = "cluster_key is missing: servers know each other by it";
    else if (c->roles & ROLE_METADATA && !c->metadata_dir)
        what = "metadata_dir is missing: the metadata role keeps its log and state there";
    else if (c->roles & ROLE_CHUNK && c->data.count == 0)
        what = "data is missing: the chunk role needs at least one directory";
    else if (c->roles != 0 && c->metadata.count == 0)
        what = "metadata is missing: the addresses of the metadata members; the first of a new "
               "cluster names its own";
    else if (c->bootstrap && c->join)
        what = "bootstrap and join exclude each other";
    else if ((c->bootstrap || c->join) && c->roles != 0 && !(c->roles & ROLE_METADATA))
        what = "bootstrap and join are for the metadata role";
    if (!what)
        return OK;
    snprintf(problem, CONFIG_PROBLEM, "configuration: %s", what);
    return ERR_INVALID;
}

bool config_given(const struct config *c, const char *key)
{
    const struct key *k = find_key(key);
    return k && c->given[k - keys] != FROM_DEFAULT;
}

void config_timeouts(const struct config *c, struct timeouts *out)
{
    timeouts_default(out);
    int64_t *const scaled[] = {&out->raft_tick,      &out->election_min,  &out->election_max,
                               &out->connect,        &out->metadata_call, &out->shard_progress,
                               &out->heartbeat,      &out->down_after,    &out->shard_write_idle,
                               &out->straggler_grace};
    for (size_t i = 0; i < sizeof scaled / sizeof scaled[0]; i++)
        *scaled[i] = *scaled[i] / 100 * (int64_t)c->timeout_percent;
}

bool config_describe(size_t index, struct config_text *out)
{
    static const char *const types[] = {"text",   "address", "list", "size",
                                        "number", "flag",    "list"};
    if (index >= KEY_COUNT)
        return false;
    const struct key *key = &keys[index];
    *out = (struct config_text){.key = key->name,
                                .type = types[key->type],
                                .initial = key->initial ? key->initial : "",
                                .help = key->help};
    if (key->choices) {
        snprintf(out->range, sizeof out->range, "debug, info, warn, error");
    } else if (key->type == TYPE_COUNT || key->type == TYPE_SIZE) {
        format_range(key, out->range);
    }
    return true;
}
