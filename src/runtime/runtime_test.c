/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A runtime with shims that are no processes: the binary is a shell script which prints the address
 * of a ttrpc server in this process, over the same loop. What that server answers, and when, is the
 * test's to say.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/test.h"
#include "rpc/message.h"
#include "runtime/runtime.h"
#include "ttrpc/server.h"

enum { PATIENCE_TURNS = 20000 };

typedef struct Fixture {
        Loop *loop;
        Pool *pool;
        Exchange *ex;
        Subscription *events;
        Runtime *rt;
        char dir[200], root[300], state[300], shim[300], socket[300];

        TtrpcServer *server;
        RpcRegistry *registry;
        int create_fails, delete_fails, no_pids; /* what the shim does */
        int hang;                                /* State and Connect are not answered */
        RuntimeTimeouts timeouts;                /* of the next runtime_open() */
        int creates, waits, deletes, shutdowns;  /* what it was asked */
        char options[200], bundle[400];
        Call *waiting[8];

        /* what came back; written on the loop's thread or a pool thread, read when done says so */
        int done, result;
        uint32_t pid;
        Err err;
} Fixture;

static Fixture *f; /* of the running test */

/* ---- the shim ---- */

static int shim_create(Call *c, const Task__CreateTaskRequest *req, Task__CreateTaskResponse *rsp)
{
        f->creates++;
        snprintf(f->bundle, sizeof(f->bundle), "%s", req->bundle);
        snprintf(f->options, sizeof(f->options), "%s", req->options ? req->options->type_url : "");
        if (f->create_fails)
                return err_set(c->err, UNKNOWN, "OCI runtime create failed: no such program");
        rsp->pid = 42;
        return 0;
}

static int shim_state(Call *c, const Task__StateRequest *req, Task__StateResponse *rsp)
{
        if (f->hang && str_eq(req->id, "c1")) {
                call_ref(c); /* never completed; the server's end cancels it */
                call_unref(c);
                return RPC_PENDING;
        }
        rsp->id = req->id;
        rsp->pid = 42;
        return 0;
}

static int shim_connect(Call *c, const Task__ConnectRequest *req, Task__ConnectResponse *rsp)
{
        if (f->hang)
                return RPC_PENDING;
        rsp->task_pid = 42;
        return 0;
}

static int shim_pids(Call *c, const Task__PidsRequest *req, Task__PidsResponse *rsp)
{
        if (f->no_pids)
                return 0;
        rsp->n_processes = 1;
        rsp->processes = arena_array(c->arena, TaskTypes__ProcessInfo *, 1);
        rsp->processes[0] = message_make(c->arena, task_types__process_info);
        rsp->processes[0]->pid = 42;
        return 0;
}

static int shim_wait(Call *c, const Task__WaitRequest *req, Task__WaitResponse *rsp)
{
        f->waiting[f->waits++ % 8] = call_ref(c);
        return RPC_PENDING;
}

static int shim_delete_task(Call *c, const Task__DeleteRequest *req, Task__DeleteResponse *rsp)
{
        f->deletes++;
        if (f->delete_fails)
                return err_set(c->err, f->delete_fails, "cannot delete a running process");
        rsp->pid = 42;
        rsp->exit_status = 3;
        return 0;
}

static int shim_shutdown(Call *c, const Task__ShutdownRequest *req, void *rsp)
{
        f->shutdowns++;
        return 0;
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Create", shim_create, task__create_task_request,
                         task__create_task_response),
        RPC_WAIT_METHOD("State", shim_state, task__state_request, task__state_response),
        RPC_WAIT_METHOD("Connect", shim_connect, task__connect_request, task__connect_response),
        RPC_UNARY_METHOD("Pids", shim_pids, task__pids_request, task__pids_response),
        RPC_WAIT_METHOD("Wait", shim_wait, task__wait_request, task__wait_response),
        RPC_UNARY_METHOD("Delete", shim_delete_task, task__delete_request, task__delete_response),
        RPC_UNARY_METHOD("Shutdown", shim_shutdown, task__shutdown_request,
                         google__protobuf__empty),
};
static const RpcService v3 = RPC_SERVICE("containerd.task.v3.Task", methods);
static const RpcService v2 = RPC_SERVICE("containerd.task.v2.Task", methods);

static void run_now(void *ctx, void (*fn)(void *), void *arg)
{
        fn(arg);
}

