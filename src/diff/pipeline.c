/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequence numbers instead of indexes: `made` buffers have been filled, each reader has let go of
 * `used[i]`. Buffer n lives in slot n % SLOTS until both readers are past it. Pieces are large
 * enough that a lock and a wake-up per piece do not show, and small enough that the ring stays in
 * the cache.
 */
#include "diff/pipeline.h"

#include "base/lock.h"
#include "base/mem.h"

enum { SLOTS = 8, PIECE = 256 * 1024 };
enum { READER_CALLER, READER_HASH, READERS };

struct Pipeline {
        Decoder *decoder;
        uint64_t max_bytes;
        Lock lock;
        pthread_cond_t changed;
        /* guarded by lock */
        uint64_t made, used[READERS];
        size_t len[SLOTS];
        int ended, stop;
        Err failure; /* code OK while all is well; comes after the last piece */
        /* the threads' own */
        uint8_t *piece[SLOTS];
        pthread_t threads[2];
        int n_threads;
        int holding; /* the caller has a piece */
        Hasher hasher;
        uint64_t size;
};

/* Waits for a free slot. 0 when told to stop. */
static int wait_slot(Pipeline *p, uint64_t *ret)
{
        LOCKED(&p->lock);
        while (!p->stop && (p->made - p->used[READER_CALLER] >= SLOTS ||
                            p->made - p->used[READER_HASH] >= SLOTS))
                lock_wait(&p->lock, &p->changed, 0);
        *ret = p->made;
        return !p->stop;
}

static void *decode_main(void *arg)
{
        Pipeline *p = arg;
        uint64_t total = 0, slot;
        size_t n = PIECE;
        Err err = {};

        while (n == PIECE && wait_slot(p, &slot)) {
                int r = decoder_read(p->decoder, p->piece[slot % SLOTS], PIECE, &n, &err);

                if (r == 0 && (total += n) > p->max_bytes)
                        r = err_set(&err, RESOURCE_EXHAUSTED, "layer is larger than %llu bytes",
                                    (unsigned long long)p->max_bytes);
                if (r < 0)
                        n = 0;
                LOCKED(&p->lock);
                if (r < 0)
                        p->failure = err;
                p->len[slot % SLOTS] = n;
                p->made += n > 0;
                p->ended = n < PIECE;
                pthread_cond_broadcast(&p->changed);
        }
        return NULL;
}

/* The next piece for a reader, NULL at the end. */
static const uint8_t *wait_piece(Pipeline *p, int reader, size_t *ret_n, Err *ret_failure)
{
        uint64_t n;

        LOCKED(&p->lock);
        n = p->used[reader];
        while (!p->stop && n == p->made && !p->ended)
                lock_wait(&p->lock, &p->changed, 0);
        *ret_n = 0;
        if (p->stop || n == p->made) {
                *ret_failure = p->failure;
                return NULL;
        }
        *ret_n = p->len[n % SLOTS];
        return p->piece[n % SLOTS];
}

static void let_go(Pipeline *p, int reader)
{
        LOCKED(&p->lock);
        p->used[reader]++;
        pthread_cond_broadcast(&p->changed);
}

static void *hash_main(void *arg)
{
        Pipeline *p = arg;
        const uint8_t *piece;
        Err ignored;
        size_t n;

        while ((piece = wait_piece(p, READER_HASH, &n, &ignored))) {
                hasher_update(&p->hasher, piece, n);
                p->size += n;
                let_go(p, READER_HASH);
        }
        return NULL;
}

static int start_thread(Pipeline *p, void *(*fn)(void *), Err *err)
{
        int r = pthread_create(&p->threads[p->n_threads], NULL, fn, p);

        if (r != 0)
                return err_sys(err, r, "start a thread");
        p->n_threads++;
        return 0;
}

int pipeline_start(Decoder *d, uint64_t max_bytes, Pipeline **ret, Err *err)
{
        Pipeline *p CLEANUP(pipeline_freep) = mem_new(Pipeline);
        int r;

        p->decoder = d;
        p->max_bytes = max_bytes;
        lock_init(&p->lock, LOCK_LEAF);
        cond_init(&p->changed);
        hasher_init(&p->hasher, DIGEST_SHA256);
        for (int i = 0; i < SLOTS; i++)
                p->piece[i] = mem_alloc(PIECE);
        r = start_thread(p, decode_main, err);
        if (r == 0)
                r = start_thread(p, hash_main, err);
        if (r < 0)
                return r;
        *ret = TAKE(p);
        return 0;
}

int pipeline_next(void *pipeline, const uint8_t **ret, size_t *ret_n, Err *err)
{
        Pipeline *p = pipeline;
        Err failure;

        if (p->holding)
                let_go(p, READER_CALLER);
        *ret = wait_piece(p, READER_CALLER, ret_n, &failure);
        p->holding = *ret != NULL;
        return *ret || failure.code == OK ? 0 : err_copy(err, &failure);
}

static void join(Pipeline *p)
{
        while (p->n_threads > 0)
                pthread_join(p->threads[--p->n_threads], NULL);
}

int pipeline_finish(Pipeline *p, Digest *ret, uint64_t *ret_size, Err *err)
{
        const uint8_t *piece;
        size_t n;

        do {
                int r = pipeline_next(p, &piece, &n, err);

                if (r < 0)
                        return r;
        } while (n > 0);
        join(p);
        hasher_digest(&p->hasher, ret);
        *ret_size = p->size;
        return 0;
}

Pipeline *pipeline_free(Pipeline *p)
{
        if (!p)
                return NULL;
        lock_take(&p->lock);
        p->stop = 1;
        pthread_cond_broadcast(&p->changed);
        lock_drop(&p->lock);
        join(p);
        for (int i = 0; i < SLOTS; i++)
                free(p->piece[i]);
        pthread_cond_destroy(&p->changed);
        lock_done(&p->lock);
        free(p);
        return NULL;
}
