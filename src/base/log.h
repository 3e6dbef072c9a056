/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging to stderr as logrus writes it: time="…" level=info msg="…" key=value, or one JSON object
 * a line. Below services/ and cri/ nothing logs above debug; background work logs once, where it
 * ends. Any thread; one line is one write(2).
 *
 *         log_info("loading plugin", "id", id, "type", type);
 *
 * Keys and values are strings in pairs; a NULL value leaves its pair out. Numbers: log_num(n) gives
 * a text that lives until the end of the full expression.
 */
#pragma once

#include "base/err.h"

typedef enum LogLevel {
        LOG_TRACE,
        LOG_DEBUG,
        LOG_INFO,
        LOG_WARN,
        LOG_ERROR,
        LOG_FATAL,
} LogLevel;

typedef enum LogFormat { LOG_FORMAT_TEXT, LOG_FORMAT_JSON } LogFormat;

typedef struct LogNum {
        char text[24];
} LogNum;

static inline LogNum log_num_make(int64_t n);
#define log_num(n) (log_num_make(n).text)

/* Before threads start. */
void log_init(LogLevel level, LogFormat format);
/* "info" -> LOG_INFO; "" is info, "warning" and "panic" are known; -1 for others. */
int log_level_parse(const char *s);
int log_enabled(LogLevel level);
LogLevel log_level(void);

void log_at(LogLevel level, const char *msg, ...) __attribute__((sentinel));

#define log_trace(...) (log_enabled(LOG_TRACE) ? log_at(LOG_TRACE, __VA_ARGS__, NULL) : (void)0)
#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_at(LOG_DEBUG, __VA_ARGS__, NULL) : (void)0)
#define log_info(...)  (log_enabled(LOG_INFO) ? log_at(LOG_INFO, __VA_ARGS__, NULL) : (void)0)
#define log_warn(...)  (log_enabled(LOG_WARN) ? log_at(LOG_WARN, __VA_ARGS__, NULL) : (void)0)
#define log_error(...) (log_enabled(LOG_ERROR) ? log_at(LOG_ERROR, __VA_ARGS__, NULL) : (void)0)

/* For main() of a daemon or helper: prints "NAME: message" to stderr. */
void log_fatal_text(const char *name, const Err *err);

#include <inttypes.h>
#include <stdio.h>

static inline LogNum log_num_make(int64_t n)
{
        LogNum r;

        snprintf(r.text, sizeof(r.text), "%" PRId64, n);
        return r;
}