static void shim_serve(const RpcService *service)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        Err err = {};
        int fd;

        unlink(f->socket);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert(strlen(f->socket) < sizeof(sun.sun_path));
        memcpy(sun.sun_path, f->socket, strlen(f->socket));
        assert(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(fd, 100) == 0);
        f->registry = rpc_registry_new(run_now, NULL);
        rpc_registry_add(f->registry, service, NULL);
        f->server = ttrpc_server_new(f->loop, f->registry);
        assert(ttrpc_server_listen(f->server, fd, &err) == 0);
}

static void shim_die(void)
{
        for (int i = 0; i < 8; i++)
                f->waiting[i] = call_unref(f->waiting[i]);
        f->server = ttrpc_server_free(f->server);
        f->registry = rpc_registry_free(f->registry);
}

/* What the script does on `start`; on `delete` it leaves a file and answers pid 42, status 137. */
static void shim_script(const char *start)
{
        Err err = {};
        char *text CLEANUP(cleanup_free) = mem_printf(
                "#!/bin/sh\nfor action; do :; done\ncase $action in\n"
                "start) cat > %s/stdin; %s ;;\n"
                "delete) echo \"$@\" >> %s/deleted; printf '\\010\\052\\020\\211\\001' ;;\nesac\n",
                f->dir, start, f->dir);

        file_write(AT_FDCWD, f->shim, text, strlen(text), 0755, &err);
        chmod(f->shim, 0755);
}

/* ---- the fixture ---- */

