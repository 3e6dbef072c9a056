/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three generations of shims. 2.3 and later read BootstrapParams and print an encoded
 * BootstrapResult; 2.0 to 2.2 read their options as an Any and print JSON; older ones read the same
 * and print an address, which implies version 2. What comes back is a stranger's output: each way
 * is tried in turn and the outcome is checked once, at the end.
 */
#include "runtime/bootstrap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "rpc/message.h"
#include "spec/bundle.h"
#include "api/containerd/runtime/bootstrap/v1/bootstrap.pb-c.h"

enum { SHOWN = 200, ADDRESS_FILE_MAX = 64 * 1024 };

static Bootstrap__LogLevel level(void)
{
        switch (log_level()) {
        case LOG_TRACE:
                return BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_TRACE;
        case LOG_DEBUG:
                return BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_DEBUG;
        case LOG_WARN:
                return BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_WARN;
        case LOG_ERROR:
                return BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_ERROR;
        case LOG_FATAL:
                return BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_FATAL;
        case LOG_INFO:
                break;
        }
        return BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_INFO;
}

void *bootstrap_input_pack(Arena *a, const BootstrapInput *in, size_t *ret_n)
{
        Bootstrap__BootstrapParams p = BOOTSTRAP__BOOTSTRAP_PARAMS__INIT;
        Bootstrap__Extension options = BOOTSTRAP__EXTENSION__INIT, *extensions[1] = {&options};

        p.instance_id = in->id;
        p.namespace_ = in->ns;
        p.log_level = level();
        p.containerd_version = in->version;
        p.containerd_ttrpc_address = in->ttrpc_address;
        p.containerd_grpc_address = in->grpc_address;
        p.containerd_binary = in->daemon_path;
        if (in->options) {
                options.value = (Google__Protobuf__Any *)(uintptr_t)in->options;
                p.n_extensions = 1;
                p.extensions = extensions;
        }
        if (in->socket_dir) {
                p.socket_dir_presence_case =
                        BOOTSTRAP__BOOTSTRAP_PARAMS__SOCKET_DIR_PRESENCE_SOCKET_DIR;
                p.socket_dir = in->socket_dir;
        }
        return message_pack(a, &p, ret_n);
}

void *bootstrap_input_pack_legacy(Arena *a, const BootstrapInput *in, size_t *ret_n)
{
        *ret_n = 0;
        return in->options && in->options->value.len > 0 ? message_pack(a, in->options, ret_n)
                                                         : NULL;
}

static int check(Arena *a, int64_t version, const char *protocol, const char *address,
                 Bootstrap *ret, Err *err)
{
        const char *path = str_starts(address, "unix://") ? address + strlen("unix://") : address;

        if (version != 2 && version != 3)
                return err_set(err, UNIMPLEMENTED,
                               "unsupported shim version (%lld): not implemented",
                               (long long)version);
        if (!str_eq(protocol, "ttrpc"))
                return err_set(err, str_empty(protocol) ? UNKNOWN : UNIMPLEMENTED,
                               "unexpected protocol: \"%.*s\"", SHOWN, protocol);
        if (path[0] != '/' || strlen(path) > LIMIT_SOCKET_PATH)
                return err_set(err, UNKNOWN, "no address of a unix socket: \"%.*s\"", SHOWN,
                               address);
        ret->version = (int)version;
        ret->address = arena_strdup(a, address);
        return 0;
}

static const char *trimmed(Arena *a, const char *bytes, size_t n)
{
        while (n > 0 && strchr(" \t\r\n", bytes[n - 1]))
                n--;
        while (n > 0 && strchr(" \t\r\n", *bytes))
                bytes++, n--;
        return arena_strndup(a, bytes, n);
}

