/* SPDX-License-Identifier: Apache-2.0 */
/* io.containerd.cgroups.v1.Metrics. Each controller has its own folder, and any of them may be
 * missing. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "api/io/containerd/cgroups/v1/metrics.pb-c.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "cgroup/cgroup_priv.h"

enum { MAX_CPUS = 8192, MAX_BLKIO = 4096 };

#define FIELD(type, key, member)            \
        {                                   \
                key, offsetof(type, member) \
        }

static const KeyField memory_fields[] = {
        FIELD(Cgroups1__MemoryStat, "cache", cache),
        FIELD(Cgroups1__MemoryStat, "rss", rss),
        FIELD(Cgroups1__MemoryStat, "rss_huge", rss_huge),
        FIELD(Cgroups1__MemoryStat, "mapped_file", mapped_file),
        FIELD(Cgroups1__MemoryStat, "dirty", dirty),
        FIELD(Cgroups1__MemoryStat, "writeback", writeback),
        FIELD(Cgroups1__MemoryStat, "pgpgin", pg_pg_in),
        FIELD(Cgroups1__MemoryStat, "pgpgout", pg_pg_out),
        FIELD(Cgroups1__MemoryStat, "pgfault", pg_fault),
        FIELD(Cgroups1__MemoryStat, "pgmajfault", pg_maj_fault),
        FIELD(Cgroups1__MemoryStat, "inactive_anon", inactive_anon),
        FIELD(Cgroups1__MemoryStat, "active_anon", active_anon),
        FIELD(Cgroups1__MemoryStat, "inactive_file", inactive_file),
        FIELD(Cgroups1__MemoryStat, "active_file", active_file),
        FIELD(Cgroups1__MemoryStat, "unevictable", unevictable),
        FIELD(Cgroups1__MemoryStat, "hierarchical_memory_limit", hierarchical_memory_limit),
        FIELD(Cgroups1__MemoryStat, "hierarchical_memsw_limit", hierarchical_swap_limit),
        FIELD(Cgroups1__MemoryStat, "total_cache", total_cache),
        FIELD(Cgroups1__MemoryStat, "total_rss", total_rss),
        FIELD(Cgroups1__MemoryStat, "total_rss_huge", total_rss_huge),
        FIELD(Cgroups1__MemoryStat, "total_mapped_file", total_mapped_file),
        FIELD(Cgroups1__MemoryStat, "total_dirty", total_dirty),
        FIELD(Cgroups1__MemoryStat, "total_writeback", total_writeback),
        FIELD(Cgroups1__MemoryStat, "total_pgpgin", total_pg_pg_in),
        FIELD(Cgroups1__MemoryStat, "total_pgpgout", total_pg_pg_out),
        FIELD(Cgroups1__MemoryStat, "total_pgfault", total_pg_fault),
        FIELD(Cgroups1__MemoryStat, "total_pgmajfault", total_pg_maj_fault),
        FIELD(Cgroups1__MemoryStat, "total_inactive_anon", total_inactive_anon),
        FIELD(Cgroups1__MemoryStat, "total_active_anon", total_active_anon),
        FIELD(Cgroups1__MemoryStat, "total_inactive_file", total_inactive_file),
        FIELD(Cgroups1__MemoryStat, "total_active_file", total_active_file),
        FIELD(Cgroups1__MemoryStat, "total_unevictable", total_unevictable),
};

static const KeyField oom_fields[] = {
        FIELD(Cgroups1__MemoryOomControl, "oom_kill_disable", oom_kill_disable),
        FIELD(Cgroups1__MemoryOomControl, "under_oom", under_oom),
        FIELD(Cgroups1__MemoryOomControl, "oom_kill", oom_kill),
};

static const KeyField throttle_fields[] = {
        FIELD(Cgroups1__Throttle, "nr_periods", periods),
        FIELD(Cgroups1__Throttle, "nr_throttled", throttled_periods),
        FIELD(Cgroups1__Throttle, "throttled_time", throttled_time),
};

typedef struct UsageTicks {
        uint64_t user, system;
} UsageTicks;

static const KeyField usage_fields[] = {
        FIELD(UsageTicks, "user", user),
        FIELD(UsageTicks, "system", system),
};

/* ---- pids, cpu ---- */

static void read_pids(Arena *a, int dir, Cgroups1__Metrics *m)
{
        m->pids = pb_make(a, cgroups1__pids_stat);
        read_number(a, dir, "pids.current", 0, &m->pids->current);
        read_number(a, dir, "pids.max", 0, &m->pids->limit);
}

static void read_cpu_usage(Arena *a, int dir, Cgroups1__CPUUsage *usage)
{
        uint64_t per_second = (uint64_t)MAX(sysconf(_SC_CLK_TCK), 1L);
        UsageTicks ticks = {};
        char *text = read_text(a, dir, "cpuacct.stat");

        if (text)
                parse_keyed(text, usage_fields, ARRAY_LEN(usage_fields), &ticks);
        usage->user = ticks.user * NS_PER_SEC / per_second;
        usage->kernel = ticks.system * NS_PER_SEC / per_second;
        read_number(a, dir, "cpuacct.usage", 0, &usage->total);
        text = read_text(a, dir, "cpuacct.usage_percpu");
        if (!text)
                return;
        usage->per_cpu = arena_array(a, uint64_t, MIN(strlen(text), (size_t)MAX_CPUS));
        for (const char *p = text; usage->n_per_cpu < MAX_CPUS &&
                                   take_number(&p, &usage->per_cpu[usage->n_per_cpu]) == 0;)
                usage->n_per_cpu++;
}

