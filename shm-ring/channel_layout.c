/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layout.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(struct shm_slot_class) == 8, "sent to other processes as it is");
_Static_assert(sizeof(struct shm_direction) == 8 + 8 * SHM_CLASSES_MAX, "no padding");
_Static_assert(sizeof(struct shm_channel_desc) == 24 + 2 * sizeof(struct shm_direction),
	       "no padding");

#define LINES ((uint64_t)2 * SHM_CACHE_LINE)

static uint64_t align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static unsigned log2_up(uint32_t n)
{
	return n <= 1 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

/* Each slot of @c is a number of slots of @sub, the next smaller class: a power of two. */
static bool nests(const struct shm_slot_class *sub, const struct shm_slot_class *c)
{
	uint32_t parts = c->slot_size / sub->slot_size;

	return c->slot_size % sub->slot_size == 0 && !(parts & (parts - 1)) &&
	       (uint64_t)c->slots * parts <= sub->slots;
}

static bool direction_valid(const struct shm_direction *d, bool nested, uint32_t *nslots)
{
	uint32_t last = 0;

	*nslots = 0;
	if (d->entries < SHM_ENTRIES_MIN || d->entries > SHM_ENTRIES_MAX ||
	    (d->entries & (d->entries - 1)) || d->classes > SHM_CLASSES_MAX)
		return false;
	for (uint32_t i = 0; i < d->classes; i++) {
		const struct shm_slot_class *c = &d->cls[i];

		if (c->slot_size <= last || c->slot_size > SHM_SLOT_MAX ||
		    c->slot_size % SHM_CACHE_LINE || !c->slots ||
		    c->slots > SHM_SLOTS_MAX - *nslots)
			return false;
		if (nested && i && !nests(c - 1, c))
			return false;
		last = c->slot_size;
		*nslots += c->slots;
	}
	return true;
}

/* No sum overflows: a direction has at most 2^16 slots of at most 2^30 bytes. */
int channel_layout(struct channel_layout *l, const struct shm_channel_desc *d)
{
	bool nested = d->version == SHM_CHANNEL_NESTED;
	uint64_t at = sizeof(struct channel_head);

	*l = (struct channel_layout){0};
	if (d->version != SHM_CHANNEL_VERSION && !nested)
		return -EINVAL;
	for (int i = 0; i < 2; i++) {
		struct direction_layout *o = &l->dir[i];

		if (!direction_valid(&d->dir[i], nested, &o->nslots))
			return -EINVAL;
		o->shift = log2_up(d->dir[i].entries);
		/* As many as can be in flight. */
		o->ret_shift = log2_up(nested && o->nslots ? d->dir[i].cls[0].slots : o->nslots);
		o->ctl = at;
		at += sizeof(struct channel_ctl);
	}
	for (int i = 0; i < 2; i++) {
		l->dir[i].marks = at;
		at = align_up(at + (sizeof(uint64_t) << l->dir[i].shift), LINES);
	}
	for (int i = 0; i < 2; i++) {
		l->dir[i].returns = at;
		at = align_up(at + (sizeof(uint64_t) << l->dir[i].ret_shift), LINES);
	}
	l->zeroed = at;
	for (int i = 0; i < 2; i++) {
		l->dir[i].lines = at;
		at += ((uint64_t)d->dir[i].entries + 1) * SHM_CACHE_LINE;
		at = align_up(at, LINES);
	}
	for (int i = 0; i < 2; i++) {
		for (uint32_t c = 0; c < d->dir[i].classes; c++) {
			const struct shm_slot_class *cls = &d->dir[i].cls[c];

			if (nested && c) { /* in the memory of the smallest ones */
				l->dir[i].slots[c] = l->dir[i].slots[0];
				continue;
			}
			at = align_up(at, SHM_CHANNEL_ALIGN);
			l->dir[i].slots[c] = at;
			at += (uint64_t)cls->slot_size * cls->slots;
		}
	}
	l->total = align_up(at, SHM_CHANNEL_ALIGN);
	return 0;
}

void shm_channel_desc_init(struct shm_channel_desc *d, uint64_t offset, uint32_t generation)
{
	const struct shm_direction dir = {
		.entries = 256, .classes = 2, .cls = {{4096, 32}, {65536, 8}}};

	*d = (struct shm_channel_desc){
		.version = SHM_CHANNEL_VERSION,
		.generation = generation,
		.offset = offset,
		.dir = {dir, dir},
	};
	d->length = shm_channel_bytes(d);
}

uint64_t shm_channel_bytes(const struct shm_channel_desc *d)
{
	struct channel_layout l;

	return channel_layout(&l, d) ? 0 : l.total;
}

int shm_channel_check(const struct shm_channel_desc *d, size_t region_size)
{
	uint64_t need = shm_channel_bytes(d);

	if (!need || d->offset % SHM_CHANNEL_ALIGN || d->length < need || d->length > region_size ||
	    d->offset > region_size - d->length)
		return -EINVAL;
	return 0;
}

/* What is written in one call of put(). */
#define PIECES 17

/*
 * Copies pieces into the shared part, one after the other, by a system call. Whoever has the file
 * can punch holes into it, sealed or not, and take all free hugepages: an access would then raise
 * SIGBUS and end a process that serves others. For the kernel it is an error. False where the
 * system call is not available (seccomp).
 */
static bool put_by_kernel(uint8_t *to, const struct iovec *from, unsigned n, size_t len, int *ret)
{
	const struct iovec dst = {to, len};
	ssize_t done = process_vm_writev(getpid(), from, n, &dst, 1, 0);

	*ret = done == (ssize_t)len ? 0 : -EFAULT;
	return done >= 0 || (errno != ENOSYS && errno != EPERM);
}

static int put(uint8_t *to, const struct iovec *from, unsigned n)
{
	size_t len = 0;
	int ret;

	for (unsigned i = 0; i < n; i++)
		len += from[i].iov_len;
	if (put_by_kernel(to, from, n, len, &ret))
		return ret;
	for (unsigned i = 0; i < n; to += from[i++].iov_len)
		memcpy(to, from[i].iov_base, from[i].iov_len);
	return 0;
}

/* Writes @head and then zeros, @len bytes in total. 0 or -EFAULT. */
static int put_zeroed(uint8_t *mem, const struct channel_head *head, uint64_t len)
{
	static const uint8_t zeroes[16384];
	struct iovec v[PIECES] = {{(void *)(uintptr_t)head, sizeof(*head)}};
	uint64_t at = sizeof(*head), from = 0;
	unsigned n = 1;

	while (at < len) {
		uint64_t left = len - at;

		v[n].iov_base = (void *)(uintptr_t)zeroes;
		v[n].iov_len = left < sizeof(zeroes) ? (size_t)left : sizeof(zeroes);
		at += v[n++].iov_len;
		if (n < PIECES && at < len)
			continue;
		if (put(mem + from, v, n))
			return -EFAULT;
		from = at;
		n = 0;
	}
	return 0;
}

int shm_channel_format(void *region, size_t region_size, const struct shm_channel_desc *d)
{
	const struct channel_head head = {.version = d->version, .generation = d->generation};
	uint64_t magic = CHANNEL_MAGIC;
	const struct iovec last = {&magic, sizeof(magic)};
	struct channel_layout l;
	uint8_t *mem = region;

	if (!mem || (uintptr_t)mem % SHM_CACHE_LINE || shm_channel_check(d, region_size) ||
	    channel_layout(&l, d))
		return -EINVAL;
	mem += d->offset;
	if (put_zeroed(mem, &head, l.zeroed))
		return -EFAULT;
	shm_mb(); /* barrier pair [R] */
	return put(mem, &last, 1);
}
