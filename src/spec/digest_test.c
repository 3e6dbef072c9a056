/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "spec/digest.h"
#include "spec/image_config.h"

#define EMPTY256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

TEST(digest_of_nothing)
{
        Digest d;

        digest_of("", 0, &d);
        CHECK_STR(d.text, EMPTY256);
        CHECK(digest_alg(&d) == DIGEST_SHA256);
        CHECK_STR(digest_hex(&d), EMPTY256 + 7);
}

TEST(hasher_goes_on_after_a_digest)
{
        static const DigestAlg algs[] = {DIGEST_SHA256, DIGEST_SHA384, DIGEST_SHA512};

        for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
                Hasher a, b;
                Digest first, x, y, parsed;
                Err err = {};

                hasher_init(&a, algs[i]);
                hasher_init(&b, algs[i]);
                hasher_update(&a, "con", 3);
                hasher_digest(&a, &first);
                hasher_update(&a, "tent", 4);
                hasher_update(&b, "content", 7);
                hasher_digest(&a, &x);
                hasher_digest(&b, &y);
                CHECK_STR(x.text, y.text);
                CHECK(!digest_eq(&first, &x));
                CHECK(digest_parse(x.text, &parsed, &err) == 0);
                CHECK(digest_alg(&parsed) == algs[i]);
        }
}

TEST(sha512_is_the_known_one)
{
        Hasher h;
        Digest d;

        hasher_init(&h, DIGEST_SHA512);
        hasher_update(&h, "abc", 3);
        hasher_digest(&h, &d);
        CHECK_STR(d.text, "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                          "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

TEST(bad_digests)
{
        static const char *const bad[] = {
                "",
                ":",
                "sha256:",
                "sha256",
                "sha256:../../../etc/passwd",
                "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
                EMPTY256 "0",
                "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "md5:d41d8cd98f00b204e9800998ecf8427e",
                "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85/",
                " " EMPTY256,
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                Digest d = {.text = "untouched"};
                Err err = {};

                CHECK_INT(digest_parse(bad[i], &d, &err), -INVALID_ARGUMENT);
                CHECK(err.msg[0]);
                CHECK_STR(d.text, "untouched");
        }
}

TEST(chain_ids)
{
        Digest ids[2], chain, want;
        char text[300];

        digest_of("one", 3, &ids[0]);
        digest_of("two", 3, &ids[1]);
        chain_id(ids, 1, &chain);
        CHECK_STR(chain.text, ids[0].text);
        chain_id(ids, 2, &chain);
        snprintf(text, sizeof(text), "%s %s", ids[0].text, ids[1].text);
        digest_of(text, strlen(text), &want);
        CHECK_STR(chain.text, want.text);
}
