/* SPDX-License-Identifier: Apache-2.0 */
/* Lines as logrus writes them. A line is built in a buffer on the stack and written at once; what
 * does not fit is cut. */
#include "base/log.h"

#include <stdarg.h>
#include <unistd.h>
#include "base/clock.h"

enum { LINE_MAX_BYTES = 4096 };

static const char *const level_names[] = {
        [LOG_TRACE] = "trace",  [LOG_DEBUG] = "debug", [LOG_INFO] = "info",
        [LOG_WARN] = "warning", [LOG_ERROR] = "error", [LOG_FATAL] = "fatal",
};

static LogLevel threshold = LOG_INFO;
static LogFormat format = LOG_FORMAT_TEXT;

void log_init(LogLevel level, LogFormat fmt)
{
        threshold = level;
        format = fmt;
}

int log_enabled(LogLevel level)
{
        return level >= threshold;
}

LogLevel log_level(void)
{
        return threshold;
}

int log_level_parse(const char *s)
{
        if (!*s)
                return LOG_INFO;
        if (strcmp(s, "warn") == 0)
                return LOG_WARN;
        if (strcmp(s, "panic") == 0)
                return LOG_FATAL;
        for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
                if (strcmp(s, level_names[i]) == 0)
                        return (int)i;
        return -1;
}

typedef struct Line {
        char buf[LINE_MAX_BYTES];
        size_t n;
} Line;

static void add(Line *l, const char *s, size_t n)
{
        n = MIN(n, sizeof(l->buf) - 2 - l->n); /* room for the closing brace and the newline */
        memcpy(l->buf + l->n, s, n);
        l->n += n;
}

static void add_str(Line *l, const char *s)
{
        add(l, s, strlen(s));
}

static void add_quoted(Line *l, const char *s)
{
        add(l, "\"", 1);
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                char esc[8];

                if (c == '"' || c == '\\') {
                        esc[0] = '\\';
                        esc[1] = (char)c;
                        add(l, esc, 2);
                } else if (c == '\n') {
                        add(l, "\\n", 2);
                } else if (c == '\t') {
                        add(l, "\\t", 2);
                } else if (c < 0x20 || c == 0x7f) {
                        add(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", c));
                } else {
                        add(l, s, 1);
                }
        }
        add(l, "\"", 1);
}

/* logrus leaves a value bare when it is made of these only. */
static int bare(const char *s)
{
        if (!*s)
                return 0;
        for (; *s; s++)
                if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                      (*s >= '0' && *s <= '9') || strchr("-._/@^+", *s)))
                        return 0;
        return 1;
}

static void add_pair(Line *l, const char *key, const char *value, int quote)
{
        if (format == LOG_FORMAT_JSON) {
                add_str(l, l->n == 0 ? "{" : ",");
                add_quoted(l, key);
                add_str(l, ":");
                add_quoted(l, value);
                return;
        }
        if (l->n)
                add_str(l, " ");
        add_str(l, key);
        add_str(l, "=");
        if (!quote && bare(value))
                add_str(l, value);
        else
                add_quoted(l, value);
}

void log_at(LogLevel level, const char *msg, ...)
{
        char time_text[TIME_TEXT_MAX];
        const char *key;
        Line line = {};
        va_list ap;

        time_format(time_now(), time_text);
        add_pair(&line, "time", time_text, 1);
        add_pair(&line, "level", level_names[level], 0);
        add_pair(&line, "msg", msg, 1);
        va_start(ap, msg);
        while ((key = va_arg(ap, const char *))) {
                const char *value = va_arg(ap, const char *);

                if (value)
                        add_pair(&line, key, value, 0);
        }
        va_end(ap);
        if (format == LOG_FORMAT_JSON)
                line.buf[line.n++] = '}';
        line.buf[line.n++] = '\n';
        (void)!write(STDERR_FILENO, line.buf, line.n);
}

void log_fatal_text(const char *name, const Err *err)
{
        fprintf(stderr, "%s: %s\n", name, err->msg);
}
