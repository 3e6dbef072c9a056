/* SPDX-License-Identifier: Apache-2.0 */
/* io.containerd.cgroups.v2.Metrics: one folder, files that exist where the controller is enabled.
 */
#include <stdlib.h>
#include <unistd.h>
#include "api/io/containerd/cgroups/v2/metrics.pb-c.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "cgroup/cgroup_priv.h"

enum { MAX_DEVICES = 1024, MAX_HUGETLB = 16, MAX_RDMA = 64 };

#define FIELD(type, key, member)            \
        {                                   \
                key, offsetof(type, member) \
        }

static const KeyField cpu_fields[] = {
        FIELD(Cgroups2__CPUStat, "usage_usec", usage_usec),
        FIELD(Cgroups2__CPUStat, "user_usec", user_usec),
        FIELD(Cgroups2__CPUStat, "system_usec", system_usec),
        FIELD(Cgroups2__CPUStat, "nr_periods", nr_periods),
        FIELD(Cgroups2__CPUStat, "nr_throttled", nr_throttled),
        FIELD(Cgroups2__CPUStat, "throttled_usec", throttled_usec),
        FIELD(Cgroups2__CPUStat, "nr_bursts", nr_bursts),
        FIELD(Cgroups2__CPUStat, "burst_usec", burst_usec),
};

static const KeyField memory_fields[] = {
        FIELD(Cgroups2__MemoryStat, "anon", anon),
        FIELD(Cgroups2__MemoryStat, "file", file),
        FIELD(Cgroups2__MemoryStat, "kernel_stack", kernel_stack),
        FIELD(Cgroups2__MemoryStat, "slab", slab),
        FIELD(Cgroups2__MemoryStat, "sock", sock),
        FIELD(Cgroups2__MemoryStat, "shmem", shmem),
        FIELD(Cgroups2__MemoryStat, "file_mapped", file_mapped),
        FIELD(Cgroups2__MemoryStat, "file_dirty", file_dirty),
        FIELD(Cgroups2__MemoryStat, "file_writeback", file_writeback),
        FIELD(Cgroups2__MemoryStat, "anon_thp", anon_thp),
        FIELD(Cgroups2__MemoryStat, "inactive_anon", inactive_anon),
        FIELD(Cgroups2__MemoryStat, "active_anon", active_anon),
        FIELD(Cgroups2__MemoryStat, "inactive_file", inactive_file),
        FIELD(Cgroups2__MemoryStat, "active_file", active_file),
        FIELD(Cgroups2__MemoryStat, "unevictable", unevictable),
        FIELD(Cgroups2__MemoryStat, "slab_reclaimable", slab_reclaimable),
        FIELD(Cgroups2__MemoryStat, "slab_unreclaimable", slab_unreclaimable),
        FIELD(Cgroups2__MemoryStat, "pgfault", pgfault),
        FIELD(Cgroups2__MemoryStat, "pgmajfault", pgmajfault),
        FIELD(Cgroups2__MemoryStat, "workingset_refault", workingset_refault),
        FIELD(Cgroups2__MemoryStat, "workingset_activate", workingset_activate),
        FIELD(Cgroups2__MemoryStat, "workingset_nodereclaim", workingset_nodereclaim),
        FIELD(Cgroups2__MemoryStat, "pgrefill", pgrefill),
        FIELD(Cgroups2__MemoryStat, "pgscan", pgscan),
        FIELD(Cgroups2__MemoryStat, "pgsteal", pgsteal),
        FIELD(Cgroups2__MemoryStat, "pgactivate", pgactivate),
        FIELD(Cgroups2__MemoryStat, "pgdeactivate", pgdeactivate),
        FIELD(Cgroups2__MemoryStat, "pglazyfree", pglazyfree),
        FIELD(Cgroups2__MemoryStat, "pglazyfreed", pglazyfreed),
        FIELD(Cgroups2__MemoryStat, "thp_fault_alloc", thp_fault_alloc),
        FIELD(Cgroups2__MemoryStat, "thp_collapse_alloc", thp_collapse_alloc),
};

