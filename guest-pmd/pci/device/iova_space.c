/* SPDX-License-Identifier: BSD-3-Clause */
#include "iova_space.h"

#include <stdbool.h>

static uint64_t aligned(uint64_t n)
{
	return (n + IOVA_ALIGN - 1) & ~(IOVA_ALIGN - 1);
}

void iova_space_range(struct iova_space *s, uint64_t start, uint64_t last)
{
	uint64_t first = aligned(start > IOVA_FIRST ? start : IOVA_FIRST);

	if (last < first || (s->next && s->next <= first))
		return;
	s->next = first;
	s->last = last;
}

uint64_t iova_space_alloc(struct iova_space *s, uint64_t len)
{
	uint64_t at = s->next;

	len = aligned(len);
	if (!len)
		return 0;
	for (struct iova_hole *h = s->holes; h < s->holes + IOVA_HOLES_MAX; h++)
		if (h->len >= len) {
			h->len -= len;
			return h->at + h->len;
		}
	if (!at || s->last - at < len)
		return 0;
	s->next += len;
	return at;
}

/* Merges an adjacent hole into *@at, *@len. False: there is none. */
static bool join(struct iova_space *s, uint64_t *at, uint64_t *len)
{
	for (struct iova_hole *h = s->holes; h < s->holes + IOVA_HOLES_MAX; h++) {
		if (!h->len || (h->at + h->len != *at && *at + *len != h->at))
			continue;
		*at = h->at < *at ? h->at : *at;
		*len += h->len;
		h->len = 0;
		return true;
	}
	return false;
}

void iova_space_free(struct iova_space *s, uint64_t at, uint64_t len)
{
	len = aligned(len);
	while (join(s, &at, &len))
		;
	if (at + len == s->next) {
		s->next = at;
		return;
	}
	for (struct iova_hole *h = s->holes; h < s->holes + IOVA_HOLES_MAX; h++)
		if (!h->len) {
			*h = (struct iova_hole){at, len};
			return;
		}
}
