/* SPDX-License-Identifier: Apache-2.0 */
/* The services over the metadata, as a client sees them: answers, texts, events, and that a failure
 * leaves nothing. */
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/containerd/services/images/v1/images.pb-c.h"
#include "api/containerd/services/leases/v1/leases.pb-c.h"
#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/test.h"
#include "metadata/leases.h"
#include "rpc/message.h"
#include "services/containers.h"
#include "services/images.h"
#include "services/leases.h"
#include "services/namespaces.h"
#include "services/testing.h"

#define DIGEST "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* A call must fail with this code and text. */
#define REFUSED(call, code, text)           \
        do {                                \
                CHECK_INT(call, -(code));   \
                CHECK_STR(b.err.msg, text); \
        } while (0)

static const char *event_topic(Bench *b)
{
        Types__Envelope *e = bench_event(b);

        return e ? e->topic : "";
}

/* Labels from "k=v" texts, of whatever message has them. */
static void set_labels(Bench *b, const ProtobufCMessageDescriptor *desc, void *entries, size_t *n,
                       const char *a, const char *z)
{
        const char *texts[] = {a, z};
        LabelEntry **v = arena_array(&b->arena, LabelEntry *, 2);

        *n = 0;
        for (int i = 0; i < 2; i++) {
                if (!texts[i])
                        continue;
                v[*n] = message_new(&b->arena, desc);
                v[*n]->key = arena_strndup(&b->arena, texts[i], strcspn(texts[i], "="));
                v[(*n)++]->value = strchr(texts[i], '=') + 1;
        }
        *(LabelEntry ***)entries = v;
}

static Google__Protobuf__FieldMask *mask_of(Bench *b, const char *one, const char *two)
{
        Google__Protobuf__FieldMask *m = message_make(&b->arena, google__protobuf__field_mask);
        const char **v = arena_array(&b->arena, const char *, 2);

        v[0] = one;
        v[1] = two;
        m->paths = (void *)v;
        m->n_paths = two ? 2 : 1;
        return m;
}

/* ---- namespaces ---- */

static Namespaces__Namespace *ns_of(Bench *b, const char *name, const char *l1, const char *l2)
{
        Namespaces__Namespace *ns = message_make(&b->arena, namespaces__namespace);

        ns->name = name;
        set_labels(b, &namespaces__namespace__labels_entry__descriptor, &ns->labels, &ns->n_labels,
                   l1, l2);
        return ns;
}

static int ns_create(Bench *b, Namespaces__Namespace *ns)
{
        Namespaces__CreateNamespaceRequest req = NAMESPACES__CREATE_NAMESPACE_REQUEST__INIT;

        req.namespace_ = ns;
        return bench_call(b, &namespaces_service, "Create", &req);
}

static int ns_update(Bench *b, Namespaces__Namespace *ns, Google__Protobuf__FieldMask *mask)
{
        Namespaces__UpdateNamespaceRequest req = NAMESPACES__UPDATE_NAMESPACE_REQUEST__INIT;

        req.namespace_ = ns;
        req.update_mask = mask;
        return bench_call(b, &namespaces_service, "Update", &req);
}

static int ns_delete(Bench *b, const char *name)
{
        Namespaces__DeleteNamespaceRequest req = NAMESPACES__DELETE_NAMESPACE_REQUEST__INIT;

        req.name = name;
        return bench_call(b, &namespaces_service, "Delete", &req);
}

static Namespaces__Namespace *ns_get(Bench *b, const char *name)
{
        Namespaces__GetNamespaceRequest req = NAMESPACES__GET_NAMESPACE_REQUEST__INIT;

        req.name = name;
        if (bench_call(b, &namespaces_service, "Get", &req) < 0)
                return NULL;
        return ((Namespaces__GetNamespaceResponse *)bench_answer(b))->namespace_;
}

static size_t ns_count(Bench *b)
{
        Namespaces__ListNamespacesRequest req = NAMESPACES__LIST_NAMESPACES_REQUEST__INIT;

        bench_call(b, &namespaces_service, "List", &req);
        return ((Namespaces__ListNamespacesResponse *)bench_answer(b))->n_namespaces;
}

TEST(namespaces_live_and_die)
{
        Bench b CLEANUP(bench_done) = {};
        Namespaces__Namespace *got;
        Types__Envelope *e;

        CHECK_INT(bench_open(&b, &namespaces_service), 0);
        b.ns = NULL;
        CHECK_INT(ns_create(&b, ns_of(&b, "one", "b=2", "a=1")), 0);
        got = ((Namespaces__CreateNamespaceResponse *)bench_answer(&b))->namespace_;
        CHECK_STR(got->name, "one");
        e = bench_event(&b);
        CHECK_STR(e->topic, "/namespaces/create");
        CHECK_STR(e->namespace_, "one");
        CHECK_STR(e->event->type_url, "containerd.events.NamespaceCreate");

        REFUSED(ns_create(&b, ns_of(&b, "one", NULL, NULL)), ALREADY_EXISTS,
                "namespace \"one\": already exists");
        CHECK_INT(ns_create(&b, ns_of(&b, "a..b", NULL, NULL)), -INVALID_ARGUMENT);
        CHECK_INT(ns_create(&b, ns_of(&b, "../x", NULL, NULL)), -INVALID_ARGUMENT);
        CHECK_INT(ns_create(&b, ns_of(&b, "", NULL, NULL)), -INVALID_ARGUMENT);
        REFUSED(ns_create(&b, NULL), INVALID_ARGUMENT, "namespace must be set: invalid argument");
        CHECK(!bench_event(&b));
        CHECK_INT(ns_count(&b), 1);

        got = ns_get(&b, "one");
        CHECK(got->n_labels == 2);
        CHECK_STR(labels_find(got->labels, got->n_labels, "a"), "1");
        got = ns_get(&b, "unknown");
        CHECK_STR(got->name, "unknown");
        CHECK(got->n_labels == 0);
        CHECK_INT(ns_count(&b), 1);

        REFUSED(ns_delete(&b, "two"), NOT_FOUND, "namespace \"two\": not found");
        CHECK_INT(ns_delete(&b, "one"), 0);
        e = bench_event(&b);
        CHECK_STR(e->topic, "/namespaces/delete");
        CHECK_STR(e->namespace_, "one");
        CHECK_INT(ns_count(&b), 0);
}

