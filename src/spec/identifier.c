/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identifiers become file names and database keys, so the rule is narrow: runs of letters and
 * digits joined by single dots, underscores or dashes. That leaves no "..", no slash, no leading
 * dot.
 */
#include "base/limits.h"
#include "spec/identifier.h"

#define IDENTIFIER_RULE "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$"

/* isalnum() asks the locale */
static int is_alnum(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int matches(const char *s)
{
        int after_separator = 1;

        for (; *s; s++) {
                if (is_alnum(*s))
                        after_separator = 0;
                else if (after_separator || !strchr("._-", *s))
                        return 0;
                else
                        after_separator = 1;
        }
        return !after_separator;
}

int identifier_check(const char *what, const char *s, Err *err)
{
        int r = 0;

        if (str_empty(s))
                r = err_set(err, INVALID_ARGUMENT,
                            "identifier must not be empty: invalid argument");
        else if (strlen(s) > LIMIT_IDENTIFIER)
                r = err_set(err, INVALID_ARGUMENT,
                            "identifier \"%.200s\" greater than maximum length (%d characters): "
                            "invalid argument",
                            s, LIMIT_IDENTIFIER);
        else if (!matches(s))
                r = err_set(err, INVALID_ARGUMENT,
                            "identifier \"%s\" must match " IDENTIFIER_RULE ": invalid argument",
                            s);
        return r < 0 && what ? err_wrap(err, "%s", what) : r;
}

int label_check(const char *key, const char *value, Err *err)
{
        size_t n = strlen(key) + strlen(value);

        if (n > LIMIT_LABEL)
                return err_set(
                        err, INVALID_ARGUMENT,
                        "label key and value length (%zu bytes) greater than maximum size (%d "
                        "bytes), key: %.64s: invalid argument",
                        n, LIMIT_LABEL, key);
        return 0;
}
