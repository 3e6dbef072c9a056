/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction of the metadata: a database transaction, the events that go out with it, and
 * namespaces as numbers.
 *
 * A namespace's record is its number, four bytes, and the encoded message. The number stands in the
 * keys of all its records, is never used again once the namespace is deleted, and is found once per
 * transaction. A namespace comes into being with the first record written into it.
 */
#include "metadata/metadata_priv.h"

#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "base/limits.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/vec.h"
#include "rpc/message.h"

struct MetaEvent {
        MetaEvent *next;
        const char *ns, *topic, *type;
        void *bytes;
        size_t n;
};

/* What follows a commit. In the arena: the transaction of a batch's member ends before it is
 * durable. */
typedef struct Aftermath {
        DbHook hook;
        Metadata *meta;
        MetaEvent *events;
        int dirty, quiet;
} Aftermath;

typedef struct Sync {
        MetaSyncFn fn;
        void *ctx;
} Sync;

struct Metadata {
        DbEnv *db;
        Exchange *ex;
        VEC(Sync) syncs;
        MetaCollection collection;

        int touching; /* atomic */
        Lock lock;    /* LOCK_LEAF: touched */
        VEC(uint8_t) touched;
};

Metadata *metadata_new(DbEnv *db, Exchange *ex)
{
        Metadata *m = mem_new(Metadata);

        m->db = db;
        m->ex = ex;
        lock_init(&m->lock, LOCK_LEAF);
        return m;
}

Metadata *metadata_free(Metadata *m)
{
        if (!m)
                return NULL;
        VEC_DONE(&m->syncs);
        VEC_DONE(&m->touched);
        lock_done(&m->lock);
        free(m);
        return NULL;
}

DbEnv *metadata_db(Metadata *m)
{
        return m->db;
}

/* ---- transactions ---- */

static void txn_init(MetaTxn *txn, Metadata *m, Arena *a, Err *err)
{
        *txn = (MetaTxn){.meta = m, .arena = a, .err = err};
        txn->events_tail = &txn->events;
}

int meta_begin_ro(Metadata *m, MetaTxn *txn, Arena *a, Err *err)
{
        txn_init(txn, m, a, err);
        return db_begin_ro(m->db, &txn->db, err);
}

int meta_begin_rw(Metadata *m, MetaTxn *txn, Arena *a, Err *err)
{
        txn_init(txn, m, a, err);
        return db_begin_rw(m->db, &txn->db, err);
}

int meta_begin_free(Metadata *m, MetaTxn *txn, Arena *a, Err *err)
{
        txn_init(txn, m, a, err);
        return db_begin_free(m->db, &txn->db, err);
}

void meta_txn_end(MetaTxn *txn)
{
        db_end(&txn->db);
}

void meta_event(MetaTxn *txn, const char *ns, const char *topic, const void *message)
{
        MetaEvent *e = arena_new(txn->arena, MetaEvent);

        e->ns = arena_strdup(txn->arena, ns);
        e->topic = topic;
        e->type = ((const ProtobufCMessage *)message)->descriptor->name;
        e->bytes = message_pack(txn->arena, message, &e->n);
        *txn->events_tail = e;
        txn->events_tail = &e->next;
}

/* The change has happened: an event that nobody will take (a namespace of an illegal name) is no
 * reason to fail. */
static void after_commit(void *ctx)
{
        const Aftermath *a = ctx;
        const MetaCollection *c = &a->meta->collection;
        Err err;

        for (MetaEvent *e = a->events; e; e = e->next)
                exchange_publish(a->meta->ex, e->ns, e->topic, e->type, e->bytes, e->n, &err);
        if (c->note && !a->quiet)
                c->note(c->ctx, a->dirty);
}

int meta_commit(MetaTxn *txn)
{
        Aftermath *a;

        if (txn->db.write && !meta_failed(txn)) {
                a = arena_new(txn->arena, Aftermath);
                a->meta = txn->meta;
                a->events = txn->meta->ex ? txn->events : NULL;
                a->dirty = txn->dirty;
                a->quiet = txn->quiet;
                db_on_commit(&txn->db, &a->hook, after_commit, a);
        }
        return db_commit(&txn->db);
}

