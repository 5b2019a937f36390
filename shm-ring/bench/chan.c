/* SPDX-License-Identifier: BSD-3-Clause */
/* The same through a channel. */
#include "cells.h"

#include <sys/eventfd.h>

/* Sends one message of @c->len bytes, written in place. */
static void put_one(const struct cell *c, uint64_t seed)
{
	unsigned spins = 0;
	struct shm_msg m;

	while (shm_channel_reserve(ch, &m, 1, c->len) != 1)
		spin(&spins);
	m.len = c->len;
	fill(m.data, c->len, seed);
	if (shm_channel_send(ch, &m, 1) != 1)
		die("a reserved place was not taken");
	shm_channel_notify(ch);
}

static void sleep_on(int fd)
{
	eventfd_t n;

	if (shm_channel_arm(ch, SHM_WANT_DATA, 0) == 0 && eventfd_read(fd, &n))
		die("eventfd failed");
	shm_channel_disarm(ch);
}

static void get_one(const struct cell *c, uint64_t seed, struct shm_msg *m)
{
	unsigned spins = 0;

	while (shm_channel_recv(ch, m, 1) != 1)
		if (c->sleep)
			sleep_on(my_fd);
		else
			spin(&spins);
	verify(m->data, c->len, seed);
}

void chan_ping_send(const struct cell *c, uint64_t until)
{
	struct shm_msg m;

	(void)until;
	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		uint64_t begin = now_ns();

		put_one(c, i);
		get_one(c, i, &m);
		rtt_ns[i - 1] = (uint32_t)(now_ns() - begin);
		shm_channel_release(ch, &m, 1);
	}
}

void chan_ping_recv(const struct cell *c)
{
	struct shm_msg m;

	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		get_one(c, i, &m);
		put_one(c, i);
		shm_channel_release(ch, &m, 1);
	}
}

void chan_send(const struct cell *c, uint64_t until)
{
	struct shm_msg m[BATCH_MAX];
	unsigned spins = 0;
	uint64_t pos = 0;

	for (unsigned k = 0; k % 64 || now_ns() < until; k++) {
		int n, sent = 0;

		do {
			n = c->nslots ? shm_channel_alloc(ch, m, c->batch, c->len)
				      : shm_channel_reserve(ch, m, c->batch, c->len);
			if (n < 0)
				die("the channel broke");
			if (!n)
				spin(&spins);
		} while (!n);
		for (int i = 0; i < n; i++, pos++) {
			m[i].len = c->len;
			if (c->touch)
				fill(m[i].data, c->len, pos);
		}
		while (sent < n) {
			int rc = shm_channel_send(ch, m + sent, (unsigned)(n - sent));

			if (rc < 0)
				die("the channel broke");
			sent += rc;
		}
		shm_channel_notify(ch);
		if (c->many)
			many_notify();
	}
	report_sent(pos);
}

void chan_recv(const struct cell *c)
{
	struct shm_msg m[BATCH_MAX];
	unsigned spins = 0, looks = 0;
	uint64_t pos = 0;

	while (!all_of(pos)) {
		int n = shm_channel_recv(ch, m, BATCH_MAX);

		if (n < 0)
			die("the channel broke");
		if (c->many && ++looks % 16 == 0) /* a name may wait for so many bursts */
			many_poll();
		for (int i = 0; i < n; i++, pos++) {
			if (c->touch)
				verify(m[i].data, m[i].len, pos);
			/*
			 * Large slots are returned one by one, because the sender may be waiting.
			 */
			if (c->len >= 4096)
				shm_channel_release(ch, &m[i], 1);
		}
		if (c->len < 4096)
			shm_channel_release(ch, m, (unsigned)n);
		if (n)
			shm_channel_notify(ch);
		else
			spin(&spins);
	}
}
