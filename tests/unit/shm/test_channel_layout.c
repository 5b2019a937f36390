/* SPDX-License-Identifier: BSD-3-Clause */
/* channel_layout: nothing overlaps, all lies within the region, and what is not valid is refused.
 */
#include "channel_pair.h"

#include "shm_ring.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

struct span {
	uint64_t from, len, align;
};

static void parts_neither_overlap_nor_leave_the_channel(void **state)
{
	struct pair *p = *state;
	struct span s[32];
	unsigned n = 0;

	s[n++] = (struct span){0, sizeof(struct channel_head), 64};
	for (int i = 0; i < 2; i++) {
		const struct direction_layout *d = &p->l.dir[i];

		assert_true(1u << d->ret_shift >= d->nslots);
		s[n++] = (struct span){d->ctl, sizeof(struct channel_ctl), 128};
		s[n++] = (struct span){d->marks, 8 * PAIR_ENTRIES, 128};
		s[n++] = (struct span){d->returns, 8u << d->ret_shift, 128};
		s[n++] = (struct span){d->lines, 64 * (PAIR_ENTRIES + 1), 128};
		for (unsigned c = 0; c < p->desc.dir[i].classes; c++)
			s[n++] = (struct span){d->slots[c],
					       (uint64_t)p->desc.dir[i].cls[c].slot_size *
						       p->desc.dir[i].cls[c].slots,
					       SHM_CHANNEL_ALIGN};
	}
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(s[i].from % s[i].align, 0);
		assert_true(s[i].from + s[i].len <= p->l.total);
		for (unsigned k = 0; k < i; k++)
			assert_true(s[i].from >= s[k].from + s[k].len ||
				    s[k].from >= s[i].from + s[i].len);
	}
	assert_int_equal(p->l.total, shm_channel_bytes(&p->desc));
	assert_int_equal(p->l.total % SHM_CHANNEL_ALIGN, 0);
}

static void format_touches_little(void **state)
{
	struct pair *p = *state;

	for (uint64_t i = 0; i < p->size; i++)
		if (i < p->desc.offset || i >= p->desc.offset + p->l.zeroed)
			assert_int_equal(p->mem[i], 0x5a);
	shm_channel_desc_init(&p->desc, 0, 1);
	assert_int_equal(channel_layout(&p->l, &p->desc), 0);
	/* docs/architecture.md and the README of shm-ring name this figure. */
	assert_true(p->l.zeroed <= 8192);
}

static bool valid(const struct shm_channel_desc *d, size_t region)
{
	return shm_channel_check(d, region) == 0;
}

static void descriptions_are_checked(void **state)
{
	struct pair *p = *state;
	const struct shm_channel_desc good = p->desc;
	struct shm_channel_desc d;
	struct shm_channel *ch;

	assert_true(valid(&good, p->size));
	assert_false(valid(&good, p->size - 1));
	assert_false(valid(&good, 0));
#define BAD(change)                                                                                \
	do {                                                                                       \
		d = good;                                                                          \
		change;                                                                            \
		assert_false(valid(&d, p->size));                                                  \
		assert_int_equal(shm_channel_format(p->mem, p->size, &d), -EINVAL);                \
		assert_int_equal(shm_channel_attach(&ch, p->mem, p->size, &d, SHM_ROLE_A, NULL),   \
				 -EINVAL);                                                         \
		assert_null(ch);                                                                   \
	} while (0)
	BAD(d.version++);
	BAD(d.offset += 64);
	BAD(d.offset += SHM_CHANNEL_ALIGN);
	BAD(d.offset = UINT64_MAX & ~(uint64_t)(SHM_CHANNEL_ALIGN - 1));
	BAD(d.length--);
	BAD(d.length = 0);
	BAD(d.length = UINT64_MAX);
	BAD(d.dir[0].entries = 0);
	BAD(d.dir[0].entries = SHM_ENTRIES_MIN / 2);
	BAD(d.dir[1].entries = 24);
	BAD(d.dir[1].entries = SHM_ENTRIES_MAX * 2);
	BAD(d.dir[1].entries = 1u << 31);
	BAD(d.dir[1].entries *= 2); /* longer than what was granted */
	BAD(d.dir[0].classes = SHM_CLASSES_MAX + 1);
	BAD(d.dir[0].classes = UINT32_MAX);
	BAD(d.dir[0].cls[0].slot_size = 0);
	BAD(d.dir[0].cls[0].slot_size = 100);
	BAD(d.dir[0].cls[0].slot_size = 2048); /* larger than the next one */
	BAD(d.dir[0].cls[1].slot_size = 256);  /* the same */
	BAD(d.dir[0].cls[1].slot_size = SHM_SLOT_MAX + 64);
	BAD(d.dir[0].cls[0].slots = 0);
	BAD(d.dir[0].cls[1].slots = SHM_SLOTS_MAX);
	BAD(d.dir[0].cls[1].slots = UINT32_MAX);
#undef BAD
	/* The largest that can be said: sums do not wrap. */
	d = good;
	for (int i = 0; i < 2; i++) {
		d.dir[i].entries = SHM_ENTRIES_MAX;
		d.dir[i].classes = 1;
		d.dir[i].cls[0] = (struct shm_slot_class){SHM_SLOT_MAX, SHM_SLOTS_MAX};
	}
	assert_true(shm_channel_bytes(&d) > (uint64_t)SHM_SLOT_MAX * SHM_SLOTS_MAX * 2);
	assert_int_equal(shm_channel_format(NULL, p->size, &good), -EINVAL);
	assert_int_equal(shm_channel_format(p->mem + 8, p->size - 8, &good), -EINVAL);
}

