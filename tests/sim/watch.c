#include "tests/sim/watch.h"
#include <stdio.h>
#include "common/base/digest.h"
#include "common/sys/sim/sim.h"
#include "metadata/driver_internal.h"
#include "metadata/state/state_internal.h"

/* An open state: where, and in which process. */
struct opened {
    const struct state *state;
    uint64_t name;
};
enum { STATES_MAX = 64 };

static struct {
    struct raft_check *check;
    struct opened states[STATES_MAX];
    size_t state_count;
    void (*applied)(void *arg, uint64_t index, const void *command, size_t n);
    void *applied_arg;
    int leader; /* the process that began to lead last */
    struct {
        int pid;
        char path[SYS_PATH_MAX];
    } directories[SIM_METADATA_MAX];
} watch;

/* The types are those of the functions themselves: a change of theirs is seen when this is compiled. */
__typeof__(raft_new) __real_raft_new, __wrap_raft_new;
__typeof__(raft_step) __real_raft_step, __wrap_raft_step;
__typeof__(driver_lease_holds) __real_driver_lease_holds, __wrap_driver_lease_holds;
__typeof__(state_open) __real_state_open, __wrap_state_open;
__typeof__(apply_command) __real_apply_command, __wrap_apply_command;

static void violated(void *arg, const char *text)
{
    workload_fail(arg, "%s", text);
}

void watch_start(struct workload *w)
{
    watch.check = raft_check_new(violated, w);
}

void watch_applied(void (*seen)(void *arg, uint64_t index, const void *command, size_t n),
                   void *arg)
{
    watch.applied = seen;
    watch.applied_arg = arg;
}

void watch_tell(void)
{
    struct raft_check_counts n = raft_check_counts(watch.check);
    fprintf(stderr,
            "raft: %" PRIu64 " steps, %" PRIu64 " leaders, %" PRIu64 " votes, %" PRIu64
            " entries committed, %" PRIu64 " reads, %" PRIu64 " leased; %" PRIu64
            " commands applied, %" PRIu64 " hashes compared\n",
            n.steps, n.leaders, n.votes, n.committed, n.reads, n.leases, n.applied, n.compared);
}

int watch_leader(void)
{
    return watch.leader;
}

enum err __wrap_raft_new(const struct raft_options *options, const struct raft_restored *restored,
                         struct raft **out)
{
    enum err e = __real_raft_new(options, restored, out);
    if (e == OK)
        raft_check_started(watch.check, *out, restored);
    return e;
}

enum err __wrap_raft_step(struct raft *r, const struct raft_event *event,
                          struct raft_effects *effects)
{
    bool led = raft_is_leader(r);
    raft_check_steps(watch.check, r, effects);
    enum err e = __real_raft_step(r, event, effects);
    raft_check_stepped(watch.check, r, event, effects);
    if (!led && raft_is_leader(r))
        watch.leader = sim_self();
    return e;
}

bool __wrap_driver_lease_holds(struct driver *d)
{
    uint64_t newest = raft_check_newest(watch.check);
    bool holds = __real_driver_lease_holds(d);
    if (holds)
        raft_check_lease_held(watch.check, d->status.raft.id, newest);
    return holds;
}

/* A state's name over its lives: its process, of which the embedded form has one for all, and its
 * directory there. One at the address of an earlier one has taken its place. */
static void note_state(const char *directory, const struct state *state)
{
    size_t i = 0;
    while (i < watch.state_count && watch.states[i].state != state)
        i++;
    if (i == STATES_MAX) {
        memmove(watch.states, watch.states + 1, (STATES_MAX - 1) * sizeof watch.states[0]);
        i--;
    } else if (i == watch.state_count) {
        watch.state_count++;
    }
    watch.states[i] =
        (struct opened){state, xxh64(directory, strlen(directory), (uint64_t)sim_self())};
    raft_check_opened(watch.check, watch.states[i].name, state_applied(state));
    for (i = 0; i < SIM_METADATA_MAX; i++)
        if (!watch.directories[i].path[0] || watch.directories[i].pid == sim_self())
            break;
    if (i == SIM_METADATA_MAX)
        return;
    watch.directories[i].pid = sim_self();
    snprintf(watch.directories[i].path, SYS_PATH_MAX, "%s", directory);
}

bool watch_directory(int pid, char out[SYS_PATH_MAX])
{
    for (size_t i = 0; i < SIM_METADATA_MAX; i++)
        if (watch.directories[i].path[0] && watch.directories[i].pid == pid) {
            memcpy(out, watch.directories[i].path, SYS_PATH_MAX);
            return true;
        }
    return false;
}

static uint64_t name_of(const struct state *state)
{
    for (size_t i = watch.state_count; i-- > 0;)
        if (watch.states[i].state == state)
            return watch.states[i].name;
    return 0;
}

enum err __wrap_state_open(const char *directory, uint64_t checkpoint_every, struct state **out)
{
    enum err e = __real_state_open(directory, checkpoint_every, out);
    if (e == OK)
        note_state(directory, *out);
    return e;
}

enum err __wrap_apply_command(struct apply *a, const void *data, size_t n, const void **result,
                              size_t *result_n)
{
    enum err e = __real_apply_command(a, data, n, result, result_n);
    if (e == OK)
        raft_check_applied(watch.check, name_of(a->state), a->index, data, n, a->txn->hash);
    if (e == OK && watch.applied)
        watch.applied(watch.applied_arg, a->index, data, n);
    return e;
}
