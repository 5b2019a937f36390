/* SPDX-License-Identifier: BSD-3-Clause */
/* Bare loops that show the machine's limits: no API, no header, no doorbell. */
#include "cells.h"

#include <sys/eventfd.h>

void bare_send(const struct cell *c, uint64_t until)
{
	uint32_t pos = 0, cons = 0, room = c->nslots ? c->nslots : BARE_RING;
	uint8_t *slots = region.addr;
	unsigned spins = 0;

	for (unsigned k = 0; k % 64 || now_ns() < until; k++) {
		unsigned n;

		while (pos + c->batch - cons > room) {
			spin(&spins);
			cons = shm_load_acquire32(&sh->cons);
		}
		for (n = 0; n < c->batch; n++, pos++) {
			if (!c->nslots) {
				fill(sh->lines[pos % BARE_RING], c->len, pos);
				continue;
			}
			fill(slots + (size_t)(pos % c->nslots) * c->len, c->len, pos);
			shm_store32(&sh->slots[pos % BARE_RING], pos % c->nslots);
		}
		shm_store_release32(&sh->prod, pos);
	}
	report_sent(pos);
}

void bare_recv(const struct cell *c)
{
	uint8_t *slots = region.addr;
	uint32_t pos = 0, prod = 0;
	unsigned spins = 0;

	while (!all_of(pos)) {
		uint32_t from = pos;

		prod = shm_load_acquire32(&sh->prod);
		for (; pos != prod && pos - from < BATCH_MAX; pos++)
			if (c->nslots)
				verify(slots + (size_t)shm_load32(&sh->slots[pos % BARE_RING]) *
						       c->len,
				       c->len, pos);
			else
				verify(sh->lines[pos % BARE_RING], c->len, pos);
		if (pos != from)
			shm_store_release32(&sh->cons, pos);
		else
			spin(&spins);
	}
}

void ping_send(const struct cell *c, uint64_t until)
{
	(void)c;
	(void)until;
	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		uint64_t begin = now_ns();
		unsigned spins = 0;

		shm_store_release64(&sh->ping, i);
		while (shm_load_acquire64(&sh->pong) != i)
			spin(&spins);
		rtt_ns[i - 1] = (uint32_t)(now_ns() - begin);
	}
}

void ping_recv(const struct cell *c)
{
	(void)c;
	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		unsigned spins = 0;

		while (shm_load_acquire64(&sh->ping) != i)
			spin(&spins);
		shm_store_release64(&sh->pong, i);
	}
}

void eventfd_send(const struct cell *c, uint64_t until)
{
	eventfd_t n;

	(void)c;
	(void)until;
	for (unsigned i = 0; i < RTT_ROUNDS; i++) {
		uint64_t begin = now_ns();

		if (eventfd_write(wake_fd[1], 1) || eventfd_read(wake_fd[0], &n))
			die("eventfd failed");
		rtt_ns[i] = (uint32_t)(now_ns() - begin);
	}
}

void eventfd_recv(const struct cell *c)
{
	eventfd_t n;

	(void)c;
	for (unsigned i = 0; i < RTT_ROUNDS; i++)
		if (eventfd_read(wake_fd[1], &n) || eventfd_write(wake_fd[0], 1))
			die("eventfd failed");
}
