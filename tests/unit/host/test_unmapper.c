/* SPDX-License-Identifier: BSD-3-Clause */
/* Former memory tables of a queue pair are unmapped by a thread that nobody waits for. */
#include "dev_fix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define ANY ((void *)&stuck)

int __real_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len);
void *__real_mremap(void *addr, size_t was, size_t len, int flags, void *to);
void *__wrap_mremap(void *addr, size_t was, size_t len, int flags, void *to);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);

static __thread unsigned mine; /* calls of munmap() by this thread */
static __thread bool tester;   /* this thread runs the tests */
static size_t unmapped;	       /* pages that it has unmapped or replaced */
static void *stuck;   /* munmap() of this address, or of any, waits in other threads; atomic */
static bool is_stuck; /* ... as it does; atomic */
static unsigned no_threads; /* so many cannot be made; atomic */
static size_t largest;	    /* bytes unmapped by one call of another thread; atomic */

/* Pages of this process in the range; what the kernel is moving has a swap entry meanwhile. */
static size_t pages(const void *addr, size_t len)
{
	static uint64_t entry[512];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t at = (uintptr_t)addr / 4096, left = len / 4096, n = 0;

	assert_true(fd >= 0);
	for (ssize_t got; left; left -= (size_t)got, at += (size_t)got) {
		got = pread(fd, entry, (left < 512 ? left : 512) * 8, (off_t)at * 8) / 8;
		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			n += (entry[i] >> 62) != 0; /* bits 63 and 62: present, swapped */
	}
	(void)close(fd);
	return n;
}

void *__wrap_mremap(void *addr, size_t was, size_t len, int flags, void *to)
{
	if (tester)
		unmapped += pages(to, len);
	return __real_mremap(addr, was, len, flags, to);
}

static bool is_held(const void *addr)
{
	const void *held = __atomic_load_n(&stuck, __ATOMIC_ACQUIRE);

	return held == addr || held == ANY;
}

int __wrap_munmap(void *addr, size_t len)
{
	mine++;
	if (tester)
		unmapped += pages(addr, len);
	while (!tester && is_held(addr)) {
		__atomic_store_n(&is_stuck, true, __ATOMIC_RELEASE);
		(void)usleep(1000);
	}
	if (len > __atomic_load_n(&largest, __ATOMIC_RELAXED))
		__atomic_store_n(&largest, len, __ATOMIC_RELAXED);
	return __real_munmap(addr, len);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
	unsigned n = __atomic_load_n(&no_threads, __ATOMIC_ACQUIRE);

	if (n) {
		__atomic_store_n(&no_threads, n - 1, __ATOMIC_RELEASE);
		return EAGAIN;
	}
	return __real_pthread_create(t, a, run, arg);
}

static void hold_at(void *addr)
{
	__atomic_store_n(&is_stuck, false, __ATOMIC_RELAXED);
	__atomic_store_n(&stuck, addr, __ATOMIC_RELEASE);
}

static void hold(const struct guest_mem *m)
{
	hold_at(m ? m->map[0].addr : NULL);
}

static void wait_until_stuck(void)
{
	for (int i = 0; i < 60000 && !__atomic_load_n(&is_stuck, __ATOMIC_ACQUIRE); i++)
		(void)usleep(1000);
	assert_true(__atomic_load_n(&is_stuck, __ATOMIC_ACQUIRE));
}

/* Until all peers together have @n maps; a minute at most. */
static void wait_for_maps(uint32_t n)
{
	for (int i = 0; i < 60000 && guest_mem_maps() != n; i++)
		(void)usleep(1000);
	assert_int_equal(guest_mem_maps(), n);
}

static void wait_for(const struct guest_mem *m)
{
	for (int i = 0; i < 60000 && !guest_mem_unmapped(m); i++)
		(void)usleep(1000);
	assert_true(guest_mem_unmapped(m));
}

/* No token of an ended epoch is out: all of them are unmapped. */
static void wait_for_retired(const struct fix *f)
{
	for (const struct vhost_epoch *ep = f->q->retired; ep; ep = ep->next)
		wait_for(ep->mem);
}

static void give_unmapper(struct fix *f)
{
	f->q->unmapper = unmapper_new(NULL);
	assert_non_null(f->q->unmapper);
}

static int change_table(struct fix *f)
{
	struct guest_mem *gm = own_map(f);
	struct vhost_pair_setup s;
	int ret;

	fill_setup(f, &s, gm);
	ret = vhost_pair_switch_mem(f->q, &s);
	guest_mem_put(gm);
	return ret;
}

static uint32_t lend(struct fix *f, uint16_t i)
{
	uint64_t off = put_packet(f, 8, 8);

	drv_desc(&f->from, i, G_GPA + off, HDR + 8, 0, 0);
	drv_offer(&f->from, i);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	return f->pkt[0].token;
}

