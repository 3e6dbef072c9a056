/* SPDX-License-Identifier: Apache-2.0 */
/* config.toml as somebody may have damaged it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        char path[64];
        Config *c = NULL;
        Err err = {};
        int fd;

        /* an import would read files of this machine */
        if (memmem(data, n, "import", 6))
                return 0;
        fd = memfd_create("config", MFD_CLOEXEC);
        if (fd < 0 || fd_write_all(fd, data, n) < 0)
                abort();
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (config_load(path, 0, &c, &err) == 0) {
                char *text = config_dump(c, NULL, 0);

                config_check_plugins(c);
                free(text);
        }
        config_free(c);
        close(fd);
        return 0;
}
