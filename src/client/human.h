/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, ages, times and signals as people (and ctr) write them, and text made safe for a terminal.
 */
#pragma once

#include "base/clock.h"
#include "base/str.h"

enum { HUMAN_MAX = 48 };

/* "1.9 MiB", "4.0 KiB", "0.0 B" */
const char *human_bytes(int64_t n, char buf[HUMAN_MAX]);
/* "371B", "2.007MB": decimal, four digits */
const char *human_size(int64_t n, char buf[HUMAN_MAX]);
/* "Less than a second", "7 minutes", "About an hour" */
const char *human_duration(int64_t ns, char buf[HUMAN_MAX]);
/* Go's time.Time.String(): "2026-01-02 15:04:05.123456789 +0000 UTC" */
const char *human_time(Time t, char buf[HUMAN_MAX]);
/* RFC 3339 in local time, without a fraction: "2026-01-02T15:04:05+01:00" */
const char *human_time_local(Time t, char buf[HUMAN_MAX]);

/* "SIGTERM", "term", "15", "RTMIN+3"; 0 when it is no signal. */
int signal_parse(const char *s);

/* Appends text with control characters (also C1) and invalid UTF-8 written as \xNN, so that no name
 * can drive a terminal. */
void text_escape(Str *out, const char *text);
