/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler of collection, with containerd's keys. */
#include <inttypes.h>
#include <stdio.h>
#include "base/clock.h"
#include "metadata/gc.h"
#include "plugins.h"

#define PAUSE_MAX 0.5

static const ConfigKey gc_keys[] = {
        {"pause_threshold", CONFIG_FLOAT, offsetof(GcSchedule, pause_threshold), "0.02", 0, 0},
        {"deletion_threshold", CONFIG_INT, offsetof(GcSchedule, deletion_threshold), "0", 0, 0},
        {"mutation_threshold", CONFIG_INT, offsetof(GcSchedule, mutation_threshold), "100", 0, 0},
        {"schedule_delay", CONFIG_DURATION, offsetof(GcSchedule, schedule_delay), "0s", 0, 0},
        {"startup_delay", CONFIG_DURATION, offsetof(GcSchedule, startup_delay), "100ms", 0, 0},
};
const ConfigSchema gc_schema = CONFIG_SCHEMA(gc_keys, GcSchedule);

static void export_number(PluginContext *pc, const char *key, double value)
{
        char text[40];

        snprintf(text, sizeof(text), "%.15g", value);
        plugin_export(pc, key, text);
}

int gc_init(PluginContext *pc, void **ret, Err *err)
{
        const GcSchedule *config = pc->settings;
        const Daemon *d = pc->host;
        GcOptions o = {.loop = d->loop, .pool = d->pool, .schedule = *config};
        char text[TIME_TEXT_MAX];
        Stores *s;
        int r;

        r = plugins_stores(pc, &s, err);
        if (r < 0)
                return r;
        o.meta = s->metadata;
        o.blobs = s->blobs;
        o.snapshots = s->snapshots;
        o.schedule.pause_threshold = MIN(MAX(config->pause_threshold, 0.0), PAUSE_MAX);
        o.schedule.schedule_delay = MAX(config->schedule_delay, 0);
        export_number(pc, "PauseThreshold", o.schedule.pause_threshold);
        export_number(pc, "DeletionThreshold", (double)o.schedule.deletion_threshold);
        export_number(pc, "MutationThreshold", (double)o.schedule.mutation_threshold);
        plugin_export(pc, "ScheduleDelay", duration_format(o.schedule.schedule_delay, text));
        *ret = gc_new(&o);
        return 0;
}

void gc_close(void *instance)
{
        gc_free(instance);
}
