/* SPDX-License-Identifier: Apache-2.0 */
/* lighterd check [--digests] [--json]: what does not fit in what is kept; the status says whether
 * anything does not. Works beside a daemon. */
#include <stdio.h>
#include "base/json.h"
#include "base/mem.h"
#include "upkeep.h"

static void print_text(const CheckResult *res)
{
        for (size_t i = 0; i < res->n_findings; i++)
                printf("%s: %s\n", res->findings[i].harmless ? "leftover" : "error",
                       res->findings[i].text);
        for (int t = DB_NAMESPACES; t <= DB_TABLE_LAST; t++)
                if (res->records[t])
                        printf("%8zu  %s\n", res->records[t], check_record_name((DbTable)t));
        printf("schema %d, %zu KiB used of %zu, %zu errors, %zu leftovers\n", DB_SCHEMA_VERSION,
               res->stats.used / 1024, res->stats.map_size / 1024, res->n_errors,
               res->n_findings - res->n_errors);
}

static void print_json(const CheckResult *res)
{
        json_t *findings = json_array(), *records = json_object();
        json_t *all CLEANUP(json_decrefp) = NULL;
        char *text CLEANUP(cleanup_free) = NULL;

        for (size_t i = 0; i < res->n_findings; i++) {
                const CheckFinding *f = &res->findings[i];

                json_array_append_new(findings,
                                      json_pack("{s:s, s:b, s:s}", "kind", f->kind, "harmless",
                                                f->harmless, "text", f->text));
        }
        for (int t = DB_NAMESPACES; t <= DB_TABLE_LAST; t++)
                json_object_set_new(records, check_record_name((DbTable)t),
                                    json_integer((json_int_t)res->records[t]));
        all = json_pack("{s:b, s:i, s:I, s:I, s:I, s:o, s:o}", "clean", res->n_errors == 0,
                        "schema", DB_SCHEMA_VERSION, "errors", (json_int_t)res->n_errors,
                        "used_bytes", (json_int_t)res->stats.used, "blobs", (json_int_t)res->blobs,
                        "records", records, "findings", findings);
        text = json_text(all);
        puts(text);
}

typedef struct Checking {
        CheckOptions o;
        int json;
} Checking;

static int look(void *ctx)
{
        const Checking *c = ctx;
        Arena a CLEANUP(arena_done) = {};
        CheckResult res;
        Err err = {};

        if (check_run(&c->o, &a, &res, &err) < 0) {
                fprintf(stderr, "lighterd: check: %s\n", err.msg);
                return 1;
        }
        if (c->json)
                print_json(&res);
        else
                print_text(&res);
        return res.n_errors > 0;
}

int check_command(Config *c, char **args, int *ret_status, Err *err)
{
        Arena a CLEANUP(arena_done) = {};
        Checking checking = {};
        Places p;
        int r;

        for (; *args; args++) {
                if (upkeep_flag(&args, "json", NULL))
                        checking.json = 1;
                else if (upkeep_flag(&args, "digests", NULL))
                        checking.o.digests = 1;
                else
                        return upkeep_bad_arg("check", *args, err);
        }
        r = places_find(c, &a, &p, err);
        if (r < 0)
                return r;
        checking.o.db_dir = p.db;
        checking.o.content_root = p.content;
        checking.o.snapshotters = p.snapshotters;
        checking.o.n_snapshotters = p.n_snapshotters;
        r = upkeep_in_child(look, &checking, ret_status, err);
        if (r == 0 && *ret_status > 1)
                r = err_set(err, DATA_LOSS, "check: " UPKEEP_KILLED);
        return r;
}
