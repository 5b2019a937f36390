/* SPDX-License-Identifier: BSD-3-Clause */
#include "zv_echo.h"

#include "measure/cpu.h"
#include "measure/pattern.h"

#include <errno.h>
#include <string.h>

/* Room that is missing comes back while the queue is polled; events are seen again later. */
static int wait_sendable(struct worker *w, struct zv_conn *zc, uint64_t *deadline)
{
	struct zv_event ev[8];
	int n;

	if (!*deadline)
		*deadline = cpu_now_ns() + BENCH_GRACE_NS / 2;
	n = zv_wait(zv_conn_queue(zc), ev, 8, 1000000u);
	if (n < 0 && n != -EINTR)
		return side_fail(w->side, n, "zv_wait");
	if (cpu_now_ns() > *deadline)
		return side_fail_own(w->side, -ETIMEDOUT, "no room to send");
	return 0;
}

int echo_send(struct worker *w, struct bconn *bc, const unsigned char *src, uint32_t len,
	      uint32_t eom)
{
	uint64_t deadline = 0;
	uint32_t off = 0;
	int rc;

	if (!bc->zero_copy && !src) {
		pattern_fill(w->txbuf, len, bc->salt, bc->seq, 0);
		src = w->txbuf;
	}
	while (off < len) {
		struct zv_buf b;
		ssize_t n;

		if (!bc->zero_copy) {
			n = zv_send(bc->zc, src + off, len - off, 0);
			rc = n < 0 ? (int)n : 0;
		} else {
			rc = zv_buf_alloc(bc->zc, &b, 1, len - off);
			n = rc > 0 ? bench_min32(b.capacity, len - off) : 0;
			if (rc > 0) {
				if (src)
					memcpy(b.data, src + off, (size_t)n);
				else
					pattern_fill(b.data, (size_t)n, bc->salt, bc->seq, off);
				b.len = (uint32_t)n;
				b.flags = off + (uint32_t)n == len ? eom : 0;
				rc = zv_buf_send(bc->zc, &b, 1);
			}
		}
		if (rc == -EAGAIN)
			rc = wait_sendable(w, bc->zc, &deadline);
		else if (rc < 0)
			return side_fail(w->side, rc, "send");
		if (rc < 0)
			return rc;
		off += n > 0 ? (uint32_t)n : 0;
	}
	return 0;
}

static int echo_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	(void)events;
	for (;;) {
		uint32_t flags = 0;
		struct zv_buf b;
		ssize_t n;
		int rc;

		if (bc->zero_copy)
			n = zv_buf_recv(bc->zc, &b, 1);
		else
			n = zv_recv(bc->zc, w->rxbuf, w->buf_len, &flags);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n == 0 ? 1 : (int)n;
		if (bc->zero_copy) {
			rc = echo_send(w, bc, b.data, b.len, b.flags & ZV_EOM);
			bc->bytes += b.len;
			zv_buf_release(zv_conn_queue(bc->zc), &b, 1);
		} else {
			rc = echo_send(w, bc, w->rxbuf, (uint32_t)n, 0);
			bc->bytes += (uint64_t)n;
		}
		if (rc < 0)
			return rc;
	}
}

static void echo_end(struct worker *w, struct bconn *bc, int rc)
{
	(void)rc; /* the client verifies, and misses what did not come back */
	bc->seq = bc->bytes / bc->size;
	run_add(w->side, bc);
}

const struct zv_role role_echo = {.name = "echo", .event = echo_event, .end = echo_end};
