/* SPDX-License-Identifier: BSD-3-Clause */
#include "zv_mem.h"

#include "measure/pattern.h"
#include "zv_transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zvsock_mem.h>

#define MEM_BYTES (4u << 20) /* in use at a time, at least SLOTS_MIN messages */
#define SLOTS_MIN 16u
#define SLOTS_MAX 512u

struct bmem {
	struct zv_mem *mem;
	uint8_t *data;
	size_t len, stride;
	unsigned slots, nfree;
	unsigned free[SLOTS_MAX];
	unsigned refs[SLOTS_MAX]; /* sends without completion, and one while it is being sent */
	bool logged;		  /* that payload is copied */
	char why[256];
};

static void put_slot(struct bmem *m, unsigned slot)
{
	if (--m->refs[slot] == 0)
		m->free[m->nfree++] = slot;
}

/* The cell is not what it is meant to be. */
static void log_copied(struct bmem *m)
{
	m->logged = true;
	fprintf(stderr, "vsock-bench: payload in registered memory is copied: %s\n",
		m->why[0]
			? m->why
			: "the device takes no tables of descriptors (VIRTIO_F_INDIRECT_DESC), or "
			  "connections have a channel");
}

void mem_reap(struct worker *w)
{
	struct zv_sent done[64];
	int n;

	for (unsigned i = 0; w->mem && i < w->nq; i++)
		while ((n = zv_mem_done(w->q[i], done, 64)) > 0)
			for (int k = 0; k < n; k++) {
				put_slot(w->mem, (unsigned)(uintptr_t)done[k].user);
				if (done[k].flags & ZV_MEM_COPIED && done[k].len >= ZV_MEM_INLINE &&
				    !w->mem->logged)
					log_copied(w->mem);
			}
}

bool mem_has_slot(const struct worker *w)
{
	return w->mem && w->mem->nfree;
}

/* Cuts the memory, nothing of which is out, into slots of @size bytes. */
static void cut(struct bmem *m, uint32_t size)
{
	m->stride = (size + 63) & ~(size_t)63;
	m->slots = (unsigned)(m->len / m->stride);
	m->slots = m->slots < SLOTS_MAX ? m->slots : SLOTS_MAX;
	for (m->nfree = 0; m->nfree < m->slots; m->nfree++)
		m->free[m->nfree] = m->slots - 1 - m->nfree;
}

static int make(struct worker *w)
{
	struct bmem *m = calloc(1, sizeof(*m));
	int fd = memfd_create("vsock-bench", MFD_CLOEXEC), rc = -ENOMEM;

	w->mem = m;
	if (m && fd >= 0) {
		m->len = (size_t)SLOTS_MIN * w->buf_len;
		m->len = m->len > MEM_BYTES ? m->len : MEM_BYTES;
		m->data = ftruncate(fd, (off_t)m->len)
				  ? MAP_FAILED
				  : mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		pthread_mutex_lock(&w->side->lock); /* a device call */
		if (m->data != MAP_FAILED)
			rc = zv_mem_register(w->side->dev, m->data, m->len, fd, 0, &m->mem);
		pthread_mutex_unlock(&w->side->lock);
	}
	if (fd >= 0)
		close(fd);
	if (rc == 1)
		(void)snprintf(m->why, sizeof(m->why), "%s", zv_error_text());
	return rc < 0 ? rc : 0;
}

/* Memory with slots of the size that @bc sends. 0 or -errno. */
static int prepare(struct worker *w, const struct bconn *bc)
{
	int rc = w->mem ? 0 : make(w);

	if (rc)
		return rc;
	if (w->mem->stride == ((bc->size + 63) & ~(size_t)63))
		return 0;
	/* The cell before is over, and its receiver has read all. */
	if (w->mem->nfree != w->mem->slots)
		mem_reap(w);
	if (w->mem->nfree != w->mem->slots)
		return -EAGAIN;
	cut(w->mem, bc->size);
	return 0;
}

/* A slot for the message that @bc begins. False: none is free. */
static bool take_slot(struct worker *w, struct bconn *bc)
{
	struct bmem *m = w->mem;

	if (!m->nfree)
		mem_reap(w);
	bc->no_slot = !m->nfree;
	if (bc->no_slot)
		return false;
	bc->slot = m->free[--m->nfree];
	m->refs[bc->slot] = 1;
	if (bc->touch)
		pattern_fill(m->data + bc->slot * m->stride, bc->size, bc->salt, bc->seq, 0);
	return true;
}

void mem_drop(struct worker *w, struct bconn *bc)
{
	if (bc->has_slot)
		put_slot(w->mem, bc->slot);
	bc->has_slot = false;
}

int mem_send(struct worker *w, struct bconn *bc, bool last)
{
	int rc = prepare(w, bc);

	bc->no_slot = rc == -EAGAIN;
	for (unsigned i = 0; i < (last ? 1 : bc->batch) && rc == 0; i++) {
		struct bmem *m = w->mem;
		ssize_t n;

		if (bc->off == 0 && !bc->has_slot && !(bc->has_slot = take_slot(w, bc)))
			return i ? 1 : -EAGAIN;
		n = zv_send_mem(bc->zc, m->mem, bc->slot * m->stride + bc->off, bc->size - bc->off,
				0, (void *)(uintptr_t)bc->slot);
		if (n < 0)
			return i && n == -EAGAIN ? 1 : (int)n;
		m->refs[bc->slot]++;
		if (bc_advance(bc, (uint32_t)n)) {
			bc->has_slot = false;
			put_slot(m, bc->slot);
		}
	}
	return rc ? rc : 1;
}

void mem_free(struct worker *w)
{
	if (w->mem && w->mem->data && w->mem->data != MAP_FAILED)
		munmap(w->mem->data, w->mem->len);
	free(w->mem);
	w->mem = NULL;
}