/* ---- the log of what is written ---- */

/*
 * The flag goes up inside a write transaction: whoever wrote before had its turn before and is
 * durable when this transaction is, whoever writes after finds it up.
 */
int metadata_touched_start(Metadata *m, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        int r;

        r = db_begin_free(m->db, &txn, err);
        if (r < 0)
                return r;
        __atomic_store_n(&m->touching, 1, __ATOMIC_RELEASE);
        r = db_commit(&txn);
        if (r < 0)
                metadata_touched_stop(m);
        return r;
}

void metadata_touched_stop(Metadata *m)
{
        LOCKED(&m->lock);

        __atomic_store_n(&m->touching, 0, __ATOMIC_RELEASE);
        VEC_DONE(&m->touched);
}

void metadata_touch(Metadata *m, const DbKey *key)
{
        if (!__atomic_load_n(&m->touching, __ATOMIC_ACQUIRE))
                return;
        LOCKED(&m->lock);
        if (!m->touching)
                return;
        VEC_RESERVE(&m->touched, sizeof(key->n) + key->n);
        memcpy(m->touched.v + m->touched.n, &key->n, sizeof(key->n));
        memcpy(m->touched.v + m->touched.n + sizeof(key->n), key->data, key->n);
        m->touched.n += sizeof(key->n) + key->n;
}

size_t metadata_touched_take(Metadata *m, uint8_t **ret)
{
        size_t n;
        LOCKED(&m->lock);

        *ret = m->touched.v;
        n = m->touched.n;
        m->touched.v = NULL;
        m->touched.n = m->touched.cap = 0;
        return n;
}

/* ---- namespaces ---- */

static DbKey *ns_key(DbKey *k, const char *ns)
{
        return db_key_name(db_key(k, DB_NAMESPACES, 0), ns);
}

