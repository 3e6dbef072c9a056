/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"
#include "plugin/plugin.h"

static char trace[256];

static void note(const char *s)
{
        strcat(strcat(trace, *trace ? " " : ""), s);
}

static int ok_init(PluginContext *pc, void **ret, Err *err)
{
        note(pc->registration->id);
        *ret = (void *)pc->registration->id;
        return 0;
}

static void ok_close(void *instance)
{
        char text[64];

        snprintf(text, sizeof(text), "-%s", (const char *)instance);
        note(text);
}

static int skip_init(PluginContext *pc, void **ret, Err *err)
{
        return plugin_skip(err, "no such device");
}

static int fail_init(PluginContext *pc, void **ret, Err *err)
{
        return err_set(err, INTERNAL, "the disk is on fire");
}

static int needs_a_init(PluginContext *pc, void **ret, Err *err)
{
        int r = plugin_get(pc, "a.v1", ret, err);

        return r < 0 ? r : ok_init(pc, ret, err);
}

#define TYPES(...)                \
        (const char *const[])     \
        {                         \
                __VA_ARGS__, NULL \
        }

typedef struct Fixture {
        Config *config;
        PluginSet *set;
        Err err;
} Fixture;

static void fixture_done(Fixture *f)
{
        f->set = plugin_set_free(f->set);
        f->config = config_free(f->config);
}

static int open_set(Fixture *f, const char *toml, const PluginRegistration *table, size_t n)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/c.toml", test_tmpdir());
        PluginSetOptions o = {.root = "/r", .state = "/s"};
        int r;

        log_init(LOG_FATAL, LOG_FORMAT_TEXT);
        *trace = '\0';
        if (file_write(AT_FDCWD, path, toml, strlen(toml), 0600, &f->err) < 0)
                return -1;
        r = config_load(path, 1, &f->config, &f->err);
        if (r < 0)
                return r;
        o.config = f->config;
        return plugin_set_new(table, n, &o, &f->set, &f->err);
}

TEST(requirements_start_first_and_end_last)
{
        const PluginRegistration table[] = {
                {"c.v1", "top", TYPES("b.v1", "a.v1"), NULL, ok_init, ok_close},
                {"b.v1", "mid1", TYPES("a.v1"), NULL, ok_init, ok_close},
                {"a.v1", "base", NULL, NULL, ok_init, ok_close},
                {"b.v1", "mid2", NULL, NULL, ok_init, ok_close},
        };
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "", table, ARRAY_LEN(table)), 0);
        CHECK_INT(plugin_set_start(f.set, &f.err), 0);
        CHECK_STR(trace, "base mid1 mid2 top");
        *trace = '\0';
        f.set = plugin_set_free(f.set);
        CHECK_STR(trace, "-top -mid2 -mid1 -base");
}

TEST(a_cycle_is_named)
{
        const PluginRegistration table[] = {
                {"x.v1", "start", TYPES("a.v1"), NULL, ok_init},
                {"a.v1", "one", TYPES("b.v1"), NULL, ok_init},
                {"b.v1", "two", TYPES("c.v1"), NULL, ok_init},
                {"c.v1", "three", TYPES("a.v1"), NULL, ok_init},
        };
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "", table, ARRAY_LEN(table)), -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg,
                  "plugins require each other: a.v1.one -> b.v1.two -> c.v1.three -> a.v1.one");
}

TEST(one_that_requires_itself)
{
        const PluginRegistration table[] = {{"a.v1", "one", TYPES("a.v1"), NULL, ok_init}};
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "", table, 1), -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg, "plugins require each other: a.v1.one -> a.v1.one");
}

TEST(failures_are_kept_and_passed_on)
{
        const PluginRegistration table[] = {
                {"a.v1", "bad", NULL, NULL, fail_init, ok_close},
                {"s.v1", "skipped", NULL, NULL, skip_init, ok_close},
                {"b.v1", "needs", TYPES("a.v1"), NULL, needs_a_init, ok_close},
                {"c.v1", "fine", NULL, NULL, ok_init, ok_close},
        };
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "", table, ARRAY_LEN(table)), 0);
        CHECK_INT(plugin_set_start(f.set, &f.err), 0);
        CHECK_INT(plugin_set_count(f.set), 4);
        CHECK(plugin_set_at(f.set, 0).state == PLUGIN_FAILED);
        CHECK_STR(plugin_set_at(f.set, 0).err->msg, "the disk is on fire");
        CHECK(plugin_set_at(f.set, 1).state == PLUGIN_SKIPPED);
        CHECK_STR(plugin_set_at(f.set, 1).err->msg, "no such device: skip plugin");
        CHECK(plugin_set_at(f.set, 2).state == PLUGIN_FAILED);
        CHECK_STR(plugin_set_at(f.set, 2).err->msg,
                  "requires a.v1.bad, which did not start: the disk is on fire");
        CHECK(plugin_set_at(f.set, 3).state == PLUGIN_READY);
        f.set = plugin_set_free(f.set);
        CHECK_STR(trace, "fine -fine");
}

