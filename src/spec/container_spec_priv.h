/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the spec writer share. */
#pragma once

#include "spec/container_spec.h"

/* The object at parent[key], made when absent. Borrowed. */
json_t *spec_object(json_t *parent, const char *key);
json_t *spec_array(json_t *parent, const char *key);
json_t *spec_linux(json_t *spec);
json_t *spec_process(json_t *spec);
json_t *spec_resources(json_t *spec);
/* PATH, unless env has one: without it a runtime finds no command that is not a path. */
void spec_default_path(json_t *spec);
json_t *spec_strings(const char *const *list); /* NULL-terminated, NULL is empty */

/* capabilities.c: names without a list are known to capability_known() only. */
int capability_known(const char *name);
/* Bounding, effective and permitted become what this process has itself. */
int spec_own_capabilities(json_t *spec, Err *err);
int spec_capability_add(json_t *spec, const char *name, Err *err);
int spec_capability_drop(json_t *spec, const char *name, Err *err);

/* devices.c */
int spec_device_add(json_t *spec, const char *host_path, Err *err);
int spec_host_devices(json_t *spec, Err *err);
