/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the shim that are functions of their input: states, bootstrap, names, logs. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "api/containerd/runtime/bootstrap/v1/bootstrap.pb-c.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/test.h"
#include "rpc/message.h"
#include "shim/bootstrap.h"
#include "shim/control.h"
#include "shim/create.h"
#include "shim/logger.h"
#include "shim/oci.h"
#include "shim/op.h"
#include "shim/shim_priv.h"
#include "shim/start.h"
#include "shim/state.h"

/* ---- states ---- */

typedef struct StateRow {
        int is_exec;
        ProcState state;
        ProcAction action;
        int code;
        const char *text;
} StateRow;

TEST(states_say_what_containerd_says)
{
        static const StateRow rows[] = {
                {0, PROC_CREATED, ACT_START, OK, NULL},
                {0, PROC_CREATED, ACT_DELETE, OK, NULL},
                {0, PROC_CREATED, ACT_EXEC, OK, NULL},
                {0, PROC_CREATED, ACT_CHECKPOINT, UNKNOWN,
                 "cannot checkpoint a task in created state"},
                {0, PROC_RUNNING, ACT_CHECKPOINT, OK, NULL},
                {0, PROC_PAUSED, ACT_CHECKPOINT, OK, NULL},
                {0, PROC_STOPPED, ACT_CHECKPOINT, UNKNOWN, "cannot checkpoint a stopped container"},
                {0, PROC_CREATED, ACT_PAUSE, UNKNOWN, "cannot pause task in created state"},
                {0, PROC_RUNNING, ACT_DELETE, UNKNOWN, "cannot delete a running process"},
                {0, PROC_RUNNING, ACT_RESUME, UNKNOWN, "cannot resume a running process"},
                {0, PROC_PAUSED, ACT_EXEC, UNKNOWN, "cannot exec in a paused state"},
                {0, PROC_PAUSED, ACT_RESUME, OK, NULL},
                {0, PROC_PAUSED, ACT_KILL, OK, NULL},
                {0, PROC_STOPPED, ACT_UPDATE, UNKNOWN, "cannot update a stopped container"},
                {0, PROC_STOPPED, ACT_DELETE, OK, NULL},
                {0, PROC_DELETED, ACT_DELETE, NOT_FOUND,
                 "cannot delete a deleted process: not found"},
                {0, PROC_DELETED, ACT_KILL, NOT_FOUND, "cannot kill a deleted process: not found"},
                {1, PROC_CREATED, ACT_KILL, FAILED_PRECONDITION,
                 "process not created: failed precondition"},
                {1, PROC_CREATED, ACT_DELETE, OK, NULL},
                {1, PROC_RUNNING, ACT_START, UNKNOWN, "cannot start a running process"},
                {1, PROC_STOPPED, ACT_START, UNKNOWN, "cannot start a stopped process"},
                {1, PROC_STOPPED, ACT_KILL, NOT_FOUND, "process already finished: not found"},
                {1, PROC_STOPPED, ACT_RESIZE, UNKNOWN, "cannot resize a stopped container"},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                Err err = {};

                CHECK_INT(state_check(rows[i].is_exec, rows[i].state, rows[i].action, &err),
                          -rows[i].code);
                if (rows[i].text)
                        CHECK_STR(err.msg, rows[i].text);
        }
}

TEST(words_of_a_failed_kill)
{
        Err err;

        err_set(&err, UNKNOWN, "container not running");
        CHECK_INT(kill_error(&err), -NOT_FOUND);
        CHECK_STR(err.msg, "process already finished: not found");
        err_set(&err, UNKNOWN, "kill: No Such Process");
        CHECK_INT(kill_error(&err), -NOT_FOUND);
        err_set(&err, UNKNOWN, "container \"x\" does not exist");
        CHECK_INT(kill_error(&err), -NOT_FOUND);
        CHECK_STR(err.msg, "no such container: not found");
        err_set(&err, UNKNOWN, "boom");
        CHECK_INT(kill_error(&err), -UNKNOWN);
        CHECK_STR(err.msg, "unknown error after kill: boom");
}

/* ---- flags and bootstrap ---- */