TEST(namespaces_update_labels)
{
        Bench b CLEANUP(bench_done) = {};
        Namespaces__Namespace *got;

        CHECK_INT(bench_open(&b, &namespaces_service), 0);
        CHECK_INT(ns_create(&b, ns_of(&b, "one", "a=1", "b=2")), 0);
        CHECK_INT(ns_update(&b, ns_of(&b, "one", "a=9", NULL), mask_of(&b, "labels.a", "labels.b")),
                  0);
        got = ns_get(&b, "one");
        CHECK(got->n_labels == 1);
        CHECK_STR(labels_find(got->labels, got->n_labels, "a"), "9");
        CHECK_INT(ns_update(&b, ns_of(&b, "one", "c=3", "d="), NULL), 0);
        got = ns_get(&b, "one");
        CHECK(got->n_labels == 1);
        CHECK_STR(labels_find(got->labels, got->n_labels, "c"), "3");
        REFUSED(ns_update(&b, ns_of(&b, "one", NULL, NULL), mask_of(&b, "name", NULL)),
                INVALID_ARGUMENT, "cannot update \"name\" field");
        CHECK_STR(event_topic(&b), "/namespaces/create");
        CHECK_STR(event_topic(&b), "/namespaces/update");
        CHECK_STR(event_topic(&b), "/namespaces/update");
        CHECK_STR(event_topic(&b), "");
}

/* ---- containers ---- */

static Containers__Container *ct_of(Bench *b, const char *id)
{
        Containers__Container *ct = message_make(&b->arena, containers__container);

        ct->id = id;
        ct->image = "img";
        ct->runtime = message_make(&b->arena, containers__container__runtime);
        ct->runtime->name = "io.containerd.runc.v2";
        ct->spec = message_make(&b->arena, google__protobuf__any);
        ct->spec->type_url =
                arena_strdup(&b->arena, "types.containerd.io/opencontainers/runtime-spec/1/Spec");
        ct->spec->value = (ProtobufCBinaryData){2, (uint8_t *)arena_strdup(&b->arena, "{}")};
        return ct;
}

static void ct_labels(Bench *b, Containers__Container *ct, const char *l1, const char *l2)
{
        set_labels(b, &containers__container__labels_entry__descriptor, &ct->labels, &ct->n_labels,
                   l1, l2);
}

static int ct_create(Bench *b, Containers__Container *ct)
{
        Containers__CreateContainerRequest req = CONTAINERS__CREATE_CONTAINER_REQUEST__INIT;

        req.container = ct;
        return bench_call(b, &containers_service, "Create", &req);
}

static int ct_update(Bench *b, Containers__Container *ct, Google__Protobuf__FieldMask *mask)
{
        Containers__UpdateContainerRequest req = CONTAINERS__UPDATE_CONTAINER_REQUEST__INIT;

        req.container = ct;
        req.update_mask = mask;
        return bench_call(b, &containers_service, "Update", &req);
}

static int ct_delete(Bench *b, const char *id)
{
        Containers__DeleteContainerRequest req = CONTAINERS__DELETE_CONTAINER_REQUEST__INIT;

        req.id = id;
        return bench_call(b, &containers_service, "Delete", &req);
}

static Containers__Container *ct_get(Bench *b, const char *id)
{
        Containers__GetContainerRequest req = CONTAINERS__GET_CONTAINER_REQUEST__INIT;

        req.id = id;
        if (bench_call(b, &containers_service, "Get", &req) < 0)
                return NULL;
        return ((Containers__GetContainerResponse *)bench_answer(b))->container;
}

/* How many a list finds with a filter, by List and by ListStream; -1 when they differ. */
static int ct_count(Bench *b, const char *filter)
{
        Containers__ListContainersRequest req = CONTAINERS__LIST_CONTAINERS_REQUEST__INIT;
        Containers__ListContainersResponse *rsp;

        req.filters = (void *)&filter;
        req.n_filters = filter ? 1 : 0;
        if (bench_call(b, &containers_service, "List", &req) < 0)
                return -2;
        rsp = bench_answer(b);
        if (bench_call(b, &containers_service, "ListStream", &req) < 0)
                return -3;
        if (b->n_answers != rsp->n_containers)
                return -1;
        for (size_t i = 0; i < b->n_answers; i++)
                if (!str_eq(((Containers__ListContainerMessage *)b->answers[i])->container->id,
                            rsp->containers[i]->id))
                        return -1;
        return (int)rsp->n_containers;
}

