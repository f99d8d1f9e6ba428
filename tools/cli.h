/* The frame of every verb: dispatch, options, help, tables, JSON, progress.
 *
 * Exit status: 0 it held, 1 it did not, 2 the words were wrong. Results go to standard output,
 * everything about how it goes to standard error; with --json the output is one JSON value. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "tools/config.h"

enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli;
struct cli_verb {
    const char *name;    /* "disk"; of a verb under a group: "list" */
    const char *usage;   /* what follows the name: "NAME --dir DIR" */
    const char *summary; /* one line */
    const char *help;    /* more lines, or NULL */
    /* argv[0] is the first word behind the verb. */
    int (*run)(struct cli *cli, int argc, char **argv);
    const struct cli_verb *verbs; /* a group: ends with a NULL name; run is NULL */
};

enum { CLI_DEPTH = 3 };
struct cli {
    bool json;
    const char *config_path;                /* --config, else CAIRN_CONFIG, else NULL */
    const struct cli_verb *verbs;           /* all of them */
    const struct cli_verb *path[CLI_DEPTH]; /* the verb that runs, and its group */
    size_t depth;
};

/* Finds the verb and runs it. "help", "--help" behind any verb, and no words at all print help. */
int cli_dispatch(struct cli *cli, const struct cli_verb *verbs, int argc, char **argv);
/* `cairn help [VERB [VERB]]` */
int cli_help(struct cli *cli, int argc, char **argv);
/* Says on standard error what is wrong and how the verb is used. Returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says on standard error what did not work. Returns CLI_FAILED. */
int cli_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- options of a verb ---- */

enum cli_type { CLI_TEXT, CLI_COUNT, CLI_SIZE, CLI_DURATION, CLI_FLAG };
struct cli_option {
    const char *name; /* without the hyphens; NULL ends the list */
    enum cli_type type;
    void *out; /* const char **, uint64_t *, uint64_t *, int64_t * (ns), bool * */
};
/* Takes the options, --json and --config out of argv, wherever they stand; what is left are the
 * verb's words. Returns CLI_OK, or CLI_USAGE having said why. "--" ends the options. */
int cli_options(struct cli *cli, const struct cli_option *options, int *argc, char **argv);
/* The same for a verb that takes no words. */
int cli_options_only(struct cli *cli, const struct cli_option *options, int argc, char **argv);
/* Reads the file of --config or CAIRN_CONFIG, which must be given, into c (to be released).
 * Returns an exit status; whatever is not CLI_OK has been said. */
int cli_config(struct cli *cli, struct config *c);

/* ---- output ---- */

/* Rows of text cells. People get aligned columns, numbers to the right; --json an array of objects
 * whose keys are the column names in lower case with underscores, numbers as numbers; "-" is what
 * is not known, null. */
struct cli_table;
struct cli_table *cli_table_new(const char *const *columns); /* ends with NULL; kept, not copied */
/* One text per column, copied. */
void cli_table_row(struct cli_table *t, const char *const *cells);
size_t cli_table_rows(const struct cli_table *t);
json_t *cli_table_json(const struct cli_table *t);
void cli_table_print(const struct cli *cli, const struct cli_table *t);
void cli_table_free(struct cli_table *t);

/* Prints and drops the value. */
void cli_print_json(json_t *value);

/* A line that redraws itself, on a terminal only and not with --json. */
struct cli_progress {
    const char *label;
    unsigned columns; /* 0: silent */
    int64_t next;     /* not drawn more often than ten times a second */
};
void cli_progress_init(struct cli_progress *p, const struct cli *cli, const char *label);
/* done of total (0: unknown), and a word about it. */
void cli_progress_update(struct cli_progress *p, uint64_t done, uint64_t total, const char *note);
/* Clears the line. */
void cli_progress_release(struct cli_progress *p);