static void runtime_open(void)
{
        RuntimeOptions o = {
                .root = f->root,
                .state = f->state,
                .grpc_address = "/run/test.sock",
                .ttrpc_address = "/run/test.sock.ttrpc",
                .daemon_path = "/usr/bin/lighterd",
                .version = "2.3.4",
                .timeouts = f->timeouts,
        };
        Err err = {};

        f->pool = pool_new(4);
        if (runtime_new(&o, f->loop, f->pool, f->ex, &f->rt, &err) < 0 ||
            runtime_start(f->rt, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static void runtime_close(void)
{
        if (!f->rt)
                return;
        runtime_stop(f->rt);
        f->pool = pool_free(f->pool);
        for (int i = 0; i < 100; i++)
                loop_once(f->loop, 0);
        f->rt = runtime_free(f->rt);
}

static void no_wake(void *ctx)
{
}

static void fixture_open(Fixture *fx)
{
        char *script CLEANUP(cleanup_free) = NULL;
        Err err = {};

        f = fx;
        snprintf(f->dir, sizeof(f->dir), "%s", test_tmpdir());
        snprintf(f->root, sizeof(f->root), "%s/root", f->dir);
        snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
        snprintf(f->shim, sizeof(f->shim), "%s/containerd-shim-lighter-v2", f->dir);
        snprintf(f->socket, sizeof(f->socket), "%s/shim.sock", f->dir);
        script = mem_printf(
                "echo '{\"version\":3,\"address\":\"unix://%s\",\"protocol\":\"ttrpc\"}'",
                f->socket);
        loop_new(&f->loop, &err);
        f->ex = exchange_new();
        exchange_subscribe(f->ex, NULL, 0, no_wake, NULL, &f->events, &err);
        shim_script(script);
        shim_serve(&v3);
        runtime_open();
}

static void fixture_done(Fixture *fx)
{
        runtime_close();
        if (f->server)
                shim_die();
        subscription_close(f->events);
        exchange_free(f->ex);
        loop_free(f->loop);
        f = NULL;
}

static int is_done(void)
{
        return __atomic_load_n(&f->done, __ATOMIC_ACQUIRE);
}

static void set_done(int r, const Err *err)
{
        f->result = r;
        if (r < 0)
                f->err = *err;
        __atomic_add_fetch(&f->done, 1, __ATOMIC_RELEASE);
}

/* Patience, not a measurement. */
#define UNTIL(cond)                                                             \
        do {                                                                    \
                for (int turn_ = 0; turn_ < PATIENCE_TURNS && !(cond); turn_++) \
                        loop_once(f->loop, 1);                                  \
                CHECK(cond);                                                    \
        } while (0)

static void created(void *ctx, int r, uint32_t pid, const Err *err)
{
        f->pid = pid;
        set_done(r, err);
}

static TaskCreate spec_of(const char *id)
{
        TaskCreate c = {.ns = "default", .id = id, .runtime = f->shim, .spec = "{}", .n_spec = 2};

        task__create_task_request__init(&c.req);
        return c;
}

static int create_as(TaskCreate *c)
{
        f->done = 0;
        task_create(f->rt, c, created, NULL);
        for (int turn = 0; turn < PATIENCE_TURNS && !is_done(); turn++)
                loop_once(f->loop, 1);
        return is_done() ? f->result : -99;
}

static int create(const char *id)
{
        TaskCreate c = spec_of(id);

        return create_as(&c);
}

static void deleted(void *ctx, int r, const Task__DeleteResponse *reply, const Err *err)
{
        if (r == 0)
                f->pid = reply->exit_status;
        set_done(r, err);
}

static int delete_task(const char *id)
{
        f->done = 0;
        task_delete(f->rt, "default", id, deleted, NULL);
        for (int turn = 0; turn < PATIENCE_TURNS && !is_done(); turn++)
                loop_once(f->loop, 1);
        return is_done() ? f->result : -99;
}

static int exists(const char *fmt, const char *name)
{
        char path[700];

        snprintf(path, sizeof(path), fmt, f->dir, name);
        return access(path, F_OK) == 0;
}
#define BUNDLE "%s/state/io.containerd.runtime.v2.task/default/%s"
#define WORK   "%s/root/io.containerd.runtime.v2.task/default/%s"

/* The topics that were published so far, joined by blanks, and the status of the last exit. */
static const char *topics(uint32_t *ret_status)
{
        static char text[400];
        EventBytes *e;
        Err err = {};

        text[0] = '\0';
        while (subscription_next(f->events, &e, &err) == 1) {
                ProtobufCMessage *m, *inner;
                Arena a CLEANUP(arena_done);

                arena_init(&a, SIZE_MAX);
                if (message_unpack(&a, &types__envelope__descriptor, e->data, e->n, &m, &err) ==
                    0) {
                        Types__Envelope *env = (Types__Envelope *)m;

                        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ",
                                 env->topic);
                        if (str_eq(env->topic, "/tasks/exit") &&
                            message_unpack(&a, &events__task_exit__descriptor,
                                           env->event->value.data, env->event->value.len, &inner,
                                           &err) == 0)
                                *ret_status = ((Events__TaskExit *)inner)->exit_status;
                }
                event_bytes_unref(e);
        }
        return text;
}

static char *read_text(const char *name)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/%s", f->dir, name);
        char *text = NULL;
        Err err = {};

        file_read(NULL, AT_FDCWD, path, 100000, &text, NULL, &err);
        return text;
}

/* ---- creating and deleting ---- */

TEST(task_is_created_and_deleted)
{
        Fixture fx CLEANUP(fixture_done) = {};
        Google__Protobuf__Any options = GOOGLE__PROTOBUF__ANY__INIT;
        char type_url[] = "containerd.runc.v1.Options";
        TaskCreate c;
        Task *t;
        uint32_t status = 0;

        fixture_open(&fx);
        c = spec_of("c1");
        options.type_url = type_url;
        c.options = c.req.options = &options;
        CHECK_INT(create_as(&c), 0);
        CHECK_INT(f->pid, 42);
        CHECK_STR(f->options, "containerd.runc.v1.Options");
        CHECK(exists(BUNDLE, "c1/bootstrap.json") && exists(BUNDLE, "c1/shim-binary-path"));
        CHECK(str_ends(f->bundle, "/default/c1"));
        t = runtime_find(f->rt, "default", "c1");
        CHECK(t && task_pid(t) == 42);
        CHECK_STR(task_id(t), "c1");
        task_unref(t);
        CHECK(!runtime_find(f->rt, "other", "c1"));

        CHECK_INT(create("c1"), -ALREADY_EXISTS);
        CHECK_STR(f->err.msg, "task c1: already exists");
        CHECK_INT(f->creates, 1);

        CHECK_INT(delete_task("c1"), 0);
        CHECK_INT(f->pid, 3); /* the exit status */
        CHECK_INT(f->shutdowns, 1);
        CHECK(!exists(BUNDLE, "c1") && !exists(WORK, "c1"));
        CHECK(!runtime_find(f->rt, "default", "c1"));
        CHECK(!exists("%s/%s", "deleted")); /* a shim that obeyed needs no cleaning */
        CHECK_STR(topics(&status), "");     /* it has published by itself */
        CHECK_INT(delete_task("c1"), -NOT_FOUND);
        CHECK_INT(create("c1"), 0);
        CHECK_INT(delete_task("c1"), 0);
}

TEST(refused_create_leaves_nothing)
{
        Fixture fx CLEANUP(fixture_done) = {};

        fixture_open(&fx);
        f->create_fails = 1;
        CHECK_INT(create("c1"), -UNKNOWN);
        CHECK_STR(
                f->err.msg,
                "failed to create shim task: OCI runtime create failed: no such program: unknown");
        CHECK(!exists(BUNDLE, "c1") && !exists(WORK, "c1"));
        CHECK_INT(f->deletes, 1);
        CHECK_INT(f->shutdowns, 1);
        CHECK(!runtime_find(f->rt, "default", "c1"));
        f->create_fails = 0;
        CHECK_INT(create("c1"), 0);
}

TEST(shim_of_version_2_is_found_out)
{
        Fixture fx CLEANUP(fixture_done) = {};
        Task *t;

        fixture_open(&fx);
        shim_die();
        shim_serve(&v2);
        CHECK_INT(create("c1"), 0);
        t = runtime_find(f->rt, "default", "c1");
        CHECK(t && task_pid(t) == 42);
        task_unref(t);
        CHECK_INT(delete_task("c1"), 0);
}

TEST(hostile_shims_are_refused_and_leave_nothing)
{
        static const struct {
                const char *script, *error;
        } cases[] = {
                {"exit 1", "failed to start shim: start failed: : exit status 1"},
                {"echo oops >&2; exit 3",
                 "failed to start shim: start failed: oops: exit status 3"},
                {"kill -9 $$", "failed to start shim: start failed: : signal: Killed"},
                {"true", "failed to start shim: start failed: unexpected protocol: \"\""},
                {"echo hello",
                 "failed to start shim: start failed: no address of a unix socket: \"hello\""},
                {"head -c 100000 /dev/zero", NULL},
                {"yes | head -c 1000000", NULL},
                {"echo unix:///nonexistent/socket", NULL},
                {"echo '{\"version\":9,\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}'", NULL},
        };
        Fixture fx CLEANUP(fixture_done) = {};

        fixture_open(&fx);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                shim_script(cases[i].script);
                CHECK(create("c1") < 0);
                if (cases[i].error)
                        CHECK_STR(f->err.msg, cases[i].error);
                CHECK(str_starts(f->err.msg, "failed to start shim: "));
                CHECK(!exists(BUNDLE, "c1") && !exists(WORK, "c1"));
        }
        {
                TaskCreate c = spec_of("c1");

                c.runtime = "io.containerd.nothing.v7";
                CHECK_INT(create_as(&c), -UNKNOWN);
                CHECK(str_starts(f->err.msg,
                                 "failed to start shim: failed to resolve runtime path: runtime"));
        }
}

