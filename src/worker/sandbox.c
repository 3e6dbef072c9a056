/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four walls, each meant to hold alone:
 *
 * - a user namespace with the file capabilities and nothing else, so that no call outside files is
 *   privileged;
 * - a root folder that is an empty read-only tmpfs: paths lead nowhere, only descriptors that were
 *   handed in do;
 * - Landlock: of those, only what lies below the target may be changed by path, and only what lies
 *   below the trees to compare may be read;
 * - a system call filter: no exec, no sockets, no mounts, no namespaces, no ptrace, no executable
 *   memory.
 *
 * The target folder comes as a mount of its own (open_tree), so that even ".." ends there.
 */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define CAP(n) (UINT64_C(1) << (n))

static int refused(Err *err, const char *what)
{
        return err_set(err, FAILED_PRECONDITION, "sandbox of worker: %s: %s: failed precondition",
                       what, strerror(errno));
}

int sandbox_unshare(Err *err)
{
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
                return refused(err, "user namespace");
        return 0;
}

static int empty_root(Err *err)
{
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return refused(err, "private mounts");
        if (mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "size=4k,nr_inodes=2,mode=555") < 0)
                return refused(err, "empty root");
        if (chdir("/proc") < 0)
                return refused(err, "chdir");
        if (syscall(SYS_pivot_root, ".", ".") == 0) {
                if (umount2(".", MNT_DETACH) < 0)
                        return refused(err, "detach the old root");
        } else if (errno == EINVAL) {
                /* An initramfs cannot be pivoted away; the filter below takes chroot away again. */
                if (chroot(".") < 0)
                        return refused(err, "chroot");
        } else {
                return refused(err, "pivot_root");
        }
        if (chdir("/") < 0)
                return refused(err, "chdir");
        if (mount(NULL, "/", NULL,
                  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
                return refused(err, "read-only root");
        return 0;
}

static int drop_capabilities(Err *err)
{
        struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
        uint64_t keep = CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) | CAP(CAP_FSETID) |
                        CAP(CAP_SETFCAP) | CAP(CAP_MKNOD);
        struct __user_cap_data_struct d[2] = {
                {.effective = (uint32_t)keep, .permitted = (uint32_t)keep}};

        for (int cap = 0; cap <= 63; cap++)
                if (!(keep & CAP(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
                    errno != EINVAL)
                        return refused(err, "bounding set");
        if (syscall(SYS_capset, &h, d) < 0)
                return refused(err, "capabilities");
        return 0;
}

/* Kernels without Landlock have the other walls; kernels with it must accept the rules. */
static int landlock(const SandboxDir *dirs, size_t n_dirs, Err *err)
{
        struct landlock_ruleset_attr attr = {
                .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                     LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
                                     LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM,
        };
        int fd CLEANUP(cleanup_fd) = -1;
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
                return 0;
        if (abi >= 2)
                attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
        fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
        if (fd < 0)
                return refused(err, "landlock");
        for (size_t i = 0; i < n_dirs; i++) {
                struct landlock_path_beneath_attr rule = {
                        .allowed_access = dirs[i].writable
                                                  ? attr.handled_access_fs &
                                                            ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE
                                                  : LANDLOCK_ACCESS_FS_READ_FILE |
                                                            LANDLOCK_ACCESS_FS_READ_DIR,
                        .parent_fd = dirs[i].fd,
                };

                if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                        return refused(err, "landlock rule");
        }
        if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
                return refused(err, "landlock");
        return 0;
}

static int limits(Err *err)
{
        struct {
                int what;
                rlim_t value;
        } table[] = {
                {RLIMIT_CORE, 0},
                {RLIMIT_NOFILE, LIMIT_WORKER_FDS},
                {RLIMIT_AS, (rlim_t)LIMIT_WORKER_MEMORY_MB << 20},
                {RLIMIT_MEMLOCK, 0},
        };

        for (size_t i = 0; i < ARRAY_LEN(table); i++) {
                struct rlimit l = {table[i].value, table[i].value};

                if (SANITIZED && table[i].what == RLIMIT_AS)
                        continue;
                if (setrlimit((__rlimit_resource_t)table[i].what, &l) < 0)
                        return refused(err, "limits");
        }
        return 0;
}

/* clang-format off */
static const int allowed[] = {
        /* descriptors that are open */
        SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
        SCMP_SYS(pwrite64), SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(ftruncate), SCMP_SYS(fcntl),
        SCMP_SYS(fstat), SCMP_SYS(getdents64), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(dup),
        SCMP_SYS(sendmsg), SCMP_SYS(recvmsg),
        /* files below the target */
        SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(newfstatat), SCMP_SYS(statx),
        SCMP_SYS(readlinkat), SCMP_SYS(mkdirat), SCMP_SYS(mknodat), SCMP_SYS(linkat),
        SCMP_SYS(symlinkat), SCMP_SYS(unlinkat), SCMP_SYS(renameat), SCMP_SYS(fchmod),
        SCMP_SYS(fchmodat), SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(utimensat),
        SCMP_SYS(fchdir), SCMP_SYS(fsetxattr), SCMP_SYS(lsetxattr), SCMP_SYS(fgetxattr),
        SCMP_SYS(lgetxattr),
        /* threads, memory, time */
        SCMP_SYS(futex), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise),
        SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(sched_yield),
        SCMP_SYS(sched_getaffinity), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(tgkill),
        SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction),
        SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(gettimeofday),
        SCMP_SYS(getrandom), SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

/* What the sanitizers' runtimes need to report; never in a build that is installed. */
static const int allowed_sanitized[] = {
        SCMP_SYS(sigaltstack), SCMP_SYS(readlink), SCMP_SYS(open), SCMP_SYS(access),
        SCMP_SYS(prctl), SCMP_SYS(getrlimit), SCMP_SYS(prlimit64), SCMP_SYS(getuid),
        SCMP_SYS(getppid), SCMP_SYS(stat), SCMP_SYS(mprotect), SCMP_SYS(mmap), SCMP_SYS(uname),
        SCMP_SYS(ioctl), SCMP_SYS(sched_getscheduler), SCMP_SYS(nanosleep),
};
/* clang-format on */

static int filter_rules(scmp_filter_ctx f)
{
        int r = 0;

        for (size_t i = 0; i < ARRAY_LEN(allowed) && r == 0; i++)
                r = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
        for (size_t i = 0; SANITIZED && i < ARRAY_LEN(allowed_sanitized) && r == 0; i++)
                r = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed_sanitized[i], 0);
        if (r < 0)
                return r;
        if (!SANITIZED) {
                r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
                if (r == 0)
                        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        }
        /* Threads, not processes. clone3's flags lie in memory, where a filter cannot look: libc
         * falls back. */
        if (r == 0)
                r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
        if (r == 0)
                r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        return r;
}

static int filter(Err *err)
{
        scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r;

        if (!f)
                return err_set(err, INTERNAL, "sandbox of worker: no memory for the filter");
        r = filter_rules(f);
        if (r == 0)
                r = seccomp_load(f);
        seccomp_release(f);
        if (r < 0)
                return err_set(err, FAILED_PRECONDITION,
                               "sandbox of worker: system call filter: %s: failed precondition",
                               strerror(-r));
        return 0;
}

int sandbox_enter(const SandboxDir *dirs, size_t n_dirs, Err *err)
{
        int r = empty_root(err);

        if (r == 0)
                r = drop_capabilities(err);
        if (r == 0)
                r = limits(err);
        if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                r = refused(err, "no_new_privs");
        if (r == 0)
                r = landlock(dirs, n_dirs, err);
        return r < 0 ? r : filter(err);
}