/* The last token comes back. */
static void the_owner_does_not_unmap(void **state)
{
	struct fix *f = *state;
	const uint32_t before = guest_mem_maps();
	uint32_t token;
	unsigned calls;

	give_unmapper(f);
	token = lend(f, 0);
	hold(f->q->ep->mem);
	assert_int_equal(change_table(f), 0);
	wait_for_maps(before + 1); /* the table's pages are gone */
	calls = mine;
	f->tq->ops->rx_release(f->tq, token);
	assert_int_equal(mine, calls);
	assert_int_equal(guest_mem_maps(), before + 1);
	hold(NULL);
	wait_for_retired(f);
	assert_int_equal(guest_mem_maps(), before);
	assert_int_equal(change_table(f), 0); /* the control thread frees the rest */
	assert_true(!f->q->retired || !f->q->retired->next);
	assert_int_equal(f->tq->up, 1);
}

/* The guest breaks a ring: the memory of the session goes at once. */
static void nor_when_a_ring_breaks(void **state)
{
	struct fix *f = *state;
	const uint32_t before = guest_mem_maps();
	unsigned calls;

	give_unmapper(f);
	hold(f->q->ep->mem);
	calls = mine;
	vhost_pair_break(f->q, &f->q->from_guest);
	assert_int_equal(mine, calls);
	assert_int_equal(guest_mem_maps(), before);
	hold(NULL);
	wait_for_retired(f);
	assert_int_equal(guest_mem_maps(), before - 1);
	fresh(f, N);
	assert_null(f->q->retired);
}

/* What waits counts, so a peer cannot be faster than its unmapper. */
static void what_waits_is_bounded(void **state)
{
	struct fix *f = *state;
	const uint32_t before = guest_mem_maps();
	struct vhost_pair_bases b;
	uint32_t token;
	uint16_t n = 0;
	int ret = 0;

	give_unmapper(f);
	hold_at(ANY);
	f->q->maps_max = 4;
	for (; ret == 0 && n < 8; n++) {
		token = lend(f, n);
		ret = change_table(f);
		f->tq->ops->rx_release(f->tq, token);
		wait_until_stuck(); /* the next ones wait for this one */
	}
	assert_int_equal(ret, -EBUSY);
	assert_int_equal(n, 3); /* each change leaves the table, and its pages */
	assert_int_equal(f->tq->stats.loan_limit, 1);
	assert_true(vhost_pair_stop(f->q, &b));
	hold(NULL);
	wait_for_retired(f);
	assert_int_equal(guest_mem_maps(), before - 1);
	fresh(f, N);
	assert_int_equal(f->tq->up, 1);
}

/* The pair ends before its memory is unmapped. */
static void a_pair_ends_meanwhile(void **state)
{
	struct fix *f = *state;
	const uint32_t before = guest_mem_maps();
	struct vhost_pair_bases b;
	uint32_t token;

	give_unmapper(f);
	token = lend(f, 0);
	hold_at(ANY);
	assert_int_equal(change_table(f), 0);
	f->tq->ops->rx_release(f->tq, token);
	assert_non_null(f->q->retired);
	(void)vhost_pair_stop(f->q, &b);
	vhost_pair_fini(f->q);
	assert_int_equal(guest_mem_maps(), before + 2); /* the pages, and the last table */
	hold(NULL);
	wait_for_maps(before - 1);
	assert_int_equal(vhost_pair_init(f->q, 0, "test"), 0);
	fresh(f, N);
}

static struct guest_mem *left(const struct guest_mem_src *src)
{
	struct guest_mem *m;

	assert_int_equal(guest_mem_import(&m, src, 1), 0);
	assert_true(guest_mem_leave(m));
	return m;
}

#define LARGE ((size_t)32 << 20)
#define FEW   256u /* pages: a fault maps 16, of buffers and rings */

/* The guest's memory, and a large region in addition. */
static struct guest_mem *large_map(struct fix *f, int fd)
{
	struct guest_mem_src src[2] = {guest_src(&f->g)};
	struct guest_mem *m;

	src[1] = (struct guest_mem_src){.gpa = {1ull << 40}, .uva = {1ull << 40}, .size = LARGE};
	src[1].fd = fd;
	assert_int_equal(guest_mem_import(&m, src, 2), 0);
	return m;
}

static void touch(const struct guest_mem *m)
{
	for (size_t at = 0; at < LARGE; at += 4096)
		(void)*(volatile uint8_t *)(m->r[1].va + at);
	assert_true(pages(m->r[1].va, LARGE) >
		    LARGE / 4096 * 7 / 8); /* it may have taken some back */
}

static void to_large(struct fix *f, int fd)
{
	struct guest_mem *m = large_map(f, fd);
	struct vhost_pair_setup s;

	fill_setup(f, &s, m);
	assert_int_equal(vhost_pair_switch_mem(f->q, &s), 0);
	guest_mem_put(m);
	touch(f->q->ep->mem);
}

/*
 * A frontend touches all of its memory and changes the table, with a buffer on loan each time; then
 * the rings stop, or pause. The control thread neither unmaps nor replaces what was touched, and
 * former tables do not keep it.
 */