TEST(leftover_bundle_does_not_stop_a_create)
{
        Fixture fx CLEANUP(fixture_done) = {};
        char path[700];
        Err err = {};

        fixture_open(&fx);
        snprintf(path, sizeof(path), BUNDLE "/sub", f->dir, "c1");
        CHECK(path_mkdirs(path, 0700, &err) == 0);
        CHECK_INT(create("c1"), 0);
        CHECK(!exists(BUNDLE, "c1/sub"));
}

TEST(running_task_is_not_deleted)
{
        Fixture fx CLEANUP(fixture_done) = {};
        Task *t;

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        f->delete_fails = UNKNOWN;
        CHECK_INT(delete_task("c1"), -UNKNOWN);
        CHECK_STR(f->err.msg, "failed to delete task: cannot delete a running process: unknown");
        t = runtime_find(f->rt, "default", "c1");
        CHECK(t && exists(BUNDLE, "c1"));
        task_unref(t);
}

TEST(task_its_shim_does_not_know_is_cleaned_up)
{
        Fixture fx CLEANUP(fixture_done) = {};
        uint32_t status = 0;

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        f->delete_fails = NOT_FOUND;
        CHECK_INT(delete_task("c1"), 0);
        CHECK_INT(f->pid, 137);
        CHECK(exists("%s/%s", "deleted") && !exists(BUNDLE, "c1"));
        CHECK_STR(topics(&status), "/tasks/exit /tasks/delete ");
        CHECK_INT(status, 137);
}