TEST(required_plugins_stop_the_start)
{
        const PluginRegistration table[] = {{"a.v1", "bad", NULL, NULL, fail_init}};
        Fixture f CLEANUP(fixture_done) = {}, g CLEANUP(fixture_done) = {},
                  h CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "version = 2\nrequired_plugins = ['a.v1.bad']\n", table, 1), 0);
        CHECK_INT(plugin_set_start(f.set, &f.err), -INTERNAL);
        CHECK_STR(f.err.msg, "load required plugin a.v1.bad: the disk is on fire");
        CHECK_INT(open_set(&g, "version = 2\nrequired_plugins = ['a.v1.none']\n", table, 1),
                  -INVALID_ARGUMENT);
        CHECK_STR(g.err.msg, "required plugin a.v1.none does not exist");
        CHECK_INT(
                open_set(
                        &h,
                        "version = 2\nrequired_plugins = ['a.v1.bad']\ndisabled_plugins = ['a.v1.bad']\n",
                        table, 1),
                -INVALID_ARGUMENT);
        CHECK_STR(h.err.msg, "required plugin a.v1.bad is disabled");
}

TEST(disabled_plugins_are_not_there)
{
        const PluginRegistration table[] = {
                {"a.v1", "one", NULL, NULL, ok_init},
                {"b.v1", "needs", TYPES("a.v1"), NULL, needs_a_init},
        };
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "version = 2\ndisabled_plugins = ['a.v1.one']\n", table, 2), 0);
        CHECK_INT(plugin_set_start(f.set, &f.err), 0);
        CHECK_INT(plugin_set_count(f.set), 1);
        CHECK_STR(plugin_set_at(f.set, 0).err->msg,
                  "no plugins registered for a.v1: plugin: not found");
}

TEST(doubles_are_refused)
{
        const PluginRegistration table[] = {{"a.v1", "one", NULL, NULL, ok_init},
                                            {"a.v1", "one", NULL, NULL, ok_init}};
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "", table, 2), -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg, "plugin a.v1.one: registered twice");
}

TEST(one_of_several_of_a_type)
{
        const PluginRegistration table[] = {
                {"a.v1", "one", NULL, NULL, ok_init},
                {"a.v1", "two", NULL, NULL, ok_init},
                {"b.v1", "needs", TYPES("a.v1"), NULL, needs_a_init},
        };
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(open_set(&f, "", table, 3), 0);
        CHECK_INT(plugin_set_start(f.set, &f.err), 0);
        CHECK_STR(plugin_set_at(f.set, 2).err->msg, "multiple plugins registered for a.v1");
}

typedef struct Sample {
        int64_t n;
} Sample;

static const ConfigKey keys[] = {{"n", CONFIG_INT, offsetof(Sample, n), "5"}};
static const ConfigSchema schema = CONFIG_SCHEMA(keys, Sample);
static int64_t seen;

static int configured_init(PluginContext *pc, void **ret, Err *err)
{
        const Sample *s = pc->settings;
        Platform host = platform_host();

        seen = s->n;
        plugin_export(pc, "root", pc->root);
        plugin_capability(pc, "rebase");
        plugin_platform(pc, &host);
        return 0;
}

TEST(settings_and_what_a_plugin_says_of_itself)
{
        const PluginRegistration table[] = {{"a.v1", "one", NULL, &schema, configured_init}};
        Fixture f CLEANUP(fixture_done) = {}, g CLEANUP(fixture_done) = {};
        PluginInfo info;

        CHECK_INT(open_set(&f, "version = 2\n[plugins.'a.v1.one']\nn = 7\n", table, 1), 0);
        CHECK_INT(plugin_set_start(f.set, &f.err), 0);
        CHECK_INT(seen, 7);
        info = plugin_set_at(f.set, 0);
        CHECK_INT(info.n_exports, 1);
        CHECK_STR(info.export_values[0], "/r/a.v1.one");
        CHECK_STR(info.capabilities[0], "rebase");
        CHECK_STR(info.platforms[0].os, "linux");
        CHECK_INT(open_set(&g, "version = 2\n[plugins.'a.v1.one']\nn = 'x'\n", table, 1), 0);
        CHECK_INT(plugin_set_start(g.set, &g.err), 0);
        CHECK(plugin_set_at(g.set, 0).state == PLUGIN_FAILED);
        CHECK(strstr(plugin_set_at(g.set, 0).err->msg, "must be an integer, not a string"));
}
