// SPDX-License-Identifier: Apache-2.0
/*
 * The table as text. Completion scripts carry the whole table, so that a key press starts no
 * program, except for names that only the daemon knows: these the scripts ask for with `lighter ...
 * list -q`.
 */
#include "cmd/lighter/help.h"

#include "client/tabwriter.h"

typedef struct Path {
        const Command *v[COMMAND_DEPTH];
        size_t n;
} Path;

static Path path_with(Path p, const Command *c)
{
        assert(p.n < COMMAND_DEPTH);
        p.v[p.n++] = c;
        return p;
}

static void path_text(const Path *p, const char *between, Str *out)
{
        for (size_t i = 0; i < p->n; i++)
                str_addf(out, "%s%s", i ? between : "", p->v[i]->name);
}

/* Words of at most `width` columns a line. */
static void add_wrapped(Str *out, const char *text, const char *indent, size_t width)
{
        while (*text) {
                size_t n = strlen(text);

                if (n > width) {
                        n = width;
                        while (n > 0 && text[n] != ' ')
                                n--;
                }
                str_addf(out, "%s%.*s\n", indent, (int)n, text);
                text += n + (text[n] == ' ');
        }
}

static void flag_row(void *ctx, const Flag *f)
{
        static const char *const values[] = {
                [FLAG_STRING] = " value", [FLAG_LIST] = " value",   [FLAG_INT] = " number",
                [FLAG_UINT] = " number",  [FLAG_FLOAT] = " number", [FLAG_DURATION] = " time",
        };
        const char *value = values[f->type] ? values[f->type] : "";
        Str s CLEANUP(str_done) = {};
        Table *t = ctx;

        table_row(t);
        if (strlen(f->name) == 1)
                str_addf(&s, "   -%s%s", f->name, value);
        else
                str_addf(&s, "   --%s%s", f->name, value);
        if (f->alias)
                str_addf(&s, ", -%s%s", f->alias, value);
        table_cell(t, str_get(&s));
        str_truncate(&s, 0);
        str_add(&s, f->help);
        if (!str_empty(f->value) && !str_eq(f->value, "0") && !str_eq(f->value, "0s"))
                str_addf(&s, " (default: %s)", f->value);
        if (f->env) {
                str_add(&s, " [");
                for (const char *e = f->env; *e; e++) {
                        if (e == f->env || e[-1] == ',')
                                str_add_char(&s, '$');
                        str_add_char(&s, *e);
                }
                str_add_char(&s, ']');
        }
        table_cell(t, str_get(&s));
}

void help_text(const Args *args, Str *out)
{
        const Command *c = args_command(args);
        Table flags CLEANUP(table_done) = TABLE(1, 8, 3, ' ');
        Table subs CLEANUP(table_done) = TABLE(1, 8, 3, ' ');
        Path p = {};

        for (size_t i = 0; i < args->depth; i++)
                p = path_with(p, args->path[i]);
        str_add(out, "NAME:\n   ");
        path_text(&p, " ", out);
        str_addf(out, " - %s\n\nUSAGE:\n   ", c->help);
        path_text(&p, " ", out);
        str_addf(out, " %s\n", c->args ? c->args : c->subs ? "command [flags] [arguments]" : "");
        if (c->more) {
                str_add(out, "\nDESCRIPTION:\n");
                add_wrapped(out, c->more, "   ", 77);
        }
        for (const Command *s = c->subs; s && s->name; s++) {
                if (s->hidden)
                        continue;
                table_row(&subs);
                table_cellf(&subs, "   %s%s%s", s->name, s->aliases ? "," : "",
                            s->aliases ? s->aliases : "");
                table_cell(&subs, s->help);
        }
        if (subs.rows.n > 0) {
                str_add(out, "\nCOMMANDS:\n");
                table_format(&subs, out);
        }
        command_each_flag(c, flag_row, &flags);
        if (flags.rows.n > 0) {
                str_add(out, args->depth == 1 ? "\nGLOBAL OPTIONS:\n" : "\nOPTIONS:\n");
                table_format(&flags, out);
        }
        if (c->subs)
                str_add(out, "\n\"help COMMAND\" and \"COMMAND --help\" say more.\n");
}