static void only_the_generation_that_was_formatted_is_attached(void **state)
{
	struct pair *p = *state;
	struct shm_channel_desc d = p->desc;
	struct shm_channel *ch;

	d.generation++;
	assert_int_equal(shm_channel_attach(&ch, p->mem, p->size, &d, SHM_ROLE_A, NULL), -ESTALE);
	d = p->desc;
	memset(p->mem + d.offset, 0, 64);
	assert_int_equal(shm_channel_attach(&ch, p->mem, p->size, &d, SHM_ROLE_A, NULL), -ESTALE);
	assert_int_equal(shm_channel_attach(&ch, p->mem, p->size, &d, (enum shm_role)2, NULL),
			 -EINVAL);
}

/* A part of a region that was used before shows nothing of that. */
static void a_part_can_be_used_again(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[3], out;

	for (unsigned life = 0; life < 5; life++) {
		assert_int_equal(shm_channel_recv(p->b, &out, 1), 0);
		for (unsigned i = 0; i <= life * 7; i++) {
			assert_int_equal(shm_channel_alloc(p->a, m, 3, 256), 3);
			for (int k = 0; k < 3; k++)
				m[k].len = 1;
			assert_int_equal(shm_channel_send(p->a, m, 3), 3);
			assert_int_equal(shm_channel_recv(p->b, m, 3), 3);
			assert_int_equal(shm_channel_release(p->b, m, 3), 0);
			assert_int_equal(shm_channel_notify(p->b), 0);
		}
		assert_int_equal(shm_channel_alloc(p->a, m, 1, 256), 1);
		assert_int_equal(shm_channel_send(p->a, m, 1), 1); /* is never received */
		shm_channel_detach(p->a);
		shm_channel_detach(p->b);
		p->desc.generation++;
		pair_attach(p);
	}
}

/* A channel of the default shape at the beginning of a file of which only @present bytes are there:
 * what shm_channel_format() returns. */
static int format_in_file(off_t present)
{
	struct shm_channel_desc d;
	int fd = memfd_create("channel", MFD_CLOEXEC), ret;
	size_t size;
	uint8_t *mem;

	shm_channel_desc_init(&d, 0, 1);
	size = (size_t)d.length;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(mem, MAP_FAILED);
	assert_int_equal(ftruncate(fd, present), 0);
	ret = shm_channel_format(mem, size, &d);
	(void)munmap(mem, size);
	close(fd);
	return ret;
}

/* Memory that cannot be written, whoever took it away, is an error and no signal. */
static void memory_that_is_gone_is_an_error(void **state)
{
	char from = 1, to = 0;
	const struct iovec one = {&from, 1}, other = {&to, 1};

	(void)state;
	if (process_vm_writev(getpid(), &one, 1, &other, 1, 0) != 1) {
		print_message("process_vm_writev is not permitted here\n");
		skip();
	}
	assert_int_equal(format_in_file(0), -EFAULT);
	assert_int_equal(format_in_file(4096), -EFAULT);
	assert_int_equal(format_in_file(1 << 20), 0);
}

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAIR_TEST(parts_neither_overlap_nor_leave_the_channel),
		PAIR_TEST(format_touches_little),
		PAIR_TEST(descriptions_are_checked),
		PAIR_TEST(only_the_generation_that_was_formatted_is_attached),
		PAIR_TEST(a_part_can_be_used_again),
		cmocka_unit_test(memory_that_is_gone_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
