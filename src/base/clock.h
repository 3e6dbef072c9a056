/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks in nanoseconds, and RFC 3339 times as containerd writes them (always UTC, "Z"). */
#pragma once

#include "base/macros.h"

#define NS_PER_SEC UINT64_C(1000000000)
#define NS_PER_MS  UINT64_C(1000000)

/* A point in time as protobuf has it; year 1 (Go's zero time) is TIME_YEAR1. */
typedef struct Time {
        int64_t sec;
        int32_t nsec;
} Time;

#define TIME_YEAR1 ((Time){.sec = INT64_C(-62135596800)})

Time time_now(void);         /* CLOCK_REALTIME */
uint64_t time_mono_ns(void); /* CLOCK_MONOTONIC */

enum { TIME_TEXT_MAX = 40 };
/* "2026-01-02T03:04:05.123456789Z", trailing zeros of the fraction dropped as Go's RFC3339Nano
 * does. */
const char *time_format(Time t, char buf[TIME_TEXT_MAX]);
/* 0, or -1 for what is no RFC 3339 time; offsets are accepted. */
int time_parse(const char *s, Time *ret);
/* Go's "1h2m3.5s", "100ms", "0s"; ns out. 0 or -1. */
int duration_parse(const char *s, int64_t *ret_ns);
/* As Go prints it: "1h2m3.5s", "1.5ms", "0s". */
const char *duration_format(int64_t ns, char buf[TIME_TEXT_MAX]);