TEST(flags_in_go_syntax)
{
        const char *argv[] = {"shim",   "-namespace",      "ns", "--id=c1", "-address", "/a.sock",
                              "-debug", "-publish-binary", "/x", "start"};
        const char *unknown[] = {"shim", "-nope"}, *cut[] = {"shim", "-id"},
                   *no_debug[] = {"shim", "-debug=false", "delete"};
        ShimFlags f;
        Err err;

        CHECK_INT(shim_flags_parse(ARRAY_LEN(argv), argv, &f, &err), 0);
        CHECK_STR(f.ns, "ns");
        CHECK_STR(f.id, "c1");
        CHECK_STR(f.address, "/a.sock");
        CHECK_STR(f.action, "start");
        CHECK_INT(f.debug, 1);
        CHECK_INT(shim_flags_parse(2, unknown, &f, &err), -INVALID_ARGUMENT);
        CHECK_INT(shim_flags_parse(2, cut, &f, &err), -INVALID_ARGUMENT);
        CHECK_INT(shim_flags_parse(3, no_debug, &f, &err), 0);
        CHECK_INT(f.debug, 0);
}

static const ShimFlags flags = {.ns = "ns",
                                .id = "c1",
                                .address = "/run/c.sock",
                                .publish_binary = "",
                                .bundle = "",
                                .action = "start"};

TEST(an_any_is_not_mistaken_for_bootstrap_params)
{
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        Runc__Options options = RUNC__OPTIONS__INIT, *read;
        Bootstrap b;
        Arena a;
        Err err;
        void *bytes;
        size_t n;

        arena_init(&a, SIZE_MAX);
        options.binary_name = "crun"; /* valid UTF-8 throughout: decodes as BootstrapParams too */
        any.type_url = (char *)"containerd.runc.v1.Options";
        any.value.data = message_pack(&a, &options, &any.value.len);
        bytes = message_pack(&a, &any, &n);
        CHECK_INT(bootstrap_read(&a, &flags, "/run/c.sock.ttrpc", bytes, n, &b, &err), 0);
        CHECK(!b.modern);
        CHECK_STR(b.id, "c1");
        CHECK_STR(b.ttrpc_address, "/run/c.sock.ttrpc");
        CHECK_INT(runc_options_read(&a, b.options, &read, &err), 0);
        CHECK_STR(read->binary_name, "crun");
        CHECK_STR(bootstrap_answer(&a, &b, "unix:///s", &n), "unix:///s");
        CHECK_INT(n, 9);
        arena_done(&a);
}

TEST(bootstrap_params_are_answered_in_kind)
{
        Bootstrap__BootstrapParams p = BOOTSTRAP__BOOTSTRAP_PARAMS__INIT;
        Bootstrap__BootstrapResult *result;
        ProtobufCMessage *m;
        Bootstrap b;
        Arena a;
        Err err;
        void *bytes;
        size_t n;

        arena_init(&a, SIZE_MAX);
        p.instance_id = "c2";
        p.namespace_ = "moby";
        p.log_level = BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_DEBUG;
        p.containerd_version = "2.3.4";
        p.containerd_ttrpc_address = "/t";
        p.containerd_grpc_address = "/g";
        p.socket_dir_presence_case = BOOTSTRAP__BOOTSTRAP_PARAMS__SOCKET_DIR_PRESENCE_SOCKET_DIR;
        p.socket_dir = "/run/x";
        bytes = message_pack(&a, &p, &n);
        CHECK_INT(bootstrap_read(&a, &flags, NULL, bytes, n, &b, &err), 0);
        CHECK(b.modern && b.debug && !b.options);
        CHECK_STR(b.id, "c2");
        CHECK_STR(b.grpc_address, "/g");
        CHECK_STR(b.socket_dir, "/run/x");
        bytes = (void *)(uintptr_t)bootstrap_answer(&a, &b, "unix:///s", &n);
        CHECK_INT(message_unpack(&a, &bootstrap__bootstrap_result__descriptor, bytes, n, &m, &err),
                  0);
        result = (Bootstrap__BootstrapResult *)m;
        CHECK_INT(result->version, 3);
        CHECK_STR(result->address, "unix:///s");
        CHECK_STR(result->protocol, "ttrpc");
        arena_done(&a);
}

TEST(garbage_on_stdin_counts_as_nothing)
{
        static const char *const garbage[] = {"", "hello", "\xff\xff\xff\xff\xff", "\x0a\x7fshort",
                                              "\x0a\x02\xc3\x28"};
        const ShimFlags empty = {.ns = "", .id = "x"};
        Bootstrap b;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
                CHECK_INT(
                        bootstrap_read(&a, &flags, NULL, garbage[i], strlen(garbage[i]), &b, &err),
                        0);
                CHECK(!b.modern && !b.options);
                CHECK_STR(b.id, "c1");
        }
        CHECK_INT(bootstrap_read(&a, &empty, NULL, "", 0, &b, &err), -INVALID_ARGUMENT);
        arena_done(&a);
}

