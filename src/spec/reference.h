/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image references, [domain/]path[:tag][@digest]. Two grammars meet here:
 *
 * - the distribution reference, which people type: "busybox" means
 * docker.io/library/busybox:latest;
 * - the locator, which the daemon stores and resolves: host/path, then an object (tag, @digest or
 * tag@digest), never expanded.
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
/* The short form: "busybox:latest". */
const char *reference_familiar(Arena *a, const Reference *r);

typedef struct Locator {
        const char *host;    /* "docker.io" */
        const char *locator; /* "docker.io/library/busybox", cleaned */
        const char *object;  /* "latest", "latest@sha256:…", "@sha256:…", "" */
} Locator;

/* INVALID_ARGUMENT "invalid reference", "hostname required". */
int locator_parse(Arena *a, const char *s, Locator *ret, Err *err);
