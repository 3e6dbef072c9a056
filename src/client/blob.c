// SPDX-License-Identifier: Apache-2.0
/*
 * Upload keeps one answer in step with each message: the protocol answers every write, and the
 * offset that comes back must be the one we expect.
 */
#include "client/blob.h"

#include <stdio.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "base/mem.h"
#include "base/str.h"

struct BlobUpload {
        GrpcCall *stream;
        Arena arena; /* answers, thrown away each time */
        char *ref, *expected;
        int64_t total, offset;
        char digest[DIGEST_TEXT_MAX]; /* of the last answer */
};

int blob_read(Client *c, const char *digest,
              int (*write)(void *ctx, const void *p, size_t n, Err *err), void *ctx, Err *err)
{
        Content__ReadContentRequest req = CONTENT__READ_CONTENT_REQUEST__INIT;
        GrpcCall *s CLEANUP(grpc_call_freep) = NULL;
        Content__ReadContentResponse *rsp;
        Arena a;
        int r = 0;

        req.digest = digest;
        s = client_begin(c, SVC_CONTENT "Read", &req, content__read_content_response);
        while (r >= 0) {
                arena_init(&a, SIZE_MAX);
                r = grpc_call_recv(s, &a, (void **)&rsp, err);
                if (r > 0 && write(ctx, rsp->data.data, rsp->data.len, err) < 0)
                        r = -err->code;
                arena_done(&a);
                if (r <= 0)
                        break;
        }
        return r;
}

typedef struct Load {
        Str text;
        size_t max;
} Load;

static int load_write(void *ctx, const void *p, size_t n, Err *err)
{
        Load *l = ctx;

        if (l->text.len + n > l->max)
                return err_set(err, RESOURCE_EXHAUSTED, "document is larger than %zu bytes",
                               l->max);
        str_add_n(&l->text, p, n);
        return 0;
}

int blob_load(Client *c, Arena *a, const char *digest, size_t max, char **ret, size_t *ret_len,
              Err *err)
{
        Str text CLEANUP(str_done) = {};
        Load l = {.max = max};
        Digest want, have;
        Hasher h;
        int r;

        r = digest_parse(digest, &want, err);
        if (r < 0)
                return r;
        r = blob_read(c, digest, load_write, &l, err);
        text = l.text;
        if (r < 0)
                return err_wrap(err, "content %s", digest);
        hasher_init(&h, digest_alg(&want));
        hasher_update(&h, str_get(&text), text.len);
        hasher_digest(&h, &have);
        if (!digest_eq(&have, &want))
                return err_set(err, DATA_LOSS, "content %s has the digest %s", digest, have.text);
        *ret = arena_strndup(a, str_get(&text), text.len);
        *ret_len = text.len;
        return 0;
}

int blob_label(Client *c, const char *digest, const char *key, const char *value, Err *err)
{
        Content__UpdateRequest req = CONTENT__UPDATE_REQUEST__INIT;
        Content__Info info = CONTENT__INFO__INIT;
        Content__Info__LabelsEntry label = CONTENT__INFO__LABELS_ENTRY__INIT, *labels = &label;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Content__UpdateResponse *rsp;
        const char *path;
        Arena a;
        int r;

        arena_init(&a, SIZE_MAX);
        path = arena_printf(&a, "labels.%s", key);
        label.key = key;
        label.value = value;
        info.digest = digest;
        info.n_labels = 1;
        info.labels = &labels;
        mask.n_paths = 1;
        mask.paths = (char **)(void *)&path;
        req.info = &info;
        req.update_mask = &mask;
        r = client_call(c, &a, SVC_CONTENT "Update", &req, content__update_response, &rsp, err);
        arena_done(&a);
        return r;
}

/* Sends one message and takes its answer. */
static int exchange(BlobUpload *u, Content__WriteContentRequest *req, Err *err)
{
        Content__WriteContentResponse *rsp;
        int r;

        req->offset = u->offset;
        r = grpc_call_send(u->stream, req, err);
        if (r == 0) {
                arena_done(&u->arena);
                arena_init(&u->arena, SIZE_MAX);
        }
        /* when sending failed because the daemon has ended the stream, its status says why */
        r = grpc_call_recv(u->stream, &u->arena, (void **)&rsp, err);
        if (r == 0)
                return err_set(err, UNAVAILABLE, "the daemon ended the write of \"%s\"", u->ref);
        if (r < 0)
                return r;
        if (req->action != CONTENT__WRITE_ACTION__STAT &&
            rsp->offset != u->offset + (int64_t)req->data.len)
                return err_set(err, DATA_LOSS, "wrote \"%s\" up to %lld, the daemon has %lld",
                               u->ref, (long long)(u->offset + (int64_t)req->data.len),
                               (long long)rsp->offset);
        u->offset += (int64_t)req->data.len;
        snprintf(u->digest, sizeof(u->digest), "%s", rsp->digest);
        return 0;
}

int blob_upload_open(Client *c, const char *ref, int64_t total, const char *expected,
                     BlobUpload **ret, Err *err)
{
        BlobUpload *u CLEANUP(blob_upload_freep) = mem_new(BlobUpload);
        Content__WriteContentRequest req = CONTENT__WRITE_CONTENT_REQUEST__INIT;
        int r;

        arena_init(&u->arena, SIZE_MAX);
        u->ref = mem_strdup(ref);
        u->expected = mem_strdup(expected);
        u->total = total;
        u->stream = client_stream(c, SVC_CONTENT "Write", content__write_content_response);
        req.action = CONTENT__WRITE_ACTION__STAT;
        req.ref = u->ref;
        req.total = total;
        req.expected = u->expected;
        r = exchange(u, &req, err);
        if (r < 0)
                return r;
        *ret = TAKE(u);
        return 0;
}

int blob_upload_write(BlobUpload *u, const void *p, size_t n, Err *err)
{
        int r = 0;

        for (size_t at = 0; at < n && r == 0; at += BLOB_CHUNK) {
                Content__WriteContentRequest req = CONTENT__WRITE_CONTENT_REQUEST__INIT;

                req.action = CONTENT__WRITE_ACTION__WRITE;
                req.data.data = (uint8_t *)(uintptr_t)p + at;
                req.data.len = MIN(n - at, (size_t)BLOB_CHUNK);
                r = exchange(u, &req, err);
        }
        return r;
}

int blob_upload_commit(BlobUpload *u, int64_t total, const char *expected, const BlobLabel *labels,
                       size_t n_labels, Err *err)
{
        Content__WriteContentRequest req = CONTENT__WRITE_CONTENT_REQUEST__INIT;

        req.action = CONTENT__WRITE_ACTION__COMMIT;
        req.total = total;
        req.expected = expected;
        req.n_labels = n_labels;
        req.labels =
                arena_array(&u->arena, Content__WriteContentRequest__LabelsEntry *, n_labels + 1);
        for (size_t i = 0; i < n_labels; i++) {
                req.labels[i] = arena_new(&u->arena, Content__WriteContentRequest__LabelsEntry);
                content__write_content_request__labels_entry__init(req.labels[i]);
                req.labels[i]->key = labels[i].key;
                req.labels[i]->value = labels[i].value;
        }
        return exchange(u, &req, err);
}

const char *blob_upload_digest(const BlobUpload *u)
{
        return u->digest;
}

BlobUpload *blob_upload_free(BlobUpload *u)
{
        if (!u)
                return NULL;
        grpc_call_free(u->stream);
        arena_done(&u->arena);
        free(u->ref);
        free(u->expected);
        free(u);
        return NULL;
}
