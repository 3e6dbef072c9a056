/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toml++ behind a C face: no exceptions, no iostreams left in what it gives us. Its tree is copied
 * into ours at once and dropped. Nesting is limited by the library (256 levels).
 */
#define TOML_EXCEPTIONS            0
#define TOML_HEADER_ONLY           1
#define TOML_ENABLE_FORMATTERS     0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#define TOML_MAX_NESTED_VALUES     64
#include <toml++/toml.h>

#include "config/toml.h"

static const char *copy(Arena *a, std::string_view s)
{
        return static_cast<const char *>(arena_memdup(a, std::string(s).c_str(), s.size() + 1));
}

static TomlNode *convert(Arena *a, const toml::node &node, const char *file);

static void append(TomlNode *parent, TomlNode *&last, TomlNode *child)
{
        (last ? last->next : parent->first) = child;
        last = child;
}

static void convert_members(Arena *a, const toml::table &table, const char *file, TomlNode *out)
{
        TomlNode *last = nullptr;

        for (auto &&[key, value] : table) {
                TomlNode *child = convert(a, value, file);

                child->key = copy(a, key.str());
                child->row = static_cast<int>(key.source().begin.line);
                child->column = static_cast<int>(key.source().begin.column);
                append(out, last, child);
        }
}

static void convert_elements(Arena *a, const toml::array &array, const char *file, TomlNode *out)
{
        TomlNode *last = nullptr;

        for (auto &&value : array)
                append(out, last, convert(a, value, file));
}

static TomlNode *convert(Arena *a, const toml::node &node, const char *file)
{
        TomlNode *out = static_cast<TomlNode *>(arena_alloc(a, sizeof(TomlNode)));

        out->file = file;
        out->row = static_cast<int>(node.source().begin.line);
        out->column = static_cast<int>(node.source().begin.column);
        if (const toml::table *table = node.as_table()) {
                out->type = TOML_TABLE;
                convert_members(a, *table, file, out);
        } else if (const toml::array *array = node.as_array()) {
                out->type = TOML_ARRAY;
                convert_elements(a, *array, file, out);
        } else if (const auto *s = node.as_string()) {
                out->type = TOML_STRING;
                out->str = copy(a, s->get());
                out->num = static_cast<int64_t>(s->get().size()); /* so that a NUL inside shows */
        } else if (const auto *i = node.as_integer()) {
                out->type = TOML_INT;
                out->num = i->get();
        } else if (const auto *f = node.as_floating_point()) {
                out->type = TOML_FLOAT;
                out->real = f->get();
        } else if (const auto *b = node.as_boolean()) {
                out->type = TOML_BOOL;
                out->num = b->get();
        } else {
                out->type = TOML_TIME;
        }
        return out;
}

int toml_read(Arena *a, const char *text, size_t n, const char *file, TomlNode **ret, Err *err)
{
        toml::parse_result result = toml::parse(std::string_view(text, n));

        if (!result) {
                const toml::parse_error &e = result.error();

                return err_set(err, INVALID_ARGUMENT,
                               "failed to unmarshal TOML at row %d column %d: %.*s",
                               static_cast<int>(e.source().begin.line),
                               static_cast<int>(e.source().begin.column),
                               static_cast<int>(e.description().size()), e.description().data());
        }
        *ret = convert(a, result.table(), copy(a, file));
        return 0;
}
