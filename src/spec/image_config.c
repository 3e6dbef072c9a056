/* SPDX-License-Identifier: Apache-2.0 */
/* Image configurations and chain ids. */
#include <stdio.h>

#include "base/limits.h"
#include "spec/image_config.h"

/* Array member key of j as strings, NULL-terminated. */
static int read_strings(Arena *a, const json_t *j, const char *key, const char ***ret,
                        size_t *ret_n, Err *err)
{
        const json_t *list = NULL;
        const char **out;
        size_t i, n = 0;
        json_t *item;
        int r;

        r = json_get_arr(j, key, &list, err);
        if (r < 0)
                return r;
        out = arena_array(a, const char *, (list ? json_array_size(list) : 0) + 1);
        json_array_foreach(list, i, item)
        {
                if (!json_is_string(item))
                        return err_set(err, INVALID_ARGUMENT, "%s[%zu]: must be a string", key, i);
                out[n++] = arena_strdup(a, json_string_value(item));
        }
        *ret = out;
        *ret_n = n;
        return 0;
}

static int read_str(Arena *a, const json_t *j, const char *key, const char **ret, Err *err)
{
        const char *s = "";
        int r = json_get_str(j, key, &s, err);

        *ret = arena_strdup(a, s);
        return r;
}

static int read_diff_ids(Arena *a, const json_t *root, ImageConfig *c, Err *err)
{
        const json_t *rootfs = NULL;
        const char *type = "layers", **ids;
        int r;

        if ((r = json_get_obj(root, "rootfs", &rootfs, err)) < 0)
                return r;
        if (!rootfs)
                return 0;
        if ((r = json_get_str(rootfs, "type", &type, err)) < 0)
                return r;
        if (*type && !str_eq(type, "layers"))
                return err_set(err, INVALID_ARGUMENT, "rootfs.type \"%s\" is not \"layers\"", type);
        r = read_strings(a, rootfs, "diff_ids", &ids, &c->n_diff_ids, err);
        if (r < 0)
                return r;
        c->diff_ids = arena_array(a, Digest, c->n_diff_ids);
        for (size_t i = 0; i < c->n_diff_ids; i++) {
                r = digest_parse(ids[i], &c->diff_ids[i], err);
                if (r < 0)
                        return err_wrap(err, "rootfs.diff_ids[%zu] \"%.200s\"", i, ids[i]);
        }
        return 0;
}

int image_config_parse(Arena *a, const char *text, size_t n, ImageConfig *ret, Err *err)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        const json_t *config = NULL, *labels = NULL;
        ImageConfig c = {};
        int r;

        r = json_read(text, n, LIMIT_DOCUMENT, "image config", &j, err);
        if (r < 0)
                return r;
        if (!json_is_object(j))
                return err_set(err, INVALID_ARGUMENT, "image config: must be an object");
        if ((r = read_str(a, j, "os", &c.platform.os, err)) < 0 ||
            (r = read_str(a, j, "architecture", &c.platform.arch, err)) < 0 ||
            (r = read_str(a, j, "variant", &c.platform.variant, err)) < 0 ||
            (r = read_str(a, j, "os.version", &c.platform.os_version, err)) < 0 ||
            (r = read_diff_ids(a, j, &c, err)) < 0 ||
            (r = json_get_obj(j, "config", &config, err)) < 0)
                return err_wrap(err, "image config");
        platform_normalize(&c.platform);
        if ((r = read_str(a, config, "User", &c.user, err)) < 0 ||
            (r = read_str(a, config, "WorkingDir", &c.cwd, err)) < 0 ||
            (r = read_str(a, config, "StopSignal", &c.stop_signal, err)) < 0 ||
            (r = read_strings(a, config, "Env", &c.env, &c.n_env, err)) < 0 ||
            (r = read_strings(a, config, "Entrypoint", &c.entrypoint, &c.n_entrypoint, err)) < 0 ||
            (r = read_strings(a, config, "Cmd", &c.cmd, &c.n_cmd, err)) < 0 ||
            (r = json_get_obj(config, "Labels", &labels, err)) < 0 ||
            (r = annotations_from_json(a, labels, "Labels", &c.labels, &c.n_labels, err)) < 0)
                return err_wrap(err, "image config: config");
        *ret = c;
        return 0;
}

void chain_id(const Digest *diff_ids, size_t n, Digest *ret)
{
        *ret = diff_ids[0];
        for (size_t i = 1; i < n; i++) {
                char text[2 * DIGEST_TEXT_MAX];
                int len = snprintf(text, sizeof(text), "%s %s", ret->text, diff_ids[i].text);

                digest_of(text, (size_t)len, ret);
        }
}
