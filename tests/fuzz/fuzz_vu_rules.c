/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-user messages of a frontend: the table of rules, and the reader before it.
 *
 * The input is a message of any content with any number of descriptors. What must hold of one that
 * passes: its payload fits, every number in it is within what the device has and the layout
 * of its rings allows, sums do not wrap, and
 * there are as many descriptors as are used. The same bytes are then sent through a socket in
 * pieces of any size: what the reader makes of them does not depend on the pieces, and nothing is
 * left of it.
 */
#include "fuzz.h"
#include "ring/vhost_ring.h"
#include "vhost-user/vu_rules.h"
#include "vhost-user/vu_stream.h"
#include "vu_limits.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 12u

static void check_table(const struct vu_msg *m, unsigned nfds, uint64_t mem_max)
{
	const struct vu_mem_table *t = &m->payload.mem;
	uint64_t all = 0;

	FZ_CHECK(t->nregions >= 1 && t->nregions <= VU_MSG_FDS && nfds == t->nregions);
	for (uint32_t i = 0; i < t->nregions; i++) {
		uint64_t size = t->region[i].size, end;

		FZ_CHECK(size != 0);
		FZ_CHECK(!__builtin_add_overflow(t->region[i].gpa, size - 1, &end));
		FZ_CHECK(!__builtin_add_overflow(t->region[i].uva, size - 1, &end));
		FZ_CHECK(!__builtin_add_overflow(t->region[i].offset, size, &end) &&
			 end <= INT64_MAX);
		FZ_CHECK(!__builtin_add_overflow(all, size, &all) && all <= mem_max);
	}
}

/* What the layout of the target says of a position. */
static const char *odd_position(struct vhost_ring_pos pos, uint32_t size)
{
	(void)size;
	return pos.v & 1 ? "odd" : NULL;
}

static void check_passed(const struct vu_msg *m, unsigned nfds, const struct vu_terms *t)
{
	const struct vu_rule *r = vu_rule_of(m->request);

	FZ_CHECK(r && m->size >= r->size_min && m->size <= r->size_max);
	FZ_CHECK(m->size <= sizeof(m->payload) && nfds <= VU_MSG_FDS);
	FZ_CHECK(!r->vq || r->vq(m) < t->nrings);
	if (m->request == VU_SET_MEM_TABLE)
		check_table(m, nfds, t->mem_max);
	if (m->request == VU_SET_VRING_NUM)
		FZ_CHECK(m->payload.state.num >= 1 && m->payload.state.num <= 32768 &&
			 (t->layout->any_size || __builtin_popcount(m->payload.state.num) == 1));
	if (m->request == VU_SET_VRING_BASE)
		FZ_CHECK(!odd_position((struct vhost_ring_pos){m->payload.state.num}, 0));
	if (m->request == VU_GET_CONFIG || m->request == VU_SET_CONFIG)
		FZ_CHECK((uint64_t)m->payload.config.offset + m->payload.config.size <= 256 &&
			 m->payload.config.size + 12 == m->size);
}

/* Sends the message in the pieces that the input names, and reads it. */
static void check_reader(struct fz *z, const struct vu_msg *m)
{
	size_t len = HEAD + (m->size <= sizeof(m->payload) ? m->size : 0), at = 0;
	const char *why = NULL, *bad = vu_head_refused(m);
	struct vu_reader r;
	int fd[2], ret = 0;

	FZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	vu_reader_init(&r, NULL);
	while (at < len && ret == 0) {
		size_t n = 1 + fz_u8(z);

		n = n < len - at ? n : len - at;
		FZ_CHECK(send(fd[0], (const uint8_t *)m + at, n, 0) == (ssize_t)n);
		at += n;
		ret = vu_read(&r, fd[1], vu_head_refused, &why);
		FZ_CHECK(ret <= 0 ? ret == 0 || (at >= HEAD && bad && why) : at == len && !bad);
	}
	FZ_CHECK(bad ? ret < 0 : ret == 1 && memcmp(&r.msg, m, len) == 0);
	vu_reader_next(&r);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz z = {data, size};
	uint8_t first = fz_u8(&z);
	unsigned nfds = first % 10, nrings = 1 + fz_u8(&z) % 33;
	const struct vhost_ring_layout layout = {.any_size = first >= 128,
						 .pos_refused = odd_position};
	struct vu_terms t = {.nrings = nrings,
			     .ring_max = VU_VRING_SIZE_MAX,
			     .mem_max = fz_u64(&z),
			     .layout = &layout};
	struct vu_msg m;

	memset(&m, 0, sizeof(m));
	m.request = fz_u8(&z);
	m.flags = fz_u8(&z) ? VU_VERSION : fz_u32(&z);
	m.size = fz_u16(&z);
	for (size_t i = 0; i < sizeof(m.payload) && i < m.size; i++)
		((uint8_t *)&m.payload)[i] = fz_u8(&z);
	if (!vu_msg_refused(&m, nfds, &t))
		check_passed(&m, nfds, &t);
	check_reader(&z, &m);
	return 0;
}
