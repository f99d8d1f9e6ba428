#include <stdio.h>
#include <string.h>
#include "common/sys/log.h"
#include "tools/server.h"
#include "tools/verbs.h"

/* `cairn server`: reads its configuration, starts its roles, waits until it is asked to stop. */

static int fail(const char *problem)
{
    log_error("server", "%s", problem);
    return cli_failed("%s", problem);
}

static int run(struct cli *cli, const struct config *config)
{
    struct server *s = sys_alloc(sizeof *s);
    (void)cli;
    struct sys_poll stop = {.event = sys_stop_event()};
    enum err e = server_start(s, config);
    int status = CLI_OK;
    if (e == OK) {
        log_info("server", "ready");
        while (sys_poll(&stop, 1, SYS_FOREVER) != OK)
            continue;
        log_info("server", "stopping");
    } else if (e != ERR_STOPPING) {
        status = fail(s->problem);
    }
    server_stop(s);
    sys_free(s);
    return status;
}

/* The other words are configuration keys, which the table of configuration knows. */
static const char *take_config_path(int *argc, char **argv)
{
    const char *path = NULL;
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < *argc)
            path = argv[++i];
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return path;
}

int verb_server(struct cli *cli, int argc, char **argv)
{
    struct config config;
    char problem[CONFIG_PROBLEM];
    const char *path = take_config_path(&argc, argv);
    config_init(&config);
    enum err e = OK;
    if (path)
        e = config_read_file(&config, path, problem);
    if (e == OK)
        e = config_read_arguments(&config, argc, argv, problem);
    if (e == OK)
        e = config_check_server(&config, problem);
    log_level_set(config.log_level);
    int status = e == OK ? run(cli, &config) : cli_usage(cli, "%s", problem);
    config_release(&config);
    return status;
}
