/* SPDX-License-Identifier: Apache-2.0 */
/* Shims that nobody knows the address of. */
#pragma once

/*
 * Ends every process that `SHIM start` has left in this bundle for this container: the helper
 * itself and the shim it made. Only while the answer is not recorded: nobody has created a
 * container through them. Blocks, for seconds at worst.
 */
void orphans_end(const char *bundle, const char *id);