static int always(void *ctx)
{
        return 1;
}

TEST(create_that_nobody_wants_any_more_is_undone)
{
        Fixture fx CLEANUP(fixture_done) = {};
        TaskCreate c;

        fixture_open(&fx);
        c = spec_of("c1");
        c.cancelled = always;
        CHECK_INT(create_as(&c), -CANCELLED);
        CHECK(!exists(BUNDLE, "c1"));
        CHECK_INT(f->creates, 0);
}

/* ---- shims that stop and die ---- */

static void answered(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        set_done(r, err);
}

static int ask_state(const char *id, int timeout_ms)
{
        Task__StateRequest req = TASK__STATE_REQUEST__INIT;
        Task *t = runtime_find(f->rt, "default", id);

        if (!t)
                return -NOT_FOUND;
        f->done = 0;
        req.id = id;
        task_call(t, "State", &req, timeout_ms, answered, NULL);
        task_unref(t);
        for (int turn = 0; turn < PATIENCE_TURNS && !is_done(); turn++)
                loop_once(f->loop, 1);
        return is_done() ? f->result : -99;
}

TEST(silent_shim_costs_its_caller_the_deadline_only)
{
        Fixture fx CLEANUP(fixture_done) = {};

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        CHECK_INT(create("c2"), 0);
        f->hang = 1;
        CHECK_INT(ask_state("c1", 50), -DEADLINE_EXCEEDED);
        CHECK_INT(ask_state("c2", 5000), 0);
}

static void exited(void *ctx, int r, const TaskExit *exit, const Err *err)
{
        if (r == 0)
                f->pid = exit->status;
        set_done(r, err);
}

static void answer_waits(uint32_t status)
{
        for (int i = 0; i < 8; i++) {
                Call *c = TAKE(f->waiting[i]);

                if (c && call_claim(c)) {
                        ((Task__WaitResponse *)call_response(c))->exit_status = status;
                        call_complete(c, 0);
                }
                call_unref(c);
        }
}

TEST(a_thousand_waits_are_one_call)
{
        enum { WAITERS = 1000 };
        static TaskWaiter w[WAITERS];
        Fixture fx CLEANUP(fixture_done) = {};
        Task *t CLEANUP(task_unrefp) = NULL;

        memset(w, 0, sizeof(w));
        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        t = runtime_find(f->rt, "default", "c1");
        f->done = 0;
        for (int i = 0; i < WAITERS; i++)
                CHECK(task_wait(t, "", &w[i], exited, NULL));
        UNTIL(f->waits == 1);
        for (int i = 0; i < 10; i++)
                CHECK(task_wait_cancel(f->rt, &w[i]));
        CHECK(!task_wait_cancel(f->rt, &w[0]));
        answer_waits(9);
        UNTIL(is_done() == WAITERS - 10);
        CHECK_INT(f->pid, 9);
        CHECK_INT(f->waits, 1);
        CHECK(!task_wait(t, "", &w[0], exited, NULL)); /* cancelled once is cancelled */
}

TEST(exec_of_the_same_name_is_another_process)
{
        Fixture fx CLEANUP(fixture_done) = {};
        TaskWaiter w[3] = {};
        Task *t CLEANUP(task_unrefp) = NULL;

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        t = runtime_find(f->rt, "default", "c1");
        f->done = 0;
        task_wait(t, "e1", &w[0], exited, NULL);
        task_wait(t, "e2", &w[1], exited, NULL);
        task_wait_forget(t, "e1");
        task_wait(t, "e1", &w[2], exited, NULL);
        UNTIL(f->waits == 3);
        answer_waits(0);
        UNTIL(is_done() == 3);
}

