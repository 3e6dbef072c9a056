// SPDX-License-Identifier: Apache-2.0
/*
 * lighter-stress: containerd-stress's options and report against any daemon that speaks
 * containerd's API. It pulls nothing: images are those that the namespace has, or a folder.
 */
#include <stdio.h>
#include <unistd.h>
#include "base/log.h"
#include "cmd/lighter/help.h"
#include "cmd/stress/stress.h"

static const Flag flags[] = {
        {FLAG_BOOL, "debug", NULL, "say what goes on, on stderr"},
        {FLAG_STRING, "address", "a", "socket of the daemon", "/run/lighter/lighter.sock",
         "LIGHTER_ADDRESS,CONTAINERD_ADDRESS", "file"},
        {FLAG_STRING, "namespace", "n", "namespace to work in: everything in it is removed first",
         "stress", NULL, "namespace"},
        {FLAG_INT, "concurrent", "c", "how many containers at a time", "1"},
        {FLAG_DURATION, "duration", "d", "how long", "1m0s"},
        {FLAG_BOOL, "exec", NULL, "as many more containers, with one exec after the other in them"},
        {FLAG_STRING, "image", "i", "image that the namespace has",
         "docker.io/library/alpine:latest", NULL, "image"},
        {FLAG_STRING, "rootfs", NULL, "folder instead of an image, which all share, read-only",
         NULL, NULL, "dir"},
        {FLAG_BOOL, "json", "j", "print the result as JSON"},
        {FLAG_STRING, "runtime", NULL, "runtime of the containers", "io.containerd.runc.v2"},
        {FLAG_STRING, "snapshotter", NULL, "snapshotter", "overlayfs", "CONTAINERD_SNAPSHOTTER",
         "snapshotter"},
        {FLAG_BOOL, "version", "v", "print the version of this program"},
        {},
};

static const Flag density_flags[] = {
        {FLAG_INT, "count", NULL, "number of containers to run", "10"},
        {},
};

static const Command subs[] = {
        {.name = "density",
         .help = "memory of the shims of running containers, in KiB",
         .flags = {density_flags},
         .run = cmd_density},
        {},
};

static const Command stress_command = {
        .name = "lighter-stress",
        .args = "[flags] [density [flags]]",
        .help = "put a daemon under load",
        .more = "Runs containers one after the other, and several at a time, for a while, and says how many it "
                "were. SIGINT and SIGTERM end the run before its time; a second one ends it at once. The exit code "
                "is 0 when all went well, 1 when a container or an exec failed or there was no run.",
        .flags = {flags},
        .subs = subs,
        .run = cmd_stress,
};

static int report(const Err *err)
{
        Str s CLEANUP(str_done) = {};

        fflush(stdout);
        text_escape(&s, err->msg);
        fprintf(stderr, "lighter-stress: %s\n", str_get(&s));
        return 1;
}

int main(int argc, char **argv)
{
        Args args CLEANUP(args_done) = {};
        Cli cli = {.args = &args, .out_tty = isatty(STDOUT_FILENO)};
        Str help CLEANUP(str_done) = {};
        Err err = {};
        int r;

        arena_init(&cli.arena, SIZE_MAX);
        r = args_parse(&stress_command, argc, argv, &args, &err);
        if (r < 0)
                return report(&err) + (args.unknown ? 2 : 0);
        log_init(args_bool(&args, "debug")  ? LOG_DEBUG
                 : args_bool(&args, "json") ? LOG_WARN
                                            : LOG_INFO,
                 LOG_FORMAT_TEXT);
        if (args_bool(&args, "version")) {
                printf("lighter-stress %s\n", LIGHTER_VERSION);
        } else if (args.help) {
                help_text(&args, &help);
                cli_raw(str_get(&help), help.len);
        } else {
                r = args_command(&args)->run(&cli, &args, &err);
        }
        if (r < 0)
                return report(&err);
        return cli_flush(&err) < 0 ? report(&err) : r;
}
