// SPDX-License-Identifier: Apache-2.0
/*
 * The old settings are kept in one static place, because a signal handler and atexit() must reach
 * them. tcsetattr(3) is async-signal-safe.
 */
#include "client/term.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t is_raw;

void term_restore(void)
{
        if (is_raw)
                tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
        is_raw = 0;
}

static void on_crash(int signo)
{
        term_restore();
        signal(signo, SIG_DFL);
        raise(signo);
}

int term_check(Err *err)
{
        if (isatty(STDIN_FILENO))
                return 0;
        return err_set(
                err, FAILED_PRECONDITION,
                "provided file is not a console: a terminal is asked for (-t), but standard input is none");
}

int term_raw(Err *err)
{
        static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &saved) < 0)
                return err_sys(err, errno, "cannot read the settings of the terminal");
        raw = saved;
        cfmakeraw(&raw);
        for (size_t i = 0; i < ARRAY_LEN(crashes); i++)
                signal(crashes[i], on_crash);
        atexit(term_restore);
        if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
                return err_sys(err, errno, "cannot set the terminal");
        is_raw = 1;
        return 0;
}

int term_size(uint32_t *ret_cols, uint32_t *ret_rows)
{
        struct winsize ws;

        if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0)
                return -1;
        *ret_cols = ws.ws_col;
        *ret_rows = ws.ws_row;
        return 0;
}
