/* SPDX-License-Identifier: Apache-2.0 */
/* Deprecations: what clients do that containerd will stop to serve, and when it was done last. One
 * table for the process; any thread. */
#pragma once

#include "base/clock.h"

typedef enum Deprecation { DEPRECATION_SCHEMA1_IMAGE, DEPRECATION_COUNT } Deprecation;

/* It has happened now. */
void deprecation_emit(Deprecation d);
/* 1 if it has ever happened since the daemon started; all strings are constant. */
int deprecation_get(Deprecation d, const char **ret_id, const char **ret_message, Time *ret_last);