/* --- man page, https://man7.org/linux/man-pages/man7/man-pages.7.html --- */

static void roff(Str *out, const char *text)
{
        for (const char *s = text; *s; s++) {
                if (*s == '-' || *s == '\\')
                        str_add_char(out, '\\');
                if ((*s == '.' || *s == '\'') && (s == text || s[-1] == '\n'))
                        str_add(out, "\\&");
                str_add_char(out, *s);
        }
}

static void man_flag(void *ctx, const Flag *f)
{
        Str *out = ctx;

        str_add(out, ".TP\n.B ");
        roff(out, strlen(f->name) == 1 ? "-" : "--");
        roff(out, f->name);
        if (f->alias) {
                str_add(out, ", ");
                roff(out, "-");
                roff(out, f->alias);
        }
        if (f->type != FLAG_BOOL)
                str_addf(out, " \\fI%s\\fR", f->what ? f->what : "value");
        str_add_char(out, '\n');
        roff(out, f->help);
        if (!str_empty(f->value)) {
                str_add(out, " (default: ");
                roff(out, f->value);
                str_add_char(out, ')');
        }
        str_add(out, ".\n");
}

static void man_commands(const Path *p, Str *out)
{
        const Command *c = p->v[p->n - 1];

        if (p->n > 1 && !c->subs) {
                str_add(out, ".SS ");
                path_text(&(Path){.v = {p->v[1], p->n > 2 ? p->v[2] : NULL}, .n = p->n - 1}, " ",
                          out);
                str_add_char(out, ' ');
                roff(out, c->args ? c->args : "");
                str_add_char(out, '\n');
                roff(out, c->help);
                str_add(out, ".\n");
                if (c->more) {
                        str_add(out, ".PP\n");
                        roff(out, c->more);
                        str_add_char(out, '\n');
                }
                command_each_flag(c, man_flag, out);
        }
        for (const Command *s = c->subs; s && s->name; s++) {
                Path sub = path_with(*p, s);

                if (!s->hidden)
                        man_commands(&sub, out);
        }
}

void help_man(const Command *root, Str *out)
{
        Path p = path_with((Path){}, root);

        str_addf(
                out,
                ".TH LIGHTER 1 \"\" \"lighter %s\"\n.SH NAME\nlighter \\- %s\n.SH SYNOPSIS\n.B lighter\n",
                LIGHTER_VERSION, root->help);
        roff(out, root->args);
        str_add(out, "\n.SH DESCRIPTION\n");
        roff(out, root->more);
        str_add(out, "\n.SH OPTIONS\n");
        command_each_flag(root, man_flag, out);
        str_add(out, ".SH COMMANDS\n");
        man_commands(&p, out);
        str_add(out,
                ".SH EXIT STATUS\n0 on success, 1 on an error, 3 for an unknown command. run, tasks start, tasks exec\n"
                "and tasks attach end with the exit code of the process, 128+n when signal n killed it.\n"
                ".SH ENVIRONMENT\n.B LIGHTER_ADDRESS, CONTAINERD_ADDRESS\nsocket of the daemon.\n.PP\n"
                ".B CONTAINERD_NAMESPACE\nnamespace to work in.\n.PP\n.B CONTAINERD_SNAPSHOTTER\nsnapshotter.\n");
}

/* --- completion --- */

static void each_command(const Path *p, Str *out, void (*fn)(const Path *p, Str *out))
{
        const Command *c = p->v[p->n - 1];

        fn(p, out);
        for (const Command *s = c->subs; s && s->name; s++) {
                Path sub = path_with(*p, s);

                if (!s->hidden)
                        each_command(&sub, out, fn);
        }
}

static void bash_flag(void *ctx, const Flag *f)
{
        str_addf(ctx, strlen(f->name) == 1 ? " -%s" : " --%s", f->name);
}

