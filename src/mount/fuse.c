/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUSE file systems: the helper of libfuse finds the program of the type, which mounts and goes on
 * in the background.
 *
 *         mount.fuse3 SOURCE TARGET -o OPTION ... -t TYPE
 */
#include "base/cleanup.h"
#include "base/proc.h"
#include "mount/mount_priv.h"

enum { FUSE_MS = 60 * 1000, FUSE_OUTPUT = 512 };

static const char *const prefixes[] = {"fuse.", "fuse3."};

int is_fuse(const char *type)
{
        for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
                if (str_starts(type, prefixes[i]))
                        return 1;
        return 0;
}

int fuse_mount(Arena *a, const Mount *m, const char *target, Err *err)
{
        int three = str_starts(m->type, prefixes[1]);
        const char *name = three ? "mount.fuse3" : "mount.fuse";
        char *path CLEANUP(cleanup_free) = proc_find(name);
        char *out CLEANUP(cleanup_free) = NULL;
        const char **argv = arena_array(a, const char *, 2 * m->n_options + 6);
        ProcSpec spec = {.path = path, .argv = argv};
        size_t n = 0;
        int status, r;

        if (!path)
                return err_set(err, UNIMPLEMENTED, "mount type \"%s\": %s was not found", m->type,
                               name);
        argv[n++] = name;
        argv[n++] = m->source ? m->source : "";
        argv[n++] = target;
        for (size_t i = 0; i < m->n_options; i++) {
                argv[n++] = "-o";
                argv[n++] = m->options[i];
        }
        argv[n++] = "-t";
        argv[n++] = m->type + strlen(prefixes[three]);
        r = proc_run(&spec, NULL, 0, 1, FUSE_OUTPUT, FUSE_MS, &status, &out, NULL, err);
        if (r < 0)
                return r;
        if (status)
                return err_set(err, UNKNOWN, "mount helper %s for \"%s\" failed: %.400s: status %d",
                               name, m->type, out, proc_exit_code(status));
        return 0;
}
