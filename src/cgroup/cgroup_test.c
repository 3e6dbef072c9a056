/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/io/containerd/cgroups/v1/metrics.pb-c.h"
#include "api/io/containerd/cgroups/v2/metrics.pb-c.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/test.h"
#include "cgroup/cgroup.h"

static const char hybrid_mounts[] =
        "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:26 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw\n"
        "31 30 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "32 30 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "33 30 0:29 / /sys/fs/cgroup/unified rw shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n";

static int parse(Arena *a, const char *text, const char *mountinfo, CgroupSet *ret, Err *err)
{
        CgroupMounts mounts;

        cgroup_mounts_parse(a, mountinfo, &mounts);
        return cgroup_parse(a, text, &mounts, ret, err);
}

TEST(hybrid_groups_are_found)
{
        CgroupSet set;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        CHECK_INT(
                parse(&a,
                      "5:cpu,cpuacct:/default/c1\n4:memory:/docker/abc/default/c1\n3:name=systemd:/x\n0::/\n",
                      hybrid_mounts, &set, &err),
                0);
        CHECK_INT(set.n, 4);
        CHECK_STR(cgroup_dir(&set, "cpuacct"), "/sys/fs/cgroup/cpu/default/c1");
        CHECK_STR(cgroup_dir(&set, "memory"), "/sys/fs/cgroup/memory/default/c1");
        CHECK_STR(cgroup_dir(&set, ""), "/sys/fs/cgroup/unified");
        CHECK(!cgroup_dir(&set, "pids"));
        CHECK(!cgroup_is_v2(&set));
        CHECK_INT(parse(&a, "4:memory:/docker/abcdef/c1\n0::/\n", hybrid_mounts, &set, &err), 0);
        CHECK(!cgroup_dir(&set, "memory")); /* beside what is mounted, not below it */
        arena_done(&a);
}

TEST(hostile_group_texts_are_refused_or_harmless)
{
        static const char *const bad[] = {"x",    ":",  "1:memory", "1:memory:relative\n",
                                          "::\n", "\n", "0::\n"};
        CgroupSet set;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                CHECK_INT(parse(&a, bad[i], hybrid_mounts, &set, &err), -INVALID_ARGUMENT);
        CHECK_INT(parse(&a, "", hybrid_mounts, &set, &err), 0);
        CHECK_INT(parse(&a, "0::/a", " - cgroup2\n- cgroup2 x\n1 2 3 - cgroup2", &set, &err), 0);
        CHECK(!cgroup_dir(&set, ""));
        arena_done(&a);
}

