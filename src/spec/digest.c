/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests and hashing. The text is kept as the value itself: it is what goes over the wire, into
 * keys and into file names, and comparing it is comparing digests, since only one spelling
 * (lower-case hex) is let in.
 *
 * The static shim links this file: no JSON, no allocation here.
 */
#include <stdio.h>

#include "spec/digest.h"

static const struct {
        const char *name;
        size_t size; /* bytes of the raw digest */
} algs[] = {
        [DIGEST_NONE] = {"", 0},
        [DIGEST_SHA256] = {"sha256", SHA256_DIGEST_SIZE},
        [DIGEST_SHA384] = {"sha384", SHA384_DIGEST_SIZE},
        [DIGEST_SHA512] = {"sha512", SHA512_DIGEST_SIZE},
};

/* The algorithm that text's prefix names, and where its hex begins. */
static DigestAlg alg_of(const char *text, const char **ret_hex)
{
        for (int alg = DIGEST_SHA256; alg <= DIGEST_SHA512; alg++) {
                size_t n = strlen(algs[alg].name);

                if (strncmp(text, algs[alg].name, n) == 0 && text[n] == ':') {
                        *ret_hex = text + n + 1;
                        return alg;
                }
        }
        *ret_hex = "";
        return DIGEST_NONE;
}

int digest_parse(const char *text, Digest *ret, Err *err)
{
        const char *hex, *colon = strchr(text, ':');
        DigestAlg alg = alg_of(text, &hex);
        size_t n;

        if (!colon || colon == text)
                return err_set(err, INVALID_ARGUMENT, "invalid checksum digest format");
        if (alg == DIGEST_NONE)
                return err_set(err, INVALID_ARGUMENT, "unsupported digest algorithm");
        n = strlen(hex);
        if (n != 2 * algs[alg].size)
                return err_set(err, INVALID_ARGUMENT, "invalid checksum digest length");
        if (strspn(hex, "0123456789abcdef") != n)
                return err_set(err, INVALID_ARGUMENT, "invalid checksum digest format");
        /* the length has been checked, and text may lie in ret */
        memmove(ret->text, text, (size_t)(hex - text) + n + 1);
        return 0;
}

DigestAlg digest_alg(const Digest *d)
{
        const char *hex;

        return alg_of(d->text, &hex);
}

const char *digest_alg_name(DigestAlg alg)
{
        return algs[alg].name;
}

const char *digest_hex(const Digest *d)
{
        const char *colon = strchr(d->text, ':');

        return colon ? colon + 1 : "";
}

int digest_eq(const Digest *a, const Digest *b)
{
        return strcmp(a->text, b->text) == 0;
}

void hasher_init(Hasher *h, DigestAlg alg)
{
        h->alg = alg;
        switch (alg) {
        case DIGEST_SHA384:
                sha384_init(&h->sha512);
                return;
        case DIGEST_SHA512:
                sha512_init(&h->sha512);
                return;
        case DIGEST_NONE:
        case DIGEST_SHA256:
                h->alg = DIGEST_SHA256;
                sha256_init(&h->sha256);
        }
}

void hasher_update(Hasher *h, const void *p, size_t n)
{
        if (h->alg == DIGEST_SHA256)
                sha256_update(&h->sha256, n, p);
        else
                sha512_update(&h->sha512, n, p); /* sha384 differs in its start and its end only */
}

void hasher_digest(const Hasher *h, Digest *ret)
{
        static const char hex[] = "0123456789abcdef";
        Hasher copy = *h; /* nettle's digest functions start the context anew */
        uint8_t raw[SHA512_DIGEST_SIZE];
        size_t n = algs[h->alg].size;
        char *out;

        if (h->alg == DIGEST_SHA256)
                sha256_digest(&copy.sha256, n, raw);
        else if (h->alg == DIGEST_SHA384)
                sha384_digest(&copy.sha512, n, raw);
        else
                sha512_digest(&copy.sha512, n, raw);
        out = ret->text + sprintf(ret->text, "%s:", algs[h->alg].name);
        for (size_t i = 0; i < n; i++) {
                *out++ = hex[raw[i] >> 4];
                *out++ = hex[raw[i] & 15];
        }
        *out = '\0';
}

void digest_of(const void *p, size_t n, Digest *ret)
{
        Hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_update(&h, p, n);
        hasher_digest(&h, ret);
}
