/* SPDX-License-Identifier: BSD-3-Clause */
/* The device's side of a ring, for each layout. Each buffer is one descriptor. */
#include "gdev.h"

#define AVAIL ((uint16_t)(1u << VRING_PACKED_DESC_F_AVAIL))
#define USED  ((uint16_t)(1u << VRING_PACKED_DESC_F_USED))

/* ---- split ---- */

static uint32_t avail_bytes(uint32_t size)
{
	return 6 + 2 * size;
}

static uint32_t used_bytes(uint32_t size)
{
	return 6 + 8 * size;
}

static bool split_posted(const struct gring *r, unsigned n)
{
	return (uint16_t)(shm_load_acquire16(&r->avail->idx) - r->last_avail) >= n;
}

static uint16_t split_take(struct gring *r)
{
	return r->avail->ring[r->last_avail++ % r->size];
}

static const struct vring_desc *split_buf(const struct gring *r, uint16_t id)
{
	return &r->desc[id];
}

static struct vring_used_elem *next_used(const struct gring *r)
{
	return &r->used->ring[r->used_idx % r->size];
}

static void split_used(struct gring *r, uint32_t id, uint32_t len)
{
	shm_store32(&next_used(r)->id, id);
	shm_store32(&next_used(r)->len, len);
	r->used_idx++;
}

static void split_show(struct gring *r)
{
	shm_store_release16(&r->used->idx, r->used_idx);
}

static uint32_t *split_len_word(struct gring *r)
{
	return &next_used(r)->len;
}

static uint32_t *split_id_word(struct gring *r)
{
	return &next_used(r)->id;
}

static uint32_t split_id_value(const struct gring *r, uint32_t id)
{
	(void)r;
	return id;
}

const struct gdev_layout gdev_split = {
	.prefix = "",
	.driver_bytes = avail_bytes,
	.device_bytes = used_bytes,
	.posted = split_posted,
	.take = split_take,
	.buf = split_buf,
	.used = split_used,
	.show = split_show,
	.len_word = split_len_word,
	.id_word = split_id_word,
	.id_value = split_id_value,
};

/* ---- packed ---- */

static uint32_t event_bytes(uint32_t size)
{
	(void)size;
	return sizeof(struct vring_packed_desc_event);
}

static struct vring_packed_desc *place(const struct gring *r, uint16_t n)
{
	return (struct vring_packed_desc *)(void *)r->desc + n % r->size;
}

uint16_t dev_marks(const struct gring *r, uint16_t n, bool used)
{
	bool wrap = !(n & r->size);

	if (used)
		return wrap ? AVAIL | USED : 0;
	return wrap ? AVAIL : USED;
}

static uint64_t word(uint16_t id, uint32_t len, uint16_t flags)
{
	return (uint64_t)flags << 48 | (uint64_t)id << 32 | len;
}

void dev_place(struct gring *r, uint16_t n, uint16_t id, uint32_t len, uint16_t flags)
{
	shm_store_release64((uint64_t *)(void *)&place(r, n)->len, word(id, len, flags));
}

static bool packed_posted(const struct gring *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(r->last_avail + i);
		uint64_t w = shm_load_acquire64((uint64_t *)(void *)&place(r, at)->len);

		if ((w >> 48 & (AVAIL | USED)) != dev_marks(r, at, false))
			return false;
	}
	return true;
}

static uint16_t packed_take(struct gring *r)
{
	const struct vring_packed_desc *d = place(r, r->last_avail++);

	assert_in_range(d->id, 0, G_N - 1);
	r->buf[d->id] = (struct vring_desc){.addr = d->addr, .len = d->len, .flags = d->flags};
	return d->id;
}

static const struct vring_desc *packed_buf(const struct gring *r, uint16_t id)
{
	return &r->buf[id];
}

static void packed_used(struct gring *r, uint32_t id, uint32_t len)
{
	uint16_t flags = dev_marks(r, r->used_idx, true) | (len ? VRING_DESC_F_WRITE : 0);

	if (r->held) {
		dev_place(r, r->used_idx, (uint16_t)id, len, flags);
	} else {
		r->held = true;
		r->first_at = r->used_idx;
		r->first = word((uint16_t)id, len, flags);
	}
	r->used_idx++;
}

static void packed_show(struct gring *r)
{
	if (r->held)
		shm_store_release64((uint64_t *)(void *)&place(r, r->first_at)->len, r->first);
	r->held = false;
}

static uint32_t *packed_len_word(struct gring *r)
{
	return (uint32_t *)(void *)&place(r, r->used_idx)->len;
}

static uint32_t *packed_id_word(struct gring *r)
{
	return (uint32_t *)(void *)&place(r, r->used_idx)->id;
}

static uint32_t packed_id_value(const struct gring *r, uint32_t id)
{
	return (uint32_t)(dev_marks(r, r->used_idx, true) | VRING_DESC_F_WRITE) << 16 |
	       (uint16_t)id;
}

const struct gdev_layout gdev_packed = {
	.prefix = "packed: ",
	.feature = 1ull << 34,
	.opts = ZV_OPT_PACKED,
	.driver_bytes = event_bytes,
	.device_bytes = event_bytes,
	.posted = packed_posted,
	.take = packed_take,
	.buf = packed_buf,
	.used = packed_used,
	.show = packed_show,
	.len_word = packed_len_word,
	.id_word = packed_id_word,
	.id_value = packed_id_value,
};
