/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option words. The table is fstab's, as containerd has it: propagation words are not in it and go
 * to the file system like any unknown word. Order among the words that are left is kept, overlay
 * cares.
 */
#include <sys/mount.h>
#include "mount/mount_priv.h"

static const struct {
        const char *word;
        unsigned long flag;
        int clear;
} words[] = {
        {"async", MS_SYNCHRONOUS, 1},
        {"atime", MS_NOATIME, 1},
        {"bind", MS_BIND, 0},
        {"defaults", 0, 0},
        {"dev", MS_NODEV, 1},
        {"diratime", MS_NODIRATIME, 1},
        {"dirsync", MS_DIRSYNC, 0},
        {"exec", MS_NOEXEC, 1},
        {"mand", MS_MANDLOCK, 0},
        {"noatime", MS_NOATIME, 0},
        {"nodev", MS_NODEV, 0},
        {"nodiratime", MS_NODIRATIME, 0},
        {"noexec", MS_NOEXEC, 0},
        {"nomand", MS_MANDLOCK, 1},
        {"norelatime", MS_RELATIME, 1},
        {"nostrictatime", MS_STRICTATIME, 1},
        {"nosuid", MS_NOSUID, 0},
        {"rbind", MS_BIND | MS_REC, 0},
        {"relatime", MS_RELATIME, 0},
        {"remount", MS_REMOUNT, 0},
        {"ro", MS_RDONLY, 0},
        {"rw", MS_RDONLY, 1},
        {"strictatime", MS_STRICTATIME, 0},
        {"suid", MS_NOSUID, 1},
        {"sync", MS_SYNCHRONOUS, 0},
};

static int apply_word(MountFlags *f, const char *word)
{
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
                if (!str_eq(words[i].word, word))
                        continue;
                if (words[i].clear)
                        f->flags &= ~words[i].flag;
                else
                        f->flags |= words[i].flag;
                return 1;
        }
        return 0;
}

int mount_parse_options(Arena *a, const Mount *m, MountFlags *ret, Err *err)
{
        MountFlags f = {};
        int has_loop = 0;
        size_t len = 1;
        char *p;

        for (size_t i = 0; i < m->n_options; i++) {
                has_loop |= str_eq(m->options[i], "loop");
                len += strlen(m->options[i]) + 1;
        }
        f.data = p = arena_alloc(a, len);
        for (size_t i = 0; i < m->n_options; i++) {
                const char *o = m->options[i];

                if (!*o || apply_word(&f, o))
                        continue;
                if (str_eq(o, "loop")) {
                        f.loop = 1;
                } else if (str_eq(o, "direct-io") && has_loop) {
                        f.direct_io = 1;
                } else if (str_starts(o, "uidmap=")) {
                        f.uidmap = o + strlen("uidmap=");
                } else if (str_starts(o, "gidmap=")) {
                        f.gidmap = o + strlen("gidmap=");
                } else if (str_starts(o, "X-containerd.")) {
                        return err_set(err, INVALID_ARGUMENT,
                                       "mount option \"%s\" is for a mount handler", o);
                } else {
                        if (p != f.data)
                                *p++ = ',';
                        p = stpcpy(p, o);
                }
        }
        *ret = f;
        return 0;
}

const char *mount_option(const Mount *m, const char *name)
{
        size_t n = strlen(name);

        for (size_t i = 0; i < m->n_options; i++)
                if (strncmp(m->options[i], name, n) == 0 && m->options[i][n] == '=')
                        return m->options[i] + n + 1;
        return NULL;
}

/* An overlay for reading is its upperdir on top of its lowerdirs; without workdir the kernel makes
 * it read-only. */
static void overlay_readonly(Arena *a, const Mount *m, Mount *ret, const char **options)
{
        const char *upper = mount_option(m, "upperdir");
        size_t n = 0;

        for (size_t i = 0; i < m->n_options; i++) {
                const char *o = m->options[i];

                if (str_starts(o, "workdir=") || str_starts(o, "upperdir="))
                        continue;
                if (upper && str_starts(o, "lowerdir="))
                        o = arena_printf(a, "lowerdir=%s:%s", upper, o + strlen("lowerdir="));
                options[n++] = o;
        }
        ret->n_options = n;
}

MountList mount_readonly(Arena *a, const Mount *mounts, size_t n)
{
        MountList l = {.v = arena_array(a, Mount, n), .n = n};

        for (size_t i = 0; i < n; i++) {
                const char **options = arena_array(a, const char *, mounts[i].n_options + 1);
                size_t k = 0;

                l.v[i] = mounts[i];
                l.v[i].options = options;
                if (str_eq(mounts[i].type, "overlay")) {
                        overlay_readonly(a, &mounts[i], &l.v[i], options);
                        continue;
                }
                for (size_t j = 0; j < mounts[i].n_options; j++)
                        if (!str_eq(mounts[i].options[j], "rw") &&
                            !str_eq(mounts[i].options[j], "ro"))
                                options[k++] = mounts[i].options[j];
                options[k++] = "ro";
                l.v[i].n_options = k;
        }
        return l;
}
