/* A history from JSON lines; the format is in README.md. */
#define _POSIX_C_SOURCE 200809L
#include <jansson.h>
#include <stdio.h>
#include "common/base/digest.h"
#include "tests/check/history.h"
#include "tests/check/memory.h"

enum { LISTED_MAX = 1 << 16 };

/* Any text stands for a value; "*" for some object, null for none. */
static uint64_t value_of(const json_t *text)
{
    const char *t = json_string_value(text);
    if (!t)
        return HISTORY_NOTHING;
    if (strcmp(t, "*") == 0)
        return HISTORY_ANYTHING;
    uint64_t value = xxh64(t, strlen(t), 0);
    return value == HISTORY_NOTHING || value == HISTORY_ANYTHING ? 1 : value;
}

static bool text_fits(const json_t *text)
{
    return json_is_string(text) && json_string_length(text) <= HISTORY_NAME_MAX;
}

static const char *read_list(struct history *h, const json_t *line, const struct history_op *op)
{
    const json_t *prefix = json_object_get(line, "prefix"), *keys = json_object_get(line, "keys");
    if (op->done == HISTORY_NEVER)
        return NULL; /* nobody saw anything */
    if (!text_fits(prefix) || !json_is_object(keys) || json_object_size(keys) > LISTED_MAX)
        return "a list has a prefix and an object of keys";
    struct history_listed *listed = check_alloc((json_object_size(keys) + 1) * sizeof *listed);
    size_t n = 0;
    const char *name;
    json_t *value;
    const char *wrong = NULL;
    json_object_foreach((json_t *)keys, name, value)
    {
        if (strlen(name) > HISTORY_NAME_MAX || !json_is_string(value)) {
            wrong = "a listed key has a value";
            break;
        }
        listed[n++] = (struct history_listed){history_key(h, name), value_of(value)};
    }
    if (!wrong)
        history_list(h, op->client, op->invoke, op->done, json_string_value(prefix),
                     json_string_value(json_object_get(line, "after")),
                     json_string_value(json_object_get(line, "until")), listed, n);
    free(listed);
    return wrong;
}

static const char *read_op(struct history *h, const json_t *line)
{
    const json_t *client = json_object_get(line, "client"), *key = json_object_get(line, "key");
    const json_t *invoke = json_object_get(line, "invoke"), *done = json_object_get(line, "return");
    const json_t *value = json_object_get(line, "value"),
                 *match = json_object_get(line, "if_match");
    const char *kind = json_string_value(json_object_get(line, "op"));
    struct history_op op = {.outcome = HISTORY_DONE, .done = HISTORY_NEVER};
    if (!json_is_integer(client) || !json_is_integer(invoke) || !kind)
        return "client, invoke and op are missing";
    op.client = (uint32_t)json_integer_value(client);
    op.invoke = json_integer_value(invoke);
    if (json_is_integer(done))
        op.done = json_integer_value(done);
    else
        op.outcome = HISTORY_OPEN;
    if (op.done < op.invoke)
        return "return lies before invoke";
    if (strcmp(kind, "list") == 0)
        return read_list(h, line, &op);
    if (!text_fits(key))
        return "there is no key";
    op.key = history_key(h, json_string_value(key));
    op.kind = strcmp(kind, "put") == 0      ? HISTORY_PUT
              : strcmp(kind, "get") == 0    ? HISTORY_GET
              : strcmp(kind, "delete") == 0 ? HISTORY_DELETE
                                            : UINT8_MAX;
    op.value = value_of(value);
    if (op.kind == UINT8_MAX || (op.kind == HISTORY_PUT && op.value == HISTORY_NOTHING))
        return "op is put (with a value), get, delete or list";
    if (json_is_true(json_object_get(line, "if_absent")))
        op.condition = HISTORY_IF_ABSENT;
    if (json_is_string(match)) {
        op.condition = HISTORY_IF_MATCH;
        op.expected = value_of(match);
    }
    bool refused = json_is_true(json_object_get(line, "refused"));
    if (refused && (op.outcome == HISTORY_OPEN || op.condition == HISTORY_ALWAYS))
        return "only what has returned and had a condition is refused";
    if (refused)
        op.outcome = HISTORY_REFUSED;
    history_add(h, &op);
    return NULL;
}

bool history_read(struct history *h, const char *path, char problem[200])
{
    FILE *f = fopen(path, "r");
    char *text = NULL;
    size_t room = 0, number = 0;
    const char *wrong = NULL;
    if (!f) {
        snprintf(problem, 200, "%s cannot be read", path);
        return false;
    }
    while (!wrong && getline(&text, &room, f) >= 0) {
        json_error_t error;
        json_t *line = json_loads(text, 0, &error);
        number++;
        wrong = !line                               ? "it is no JSON object"
                : history_size(h) < HISTORY_OPS_MAX ? read_op(h, line)
                                                    : "the history is too long";
        json_decref(line);
    }
    if (wrong)
        snprintf(problem, 200, "%s, line %zu: %s", path, number, wrong);
    free(text);
    fclose(f);
    return !wrong;
}
