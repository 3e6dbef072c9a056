/* SPDX-License-Identifier: Apache-2.0 */
/* An intrusive doubly linked list with a head node. A node that is in no list is {NULL, NULL}. */
#pragma once

#include "base/macros.h"

typedef struct List {
        struct List *prev, *next;
} List;

static inline void list_init(List *head)
{
        head->prev = head->next = head;
}

static inline int list_empty(const List *head)
{
        return head->next == head;
}

static inline int list_linked(const List *node)
{
        return node->next != NULL;
}

static inline void list_append(List *head, List *node)
{
        assert(!list_linked(node));
        node->prev = head->prev;
        node->next = head;
        head->prev->next = node;
        head->prev = node;
}

/* Does nothing for a node that is in no list. */
static inline void list_remove(List *node)
{
        if (!list_linked(node))
                return;
        node->prev->next = node->next;
        node->next->prev = node->prev;
        node->prev = node->next = NULL;
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* First element or NULL. */
#define LIST_FIRST(head, type, member) \
        (list_empty(head) ? NULL : LIST_ENTRY((head)->next, type, member))

/* The body may remove the current element, and no other. */
#define LIST_FOREACH(item, head, type, member)                                \
        for (type *item = LIST_ENTRY((head)->next, type, member),             \
                  *item##_next = LIST_ENTRY(item->member.next, type, member); \
             &item->member != (head);                                         \
             item = item##_next, item##_next = LIST_ENTRY(item->member.next, type, member))