TEST(containers_live_and_die)
{
        Bench b CLEANUP(bench_done) = {};
        Containers__Container *ct, *got;
        Events__ContainerCreate *created;
        Types__Envelope *e;
        ProtobufCMessage *msg;
        Err err;

        CHECK_INT(bench_open(&b, &containers_service), 0);
        ct = ct_of(&b, "c1");
        ct_labels(&b, ct, "x=1", "gone=");
        ct->created_at = time_to_pb(&b.arena, (Time){.sec = 1});
        CHECK_INT(ct_create(&b, ct), 0);
        got = ((Containers__CreateContainerResponse *)bench_answer(&b))->container;
        CHECK(got->created_at->seconds > 1000 &&
              got->created_at->seconds == got->updated_at->seconds);
        e = bench_event(&b);
        CHECK_STR(e->topic, "/containers/create");
        CHECK_STR(e->namespace_, "default");
        CHECK_STR(e->event->type_url, "containerd.events.ContainerCreate");
        CHECK_INT(message_unpack(&b.arena, &events__container_create__descriptor,
                                 e->event->value.data, e->event->value.len, &msg, &err),
                  0);
        created = (Events__ContainerCreate *)msg;
        CHECK_STR(created->id, "c1");
        CHECK_STR(created->runtime->name, "io.containerd.runc.v2");

        got = ct_get(&b, "c1");
        CHECK(got && got->n_labels == 1 && got->spec->value.len == 2);
        REFUSED(ct_create(&b, ct_of(&b, "c1")), ALREADY_EXISTS, "container \"c1\": already exists");
        CHECK(!ct_get(&b, "c2"));
        CHECK_STR(b.err.msg, "container \"c2\" in namespace \"default\": not found");
        CHECK_INT(ct_count(&b, NULL), 1);
        b.ns = "other";
        CHECK(!ct_get(&b, "c1"));
        CHECK_STR(b.err.msg, "container \"c1\" in namespace \"other\": not found");
        CHECK_INT(ct_count(&b, NULL), 0);
        REFUSED(ct_delete(&b, "c1"), NOT_FOUND,
                "cannot delete container \"c1\" in namespace \"other\": not found");
        b.ns = "default";
        REFUSED(ct_delete(&b, "c2"), NOT_FOUND, "container c2: not found");
        CHECK(!bench_event(&b));
        CHECK_INT(ct_delete(&b, "c1"), 0);
        CHECK_STR(event_topic(&b), "/containers/delete");
        CHECK_INT(ct_count(&b, NULL), 0);
        b.ns = NULL;
        CHECK_INT(ct_create(&b, ct_of(&b, "c1")), -FAILED_PRECONDITION);
        b.ns = "../etc";
        CHECK_INT(ct_create(&b, ct_of(&b, "c1")), -INVALID_ARGUMENT);
}

TEST(containers_are_checked)
{
        Bench b CLEANUP(bench_done) = {};
        Containers__Container *ct;
        char *big CLEANUP(cleanup_free) = mem_alloc(5000);

        CHECK_INT(bench_open(&b, &containers_service), 0);
        REFUSED(ct_create(&b, NULL), INVALID_ARGUMENT, "container must be set: invalid argument");
        REFUSED(ct_create(&b, ct_of(&b, "")), INVALID_ARGUMENT,
                "create container failed validation: container.ID: identifier must not be empty: invalid argument");
        CHECK_INT(ct_create(&b, ct_of(&b, "../x")), -INVALID_ARGUMENT);
        ct = ct_of(&b, "c1");
        ct->runtime = NULL;
        REFUSED(ct_create(&b, ct), INVALID_ARGUMENT,
                "create container failed validation: container.Runtime.Name must be set: invalid argument");
        ct = ct_of(&b, "c1");
        ct->snapshot_key = "k";
        REFUSED(ct_create(&b, ct), INVALID_ARGUMENT,
                "create container failed validation: container.Snapshotter must be set if container.SnapshotKey is "
                "set: invalid argument");
        ct = ct_of(&b, "c1");
        memset(big, 'v', 4999);
        memcpy(big, "key=", 4);
        ct_labels(&b, ct, big, NULL);
        CHECK_INT(ct_create(&b, ct), -INVALID_ARGUMENT);
        CHECK(str_starts(
                b.err.msg,
                "create container failed validation: containers.Labels: label key and value length "
                "(4998 bytes) greater than maximum size (4096 bytes), key: key"));
        ct = ct_of(&b, "c1");
        ct->spec = NULL; /* accepted, as containerd does */
        CHECK_INT(ct_create(&b, ct), 0);
}

static void ct_extension(Bench *b, Containers__Container *ct, const char *key, const char *type)
{
        Containers__Container__ExtensionsEntry *e =
                message_make(&b->arena, containers__container__extensions_entry);
        Containers__Container__ExtensionsEntry **v = arena_array(
                &b->arena, Containers__Container__ExtensionsEntry *, ct->n_extensions + 1);

        e->key = key;
        if (type) {
                e->value = message_make(&b->arena, google__protobuf__any);
                e->value->type_url = arena_strdup(&b->arena, type);
        }
        if (ct->n_extensions)
                memcpy(v, ct->extensions, ct->n_extensions * sizeof(*v));
        v[ct->n_extensions++] = e;
        ct->extensions = v;
}

