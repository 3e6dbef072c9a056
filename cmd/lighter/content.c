// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <regex.h>
#include <unistd.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "base/fd.h"
#include "client/blob.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"

static const char *age_text(const Google__Protobuf__Timestamp *t, char buf[HUMAN_MAX])
{
        Time now = time_now();
        int64_t ns = (now.sec - time_of(t).sec) * (int64_t)NS_PER_SEC + now.nsec - time_of(t).nsec;

        return human_duration(ns, buf);
}

int cmd_content_list(Cli *cli, const Args *args, Err *err)
{
        Content__ListContentRequest req = CONTENT__LIST_CONTENT_REQUEST__INIT;
        GrpcCall *s CLEANUP(grpc_call_freep) = NULL;
        Content__ListContentResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, '\t');
        char size[HUMAN_MAX], age[HUMAN_MAX];
        int r;

        req.filters = (const char **)args->v;
        req.n_filters = (size_t)args->n;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        s = client_begin(cli->client, SVC_CONTENT "List", &req, content__list_content_response);
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "DIGEST", "SIZE", "AGE", "LABELS");
        while ((r = grpc_call_recv(s, &cli->arena, (void **)&rsp, err)) > 0) {
                for (size_t i = 0; i < rsp->n_info; i++) {
                        const Content__Info *c = rsp->info[i];

                        if (args_bool(args, "quiet"))
                                cli_print(cli, c->digest);
                        else
                                TABLE_ROW(&t, c->digest, human_size(c->size, size),
                                          age_text(c->created_at, age),
                                          labels_text(&cli->arena, LABELS(c, labels), 1, "-"));
                }
        }
        if (r == 0 && !args_bool(args, "quiet"))
                cli_table(cli, &t);
        return r;
}

int cmd_content_active(Cli *cli, const Args *args, Err *err)
{
        Content__ListStatusesRequest req = CONTENT__LIST_STATUSES_REQUEST__INIT;
        Content__ListStatusesResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, '\t');
        char size[HUMAN_MAX], age[HUMAN_MAX];
        regex_t re;
        int r;

        if (regcomp(&re, args_arg(args, 0), REG_EXTENDED | REG_NOSUB) != 0)
                return err_set(err, INVALID_ARGUMENT, "\"%s\" is no regular expression",
                               args_arg(args, 0));
        r = cli_connect(cli, err);
        if (r == 0)
                r = client_call(cli->client, &cli->arena, SVC_CONTENT "ListStatuses", &req,
                                content__list_statuses_response, &rsp, err);
        if (r < 0) {
                regfree(&re);
                return r;
        }
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "REF", "SIZE", "AGE", "");
        for (size_t i = 0; i < rsp->n_statuses; i++) {
                const Content__Status *c = rsp->statuses[i];

                if (regexec(&re, c->ref, 0, NULL, 0) == 0)
                        TABLE_ROW(&t, c->ref, human_size(c->offset, size),
                                  age_text(c->started_at, age), "");
        }
        regfree(&re);
        cli_table(cli, &t);
        return 0;
}

static int write_out(void *ctx, const void *p, size_t n, Err *err)
{
        cli_raw(p, n);
        return ferror(stdout) ? cli_flush(err) : 0;
}

int cmd_content_get(Cli *cli, const Args *args, Err *err)
{
        int r;

        r = cli_need_args(args, 1, "digest", err);
        if (r < 0)
                return r;
        r = cli_connect(cli, err);
        return r < 0 ? r : blob_read(cli->client, args_arg(args, 0), write_out, NULL, err);
}

int cmd_content_ingest(Cli *cli, const Args *args, Err *err)
{
        const char *ref = args_arg(args, 0), *digest = args_str(args, "expected-digest");
        BlobUpload *u CLEANUP(blob_upload_freep) = NULL;
        char *buf CLEANUP(cleanup_free) = mem_alloc(BLOB_CHUNK);
        ssize_t n;
        int r;

        r = cli_need_args(args, 1, "key", err);
        if (r < 0)
                return r;
        if (args_int(args, "expected-size") < 0)
                return err_set(err, INVALID_ARGUMENT, "--expected-size must not be negative");
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = blob_upload_open(cli->client, ref, args_int(args, "expected-size"), digest, &u, err);
        if (r == -ALREADY_EXISTS)
                return 0;
        if (r < 0)
                return r;
        while ((n = fd_read_all(STDIN_FILENO, buf, BLOB_CHUNK)) > 0) {
                r = blob_upload_write(u, buf, (size_t)n, err);
                if (r < 0)
                        return r;
        }
        if (n < 0)
                return err_sys(err, errno, "cannot read standard input");
        r = blob_upload_commit(u, args_int(args, "expected-size"), digest, NULL, 0, err);
        return r == -ALREADY_EXISTS ? 0 : r;
}

int cmd_content_delete(Cli *cli, const Args *args, Err *err)
{
        int failed = 0, r;

        r = cli_need_args(args, 1, "digest", err);
        if (r < 0)
                return r;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        for (int i = 0; i < args->n; i++) {
                Content__DeleteContentRequest req = CONTENT__DELETE_CONTENT_REQUEST__INIT;
                Err one = {};

                req.digest = args->v[i];
                if (client_call_empty(cli->client, SVC_CONTENT "Delete", &req, &one) < 0) {
                        if (failed < 0)
                                cli_warn("%s", err->msg);
                        failed = err_copy(err, &one);
                        continue;
                }
                cli_print(cli, args->v[i]);
        }
        return failed;
}

int cmd_content_label(Cli *cli, const Args *args, Err *err)
{
        Content__UpdateRequest req = CONTENT__UPDATE_REQUEST__INIT;
        Content__Info info = CONTENT__INFO__INIT;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Content__UpdateResponse *rsp;
        int r;

        r = cli_need_args(args, 1, "digest", err);
        if (r < 0)
                return r;
        info.digest = args_arg(args, 0);
        info.n_labels = mask.n_paths = (size_t)args->n - 1;
        info.labels = labels_parse(&cli->arena, &content__info__labels_entry__descriptor,
                                   args->v + 1, info.n_labels);
        mask.paths = (char **)labels_paths(&cli->arena, args->v + 1, mask.n_paths);
        req.info = &info;
        req.update_mask = &mask;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        if (mask.n_paths == 0) {
                Content__InfoRequest ireq = CONTENT__INFO_REQUEST__INIT;
                Content__InfoResponse *irsp;

                /* an update with an empty mask would replace them all */
                ireq.digest = info.digest;
                r = client_call(cli->client, &cli->arena, SVC_CONTENT "Info", &ireq,
                                content__info_response, &irsp, err);
                if (r == 0 && irsp->info)
                        cli_print(cli, labels_text(&cli->arena, LABELS(irsp->info, labels), 1, ""));
                return r;
        }
        r = client_call(cli->client, &cli->arena, SVC_CONTENT "Update", &req,
                        content__update_response, &rsp, err);
        if (r == 0 && rsp->info)
                cli_print(cli, labels_text(&cli->arena, LABELS(rsp->info, labels), 1, ""));
        return r;
}
