// SPDX-License-Identifier: Apache-2.0
/*
 * What comes before the first container: open files, signals, connection, an empty namespace, and
 * what containers are made of: an image that is there, unpacked if need be, or a folder.
 */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/fd.h"
#include "cmd/stress/stress.h"
#include "spec/container_spec.h"

static void raise_limit(void)
{
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
                l.rlim_cur = l.rlim_max;
                setrlimit(RLIMIT_NOFILE, &l);
        }
}

static int watch_signals(Stress *s, Err *err)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
        s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        return s->signal_fd < 0 ? err_sys(err, errno, "cannot watch signals") : 0;
}

static int find_image(Stress *s, const Args *args, Err *err)
{
        Platform platform = platform_host();
        Images__Image *record;
        Digest chain;
        ImageView v;
        int r;

        s->image = args_str(args, "image");
        r = image_get(&s->cli, s->image, &record, err);
        if (r == -NOT_FOUND)
                return err_set(
                        err, NOT_FOUND,
                        "image \"%s\": not found in namespace \"%s\"; import it there "
                        "(`lighter -n %s images import FILE`), or give a folder with --rootfs",
                        s->image, client_namespace(s->cli.client), client_namespace(s->cli.client));
        if (r == 0)
                r = image_view(&s->cli, record->target, &platform, &v, err);
        if (r == 0)
                r = image_unpack_all(&s->cli, &v, s->snapshotter, 0, &chain, err);
        if (r < 0)
                return r;
        s->chain = arena_strdup(&s->cli.arena, chain.text);
        s->config = v.config;
        s->config.user = ""; /* a name would have to be looked up in the image */
        return 0;
}

static int find_rootfs(Stress *s, const Args *args, Err *err)
{
        char *real CLEANUP(cleanup_free) = realpath(args_str(args, "rootfs"), NULL);

        if (!real)
                return err_sys(err, errno, "%s", args_str(args, "rootfs"));
        s->rootfs = arena_strdup(&s->cli.arena, real);
        return 0;
}

/* Every spec differs from this one in its id only. */
static int try_spec(Stress *s, Err *err)
{
        static const char *const args[] = {"true", NULL};
        const ContainerSpecOptions o = {.ns = client_namespace(s->cli.client),
                                        .id = "spec",
                                        .image = s->image ? &s->config : NULL,
                                        .rootfs = s->rootfs,
                                        .root_fd = -1,
                                        .args = args};
        json_t *spec CLEANUP(json_decrefp) = NULL;

        return container_spec_build(&o, &spec, err);
}

int stress_init(Stress *s, const Args *args, Err *err)
{
        const ClientOptions o = {.address = args_str(args, "address"),
                                 .ns = args_str(args, "namespace")};
        int r;

        list_init(&s->jobs);
        s->signal_fd = -1;
        s->snapshotter = args_str(args, "snapshotter");
        s->runtime = args_str(args, "runtime");
        if (args_given(args, "rootfs") && args_given(args, "image"))
                return err_set(err, INVALID_ARGUMENT, "--image and --rootfs do not go together");
        raise_limit();
        r = watch_signals(s, err);
        if (r == 0)
                r = client_open(&o, &s->cli.client, err);
        if (r == 0)
                r = clean_up(s, err);
        if (r < 0)
                return r;
        r = args_given(args, "rootfs") ? find_rootfs(s, args, err) : find_image(s, args, err);
        return r < 0 ? r : try_spec(s, err);
}

void stress_done(Stress *s)
{
        s->cli.client = client_free(s->cli.client);
        arena_done(&s->cli.arena);
        fd_close(s->signal_fd);
}