/* case PATTERN: the command's path with every alias of its last word. */
static void bash_case(const Path *p, Str *out)
{
        const Command *c = p->v[p->n - 1];

        str_add(out, "    \"");
        path_text(p, " ", out);
        str_add(out, "\") words='");
        for (const Command *s = c->subs; s && s->name; s++)
                if (!s->hidden)
                        str_addf(out, " %s", s->name);
        str_add(out, "' flags='");
        command_each_flag(c, bash_flag, out);
        str_addf(out, "' what='%s' ;;\n", c->what ? c->what : "");
}

static void bash_alias(const Path *p, Str *out)
{
        const Command *c = p->v[p->n - 1];

        for (const char *a = c->aliases; a && *a;) {
                size_t n = strcspn(a, ",");

                str_add(out, "    \"");
                path_text(&(Path){.v = {p->v[0], p->v[1]}, .n = p->n - 1}, " ", out);
                str_addf(out, " %.*s\") path=\"", (int)n, a);
                path_text(p, " ", out);
                str_add(out, "\" ;;\n");
                a += n + (a[n] == ',');
        }
}

static void value_flag(void *ctx, const Flag *f)
{
        if (f->type == FLAG_BOOL)
                return;
        str_addf(ctx, strlen(f->name) == 1 ? "|-%s" : "|--%s", f->name);
        if (f->alias)
                str_addf(ctx, "|-%s", f->alias);
}

static void value_flags(const Path *p, Str *out)
{
        command_each_flag(p->v[p->n - 1], value_flag, out);
}