TEST(options_of_another_type_are_refused_unless_empty)
{
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        Runc__Options *o;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        any.type_url = (char *)"runtimeoptions.v1.Options";
        CHECK_INT(runc_options_read(&a, &any, &o, &err), 0);
        any.value.data = (uint8_t *)(uintptr_t) "\x0a\x01x";
        any.value.len = 3;
        CHECK_INT(runc_options_read(&a, &any, &o, &err), -INVALID_ARGUMENT);
        any.type_url = (char *)"type.googleapis.com/containerd.runc.v1.Options";
        any.value.data = (uint8_t *)(uintptr_t) "\x08\x01";
        any.value.len = 2;
        CHECK_INT(runc_options_read(&a, &any, &o, &err), 0);
        CHECK_INT(o->no_pivot_root, 1);
        char *json CLEANUP(cleanup_free) = runc_options_json(o);
        CHECK_STR(json, "{\"no_pivot_root\":true}");
        arena_done(&a);
}

/* ---- sockets ---- */

#define GROUP(json) shim_group(&a, json, strlen(json), "c1")

TEST(containers_of_a_pod_share_a_shim)
{
        Arena a;

        arena_init(&a, SIZE_MAX);
        CHECK_STR(GROUP("{}"), "c1");
        CHECK_STR(GROUP("not json"), "c1");
        CHECK_STR(GROUP("[]"), "c1");
        CHECK_STR(GROUP("{\"annotations\":7}"), "c1");
        CHECK_STR(GROUP("{\"annotations\":{\"io.kubernetes.cri.sandbox-id\":\"pod\"}}"), "pod");
        CHECK_STR(
                GROUP("{\"annotations\":{\"io.kubernetes.cri.sandbox-id\":\"pod\",\"io.containerd.runc.v2.group\":\"g\"}}"),
                "g");
        CHECK_STR(GROUP("{\"annotations\":{\"io.containerd.runc.v2.group\":5}}"), "c1");
        arena_done(&a);
}

TEST(socket_paths_equal_containerds)
{
        const char *path, *cleaned;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        /* printf %s /run/containerd/containerd.sock/default/c1 | sha256sum */
        CHECK_INT(shim_socket_path(&a, NULL, "/run/containerd/containerd.sock", "default", "c1",
                                   &path, &err),
                  0);
        CHECK_STR(
                path,
                "/run/containerd/s/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888");
        CHECK_INT(shim_socket_path(&a, NULL, "/run/./containerd//x/../containerd.sock", "default",
                                   "c1", &cleaned, &err),
                  0);
        CHECK_STR(cleaned, path);
        CHECK_INT(shim_socket_path(&a, "relative", "/a", "b", "c", &path, &err), -INVALID_ARGUMENT);
        CHECK_INT(shim_socket_path(&a, "/a/very/long/directory/for/a/socket/to/lie/in/indeed", "/a",
                                   "b", "c", &path, &err),
                  -INVALID_ARGUMENT);
        arena_done(&a);
}

TEST(a_stale_socket_is_replaced_and_a_live_one_joined)
{
        char path[300];
        struct stat st;
        int first CLEANUP(cleanup_fd) = -1, second CLEANUP(cleanup_fd) = -1;
        Err err;

        snprintf(path, sizeof(path), "%s/s/sock", test_tmpdir());
        CHECK_INT(shim_socket_listen(path, &first, &err), 0);
        CHECK(first >= 0);
        CHECK(stat(path, &st) == 0);
        CHECK_INT(st.st_mode & 0777, 0600);
        CHECK_INT(shim_socket_listen(path, &second, &err), 0);
        CHECK_INT(second, -1);
        fd_close(TAKE_FD(first));
        CHECK_INT(shim_socket_listen(path, &second, &err), 0);
        CHECK(second >= 0);
}

/* ---- documents ---- */

static int private_pid(const char *text)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        Err err;

        return json_read(text, strlen(text), 65536, "spec", &j, &err) == 0 &&
               spec_has_private_pid_ns(j);
}

TEST(a_pid_namespace_is_private_only_without_a_path)
{
        CHECK(private_pid(
                "{\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"pid\"}]}}"));
        CHECK(!private_pid(
                "{\"linux\":{\"namespaces\":[{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}]}}"));
        CHECK(!private_pid("{\"linux\":{\"namespaces\":[{\"type\":\"mount\"}]}}"));
        CHECK(!private_pid("{\"linux\":{\"namespaces\":{}}}"));
        CHECK(!private_pid("{\"linux\":{\"namespaces\":[1,null,{\"type\":3}]}}"));
        CHECK(!private_pid("{}"));
}

