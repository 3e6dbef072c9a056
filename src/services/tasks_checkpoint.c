/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoint, and where Create restores from. criu's images are a folder: the client's own, by its
 * options, which is left as it is; or one of ours in the task's work folder, which becomes a tar in
 * the content store, beside a blob with the container's spec, and goes. The way back is the same:
 * the blob is unpacked into the bundle of the task to be, and goes with that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "api/containerd/runc/v1/options.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "diff/apply.h"
#include "diff/compare.h"
#include "rpc/message.h"
#include "services/tasks_priv.h"
#include "spec/descriptor.h"

#define MEDIA_IMAGES "application/vnd.containerd.container.criu.checkpoint.criu.tar"
#define MEDIA_SPEC   "application/vnd.containerd.container.checkpoint.config.v1+proto"

/* In the call's arena. */
typedef struct Checkpointing {
        Call *call;
        MetaCaller who;
        Task *task;
        const Google__Protobuf__Any *spec;
        const char *image;
        int ours; /* the folder */
        Ingest *ingest;
        Types__Descriptor *made;
} Checkpointing;

static const TasksService *service_of(const Checkpointing *k)
{
        return k->call->ctx;
}

/* ---- into the content store ---- */

static int blob_begin(Checkpointing *k, const char *media_type, const char *ref, Err *err)
{
        IngestSpec spec = {.who = k->who, .ref = ref};

        k->made = message_make(k->call->arena, types__descriptor);
        k->made->media_type = media_type;
        return ingest_open(service_of(k)->diff->blobs, &spec, k->call->arena, &k->ingest, err);
}

static int blob_write(Checkpointing *k, const void *p, size_t n, Err *err)
{
        k->made->size += (int64_t)n;
        return ingest_write(k->ingest, p, n, err);
}

static int blob_commit(Checkpointing *k, Err *err)
{
        IngestCommit commit = {};
        Digest digest;
        int r;

        r = ingest_commit(k->ingest, k->call->arena, &commit, &digest, err);
        if (r == -ALREADY_EXISTS) {
                err_clear(err);
                r = 0;
        }
        k->ingest = ingest_close(k->ingest);
        if (r == 0)
                k->made->digest = arena_strdup(k->call->arena, digest.text);
        return r;
}

static int images_begin(void *ctx, Err *err)
{
        Checkpointing *k = ctx;

        return blob_begin(k, MEDIA_IMAGES, k->image, err);
}

static int images_write(void *ctx, const void *p, size_t n, Err *err)
{
        return blob_write(ctx, p, n, err);
}

static int images_finish(void *ctx, const DiffCompared *what, Err *err)
{
        return blob_commit(ctx, err);
}

static int store_images(Checkpointing *k, Err *err)
{
        const char *const options[] = {"bind", "ro"};
        Mount folder = {.type = "bind",
                        .source = k->image,
                        .options = options,
                        .n_options = ARRAY_LEN(options)};
        DiffCompare job = {
                .upper = &folder,
                .n_upper = 1,
                .format = WORKER_FORMAT_RAW,
                .sink = {images_begin, images_write, images_finish, k},
                .tmp_root = service_of(k)->diff->tmp_root,
        };

        return diff_compare(&job, err);
}

static int store_spec(Checkpointing *k, Err *err)
{
        Arena *a = k->call->arena;
        size_t n = 0;
        const void *bytes = k->spec ? message_pack(a, k->spec, &n) : NULL;
        int r;

        r = blob_begin(k, MEDIA_SPEC, arena_printf(a, "%s/spec", k->image), err);
        if (r == 0 && n > 0)
                r = blob_write(k, bytes, n, err);
        return r < 0 ? r : blob_commit(k, err);
}

/* What was begun under a reference that nobody will use again. */
static void forget(Checkpointing *k, const char *ref)
{
        Err ignored;

        k->ingest = ingest_close(k->ingest);
        ingests_abort(service_of(k)->diff->blobs, &k->who, k->call->arena, ref, &ignored);
}

static int store(Checkpointing *k, Tasks__CheckpointTaskResponse *rsp, Err *err)
{
        Arena *a = k->call->arena;
        int r;

        rsp->descriptors = arena_array(a, Types__Descriptor *, 2);
        r = store_images(k, err);
        if (r < 0) {
                forget(k, k->image);
                return r;
        }
        rsp->descriptors[0] = k->made;
        r = store_spec(k, err);
        if (r < 0) {
                forget(k, arena_printf(a, "%s/spec", k->image));
                return r;
        }
        rsp->descriptors[1] = k->made;
        rsp->n_descriptors = 2;
        return 0;
}

/* ---- Checkpoint ---- */

/* Pool thread. */
static void checkpoint_end(void *arg)
{
        Checkpointing *k = arg;
        Call *c = k->call;
        Err ignored;
        int r = -c->err->code;

        if (r == 0 && k->ours)
                r = store(k, call_response(c), c->err);
        if (k->ours)
                path_remove_tree(AT_FDCWD, k->image, &ignored);
        task_unref(k->task);
        claimed_finish(c, r);
}

static void checkpointed(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Checkpointing *k = ctx;

        if (r < 0)
                task_error(k->call->err, err);
        runtime_run(service_of(k)->runtime, checkpoint_end, k);
}

