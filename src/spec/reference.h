/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image references, [domain/]path[:tag][@digest], as people type them: "busybox" means
 * docker.io/library/busybox:latest.
 *
 * https://github.com/distribution/reference/blob/main/reference.go
 */
#pragma once

#include "base/arena.h"
#include "spec/digest.h"

typedef struct Reference {
        const char *domain; /* "" if the text names none (reference_parse only) */
        const char *path;
        const char *tag; /* "" for none */
        Digest digest;   /* "" for none */
} Reference;

/* The grammar, nothing added. INVALID_ARGUMENT. */
int reference_parse(Arena *a, const char *s, Reference *ret, Err *err);
/* As people type it: docker.io and library/ are added; no tag is added. INVALID_ARGUMENT. */
int reference_parse_familiar(Arena *a, const char *s, Reference *ret, Err *err);
/* Adds the tag "latest" to what has neither tag nor digest. */
void reference_default_tag(Reference *r);
const char *reference_format(Arena *a, const Reference *r);
