/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thompson's construction: the expression becomes a tree, the tree a program of four kinds of
 * steps, and a search keeps the set of all steps the program could be at, moving it on by one
 * character at a time. No step is in the set twice, so a character costs at most the length of the
 * program; nothing backtracks. https://swtch.com/~rsc/regexp/regexp2.html
 *
 * Repetition with counts is written out in the program, whose length is limited; nesting is limited
 * too, so that recursion over the tree is.
 */
#include "db/regex.h"

#include "base/arena.h"
#include "base/cancel.h"
#include "base/mem.h"
#include "base/vec.h"
#include "db/utf8_priv.h"

enum { DEPTH_MAX = 200, REPEAT_MAX = 1000, CLASS_MAX = 1000, ASK_EVERY = 256 /* characters */ };

typedef struct Range {
        int32_t lo, hi;
} Range;

typedef struct Set {
        Range *v;
        int n, negated;
} Set;

typedef enum NodeType { NODE_SET, NODE_CAT, NODE_ALT, NODE_REPEAT, NODE_ASSERT } NodeType;

typedef enum Assertion {
        TEXT_BEGIN,
        TEXT_END,
        LINE_BEGIN,
        LINE_END,
        WORD_EDGE,
        NO_WORD_EDGE
} Assertion;

typedef struct Node {
        NodeType type;
        struct Node *first, *last, *next; /* children, siblings */
        int min, max;                     /* repeat; max -1: no end */
        Set set;
        Assertion assertion;
} Node;

typedef enum OpCode { OP_SET, OP_SPLIT, OP_ASSERT, OP_MATCH } OpCode;

typedef struct Op {
        OpCode code;
        int x, y; /* where to go on; y of a split */
        Set set;
        Assertion assertion;
} Op;

struct Regex {
        Arena arena;
        VEC(Op) prog;
        int start;
};

enum { FLAG_FOLD = 1, FLAG_MULTI = 2, FLAG_DOTALL = 4 };

typedef struct Parser {
        Arena *arena;
        const char *p;
        int flags, depth;
        Range ranges[CLASS_MAX]; /* of the class being read */
        int n_ranges;
} Parser;

/* ---- classes ---- */

static const Range digit[] = {{'0', '9'}}, space[] = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}},
                   word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};

static const struct {
        const char *name;
        Range v[4];
        int n;
} posix[] = {
        {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}, 3},
        {"alpha", {{'A', 'Z'}, {'a', 'z'}}, 2},
        {"ascii", {{0, 0x7f}}, 1},
        {"blank", {{'\t', '\t'}, {' ', ' '}}, 2},
        {"cntrl", {{0, 0x1f}, {0x7f, 0x7f}}, 2},
        {"digit", {{'0', '9'}}, 1},
        {"graph", {{'!', '~'}}, 1},
        {"lower", {{'a', 'z'}}, 1},
        {"print", {{' ', '~'}}, 1},
        {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}, 4},
        {"space", {{'\t', '\r'}, {' ', ' '}}, 2},
        {"upper", {{'A', 'Z'}}, 1},
        {"word", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}}, 4},
        {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, 3},
};

static int add_range(Parser *ps, int32_t lo, int32_t hi)
{
        int32_t a, b;

        if (ps->n_ranges + 3 > CLASS_MAX)
                return -1;
        ps->ranges[ps->n_ranges++] = (Range){lo, hi};
        if (!(ps->flags & FLAG_FOLD))
                return 0;
        a = MAX(lo, 'a'), b = MIN(hi, 'z');
        if (a <= b)
                ps->ranges[ps->n_ranges++] = (Range){a - 32, b - 32};
        a = MAX(lo, 'A'), b = MIN(hi, 'Z');
        if (a <= b)
                ps->ranges[ps->n_ranges++] = (Range){a + 32, b + 32};
        return 0;
}

