/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Most methods are one question to the sandbox's shim, as those of Tasks are: sent with a deadline,
 * answered on the loop's thread, no thread waits. An event goes out when the shim has done what it
 * tells of.
 */
#include "services/sandbox_controllers.h"

#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/services/sandbox/v1/sandbox.pb-c.h"
#include "base/limits.h"
#include "metadata/metadata.h"
#include "rpc/message.h"
#include "runtime/sandbox.h"
#include "services/claimed_priv.h"
#include "services/exit_wait_priv.h"

#define CONTROLLER "shim"

static int check_controller(Call *c, const char *name)
{
        if (str_empty(name))
                return err_set(c->err, INVALID_ARGUMENT,
                               "invalid argument: sandbox controller name can not be empty");
        if (!str_eq(name, CONTROLLER))
                return err_set(c->err, NOT_FOUND,
                               "not found: failed to get sandbox controller by %s", name);
        return 0;
}

/* Namespace and controller of a call. */
static int begin(Call *c, const char *sandboxer, const char **ret_ns)
{
        int r = check_controller(c, sandboxer);

        return r < 0 ? r : call_namespace(c, ret_ns);
}

/* A time that the shim has not told is 1970 on the wire, as containerd has it. */
static Google__Protobuf__Timestamp *time_told(Arena *a, Google__Protobuf__Timestamp *t)
{
        return t ? t : message_make(a, google__protobuf__timestamp);
}

static int publish(Call *c, const char *topic, const void *event)
{
        const SandboxControllers *s = c->ctx;

        return exchange_publish_message(s->exchange, c->ns, topic, event, c->err);
}

/* ---- one call to a shim ---- */

/* How a method's answer comes from the shim's. In the call's arena. */
typedef struct Asked {
        Call *call;
        Task *sandbox;
        const char *method;
        const char *what; /* put before an error; NULL: nothing */
        const ProtobufCMessageDescriptor *reply;
        int (*fill)(struct Asked *a, const void *reply, void *rsp); /* NULL: nothing to take over */
        int (*failed)(struct Asked *a, const Err *err);             /* NULL: the error goes up */
} Asked;

static void asked_finish(Asked *a, int r)
{
        task_unref(a->sandbox);
        claimed_finish(a->call, r);
}

static void answered(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Asked *a = ctx;
        Call *c = a->call;
        void *reply = NULL;
        Err why = {};

        if (r < 0)
                err_copy(&why, err);
        else
                r = task_unpack(c->arena, a->method, a->reply, bytes, n, &reply, &why);
        if (r < 0) {
                r = a->failed ? a->failed(a, &why) : task_error(c->err, &why);
                if (r == RPC_PENDING)
                        return;
        }
        if (r < 0 && a->what)
                err_wrap(c->err, "%s", a->what);
        if (r == 0 && a->fill && reply)
                r = a->fill(a, reply, call_response(c));
        asked_finish(a, r);
}

/* 0 with a reference; RPC_PENDING when it is being recovered and the handler will run again;
 * NOT_FOUND. */
static int find(Call *c, const char *ns, const char *id, Task **ret)
{
        const SandboxControllers *s = c->ctx;
        Task *t CLEANUP(task_unrefp) = sandbox_find(s->runtime, ns, id);

        if (!t)
                return err_set(c->err, NOT_FOUND, "sandbox \"%s\": not found", id);
        if (task_defer(t, claimed_again, c->state))
                return RPC_PENDING;
        *ret = TAKE(t);
        return 0;
}

/* Takes over the reference. */
static int ask(const Asked *how, const void *req, int timeout_ms)
{
        Asked *a = arena_memdup(how->call->arena, how, sizeof(*how));

        sandbox_call(a->sandbox, a->method, req, timeout_ms, answered, a);
        return RPC_PENDING;
}

/* ---- Create ---- */

static int create_cancelled(void *ctx)
{
        return call_cancelled(ctx);
}

static void created(void *ctx, int r, const Err *err)
{
        Call *c = ctx;
        Sandbox__ControllerCreateResponse *rsp = call_response(c);
        Events__SandboxCreate event = EVENTS__SANDBOX_CREATE__INIT;

        if (r < 0) {
                claimed_finish(c, err_copy(c->err, err));
                return;
        }
        event.sandbox_id = rsp->sandbox_id;
        claimed_finish(c, publish(c, "/sandboxes/create", &event));
}