static void read_cpu(Arena *a, const CgroupSet *set, Cgroups1__Metrics *m)
{
        int acct CLEANUP(cleanup_fd) = open_controller(set, "cpuacct");
        int cpu CLEANUP(cleanup_fd) = open_controller(set, "cpu");
        char *text;

        if (acct < 0 && cpu < 0)
                return;
        m->cpu = pb_make(a, cgroups1__cpustat);
        if (acct >= 0) {
                m->cpu->usage = pb_make(a, cgroups1__cpuusage);
                read_cpu_usage(a, acct, m->cpu->usage);
        }
        text = read_text(a, cpu, "cpu.stat");
        if (text) {
                m->cpu->throttling = pb_make(a, cgroups1__throttle);
                parse_keyed(text, throttle_fields, ARRAY_LEN(throttle_fields), m->cpu->throttling);
        }
}

/* ---- memory ---- */

static Cgroups1__MemoryEntry *read_entry(Arena *a, int dir, const char *prefix)
{
        Cgroups1__MemoryEntry *e = pb_make(a, cgroups1__memory_entry);

        if (!read_number(a, dir, arena_printf(a, "%s.usage_in_bytes", prefix), 0, &e->usage))
                return NULL;
        read_number(a, dir, arena_printf(a, "%s.max_usage_in_bytes", prefix), 0, &e->max);
        read_number(a, dir, arena_printf(a, "%s.failcnt", prefix), 0, &e->failcnt);
        read_number(a, dir, arena_printf(a, "%s.limit_in_bytes", prefix), 0, &e->limit);
        return e;
}

static void read_memory(Arena *a, int dir, Cgroups1__Metrics *m)
{
        char *text = read_text(a, dir, "memory.stat");

        if (text) {
                m->memory = pb_make(a, cgroups1__memory_stat);
                parse_keyed(text, memory_fields, ARRAY_LEN(memory_fields), m->memory);
                m->memory->usage = read_entry(a, dir, "memory");
                m->memory->swap = read_entry(a, dir, "memory.memsw");
                m->memory->kernel = read_entry(a, dir, "memory.kmem");
                m->memory->kernel_tcp = read_entry(a, dir, "memory.kmem.tcp");
        }
        text = read_text(a, dir, "memory.oom_control");
        if (text) {
                m->memory_oom_control = pb_make(a, cgroups1__memory_oom_control);
                parse_keyed(text, oom_fields, ARRAY_LEN(oom_fields), m->memory_oom_control);
        }
}

/* ---- blkio ---- */

/* One reading of the folder. The names of devices are looked up when there is one to name. */
typedef struct Blkio {
        Arena *a;
        int dir;
        const char *partitions; /* text of /proc/partitions; NULL: not read yet */
} Blkio;

typedef struct BlkioList {
        size_t *n;
        Cgroups1__BlkIOEntry ***v;
} BlkioList;

/* "/dev/sda" of major:minor; "" if unknown. */
static const char *device_name(Blkio *b, uint64_t major, uint64_t minor)
{
        if (!b->partitions) {
                int proc CLEANUP(cleanup_fd) = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
                const char *text = read_text(b->a, proc, "partitions");

                b->partitions = text ? text : "";
        }
        for (const char *line = b->partitions; *line; next_line(&line)) {
                const char *p = line + strspn(line, " \t");
                uint64_t ma, mi, blocks;

                if (take_number(&p, &ma) == 0 && take_number(&p, &mi) == 0 &&
                    take_number(&p, &blocks) == 0 && ma == major && mi == minor)
                        return arena_printf(b->a, "/dev/%s", take_word(b->a, &p));
        }
        return "";
}

static size_t count_lines(const char *text)
{
        size_t n = 0;

        for (const char *line = text; *line; next_line(&line))
                n++;
        return n;
}

/* Lines "8:0 Read 4096", or "8:0 17" without an operation; the sum at the end ("Total 4096") is
 * skipped. */
static void parse_blkio(Blkio *b, const char *text, BlkioList list)
{
        size_t max = MIN(count_lines(text), (size_t)MAX_BLKIO);
        Cgroups1__BlkIOEntry **v = arena_array(b->a, Cgroups1__BlkIOEntry *, max);

        for (const char *line = text; *line && *list.n < max; next_line(&line)) {
                const char *p = line;
                uint64_t major, minor, value;
                const char *op = "";
                Cgroups1__BlkIOEntry *e;

                if (take_number(&p, &major) < 0 || *p++ != ':' || take_number(&p, &minor) < 0)
                        continue;
                if (*p < '0' || *p > '9')
                        op = take_word(b->a, &p);
                if (take_number(&p, &value) < 0)
                        continue;
                e = pb_make(b->a, cgroups1__blk_ioentry);
                e->op = op;
                e->major = major;
                e->minor = minor;
                e->device = device_name(b, major, minor);
                e->value = value;
                v[(*list.n)++] = e;
        }
        *list.v = v;
}