/* 1 and the fields when the text is a JSON object of version 2 or above; 0 when it is not. */
static int parse_json(const char *text, json_t **ret_doc, int64_t *ret_version,
                      const char **ret_protocol, const char **ret_address)
{
        Err ignored = {};

        if (json_read(text, strlen(text), LIMIT_DOCUMENT, "bootstrap", ret_doc, &ignored) < 0)
                return 0;
        if (!json_is_object(*ret_doc) ||
            json_get_i64(*ret_doc, "version", ret_version, &ignored) < 0 ||
            json_get_str(*ret_doc, "protocol", ret_protocol, &ignored) < 0 ||
            json_get_str(*ret_doc, "address", ret_address, &ignored) < 0)
                return 0;
        return *ret_version >= 2;
}

static int json_looks(const json_t *doc)
{
        const json_t *metadata = NULL;
        const char *look = NULL;
        Err ignored = {};

        return json_get_obj(doc, "metadata", &metadata, &ignored) == 0 && metadata &&
               json_get_str(metadata, BOOTSTRAP_LOOK, &look, &ignored) == 0 && look &&
               str_eq(look, BOOTSTRAP_LOOK_V1);
}

int bootstrap_parse(Arena *a, const void *bytes, size_t n, Bootstrap *ret, Err *err)
{
        json_t *doc CLEANUP(json_decrefp) = NULL;
        const char *protocol = "", *address = "", *text;
        ProtobufCMessage *m;
        int64_t version = 0;
        Err ignored = {};

        *ret = (Bootstrap){};
        if (message_unpack(a, &bootstrap__bootstrap_result__descriptor, bytes, n, &m, &ignored) ==
            0) {
                const Bootstrap__BootstrapResult *result = (const void *)m;

                /* nothing printed decodes as well: then it is the protocol that is missed first */
                if (n == 0)
                        return check(a, 2, "", "", ret, err);
                for (size_t i = 0; i < result->n_metadata; i++)
                        ret->looks |= str_eq(result->metadata[i]->key, BOOTSTRAP_LOOK) &&
                                      str_eq(result->metadata[i]->value, BOOTSTRAP_LOOK_V1);
                return check(a, result->version, result->protocol, result->address, ret, err);
        }
        if (memchr(bytes, 0, n))
                return err_set(err, UNKNOWN,
                               "neither an address nor a bootstrap result in %zu bytes", n);
        text = trimmed(a, bytes, n);
        if (parse_json(text, &doc, &version, &protocol, &address)) {
                ret->looks = json_looks(doc);
                return check(a, version, protocol, address, ret, err);
        }
        return check(a, 2, "ttrpc", text, ret, err);
}

int bootstrap_save(const char *bundle, const Bootstrap *b, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/bootstrap.json", bundle);
        char *temp CLEANUP(cleanup_free) = mem_printf("%s/.bootstrap.json", bundle);
        json_t *j CLEANUP(json_decrefp) = json_pack("{s:i,s:s,s:s}", "version", b->version,
                                                    "address", b->address, "protocol", "ttrpc");
        char *text CLEANUP(cleanup_free) = NULL;
        int r;

        if (j && b->looks)
                json_object_set_new(j, "metadata",
                                    json_pack("{s:s}", BOOTSTRAP_LOOK, BOOTSTRAP_LOOK_V1));
        if (!j)
                return err_set(err, INTERNAL, "bootstrap.json: address is not UTF-8");
        text = json_text(j);
        r = file_write(AT_FDCWD, temp, text, strlen(text), 0644, err);
        if (r < 0)
                return r;
        if (rename(temp, path) < 0)
                return err_sys(err, errno, "rename %s", temp);
        return 0;
}

int bootstrap_load(Arena *a, const char *bundle, Bootstrap *ret, Err *err)
{
        static const char *const names[] = {"bootstrap.json", "address"};
        int r = 0;

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                const char *path = arena_printf(a, "%s/%s", bundle, names[i]);
                char *text;
                size_t n;

                r = file_read(a, AT_FDCWD, path, ADDRESS_FILE_MAX, &text, &n, err);
                if (r == -NOT_FOUND)
                        continue;
                if (r >= 0)
                        r = bootstrap_parse(a, text, n, ret, err);
                return r < 0 ? err_wrap(err, "%s", path) : 0;
        }
        return r;
}