static const KeyField event_fields[] = {
        FIELD(Cgroups2__MemoryEvents, "low", low),
        FIELD(Cgroups2__MemoryEvents, "high", high),
        FIELD(Cgroups2__MemoryEvents, "max", max),
        FIELD(Cgroups2__MemoryEvents, "oom", oom),
        FIELD(Cgroups2__MemoryEvents, "oom_kill", oom_kill),
        FIELD(Cgroups2__MemoryEvents, "oom_group_kill", oom_group_kill),
};

/* ---- pressure ---- */

/* "some avg10=0.00 avg60=0.12 avg300=0.00 total=1234" */
static Cgroups2__PSIData *parse_psi_line(Arena *a, const char *p)
{
        Cgroups2__PSIData *d = pb_make(a, cgroups2__psidata);

        take_word(a, &p);
        while (*p && *p != '\n') {
                const char *word = take_word(a, &p), *eq = strchr(word, '=');

                if (!eq)
                        continue;
                if (str_starts(word, "avg10="))
                        d->avg10 = strtod(eq + 1, NULL);
                else if (str_starts(word, "avg60="))
                        d->avg60 = strtod(eq + 1, NULL);
                else if (str_starts(word, "avg300="))
                        d->avg300 = strtod(eq + 1, NULL);
                else if (str_starts(word, "total=")) {
                        const char *n = eq + 1;

                        take_number(&n, &d->total);
                }
        }
        return d;
}

static Cgroups2__PSIStats *read_psi(Arena *a, int dir, const char *name)
{
        char *text = read_text(a, dir, name);
        Cgroups2__PSIStats *s;

        if (!text)
                return NULL;
        s = pb_make(a, cgroups2__psistats);
        for (const char *line = text; *line; next_line(&line)) {
                if (str_starts(line, "some "))
                        s->some = parse_psi_line(a, line);
                else if (str_starts(line, "full "))
                        s->full = parse_psi_line(a, line);
        }
        return s->some || s->full ? s : NULL;
}

/* ---- controllers ---- */

