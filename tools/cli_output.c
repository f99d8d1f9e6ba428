/* Tables, JSON and the progress line. */
#include <stdio.h>
#include <string.h>
#include "common/base/arena.h"
#include "common/base/text.h"
#include "common/sys/sys.h"
#include "tools/cli.h"

enum { COLUMNS_MAX = 24, NAME_MAX_BYTES = 64 };

struct row {
    struct row *next;
    const char *cells[COLUMNS_MAX];
};
struct cli_table {
    struct arena arena;
    const char *const *columns;
    size_t column_count, row_count;
    struct row *first, **last;
};

struct cli_table *cli_table_new(const char *const *columns)
{
    struct cli_table *t = sys_alloc(sizeof *t);
    arena_init(&t->arena);
    t->columns = columns;
    while (t->column_count < COLUMNS_MAX && columns[t->column_count])
        t->column_count++;
    t->last = &t->first;
    return t;
}

void cli_table_row(struct cli_table *t, const char *const *cells)
{
    struct row *r = arena_alloc(&t->arena, sizeof *r);
    for (size_t i = 0; i < t->column_count; i++)
        r->cells[i] = arena_string(&t->arena, cells[i]);
    *t->last = r;
    t->last = &r->next;
    t->row_count++;
}

size_t cli_table_rows(const struct cli_table *t)
{
    return t->row_count;
}

void cli_table_free(struct cli_table *t)
{
    if (!t)
        return;
    arena_release(&t->arena);
    sys_free(t);
}

/* No leading zeros: "007" is a name. */
static bool is_number(const char *text, uint64_t *out)
{
    return (*text != '0' || !text[1]) && decimal_parse(text, strlen(text), out) == OK &&
           *out <= INT64_MAX;
}

/* What is not known stands among numbers. */
static bool is_unknown(const char *text)
{
    return strcmp(text, "-") == 0;
}

static void key_of(const char *column, char out[NAME_MAX_BYTES])
{
    size_t i = 0;
    for (; column[i] && i + 1 < NAME_MAX_BYTES; i++) {
        char c = column[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == ' ' || c == '-' ? '_' : c;
    }
    out[i] = 0;
}

json_t *cli_table_json(const struct cli_table *t)
{
    json_t *rows = json_array();
    for (const struct row *r = t->first; r; r = r->next) {
        json_t *object = json_object();
        for (size_t i = 0; i < t->column_count; i++) {
            char key[NAME_MAX_BYTES];
            uint64_t number;
            key_of(t->columns[i], key);
            json_object_set_new(object, key,
                                is_unknown(r->cells[i])           ? json_null()
                                : is_number(r->cells[i], &number) ? json_integer((json_int_t)number)
                                                                  : json_string(r->cells[i]));
        }
        json_array_append_new(rows, object);
    }
    return rows;
}

/* Characters, not bytes: continuation bytes of UTF-8 take no column. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *text, int width, bool right, bool last)
{
    int pad = width - width_of(text);
    if (pad < 0)
        pad = 0;
    if (right)
        printf("%*s%s", pad, "", text);
    else
        printf("%s%*s", text, last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

void cli_table_print(const struct cli *cli, const struct cli_table *t)
{
    int width[COLUMNS_MAX];
    bool right[COLUMNS_MAX];
    if (cli->json) {
        cli_print_json(cli_table_json(t));
        return;
    }
    for (size_t i = 0; i < t->column_count; i++) {
        width[i] = width_of(t->columns[i]);
        right[i] = t->row_count > 0;
        for (const struct row *r = t->first; r; r = r->next) {
            uint64_t number;
            int w = width_of(r->cells[i]);
            width[i] = w > width[i] ? w : width[i];
            right[i] = right[i] && (is_unknown(r->cells[i]) || is_number(r->cells[i], &number));
        }
    }
    for (size_t i = 0; i < t->column_count; i++)
        print_cell(t->columns[i], width[i], right[i], i + 1 == t->column_count);
    for (const struct row *r = t->first; r; r = r->next)
        for (size_t i = 0; i < t->column_count; i++)
            print_cell(r->cells[i], width[i], right[i], i + 1 == t->column_count);
}

void cli_print_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(value);
}

/* ---- progress ---- */

void cli_progress_init(struct cli_progress *p, const struct cli *cli, const char *label)
{
    *p = (struct cli_progress){.label = label, .columns = cli->json ? 0 : sys_terminal_columns()};
}

void cli_progress_update(struct cli_progress *p, uint64_t done, uint64_t total, const char *note)
{
    enum { BAR = 30 };
    int64_t now = sys_now();
    if (!p->columns || now < p->next)
        return;
    p->next = now + 100 * SYS_MS;
    char line[512], bar[BAR + 1];
    if (done > total && total)
        done = total;
    size_t full = total ? (size_t)((double)done / (double)total * BAR) : 0;
    memset(bar, '#', full);
    memset(bar + full, '.', BAR - full);
    bar[BAR] = 0;
    if (total)
        snprintf(line, sizeof line, "%s [%s] %3u%% %s", p->label, bar,
                 (unsigned)((double)done / (double)total * 100), note);
    else
        snprintf(line, sizeof line, "%s %s", p->label, note);
    printf("\r\033[K%.*s", (int)p->columns - 1, line);
    fflush(stdout);
}

void cli_progress_release(struct cli_progress *p)
{
    if (!p->columns)
        return;
    printf("\r\033[K");
    fflush(stdout);
}
