/* SPDX-License-Identifier: Apache-2.0 */
#include "services/warnings.h"

#include <stdint.h>

static struct {
        const char *id, *message;
        int64_t last_ns; /* atomic; since 1970, 0 for never */
} table[DEPRECATION_COUNT] = {
        [DEPRECATION_SCHEMA1_IMAGE] =
                {
                        "io.containerd.deprecation/pull-schema-1-image",
                        "Schema 1 images are deprecated since containerd v1.7 and removed in "
                        "containerd v2.0. Since containerd v1.7.8, schema 1 images are identified "
                        "by the \"io.containerd.image/converted-docker-schema1\" label.",
                        0,
                },
};

void deprecation_emit(Deprecation d)
{
        Time now = time_now();

        __atomic_store_n(&table[d].last_ns, now.sec * (int64_t)NS_PER_SEC + now.nsec,
                         __ATOMIC_RELAXED);
}

int deprecation_get(Deprecation d, const char **ret_id, const char **ret_message, Time *ret_last)
{
        int64_t at = __atomic_load_n(&table[d].last_ns, __ATOMIC_RELAXED);

        if (at == 0)
                return 0;
        *ret_id = table[d].id;
        *ret_message = table[d].message;
        ret_last->sec = at / (int64_t)NS_PER_SEC;
        ret_last->nsec = (int32_t)(at % (int64_t)NS_PER_SEC);
        return 1;
}