static void read_blkio_file(Blkio *b, const char *name, BlkioList list)
{
        char *text = read_text(b->a, b->dir, name);

        if (text)
                parse_blkio(b, text, list);
}

/* The throttling layer alone counts: the files of a weighting scheduler (blkio.sectors_recursive
 * and its kin) went with CFQ, before our oldest kernel. */
static void read_blkio(Arena *a, int dir, Cgroups1__Metrics *m)
{
        Blkio b = {a, dir, NULL};

        m->blkio = pb_make(a, cgroups1__blk_iostat);
        read_blkio_file(&b, "blkio.throttle.io_service_bytes",
                        (BlkioList){&m->blkio->n_io_service_bytes_recursive,
                                    &m->blkio->io_service_bytes_recursive});
        read_blkio_file(
                &b, "blkio.throttle.io_serviced",
                (BlkioList){&m->blkio->n_io_serviced_recursive, &m->blkio->io_serviced_recursive});
}

/* ---- hugetlb, rdma ---- */

enum { MAX_HUGETLB = 16, MAX_RDMA = 64 };

typedef struct Hugetlb {
        Arena *a;
        int dir;
        Cgroups1__Metrics *m;
} Hugetlb;

static void add_hugetlb(void *ctx, const char *size)
{
        Hugetlb *h = ctx;
        Cgroups1__HugetlbStat *s;

        if (h->m->n_hugetlb == MAX_HUGETLB)
                return;
        s = pb_make(h->a, cgroups1__hugetlb_stat);
        s->pagesize = size;
        read_number(h->a, h->dir, arena_printf(h->a, "hugetlb.%s.usage_in_bytes", size), 0,
                    &s->usage);
        read_number(h->a, h->dir, arena_printf(h->a, "hugetlb.%s.max_usage_in_bytes", size), 0,
                    &s->max);
        read_number(h->a, h->dir, arena_printf(h->a, "hugetlb.%s.failcnt", size), 0, &s->failcnt);
        h->m->hugetlb[h->m->n_hugetlb++] = s;
}

static void read_hugetlb(Arena *a, int dir, Cgroups1__Metrics *m)
{
        Hugetlb h = {a, dir, m};

        m->hugetlb = arena_array(a, Cgroups1__HugetlbStat *, MAX_HUGETLB);
        each_hugetlb(a, dir, ".usage_in_bytes", add_hugetlb, &h);
}

static size_t read_rdma_entries(Arena *a, int dir, const char *name, Cgroups1__RdmaEntry ***ret)
{
        RdmaLine lines[MAX_RDMA];
        size_t n = read_rdma(a, dir, name, lines, MAX_RDMA);

        *ret = arena_array(a, Cgroups1__RdmaEntry *, n);
        for (size_t i = 0; i < n; i++) {
                Cgroups1__RdmaEntry *e = (*ret)[i] = pb_make(a, cgroups1__rdma_entry);

                e->device = lines[i].device;
                e->hca_handles = lines[i].handles;
                e->hca_objects = lines[i].objects;
        }
        return n;
}

/* Each controller's folder in its turn; -1 when the container has none there. */
static void read_all(Arena *a, const CgroupSet *set, Cgroups1__Metrics *m)
{
        int memory CLEANUP(cleanup_fd) = open_controller(set, "memory");
        int pids CLEANUP(cleanup_fd) = open_controller(set, "pids");
        int blkio CLEANUP(cleanup_fd) = open_controller(set, "blkio");
        int hugetlb CLEANUP(cleanup_fd) = open_controller(set, "hugetlb");
        int rdma CLEANUP(cleanup_fd) = open_controller(set, "rdma");

        if (memory >= 0)
                read_memory(a, memory, m);
        if (pids >= 0)
                read_pids(a, pids, m);
        read_cpu(a, set, m);
        if (blkio >= 0)
                read_blkio(a, blkio, m);
        if (hugetlb >= 0)
                read_hugetlb(a, hugetlb, m);
        if (rdma >= 0) {
                m->rdma = pb_make(a, cgroups1__rdma_stat);
                m->rdma->n_current = read_rdma_entries(a, rdma, "rdma.current", &m->rdma->current);
                m->rdma->n_limit = read_rdma_entries(a, rdma, "rdma.max", &m->rdma->limit);
        }
}

int stats_v1(Arena *a, const CgroupSet *set, Google__Protobuf__Any *ret, Err *err)
{
        Cgroups1__Metrics *m = pb_make(a, cgroups1__metrics);

        read_all(a, set, m);
        if (!m->memory && !m->pids && !m->cpu && !m->blkio)
                return err_set(err, NOT_FOUND, "cgroup does not exist: not found");
        pb_any(a, &m->base, ret);
        return 0;
}
