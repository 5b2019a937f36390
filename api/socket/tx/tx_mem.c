/* SPDX-License-Identifier: BSD-3-Clause */
#include "tx_mem.h"

#include <stdlib.h>

uint32_t mem_send_new(struct zv_queue *q)
{
	struct mem_sends *m = &q->mem;
	uint32_t i;

	if (m->free == LOAN_NONE) {
		uint32_t size = m->size ? m->size * 2 : 64;
		struct mem_send *s = realloc(m->s, (size_t)size * sizeof(*s));

		if (!s)
			return LOAN_NONE;
		m->s = s;
		for (i = m->size; i < size; i++)
			s[i].next = i + 1 < size ? i + 1 : LOAN_NONE;
		m->free = m->size;
		m->size = size;
	}
	i = m->free;
	m->free = m->s[i].next;
	m->s[i] = (struct mem_send){.next = LOAN_NONE};
	return i;
}

void mem_send_drop(struct zv_queue *q, uint32_t record)
{
	q->mem.s[record].next = q->mem.free;
	q->mem.free = record;
}

static void is_over(struct zv_queue *q, uint32_t record)
{
	struct mem_sends *m = &q->mem;

	m->s[record].next = LOAN_NONE;
	if (m->first == LOAN_NONE)
		m->first = record;
	else
		m->s[m->last].next = record;
	m->last = record;
}

void mem_send_begin(struct zv_queue *q, uint32_t record, const struct mem_send *of)
{
	struct mem_send *s = &q->mem.s[record];

	s->mem = of->mem;
	s->user = of->user;
	s->len = of->len;
	s->flags = of->flags;
	(void)__atomic_add_fetch(&s->mem->busy, 1, __ATOMIC_RELAXED);
	if (!s->pieces)
		is_over(q, record);
}

bool mem_send_take(struct zv_queue *q, struct mem_send *out)
{
	struct mem_sends *m = &q->mem;
	uint32_t i = m->first;

	if (i == LOAN_NONE)
		return false;
	*out = m->s[i];
	m->first = out->next;
	mem_send_drop(q, i);
	(void)__atomic_sub_fetch(&out->mem->busy, 1, __ATOMIC_RELEASE);
	return true;
}

void mem_sends_update(struct zv_queue *q)
{
	struct transport_sent *t = &q->tq->sent;

	while (t->head != t->tail) {
		const struct transport_sent_entry *e = &t->ring[t->head++ & t->mask];
		struct mem_send *s = &q->mem.s[e->cookie];

		q->mem.out--;
		if (e->err)
			s->err = e->err;
		/* If its call is still running, mem_send_begin() completes it. */
		if (--s->pieces == 0 && s->mem)
			is_over(q, e->cookie);
	}
}

void mem_sends_check(struct zv_queue *q)
{
	if (q->tq->up)
		(void)q->tq->ops->tx_ready(q->tq);
	mem_sends_update(q);
}

void tx_mem_commit(struct zv_conn *c, const struct tx_slot *s, const struct mem_part *part,
		   size_t done, uint32_t len, uint32_t flags)
{
	struct zv_queue *q = c->q;

	mem_sends_update(q); /* room for one more */
	q->mem.s[part->record].pieces++;
	q->mem.out++;
	tx_commit_mem(c, s, part->data + done, iova_add(part->at, done), len, flags, part->record);
}

void mem_sends_init(struct zv_queue *q)
{
	q->mem.free = q->mem.first = q->mem.last = LOAN_NONE;
}

void mem_sends_fini(struct zv_queue *q)
{
	free(q->mem.s);
}