TEST(containers_update_by_mask)
{
        Bench b CLEANUP(bench_done) = {};
        Containers__Container *ct, *got;

        CHECK_INT(bench_open(&b, &containers_service), 0);
        REFUSED(ct_update(&b, NULL, NULL), INVALID_ARGUMENT, "Container.ID required");
        REFUSED(ct_update(&b, ct_of(&b, ""), NULL), INVALID_ARGUMENT, "Container.ID required");
        REFUSED(ct_update(&b, ct_of(&b, "c1"), NULL), NOT_FOUND,
                "cannot update container \"c1\" in namespace \"default\": not found");
        ct = ct_of(&b, "c1");
        ct_labels(&b, ct, "a=1", "b=2");
        ct_extension(&b, ct, "e1", "t1");
        ct_extension(&b, ct, "e2", "t2");
        CHECK_INT(ct_create(&b, ct), 0);
        REFUSED(ct_update(&b, ct_of(&b, "c2"), NULL), NOT_FOUND, "container \"c2\": not found");

        ct = ct_of(&b, "c1");
        ct_labels(&b, ct, "a=9", "c=3");
        ct->image = "other";
        CHECK_INT(ct_update(&b, ct, mask_of(&b, "labels.a", "labels.b")), 0);
        got = ct_get(&b, "c1");
        CHECK(got->n_labels == 1 && got->n_extensions == 2);
        CHECK_STR(got->labels[0]->value, "9");
        CHECK_STR(got->image, "img");
        ct_extension(&b, ct, "e1", "t9");
        CHECK_INT(ct_update(&b, ct, mask_of(&b, "extensions.e1", "extensions.e2")), 0);
        got = ct_get(&b, "c1");
        CHECK(got->n_extensions == 1);
        CHECK_STR(got->extensions[0]->value->type_url, "t9");

        CHECK_INT(ct_update(&b, ct, NULL), 0); /* all that may change */
        got = ct_get(&b, "c1");
        CHECK(got->n_labels == 2 && got->n_extensions == 1);
        CHECK_STR(got->image, "other");
        CHECK(got->created_at->seconds > 0 &&
              (got->updated_at->seconds > got->created_at->seconds ||
               got->updated_at->nanos != got->created_at->nanos));

        REFUSED(ct_update(&b, ct, mask_of(&b, "runtime", NULL)), INVALID_ARGUMENT,
                "cannot update \"runtime\" field on \"c1\": invalid argument");
        ct->runtime->name = "io.containerd.other.v1";
        REFUSED(ct_update(&b, ct, NULL), INVALID_ARGUMENT,
                "container.Runtime.Name field is immutable: invalid argument");
        ct = ct_of(&b, "c1");
        ct->snapshotter = "native";
        REFUSED(ct_update(&b, ct, NULL), INVALID_ARGUMENT,
                "container.Snapshotter field is immutable: invalid argument");
        ct->snapshot_key = "k";
        REFUSED(ct_update(&b, ct, mask_of(&b, "snapshotkey", NULL)), INVALID_ARGUMENT,
                "update failed validation: container.Snapshotter must be set if container.SnapshotKey is set: invalid "
                "argument");
        ct_extension(&b, ct, "", "t");
        REFUSED(ct_update(&b, ct, mask_of(&b, "extensions", NULL)), INVALID_ARGUMENT,
                "update failed validation: container.Extension keys must not be zero-length: invalid argument");
        CHECK_STR(event_topic(&b), "/containers/create");
        for (int i = 0; i < 3; i++)
                CHECK_STR(event_topic(&b), "/containers/update");
        CHECK_STR(event_topic(&b), "");
}

TEST(containers_list_with_filters)
{
        Bench b CLEANUP(bench_done) = {};
        Containers__ListContainersRequest req = CONTAINERS__LIST_CONTAINERS_REQUEST__INIT;
        Containers__Container *ct;
        const char *bad = "id=c1";

        CHECK_INT(bench_open(&b, &containers_service), 0);
        for (int i = 0; i < 20; i++) {
                ct = ct_of(&b, arena_printf(&b.arena, "c%02d", i));
                ct_labels(&b, ct, i % 2 ? "odd=yes" : "io.k8s.kind=sandbox", NULL);
                ct->image = i < 5 ? "" : "img";
                ct_extension(&b, ct, "e", "t");
                CHECK_INT(ct_create(&b, ct), 0);
        }
        CHECK_INT(ct_count(&b, NULL), 20);
        CHECK_INT(ct_count(&b, ""), 20);
        CHECK_INT(ct_count(&b, "id==c07"), 1);
        CHECK_INT(ct_count(&b, "id~=/^c1[0-4]$/"), 5);
        CHECK_INT(ct_count(&b, "labels.odd"), 10);
        CHECK_INT(ct_count(&b, "labels.io.k8s.kind==sandbox,image"), 7);
        CHECK_INT(ct_count(&b, "runtime.name==io.containerd.runc.v2"), 20);
        CHECK_INT(ct_count(&b, "spec"), 0);
        CHECK_INT(ct_count(&b, "image!=img"), 5);
        req.filters = (void *)&bad;
        req.n_filters = 1;
        REFUSED(bench_call(&b, &containers_service, "List", &req), INVALID_ARGUMENT,
                "filters: parse error: [id >|=|< c1]: unsupported operator \"=\": invalid argument");
        CHECK_INT(bench_call(&b, &containers_service, "ListStream", &req), -INVALID_ARGUMENT);
}