TEST(the_last_error_of_a_runtimes_log)
{
        static const char log[] =
                "{\"level\":\"error\",\"msg\":\"first\"}\nnot json\n{\"level\":\"warning\",\"msg\":\"w\"}\n"
                "{\"level\":\"error\",\"msg\":\"exec: \\\"x\\\": not found\",\"time\":\"t\"}\n[1]\n{\"level\":5}\n";
        Arena a;

        arena_init(&a, SIZE_MAX);
        CHECK_STR(oci_log_last_error(&a, log, strlen(log)), "exec: \"x\": not found");
        CHECK(!oci_log_last_error(&a, "", 0));
        CHECK(!oci_log_last_error(&a, "{\"level\":\"error\"", 16));
        arena_done(&a);
}

TEST(pid_files)
{
        static const char *const bad[] = {"", "x", "-1", "0", "99999999999", "12x"};
        char path[300];
        Arena a;
        Err err;
        pid_t pid;

        arena_init(&a, SIZE_MAX);
        snprintf(path, sizeof(path), "%s/pid", test_tmpdir());
        CHECK_INT(oci_read_pid(&a, path, &pid, &err), -NOT_FOUND);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                file_write(AT_FDCWD, path, bad[i], strlen(bad[i]), 0600, &err);
                CHECK_INT(oci_read_pid(&a, path, &pid, &err), -UNKNOWN);
        }
        file_write(AT_FDCWD, path, "1234\n", 5, 0600, &err);
        CHECK_INT(oci_read_pid(&a, path, &pid, &err), 0);
        CHECK_INT(pid, 1234);
        arena_done(&a);
}

TEST(urls_are_decoded)
{
        Arena a;

        arena_init(&a, SIZE_MAX);
        CHECK_STR(url_decode(&a, "/a%20b+c%2f"), "/a b c/");
        CHECK_STR(url_decode(&a, "100%"), "100%");
        CHECK_STR(url_decode(&a, "%zz%0"), "%zz%0");
        CHECK_STR(url_decode(&a, "a%00b"), "a%00b");
        arena_done(&a);
}

TEST(logging_program_that_ended_at_once_is_forgotten)
{
        Shim *s CLEANUP(cleanup_free) = mem_new(Shim);
        Container *c CLEANUP(cleanup_free) = mem_new(Container);
        siginfo_t info;
        pid_t pid;

        list_init(&s->containers);
        c->shim = s;
        c->init.container = c;
        exits_expect(s);
        pid = fork();
        if (pid == 0)
                _exit(0);
        c->init.io.logger = pid;
        exits_logger(&c->init); /* nobody has seen it end */
        CHECK_INT(c->init.io.logger, pid);
        CHECK_INT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
        exits_reap(s);
        exits_logger(&c->init);
        CHECK_INT(c->init.io.logger, 0);
        exits_unexpect(s);
}

static int refuse(Op *op, Err *err)
{
        return err_set(err, FAILED_PRECONDITION, "not now");
}

static int refused(Op *op, int r, OpReply *reply, Err *err)
{
        op->container->n_execs++;
        return r;
}

TEST(any_number_of_ops_may_fail_at_once)
{
        static const OpKind kind = {
                .name = "refused", .alone = 1, .begin = refuse, .done = refused};
        enum { MANY = 50000 };
        struct rlimit old, small = {256 * 1024, RLIM_INFINITY};
        Shim *s CLEANUP(cleanup_free) = mem_new(Shim);
        Container *c;
        Err err;

        CHECK(loop_new(&s->loop, &err) == 0);
        s->trim_timer = loop_add_timer(s->loop, 0, NULL, NULL);
        list_init(&s->containers);
        c = container_ref(container_new(s, "c", "/nonexistent"));
        c->exclusive = 1; /* something runs, and they wait */
        for (int i = 0; i < MANY; i++)
                op_submit(&kind, c, NULL, NULL, NULL);
        CHECK_INT(c->n_execs, 0);
        c->exclusive = 0;
        getrlimit(RLIMIT_STACK, &old);
        setrlimit(RLIMIT_STACK, &small); /* enough for one of them inside another, not for all */
        ops_schedule(c);
        setrlimit(RLIMIT_STACK, &old);
        CHECK_INT(c->n_execs, MANY);
        c->n_execs = 0;
        container_gone(c);
        container_unref(c);
        loop_remove(s->trim_timer);
        loop_free(s->loop);
}
