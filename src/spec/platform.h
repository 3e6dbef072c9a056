/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Platforms, "os[(version)]/arch[/variant]", with containerd's normalisation: x86_64 is amd64,
 * aarch64 arm64, armhf arm/v7. A Platform borrows its strings; those written by platform_parse()
 * live in the arena.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

typedef struct Platform {
        const char *os, *arch, *variant, *os_version; /* "" for none, never NULL once normalised */
} Platform;

enum { PLATFORM_TEXT_MAX = 256 };

/* One to three parts; a single part is an OS or an architecture, the rest is the host's.
 * INVALID_ARGUMENT. */
int platform_parse(Arena *a, const char *s, Platform *ret, Err *err);
/* Replaces aliases by their canonical static names; NULL becomes "". */
void platform_normalize(Platform *p);
const char *platform_format(const Platform *p, char buf[PLATFORM_TEXT_MAX]);
Platform platform_host(void);

/* How well something for platform p serves one who wants want: 0 is best, -1 not at all. */
int platform_rank(const Platform *want, const Platform *p);
