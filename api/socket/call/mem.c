/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of zvsock_mem.h. */
#include "mem.h"

#include "calls.h"
#include "socket/tx/tx_mem.h"
#include "zvsock_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MEM_ALIGN 4096u

/* ---- registration ---- */

static int check_range(const void *addr, size_t len, int fd, uint64_t offset)
{
	struct stat st;

	if (!len || ((uintptr_t)addr | len | offset) % MEM_ALIGN || (uintptr_t)addr + len < len)
		return zv_err(-EINVAL,
			      "zv_mem_register: address %p, length %zu and offset %llu must be "
			      "multiples of %u, and the length not 0",
			      addr, len, (unsigned long long)offset, MEM_ALIGN);
	if (fd < 0)
		return 0;
	if (fstat(fd, &st))
		return zv_err(-errno, "zv_mem_register: file descriptor %d: %s", fd,
			      zv_strerror(-errno));
	if (offset + len < len || (uint64_t)st.st_size < offset + len)
		return zv_err(-EINVAL,
			      "zv_mem_register: file descriptor %d has %llu bytes, less than "
			      "offset %llu and %zu bytes: is it the file that is mapped there?",
			      fd, (unsigned long long)st.st_size, (unsigned long long)offset, len);
	return 0;
}

static int check_overlap(const struct zv_dev *dev, const uint8_t *addr, size_t len)
{
	for (const struct zv_mem *m = dev->mems; m; m = m->next)
		if (addr < m->addr + m->len && m->addr < addr + len)
			return zv_err(-EEXIST,
				      "zv_mem_register: %zu bytes at %p overlap %zu bytes at %p, "
				      "which are registered already",
				      len, (const void *)addr, m->len, (const void *)m->addr);
	return 0;
}

int zv_mem_register(struct zv_dev *dev, void *addr, size_t len, int fd, uint64_t offset,
		    struct zv_mem **mem)
{
	const struct transport_mem t = {addr, len, fd, offset};
	struct zv_mem *m;
	int ret;

	if (!dev || !addr || !mem)
		return zv_err(-EINVAL, "zv_mem_register: dev, addr and mem must not be NULL");
	ret = check_range(addr, len, fd, offset);
	if (ret == 0)
		ret = check_overlap(dev, addr, len);
	if (ret)
		return ret;
	m = calloc(1, sizeof(*m));
	if (!m)
		return zv_err(-ENOMEM, "zv_mem_register: out of memory");
	m->dev = dev;
	m->addr = addr;
	m->len = len;
	if (dev->ops->mem_map)
		m->shared = dev->ops->mem_map(dev->t, &t, &m->at) == 0;
	else
		zv_err(-EOPNOTSUPP,
		       "zv_mem_register: a device of %s: cannot read memory of an "
		       "application: payload is copied",
		       dev->ops->scheme);
	m->next = dev->mems;
	dev->mems = m;
	*mem = m;
	return m->shared ? 0 : 1;
}

int zv_mem_unregister(struct zv_mem *mem)
{
	struct zv_mem **p;
	uint32_t busy;

	if (!mem)
		return 0;
	busy = __atomic_load_n(&mem->busy, __ATOMIC_ACQUIRE);
	if (busy)
		return zv_err(-EBUSY,
			      "zv_mem_unregister: %u sends from it have not completed, or wait in "
			      "zv_mem_done",
			      busy);
	for (p = &mem->dev->mems; *p != mem; p = &(*p)->next)
		;
	*p = mem->next;
	if (mem->shared)
		mem->dev->ops->mem_unmap(mem->dev->t, mem->at);
	free(mem);
	return 0;
}

void mems_fini(struct zv_dev *dev)
{
	struct zv_mem *m;

	while ((m = dev->mems)) {
		dev->mems = m->next;
		free(m);
	}
}

/* ---- sending ---- */

/* The device can read @len bytes of @mem in place for @c. */
static bool in_place(const struct zv_conn *c, const struct zv_mem *mem, size_t len)
{
	return mem->shared && len >= ZV_MEM_INLINE && c->q->tq->sent.on && c->sock->send_mem;
}

static ssize_t send_mem(struct zv_conn *c, struct zv_mem *mem, size_t offset, size_t len,
			uint32_t flags, void *user)
{
	uint32_t record = mem_send_new(c->q);
	struct mem_send s = {.mem = mem, .user = user};
	ssize_t ret;

	if (record == LOAN_NONE)
		return zv_err(-ENOMEM, "zv_send_mem: out of memory");
	if (in_place(c, mem, len)) {
		const struct mem_part part = {mem->addr + offset, iova_add(mem->at, offset), len,
					      record};

		ret = c->sock->send_mem(c, &part, flags);
	} else {
		s.flags = ZV_MEM_COPIED;
		ret = c->sock->send(c, mem->addr + offset, len, flags);
	}
	if (ret < 0) {
		mem_send_drop(c->q, record);
		return ret;
	}
	s.len = (size_t)ret;
	mem_send_begin(c->q, record, &s);
	return ret;
}

ssize_t zv_send_mem(struct zv_conn *conn, struct zv_mem *mem, size_t offset, size_t len,
		    uint32_t flags, void *user)
{
	struct zv_queue *q;
	ssize_t ret;

	if (!conn || !mem)
		return zv_err(-EINVAL, "zv_send_mem: conn and mem must not be NULL");
	if (flags & ~(ZV_EOM | ZV_EOR))
		return zv_err(-EINVAL, "zv_send_mem: unknown flags 0x%x",
			      flags & ~(ZV_EOM | ZV_EOR));
	if (mem->dev != conn->q->dev || offset > mem->len || len > mem->len - offset)
		return zv_err(-EINVAL, "zv_send_mem: %zu bytes at %zu: %s", len, offset,
			      mem->dev != conn->q->dev
				      ? "the memory is registered with another device"
				      : "not within the memory");
	q = call_enter(conn);
	ret = send_mem(conn, mem, offset, len, flags, user);
	call_leave(q);
	return call_result(conn, ret, "zv_send_mem",
			   "zv_send_mem: there is no room now: ZV_EV_OUT tells when");
}

int zv_mem_done(struct zv_queue *q, struct zv_sent *done, unsigned max)
{
	struct mem_send s;
	unsigned n = 0;

	if (!q || (!done && max))
		return zv_err(-EINVAL, "zv_mem_done: queue and done must be set");
	queue_enter(q);
	if (q->mem.out)
		mem_sends_check(q);
	while (n < max && mem_send_take(q, &s))
		done[n++] = (struct zv_sent){s.mem, s.user, s.len, s.err, s.flags};
	queue_leave(q);
	return (int)n;
}
