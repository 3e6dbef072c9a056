/* SPDX-License-Identifier: Apache-2.0 */
/* Errors by value: the message is built in place, from the inside out. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/str.h"

static const struct {
        const char *name, *text;
} classes[] = {
        [OK] = {"OK", NULL},
        [CANCELLED] = {"CANCELLED", "context canceled"},
        [UNKNOWN] = {"UNKNOWN", "unknown"},
        [INVALID_ARGUMENT] = {"INVALID_ARGUMENT", "invalid argument"},
        [DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", "context deadline exceeded"},
        [NOT_FOUND] = {"NOT_FOUND", "not found"},
        [ALREADY_EXISTS] = {"ALREADY_EXISTS", "already exists"},
        [PERMISSION_DENIED] = {"PERMISSION_DENIED", "permission denied"},
        [RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", "resource exhausted"},
        [FAILED_PRECONDITION] = {"FAILED_PRECONDITION", "failed precondition"},
        [ABORTED] = {"ABORTED", "aborted"},
        [OUT_OF_RANGE] = {"OUT_OF_RANGE", "out of range"},
        [UNIMPLEMENTED] = {"UNIMPLEMENTED", "not implemented"},
        [INTERNAL] = {"INTERNAL", "internal"},
        [UNAVAILABLE] = {"UNAVAILABLE", "unavailable"},
        [DATA_LOSS] = {"DATA_LOSS", "data loss"},
        [UNAUTHENTICATED] = {"UNAUTHENTICATED", "unauthorized"},
};

static const struct {
        int errnum, code;
} errnos[] = {
        {ENOENT, NOT_FOUND},
        {ESRCH, NOT_FOUND},
        {EEXIST, ALREADY_EXISTS},
        {EACCES, PERMISSION_DENIED},
        {EPERM, PERMISSION_DENIED},
        {ENOSPC, RESOURCE_EXHAUSTED},
        {EDQUOT, RESOURCE_EXHAUSTED},
        {EMFILE, RESOURCE_EXHAUSTED},
        {ENFILE, RESOURCE_EXHAUSTED},
        {ENOMEM, RESOURCE_EXHAUSTED},
        {EINVAL, INVALID_ARGUMENT},
        {ENAMETOOLONG, INVALID_ARGUMENT},
        {ENOTEMPTY, FAILED_PRECONDITION},
        {EBUSY, FAILED_PRECONDITION},
        {ETIMEDOUT, DEADLINE_EXCEEDED},
        {ECANCELED, CANCELLED},
        {ENOSYS, UNIMPLEMENTED},
        {EOPNOTSUPP, UNIMPLEMENTED},
        {ECONNREFUSED, UNAVAILABLE},
        {ECONNRESET, UNAVAILABLE},
        {EPIPE, UNAVAILABLE},
        {ENOTCONN, UNAVAILABLE},
};

/* A message that filled the buffer may have been cut within a character; text has to stay UTF-8 to
 * be sent. */
static void mend_cut(Err *err)
{
        size_t n = strlen(err->msg), first = n;

        if (n + 1 < sizeof(err->msg))
                return;
        while (first > 0 && n - first < 3 && ((unsigned char)err->msg[first - 1] & 0xC0) == 0x80)
                first--;
        if (first > 0 && (unsigned char)err->msg[first - 1] >= 0xC0)
                first--;
        if (!str_is_utf8(err->msg + first, n - first))
                err->msg[first] = 0;
}

static int set(Err *err, int code, const char *file, int line, const char *fmt, va_list ap)
{
        assert(code > OK && code <= ERR_CODE_LAST);
        err->code = code;
        err->file = file;
        err->line = line;
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        mend_cut(err);
        return -code;
}

int err_set_at(Err *err, int code, const char *file, int line, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        set(err, code, file, line, fmt, ap);
        va_end(ap);
        return -code;
}

int err_sys_at(Err *err, int errnum, const char *file, int line, const char *fmt, ...)
{
        int code = err_code_of_errno(errnum);
        char text[128];
        va_list ap;
        size_t n;

        va_start(ap, fmt);
        set(err, code, file, line, fmt, ap);
        va_end(ap);

        n = strlen(err->msg);
        snprintf(err->msg + n, sizeof(err->msg) - n, ": %s",
                 strerror_r(errnum, text, sizeof(text)));
        mend_cut(err);
        return -code;
}

int err_wrap_as(Err *err, const char *fmt, ...)
{
        char inner[ERR_MSG_MAX];
        va_list ap;
        size_t n;

        assert(err->code > OK && err->code <= ERR_CODE_LAST);
        memcpy(inner, err->msg, sizeof(inner));
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);

        n = strlen(err->msg);
        snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", inner);
        mend_cut(err);
        return -err->code;
}

int err_copy(Err *dst, const Err *src)
{
        *dst = *src;
        return -dst->code;
}

void err_clear(Err *err)
{
        err->code = OK;
        err->line = 0;
        err->file = NULL;
        err->msg[0] = 0;
}

int err_code_of_errno(int errnum)
{
        for (size_t i = 0; i < ARRAY_LEN(errnos); i++)
                if (errnos[i].errnum == errnum)
                        return errnos[i].code;
        return UNKNOWN;
}

const char *err_code_name(int code)
{
        return code < OK || code > ERR_CODE_LAST ? classes[UNKNOWN].name : classes[code].name;
}

const char *err_class_text(int code)
{
        return code < OK || code > ERR_CODE_LAST ? classes[UNKNOWN].text : classes[code].text;
}
