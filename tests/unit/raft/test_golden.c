/* Scenarios of the paper as text: tests/golden/raft/ has one file each, with the commands and, under
 * each, the trace that it gave. `test_golden --update` writes the traces anew; the difference is to
 * be read like code.
 *
 *   # words, kept                    > members N            N voters, each with entry 1
 *   > join ID                        an empty member, not in the configuration
 *   > log ID T T .. term=T           its durable log from entry 2 on, by terms; before it starts;
 *                                    with an L: larger than a batch
 *   > start                          starts all that do not run
 *   > tick ID N | campaign ID        N ticks; ticks until it is a candidate of either kind
 *   > deliver | deliver N | drop     all that is under way, in order, until none; N of it; none
 *   > cut A B | isolate ID | heal    ways that lose all; heal: none does
 *   > lose INDEX                     appends that begin with this entry are lost, until healed
 *   > propose ID TEXT | read ID      at that member
 *   > disks slow | disks fast | persist ID
 *   > learner ID AT | promote ID AT  a change proposed at member AT
 *   > remove ID AT | replace NEW OLD AT
 *   > transfer FROM TO | resign ID   TO 0: whom it finds best
 *   > compact ID INDEX               its log, up to there
 *   > discard ID                     a member that is down loses its state, but not its log
 *   > lose piece                     the next one of a snapshot
 *   > leases NS | time NS            before members start; all clocks go on by so much
 *   > crash ID | status */
#include <stdarg.h>
#include <stdlib.h>
#include "tests/unit/raft/cluster.h"

static struct {
    bool update;
    char *out;
    size_t n, capacity;
} golden;

static void put(const char *format, va_list args)
{
    char line[512];
    int n = vsnprintf(line, sizeof line - 1, format, args);
    n = n < (int)sizeof line - 2 ? n : (int)sizeof line - 2;
    line[n++] = '\n';
    if (golden.n + (size_t)n + 1 > golden.capacity) {
        golden.capacity = golden.capacity * 2 + 4096;
        golden.out = realloc(golden.out, golden.capacity);
    }
    memcpy(golden.out + golden.n, line, (size_t)n);
    golden.n += (size_t)n;
}