static void read_memory(Arena *a, int dir, Cgroups2__Metrics *m)
{
        char *text = read_text(a, dir, "memory.stat");

        if (text) {
                m->memory = pb_make(a, cgroups2__memory_stat);
                parse_keyed(text, memory_fields, ARRAY_LEN(memory_fields), m->memory);
                read_number(a, dir, "memory.current", UINT64_MAX, &m->memory->usage);
                read_number(a, dir, "memory.max", UINT64_MAX, &m->memory->usage_limit);
                read_number(a, dir, "memory.peak", UINT64_MAX, &m->memory->max_usage);
                read_number(a, dir, "memory.swap.current", UINT64_MAX, &m->memory->swap_usage);
                read_number(a, dir, "memory.swap.max", UINT64_MAX, &m->memory->swap_limit);
                read_number(a, dir, "memory.swap.peak", UINT64_MAX, &m->memory->swap_max_usage);
                m->memory->psi = read_psi(a, dir, "memory.pressure");
        }
        text = read_text(a, dir, "memory.events");
        if (text) {
                m->memory_events = pb_make(a, cgroups2__memory_events);
                parse_keyed(text, event_fields, ARRAY_LEN(event_fields), m->memory_events);
        }
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" */
static Cgroups2__IOEntry *parse_io_line(Arena *a, const char *p)
{
        static const KeyField fields[] = {
                FIELD(Cgroups2__IOEntry, "rbytes", rbytes),
                FIELD(Cgroups2__IOEntry, "wbytes", wbytes),
                FIELD(Cgroups2__IOEntry, "rios", rios),
                FIELD(Cgroups2__IOEntry, "wios", wios),
        };
        Cgroups2__IOEntry *e = pb_make(a, cgroups2__ioentry);

        if (take_number(&p, &e->major) < 0 || *p++ != ':' || take_number(&p, &e->minor) < 0)
                return NULL;
        while (*p && *p != '\n') {
                char *word = take_word(a, &p), *eq = strchr(word, '=');

                if (!eq)
                        continue;
                *eq = ' ';
                parse_keyed(word, fields, ARRAY_LEN(fields), e);
        }
        return e;
}

static void read_io(Arena *a, int dir, Cgroups2__Metrics *m)
{
        char *text = read_text(a, dir, "io.stat");
        Cgroups2__IOEntry *e;

        if (!text)
                return;
        m->io = pb_make(a, cgroups2__iostat);
        m->io->usage = arena_array(a, Cgroups2__IOEntry *, MAX_DEVICES);
        for (const char *line = text; *line && m->io->n_usage < MAX_DEVICES; next_line(&line))
                if ((e = parse_io_line(a, line)))
                        m->io->usage[m->io->n_usage++] = e;
        m->io->psi = read_psi(a, dir, "io.pressure");
}

typedef struct Hugetlb {
        Arena *a;
        int dir;
        Cgroups2__Metrics *m;
} Hugetlb;

static void add_hugetlb(void *ctx, const char *size)
{
        static const KeyField failures[] = {{"max", 0}};
        Hugetlb *h = ctx;
        Cgroups2__HugeTlbStat *s;
        char *events;

        if (h->m->n_hugetlb == MAX_HUGETLB)
                return;
        s = pb_make(h->a, cgroups2__huge_tlb_stat);
        s->pagesize = size;
        read_number(h->a, h->dir, arena_printf(h->a, "hugetlb.%s.current", size), UINT64_MAX,
                    &s->current);
        read_number(h->a, h->dir, arena_printf(h->a, "hugetlb.%s.max", size), UINT64_MAX, &s->max);
        events = read_text(h->a, h->dir, arena_printf(h->a, "hugetlb.%s.events", size));
        if (events)
                parse_keyed(events, failures, 1, &s->failcnt);
        h->m->hugetlb[h->m->n_hugetlb++] = s;
}

static size_t read_rdma_entries(Arena *a, int dir, const char *name, Cgroups2__RdmaEntry ***ret)
{
        RdmaLine lines[MAX_RDMA];
        size_t n = read_rdma(a, dir, name, lines, MAX_RDMA);

        *ret = arena_array(a, Cgroups2__RdmaEntry *, n);
        for (size_t i = 0; i < n; i++) {
                Cgroups2__RdmaEntry *e = (*ret)[i] = pb_make(a, cgroups2__rdma_entry);

                e->device = lines[i].device;
                e->hca_handles = lines[i].handles;
                e->hca_objects = lines[i].objects;
        }
        return n;
}

int stats_v2(Arena *a, const CgroupSet *set, Google__Protobuf__Any *ret, Err *err)
{
        Cgroups2__Metrics *m = pb_make(a, cgroups2__metrics);
        int dir CLEANUP(cleanup_fd) = open_controller(set, "");
        Hugetlb h = {a, dir, m};
        char *text;

        if (dir < 0)
                return err_set(err, NOT_FOUND, "cgroup does not exist: not found");
        m->pids = pb_make(a, cgroups2__pids_stat);
        read_number(a, dir, "pids.current", UINT64_MAX, &m->pids->current);
        read_number(a, dir, "pids.max", UINT64_MAX, &m->pids->limit);
        text = read_text(a, dir, "cpu.stat");
        if (text) {
                m->cpu = pb_make(a, cgroups2__cpustat);
                parse_keyed(text, cpu_fields, ARRAY_LEN(cpu_fields), m->cpu);
                m->cpu->psi = read_psi(a, dir, "cpu.pressure");
        }
        read_memory(a, dir, m);
        read_io(a, dir, m);
        m->hugetlb = arena_array(a, Cgroups2__HugeTlbStat *, MAX_HUGETLB);
        each_hugetlb(a, dir, ".current", add_hugetlb, &h);
        m->rdma = pb_make(a, cgroups2__rdma_stat);
        m->rdma->n_current = read_rdma_entries(a, dir, "rdma.current", &m->rdma->current);
        m->rdma->n_limit = read_rdma_entries(a, dir, "rdma.max", &m->rdma->limit);
        pb_any(a, &m->base, ret);
        return 0;
}