/* The ranges or, for the upper-case escapes, what lies between them (they are in order). */
static int add_ranges(Parser *ps, const Range *v, int n, int negated)
{
        int32_t lo = 0;

        for (int i = 0; i < n; i++) {
                if (!negated && add_range(ps, v[i].lo, v[i].hi) < 0)
                        return -1;
                if (negated && lo < v[i].lo && add_range(ps, lo, v[i].lo - 1) < 0)
                        return -1;
                lo = v[i].hi + 1;
        }
        return negated ? add_range(ps, lo, RUNE_MAX) : 0;
}

/* \d \s \w and their opposites: 1 taken, 0 another letter, -1. */
static int class_escape(Parser *ps, char c)
{
        switch (c | 0x20) {
        case 'd':
                return add_ranges(ps, digit, ARRAY_LEN(digit), c == 'D') < 0 ? -1 : 1;
        case 's':
                return add_ranges(ps, space, ARRAY_LEN(space), c == 'S') < 0 ? -1 : 1;
        case 'w':
                return add_ranges(ps, word, ARRAY_LEN(word), c == 'W') < 0 ? -1 : 1;
        default:
                return 0;
        }
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int32_t hex_escape(Parser *ps)
{
        int32_t r = 0;
        int n = 0;

        if (*ps->p != '{') {
                for (; n < 2 && hex_digit(*ps->p) >= 0; n++)
                        r = r * 16 + hex_digit(*ps->p++);
                return n == 2 ? r : -1;
        }
        for (ps->p++; hex_digit(*ps->p) >= 0 && r <= RUNE_MAX; n++)
                r = r * 16 + hex_digit(*ps->p++);
        return *ps->p++ == '}' && n > 0 && r <= RUNE_MAX ? r : -1;
}

/* After the backslash: one character, or -1. */
static int32_t char_escape(Parser *ps)
{
        static const char from[] = "afnrtv", to[] = "\a\f\n\r\t\v";
        char c = *ps->p;
        const char *at;
        int32_t r = 0;

        if (c == '\0')
                return -1;
        if (!(c & 0x80) && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ", c)) {
                ps->p++;
                return c;
        }
        at = strchr(from, c);
        if (at) {
                ps->p++;
                return to[at - from];
        }
        if (c == 'x') {
                ps->p++;
                return hex_escape(ps);
        }
        /* \1 alone would be a back reference, which there are none of */
        if (c == '0' || (c >= '1' && c <= '7' && ps->p[1] >= '0' && ps->p[1] <= '7')) {
                for (int i = 0; i < 3 && *ps->p >= '0' && *ps->p <= '7'; i++)
                        r = r * 8 + *ps->p++ - '0';
                return r;
        }
        return -1;
}

static int posix_class(Parser *ps)
{
        const char *name = ps->p + 2, *end = strstr(name, ":]");
        int negated = *name == '^';

        if (!end)
                return -1;
        name += negated;
        for (size_t i = 0; i < ARRAY_LEN(posix); i++) {
                if (strlen(posix[i].name) != (size_t)(end - name) ||
                    strncmp(posix[i].name, name, (size_t)(end - name)) != 0)
                        continue;
                ps->p = end + 2;
                return add_ranges(ps, posix[i].v, posix[i].n, negated);
        }
        return -1;
}

static int32_t class_char(Parser *ps)
{
        int32_t r;
        int n;

        if (*ps->p == '\0')
                return -1;
        if (*ps->p == '\\') {
                ps->p++;
                return char_escape(ps);
        }
        r = utf8_next(ps->p, &n);
        ps->p += n;
        return r;
}

/* One member of a bracketed class. */
static int class_item(Parser *ps)
{
        int32_t lo, hi;
        int r;

        if (ps->p[0] == '[' && ps->p[1] == ':')
                return posix_class(ps);
        if (ps->p[0] == '\\') {
                r = class_escape(ps, ps->p[1]);
                if (r != 0) {
                        ps->p += 2;
                        return r < 0 ? -1 : 0;
                }
        }
        lo = hi = class_char(ps);
        if (lo >= 0 && ps->p[0] == '-' && ps->p[1] != ']' && ps->p[1] != '\0') {
                ps->p++;
                hi = class_char(ps);
        }
        return lo < 0 || hi < lo ? -1 : add_range(ps, lo, hi);
}

/* ---- the tree ---- */

static Node *node_new(Parser *ps, NodeType type)
{
        Node *n = arena_new(ps->arena, Node);

        n->type = type;
        return n;
}

static void node_add(Node *parent, Node *child)
{
        if (parent->last)
                parent->last->next = child;
        else
                parent->first = child;
        parent->last = child;
}

static int by_begin(const void *a, const void *b)
{
        const Range *x = a, *y = b;

        return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* The class that was read, its ranges in order and apart, so that looking one up is quick. */
static Node *set_node(Parser *ps, int negated)
{
        Node *n = node_new(ps, NODE_SET);
        Range *v = ps->ranges;
        int out = 0;

        qsort(v, (size_t)ps->n_ranges, sizeof(*v), by_begin);
        for (int i = 1; i < ps->n_ranges; i++) {
                if (v[i].lo > v[out].hi + 1)
                        v[++out] = v[i];
                else
                        v[out].hi = MAX(v[out].hi, v[i].hi);
        }
        n->set.n = ps->n_ranges > 0 ? out + 1 : 0;
        n->set.v = arena_memdup(ps->arena, v, sizeof(Range) * (size_t)n->set.n);
        n->set.negated = negated;
        ps->n_ranges = 0;
        return n;
}

static Node *char_node(Parser *ps, int32_t r)
{
        add_range(ps, r, r);
        return set_node(ps, 0);
}

static Node *assert_node(Parser *ps, Assertion a)
{
        Node *n = node_new(ps, NODE_ASSERT);

        n->assertion = a;
        return n;
}

static Node *parse_alternatives(Parser *ps);

static Node *parse_class(Parser *ps)
{
        int negated = 0;

        ps->p++;
        if (*ps->p == '^') {
                negated = 1;
                ps->p++;
        }
        do {
                if (class_item(ps) < 0)
                        return NULL;
        } while (*ps->p != ']');
        ps->p++;
        return set_node(ps, negated);
}

static Node *parse_escape(Parser *ps)
{
        int32_t c;
        int r;

        ps->p++;
        switch (*ps->p) {
        case 'A':
        case 'z':
        case 'b':
        case 'B':
                c = (unsigned char)*ps->p++;
                return assert_node(ps, c == 'A'   ? TEXT_BEGIN
                                       : c == 'z' ? TEXT_END
                                       : c == 'b' ? WORD_EDGE
                                                  : NO_WORD_EDGE);
        default:
                break;
        }
        r = class_escape(ps, *ps->p);
        if (r != 0) {
                ps->p++;
                return r < 0 ? NULL : set_node(ps, 0);
        }
        c = char_escape(ps);
        return c < 0 ? NULL : char_node(ps, c);
}

/* After "(?": flags, then ")" for the rest of the group we are in (*ret_group 0) or ":" for a
 * group. Or a name. */
static int parse_group_head(Parser *ps, int *ret_group)
{
        int flags = ps->flags, on = 1, bit;

        *ret_group = 1;
        if ((ps->p[0] == 'P' && ps->p[1] == '<') || ps->p[0] == '<') {
                ps->p += ps->p[0] == 'P' ? 2 : 1;
                if (*ps->p == '>')
                        return -1;
                while (hex_digit(*ps->p) >= 0 || *ps->p == '_' ||
                       ((*ps->p | 0x20) >= 'a' && (*ps->p | 0x20) <= 'z'))
                        ps->p++;
                return *ps->p++ == '>' ? 0 : -1;
        }
        for (;; ps->p++) {
                switch (*ps->p) {
                case 'i':
                        bit = FLAG_FOLD;
                        break;
                case 'm':
                        bit = FLAG_MULTI;
                        break;
                case 's':
                        bit = FLAG_DOTALL;
                        break;
                case 'U': /* which of several matches: all the same to us */
                        continue;
                case '-':
                        if (!on)
                                return -1;
                        on = 0;
                        continue;
                case ':':
                case ')':
                        *ret_group = *ps->p == ':';
                        ps->p++;
                        ps->flags = flags;
                        return 0;
                default:
                        return -1;
                }
                flags = on ? flags | bit : flags & ~bit;
        }
}

static Node *parse_group(Parser *ps)
{
        int outside = ps->flags, group = 1;
        Node *n;

        ps->p++;
        if (*ps->p == '?') {
                ps->p++;
                if (parse_group_head(ps, &group) < 0)
                        return NULL;
                if (!group)
                        return node_new(ps, NODE_CAT);
        }
        if (++ps->depth > DEPTH_MAX)
                return NULL;
        n = parse_alternatives(ps);
        ps->depth--;
        if (!n || *ps->p != ')')
                return NULL;
        ps->p++;
        ps->flags = outside;
        return n;
}

static Node *parse_literal(Parser *ps)
{
        int n;
        int32_t r = utf8_next(ps->p, &n);

        ps->p += n;
        return char_node(ps, r);
}

static Node *parse_atom(Parser *ps)
{
        switch (*ps->p) {
        case '(':
                return parse_group(ps);
        case '[':
                return parse_class(ps);
        case '\\':
                return parse_escape(ps);
        case '*':
        case '+':
        case '?':
                return NULL; /* nothing to repeat */
        case '.':
                ps->p++;
                if (!(ps->flags & FLAG_DOTALL))
                        ps->ranges[ps->n_ranges++] = (Range){'\n', '\n'};
                return set_node(ps, 1);
        case '^':
                ps->p++;
                return assert_node(ps, ps->flags & FLAG_MULTI ? LINE_BEGIN : TEXT_BEGIN);
        case '$':
                ps->p++;
                return assert_node(ps, ps->flags & FLAG_MULTI ? LINE_END : TEXT_END);
        default:
                return parse_literal(ps);
        }
}

static int parse_count(const char **p, int *ret)
{
        int n = 0;

        if (**p < '0' || **p > '9')
                return 0;
        for (; **p >= '0' && **p <= '9'; (*p)++)
                n = MIN(n * 10 + **p - '0', REPEAT_MAX + 1);
        *ret = n;
        return 1;
}

/* "{n}", "{n,}", "{n,m}": 1. Anything else after "{" is text: 0. */
static int parse_braces(Parser *ps, int *min, int *max)
{
        const char *p = ps->p + 1;

        if (!parse_count(&p, min))
                return 0;
        *max = *min;
        if (*p == ',') {
                p++;
                if (!parse_count(&p, max))
                        *max = -1;
        }
        if (*p != '}')
                return 0;
        ps->p = p + 1;
        return 1;
}

/* An operator of repetition, with the "?" that makes it lazy: 1, none: 0, or -1. */
static int parse_repeat(Parser *ps, int *min, int *max)
{
        switch (*ps->p) {
        case '*':
                *min = 0, *max = -1;
                break;
        case '+':
                *min = 1, *max = -1;
                break;
        case '?':
                *min = 0, *max = 1;
                break;
        case '{':
                if (!parse_braces(ps, min, max))
                        return 0;
                ps->p--;
                break;
        default:
                return 0;
        }
        ps->p++;
        if (*ps->p == '?')
                ps->p++;
        return *min > REPEAT_MAX || *max > REPEAT_MAX || (*max >= 0 && *max < *min) ? -1 : 1;
}

static Node *parse_cat(Parser *ps)
{
        Node *cat = node_new(ps, NODE_CAT), *n, *rep;
        int min, max, r, quoted = 0; /* between \Q and \E */

        while (*ps->p != '\0' && (quoted || (*ps->p != '|' && *ps->p != ')'))) {
                if (ps->p[0] == '\\' && ps->p[1] == (quoted ? 'E' : 'Q')) {
                        ps->p += 2;
                        quoted = !quoted;
                        continue;
                }
                n = quoted ? parse_literal(ps) : parse_atom(ps);
                if (!n)
                        return NULL;
                if (quoted && ps->p[0] == '\\' && ps->p[1] == 'E') {
                        ps->p += 2; /* an operator after it repeats the last character */
                        quoted = 0;
                }
                r = quoted ? 0 : parse_repeat(ps, &min, &max);
                if (r < 0)
                        return NULL;
                if (r == 0) {
                        node_add(cat, n);
                        continue;
                }
                rep = node_new(ps, NODE_REPEAT);
                rep->min = min;
                rep->max = max;
                rep->first = n;
                node_add(cat, rep);
                if (parse_repeat(ps, &min, &max) != 0) /* "a**" */
                        return NULL;
        }
        return cat;
}

static Node *parse_alternatives(Parser *ps)
{
        Node *alt = node_new(ps, NODE_ALT), *n;

        for (;;) {
                n = parse_cat(ps);
                if (!n)
                        return NULL;
                node_add(alt, n);
                if (*ps->p != '|')
                        return alt;
                ps->p++;
        }
}

/* ---- the program, written backwards: emit(n, next) gives the step where n begins, going on to
 * next ---- */

typedef struct Emitter {
        Regex *re;
        int work; /* visits to nodes: bounds what emits nothing, "(){1000}" nested */
} Emitter;

static int op_add(Emitter *em, Op op)
{
        if (em->re->prog.n >= REGEX_PROGRAM_MAX)
                return -1;
        VEC_PUSH(&em->re->prog, op);
        return (int)em->re->prog.n - 1;
}

static int emit(Emitter *em, const Node *n, int next);

/* Children are linked forwards and emitted from the last to the first. */
static int emit_cat(Emitter *em, const Node *n, int next)
{
        VEC(const Node *) kids = {};

        for (const Node *k = n->first; k; k = k->next)
                VEC_PUSH(&kids, k);
        while (kids.n > 0 && next >= 0)
                next = emit(em, VEC_POP(&kids), next);
        VEC_DONE(&kids);
        return next;
}

static int emit_alt(Emitter *em, const Node *n, int next)
{
        int at = -1, begin;

        for (const Node *k = n->first; k; k = k->next) {
                begin = emit(em, k, next);
                if (begin < 0)
                        return -1;
                at = at < 0 ? begin : op_add(em, (Op){.code = OP_SPLIT, .x = begin, .y = at});
                if (at < 0)
                        return -1;
        }
        return at;
}

static int emit_repeat(Emitter *em, const Node *n, int next)
{
        int loop, body;

        if (n->max < 0) {
                loop = op_add(em, (Op){.code = OP_SPLIT, .y = next});
                body = loop < 0 ? -1 : emit(em, n->first, loop);
                if (body < 0)
                        return -1;
                em->re->prog.v[loop].x = body;
                next = loop;
        }
        for (int i = n->min; i < n->max; i++) {
                body = emit(em, n->first, next);
                /* leaving early goes to the next of these, which may leave in turn: the same
                 * language */
                next = body < 0 ? -1 : op_add(em, (Op){.code = OP_SPLIT, .x = body, .y = next});
                if (next < 0)
                        return -1;
        }
        for (int i = 0; i < n->min && next >= 0; i++)
                next = emit(em, n->first, next);
        return next;
}

static int emit(Emitter *em, const Node *n, int next)
{
        if (++em->work > 20 * REGEX_PROGRAM_MAX)
                return -1;
        switch (n->type) {
        case NODE_SET:
                return op_add(em, (Op){.code = OP_SET, .x = next, .set = n->set});
        case NODE_ASSERT:
                return op_add(em, (Op){.code = OP_ASSERT, .x = next, .assertion = n->assertion});
        case NODE_CAT:
                return emit_cat(em, n, next);
        case NODE_ALT:
                return emit_alt(em, n, next);
        case NODE_REPEAT:
                return emit_repeat(em, n, next);
        }
        return -1;
}

int regex_compile(const char *expr, Regex **ret)
{
        Regex *re CLEANUP(regex_freep) = mem_new(Regex);
        Parser *ps CLEANUP(cleanup_free) = mem_new(Parser);
        Emitter em = {.re = re};
        Node *tree;
        int match;

        arena_init(&re->arena, SIZE_MAX);
        ps->arena = &re->arena;
        ps->p = expr;
        tree = parse_alternatives(ps);
        if (!tree || *ps->p != '\0')
                return -1;
        match = op_add(&em, (Op){.code = OP_MATCH});
        re->start = emit(&em, tree, match);
        if (re->start < 0)
                return -1;
        *ret = TAKE(re);
        return 0;
}

Regex *regex_free(Regex *re)
{
        if (!re)
                return NULL;
        VEC_DONE(&re->prog);
        arena_done(&re->arena);
        free(re);
        return NULL;
}

/* ---- the search ---- */

/* Steps without order and without doubles: in[i] says whether i is there if at[in[i]] agrees. */
typedef struct Steps {
        int *at, *in;
        int n;
} Steps;

static int steps_add(Steps *s, int step)
{
        if (s->in[step] < s->n && s->at[s->in[step]] == step)
                return 0;
        s->in[step] = s->n;
        s->at[s->n++] = step;
        return 1;
}

static int is_word(int32_t c)
{
        return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
               (c >= 'A' && c <= 'Z');
}

/* before and after are the characters around the position, -1 at the ends of the text. */
static int holds(Assertion a, int32_t before, int32_t after)
{
        switch (a) {
        case TEXT_BEGIN:
                return before < 0;
        case TEXT_END:
                return after < 0;
        case LINE_BEGIN:
                return before < 0 || before == '\n';
        case LINE_END:
                return after < 0 || after == '\n';
        case WORD_EDGE:
                return is_word(before) != is_word(after);
        case NO_WORD_EDGE:
                return is_word(before) == is_word(after);
        }
        return 0;
}

static int in_set(const Set *s, int32_t c)
{
        int lo = 0, hi = s->n, mid;

        while (lo < hi) {
                mid = (lo + hi) / 2;
                if (c > s->v[mid].hi)
                        lo = mid + 1;
                else if (c < s->v[mid].lo)
                        hi = mid;
                else
                        return !s->negated;
        }
        return s->negated;
}

/* Adds a step and all it leads to without a character. 1 when the match is among them. The set
 * itself is the list of what is still to be followed. */
static int follow(const Regex *re, Steps *s, int from, int32_t before, int32_t after)
{
        int todo = s->n;

        steps_add(s, from);
        for (; todo < s->n; todo++) {
                const Op *op = &re->prog.v[s->at[todo]];

                if (op->code == OP_MATCH)
                        return 1;
                if (op->code == OP_SPLIT) {
                        steps_add(s, op->x);
                        steps_add(s, op->y);
                } else if (op->code == OP_ASSERT && holds(op->assertion, before, after)) {
                        steps_add(s, op->x);
                }
        }
        return 0;
}

int regex_size(const Regex *re)
{
        return (int)re->prog.n;
}

int regex_search(const Regex *re, const char *text)
{
        size_t n = re->prog.n;
        int *memory CLEANUP(cleanup_free) = mem_alloc(4 * n * sizeof(int));
        Steps now = {memory, memory + n, 0}, next = {memory + 2 * n, memory + 3 * n, 0}, swap;
        int32_t before = -1, c, after;
        int len, len_after;
        unsigned chars = 0;

        c = *text ? utf8_next(text, &len) : -1;
        for (;;) {
                if (follow(re, &now, re->start, before, c)) /* a match may begin here */
                        return 1;
                if (c < 0 || (++chars % ASK_EVERY == 0 && cancel_requested()))
                        return 0;
                text += len;
                after = *text ? utf8_next(text, &len_after) : -1;
                next.n = 0;
                for (int i = 0; i < now.n; i++) {
                        const Op *op = &re->prog.v[now.at[i]];

                        if (op->code == OP_SET && in_set(&op->set, c) &&
                            follow(re, &next, op->x, c, after))
                                return 1;
                }
                swap = now, now = next, next = swap;
                before = c;
                c = after;
                len = len_after;
        }
}