TEST(container_create_is_all_or_nothing)
{
        int nth;

        for (nth = 1;; nth++) {
                Bench b CLEANUP(bench_done) = {};
                int r;

                CHECK_INT(bench_open(&b, &containers_service), 0);
                fault_arm(nth);
                r = ct_create(&b, ct_of(&b, "c1"));
                if (!fault_fired) {
                        fault_arm(0);
                        CHECK_INT(r, 0);
                        break;
                }
                fault_arm(0);
                CHECK(r < 0 && b.err.msg[0] && !bench_event(&b));
                CHECK(!ct_get(&b, "c1"));
                CHECK_INT(ct_create(&b, ct_of(&b, "c1")), 0); /* and left nothing behind */
                CHECK_STR(event_topic(&b), "/containers/create");
        }
        CHECK(nth > 4);
}

/* ---- images ---- */

static Images__Image *img_of(Bench *b, const char *name)
{
        Images__Image *image = message_make(&b->arena, images__image);

        image->name = name;
        image->target = message_make(&b->arena, types__descriptor);
        image->target->digest = DIGEST;
        image->target->size = 7;
        image->target->media_type = "application/vnd.oci.image.manifest.v1+json";
        return image;
}

static void img_labels(Bench *b, Images__Image *image, const char *l1, const char *l2)
{
        set_labels(b, &images__image__labels_entry__descriptor, &image->labels, &image->n_labels,
                   l1, l2);
}

static int img_create(Bench *b, Images__Image *image)
{
        Images__CreateImageRequest req = IMAGES__CREATE_IMAGE_REQUEST__INIT;

        req.image = image;
        return bench_call(b, &images_service, "Create", &req);
}

static int img_update(Bench *b, Images__Image *image, Google__Protobuf__FieldMask *mask)
{
        Images__UpdateImageRequest req = IMAGES__UPDATE_IMAGE_REQUEST__INIT;

        req.image = image;
        req.update_mask = mask;
        return bench_call(b, &images_service, "Update", &req);
}

static int img_delete(Bench *b, const char *name, const char *target, int sync)
{
        Images__DeleteImageRequest req = IMAGES__DELETE_IMAGE_REQUEST__INIT;
        Types__Descriptor desc = TYPES__DESCRIPTOR__INIT;

        req.name = name;
        req.sync = sync;
        if (target) {
                desc.digest = target;
                req.target = &desc;
                req.target_presence_case = IMAGES__DELETE_IMAGE_REQUEST__TARGET_PRESENCE_TARGET;
        }
        return bench_call(b, &images_service, "Delete", &req);
}

static Images__Image *img_get(Bench *b, const char *name)
{
        Images__GetImageRequest req = IMAGES__GET_IMAGE_REQUEST__INIT;

        req.name = name;
        if (bench_call(b, &images_service, "Get", &req) < 0)
                return NULL;
        return ((Images__GetImageResponse *)bench_answer(b))->image;
}

static Images__ListImagesResponse *img_list(Bench *b, const char *filter)
{
        Images__ListImagesRequest req = IMAGES__LIST_IMAGES_REQUEST__INIT;

        req.filters = (void *)&filter;
        req.n_filters = filter ? 1 : 0;
        return bench_call(b, &images_service, "List", &req) < 0 ? NULL : bench_answer(b);
}

TEST(images_are_checked)
{
        Bench b CLEANUP(bench_done) = {};
        Images__Image *image;
        static const char *const digests[][2] = {
                {"",
                 "target.Digest \"\" invalid: invalid checksum digest format: invalid argument"},
                {"sha256:abc",
                 "target.Digest \"sha256:abc\" invalid: invalid checksum digest length: invalid argument"},
                {"md5:abc",
                 "target.Digest \"md5:abc\" invalid: unsupported digest algorithm: invalid argument"},
        };

        CHECK_INT(bench_open(&b, &images_service), 0);
        REFUSED(img_create(&b, NULL), INVALID_ARGUMENT, "Image.Name required");
        REFUSED(img_create(&b, img_of(&b, "")), INVALID_ARGUMENT, "Image.Name required");
        REFUSED(img_update(&b, NULL, NULL), INVALID_ARGUMENT, "Image.Name required");
        image = img_of(&b, "i");
        image->target = NULL;
        REFUSED(img_create(&b, image), INVALID_ARGUMENT, digests[0][1]);
        for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
                image = img_of(&b, "i");
                image->target->digest = digests[i][0];
                REFUSED(img_create(&b, image), INVALID_ARGUMENT, digests[i][1]);
        }
        image = img_of(&b, "i");
        image->target->size = 0;
        REFUSED(img_create(&b, image), INVALID_ARGUMENT,
                "target.Size must be greater than zero: invalid argument");
        image = img_of(&b, "i");
        image->target->media_type = "";
        REFUSED(img_create(&b, image), INVALID_ARGUMENT,
                "target.MediaType must be set: invalid argument");
        CHECK(!bench_event(&b) && !img_get(&b, "i"));
        CHECK_STR(b.err.msg, "image \"i\": not found");
}

