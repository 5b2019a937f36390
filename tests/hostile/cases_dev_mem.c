/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device does with payload that it reads in memory of the application (zvsock_mem.h). */
#include "dev_cases.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zvsock_mem.h>

#define MEM_LEN	 65536u
#define SEND_LEN 2048u /* at least ZV_MEM_INLINE */

static struct zv_mem *mem;
static uint8_t *data;

static void mem_begin(void)
{
	int fd = memfd_create("zvsock-hostile", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MEM_LEN), 0);
	data = mmap(NULL, MEM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(data != MAP_FAILED);
	memset(data, 'm', MEM_LEN);
	assert_int_equal(zv_mem_register(G.dev, data, MEM_LEN, fd, 0, &mem), 0);
	close(fd);
}

static void mem_end(void)
{
	assert_int_equal(zv_mem_unregister(mem), 0);
	assert_int_equal(munmap(data, MEM_LEN), 0);
}

/* Sends a piece; the device takes its table and gives nothing back. The table's number. */
static uint16_t send_table(void *user)
{
	const struct vring_desc *d;
	uint16_t id;

	assert_int_equal(zv_send_mem(G.c[0], mem, 0, SEND_LEN, ZV_EOM, user), SEND_LEN);
	id = dev_take(TX0);
	d = G.layout->buf(&G.r[TX0], id);
	assert_true(d->flags & VRING_DESC_F_INDIRECT);
	assert_int_equal(d->len, 2 * sizeof(*d));
	return id;
}

/* Completions of pair 0; the last one's error is *@err. */
static int completions(int32_t *err)
{
	struct zv_sent s[8];
	int n, all = 0;

	gdev_pump();
	while ((n = zv_mem_done(G.q[0], s, 8)) > 0) {
		all += n;
		for (int i = 0; i < n; i++) {
			assert_ptr_equal(s[i].mem, mem);
			assert_int_equal(s[i].len, SEND_LEN);
			assert_int_equal(s[i].flags & ZV_MEM_COPIED, 0);
			*err = s[i].err;
		}
	}
	assert_int_equal(n, 0);
	return all;
}

static void table_used(const struct dev_case *c)
{
	uint16_t id;
	int32_t err = 1;

	mem_begin();
	id = send_table(NULL);
	assert_int_equal(zv_mem_unregister(mem), -EBUSY);
	dev_used(TX0, id, c->len, true);
	assert_int_equal(completions(&err), 1);
	assert_int_equal(err, 0);
	mem_end();
}

/* One completion for one send, however often the device gives it back. */
static void table_twice(const struct dev_case *c)
{
	uint16_t id;
	int32_t err = 1;

	(void)c;
	mem_begin();
	id = send_table(NULL);
	(void)send_table(NULL);
	dev_used(TX0, id, 0, false);
	dev_used(TX0, id, 0, true);
	look_at_tx();
	assert_int_equal(completions(&err), 1);
	assert_int_equal(err, 0);
	/* The other one is the device's until it is connected anew. */
	assert_int_equal(zv_mem_unregister(mem), -EBUSY);
	G.gone = true;
	gdev_hang_up();
	assert_int_equal(completions(&err), 1);
	assert_int_equal(err, -ECONNRESET);
	mem_end();
}

/* What the driver reads of a table that is back would be the device's word. */
static void table_rewritten(const struct dev_case *c)
{
	struct vring_desc *table;
	uint16_t id;
	int32_t err = 1;

	mem_begin();
	for (unsigned i = 0; i < G_N + 8; i++) {
		const struct vring_desc *d;

		id = send_table(NULL);
		table = dev_buf(TX0, id);
		assert_int_equal(table[1].len, SEND_LEN);
		assert_memory_equal(fake_gpa_va(&G.b, table[1].addr, SEND_LEN), data, SEND_LEN);
		memset(table, (int)c->value, 2 * sizeof(*table));
		/* The header behind it as well: all of the transmit buffer is the device's. */
		dev_used(TX0, id, 0, true);
		assert_int_equal(completions(&err), 1);
		assert_int_equal(err, 0);
		/* The same buffer goes out as an ordinary packet, whole. */
		assert_int_equal(zv_send(G.c[0], "plain", 5, 0), 5);
		id = dev_take(TX0);
		d = G.layout->buf(&G.r[TX0], id);
		assert_false(d->flags & VRING_DESC_F_INDIRECT);
		assert_int_equal(d->len, VSOCK_HDR_LEN + 5);
		assert_memory_equal((uint8_t *)dev_buf(TX0, id) + VSOCK_HDR_LEN, "plain", 5);
		dev_used(TX0, id, 0, true);
	}
	mem_end();
}

/* The device goes with it: what it had comes back with an error, once. */
static void table_never(const struct dev_case *c)
{
	int32_t err = 1;

	(void)c;
	mem_begin();
	for (unsigned i = 0; i < 3; i++)
		(void)send_table(NULL);
	assert_int_equal(completions(&err), 0);
	gdev_hang_up();
	assert_int_equal(completions(&err), 3);
	assert_int_equal(err, -ECONNRESET);
	assert_int_equal(completions(&err), 0);
	mem_end();
}

/* A reset of the connection tells nothing of what the device still has. */
static void reset_under_a_table(const struct dev_case *c)
{
	uint16_t id;
	int32_t err = 1;

	(void)c;
	mem_begin();
	id = send_table(NULL);
	dev_op(VSOCK_OP_RST, NULL, 0);
	assert_int_equal(completions(&err), 0);
	dev_used(TX0, id, 0, true);
	assert_int_equal(completions(&err), 1);
	assert_int_equal(err, 0);
	mem_end();
}

const struct dev_case dev_mem_cases[] = {
	{"registered memory: given back", table_used, .len = 0},
	{"registered memory: used length 2^32 - 1 of a table", table_used, .len = UINT32_MAX},
	{"registered memory: a table given back twice", table_twice, .ring = EITHER,
	 .conn = WHATEVER, .count = ANY, .rst = ANY},
	{"registered memory: a table overwritten with zeros", table_rewritten, .value = 0},
	{"registered memory: a table overwritten with ones", table_rewritten, .value = 0xff},
	{"registered memory: never given back", table_never, .count = ANY, .rst = ANY},
	{"registered memory: the connection is reset meanwhile", reset_under_a_table, .conn = DIES},
};
const unsigned n_dev_mem_cases = sizeof(dev_mem_cases) / sizeof(dev_mem_cases[0]);
