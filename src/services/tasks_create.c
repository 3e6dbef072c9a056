/* SPDX-License-Identifier: Apache-2.0 */
/* Create and Delete: the container's record and the request become what the runtime needs; the rest
 * is its work. */
#include "api/containerd/runc/v1/options.pb-c.h"
#include "metadata/containers.h"
#include "metadata/sandboxes.h"
#include "rpc/message.h"
#include "services/tasks_priv.h"

static const char *type_name(const Google__Protobuf__Any *any)
{
        const char *slash = strrchr(any->type_url, '/');

        return slash ? slash + 1 : any->type_url;
}

/* The only options of a task that we can read are runc's; where a checkpoint lies is in them, and
 * where the sandbox's shim is. */
static int read_options(Call *c, const Google__Protobuf__Any *any, TaskCreate *create,
                        const char **ret_checkpoint)
{
        const Runc__Options *o;
        ProtobufCMessage *m;

        if (!any || str_empty(any->type_url))
                return 0;
        if (!str_eq(type_name(any), runc__options__descriptor.name))
                return err_set(c->err, UNKNOWN, "invalid task create option for %s",
                               create->runtime);
        if (message_unpack(c->arena, &runc__options__descriptor, any->value.data, any->value.len,
                           &m, c->err) < 0) {
                Err why = *c->err;

                return err_set(c->err, INVALID_ARGUMENT, "options: %s: invalid argument", why.msg);
        }
        o = (const Runc__Options *)m;
        *ret_checkpoint = o->criu_image_path;
        if (!str_empty(o->task_api_address)) {
                create->sandbox_address = o->task_api_address;
                create->sandbox_version = (int)o->task_api_version;
        }
        return 0;
}

int tasks_container(Call *c, const char *ns, const char *id, Containers__Container **ret,
                    const char **ret_sandbox)
{
        const TasksService *s = c->ctx;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = meta_begin_ro(s->metadata, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        *ret = containers_get(&txn, ns, id);
        if (!*ret)
                return -c->err->code;
        if (ret_sandbox && !str_empty((*ret)->sandbox) &&
            sandboxes_exist(&txn, ns, (*ret)->sandbox))
                *ret_sandbox = (*ret)->sandbox;
        return meta_failed(&txn);
}

/* In the call's arena. */
typedef struct Creating {
        Call *call;
        TaskCreate create;
        const Types__Descriptor *checkpoint; /* to be unpacked; NULL for none */
} Creating;

static int create_cancelled(void *ctx)
{
        const Creating *k = ctx;

        return call_cancelled(k->call);
}

static int create_prepare(void *ctx, const char *bundle, Err *err)
{
        Creating *k = ctx;

        return k->checkpoint ? tasks_restore_unpack(k->call, k->checkpoint, bundle,
                                                    &k->create.req.checkpoint, err)
                             : 0;
}

static void created(void *ctx, int r, uint32_t pid, const Err *err)
{
        const Creating *k = ctx;
        Call *c = k->call;
        Tasks__CreateTaskResponse *rsp = call_response(c);

        if (r < 0) {
                claimed_finish(c, err_copy(c->err, err));
                return;
        }
        rsp->pid = pid;
        claimed_finish(c, 0);
}

static void to_shim(Call *c, const Tasks__CreateTaskRequest *req,
                    const Google__Protobuf__Any *options, const char *checkpoint,
                    Task__CreateTaskRequest *to)
{
        task__create_task_request__init(to);
        to->n_rootfs = req->n_rootfs;
        to->rootfs = req->rootfs;
        to->terminal = req->terminal;
        to->stdin = req->stdin;
        to->stdout = req->stdout;
        to->stderr = req->stderr;
        to->checkpoint = checkpoint;
        to->options = (Google__Protobuf__Any *)(uintptr_t)options;
}

int tasks_create(Call *c, const Tasks__CreateTaskRequest *req, void *answer)
{
        const Google__Protobuf__Any *options = req->options;
        const TasksService *s = c->ctx;
        Tasks__CreateTaskResponse *rsp = answer;
        const char *ns, *checkpoint = "", *sandbox = NULL;
        Containers__Container *ct;
        TaskCreate *create;
        Creating *k;
        int r;

        r = call_namespace(c, &ns);
        if (r >= 0)
                r = tasks_container(c, ns, req->container_id, &ct, &sandbox);
        if (r < 0)
                return r;

        k = arena_new(c->arena, Creating);
        k->call = c;
        create = &k->create;
        create->ns = ns;
        create->id = ct->id;
        create->runtime = ct->runtime ? ct->runtime->name : "";
        if (!str_empty(req->runtime_path))
                create->runtime = req->runtime_path;
        create->sandbox = sandbox;
        create->sandbox_address = req->task_api_address;
        create->sandbox_version = (int)req->task_api_version;
        r = read_options(c, options, create, &checkpoint);
        if (r >= 0)
                r = tasks_restore_path(c, req, checkpoint, &checkpoint, &k->checkpoint);
        if (r < 0)
                return r;
        if (!options || options->value.len == 0)
                options = ct->runtime ? ct->runtime->options : NULL;
        if (ct->spec) {
                create->spec = ct->spec->value.data;
                create->n_spec = ct->spec->value.len;
        }
        create->options = options;
        create->cancelled = create_cancelled;
        create->prepare = create_prepare;
        to_shim(c, req, options, checkpoint, &create->req);
        rsp->container_id = ct->id;
        task_create(s->runtime, create, created, k);
        return RPC_PENDING;
}

static void deleted(void *ctx, int r, const Task__DeleteResponse *reply, const Err *err)
{
        Call *c = ctx;
        Tasks__DeleteResponse *rsp = call_response(c);

        if (r < 0) {
                claimed_finish(c, err_copy(c->err, err));
                return;
        }
        rsp->pid = reply->pid;
        rsp->exit_status = reply->exit_status;
        rsp->exited_at = tasks_time(c->arena, reply->exited_at->seconds, reply->exited_at->nanos);
        claimed_finish(c, 0);
}

int tasks_delete(Call *c, const Tasks__DeleteTaskRequest *req, void *rsp)
{
        const TasksService *s = c->ctx;
        Task *t;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        task_delete(s->runtime, task_ns(t), task_id(t), deleted, c);
        task_unref(t);
        return RPC_PENDING;
}
