/* SPDX-License-Identifier: Apache-2.0 */
#include "services/sandboxes.h"

#include "api/containerd/services/sandbox/v1/sandbox.pb-c.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/test.h"
#include "rpc/message.h"
#include "services/testing.h"

/* A call must fail with this code and text. */
#define REFUSED(call, code, text)           \
        do {                                \
                CHECK_INT(call, -(code));   \
                CHECK_STR(b.err.msg, text); \
        } while (0)

static void label(Bench *b, Types__Sandbox *s, const char *key, const char *value)
{
        Types__Sandbox__LabelsEntry **v =
                arena_array(&b->arena, Types__Sandbox__LabelsEntry *, s->n_labels + 1);

        for (size_t i = 0; i < s->n_labels; i++)
                v[i] = s->labels[i];
        v[s->n_labels] = message_make(&b->arena, types__sandbox__labels_entry);
        v[s->n_labels]->key = key;
        v[s->n_labels++]->value = value;
        s->labels = v;
}

static void extension(Bench *b, Types__Sandbox *s, const char *key, const char *type)
{
        Types__Sandbox__ExtensionsEntry **v =
                arena_array(&b->arena, Types__Sandbox__ExtensionsEntry *, s->n_extensions + 1);

        for (size_t i = 0; i < s->n_extensions; i++)
                v[i] = s->extensions[i];
        v[s->n_extensions] = message_make(&b->arena, types__sandbox__extensions_entry);
        v[s->n_extensions]->key = key;
        v[s->n_extensions]->value = message_make(&b->arena, google__protobuf__any);
        v[s->n_extensions++]->value->type_url = (char *)(uintptr_t)type;
        s->extensions = v;
}

static Types__Sandbox *sandbox_of(Bench *b, const char *id, const char *runtime)
{
        Types__Sandbox *s = message_make(&b->arena, types__sandbox);

        s->sandbox_id = id;
        s->sandboxer = "shim";
        if (runtime) {
                s->runtime = message_make(&b->arena, types__sandbox__runtime);
                s->runtime->name = runtime;
        }
        return s;
}

static int create(Bench *b, Types__Sandbox *s)
{
        Sandbox__StoreCreateRequest req = SANDBOX__STORE_CREATE_REQUEST__INIT;

        req.sandbox = s;
        return bench_call(b, &sandboxes_service, "Create", &req);
}

static int update(Bench *b, Types__Sandbox *s, const char *field)
{
        Sandbox__StoreUpdateRequest req = SANDBOX__STORE_UPDATE_REQUEST__INIT;
        const char *fields[] = {field};

        req.sandbox = s;
        req.fields = (void *)fields;
        req.n_fields = field != NULL;
        return bench_call(b, &sandboxes_service, "Update", &req);
}

static int delete (Bench *b, const char *id)
{
        Sandbox__StoreDeleteRequest req = SANDBOX__STORE_DELETE_REQUEST__INIT;

        req.sandbox_id = id;
        return bench_call(b, &sandboxes_service, "Delete", &req);
}

static int get(Bench *b, const char *id, Types__Sandbox **ret)
{
        Sandbox__StoreGetRequest req = SANDBOX__STORE_GET_REQUEST__INIT;
        int r;

        req.sandbox_id = id;
        r = bench_call(b, &sandboxes_service, "Get", &req);
        *ret = r < 0 ? NULL : ((Sandbox__StoreGetResponse *)bench_answer(b))->sandbox;
        return r;
}

/* How many, or -code. */
static int count(Bench *b, const char *filter)
{
        Sandbox__StoreListRequest req = SANDBOX__STORE_LIST_REQUEST__INIT;
        const char *filters[] = {filter};
        int r;

        req.filters = (void *)filters;
        req.n_filters = filter != NULL;
        r = bench_call(b, &sandboxes_service, "List", &req);
        return r < 0 ? r : (int)((Sandbox__StoreListResponse *)bench_answer(b))->n_list;
}

TEST(sandboxes_live_and_die)
{
        Bench b CLEANUP(bench_done) = {};
        Types__Sandbox *s, *got;

        CHECK_INT(bench_open(&b, &sandboxes_service), 0);
        REFUSED(get(&b, "one", &got), NOT_FOUND, "bucket \"one\" not found: not found");
        CHECK_INT(count(&b, NULL), 0);

        s = sandbox_of(&b, "one", NULL);
        label(&b, s, "b", "2");
        label(&b, s, "a", "1");
        CHECK_INT(create(&b, s), 0);
        got = ((Sandbox__StoreCreateResponse *)bench_answer(&b))->sandbox;
        CHECK(got->created_at && got->created_at->seconds > 1600000000);
        CHECK_INT(got->created_at->seconds, got->updated_at->seconds);
        CHECK(got->runtime);
        REFUSED(create(&b, s), ALREADY_EXISTS,
                "write error: sandbox bucket \"one\" already exists: already exists");
        CHECK_INT(create(&b, sandbox_of(&b, "two", "r")), 0);

        CHECK_INT(get(&b, "one", &got), 0);
        CHECK_STR(got->sandboxer, "shim");
        CHECK_INT(got->n_labels, 2);
        CHECK_STR(got->labels[0]->key, "a");
        CHECK_INT(count(&b, NULL), 2);
        CHECK_INT(count(&b, "id==two"), 1);
        CHECK_INT(count(&b, "labels.a==1"), 1);
        CHECK_INT(count(&b, "runtime.name==r"), 0); /* not a field here */
        CHECK_INT(count(&b, "id~="), -INVALID_ARGUMENT);
        b.ns = "other";
        CHECK_INT(count(&b, NULL), 0);
        REFUSED(delete (&b, "one"), NOT_FOUND, "failed to delete sandbox \"one\": not found");
        b.ns = NULL;
        CHECK_INT(count(&b, NULL), -FAILED_PRECONDITION);
        b.ns = "default";
        CHECK_INT(delete (&b, "one"), 0);
        REFUSED(delete (&b, "one"), NOT_FOUND, "failed to delete sandbox \"one\": not found");
        CHECK_INT(count(&b, NULL), 1);
}