uint32_t ns_record_number(DbVal stored)
{
        const uint8_t *p = stored.data;

        return stored.n < NS_NUMBER_BYTES ? 0
                                          : (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

void ns_record_put(MetaTxn *txn, uint32_t number, const Namespaces__Namespace *ns)
{
        size_t n = protobuf_c_message_get_packed_size(&ns->base);
        uint8_t *p = arena_alloc(txn->arena, NS_NUMBER_BYTES + n);
        DbKey k;

        p[0] = (uint8_t)(number >> 24);
        p[1] = (uint8_t)(number >> 16);
        p[2] = (uint8_t)(number >> 8);
        p[3] = (uint8_t)number;
        protobuf_c_message_pack(&ns->base, p + NS_NUMBER_BYTES);
        db_put(&txn->db, ns_key(&k, ns->name), p, NS_NUMBER_BYTES + n);
}

uint32_t ns_new_number(MetaTxn *txn)
{
        DbKey k;
        uint64_t n = db_count_up(&txn->db, db_key_name(db_key(&k, DB_SCHEMA, 0), "namespaces"));

        if (n > UINT32_MAX) {
                meta_fail(txn, RESOURCE_EXHAUSTED,
                          "no number is left for a new namespace: resource exhausted");
                return 0;
        }
        return (uint32_t)n;
}

static void remember(MetaTxn *txn, const char *ns, uint32_t number)
{
        if (number == 0 || strlen(ns) >= sizeof(txn->ns))
                return;
        memcpy(txn->ns, ns, strlen(ns) + 1);
        txn->ns_number = number;
}

void ns_forget(MetaTxn *txn)
{
        txn->ns_number = 0;
}

uint32_t meta_ns_find(MetaTxn *txn, const char *ns)
{
        uint32_t number = 0;
        DbKey k;
        DbVal v;

        if (txn->ns_number && strcmp(txn->ns, ns) == 0)
                return meta_failed(txn) ? 0 : txn->ns_number;
        if (db_get(&txn->db, ns_key(&k, ns), &v))
                number = ns_record_number(v);
        remember(txn, ns, number);
        return number;
}

uint32_t meta_ns_ensure(MetaTxn *txn, const char *ns)
{
        Namespaces__Namespace record = NAMESPACES__NAMESPACE__INIT;
        uint32_t number = meta_ns_find(txn, ns);

        if (number || meta_failed(txn))
                return number;
        number = ns_new_number(txn);
        record.name = ns;
        ns_record_put(txn, number, &record);
        remember(txn, ns, number);
        return meta_failed(txn) ? 0 : number;
}

/* ---- records ---- */

/* Our own bytes: no limits as for a peer's, or a record that grew in many small steps could not be
 * read again. */
static void *decode_alloc(void *ctx, size_t n)
{
        return arena_alloc(ctx, n);
}

static void decode_free(void *ctx, void *p)
{
}

static int decode(Arena *a, const ProtobufCMessageDescriptor *desc, DbVal v, ProtobufCMessage **ret,
                  Err *err)
{
        ProtobufCAllocator alloc = {decode_alloc, decode_free, a};

        *ret = protobuf_c_message_unpack(desc, &alloc, v.n, v.n ? v.data : (const uint8_t *)"");
        if (*ret)
                return 0;
        return err_set(err, DATA_LOSS, "a stored %s does not decode", desc->name);
}

void *meta_decode(MetaTxn *txn, DbVal value, const ProtobufCMessageDescriptor *desc)
{
        ProtobufCMessage *m = NULL;
        Err why = {};

        if (decode(txn->arena, desc, value, &m, &why) < 0) {
                meta_fail(txn, why.code, "%s", why.msg);
                return NULL;
        }
        return m;
}

void *meta_get(MetaTxn *txn, const DbKey *key, const ProtobufCMessageDescriptor *desc)
{
        DbVal v;

        return db_get(&txn->db, key, &v) ? meta_decode(txn, v, desc) : NULL;
}

static DbVal encode(MetaTxn *txn, const void *message)
{
        const ProtobufCMessageDescriptor *desc = ((const ProtobufCMessage *)message)->descriptor;
        DbVal v;

        v.data = message_pack(txn->arena, message, &v.n);
        if (v.n > LIMIT_GRPC_MESSAGE) /* no client could read it */
                meta_fail(txn, RESOURCE_EXHAUSTED,
                          "%s of %zu bytes: at most %d: resource exhausted", desc->short_name, v.n,
                          LIMIT_GRPC_MESSAGE);
        return v;
}

void meta_put(MetaTxn *txn, const DbKey *key, const void *message)
{
        DbVal v = encode(txn, message);

        if (!meta_failed(txn))
                metadata_touch(txn->meta, key);
        db_put(&txn->db, key, v.data, v.n);
}

int meta_put_new(MetaTxn *txn, const DbKey *key, const void *message)
{
        DbVal v = encode(txn, message);

        if (!meta_failed(txn))
                metadata_touch(txn->meta, key);
        return db_put_new(&txn->db, key, v.data, v.n);
}

/* ---- lists ---- */

static const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
        uint64_t v = 0;

        for (int shift = 0; p < end && shift < 64; shift += 7, p++) {
                v |= (uint64_t)(*p & 0x7f) << shift;
                if (!(*p & 0x80)) {
                        *ret = v;
                        return p + 1;
                }
        }
        return NULL;
}

/* The end of the field at p, and its number. NULL for what is no field; the decoder will say so. */
static const uint8_t *field_end(const uint8_t *p, const uint8_t *end, uint64_t *ret_number)
{
        uint64_t tag, n;

        p = read_varint(p, end, &tag);
        if (!p)
                return NULL;
        *ret_number = tag >> 3;
        switch (tag & 7) {
        case 0:
                return read_varint(p, end, &n);
        case 1:
                return end - p < 8 ? NULL : p + 8;
        case 2:
                p = read_varint(p, end, &n);
                return !p || n > (size_t)(end - p) ? NULL : p + n;
        case 5:
                return end - p < 4 ? NULL : p + 4;
        default:
                return NULL;
        }
}

/* A copy without the fields in skip: decoding does not copy what nobody looks at. */
static DbVal without(Arena *a, DbVal v, uint64_t skip)
{
        const uint8_t *p = v.data, *end = p + v.n, *next;
        uint8_t *out = arena_alloc(a, v.n);
        uint64_t number;
        size_t n = 0;

        for (; p < end; p = next) {
                next = field_end(p, end, &number);
                if (!next)
                        return v;
                if (number < 64 && (skip >> number & 1))
                        continue;
                memcpy(out + n, p, (size_t)(next - p));
                n += (size_t)(next - p);
        }
        return (DbVal){out, n};
}

void *meta_decode_kind(MetaTxn *txn, const MetaKind *kind, DbVal stored)
{
        return meta_decode(txn, kind->skip ? without(txn->arena, stored, kind->skip) : stored,
                           kind->desc);
}

int meta_match(MetaTxn *txn, const MetaKind *kind, const Filter *filter, DbVal stored)
{
        Arena scratch CLEANUP(arena_done) = {};
        ProtobufCMessage *m = NULL;
        int r;

        if (!filter || filter_matches_all(filter))
                return 1;
        arena_init(&scratch, SIZE_MAX);
        if (kind->skip)
                stored = without(&scratch, stored, kind->skip);
        r = decode(&scratch, kind->desc, stored, &m, txn->err);
        return r < 0 ? r : filter_match(filter, kind->field, m);
}

int meta_list_kind(MetaTxn *txn, const DbKey *prefix, const MetaKind *kind, const Filter *filter,
                   MetaListFn fn, void *ctx)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        int r = 0;

        db_cursor_init(&c, &txn->db, prefix);
        while (r == 0 && db_cursor_next(&c)) {
                r = meta_match(txn, kind, filter, c.value);
                if (r > 0)
                        r = fn(ctx, c.value);
        }
        return r < 0 ? r : meta_failed(txn);
}