static void work_does_not_grow_with_memory(void **state)
{
	struct fix *f = *state;
	const uint32_t before = guest_mem_maps();
	struct vhost_pair_bases b;
	struct guest_mem *rings;
	uint32_t token[6];
	int fd = memfd_create("large", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, LARGE), 0);
	give_unmapper(f);
	for (unsigned round = 0; round < 2; round++) {
		unmapped = 0;
		for (uint16_t i = 0; i < 6; i++) {
			struct guest_mem *was = f->q->ep->mem;

			token[i] = lend(f, i);
			to_large(f, fd);
			if (i)
				assert_true(pages(was->r[1].va, LARGE) < FEW);
			for (unsigned k = 0; k < 8; k++)
				assert_int_equal(f->pkt[0].seg[0].base[k], k + 1);
		}
		rings = own_map(f);
		if (round)
			assert_true(vhost_pair_pause(f->q, rings, &b));
		else
			assert_true(vhost_pair_stop(f->q, &b));
		guest_mem_put(rings);
		assert_true(unmapped < FEW);
		for (unsigned i = 0; i < 6; i++)
			f->tq->ops->rx_release(f->tq, token[i]);
		assert_true(unmapped < FEW);
		fresh(f, N);
	}
	assert_int_equal(change_table(f), 0);
	wait_for_maps(before);
	assert_int_equal(close(fd), 0);
}

/* A table without loans is given away as well. */
static void nor_without_loans(void **state)
{
	struct fix *f = *state;
	const uint32_t before = guest_mem_maps();
	struct vhost_pair_bases b;
	int fd = memfd_create("large", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, LARGE), 0);
	give_unmapper(f);
	unmapped = 0;
	to_large(f, fd);
	to_large(f, fd);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_true(unmapped < FEW);
	wait_for_maps(before - 1);
	fresh(f, N);
	assert_int_equal(close(fd), 0);
}

/* A guest that plugs memory faster than it is unmapped has to wait, and loses nothing. */
static void a_table_waits_for_room(void **state)
{
	struct fix *f = *state;

	give_unmapper(f);
	hold(f->q->ep->mem);
	f->q->maps_max = 3 * GUEST_MEM_REGIONS;
	for (unsigned n = 0; n < 40; n++) {
		if (vhost_pair_unmaps(f->q)) {
			wait_until_stuck();
			hold(NULL);
			wait_for_retired(f);
			assert_false(vhost_pair_unmaps(f->q));
			hold(f->q->ep->mem);
		}
		assert_int_equal(change_table(f), 0);
	}
	hold(NULL);
	wait_for_retired(f);
	assert_int_equal(f->tq->session, 1);
	assert_int_equal(f->tq->stats.loan_limit, 0);
}

/* One device does not wait for another's, and threads that cannot be made are tried again. */
static void devices_do_not_wait_for_each_other(void **state)
{
	struct fix *f = *state;
	const struct guest_mem_src src = guest_src(&f->g);
	const uint32_t before = guest_mem_maps();
	struct unmapper *a = unmapper_new(NULL), *b = unmapper_new(NULL);
	struct guest_mem *ma = left(&src), *mb = left(&src);

	assert_non_null(a);
	assert_non_null(b);
	hold(ma);
	unmapper_add(a, ma);
	unmapper_put(a);
	__atomic_store_n(&no_threads, 3, __ATOMIC_RELEASE);
	unmapper_add(b, mb);
	unmapper_put(b);
	wait_for(mb);
	assert_int_equal(guest_mem_maps(), before + 1);
	assert_false(guest_mem_unmapped(ma));
	guest_mem_forget(mb);
	guest_mem_forget(ma);
	hold(NULL);
	wait_for_maps(before);
}

/* A large map goes in pieces, all of it. */
static void in_pieces(void **state)
{
	struct fix *f = *state;
	struct guest_mem_src src = guest_src(&f->g);
	const uint32_t before = guest_mem_maps();
	struct unmapper *u = unmapper_new(NULL);
	struct guest_mem *m;
	uint8_t *at;

	src.fd = memfd_create("large", MFD_CLOEXEC);
	src.offset = 0;
	src.size = (200u << 20) + 4096;
	assert_int_equal(ftruncate(src.fd, (off_t)src.size), 0);
	m = left(&src);
	at = m->map[0].addr;
	__atomic_store_n(&largest, 0, __ATOMIC_RELAXED);
	hold(m);
	unmapper_add(u, m);
	assert_int_equal(msync(at + src.size - 4096, 4096, MS_ASYNC), 0);
	hold(NULL);
	wait_for_maps(before);
	assert_int_equal(msync(at + src.size - 4096, 4096, MS_ASYNC), -1);
	assert_int_equal(__atomic_load_n(&largest, __ATOMIC_RELAXED), 64u << 20);
	guest_mem_forget(m);
	unmapper_put(u);
	assert_int_equal(close(src.fd), 0);
}

/* The next test counts maps. */
static int settle(void **state)
{
	const int ret = teardown(state);

	wait_for_maps(0);
	return ret;
}

#undef T
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, settle)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_owner_does_not_unmap),
		T(nor_when_a_ring_breaks),
		T(what_waits_is_bounded),
		T(a_pair_ends_meanwhile),
		T(work_does_not_grow_with_memory),
		T(nor_without_loans),
		T(a_table_waits_for_room),
		T(devices_do_not_wait_for_each_other),
		T(in_pieces),
	};

	tester = true;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