TEST(images_live_and_die)
{
        Bench b CLEANUP(bench_done) = {};
        Images__CreateImageRequest req = IMAGES__CREATE_IMAGE_REQUEST__INIT;
        Images__Image *image, *got;
        Types__Envelope *e;
        int64_t created;

        CHECK_INT(bench_open(&b, &images_service), 0);
        req.image = img_of(&b, "docker.io/library/x:1");
        img_labels(&b, req.image, "a=1", "b=2");
        req.source_date_epoch = time_to_pb(&b.arena, (Time){.sec = 1000});
        CHECK_INT(bench_call(&b, &images_service, "Create", &req), 0);
        e = bench_event(&b);
        CHECK_STR(e->topic, "/images/create");
        CHECK_STR(e->event->type_url, "containerd.services.images.v1.ImageCreate");
        got = img_get(&b, "docker.io/library/x:1");
        CHECK_INT(got->created_at->seconds, 1000);
        REFUSED(img_create(&b, img_of(&b, "docker.io/library/x:1")), ALREADY_EXISTS,
                "image \"docker.io/library/x:1\": already exists");

        image = img_of(&b, "docker.io/library/x:1");
        img_labels(&b, image, "a=9", NULL);
        CHECK_INT(img_update(&b, image, mask_of(&b, "labels.a", "labels.b")), 0);
        got = img_get(&b, image->name);
        CHECK(got->n_labels == 1);
        CHECK_STR(got->labels[0]->value, "9");
        created = got->created_at->seconds;
        image->target->size = 99;
        CHECK_INT(img_update(&b, image, NULL), 0);
        got = img_get(&b, image->name);
        CHECK(got->target->size == 99 && got->created_at->seconds == created &&
              got->updated_at->seconds > 1000);
        set_labels(&b, &types__descriptor__annotations_entry__descriptor,
                   &image->target->annotations, &image->target->n_annotations, "k=v", NULL);
        CHECK_INT(img_update(&b, image, mask_of(&b, "annotations.k", NULL)), 0);
        CHECK_INT(img_list(&b, "annotations.k==v")->n_images, 1);
        REFUSED(img_update(&b, image, mask_of(&b, "name", NULL)), INVALID_ARGUMENT,
                "cannot update \"name\" field on image \"docker.io/library/x:1\": invalid argument");
        image->target->size = -1;
        REFUSED(img_update(&b, image, mask_of(&b, "target", NULL)), INVALID_ARGUMENT,
                "target.Size must be greater than zero: invalid argument");
        REFUSED(img_update(&b, img_of(&b, "nope"), NULL), NOT_FOUND, "image \"nope\": not found");
        for (int i = 0; i < 3; i++)
                CHECK_STR(event_topic(&b), "/images/update");

        REFUSED(img_delete(&b, image->name, "sha256:x", 0), NOT_FOUND,
                "image \"docker.io/library/x:1\" has target " DIGEST ", not sha256:x: not found");
        CHECK(!bench_event(&b));
        CHECK_INT(img_delete(&b, image->name, DIGEST, 0), 0);
        CHECK_STR(event_topic(&b), "/images/delete");
        REFUSED(img_delete(&b, image->name, NULL, 0), NOT_FOUND,
                "image \"docker.io/library/x:1\": not found");
}

TEST(images_of_any_name)
{
        Bench b CLEANUP(bench_done) = {};
        static const char *const names[] = {"a", "../../etc/passwd", "a b,c==d", "\xc3\xa4",
                                            "x@sha256:00"};
        char *long1 = NULL, *long2;

        CHECK_INT(bench_open(&b, &images_service), 0);
        long1 = arena_alloc(&b.arena, 3001), long2 = arena_alloc(&b.arena, 3001);
        memset(long1, 'n', 3000), memset(long2, 'n', 3000);
        long2[2999] = 'm';
        CHECK_INT(img_create(&b, img_of(&b, long1)), 0);
        CHECK_INT(img_create(&b, img_of(&b, long2)), 0);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                CHECK_INT(img_create(&b, img_of(&b, names[i])), 0);
                CHECK_STR(img_get(&b, names[i])->name, names[i]);
        }
        CHECK_STR(img_get(&b, long1)->name, long1);
        CHECK_STR(img_get(&b, long2)->name, long2);
        CHECK_INT(img_list(&b, NULL)->n_images, ARRAY_LEN(names) + 2);
        CHECK_INT(img_delete(&b, long1, NULL, 0), 0);
        CHECK(img_get(&b, long2) && !img_get(&b, long1));
}

static void (*pending_done)(void *arg);
static void *pending_arg;
static int synced;

static void sync_now(void *ctx, void (*done)(void *arg), void *arg)
{
        synced++;
        done(arg);
}

static void sync_later(void *ctx, void (*done)(void *arg), void *arg)
{
        pending_done = done;
        pending_arg = arg;
}

TEST(image_delete_waits_for_removal)
{
        Bench b CLEANUP(bench_done) = {};

        CHECK_INT(bench_open(&b, &images_service), 0);
        synced = 0;
        CHECK_INT(img_create(&b, img_of(&b, "i")), 0);
        CHECK_INT(img_delete(&b, "i", NULL, 1), 0); /* nothing to wait for */
        metadata_add_sync(b.meta, sync_now, NULL);
        metadata_add_sync(b.meta, sync_now, NULL);
        CHECK_INT(img_create(&b, img_of(&b, "i")), 0);
        CHECK_INT(img_delete(&b, "i", NULL, 0), 0);
        CHECK_INT(synced, 0);
        CHECK_INT(img_create(&b, img_of(&b, "i")), 0);
        CHECK_INT(img_delete(&b, "i", NULL, 1), 0);
        CHECK_INT(synced, 2);
        metadata_add_sync(b.meta, sync_later, NULL);
        CHECK_INT(img_create(&b, img_of(&b, "i")), 0);
        CHECK_INT(img_delete(&b, "i", NULL, 1),
                  -DEADLINE_EXCEEDED); /* no answer yet; the client goes */
        pending_done(pending_arg);     /* and nobody minds */
        CHECK(!img_get(&b, "i"));
}

