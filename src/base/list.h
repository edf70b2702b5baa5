/* Intrusive doubly linked list. A struct list is both the head and the link: put one in the object,
 * recover the object with CONTAINER_OF. A head points at itself when empty; a link that is on no
 * list must have been initialised with list_init or be removed with list_del (which re-inits it),
 * so list_del is safe to repeat. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/bug.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert_between(struct list *l, struct list *prev, struct list *next)
{
	l->prev = prev;
	l->next = next;
	prev->next = l;
	next->prev = l;
}

static inline void list_push(struct list *head, struct list *l) /* at the end */
{
	list_insert_between(l, head->prev, head);
}

static inline void list_push_front(struct list *head, struct list *l)
{
	list_insert_between(l, head, head->next);
}

static inline void list_del(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

/* Takes the first link off, or returns NULL. */
static inline struct list *list_take(struct list *head)
{
	struct list *l = head->next;

	if (l == head)
		return NULL;
	list_del(l);
	return l;
}

/* list_each(struct list *l, &head) { ... }: the body must not remove l. */
#define list_each(it, head) for (it = (head)->next; it != (head); it = it->next)
/* The body may remove it. */
#define list_each_safe(it, tmp, head)                                                              \
	for (it = (head)->next, tmp = it->next; it != (head); it = tmp, tmp = it->next)
