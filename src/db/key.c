/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys: a table's byte, the namespace's number, then names. LMDB's keys hold 511 bytes and names
 * may be longer, so a long one keeps its beginning and ends in the SHA-256 of all of it. Between
 * the two stands 0xff, which is in no UTF-8 text: no short name can be made to look like a long
 * one.
 */
#include "base/limits.h"
#include "db/db_priv.h"

#include <nettle/sha2.h>

enum {
        GROUP_MAX = 100, /* bytes of a part that others follow */
        MARK = 0xff,
        TAIL = 1 + SHA256_DIGEST_SIZE,
        NAME_KEEP =
                LIMIT_DB_NAME - SHA256_DIGEST_SIZE, /* of a long name; less where room is short */
};

static void put(DbKey *k, const void *p, size_t n)
{
        assert(k->n + n <= DB_KEY_MAX);
        memcpy(k->data + k->n, p, n);
        k->n += (uint16_t)n;
}

/* Of what is longer than max, keep bytes of its beginning stay. */
static void put_name(DbKey *k, const char *name, size_t max, size_t keep)
{
        struct sha256_ctx sha;
        uint8_t tail[TAIL] = {MARK};
        size_t n = strlen(name);

        if (n <= max) {
                put(k, name, n);
                return;
        }
        sha256_init(&sha);
        sha256_update(&sha, n, (const uint8_t *)name);
        sha256_digest(&sha, SHA256_DIGEST_SIZE, tail + 1);
        put(k, name, keep);
        put(k, tail, sizeof(tail));
}

DbKey *db_key(DbKey *k, DbTable table, uint32_t ns)
{
        uint8_t head[5] = {(uint8_t)table, (uint8_t)(ns >> 24), (uint8_t)(ns >> 16),
                           (uint8_t)(ns >> 8), (uint8_t)ns};

        k->n = 0;
        put(k, head, sizeof(head));
        return k;
}

DbKey *db_key_group(DbKey *k, const char *name)
{
        put_name(k, name, GROUP_MAX, GROUP_MAX - TAIL);
        put(k, "", 1);
        return k;
}

DbKey *db_key_name(DbKey *k, const char *name)
{
        size_t room = (size_t)(DB_KEY_MAX - k->n);

        put_name(k, name, MIN(room, (size_t)LIMIT_DB_NAME), MIN(room - TAIL, (size_t)NAME_KEEP));
        return k;
}