__attribute__((format(printf, 1, 2))) static void emit(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put(format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void trace(struct cluster *c, const char *format, ...)
{
    (void)c;
    char line[400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    emit("    %s", line);
}

static void trace_message(struct cluster *c, const struct raft_message *m)
{
    static const char *const names[] = {"?",
                                        "pre-vote",
                                        "pre-vote-reply",
                                        "vote",
                                        "vote-reply",
                                        "append",
                                        "append-reply",
                                        "heartbeat",
                                        "heartbeat-reply",
                                        "snapshot",
                                        "snapshot-reply",
                                        "timeout-now"};
    char text[300];
    int n = snprintf(text, sizeof text, "%llu->%llu %s term=%llu", (unsigned long long)m->from,
                     (unsigned long long)m->to, names[m->type < 12 ? m->type : 0],
                     (unsigned long long)m->term);
    size_t at = (size_t)n;
    if (m->type == RAFT_PRE_VOTE || m->type == RAFT_VOTE)
        n = snprintf(text + at, sizeof text - at, " last=%llu/%llu", (unsigned long long)m->index,
                     (unsigned long long)m->log_term);
    else if (m->type == RAFT_APPEND)
        n = snprintf(text + at, sizeof text - at, " after=%llu/%llu commit=%llu",
                     (unsigned long long)m->index, (unsigned long long)m->log_term,
                     (unsigned long long)m->commit);
    else if (m->type == RAFT_APPEND_REPLY && m->reject)
        n = snprintf(text + at, sizeof text - at, " refuses %llu hint=%llu/%llu",
                     (unsigned long long)m->index, (unsigned long long)m->hint_index,
                     (unsigned long long)m->hint_term);
    else if (m->type == RAFT_APPEND_REPLY)
        n = snprintf(text + at, sizeof text - at, " match=%llu", (unsigned long long)m->index);
    else if (m->type == RAFT_HEARTBEAT)
        n = snprintf(text + at, sizeof text - at, " commit=%llu round=%llu",
                     (unsigned long long)m->commit, (unsigned long long)m->context);
    else if (m->type == RAFT_HEARTBEAT_REPLY)
        n = snprintf(text + at, sizeof text - at, " round=%llu", (unsigned long long)m->context);
    else if (m->type == RAFT_SNAPSHOT)
        n = snprintf(text + at, sizeof text - at, " %llu/%llu bytes %llu+%u%s",
                     (unsigned long long)m->index, (unsigned long long)m->log_term,
                     (unsigned long long)m->offset, m->piece ? m->piece->length : 0,
                     m->last ? " last" : "");
    else if (m->type == RAFT_SNAPSHOT_REPLY)
        n = snprintf(text + at, sizeof text - at, " %llu %s %llu", (unsigned long long)m->index,
                     m->reject ? "wants" : "next", (unsigned long long)m->hint_index);
    else if (m->type == RAFT_TIMEOUT_NOW)
        n = snprintf(text + at, sizeof text - at, " last=%llu/%llu", (unsigned long long)m->index,
                     (unsigned long long)m->log_term);
    else
        n = snprintf(text + at, sizeof text - at, " %s", m->reject ? "no" : "yes");
    at += (size_t)n;
    if (m->type == RAFT_VOTE && m->context)
        at += (size_t)snprintf(text + at, sizeof text - at, " at the leader's word");
    if ((m->type == RAFT_PRE_VOTE_REPLY || m->type == RAFT_VOTE_REPLY) && m->hint_index)
        at += (size_t)snprintf(text + at, sizeof text - at, " removed at %llu",
                               (unsigned long long)m->hint_index);
    bool answer = m->type == RAFT_APPEND_REPLY || m->type == RAFT_HEARTBEAT_REPLY ||
                  m->type == RAFT_SNAPSHOT_REPLY;
    if (answer && m->commit)
        at += (size_t)snprintf(text + at, sizeof text - at, " needs a snapshot from %llu",
                               (unsigned long long)m->commit);
    for (size_t i = 0; i < m->entries.n && at < sizeof text - 40; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llu/%llu", i ? " " : " entries ",
                               (unsigned long long)m->entries.v[i].index,
                               (unsigned long long)m->entries.v[i].term);
    trace(c, "%s", text);
}

static struct cluster_node *node(struct cluster *c, const char *text)
{
    unsigned long id = text ? strtoul(text, NULL, 10) : 0;
    if (id == 0 || id > CLUSTER_MAX || !c->nodes[id].exists) {
        emit("    no such member");
        return NULL;
    }
    return &c->nodes[id];
}

static void set_log(struct cluster *c, struct cluster_node *n, char **words, int count)
{
    for (int i = 2; i < count; i++) {
        if (strncmp(words[i], "term=", 5) == 0) {
            n->hard.term = strtoull(words[i] + 5, NULL, 10);
            continue;
        }
        char text[600] = {0};
        snprintf(text, sizeof text, "%s@%zu", words[i], n->log.entries.n + 1);
        size_t length = strchr(words[i], 'L') ? sizeof text : strlen(text);
        struct raft_entry e = {.index = n->log.entries.n + 1,
                               .term = strtoull(words[i], NULL, 10),
                               .type = RAFT_ENTRY_COMMAND,
                               .payload = raft_payload_new(text, length)};
        raft_entries_push(&n->log.entries, &e);
        raft_payload_unref(e.payload);
        n->hard.term = e.term > n->hard.term ? e.term : n->hard.term;
    }
    (void)c;
}

static void status(struct cluster *c)
{
    for (size_t i = 1; i <= CLUSTER_MAX; i++) {
        struct cluster_node *n = &c->nodes[i];
        if (!n->exists)
            continue;
        if (!n->alive) {
            emit("    %zu is down", i);
            continue;
        }
        struct raft_status s;
        raft_status(n->raft, &s);
        char log[200], members[100];
        size_t at = 0, m = 0;
        if (n->log.base)
            at += (size_t)snprintf(log, sizeof log, " %llu/%llu..", (unsigned long long)n->log.base,
                                   (unsigned long long)n->log.base_term);
        for (size_t k = 0; k < n->log.entries.n && at < sizeof log - 24; k++)
            at += (size_t)snprintf(log + at, sizeof log - at, " %llu",
                                   (unsigned long long)n->log.entries.v[k].term);
        log[at] = 0;
        for (size_t k = 0; k < s.configuration.count && m < sizeof members - 24; k++) {
            uint8_t r = s.configuration.members[k].roles;
            m += (size_t)snprintf(members + m, sizeof members - m, " %llu%s%s",
                                  (unsigned long long)s.configuration.members[k].id,
                                  r & RAFT_LEARNER   ? "(learner)"
                                  : (r & RAFT_VOTER) ? ""
                                                     : "(going)",
                                  (r & RAFT_OUTGOING) && (r & RAFT_VOTER) ? "(both)" : "");
        }
        members[m] = 0;
        emit("    %zu %s term=%llu leader=%llu commit=%llu applied=%llu log:%s members:%s%s%s", i,
             raft_role_name(s.role), (unsigned long long)s.term, (unsigned long long)s.leader,
             (unsigned long long)s.commit, (unsigned long long)n->applied, log, members,
             s.removed ? " removed" : "", s.discarded ? " without a state" : "");
    }
}

/* Ticks until it asks for leave, or leads (a single voter). */
static void campaign(struct cluster *c, struct cluster_node *n)
{
    for (int i = 0; i < 50; i++) {
        size_t before = c->network_count;
        cluster_do(c, n, (struct raft_event){.type = RAFT_TICK});
        bool asked = c->network_count > before && c->network[before].type == RAFT_PRE_VOTE;
        if (asked || raft_is_leader(n->raft))
            return;
    }
}

static void change(struct cluster *c, char **w, enum raft_change_type type, const char *replaces)
{
    struct cluster_node *at = node(c, w[replaces ? 3 : 2]);
    if (!at)
        return;
    struct raft_event event = {.type = RAFT_CHANGE,
                               .change = type,
                               .member = strtoull(w[1], NULL, 10),
                               .replaces = replaces ? strtoull(replaces, NULL, 10) : 0,
                               .address = type == RAFT_ADD_LEARNER ? "somewhere" : NULL};
    enum err e = cluster_step(c, at, &event);
    if (e)
        emit("    refused: %s", err_name(e));
}

/* Commands about ways and disks; false: none of these. */
static bool command_world(struct cluster *c, char **w, int count)
{
    if (strcmp(w[0], "cut") == 0) {
        c->cut[strtoul(w[1], NULL, 10) % 8][strtoul(w[2], NULL, 10) % 8] = true;
    } else if (strcmp(w[0], "isolate") == 0) {
        for (size_t i = 0; i <= CLUSTER_MAX; i++)
            c->cut[i][strtoul(w[1], NULL, 10) % 8] = c->cut[strtoul(w[1], NULL, 10) % 8][i] = true;
    } else if (strcmp(w[0], "heal") == 0) {
        memset(c->cut, 0, sizeof c->cut);
        c->lost_append = 0;
    } else if (strcmp(w[0], "lose") == 0 && strcmp(w[1], "piece") == 0) {
        c->lost_piece = true;
    } else if (strcmp(w[0], "lose") == 0) {
        c->lost_append = strtoull(w[1], NULL, 10);
    } else if (strcmp(w[0], "disks") == 0) {
        c->slow_disks = strcmp(w[1], "slow") == 0;
    } else if (strcmp(w[0], "deliver") == 0) {
        for (long n = count > 1 ? strtol(w[1], NULL, 10) : 1000; n > 0 && c->network_count; n--)
            cluster_deliver(c, 0, false);
    } else if (strcmp(w[0], "drop") == 0) {
        while (c->network_count)
            cluster_deliver(c, 0, true);
    } else if (strcmp(w[0], "members") == 0) {
        for (raft_id i = 1; i <= strtoull(w[1], NULL, 10); i++)
            cluster_add(c, i, strtoul(w[1], NULL, 10));
    } else if (strcmp(w[0], "join") == 0) {
        cluster_add(c, strtoull(w[1], NULL, 10), 0);
    } else if (strcmp(w[0], "start") == 0) {
        for (size_t i = 1; i <= CLUSTER_MAX; i++)
            if (c->nodes[i].exists && !c->nodes[i].alive)
                cluster_start_node(c, &c->nodes[i]);
    } else if (strcmp(w[0], "status") == 0) {
        status(c);
    } else if (strcmp(w[0], "learner") == 0) {
        change(c, w, RAFT_ADD_LEARNER, NULL);
    } else if (strcmp(w[0], "promote") == 0) {
        change(c, w, RAFT_PROMOTE, NULL);
    } else if (strcmp(w[0], "remove") == 0) {
        change(c, w, RAFT_REMOVE, NULL);
    } else if (strcmp(w[0], "replace") == 0) {
        change(c, w, RAFT_PROMOTE, w[2]);
    } else if (strcmp(w[0], "leases") == 0) {
        c->lease_ns = strtoll(w[1], NULL, 10);
    } else if (strcmp(w[0], "time") == 0) {
        c->time += strtoll(w[1], NULL, 10);
    } else {
        return false;
    }
    return true;
}

static void command_member(struct cluster *c, char **w, int count)
{
    struct cluster_node *n = node(c, w[1]);
    enum err e = OK;
    if (!n)
        return;
    if (strcmp(w[0], "log") == 0) {
        set_log(c, n, w, count);
    } else if (strcmp(w[0], "discard") == 0) {
        n->applied = n->state = 0;
        n->discarded = true;
    } else if (!n->alive) {
        emit("    it is down");
    } else if (strcmp(w[0], "compact") == 0) {
        cluster_compact(c, n, strtoull(w[2], NULL, 10));
    } else if (strcmp(w[0], "transfer") == 0) {
        e = cluster_step(
            c, n, &(struct raft_event){.type = RAFT_TRANSFER, .member = strtoull(w[2], NULL, 10)});
    } else if (strcmp(w[0], "resign") == 0) {
        cluster_do(c, n, (struct raft_event){.type = RAFT_RESIGN});
    } else if (strcmp(w[0], "tick") == 0) {
        for (long k = strtol(w[2], NULL, 10); k > 0; k--)
            cluster_do(c, n, (struct raft_event){.type = RAFT_TICK});
    } else if (strcmp(w[0], "campaign") == 0) {
        campaign(c, n);
    } else if (strcmp(w[0], "propose") == 0) {
        e = cluster_propose(c, n, w[2]);
    } else if (strcmp(w[0], "read") == 0) {
        e = cluster_read(c, n);
    } else if (strcmp(w[0], "persist") == 0) {
        if (cluster_persist_one(c, n))
            cluster_apply_all(c, n);
    } else if (strcmp(w[0], "crash") == 0) {
        cluster_crash(n);
    } else {
        emit("    unknown command");
        golden.update = false;
    }
    if (e)
        emit("    refused: %s", err_name(e));
}

static void run_line(struct cluster *c, char *line)
{
    char *w[16] = {0};
    int count = 0;
    for (char *at = strtok(line, " "); at && count < 15; at = strtok(NULL, " "))
        w[count++] = at;
    if (count && !command_world(c, w, count))
        command_member(c, w, count);
}

/* Everything but the lines that begin with four spaces is kept; those are made anew. */
static void run_file(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "tests/golden/raft/%s.txt", name);
    FILE *f = fopen(path, "r");
    if (!suite_check(f != NULL, __FILE__, __LINE__, "cannot open %s (run from the root)", path))
        return;
    char *text = calloc(1, 1 << 20), line[1024];
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    golden.n = 0;
    struct cluster *c = cluster_new(1);
    c->trace = trace;
    c->trace_message = trace_message;
    for (char *at = text; at < text + n;) {
        char *end = strchr(at, '\n');
        size_t length = end ? (size_t)(end - at) : strlen(at);
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        at += length + 1;
        if (strncmp(line, "    ", 4) == 0)
            continue;
        emit("%s", line);
        if (line[0] == '>')
            run_line(c, line + 1);
    }
    bool same = golden.n == n && memcmp(golden.out, text, n) == 0;
    if (!same && golden.update && !c->failed && (f = fopen(path, "w"))) {
        fwrite(golden.out, 1, golden.n, f);
        fclose(f);
        printf("wrote %s\n", path);
    } else if (!suite_check(same, __FILE__, __LINE__,
                            "%s differs from its trace, which is now:", path)) {
        printf("%.*s", (int)golden.n, golden.out);
    }
    cluster_free(c);
    free(text);
}

#define SCENARIO(name)     \
    static void name(void) \
    {                      \
        run_file(#name);   \
    }
SCENARIO(election)
SCENARIO(split_vote)
SCENARIO(pre_vote)
SCENARIO(stickiness)
SCENARIO(figure_7)
SCENARIO(figure_8)
SCENARIO(read_index)
SCENARIO(read_shrinks)
SCENARIO(check_quorum)
SCENARIO(partition)
SCENARIO(learner)
SCENARIO(own_disk)
SCENARIO(snapshot)
SCENARIO(snapshot_loss)
SCENARIO(snapshot_joins)
SCENARIO(discarded_state)
SCENARIO(transfer)
SCENARIO(transfer_fails)
SCENARIO(resign)
SCENARIO(remove_voter)
SCENARIO(remove_leader)
SCENARIO(replace)
SCENARIO(high_term)
SCENARIO(lease)
SCENARIO(lease_alone)
SCENARIO(lease_restart)
SCENARIO(lease_transfer)

static const struct test tests[] = {
    {"election", election},
    {"split vote", split_vote},
    {"pre-vote", pre_vote},
    {"stickiness", stickiness},
    {"figure 7", figure_7},
    {"figure 8", figure_8},
    {"read index", read_index},
    {"read while a voter leaves", read_shrinks},
    {"check quorum", check_quorum},
    {"partition", partition},
    {"learner", learner},
    {"own disk", own_disk},
    {"snapshot", snapshot},
    {"snapshot with losses", snapshot_loss},
    {"snapshot for one who joins", snapshot_joins},
    {"discarded state", discarded_state},
    {"transfer", transfer},
    {"transfer that fails", transfer_fails},
    {"resign", resign},
    {"remove voter", remove_voter},
    {"remove leader", remove_leader},
    {"replace", replace},
    {"high term", high_term},
    {"lease", lease},
    {"lease of a sole voter", lease_alone},
    {"lease and restart", lease_restart},
    {"lease and transfer", lease_transfer},
    {0},
};

int main(int argc, char **argv)
{
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--update") == 0)
            golden.update = true;
        else
            argv[kept++] = argv[i];
    }
    int failed = suite_run("raft golden", tests, kept, argv);
    free(golden.out);
    return failed;
}