/* Whether a type of this name is one that containerd would know. */
static int is_known_type(const char *name)
{
        static const char *const begins[] = {"containerd.", "io.containerd.", "runtimeoptions.",
                                             "types.containerd.io/", "google.protobuf."};

        for (size_t i = 0; i < ARRAY_LEN(begins); i++)
                if (str_starts(name, begins[i]))
                        return 1;
        return 0;
}

static int read_options(Call *c, const Google__Protobuf__Any *any, const char *runtime,
                        const char **ret_path)
{
        ProtobufCMessage *m;
        const char *slash;
        Err why = {};

        if (!any)
                return 0;
        slash = strrchr(any->type_url, '/');
        if (!str_eq(slash ? slash + 1 : any->type_url, runc__checkpoint_options__descriptor.name))
                return is_known_type(any->type_url)
                               ? err_set(c->err, UNKNOWN, "invalid task checkpoint option for %s",
                                         runtime)
                               : err_set(c->err, UNKNOWN, "type with url %s: not found",
                                         any->type_url);
        if (message_unpack(c->arena, &runc__checkpoint_options__descriptor, any->value.data,
                           any->value.len, &m, &why) < 0)
                return err_set(c->err, INVALID_ARGUMENT, "options: %s: invalid argument", why.msg);
        *ret_path = ((const Runc__CheckpointOptions *)m)->image_path;
        return 0;
}

static int make_folder(Call *c, const Task *t, const char **ret)
{
        const char *link = arena_printf(c->arena, "%s/work", task_bundle(t));
        char *work CLEANUP(cleanup_free) = realpath(link, NULL);
        char *path;

        if (!work)
                return err_sys(c->err, errno, "%s", link);
        path = arena_printf(c->arena, "%s/checkpoint-XXXXXX", work);
        if (!mkdtemp(path))
                return err_sys(c->err, errno, "mkdir %s", path);
        *ret = path;
        return 0;
}

int tasks_checkpoint(Call *c, const Tasks__CheckpointTaskRequest *req, void *rsp)
{
        Task__CheckpointTaskRequest to = TASK__CHECKPOINT_TASK_REQUEST__INIT;
        Task *t CLEANUP(task_unrefp) = NULL;
        Containers__Container *ct = NULL;
        const char *ns, *path = "";
        Checkpointing *k;
        int ours, r;

        r = call_namespace(c, &ns);
        if (r == 0)
                r = tasks_container(c, ns, req->container_id, &ct, NULL);
        if (r == 0)
                r = tasks_find(c, req->container_id, &t);
        if (r == 0)
                r = read_options(c, req->options, ct->runtime ? ct->runtime->name : "", &path);
        ours = str_empty(path);
        if (r == 0 && ours)
                r = make_folder(c, t, &path);
        if (r != 0)
                return r;

        k = arena_new(c->arena, Checkpointing);
        *k = (Checkpointing){
                .call = c,
                .who = {.ns = ns, .lease = c->lease},
                .spec = ct->spec,
                .image = path,
                .ours = ours,
        };
        to.id = req->container_id;
        to.path = path;
        to.options = req->options;
        k->task = TAKE(t);
        task_call(k->task, "Checkpoint", &to, LIMIT_SHIM_CHECKPOINT_MS, checkpointed, k);
        return RPC_PENDING;
}

/* ---- where Create restores from ---- */

/* A checkpoint of Kubernetes is unpacked already, and where says this annotation. */
static const char *annotated_path(const Types__Descriptor *d)
{
        for (size_t i = 0; i < d->n_annotations; i++)
                if (str_eq(d->annotations[i]->key, "RestoreFromPath"))
                        return d->annotations[i]->value;
        return NULL;
}

int tasks_restore_path(Call *c, const Tasks__CreateTaskRequest *req, const char *from_options,
                       const char **ret_path, const Types__Descriptor **ret_blob)
{
        const Types__Descriptor *d = req->checkpoint;
        const char *annotated = d ? annotated_path(d) : NULL;

        *ret_path = annotated ? annotated : from_options;
        if (!str_empty(*ret_path) || !d)
                return 0;
        if (!str_eq(d->media_type, MEDIA_IMAGES))
                return err_set(c->err, UNKNOWN, "unsupported checkpoint type \"%s\"",
                               d->media_type);
        *ret_blob = d;
        return 0;
}

int tasks_restore_unpack(Call *c, const Types__Descriptor *blob, const char *bundle,
                         const char **ret_path, Err *err)
{
        const TasksService *s = c->ctx;
        const char *path = arena_printf(c->arena, "%s/work/checkpoint", bundle);
        const char *const options[] = {"rbind", "rw"};
        Mount folder = {.type = "bind",
                        .source = path,
                        .options = options,
                        .n_options = ARRAY_LEN(options)};
        int fd CLEANUP(cleanup_fd) = -1;
        DiffApply job = {
                .media_type = MEDIA_OCI_LAYER,
                .mounts = &folder,
                .n_mounts = 1,
                .tmp_root = s->diff->tmp_root,
        };
        DiffApplied applied;
        uint64_t size;
        int r;

        r = blobs_open(s->diff->blobs, c->ns, c->arena, blob->digest, &fd, &size, err);
        if (r == 0 && mkdir(path, 0700) < 0)
                r = err_sys(err, errno, "mkdir %s", path);
        job.blob_fd = fd;
        if (r == 0)
                r = diff_apply(&job, &applied, err);
        if (r < 0)
                return err_wrap(err, "failed to unpack checkpoint");
        *ret_path = path;
        return 0;
}
