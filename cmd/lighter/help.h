/* SPDX-License-Identifier: Apache-2.0 */
/* What is made from the table of commands: help, the man page, shell completion. */
#pragma once

#include "client/args.h"
#include "base/str.h"

/* Help for the command that args stopped at. */
void help_text(const Args *args, Str *out);
void help_man(const Command *root, Str *out);
void help_bash(const Command *root, Str *out);
void help_zsh(const Command *root, Str *out);
void help_fish(const Command *root, Str *out);