static void put(const char *dir, const char *name, const char *text)
{
        Err err;
        int fd CLEANUP(cleanup_fd) = open(dir, O_PATH | O_DIRECTORY);

        if (file_write(fd, name, text, strlen(text), 0644, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static void *unpack(const ProtobufCMessageDescriptor *desc, const Google__Protobuf__Any *any)
{
        return protobuf_c_message_unpack(desc, NULL, any->value.len, any->value.data);
}

TEST(v1_metrics)
{
        const char *dir = test_tmpdir();
        CgroupDir dirs[] = {{"memory", "/x", dir},
                            {"cpu,cpuacct", "/x", dir},
                            {"pids", "/x", dir},
                            {"blkio", "/x", dir}};
        CgroupSet set = {dirs, ARRAY_LEN(dirs)};
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        Cgroups1__Metrics *m;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        put(dir, "memory.stat",
            "cache 10\nrss 20\ntotal_pgfault 30\nhierarchical_memory_limit 99999999999999999999999\nodd\n");
        put(dir, "memory.usage_in_bytes", "4096\n");
        put(dir, "memory.limit_in_bytes", "9223372036854771712\n");
        put(dir, "memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n");
        put(dir, "pids.current", "5\n");
        put(dir, "pids.max", "max\n");
        put(dir, "cpuacct.usage", "123456\n");
        put(dir, "cpuacct.usage_percpu", "1 2 3 \n");
        put(dir, "cpuacct.stat", "user 100\nsystem 50\n");
        put(dir, "cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_time 77\n");
        put(dir, "blkio.throttle.io_service_bytes",
            "8:0 Read 11\n8:0 Write 12\ngarbage\n8: 1\nTotal 23\n");
        CHECK_INT(cgroup_stats(&a, &set, &any, &err), 0);
        CHECK_STR(any.type_url, "io.containerd.cgroups.v1.Metrics");
        m = unpack(&cgroups1__metrics__descriptor, &any);
        CHECK(m);
        CHECK_INT(m->memory->cache, 10);
        CHECK_INT(m->memory->total_pg_fault, 30);
        CHECK(m->memory->hierarchical_memory_limit == UINT64_MAX);
        CHECK_INT(m->memory->usage->usage, 4096);
        CHECK(!m->memory->swap);
        CHECK_INT(m->memory_oom_control->oom_kill, 3);
        CHECK_INT(m->pids->current, 5);
        CHECK_INT(m->pids->limit, 0);
        CHECK_INT(m->cpu->usage->total, 123456);
        CHECK_INT(m->cpu->usage->n_per_cpu, 3);
        CHECK_INT(m->cpu->usage->user, 1000000000);
        CHECK_INT(m->cpu->throttling->throttled_time, 77);
        CHECK_INT(m->blkio->n_io_service_bytes_recursive, 2);
        CHECK_STR(m->blkio->io_service_bytes_recursive[1]->op, "Write");
        protobuf_c_message_free_unpacked(&m->base, NULL);
        arena_done(&a);
}

TEST(v2_metrics)
{
        const char *dir = test_tmpdir();
        CgroupDir dirs[] = {{"", "/x", dir}};
        CgroupSet set = {dirs, 1};
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        Cgroups2__Metrics *m;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        put(dir, "memory.stat", "anon 1\nfile 2\npgfault 3\n");
        put(dir, "memory.current", "42\n");
        put(dir, "memory.max", "max\n");
        put(dir, "memory.events", "low 0\nhigh 0\nmax 1\noom 2\noom_kill 2\n");
        put(dir, "memory.pressure",
            "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00\n");
        put(dir, "cpu.stat", "usage_usec 9\nuser_usec 5\nsystem_usec 4\n");
        put(dir, "pids.current", "3\n");
        put(dir, "pids.max", "100\n");
        put(dir, "io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5\nbad\n9:1\n");
        put(dir, "hugetlb.2MB.current", "0\n");
        put(dir, "hugetlb.2MB.rsvd.current", "0\n");
        put(dir, "hugetlb.2MB.max", "max\n");
        CHECK_INT(cgroup_stats(&a, &set, &any, &err), 0);
        CHECK_STR(any.type_url, "io.containerd.cgroups.v2.Metrics");
        m = unpack(&cgroups2__metrics__descriptor, &any);
        CHECK(m);
        CHECK_INT(m->memory->usage, 42);
        CHECK(m->memory->usage_limit == UINT64_MAX);
        CHECK(m->memory->psi->some->avg10 == 1.5);
        CHECK_INT(m->memory->psi->some->total, 77);
        CHECK_INT(m->memory_events->oom_kill, 2);
        CHECK_INT(m->cpu->usage_usec, 9);
        CHECK_INT(m->pids->limit, 100);
        CHECK_INT(m->io->n_usage, 2);
        CHECK_INT(m->io->usage[0]->wios, 4);
        CHECK_INT(m->n_hugetlb, 1);
        CHECK_STR(m->hugetlb[0]->pagesize, "2MB");
        protobuf_c_message_free_unpacked(&m->base, NULL);
        arena_done(&a);
}

TEST(a_group_that_is_gone)
{
        CgroupDir v1[] = {{"memory", "/x", "/nonexistent/a"}},
                  v2[] = {{"", "/x", "/nonexistent/b"}};
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        Arena a;
        Err err;

        arena_init(&a, SIZE_MAX);
        CHECK_INT(cgroup_stats(&a, &(CgroupSet){v1, 1}, &any, &err), -NOT_FOUND);
        CHECK_STR(err.msg, "cgroup does not exist: not found");
        CHECK_INT(cgroup_stats(&a, &(CgroupSet){v2, 1}, &any, &err), -NOT_FOUND);
        CHECK_INT(cgroup_stats(&a, &(CgroupSet){}, &any, &err), -NOT_FOUND);
        arena_done(&a);
}

TEST(kills_are_read_from_memory_events)
{
        CHECK_INT(cgroup_oom_kills("low 0\noom 3\noom_kill 2\n"), 2);
        CHECK_INT(cgroup_oom_kills("oom_kill x\n"), 0);
        CHECK_INT(cgroup_oom_kills(""), 0);
        CHECK_INT(cgroup_oom_kills("oom_kill_disable 5\n"), 0);
}