int meta_list(MetaTxn *txn, const DbKey *prefix, const ProtobufCMessageDescriptor *desc,
              const Filter *filter, FilterFieldFn field, MetaListFn fn, void *ctx)
{
        const MetaKind kind = {desc, field, 0};

        return meta_list_kind(txn, prefix, &kind, filter, fn, ctx);
}

int meta_list_append(void *ctx, DbVal stored)
{
        MetaListOut *out = ctx;
        uint8_t head[11] = {(uint8_t)(out->field << 3 | 2)};
        size_t n = stored.n, i = 1;

        for (; n >= 0x80; n >>= 7)
                head[i++] = (uint8_t)(n | 0x80);
        head[i++] = (uint8_t)n;
        str_add_n(&out->bytes, head, i);
        str_add_n(&out->bytes, stored.data, stored.n);
        return 0;
}

/* ---- waiting for removal ---- */

typedef struct SyncWait {
        int left;
        void (*done)(void *arg);
        void *arg;
} SyncWait;

void metadata_add_sync(Metadata *m, MetaSyncFn fn, void *ctx)
{
        VEC_PUSH(&m->syncs, (Sync){fn, ctx});
}

static void sync_one_done(void *arg)
{
        SyncWait *w = arg;

        if (__atomic_sub_fetch(&w->left, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        w->done(w->arg);
        free(w);
}

void metadata_sync(Metadata *m, void (*done)(void *arg), void *arg)
{
        SyncWait *w = mem_new(SyncWait);

        *w = (SyncWait){.left = (int)m->syncs.n + 1, .done = done, .arg = arg};
        VEC_FOREACH (s, &m->syncs)
                s->fn(s->ctx, sync_one_done, w);
        sync_one_done(w);
}

typedef struct CollectWait {
        void (*done)(void *arg, int r);
        void *arg;
} CollectWait;

static void collect_synced(void *arg)
{
        CollectWait *w = arg;

        w->done(w->arg, 0);
        free(w);
}

void metadata_set_collection(Metadata *m, const MetaCollection *c)
{
        m->collection = c ? *c : (MetaCollection){};
}

void metadata_collect(Metadata *m, void (*done)(void *arg, int r), void *arg)
{
        CollectWait *w;

        if (m->collection.collect) {
                m->collection.collect(m->collection.ctx, done, arg);
                return;
        }
        w = mem_new(CollectWait);
        *w = (CollectWait){done, arg};
        metadata_sync(m, collect_synced, w);
}
