/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "shim/actions.h"
#include "shim/shim.h"
#include "shim/shim_priv.h"
#include "shim/start.h"

#define NAME "containerd-shim-lighter-v2"

static int print_version(void)
{
        static const char text[] = NAME ":\n  Version:  " LIGHTER_VERSION "\n";

        return fd_write_all(1, text, sizeof(text) - 1) < 0;
}

int shim_main(int argc, char **argv)
{
        ShimFlags flags;
        Err err = {};

        if (shim_flags_parse(argc, (const char *const *)argv, &flags, &err) < 0) {
                log_fatal_text(NAME, &err);
                return 1;
        }
        if (flags.version)
                return print_version();
        if (flags.info)
                return shim_info();
        if (str_empty(flags.ns)) {
                err_set(&err, INVALID_ARGUMENT, "shim namespace cannot be empty");
                log_fatal_text(NAME, &err);
                return 1;
        }
        log_init(flags.debug ? LOG_DEBUG : LOG_INFO, LOG_FORMAT_TEXT);
        if (str_eq(flags.action, "start"))
                return shim_start(&flags);
        if (str_eq(flags.action, "delete"))
                return shim_delete(&flags);
        if (str_empty(flags.action))
                return shim_serve(flags.ns, flags.id, flags.address, flags.debug);
        err_set(&err, INVALID_ARGUMENT, "unknown action \"%s\"", flags.action);
        log_fatal_text(NAME, &err);
        return 1;
}