TEST(sandboxes_are_checked)
{
        char *big CLEANUP(cleanup_free) = mem_alloc(128 * 1024 + 1);
        Bench b CLEANUP(bench_done) = {};
        Types__Sandbox *s;

        memset(big, 'x', 128 * 1024);
        CHECK_INT(bench_open(&b, &sandboxes_service), 0);
        REFUSED(create(&b, NULL), INVALID_ARGUMENT, "sandbox must be set: invalid argument");
        REFUSED(update(&b, NULL, NULL), INVALID_ARGUMENT, "sandbox must be set: invalid argument");
        CHECK_INT(create(&b, sandbox_of(&b, "", "r")), -INVALID_ARGUMENT);
        CHECK(strstr(b.err.msg, "failed to validate sandbox: invalid sandbox ID: "));
        CHECK_INT(create(&b, sandbox_of(&b, "../x", "r")), -INVALID_ARGUMENT);
        CHECK(strstr(b.err.msg, "../x"));
        CHECK_INT(create(&b, sandbox_of(&b, big, "r")), -INVALID_ARGUMENT);
        s = sandbox_of(&b, "s", "r");
        label(&b, s, "k", big);
        CHECK_INT(create(&b, s), -INVALID_ARGUMENT);
        s = sandbox_of(&b, "s", "r");
        extension(&b, s, "", "t");
        CHECK_INT(create(&b, s), -INVALID_ARGUMENT);
        CHECK_INT(count(&b, NULL), 0);
}

TEST(sandboxes_update_by_field)
{
        Bench b CLEANUP(bench_done) = {};
        Types__Sandbox *s, *got;

        CHECK_INT(bench_open(&b, &sandboxes_service), 0);
        s = sandbox_of(&b, "s", "r");
        label(&b, s, "a", "1");
        label(&b, s, "b", "1");
        extension(&b, s, "x", "first");
        CHECK_INT(create(&b, s), 0);

        s = sandbox_of(&b, "s", "other");
        REFUSED(update(&b, s, NULL), INVALID_ARGUMENT,
                "sandbox.Runtime.Name field is immutable: invalid argument");
        REFUSED(update(&b, s, "sandboxer"), INVALID_ARGUMENT,
                "cannot update \"sandboxer\" field on sandbox \"s\": invalid argument");
        REFUSED(update(&b, sandbox_of(&b, "none", "r"), "labels"), NOT_FOUND,
                "bucket \"none\" not found: not found");

        label(&b, s, "a", "2");
        label(&b, s, "b", "2");
        extension(&b, s, "x", "second");
        extension(&b, s, "y", "new");
        CHECK_INT(update(&b, s, "labels.a"), 0);
        got = ((Sandbox__StoreUpdateResponse *)bench_answer(&b))->sandbox;
        CHECK_STR(labels_find(got->labels, got->n_labels, "a"), "2");
        CHECK_STR(labels_find(got->labels, got->n_labels, "b"), "1");
        CHECK_STR(got->runtime->name, "r");
        CHECK_INT(update(&b, s, "extensions.y"), 0);
        CHECK_INT(get(&b, "s", &got), 0);
        CHECK_INT(got->n_extensions, 2);
        CHECK_STR(got->extensions[0]->value->type_url, "first");
        CHECK_INT(update(&b, s, "runtime"), 0);
        CHECK_INT(get(&b, "s", &got), 0);
        CHECK_STR(got->runtime->name, "other");

        CHECK_INT(update(&b, sandbox_of(&b, "s", "other"), NULL), 0);
        CHECK_INT(get(&b, "s", &got), 0);
        CHECK_INT(got->n_labels, 0);
        CHECK_INT(got->n_extensions, 0);
        CHECK(got->updated_at->seconds > got->created_at->seconds ||
              got->updated_at->nanos > got->created_at->nanos);
}

TEST(sandbox_create_is_all_or_nothing)
{
        for (int nth = 1;; nth++) {
                Bench b CLEANUP(bench_done) = {};
                int r;

                CHECK_INT(bench_open(&b, &sandboxes_service), 0);
                fault_arm(nth);
                r = create(&b, sandbox_of(&b, "s", "r"));
                if (!fault_fired) {
                        fault_arm(0);
                        CHECK_INT(r, 0);
                        CHECK(nth > 2);
                        return;
                }
                fault_arm(0);
                CHECK(r < 0 && b.err.msg[0]);
                CHECK_INT(count(&b, NULL), 0);
                CHECK_INT(create(&b, sandbox_of(&b, "s", "r")), 0);
        }
}
