/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as bytes: which message each table holds and how its key follows from it. Whoever keeps
 * records of a kind knows this too (images.c, leases.c, ...); here it stands once more, for those
 * who look at all of them and trust none.
 */
#include "metadata/records_priv.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "api/containerd/services/images/v1/images.pb-c.h"
#include "api/containerd/services/leases/v1/leases.pb-c.h"
#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "base/fd.h"
#include "base/mem.h"
#include "metadata/metadata_priv.h"

#define NAME(type, member) offsetof(type, member)

const RecordKind record_kinds[DB_TABLE_LAST + 1] = {
        [DB_SCHEMA] = {"counter", NULL, 0, 0},
        [DB_NAMESPACES] = {"namespace", &namespaces__namespace__descriptor,
                           NAME(Namespaces__Namespace, name), 0},
        [DB_IMAGES] = {"image", &images__image__descriptor, NAME(Images__Image, name), 0},
        [DB_CONTAINERS] = {"container", &containers__container__descriptor,
                           NAME(Containers__Container, id), 0},
        [DB_LEASES] = {"lease", &leases__lease__descriptor, NAME(Leases__Lease, id), 0},
        [DB_LEASE_RESOURCES] = {"resource of a lease", &leases__resource__descriptor,
                                NAME(Leases__Resource, id), 2},
        [DB_BLOBS] = {"blob", &content__info__descriptor, NAME(Content__Info, digest), 0},
        [DB_SNAPSHOTS] = {"snapshot", &store__snapshot__descriptor, 0, 1},
        [DB_SNAPSHOT_CHILDREN] = {"child of a snapshot", NULL, 0, 2},
        [DB_SANDBOXES] = {"sandbox", &types__sandbox__descriptor, NAME(Types__Sandbox, sandbox_id),
                          0},
        [DB_BACKEND] = {"snapshotter's snapshot", &store__backend_snapshot__descriptor,
                        NAME(Store__BackendSnapshot, key), 1},
        [DB_BACKEND_CHILDREN] = {"child of a snapshotter's snapshot", NULL, 0, 2},
        [DB_BLOB_OWNERS] = {"owner of a blob", NULL, 0, 1},
        [DB_INGESTS] = {"ingest", NULL, 0, 0},
};

const char *record_key_text(Arena *a, const void *key, size_t n)
{
        const uint8_t *p = key;
        Str s CLEANUP(str_done) = {};

        for (size_t i = 5; i < n; i++) {
                if (p[i] == 0)
                        str_add_char(&s, '/');
                else if (p[i] < ' ' || p[i] >= 0x7f)
                        str_addf(&s, "\\x%02x", p[i]);
                else
                        str_add_char(&s, (char)p[i]);
        }
        return arena_strdup(a, str_get(&s));
}

/* The end of the part of a key at `at` that more parts follow: see db_key_group(). 0: no end. */
static size_t group_end(const uint8_t *p, size_t at, size_t n)
{
        while (at < n && p[at] != 0 && p[at] != 0xff)
                at++;
        if (at < n && p[at] == 0xff)
                at += 1 + SHA256_BYTES;
        return at < n && p[at] == 0 ? at + 1 : 0;
}

static const char *name_of(const Record *r)
{
        const Store__Snapshot *snapshot = r->message;

        if (r->table != DB_SNAPSHOTS)
                return *(const char *const *)((const char *)r->message + r->kind->name);
        return snapshot->info ? snapshot->info->name : "";
}

/* Whether the record lies where its message says. */
static int lies_right(const Record *r, const uint8_t *key, size_t n)
{
        DbKey k = {};

        k.n = (uint16_t)(r->groups[0] ? r->groups[0] : 5);
        memcpy(k.data, key, k.n);
        if (r->table == DB_LEASE_RESOURCES)
                db_key_group(&k, ((const Leases__Resource *)r->message)->type);
        db_key_name(&k, name_of(r));
        return k.n == n && memcmp(k.data, key, n) == 0;
}

static void *decode_alloc(void *ctx, size_t n)
{
        return arena_alloc(ctx, n);
}

static void decode_free(void *ctx, void *p)
{
}

static int read_key(DbVal key, Record *r)
{
        const uint8_t *p = key.data;
        size_t at = 5;

        if (key.n < 5 || p[0] < DB_SCHEMA || p[0] > DB_TABLE_LAST)
                return -1;
        r->table = (DbTable)p[0];
        memcpy(&r->ns, p + 1, sizeof(r->ns));
        r->ns = be32toh(r->ns);
        r->kind = &record_kinds[r->table];
        for (int i = 0; i < r->kind->n_groups; i++) {
                at = group_end(p, at, key.n);
                if (at == 0)
                        return -1;
                r->groups[i] = at;
        }
        return 0;
}

const char *record_read(Arena *a, DbVal key, DbVal value, Record *ret)
{
        ProtobufCAllocator alloc = {decode_alloc, decode_free, a};
        size_t head = 0;

        *ret = (Record){};
        if (read_key(key, ret) < 0)
                return "has a key of no known kind";
        if (!ret->kind->desc)
                return NULL;
        if (ret->table == DB_NAMESPACES) {
                head = NS_NUMBER_BYTES;
                ret->number = ns_record_number(value);
                if (ret->number == 0)
                        return "has no number";
        }
        if (value.n > head) /* NULL for no bytes is not for the decoder */
                ret->message = protobuf_c_message_unpack(ret->kind->desc, &alloc, value.n - head,
                                                         (const uint8_t *)value.data + head);
        if (!ret->message)
                return "does not decode";
        if (ret->table == DB_SNAPSHOTS && !((Store__Snapshot *)ret->message)->info)
                return "is not whole";
        ret->name = name_of(ret);
        if (!lies_right(ret, key.data, key.n))
                return "lies under a key that is not its name's";
        return NULL;
}

DbKey *record_index_key(DbKey *k, Arena *a, DbVal key, const Record *r)
{
        const uint8_t *p = key.data;
        const char *parent = "", *sn;

        switch (r->table) {
        case DB_BLOBS:
                db_key_group(db_key(k, DB_BLOB_OWNERS, 0), r->name);
                return db_key_name(k, arena_printf(a, "%u", r->ns));
        case DB_SNAPSHOTS:
                parent = ((const Store__Snapshot *)r->message)->info->parent;
                db_key(k, DB_SNAPSHOT_CHILDREN, r->ns);
                break;
        case DB_BACKEND:
                parent = ((const Store__BackendSnapshot *)r->message)->parent;
                db_key(k, DB_BACKEND_CHILDREN, 0);
                break;
        default:
                break;
        }
        if (!*parent)
                return NULL;
        sn = arena_strndup(a, (const char *)p + 5, r->groups[0] - 6);
        return db_key_name(db_key_group(db_key_group(k, sn), parent), r->name);
}

int blob_hash(int fd, DigestAlg alg, Digest *ret, Err *err)
{
        enum { PART = 256 * 1024 };
        char *buf CLEANUP(cleanup_free) = mem_alloc(PART);
        Hasher h;
        off_t at = 0;
        ssize_t n;

        hasher_init(&h, alg);
        while ((n = fd_pread_all(fd, buf, PART, at)) > 0) {
                hasher_update(&h, buf, (size_t)n);
                at += n;
        }
        if (n < 0)
                return err_sys(err, errno, "read");
        hasher_digest(&h, ret);
        return 0;
}