void help_bash(const Command *root, Str *out)
{
        Path p = path_with((Path){}, root);
        Str values CLEANUP(str_done) = {};

        each_command(&p, &values, value_flags);
        str_add(out, "# bash completion for lighter; made by \"lighter gen bash\"\n"
                     "_lighter() {\n"
                     "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                     "  local path=lighter words='' flags='' what='' globals=() i=1 word\n"
                     "  while ((i < COMP_CWORD)); do\n"
                     "    word=${COMP_WORDS[i]}\n"
                     "    case $word in\n");
        str_addf(
                out,
                "    %s) [ \"$path\" = lighter ] && globals+=(\"$word\" \"${COMP_WORDS[i+1]}\"); ((i++)) ;;\n",
                str_get(&values) + 1);
        str_add(out, "    -*) ;;\n"
                     "    *) case \"$path $word\" in\n");
        each_command(&p, out, bash_alias);
        str_add(out, "    *) path=\"$path $word\" ;;\n"
                     "    esac ;;\n"
                     "    esac\n"
                     "    ((i++))\n"
                     "  done\n"
                     "  case $path in\n");
        each_command(&p, out, bash_case);
        str_add(out,
                "  *) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
                "  esac\n"
                "  case $what in\n"
                "    image) words+=\" $(lighter \"${globals[@]}\" images ls -q 2>/dev/null)\" ;;\n"
                "    container) words+=\" $(lighter \"${globals[@]}\" containers ls -q 2>/dev/null)\" ;;\n"
                "    content) words+=\" $(lighter \"${globals[@]}\" content ls -q 2>/dev/null)\" ;;\n"
                "    namespace) words+=\" $(lighter \"${globals[@]}\" namespaces ls -q 2>/dev/null)\" ;;\n"
                "    lease) words+=\" $(lighter \"${globals[@]}\" leases ls -q 2>/dev/null)\" ;;\n"
                "    snapshot) words+=\" $(lighter \"${globals[@]}\" snapshots ls 2>/dev/null | awk 'NR>1{print $1}')\" ;;\n"
                "  esac\n"
                "  if [[ $cur == -* ]]; then words=$flags; fi\n"
                "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                "  if [ -z \"$words\" ] || [ \"$what\" = file ]; then COMPREPLY+=($(compgen -f -- \"$cur\")); fi\n"
                "}\n"
                "complete -o nosort -F _lighter lighter\n");
}

/* zsh and fish describe each word; both take the table as lists "word:help". */
static void zsh_quoted(Str *out, const char *name, const char *help)
{
        str_addf(out, " '%s:", name);
        for (const char *s = help; *s; s++)
                str_addf(out, *s == '\'' ? "'\\''" : *s == ':' ? "\\:" : "%c", *s);
        str_add_char(out, '\'');
}

static void zsh_flag(void *ctx, const Flag *f)
{
        char name[80];

        snprintf(name, sizeof(name), strlen(f->name) == 1 ? "-%s" : "--%s", f->name);
        zsh_quoted(ctx, name, f->help);
}

static void zsh_case(const Path *p, Str *out)
{
        const Command *c = p->v[p->n - 1];

        str_add(out, "    \"");
        path_text(p, " ", out);
        str_add(out, "\") commands=(");
        for (const Command *s = c->subs; s && s->name; s++)
                if (!s->hidden)
                        zsh_quoted(out, s->name, s->help);
        str_add(out, ") flags=(");
        command_each_flag(c, zsh_flag, out);
        str_add(out, ") ;;\n");
}

void help_zsh(const Command *root, Str *out)
{
        Path p = path_with((Path){}, root);

        str_add(out, "#compdef lighter\n# made by \"lighter gen zsh\"\n"
                     "_lighter() {\n"
                     "  local path=lighter word\n"
                     "  local -a commands flags\n"
                     "  for word in ${words[2,CURRENT-1]}; do\n"
                     "    case \"$path $word\" in\n");
        each_command(&p, out, bash_alias);
        str_add(out, "    *\\ -*) ;;\n"
                     "    *) path=\"$path $word\" ;;\n"
                     "    esac\n"
                     "  done\n"
                     "  case $path in\n");
        each_command(&p, out, zsh_case);
        str_add(out,
                "  esac\n"
                "  (( $#commands )) && _describe command commands\n"
                "  if [[ $words[CURRENT] == -* ]]; then _describe flag flags; else _files; fi\n"
                "}\n"
                "_lighter \"$@\"\n");
}

typedef struct Fish {
        Str *out;
        const char *condition;
} Fish;

static void fish_text(Str *out, const char *text)
{
        str_add_char(out, '\'');
        for (const char *s = text; *s; s++)
                str_addf(out, *s == '\'' ? "\\'" : "%c", *s);
        str_add_char(out, '\'');
}

static void fish_flag(void *ctx, const Flag *f)
{
        Fish *fish = ctx;

        str_addf(fish->out, "complete -c lighter -n '%s' %s %s", fish->condition,
                 strlen(f->name) == 1 ? "-s" : "-l", f->name);
        if (f->alias)
                str_addf(fish->out, " -s %s", f->alias);
        if (f->type != FLAG_BOOL)
                str_add(fish->out, " -r");
        str_add(fish->out, " -d ");
        fish_text(fish->out, f->help);
        str_add_char(fish->out, '\n');
}

static void fish_command(const Path *p, Str *out)
{
        const Command *c = p->v[p->n - 1];
        Str cond CLEANUP(str_done) = {};

        if (p->n == 1)
                str_add(&cond, "__fish_use_subcommand");
        for (size_t i = 1; i < p->n; i++)
                str_addf(&cond, "%s__fish_seen_subcommand_from %s", i > 1 ? "; and " : "",
                         p->v[i]->name);
        if (p->n > 1 && c->subs) {
                str_add(&cond, "; and not __fish_seen_subcommand_from");
                for (const Command *s = c->subs; s->name; s++)
                        str_addf(&cond, " %s", s->name);
        }
        for (const Command *s = c->subs; s && s->name; s++) {
                if (s->hidden)
                        continue;
                str_addf(out, "complete -c lighter -f -n '%s' -a %s -d ", str_get(&cond), s->name);
                fish_text(out, s->help);
                str_add_char(out, '\n');
        }
        command_each_flag(c, fish_flag, &(Fish){.out = out, .condition = str_get(&cond)});
}

void help_fish(const Command *root, Str *out)
{
        Path p = path_with((Path){}, root);

        str_add(out, "# made by \"lighter gen fish\"\n");
        each_command(&p, out, fish_command);
}