static void to_shim(Call *c, const Sandbox__ControllerCreateRequest *req,
                    ShimSandbox__CreateSandboxRequest *to)
{
        shim_sandbox__create_sandbox_request__init(to);
        to->n_rootfs = req->n_rootfs;
        to->rootfs = req->rootfs;
        to->options = req->options;
        to->netns_path = req->netns_path;
        to->n_annotations = req->n_annotations;
        to->annotations =
                arena_array(c->arena, ShimSandbox__CreateSandboxRequest__AnnotationsEntry *,
                            req->n_annotations);
        for (size_t i = 0; i < req->n_annotations; i++) {
                to->annotations[i] = message_make(
                        c->arena, shim_sandbox__create_sandbox_request__annotations_entry);
                to->annotations[i]->key = req->annotations[i]->key;
                to->annotations[i]->value = req->annotations[i]->value;
        }
}

static int create(Call *c, const Sandbox__ControllerCreateRequest *req,
                  Sandbox__ControllerCreateResponse *rsp)
{
        const SandboxControllers *s = c->ctx;
        const Types__Sandbox *sandbox = req->sandbox;
        SandboxCreate *create_;
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r < 0)
                return r;
        create_ = arena_new(c->arena, SandboxCreate);
        create_->ns = ns;
        create_->id = sandbox ? sandbox->sandbox_id : req->sandbox_id;
        create_->runtime = "";
        if (sandbox && sandbox->runtime) {
                create_->runtime = sandbox->runtime->name;
                create_->options = sandbox->runtime->options;
        }
        if (sandbox && sandbox->spec) {
                create_->spec = sandbox->spec->value.data;
                create_->n_spec = sandbox->spec->value.len;
        }
        create_->cancelled = create_cancelled;
        to_shim(c, req, &create_->req);
        rsp->sandbox_id = req->sandbox_id;
        sandbox_create(s->runtime, create_, created, c);
        return RPC_PENDING;
}

/* ---- Start ---- */

static int fill_start(Asked *a, const void *reply, void *rsp)
{
        const ShimSandbox__StartSandboxResponse *from = reply;
        Events__SandboxStart event = EVENTS__SANDBOX_START__INIT;
        Sandbox__ControllerStartResponse *to = rsp;
        Arena *arena = a->call->arena;

        to->sandbox_id = task_id(a->sandbox);
        to->pid = from->pid;
        to->created_at = time_told(arena, from->created_at);
        to->spec = from->spec;
        to->address = sandbox_address(arena, a->sandbox, &to->version);
        /* the reference goes before the answer does */
        to->sandbox_id = event.sandbox_id = arena_strdup(arena, to->sandbox_id);
        return publish(a->call, "/sandboxes/start", &event);
}

static void start_undone(void *ctx, int r, const Err *err)
{
        Asked *a = ctx;

        asked_finish(a, -a->call->err->code);
}

/* A sandbox that did not start is not kept. */
static int start_failed(Asked *a, const Err *err)
{
        const SandboxControllers *s = a->call->ctx;

        task_error(a->call->err, err);
        err_wrap(a->call->err, "%s", a->what);
        sandbox_shutdown(s->runtime, task_ns(a->sandbox), task_id(a->sandbox), 1, start_undone, a);
        return RPC_PENDING;
}

static int start(Call *c, const Sandbox__ControllerStartRequest *req, void *rsp)
{
        ShimSandbox__StartSandboxRequest to = SHIM_SANDBOX__START_SANDBOX_REQUEST__INIT;
        Asked how = {
                .call = c,
                .method = "StartSandbox",
                .reply = &shim_sandbox__start_sandbox_response__descriptor,
                .fill = fill_start,
                .failed = start_failed,
        };
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r == 0)
                r = find(c, ns, req->sandbox_id, &how.sandbox);
        if (r == -NOT_FOUND && str_eq(req->sandboxer, CONTROLLER))
                return err_set(c->err, UNKNOWN, "unable to find sandbox \"%s\"", req->sandbox_id);
        if (r != 0)
                return r;
        how.what = arena_printf(c->arena, "failed to start sandbox %s", req->sandbox_id);
        to.sandbox_id = req->sandbox_id;
        return ask(&how, &to, LIMIT_SHIM_CALL_MS);
}

/* ---- questions ---- */

static int fill_platform(Asked *a, const void *reply, void *rsp)
{
        const Types__Platform *from = ((const ShimSandbox__PlatformResponse *)reply)->platform;
        Types__Platform *to = message_make(a->call->arena, types__platform);

        if (from) {
                to->os = from->os;
                to->architecture = from->architecture;
                to->variant = from->variant;
        }
        ((Sandbox__ControllerPlatformResponse *)rsp)->platform = to;
        return 0;
}

