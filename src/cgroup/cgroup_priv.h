/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the small files of a cgroup, in its folder `dir` (a descriptor, -1: none). What is absent
 * or unreadable leaves the value alone. */
#pragma once

#include "cgroup/cgroup.h"

/* The folder of a controller ("" for v2), O_PATH; -1 if there is none. */
int open_controller(const CgroupSet *set, const char *controller);
/* The text of a file in the arena; NULL if there is none. */
char *read_text(Arena *a, int dir, const char *name);
/* A file of one number; "max" is max_means. 1 if read. */
int read_number(Arena *a, int dir, const char *name, uint64_t max_means, uint64_t *ret);

typedef struct KeyField {
        const char *key;
        size_t offset; /* of a uint64_t */
} KeyField;

/* Lines "key number" into fields of msg. Returns how many were known. */
size_t parse_keyed(const char *text, const KeyField *fields, size_t n, void *msg);
/* A number at *p, which moves behind it and the blanks after it; -1 if there is none. */
int take_number(const char **p, uint64_t *ret);
/* The word before the next blank or line end, in the arena; *p moves behind it and the blanks on
 * its line. */
char *take_word(Arena *a, const char **p);
void next_line(const char **p);

/* Calls fn with the page size ("2MB") of each hugetlb.SIZE.SUFFIX in dir. */
void each_hugetlb(Arena *a, int dir, const char *suffix, void (*fn)(void *ctx, const char *size),
                  void *ctx);

typedef struct RdmaLine {
        const char *device;
        uint32_t handles, objects; /* UINT32_MAX: no limit */
} RdmaLine;

/* Lines "mlx4_0 hca_handle=2 hca_object=2000", max at most; how many. */
size_t read_rdma(Arena *a, int dir, const char *name, RdmaLine *ret, size_t max);

/* A message with every field at its default. */
void *pb_new(Arena *a, const ProtobufCMessageDescriptor *desc);
#define pb_make(a, prefix) pb_new((a), &prefix##__descriptor)
void pb_any(Arena *a, const ProtobufCMessage *msg, Google__Protobuf__Any *ret);

int stats_v1(Arena *a, const CgroupSet *set, Google__Protobuf__Any *ret, Err *err);
int stats_v2(Arena *a, const CgroupSet *set, Google__Protobuf__Any *ret, Err *err);
