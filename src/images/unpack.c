/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topmost snapshot that exists already decides where to begin; everything above it is prepared,
 * filled, checked against its diff id and committed, one after another. Others may do the same at
 * the same time: whoever commits first wins, and the loser's work is thrown away.
 */
#include "images/unpack.h"

#include <stdio.h>
#include "base/clock.h"
#include "base/hash.h"

enum { TRIES = 3 };

const char *unpack_key(Arena *a, const Digest *chain)
{
        static const char base64url[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        uint8_t random[4];
        char text[5] = {};

        random_bytes(random, sizeof(random));
        for (size_t i = 0; i < sizeof(random); i++)
                text[i] = base64url[random[i] & 63];
        return arena_printf(a, "extract-%d-%s %s", time_now().nsec, text, chain->text);
}

/* 1 there is one, 0 there is none. */
static int exists(const UnpackOps *ops, const char *name, Err *err)
{
        int r = ops->stat(ops->ctx, name, err);

        if (r == -NOT_FOUND) {
                err_clear(err);
                return 0;
        }
        return r < 0 ? r : 1;
}

/* A key of somebody else's is met only by chance; a name that exists by now is somebody else's
 * work. 1: done. */
static int prepare(const UnpackOps *ops, Arena *a, const Digest *chain, const char *parent,
                   const char **ret_key, Err *err)
{
        for (int tries = 0;; tries++) {
                int r;

                *ret_key = unpack_key(a, chain);
                r = ops->prepare(ops->ctx, *ret_key, parent, NULL, 0, err);
                if (r != -ALREADY_EXISTS || tries == TRIES)
                        return r;
                err_clear(err);
                r = exists(ops, chain->text, err);
                if (r != 0)
                        return r;
        }
}

/* What was prepared goes when the layer fails; that failure, not the removal's, is the one to tell.
 */
static int give_up(const UnpackOps *ops, const char *key, Err *err)
{
        Err ignored = {};

        ops->remove(ops->ctx, key, &ignored);
        return -err->code;
}

static int fill(const UnpackOps *ops, const char *key, const Descriptor *layer,
                const Digest *diff_id, Err *err)
{
        Digest got = {};
        int r = ops->apply(ops->ctx, key, layer, &got, err);

        if (r == 0 && !digest_eq(&got, diff_id))
                r = err_set(err, FAILED_PRECONDITION,
                            "wrong diff id \"%s\" calculated on extraction \"%s\"", diff_id->text,
                            got.text);
        return r < 0 ? err_wrap(err, "failed to extract layer %s", diff_id->text) : 0;
}

static int unpack_layer(const UnpackOps *ops, const Descriptor *layer, const Digest *diff_id,
                        const Digest *chain, const char *parent, Err *err)
{
        Arena a CLEANUP(arena_done);
        const char *key;
        int r;

        arena_init(&a, SIZE_MAX);
        r = prepare(ops, &a, chain, parent, &key, err);
        if (r != 0)
                return r < 0 ? err_wrap(err, "failed to prepare extraction snapshot \"%s\"", key)
                             : 0;
        r = fill(ops, key, layer, diff_id, err);
        if (r < 0)
                return give_up(ops, key, err);
        r = ops->commit(ops->ctx, chain->text, key, NULL, 0, err);
        if (r == -ALREADY_EXISTS) {
                give_up(ops, key, err);
                err_clear(err);
        } else if (r < 0) {
                err_wrap(err, "failed to commit snapshot %s", key);
                return give_up(ops, key, err);
        }
        return ops->label(ops->ctx, &layer->digest, "containerd.io/uncompressed", diff_id->text,
                          err);
}

int image_unpack(const UnpackOps *ops, const char *snapshotter, const Manifest *manifest,
                 const ImageConfig *config, Digest *ret_chain, Err *err)
{
        size_t n = manifest->n_layers, have = n;
        Digest chain = {}, parent = {};
        char label[300];
        int r = 0;

        if (n != config->n_diff_ids)
                return err_set(err, INVALID_ARGUMENT,
                               "number of layers and diffIDs don't match: %zu != %zu", n,
                               config->n_diff_ids);
        for (; have > 0; have--) {
                chain_id(config->diff_ids, have, &parent);
                r = exists(ops, parent.text, err);
                if (r != 0)
                        break;
                parent.text[0] = 0;
        }
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (ops->progress)
                        ops->progress(ops->ctx, i, i >= have);
                if (i < have)
                        continue;
                chain_id(config->diff_ids, i + 1, &chain);
                r = unpack_layer(ops, &manifest->layers[i], &config->diff_ids[i], &chain,
                                 parent.text, err);
                if (r < 0)
                        return r;
                parent = chain;
        }
        *ret_chain = parent;
        if (n == 0)
                return 0;
        snprintf(label, sizeof(label), "containerd.io/gc.ref.snapshot.%s", snapshotter);
        return ops->label(ops->ctx, &manifest->config.digest, label, parent.text, err);
}