static int platform(Call *c, const Sandbox__ControllerPlatformRequest *req, void *rsp)
{
        ShimSandbox__PlatformRequest to = SHIM_SANDBOX__PLATFORM_REQUEST__INIT;
        Asked how = {
                .call = c,
                .method = "Platform",
                .what = "failed to get sandbox platform",
                .reply = &shim_sandbox__platform_response__descriptor,
                .fill = fill_platform,
        };
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r == 0)
                r = find(c, ns, req->sandbox_id, &how.sandbox);
        if (r != 0)
                return r;
        to.sandbox_id = req->sandbox_id;
        return ask(&how, &to, LIMIT_SHIM_CALL_MS);
}

static int fill_status(Asked *a, const void *reply, void *rsp)
{
        const ShimSandbox__SandboxStatusResponse *from = reply;
        Sandbox__ControllerStatusResponse *to = rsp;
        Arena *arena = a->call->arena;

        to->sandbox_id = from->sandbox_id;
        to->pid = from->pid;
        to->state = from->state;
        to->n_info = from->n_info;
        to->info = arena_array(arena, Sandbox__ControllerStatusResponse__InfoEntry *, from->n_info);
        for (size_t i = 0; i < from->n_info; i++) {
                to->info[i] = message_make(arena, sandbox__controller_status_response__info_entry);
                to->info[i]->key = from->info[i]->key;
                to->info[i]->value = from->info[i]->value;
        }
        to->created_at = time_told(arena, from->created_at);
        to->exited_at = time_told(arena, from->exited_at);
        to->extra = from->extra ? from->extra : message_make(arena, google__protobuf__any);
        to->address = sandbox_address(arena, a->sandbox, &to->version);
        return 0;
}

static int status_of_none(Call *c, const char *id, Sandbox__ControllerStatusResponse *rsp)
{
        err_clear(c->err);
        rsp->sandbox_id = id;
        rsp->created_at = time_to_pb(c->arena, TIME_YEAR1);
        rsp->exited_at = time_to_pb(c->arena, time_now());
        rsp->extra = message_make(c->arena, google__protobuf__any);
        return 0;
}

static int status(Call *c, const Sandbox__ControllerStatusRequest *req,
                  Sandbox__ControllerStatusResponse *rsp)
{
        ShimSandbox__SandboxStatusRequest to = SHIM_SANDBOX__SANDBOX_STATUS_REQUEST__INIT;
        Asked how = {
                .call = c,
                .method = "SandboxStatus",
                .reply = &shim_sandbox__sandbox_status_response__descriptor,
                .fill = fill_status,
        };
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r < 0)
                return r;
        r = find(c, ns, req->sandbox_id, &how.sandbox);
        if (r == -NOT_FOUND)
                return status_of_none(c, req->sandbox_id, rsp);
        if (r != 0)
                return r;
        how.what = arena_printf(c->arena, "failed to query sandbox %s status", req->sandbox_id);
        to.sandbox_id = req->sandbox_id;
        to.verbose = req->verbose;
        return ask(&how, &to, LIMIT_SHIM_CALL_MS);
}

static int fill_metrics(Asked *a, const void *reply, void *rsp)
{
        ((Sandbox__ControllerMetricsResponse *)rsp)->metrics =
                ((const ShimSandbox__SandboxMetricsResponse *)reply)->metrics;
        return 0;
}

static int metrics(Call *c, const Sandbox__ControllerMetricsRequest *req, void *rsp)
{
        ShimSandbox__SandboxMetricsRequest to = SHIM_SANDBOX__SANDBOX_METRICS_REQUEST__INIT;
        Asked how = {
                .call = c,
                .method = "SandboxMetrics",
                .reply = &shim_sandbox__sandbox_metrics_response__descriptor,
                .fill = fill_metrics,
        };
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r == 0)
                r = find(c, ns, req->sandbox_id, &how.sandbox);
        if (r != 0)
                return r;
        to.sandbox_id = req->sandbox_id;
        return ask(&how, &to, LIMIT_SHIM_CALL_MS);
}

/* This controller has nothing that it could change. */
static int update(Call *c, const Sandbox__ControllerUpdateRequest *req, void *rsp)
{
        const char *ns;
        int r = begin(c, req->sandboxer, &ns);

        if (r == 0 && !req->sandbox)
                return err_set(c->err, UNKNOWN, "sandbox can not be nil");
        return r;
}

/* ---- the end ---- */

/* What is gone is stopped. */
static int stop_failed(Asked *a, const Err *err)
{
        if (err->code == NOT_FOUND || err->code == UNAVAILABLE)
                return 0;
        return task_error(a->call->err, err);
}

