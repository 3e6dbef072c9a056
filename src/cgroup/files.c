/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "cgroup/cgroup_priv.h"

enum { FILE_MAX = 256 * 1024, AT_ONCE = 8 * 1024 };

int open_controller(const CgroupSet *set, const char *controller)
{
        const char *dir = cgroup_dir(set, controller);

        return dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

/* The kernel writes the whole text of such a file at the first read, as far as there is room, so
 * the usual one takes a single read. */
char *read_text(Arena *a, int dir, const char *name)
{
        int fd CLEANUP(cleanup_fd) = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC);
        char buf[AT_ONCE], *text;
        ssize_t n;
        Err err;

        if (fd < 0 || (n = read(fd, buf, sizeof(buf))) < 0)
                return NULL;
        if (n < (ssize_t)sizeof(buf))
                return arena_strndup(a, buf, (size_t)n);
        return file_read(a, dir, name, FILE_MAX, &text, NULL, &err) < 0 ? NULL : text;
}

int take_number(const char **p, uint64_t *ret)
{
        uint64_t n = 0;
        const char *at = *p;

        if (*at < '0' || *at > '9')
                return -1;
        for (; *at >= '0' && *at <= '9'; at++) {
                unsigned digit = (unsigned)(*at - '0');

                n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
        }
        while (*at == ' ' || *at == '\t')
                at++;
        *ret = n;
        *p = at;
        return 0;
}

char *take_word(Arena *a, const char **p)
{
        size_t n = strcspn(*p, " \t\n");
        char *word = arena_strndup(a, *p, n);

        *p += n;
        while (**p == ' ' || **p == '\t')
                (*p)++;
        return word;
}

void next_line(const char **p)
{
        *p = strchrnul(*p, '\n');
        if (**p)
                (*p)++;
}

int read_number(Arena *a, int dir, const char *name, uint64_t max_means, uint64_t *ret)
{
        char *text = read_text(a, dir, name);
        const char *p = text;

        if (!text)
                return 0;
        if (str_starts(text, "max")) {
                *ret = max_means;
                return 1;
        }
        return take_number(&p, ret) == 0;
}

size_t parse_keyed(const char *text, const KeyField *fields, size_t n, void *msg)
{
        size_t known = 0, next = 0;

        for (const char *line = text; *line; next_line(&line)) {
                size_t len = strcspn(line, " \t\n");
                const char *p = line + len + strspn(line + len, " \t");
                uint64_t value;

                /* The kernel's order is nearly that of the fields, so the next one comes first. */
                for (size_t k = 0; k < n; k++) {
                        const KeyField *f = &fields[(next + k) % n];

                        if (strncmp(f->key, line, len) != 0 || f->key[len])
                                continue;
                        if (take_number(&p, &value) == 0) {
                                memcpy((char *)msg + f->offset, &value, sizeof(value));
                                known++;
                        }
                        next = (size_t)(f - fields) + 1;
                        break;
                }
        }
        return known;
}

void each_hugetlb(Arena *a, int dir, const char *suffix, void (*fn)(void *ctx, const char *size),
                  void *ctx)
{
        int fd CLEANUP(cleanup_fd) = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;

        if (d)
                TAKE_FD(fd);

        while (d && (e = readdir(d))) {
                size_t n = strlen(e->d_name), m = strlen(suffix);

                if (str_starts(e->d_name, "hugetlb.") && n > 8 + m && str_ends(e->d_name, suffix) &&
                    !memchr(e->d_name + 8, '.', n - 8 - m))
                        fn(ctx, arena_strndup(a, e->d_name + 8, n - 8 - m));
        }
        if (d)
                closedir(d);
}

static uint32_t rdma_value(const char *word, const char *key)
{
        const char *p = word + strlen(key);
        uint64_t n = 0;

        if (!str_starts(word, key))
                return 0;
        if (str_eq(p, "max"))
                return UINT32_MAX;
        return take_number(&p, &n) == 0 ? (uint32_t)MIN(n, (uint64_t)UINT32_MAX) : 0;
}

size_t read_rdma(Arena *a, int dir, const char *name, RdmaLine *ret, size_t max)
{
        char *text = read_text(a, dir, name);
        size_t n = 0;

        for (const char *line = text; line && *line && n < max; next_line(&line)) {
                const char *p = line;
                RdmaLine l = {.device = take_word(a, &p)};

                l.handles = rdma_value(take_word(a, &p), "hca_handle=");
                l.objects = rdma_value(take_word(a, &p), "hca_object=");
                if (*l.device)
                        ret[n++] = l;
        }
        return n;
}

void *pb_new(Arena *a, const ProtobufCMessageDescriptor *desc)
{
        ProtobufCMessage *m = arena_alloc(a, desc->sizeof_message);

        protobuf_c_message_init(desc, m);
        return m;
}

void pb_any(Arena *a, const ProtobufCMessage *msg, Google__Protobuf__Any *ret)
{
        ret->type_url = (char *)(uintptr_t)msg->descriptor->name;
        ret->value.data = arena_alloc(a, protobuf_c_message_get_packed_size(msg) + 1);
        ret->value.len = protobuf_c_message_pack(msg, ret->value.data);
}
