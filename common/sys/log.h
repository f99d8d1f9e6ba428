/* The log: one line an event, for people and for grep.
 *
 *   2026-01-31T12:00:00.000Z INFO  store opened a disk disk=3 shards=120
 *
 * First the area (the module's name), then what happened to what, then key=value pairs; a line that
 * an operator acts on says what to do. Lines are cut at 1 KiB. */
#pragma once

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_line(enum log_level level, const char *area, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Lines below this level are dropped; LOG_INFO at first. Of the process, set once at its start. */
void log_level_set(enum log_level least);

#define log_info(area, ...)  log_line(LOG_INFO, area, __VA_ARGS__)
#define log_warn(area, ...)  log_line(LOG_WARN, area, __VA_ARGS__)
#define log_error(area, ...) log_line(LOG_ERROR, area, __VA_ARGS__)
