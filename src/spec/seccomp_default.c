/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default seccomp profile: everything answers EPERM but what the table allows. Some rows count
 * only when the bounding set has a capability; without CAP_SYS_ADMIN clone may make no namespaces,
 * and clone3, whose flags a filter cannot see, answers ENOSYS so that libc falls back to clone.
 *
 * The table is data in text form, one string of names per row: a profile is made once per
 * container, by the command line.
 */
#include "spec/container_spec.h"

static const char always[] =
        "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir "
        "chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres "
        "clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep "
        "clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 "
        "dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
        "epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group "
        "faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir "
        "fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync "
        "fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 "
        "fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 "
        "futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 "
        "getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 "
        "getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom "
        "getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage "
        "getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid "
        "getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 "
        "inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents "
        "io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill "
        "landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 "
        "lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek "
        "lremovexattr lseek lsetxattr lsm_get_self_attr lsm_list_modules "
        "lsm_set_self_attr lstat lstat64 madvise membarrier memfd_create memfd_secret "
        "mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall map_shadow_stack mmap "
        "mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
        "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal "
        "msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at "
        "nanosleep newfstatat _newselect open openat openat2 pause pidfd_open "
        "pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll "
        "ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 "
        "pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat "
        "readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages "
        "removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq "
        "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
        "rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
        "sched_getaffinity sched_getattr sched_getparam sched_get_priority_max "
        "sched_get_priority_min sched_getscheduler sched_rr_get_interval "
        "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam "
        "sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop "
        "semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid "
        "setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer "
        "setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid "
        "setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt "
        "set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl "
        "shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn "
        "socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink "
        "symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create "
        "timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime "
        "timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
        "timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink "
        "unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 "
        "waitid waitpid write writev";

static const struct {
        const char *capability, *names;
} by_capability[] = {
        {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
        {"CAP_SYS_ADMIN",
         "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
         "mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd "
         "setdomainname sethostname setns syslog umount umount2 unshare"},
        {"CAP_SYS_BOOT", "reboot"},
        {"CAP_SYS_CHROOT", "chroot"},
        {"CAP_SYS_MODULE", "delete_module init_module finit_module"},
        {"CAP_SYS_PACCT", "acct"},
        {"CAP_SYS_PTRACE",
         "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
        {"CAP_SYS_RAWIO", "iopl ioperm"},
        {"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
        {"CAP_SYS_TTY_CONFIG", "vhangup"},
        {"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
        {"CAP_SYSLOG", "syslog"},
        {"CAP_BPF", "bpf"},
        {"CAP_PERFMON", "perf_event_open"},
};

#if defined(__x86_64__)
#define ARCHITECTURES "SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32"
#define OF_THE_ARCH   "arch_prctl modify_ldt"
#elif defined(__aarch64__)
#define ARCHITECTURES "SCMP_ARCH_ARM SCMP_ARCH_AARCH64"
#define OF_THE_ARCH \
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
#elif defined(__riscv)
#define ARCHITECTURES "SCMP_ARCH_RISCV64"
#define OF_THE_ARCH   "riscv_flush_icache riscv_hwprobe"
#else
#define ARCHITECTURES ""
#define OF_THE_ARCH   ""
#endif

/* NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET */
#define CLONE_NAMESPACES 0x7E020000

static json_t *words(const char *text)
{
        json_t *list = json_array();

        for (const char *s = text; *s;) {
                size_t n = strcspn(s, " ");

                if (n > 0)
                        json_array_append_new(list, json_stringn(s, n));
                s += n + (s[n] == ' ');
        }
        return list;
}

static json_t *rule(json_t *syscalls, const char *names, const char *action)
{
        json_t *r = json_pack("{s:o, s:s}", "names", words(names), "action", action);

        json_array_append_new(syscalls, r);
        return r;
}

static void compare(json_t *r, json_int_t value, json_int_t value_two, const char *op)
{
        json_t *arg = json_pack("{s:i, s:I, s:s}", "index", 0, "value", value, "op", op);

        if (value_two >= 0)
                json_object_set_new(arg, "valueTwo", json_integer(value_two));
        json_object_set_new(r, "args", json_pack("[o]", arg));
}

static int has(const char *const *list, const char *name)
{
        for (; list && *list; list++)
                if (str_eq(*list, name))
                        return 1;
        return 0;
}

json_t *seccomp_default_profile(const char *const *bounding)
{
        static const json_int_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};
        json_t *syscalls = json_array();

        rule(syscalls, always, "SCMP_ACT_ALLOW");
        /* every family but AF_ALG (38) and AF_VSOCK (40) */
        compare(rule(syscalls, "socket", "SCMP_ACT_ALLOW"), 38, -1, "SCMP_CMP_LT");
        compare(rule(syscalls, "socket", "SCMP_ACT_ALLOW"), 39, -1, "SCMP_CMP_EQ");
        compare(rule(syscalls, "socket", "SCMP_ACT_ALLOW"), 40, -1, "SCMP_CMP_GT");
        for (size_t i = 0; i < ARRAY_LEN(personalities); i++)
                compare(rule(syscalls, "personality", "SCMP_ACT_ALLOW"), personalities[i], -1,
                        "SCMP_CMP_EQ");
        rule(syscalls, "process_vm_readv process_vm_writev ptrace", "SCMP_ACT_ALLOW");
        if (*OF_THE_ARCH)
                rule(syscalls, OF_THE_ARCH, "SCMP_ACT_ALLOW");
        for (size_t i = 0; i < ARRAY_LEN(by_capability); i++)
                if (has(bounding, by_capability[i].capability))
                        rule(syscalls, by_capability[i].names, "SCMP_ACT_ALLOW");
        if (!has(bounding, "CAP_SYS_ADMIN")) {
                compare(rule(syscalls, "clone", "SCMP_ACT_ALLOW"), CLONE_NAMESPACES, 0,
                        "SCMP_CMP_MASKED_EQ");
                json_object_set_new(rule(syscalls, "clone3", "SCMP_ACT_ERRNO"), "errnoRet",
                                    json_integer(38));
        }
        return json_pack("{s:s, s:o, s:o}", "defaultAction", "SCMP_ACT_ERRNO", "architectures",
                         words(ARCHITECTURES), "syscalls", syscalls);
}
