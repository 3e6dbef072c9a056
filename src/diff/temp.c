/* SPDX-License-Identifier: Apache-2.0 */
/* A killed daemon leaves its mount points behind; diff_cleanup() knows them by their name. */
#include "diff/temp.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/mem.h"
#include "base/path.h"

int temp_dir_make(const char *tmp_root, char **ret, Err *err)
{
        char *dir CLEANUP(cleanup_free) = NULL;
        char name[9];
        int r = path_mkdirs(tmp_root, 0700, err);

        if (r < 0)
                return r;
        random_name(name, sizeof(name) - 1);
        dir = mem_printf("%s/%s%s", tmp_root, TEMP_PREFIX, name);
        if (mkdir(dir, 0700) < 0)
                return err_sys(err, errno, "mkdir %s", dir);
        *ret = TAKE(dir);
        return 0;
}

char *temp_dir_remove(char *path)
{
        Err ignored = {};

        if (!path)
                return NULL;
        unmount_all(path, MNT_DETACH | UMOUNT_NOFOLLOW, &ignored);
        rmdir(path); /* not a tree: what is still mounted must survive */
        free(path);
        return NULL;
}

int mount_has_option(const Mount *m, const char *word)
{
        for (size_t i = 0; i < m->n_options; i++)
                if (str_eq(m->options[i], word))
                        return 1;
        return 0;
}

int mount_is_bind(const Mount *m)
{
        return (str_eq(m->type, "bind") || mount_has_option(m, "bind") ||
                mount_has_option(m, "rbind")) &&
               mount_is_whole(m);
}

int mount_is_whole(const Mount *m)
{
        return str_empty(m->target) && !mount_option(m, "uidmap") && !mount_option(m, "gidmap");
}
