/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop devices that free themselves (autoclear) when the last mount is gone. Somebody else may take
 * the device that the kernel has just offered; then we ask for the next one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "mount/loop.h"

enum { LOOP_TRIES = 32 };

int loop_attach(const char *file, unsigned flags, char path[LOOP_PATH_MAX], int *ret_fd, Err *err)
{
        int readonly = (flags & LOOP_READONLY) != 0;
        int control CLEANUP(cleanup_fd) = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        int backing CLEANUP(cleanup_fd) = open(file, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);

        if (backing < 0)
                return err_sys(err, errno, "open %s for a loop device", file);
        if (control < 0)
                return err_sys(err, errno, "open /dev/loop-control");
        for (int i = 0; i < LOOP_TRIES; i++) {
                struct loop_config config = {
                        .fd = (unsigned)backing,
                        .info.lo_flags = LO_FLAGS_AUTOCLEAR | (readonly ? LO_FLAGS_READ_ONLY : 0) |
                                         (flags & LOOP_DIRECT_IO ? LO_FLAGS_DIRECT_IO : 0),
                };
                int n = ioctl(control, LOOP_CTL_GET_FREE), dev;

                if (n < 0)
                        return err_sys(err, errno, "find a free loop device");
                snprintf(path, LOOP_PATH_MAX, "/dev/loop%d", n);
                dev = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
                if (dev < 0)
                        return err_sys(err, errno, "open %s", path);
                snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s", file);
                if (ioctl(dev, LOOP_CONFIGURE, &config) == 0) {
                        *ret_fd = dev;
                        return 0;
                }
                if (errno != EBUSY) {
                        int saved = errno;

                        fd_close(dev);
                        return err_sys(err, saved, "attach %s to %s", file, path);
                }
                fd_close(dev);
        }
        return err_set(err, UNAVAILABLE, "no free loop device for %s", file);
}

int loop_set_autoclear(int fd, int on, Err *err)
{
        struct loop_info64 info;

        if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
                return errno == ENXIO && on
                               ? 0
                               : err_sys(err, errno, "read the state of a loop device");
        if (on)
                info.lo_flags |= LO_FLAGS_AUTOCLEAR;
        else
                info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
        if (ioctl(fd, LOOP_SET_STATUS64, &info) < 0)
                return err_sys(err, errno, "change the state of a loop device");
        return 0;
}
