/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/test.h"
#include "config/config.h"

static void config_freep(Config **c)
{
        config_free(*c);
}

static char *put(const char *dir, const char *name, const char *text)
{
        char *path = mem_printf("%s/%s", dir, name);
        Err err = {};

        if (file_write(AT_FDCWD, path, text, strlen(text), 0600, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        return path;
}

static int load(const char *text, Config **ret, Err *err)
{
        char *path CLEANUP(cleanup_free) = put(test_tmpdir(), "config.toml", text);

        return config_load(path, 1, ret, err);
}

TEST(no_file_gives_the_defaults)
{
        Config *c CLEANUP(config_freep) = NULL;
        Err err = {};
        const ConfigDaemon *d;

        CHECK(config_load("/nonexistent/x.toml", 0, &c, &err) == 0);
        d = config_daemon(c);
        CHECK_STR(d->root, "/var/lib/lighter");
        CHECK_STR(d->state, "/run/lighter");
        CHECK_STR(d->grpc.address, "/run/lighter/lighter.sock");
        CHECK_STR(d->ttrpc.address, "/run/lighter/lighter.sock.ttrpc");
        CHECK_INT(d->grpc.max_recv, 16777216);
        CHECK_INT(d->grpc.uid, geteuid());
}

TEST(a_named_file_must_exist)
{
        Config *c CLEANUP(config_freep) = NULL;
        Err err = {};

        CHECK_INT(config_load("/nonexistent/x.toml", 1, &c, &err), -NOT_FOUND);
        CHECK(strstr(err.msg, "open /nonexistent/x.toml"));
}

TEST(version_2_and_its_keys)
{
        Config *c CLEANUP(config_freep) = NULL;
        Err err = {};
        const ConfigDaemon *d;

        CHECK_INT(load("version = 2\nroot = \"/r\"\nstate = '/s'\noom_score = -5\n"
                       "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
                       "[grpc]\n address = \"/a.sock\"\n uid = 7\n max_recv_message_size = 1024\n"
                       "[debug]\n level = \"debug\"\n format = \"json\"\n",
                       &c, &err),
                  0);
        d = config_daemon(c);
        CHECK_STR(d->root, "/r");
        CHECK_INT(d->oom_score, -5);
        CHECK_STR(d->disabled_plugins.v[0], "io.containerd.grpc.v1.cri");
        CHECK_STR(d->ttrpc.address, "/a.sock.ttrpc");
        CHECK_INT(d->grpc.uid, 7);
        CHECK_INT(d->ttrpc.uid, 7);
        CHECK_INT(d->grpc.max_recv, 1024);
        CHECK_STR(d->log_level, "debug");
}

/* What dockerd writes for the daemon it starts. */
TEST(a_file_of_dockerd)
{
        Config *c CLEANUP(config_freep) = NULL;
        const ConfigWarning *w;
        Err err = {};
        size_t n;

        CHECK_INT(
                load("root = \"/d/root\"\nstate = \"/d/state\"\nplugin_dir = \"\"\nrequired_plugins = []\n"
                     "oom_score = 0\ndisabled_plugins = [\"cri\"]\n"
                     "[grpc]\n address = \"/d/c.sock\"\n tcp_address = \"\"\n tcp_tls_cert = \"\"\n"
                     " tcp_tls_key = \"\"\n uid = 0\n gid = 0\n max_recv_message_size = 16777216\n"
                     " max_send_message_size = 16777216\n[ttrpc]\n address = \"\"\n uid = 0\n gid = 0\n"
                     "[debug]\n address = \"/d/debug.sock\"\n uid = 0\n gid = 0\n level = \"\"\n"
                     "[metrics]\n address = \"\"\n grpc_histogram = false\n[cgroup]\n path = \"\"\n"
                     "[plugins]\n [plugins.linux]\n  shim = \"containerd-shim\"\n  no_shim = false\n",
                     &c, &err),
                0);
        CHECK_STR(config_daemon(c)->disabled_plugins.v[0], "io.containerd.grpc.v1.cri");
        CHECK_STR(config_daemon(c)->ttrpc.address, "/d/c.sock.ttrpc");
        config_check_plugins(c);
        w = config_warnings(c, &n);
        CHECK_INT(n, 2);
        CHECK_STR(w[0].key, "debug.address");
        CHECK_STR(w[1].key, "io.containerd.runtime.v1.linux");
}

TEST(version_4_moves_the_servers_back)
{
        Config *c CLEANUP(config_freep) = NULL;
        Err err = {};

        CHECK_INT(
                load("version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/x.sock'\n",
                     &c, &err),
                0);
        CHECK_STR(config_daemon(c)->grpc.address, "/x.sock");
        CHECK_STR(config_daemon(c)->ttrpc.address, "/x.sock.ttrpc");
}

TEST(what_is_wrong_is_named)
{
        static const char *const cases[][2] = {
                {"root = 5\n",
                 "config.toml: row 1 column 1: root must be a string, not an integer"},
                {"\n[grpc]\n  uid = \"x\"\n",
                 "row 3 column 3: grpc.uid must be an integer, not a string"},
                {"grpc = 1\n", "grpc must be a table, not an integer"},
                {"[grpc]\nmax_recv_message_size = -1\n", "must be between 0 and"},
                {"disabled_plugins = \"x\"\n",
                 "disabled_plugins must be an array of strings, not a string"},
                {"disabled_plugins = [1]\n", "must be a string, not an integer"},
                {"version = 3\ndisabled_plugins = [\"cri\"]\n",
                 "invalid disabled plugin URI \"cri\" expect io.containerd.x.vx"},
                {"version = 2\nrequired_plugins = [\"cri\"]\n",
                 "invalid required plugin URI \"cri\""},
                {"version = 5\n",
                 "expected containerd config version equal to or less than `4`, got `5`"},
                {"version = \"2\"\n", "version must be an integer, not a string"},
                {"root = \n", "failed to unmarshal TOML at row 1 column"},
                {"a = 1\na = 2\n", "failed to unmarshal TOML at row 2"},
                {"root = \"a\\u0000b\"\n", "must not contain a NUL"},
                {"[timeouts]\n\"x.y\" = \"fast\"\n", "timeouts.x.y: invalid duration \"fast\""},
                {"[timeouts]\nx = 5\n", "timeouts.x must be a string"},
                {"plugins = 3\n", "plugins must be a table"},
                {"stream_processors = 3\n", "stream_processors must be a table"},
                {"[stream_processors]\np = 3\n", "stream_processors.p must be a table"},
                {"[stream_processors.'a.b']\naccepts = 'x'\n",
                 "stream_processors.'a.b'.accepts must be an array of strings"},
                {"[plugins]\n\"io.containerd.a.v1.b\" = 3\n",
                 "plugins.io.containerd.a.v1.b must be a table"},
                {"imports = [3]\n", "imports must be an array of strings"},
                {"imports = ['/nonexistent/f.toml']\n", "open /nonexistent/f.toml"},
                {"\xff = 1\n", "not UTF-8"},
                {"a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                 "row 1"},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Config *c CLEANUP(config_freep) = NULL;
                Err err = {};

                CHECK(load(cases[i][0], &c, &err) < 0);
                if (!strstr(err.msg, cases[i][1]))
                        test_fail(__FILE__, __LINE__, "got \"%s\", want \"%s\"", err.msg,
                                  cases[i][1]);
        }
}

typedef struct Sample {
        const char *s;
        ConfigStrings list;
        int64_t i, d;
        int b;
        double f;
} Sample;

static const ConfigKey sample_keys[] = {
        {"s", CONFIG_STRING, offsetof(Sample, s), "dflt"},
        {"list", CONFIG_STRINGS, offsetof(Sample, list), "x,y"},
        {"i", CONFIG_INT, offsetof(Sample, i), "3"},
        {"b", CONFIG_BOOL, offsetof(Sample, b), "true"},
        {"f", CONFIG_FLOAT, offsetof(Sample, f), "0.5"},
        {"d", CONFIG_DURATION, offsetof(Sample, d), "10s"},
        {"old", CONFIG_UNSERVED},
};
static const ConfigSchema sample = CONFIG_SCHEMA(sample_keys, Sample);

TEST(a_plugins_table)
{
        Config *c CLEANUP(config_freep) = NULL;
        const ConfigWarning *w;
        const Sample *s;
        Err err = {};
        size_t n;

        CHECK_INT(
                load("version = 2\n[plugins.\"a.v1.b\"]\ni = 9\nf = 2\nbogus = 1\nold = true\nd = \"1m30s\"\n",
                     &c, &err),
                0);
        CHECK_INT(config_plugin(c, "a.v1.b", &sample, (const void **)&s, &err), 0);
        CHECK_STR(s->s, "dflt");
        CHECK_INT(s->list.n, 2);
        CHECK_STR(s->list.v[1], "y");
        CHECK_INT(s->i, 9);
        CHECK(s->b && s->f > 1.9 && s->d == INT64_C(90000000000));
        w = config_warnings(c, &n);
        CHECK_INT(n, 2);
        CHECK_STR(w[0].key, "bogus");
        CHECK_STR(w[0].plugin, "a.v1.b");
        CHECK_INT(w[0].row, 5);
        CHECK_STR(w[1].key, "old");
        config_check_plugins(c);
        config_warnings(c, &n);
        CHECK_INT(n, 2);
        CHECK_INT(config_plugin(c, "a.v1.other", &sample, (const void **)&s, &err), 0);
        CHECK_INT(s->i, 3);
}

TEST(a_plugins_wrong_type)
{
        Config *c CLEANUP(config_freep) = NULL;
        const void *s;
        Err err = {};

        CHECK_INT(load("version = 2\n[plugins.\"a.v1.b\"]\nb = \"yes\"\n", &c, &err), 0);
        CHECK_INT(config_plugin(c, "a.v1.b", &sample, &s, &err), -INVALID_ARGUMENT);
        CHECK(strstr(err.msg,
                     "row 3 column 1: plugins.\"a.v1.b\".b must be true or false, not a string"));
}

TEST(unknown_keys_are_warned_about_with_their_place)
{
        Config *c CLEANUP(config_freep) = NULL;
        const ConfigWarning *w;
        Err err = {};
        size_t n;

        CHECK_INT(
                load("version = 2\nnonsense = 1\n\n[grpc]\n  adress = \"/x\"\n[plugins.\"no.v1.such\"]\n",
                     &c, &err),
                0);
        config_check_plugins(c);
        w = config_warnings(c, &n);
        CHECK_INT(n, 3);
        CHECK_STR(w[0].key, "nonsense");
        CHECK_INT(w[0].row, 2);
        CHECK(str_ends(w[0].file, "/config.toml"));
        CHECK_STR(w[1].key, "grpc.adress");
        CHECK_INT(w[1].row, 5);
        CHECK_INT(w[1].column, 3);
        CHECK_STR(w[2].key, "no.v1.such");
}

TEST(imports_merge_and_cycles_end)
{
        const char *dir = test_tmpdir();
        char *a CLEANUP(cleanup_free) =
                put(dir, "config.toml",
                    "version = 2\nimports = ['drop/*.toml', 'self.toml']\nroot = '/a'\n"
                    "state = '/keep'\ndisabled_plugins = ['x.v1.one']\n"
                    "[plugins.'p.v1.q']\ns = 'a'\ni = 1\n[timeouts]\nt = '1s'\n");
        char *self CLEANUP(cleanup_free) =
                put(dir, "self.toml", "imports = ['config.toml', 'self.toml']\n");
        char *sub CLEANUP(cleanup_free) = mem_printf("mkdir -p %s/drop", dir);
        char *b = NULL, *d = NULL;
        Config *c CLEANUP(config_freep) = NULL;
        const Sample *s;
        Err err = {};

        CHECK(system(sub) == 0);
        b = put(dir, "drop/1.toml",
                "version = 2\nroot = '/b'\nstate = ''\n"
                "disabled_plugins = ['x.v1.one', 'x.v1.two']\n[plugins.'p.v1.q']\ni = 2\n");
        d = put(dir, "drop/2.toml", "root = '/c'\n[timeouts]\nt = '2s'\nu = '3s'\n");
        free(b);
        free(d);
        CHECK_INT(config_load(a, 1, &c, &err), 0);
        CHECK_STR(config_daemon(c)->root, "/c");
        CHECK_STR(config_daemon(c)->state, "/keep");
        CHECK_INT(config_daemon(c)->disabled_plugins.n, 2);
        CHECK_INT(config_plugin(c, "p.v1.q", &sample, (const void **)&s, &err), 0);
        CHECK_STR(s->s, "a");
        CHECK_INT(s->i, 2);
        CHECK_INT(config_timeout(c, "t", 7), INT64_C(2000000000));
        CHECK_INT(config_timeout(c, "none", 7), 7);
}

TEST(stream_processors_and_those_built_in)
{
        Config *c CLEANUP(config_freep) = NULL;
        const ConfigDaemon *d;
        Err err = {};
        char *dump CLEANUP(cleanup_free) = NULL;
        size_t n;

        CHECK_INT(load("[stream_processors.mine]\naccepts = ['a', 'b']\nreturns = 'c'\n"
                       "path = '/p'\nargs = ['1']\nenv = ['E=f']\nodd = 1\n"
                       "[stream_processors.'io.containerd.ocicrypt.decoder.v1.tar']\n"
                       "path = 'other'\n",
                       &c, &err),
                  0);
        d = config_daemon(c);
        CHECK_INT(d->n_processors, 3);
        CHECK_STR(d->processors[0].path, "other");
        CHECK_INT(d->processors[0].accepts.n, 0);
        CHECK_STR(d->processors[1].id, "mine");
        CHECK_INT(d->processors[1].accepts.n, 2);
        CHECK_STR(d->processors[1].accepts.v[1], "b");
        CHECK_STR(d->processors[1].returns, "c");
        CHECK_STR(d->processors[1].env.v[0], "E=f");
        CHECK_STR(d->processors[2].id, "io.containerd.ocicrypt.decoder.v1.tar.gzip");
        CHECK_STR(d->processors[2].path, "ctd-decoder");
        CHECK_STR(config_warnings(c, &n)[0].key, "stream_processors.'mine'.odd");
        dump = config_dump(c, NULL, 0);
        CHECK(strstr(dump, "[stream_processors.'mine']") != NULL);
}

TEST(a_drop_in_may_not_be_newer)
{
        const char *dir = test_tmpdir();
        char *a CLEANUP(cleanup_free) =
                put(dir, "config.toml", "version = 2\nimports = ['n.toml']\n");
        char *b CLEANUP(cleanup_free) = put(dir, "n.toml", "version = 3\n");
        Config *c CLEANUP(config_freep) = NULL;
        Err err = {};

        CHECK_INT(config_load(a, 1, &c, &err), -INVALID_ARGUMENT);
        CHECK(strstr(err.msg, "drop-in config version 3 higher than root config version 2"));
}

TEST(a_dump_reads_back_the_same)
{
        const ConfigPluginSchema plugins[] = {{"a.v1.b", &sample}};
        Config *c CLEANUP(config_freep) = NULL, *again CLEANUP(config_freep) = NULL;
        char *first CLEANUP(cleanup_free) = NULL, *second CLEANUP(cleanup_free) = NULL;
        Err err = {};

        CHECK_INT(
                load("version = 2\nroot = \"/it's \\\" odd\"\n[plugins.\"a.v1.b\"]\nf = 1e-3\nd = '250ms'\n"
                     "[timeouts]\n'x.y' = '1h'\n",
                     &c, &err),
                0);
        config_set_address(c, "/flag.sock");
        first = config_dump(c, plugins, 1);
        CHECK(strstr(first, "address = '/flag.sock.ttrpc'"));
        CHECK_INT(load(first, &again, &err), 0);
        second = config_dump(again, plugins, 1);
        CHECK_STR(second, first);
}