TEST(namespace_that_is_not_empty_stays)
{
        Bench b CLEANUP(bench_done) = {};
        const char *snapshotters[] = {"overlayfs", "native"};
        Err err;

        CHECK_INT(bench_open(&b, &images_service), 0);
        rpc_registry_add(b.registry, &containers_service, b.meta);
        rpc_registry_add(b.registry, &namespaces_service, b.meta);
        CHECK_INT(img_create(&b, img_of(&b, "i")), 0); /* makes the namespace */
        CHECK_INT(ns_count(&b), 1);
        CHECK_INT(ct_create(&b, ct_of(&b, "c")), 0);
        {
                MetaTxn txn CLEANUP(meta_txn_end) = {};
                uint32_t ns;
                DbKey k;

                CHECK_INT(meta_begin_rw(b.meta, &txn, &b.arena, &err), 0);
                ns = meta_ns_ensure(&txn, "default");
                db_put(&txn.db, db_key_name(db_key(&k, DB_BLOBS, ns), DIGEST), "", 0);
                for (int i = 0; i < 2; i++)
                        for (int n = 0; n < 3; n++)
                                db_put(&txn.db,
                                       db_key_name(db_key_group(db_key(&k, DB_SNAPSHOTS, ns),
                                                                snapshotters[i]),
                                                   n ? n > 1 ? "b" : "a" : "s"),
                                       "", 0);
                CHECK_INT(meta_commit(&txn), 0);
        }
        REFUSED(ns_delete(&b, "default"), FAILED_PRECONDITION,
                "namespace \"default\" must be empty, but it still has images, blobs, containers, snapshots on \"native\" "
                "snapshotter, snapshots on \"overlayfs\" snapshotter: failed precondition");
        CHECK_INT(img_delete(&b, "i", NULL, 0), 0);
        CHECK_INT(ct_delete(&b, "c"), 0);
        REFUSED(ns_delete(&b, "default"), FAILED_PRECONDITION,
                "namespace \"default\" must be empty, but it still has blobs, snapshots on \"native\" snapshotter, "
                "snapshots on \"overlayfs\" snapshotter: failed precondition");
        CHECK_INT(ns_count(&b), 1);
}

/* ---- leases ---- */

static int lease_create(Bench *b, const char *id)
{
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;

        req.id = id;
        set_labels(b, &leases__create_request__labels_entry__descriptor, &req.labels, &req.n_labels,
                   "a=1", "b=");
        return bench_call(b, &leases_service, "Create", &req);
}

static int lease_delete(Bench *b, const char *id, int sync)
{
        Leases__DeleteRequest req = LEASES__DELETE_REQUEST__INIT;

        req.id = id;
        req.sync = sync;
        return bench_call(b, &leases_service, "Delete", &req);
}

static int lease_resource(Bench *b, const char *method, const char *id, const char *type,
                          const char *what)
{
        Leases__AddResourceRequest add = LEASES__ADD_RESOURCE_REQUEST__INIT;
        Leases__DeleteResourceRequest del = LEASES__DELETE_RESOURCE_REQUEST__INIT;
        Leases__Resource res = LEASES__RESOURCE__INIT;

        res.type = type;
        res.id = what;
        add.id = del.id = id;
        add.resource = del.resource = type ? &res : NULL;
        return bench_call(b, &leases_service, method,
                          str_eq(method, "AddResource") ? (void *)&add : (void *)&del);
}

static Leases__ListResourcesResponse *lease_resources(Bench *b, const char *id)
{
        Leases__ListResourcesRequest req = LEASES__LIST_RESOURCES_REQUEST__INIT;

        req.id = id;
        return bench_call(b, &leases_service, "ListResources", &req) < 0 ? NULL : bench_answer(b);
}

static int lease_count(Bench *b, const char *filter)
{
        Leases__ListRequest req = LEASES__LIST_REQUEST__INIT;

        req.filters = (void *)&filter;
        req.n_filters = filter ? 1 : 0;
        if (bench_call(b, &leases_service, "List", &req) < 0)
                return -1;
        return (int)((Leases__ListResponse *)bench_answer(b))->n_leases;
}

