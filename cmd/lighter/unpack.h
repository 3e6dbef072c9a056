/* SPDX-License-Identifier: Apache-2.0 */
/* Images of the daemon, read and unpacked over its API. */
#pragma once

#include "api/containerd/services/images/v1/images.pb-c.h"
#include "cmd/lighter/cli.h"
#include "spec/image_config.h"
#include "spec/manifest.h"

typedef struct ImageView {
        Descriptor manifest_desc;
        Manifest manifest;
        ImageConfig config;
} ImageView;

/* The manifest for a platform and its config, from an image's target. NOT_FOUND when the image does
 * not have the platform, or its content is not there. */
int image_view(Cli *cli, const Types__Descriptor *target, const Platform *want, ImageView *ret,
               Err *err);
/* NOT_FOUND, saying how to get it. */
int image_get(Cli *cli, const char *name, Images__Image **ret, Err *err);
/* Of the flag --platform, else this machine's. */
int platform_flag(Cli *cli, const Args *args, Platform *ret, Err *err);

/* The snapshotter of --snapshotter, else the namespace's label containerd.io/defaults/snapshotter,
 * else overlayfs. */
int snapshotter_name(Cli *cli, const Args *args, const char **ret, Err *err);
/* The same for --runtime and containerd.io/defaults/runtime. */
int runtime_name(Cli *cli, const Args *args, const char **ret, Err *err);
/* Unpacks what is not there yet; ret_chain is the top snapshot's name, "" for an image without
 * layers. */
int image_unpack_all(Cli *cli, const ImageView *v, const char *snapshotter, int sync_fs,
                     Digest *ret_chain, Err *err);