TEST(dead_shim_is_cleaned_up_once)
{
        Fixture fx CLEANUP(fixture_done) = {};
        char *log CLEANUP(cleanup_free) = NULL;
        Task *t CLEANUP(task_unrefp) = NULL;
        TaskWaiter w = {}, late = {};
        uint32_t status = 0;

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        t = runtime_find(f->rt, "default", "c1");
        f->done = 0;
        task_wait(t, "", &w, exited, NULL);
        UNTIL(f->waits == 1);
        shim_die();
        UNTIL(is_done() == 1);
        CHECK_INT(f->result, 0);
        CHECK_INT(f->pid, 137);
        CHECK(!exists(BUNDLE, "c1") && !exists(WORK, "c1"));
        CHECK_INT(ask_state("c1", 100), -NOT_FOUND);
        CHECK_STR(topics(&status), "/tasks/exit /tasks/delete ");
        CHECK_INT(status, 137);
        log = read_text("deleted");
        CHECK(log && strstr(log, "-namespace default -address /run/test.sock -publish-binary "
                                 "/usr/bin/lighterd -id c1 -bundle "));
        CHECK(str_ends(log, " delete\n") && strchr(log, '\n') == strrchr(log, '\n'));

        /* somebody who still holds it and waits now */
        f->done = 0;
        CHECK(task_wait(t, "", &late, exited, NULL));
        UNTIL(is_done() == 1);
        CHECK_INT(f->pid, 137);
        shim_serve(&v3);
        CHECK_INT(create("c1"), 0);
}

TEST(failed_cleanup_says_255)
{
        Fixture fx CLEANUP(fixture_done) = {};
        Task *t CLEANUP(task_unrefp) = NULL;
        uint32_t status = 0;
        TaskWaiter w = {};
        Err err = {};

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        t = runtime_find(f->rt, "default", "c1");
        f->done = 0;
        task_wait(t, "", &w, exited, NULL);
        UNTIL(f->waits == 1);
        CHECK(file_write(AT_FDCWD, f->shim, "#!/bin/sh\nexit 1\n", 17, 0755, &err) == 0);
        shim_die();
        UNTIL(is_done() == 1);
        CHECK(!exists(BUNDLE, "c1"));
        CHECK_STR(topics(&status), "/tasks/exit /tasks/delete ");
        CHECK_INT(status, 255);
}

/* ---- recovery ---- */

static int agains;

static void again(void *ctx)
{
        __atomic_add_fetch(&agains, 1, __ATOMIC_RELEASE);
}

TEST(tasks_are_found_again)
{
        Fixture fx CLEANUP(fixture_done) = {};
        Task *t, **all;
        Err err = {};
        char path[700];

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        CHECK_INT(create("c2"), 0);
        runtime_close();
        snprintf(path, sizeof(path), WORK, f->dir, "stale");
        CHECK(path_mkdirs(path, 0711, &err) == 0);
        snprintf(path, sizeof(path), BUNDLE, f->dir, ".c9/x");
        CHECK(path_mkdirs(path, 0711, &err) == 0);
        snprintf(path, sizeof(path), BUNDLE, f->dir, "empty");
        CHECK(path_mkdirs(path, 0711, &err) == 0);
        runtime_open();
        CHECK(!exists(WORK, "stale") && !exists(BUNDLE, ".c9") && !exists(BUNDLE, "empty"));

        t = runtime_find(f->rt, "default", "c1"); /* at once */
        CHECK(t);
        agains = 0;
        CHECK(task_defer(t, again, NULL)); /* but not usable yet: nothing has run on the loop */
        task_unref(t);
        CHECK_INT(runtime_list(f->rt, "default", &all), 2);
        CHECK_STR(task_id(all[0]), "c1");
        CHECK_STR(task_id(all[1]), "c2");
        runtime_list_free(all, 2);
        CHECK_INT(create("c1"), -ALREADY_EXISTS); /* waits for its turn */
        UNTIL(__atomic_load_n(&agains, __ATOMIC_ACQUIRE) == 1);
        t = runtime_find(f->rt, "default", "c1");
        CHECK(t && !task_defer(t, again, NULL) && task_pid(t) == 42);
        task_unref(t);
        CHECK_INT(ask_state("c1", 5000), 0);
        CHECK_INT(delete_task("c1"), 0);
        CHECK_INT(ask_state("c2", 5000), 0);
}