static int stop(Call *c, const Sandbox__ControllerStopRequest *req, void *rsp)
{
        ShimSandbox__StopSandboxRequest to = SHIM_SANDBOX__STOP_SANDBOX_REQUEST__INIT;
        Asked how = {
                .call = c,
                .method = "StopSandbox",
                .what = "failed to stop sandbox",
                .reply = &shim_sandbox__stop_sandbox_response__descriptor,
                .failed = stop_failed,
        };
        const int64_t extra_ms = (int64_t)req->timeout_secs * 1000;
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r < 0)
                return r;
        r = find(c, ns, req->sandbox_id, &how.sandbox);
        if (r == -NOT_FOUND) {
                err_clear(c->err);
                return 0;
        }
        if (r != 0)
                return r;
        to.sandbox_id = req->sandbox_id;
        to.timeout_secs = req->timeout_secs;
        return ask(&how, &to, (int)MIN(LIMIT_SHIM_CALL_MS + extra_ms, INT32_MAX));
}

static void shut_down(void *ctx, int r, const Err *err)
{
        Call *c = ctx;

        claimed_finish(c, r < 0 ? err_copy(c->err, err) : 0);
}

static int shut_down_sandbox(Call *c, const Sandbox__ControllerShutdownRequest *req, void *rsp)
{
        const SandboxControllers *s = c->ctx;
        Task *sandbox CLEANUP(task_unrefp) = NULL;
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r == 0)
                r = find(c, ns, req->sandbox_id, &sandbox);
        if (r != 0)
                return r;
        sandbox_shutdown(s->runtime, ns, req->sandbox_id, 0, shut_down, c);
        return RPC_PENDING;
}

/* ---- Wait ---- */

static int missing(const char *id, Err *err)
{
        return err_set(err, NOT_FOUND, "sandbox \"%s\": not found", id);
}

static int exited(Call *c, const char *ns, const char *id, const TaskExit *exit)
{
        const SandboxControllers *s = c->ctx;
        Sandbox__ControllerWaitResponse *rsp = call_response(c);
        Events__SandboxExit event = EVENTS__SANDBOX_EXIT__INIT;

        rsp->exit_status = event.exit_status = exit->status;
        rsp->exited_at = event.exited_at = time_to_pb(c->arena, (Time){exit->sec, exit->nsec});
        event.sandbox_id = id;
        return exchange_publish_message(s->exchange, ns, "/sandboxes/exit", &event, c->err);
}

static void failed(Call *c, const char *id, const Err *err)
{
        task_error(c->err, err);
        if (err->code != NOT_FOUND)
                err_wrap(c->err, "failed to wait sandbox %s", id);
}

static int wait_for(Call *c, const Sandbox__ControllerWaitRequest *req, void *rsp)
{
        static const ExitWaitKind of_sandbox = {
                .find = sandbox_find, .missing = missing, .exited = exited, .failed = failed};
        const SandboxControllers *s = c->ctx;
        Task *t CLEANUP(task_unrefp) = NULL;
        const char *ns;
        int r;

        r = begin(c, req->sandboxer, &ns);
        if (r < 0)
                return r;
        t = sandbox_find(s->runtime, ns, req->sandbox_id);
        if (!t)
                return missing(req->sandbox_id, c->err);
        return exit_wait(c, s->runtime, &of_sandbox, ns, req->sandbox_id, "");
}

/* ---- the table ---- */

#define CLAIMED(fn)                                                                  \
        static int run_##fn(Call *c, const void *req, void *rsp)                     \
        {                                                                            \
                return claimed_run(c, (ClaimedHandler)(void (*)(void))fn, req, rsp); \
        }
CLAIMED(create)
CLAIMED(start)
CLAIMED(platform)
CLAIMED(stop)
CLAIMED(status)
CLAIMED(shut_down_sandbox)
CLAIMED(metrics)

#define METHOD(name, fn, prefix)                                          \
        RPC_WAIT_METHOD(name, fn, sandbox__controller_##prefix##_request, \
                        sandbox__controller_##prefix##_response)

static const RpcMethod methods[] = {
        METHOD("Create", run_create, create),
        METHOD("Start", run_start, start),
        METHOD("Platform", run_platform, platform),
        METHOD("Stop", run_stop, stop),
        METHOD("Wait", wait_for, wait),
        METHOD("Status", run_status, status),
        METHOD("Shutdown", run_shut_down_sandbox, shutdown),
        METHOD("Metrics", run_metrics, metrics),
        RPC_UNARY_METHOD("Update", update, sandbox__controller_update_request,
                         sandbox__controller_update_response),
};

const RpcService sandbox_controllers_service =
        RPC_SERVICE("containerd.services.sandbox.v1.Controller", methods);