TEST(leases_hold_resources)
{
        Bench b CLEANUP(bench_done) = {};
        Leases__ListResourcesResponse *rsp;
        Leases__Lease *lease;

        CHECK_INT(bench_open(&b, &leases_service), 0);
        CHECK_INT(lease_create(&b, "l 1/x"), 0);
        lease = ((Leases__CreateResponse *)bench_answer(&b))->lease;
        CHECK(lease->n_labels == 1 && lease->created_at->seconds > 0);
        REFUSED(lease_create(&b, "l 1/x"), ALREADY_EXISTS, "lease \"l 1/x\": already exists");
        CHECK_INT(lease_create(&b, ""), 0);
        lease = ((Leases__CreateResponse *)bench_answer(&b))->lease;
        CHECK(strlen(lease->id) > 6);
        CHECK_INT(lease_count(&b, NULL), 2);
        CHECK_INT(lease_count(&b, "id==\"l 1/x\""), 1);
        CHECK_INT(lease_count(&b, "labels.a==1"), 2);
        CHECK_INT(lease_count(&b, "labels.b"), 0);

        CHECK_INT(lease_resource(&b, "AddResource", "l 1/x", "snapshots/overlayfs", "k1"), 0);
        CHECK_INT(lease_resource(&b, "AddResource", "l 1/x", "snapshots/native", "k2"), 0);
        CHECK_INT(lease_resource(&b, "AddResource", "l 1/x", "content", DIGEST), 0);
        CHECK_INT(lease_resource(&b, "AddResource", "l 1/x", "content", DIGEST), 0);
        CHECK_INT(lease_resource(&b, "AddResource", "l 1/x", "ingests", "ref"), 0);
        CHECK_INT(lease_resource(&b, "AddResource", "l 1/x", "images", "i"), 0);
        rsp = lease_resources(&b, "l 1/x");
        CHECK(rsp && rsp->n_resources == 5);
        CHECK_STR(rsp->resources[0]->type, "content");
        CHECK_STR(rsp->resources[0]->id, DIGEST);
        CHECK_STR(rsp->resources[3]->type, "snapshots/native");
        CHECK_INT(lease_resource(&b, "DeleteResource", "l 1/x", "content", DIGEST), 0);
        CHECK_INT(lease_resource(&b, "DeleteResource", "l 1/x", "content", DIGEST), 0);
        CHECK_INT(lease_resources(&b, "l 1/x")->n_resources, 4);

        REFUSED(lease_resource(&b, "AddResource", "nope", "content", DIGEST), NOT_FOUND,
                "lease \"nope\": not found");
        REFUSED(lease_resource(&b, "DeleteResource", "nope", "content", DIGEST), NOT_FOUND,
                "lease \"nope\": not found");
        REFUSED(lease_resource(&b, "AddResource", "l 1/x", NULL, NULL), INVALID_ARGUMENT,
                "resource must be set: invalid argument");
        REFUSED(lease_resource(&b, "DeleteResource", "l 1/x", NULL, NULL), INVALID_ARGUMENT,
                "resource must be set: invalid argument");
        REFUSED(lease_resource(&b, "AddResource", "l 1/x", "tasks", "x"), UNIMPLEMENTED,
                "resource type tasks not supported yet: not implemented");
        REFUSED(lease_resource(&b, "AddResource", "l 1/x", "content/x", DIGEST), INVALID_ARGUMENT,
                "invalid resource type content/x: invalid argument");
        REFUSED(lease_resource(&b, "AddResource", "l 1/x", "snapshots", "x"), INVALID_ARGUMENT,
                "invalid snapshot resource type snapshots: invalid argument");
        REFUSED(lease_resource(&b, "AddResource", "l 1/x", "content", "x"), INVALID_ARGUMENT,
                "invalid content resource id x: invalid checksum digest format: invalid argument");
        REFUSED(lease_resource(&b, "AddResource", "l 1/x", "snapshots/", "x"), UNKNOWN,
                "bucket name required");
        REFUSED(lease_resource(&b, "AddResource", "l 1/x", "images", ""), UNKNOWN, "key required");

        REFUSED(lease_delete(&b, "nope", 0), NOT_FOUND, "lease \"nope\": not found");
        CHECK_INT(lease_delete(&b, "l 1/x", 1), 0);
        CHECK(!lease_resources(&b, "l 1/x"));
        CHECK_INT(lease_create(&b, "l 1/x"), 0);
        CHECK_INT(lease_resources(&b, "l 1/x")->n_resources, 0); /* they went with it */
}

TEST(lease_delete_is_all_or_nothing)
{
        for (int nth = 1;; nth++) {
                Bench b CLEANUP(bench_done) = {};
                int r;

                CHECK_INT(bench_open(&b, &leases_service), 0);
                CHECK_INT(lease_create(&b, "l"), 0);
                CHECK_INT(lease_resource(&b, "AddResource", "l", "images", "i1"), 0);
                CHECK_INT(lease_resource(&b, "AddResource", "l", "images", "i2"), 0);
                fault_arm(nth);
                r = lease_delete(&b, "l", 0);
                if (!fault_fired) {
                        fault_arm(0);
                        CHECK_INT(r, 0);
                        CHECK(nth > 4);
                        return;
                }
                fault_arm(0);
                CHECK(r < 0);
                CHECK_INT(lease_resources(&b, "l")->n_resources, 2);
        }
}

TEST(lease_of_a_call_holds_an_image_that_expires)
{
        Bench b CLEANUP(bench_done) = {};
        Images__Image *image;

        CHECK_INT(bench_open(&b, &images_service), 0);
        rpc_registry_add(b.registry, &leases_service, b.meta);
        CHECK_INT(lease_create(&b, "l"), 0);
        b.lease = "l";
        CHECK_INT(img_create(&b, img_of(&b, "plain")), 0);
        image = img_of(&b, "short");
        img_labels(&b, image, "containerd.io/gc.expire=2030-01-01T00:00:00Z", NULL);
        CHECK_INT(img_create(&b, image), 0);
        CHECK_INT(lease_resources(&b, "l")->n_resources, 1);
        CHECK_STR(lease_resources(&b, "l")->resources[0]->id, "short");
        CHECK_INT(img_delete(&b, "short", NULL, 0), 0);
        CHECK_INT(lease_resources(&b, "l")->n_resources, 0);
        b.lease = "nope";
        REFUSED(img_create(&b, image), NOT_FOUND, "lease does not exist: not found");
        CHECK(!img_get(&b, "short"));
}