/* With the default this would wait for seconds, with none of them for ever. */
TEST(a_silent_shim_has_the_configured_time_to_be_found_again)
{
        Fixture fx CLEANUP(fixture_done) = {.timeouts = {.load = 30}};
        Task *t;

        fixture_open(&fx);
        CHECK_INT(runtime_timeouts(f->rt)->load, 30);
        CHECK_INT(runtime_timeouts(f->rt)->cleanup, LIMIT_SHIM_CLEANUP_MS);
        CHECK_INT(runtime_timeouts(f->rt)->shutdown, LIMIT_SHIM_SHUTDOWN_MS);
        CHECK_INT(runtime_timeouts(f->rt)->state, LIMIT_TASK_STATE_MS);
        CHECK_INT(create("c1"), 0);
        runtime_close();
        f->hang = 1;
        agains = 0;
        runtime_open();
        t = runtime_find(f->rt, "default", "c1");
        CHECK(t && task_defer(t, again, NULL));
        UNTIL(__atomic_load_n(&agains, __ATOMIC_ACQUIRE) == 1);
        CHECK(!task_defer(t, again, NULL)); /* kept, for it may only be slow */
        task_unref(t);
        f->hang = 0;
        CHECK_INT(delete_task("c1"), 0);
}

TEST(leaked_and_dead_shims_are_cleaned_up_at_start)
{
        Fixture fx CLEANUP(fixture_done) = {};
        uint32_t status = 0;
        Task *t;

        fixture_open(&fx);
        CHECK_INT(create("c1"), 0);
        runtime_close();
        f->no_pids = 1;
        runtime_open();
        UNTIL(!exists(BUNDLE, "c1"));
        CHECK_INT(f->deletes, 1);
        CHECK_INT(f->shutdowns, 1);
        runtime_close();
        f->no_pids = 0;
        topics(&status);

        runtime_open();
        CHECK_INT(create("c1"), 0);
        runtime_close();
        shim_die();
        runtime_open();
        t = runtime_find(f->rt, "default", "c1");
        CHECK(t);
        agains = 0;
        if (task_defer(t, again, NULL))
                UNTIL(__atomic_load_n(&agains, __ATOMIC_ACQUIRE) == 1);
        task_unref(t);
        CHECK(!runtime_find(f->rt, "default", "c1"));
        CHECK(!exists(BUNDLE, "c1"));
        CHECK_STR(topics(&status), "/tasks/exit /tasks/delete ");
        CHECK_INT(status, 137);
}

/* ---- many at once ---- */

enum { THREADS = 3, ROUNDS = 15 };

typedef struct Once {
        Lock lock;
        pthread_cond_t cond;
        int n;
} Once;

static void once_created(void *ctx, int r, uint32_t pid, const Err *err)
{
        Once *o = ctx;

        lock_take(&o->lock);
        o->n++;
        pthread_cond_signal(&o->cond);
        lock_drop(&o->lock);
}

static void once_deleted(void *ctx, int r, const Task__DeleteResponse *reply, const Err *err)
{
        once_created(ctx, r, 0, err);
}

static void once_wait(Once *o, int n)
{
        lock_take(&o->lock);
        while (o->n < n)
                lock_wait(&o->lock, &o->cond, 0);
        lock_drop(&o->lock);
}

/* All threads work on the same two containers. */
static void *creator(void *arg)
{
        Once o = {};

        lock_init(&o.lock, LOCK_LEAF);
        cond_init(&o.cond);
        for (int i = 0; i < ROUNDS; i++) {
                const char *id = i % 2 ? "c1" : "c2";
                TaskCreate c = spec_of(id);
                Task **all;
                size_t n;

                task_create(f->rt, &c, once_created, &o);
                once_wait(&o, 2 * i + 1);
                n = runtime_list(f->rt, NULL, &all);
                runtime_list_free(all, n);
                task_delete(f->rt, "default", id, once_deleted, &o);
                once_wait(&o, 2 * i + 2);
        }
        pthread_cond_destroy(&o.cond);
        lock_done(&o.lock);
        __atomic_add_fetch(&f->done, 1, __ATOMIC_RELEASE);
        return NULL;
}

TEST(many_creates_and_deletes_take_turns)
{
        Fixture fx CLEANUP(fixture_done) = {};
        pthread_t threads[THREADS];
        Task **all;

        fixture_open(&fx);
        for (int i = 0; i < THREADS; i++)
                CHECK(pthread_create(&threads[i], NULL, creator, NULL) == 0);
        UNTIL(is_done() == THREADS);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        CHECK_INT(runtime_list(f->rt, NULL, &all), 0);
        CHECK(!exists(BUNDLE, "c1") && !exists(BUNDLE, "c2"));
        CHECK(f->creates > 0 && f->creates == f->deletes);
}
