/* SPDX-License-Identifier: BSD-3-Clause */
/* Both ends of a channel in one process, and the shared part as a hostile peer sees it. */
#ifndef CHANNEL_PAIR_H
#define CHANNEL_PAIR_H

#include "channel_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAIR_ENTRIES 16u

struct pair {
	uint8_t *mem;
	size_t size;
	struct shm_channel_desc desc;
	struct channel_layout l;
	struct shm_channel *a, *b;
	int wakes_a, wakes_b; /* of the end that is named */
};

static inline int pair_wake(void *arg)
{
	++*(int *)arg;
	return 0;
}

static inline void pair_attach(struct pair *p)
{
	struct shm_channel_opts to_b = {.size = sizeof(to_b), .wake = pair_wake, .wake_fd = -1};
	struct shm_channel_opts to_a = to_b;

	to_b.wake_arg = &p->wakes_b;
	to_a.wake_arg = &p->wakes_a;
	assert_int_equal(shm_channel_format(p->mem, p->size, &p->desc), 0);
	assert_int_equal(shm_channel_attach(&p->a, p->mem, p->size, &p->desc, SHM_ROLE_A, &to_b),
			 0);
	assert_int_equal(shm_channel_attach(&p->b, p->mem, p->size, &p->desc, SHM_ROLE_B, &to_a),
			 0);
}

static inline int pair_setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	shm_channel_desc_init(&p->desc, SHM_CHANNEL_ALIGN, 7);
	for (int i = 0; i < 2; i++) {
		p->desc.dir[i].entries = PAIR_ENTRIES;
		p->desc.dir[i].cls[0] = (struct shm_slot_class){256, 3};
		p->desc.dir[i].cls[1] = (struct shm_slot_class){1024, 4};
	}
	p->desc.length = shm_channel_bytes(&p->desc);
	p->size = (size_t)(p->desc.offset + p->desc.length);
	p->mem = aligned_alloc(SHM_CHANNEL_ALIGN, p->size);
	memset(p->mem, 0x5a, p->size);
	assert_int_equal(channel_layout(&p->l, &p->desc), 0);
	pair_attach(p);
	*state = p;
	return 0;
}

static inline int pair_teardown(void **state)
{
	struct pair *p = *state;

	shm_channel_detach(p->a);
	shm_channel_detach(p->b);
	free(p->mem);
	free(p);
	return 0;
}

static inline struct channel_ctl *pair_ctl(struct pair *p, enum shm_role from)
{
	return (struct channel_ctl *)(p->mem + p->desc.offset + p->l.dir[from].ctl);
}

static inline uint64_t *pair_marks(struct pair *p, enum shm_role from)
{
	return (uint64_t *)(p->mem + p->desc.offset + p->l.dir[from].marks);
}

static inline uint64_t *pair_returns(struct pair *p, enum shm_role from)
{
	return (uint64_t *)(p->mem + p->desc.offset + p->l.dir[from].returns);
}

static inline struct channel_slot_ref *pair_ref(struct pair *p, enum shm_role from, uint32_t place)
{
	return (struct channel_slot_ref *)(p->mem + p->desc.offset + p->l.dir[from].lines +
					   (size_t)place * SHM_CACHE_LINE);
}

#endif
