/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline of diff/pipeline.c the other way round. Sequence numbers instead of indexes: `made`
 * buffers have been filled, each reader has let go of `used[i]`; buffer n lives in slot n % SLOTS
 * until both readers are past it.
 */
#include "diff/outlet.h"

#include "base/lock.h"
#include "base/mem.h"

enum { SLOTS = 8, PIECE = 256 * 1024 };
enum { READER_ENCODE, READER_HASH, READERS };

struct Outlet {
        Encoder *encoder;
        Lock lock;
        pthread_cond_t changed;
        /* guarded by lock */
        uint64_t made, used[READERS];
        size_t len[SLOTS];
        int ended, stop;
        Err failure; /* of the encoder; code OK while all is well */
        /* the threads' own */
        uint8_t *piece[SLOTS];
        pthread_t threads[READERS];
        int n_threads, hash;
        Hasher hasher;
        size_t filled; /* of piece `made`, which nobody else looks at */
        uint64_t size;
};

/* The next piece for a reader, NULL at the end. */
static const uint8_t *wait_piece(Outlet *o, int reader, size_t *ret_n)
{
        uint64_t n;

        LOCKED(&o->lock);
        n = o->used[reader];
        while (!o->stop && n == o->made && !o->ended)
                lock_wait(&o->lock, &o->changed, 0);
        if (o->stop || n == o->made)
                return NULL;
        *ret_n = o->len[n % SLOTS];
        return o->piece[n % SLOTS];
}

static void let_go(Outlet *o, int reader)
{
        LOCKED(&o->lock);
        o->used[reader]++;
        pthread_cond_broadcast(&o->changed);
}

static void fail(Outlet *o, const Err *err)
{
        LOCKED(&o->lock);
        o->failure = *err;
        o->stop = 1;
        pthread_cond_broadcast(&o->changed);
}

static void *encode_main(void *arg)
{
        Outlet *o = arg;
        const uint8_t *piece;
        Err err = {};
        size_t n;

        while ((piece = wait_piece(o, READER_ENCODE, &n))) {
                if (encoder_write(o->encoder, piece, n, &err) < 0) {
                        fail(o, &err);
                        return NULL;
                }
                let_go(o, READER_ENCODE);
        }
        return NULL;
}

static void *hash_main(void *arg)
{
        Outlet *o = arg;
        const uint8_t *piece;
        size_t n;

        while ((piece = wait_piece(o, READER_HASH, &n))) {
                hasher_update(&o->hasher, piece, n);
                let_go(o, READER_HASH);
        }
        return NULL;
}

static int start_thread(Outlet *o, void *(*fn)(void *), Err *err)
{
        int r = pthread_create(&o->threads[o->n_threads], NULL, fn, o);

        if (r != 0)
                return err_sys(err, r, "start a thread");
        o->n_threads++;
        return 0;
}

int outlet_start(Encoder *e, int hash, Outlet **ret, Err *err)
{
        Outlet *o CLEANUP(outlet_freep) = mem_new(Outlet);
        int r;

        o->encoder = e;
        o->hash = hash;
        lock_init(&o->lock, LOCK_LEAF);
        cond_init(&o->changed);
        hasher_init(&o->hasher, DIGEST_SHA256);
        for (int i = 0; i < SLOTS; i++)
                o->piece[i] = mem_alloc(PIECE);
        r = start_thread(o, encode_main, err);
        if (r == 0 && hash)
                r = start_thread(o, hash_main, err);
        if (r < 0)
                return r;
        *ret = TAKE(o);
        return 0;
}

/* Hands the filled piece on and waits for a free one. */
static int push(Outlet *o, Err *err)
{
        LOCKED(&o->lock);
        o->len[o->made % SLOTS] = o->filled;
        o->made += o->filled > 0;
        o->filled = 0;
        if (!o->hash)
                o->used[READER_HASH] = o->made;
        pthread_cond_broadcast(&o->changed);
        while (!o->stop && (o->made - o->used[READER_ENCODE] >= SLOTS ||
                            o->made - o->used[READER_HASH] >= SLOTS))
                lock_wait(&o->lock, &o->changed, 0);
        return o->failure.code == OK ? 0 : err_copy(err, &o->failure);
}

int outlet_write(void *outlet, const void *p, size_t n, Err *err)
{
        Outlet *o = outlet;
        const uint8_t *from = p;

        o->size += n;
        while (n > 0) {
                size_t take = MIN(n, PIECE - o->filled);

                memcpy(o->piece[o->made % SLOTS] + o->filled, from, take);
                o->filled += take;
                from += take;
                n -= take;
                if (o->filled == PIECE) {
                        int r = push(o, err);

                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static void join(Outlet *o)
{
        while (o->n_threads > 0)
                pthread_join(o->threads[--o->n_threads], NULL);
}

int outlet_finish(Outlet *o, Digest *ret, uint64_t *ret_size, Err *err)
{
        int r = push(o, err);

        if (r < 0)
                return r;
        lock_take(&o->lock);
        o->ended = 1;
        pthread_cond_broadcast(&o->changed);
        lock_drop(&o->lock);
        join(o);
        if (o->failure.code != OK)
                return err_copy(err, &o->failure);
        *ret = (Digest){};
        if (o->hash)
                hasher_digest(&o->hasher, ret);
        *ret_size = o->size;
        return encoder_finish(o->encoder, err);
}

Outlet *outlet_free(Outlet *o)
{
        if (!o)
                return NULL;
        lock_take(&o->lock);
        o->stop = 1;
        pthread_cond_broadcast(&o->changed);
        lock_drop(&o->lock);
        join(o);
        for (int i = 0; i < SLOTS; i++)
                free(o->piece[i]);
        pthread_cond_destroy(&o->changed);
        lock_done(&o->lock);
        free(o);
        return NULL;
}
