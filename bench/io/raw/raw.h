/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Raw limits: what two processes reach with no API, protocol or credit between them. They show how
 * much of what the machine allows a transport does not use.
 *
 *   ping, pong  two words in two cache lines; each side spins on the other's
 *   ring        the bare loop: payload slots and a single-producer ring of slot offsets, published
 *               in batches; the sender writes each slot in full, the receiver compares it in full,
 *               both with the functions that the other targets use
 *   rings       the same over virtqueues: raw_ring.h
 *
 * Both sides spin. Where the other side may need the same CPU, a spinner would use its whole time
 * slice before the other runs, so it yields: at once on one CPU, after a while elsewhere. The
 * waiting code of shm-ring and api/spin.h is not used here: it is part of what is compared with
 * these limits.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "core/bench.h"
#include "raw_ring.h"

#include <sched.h>

#include "shm_access.h"

#define RAW_RING    4096u /* more than there are slots at any message size, and the end mark */
#define RAW_END	    UINT64_MAX
#define RAW_SPINS   128u   /* not pinned apart: the peer may wait for this CPU */
#define RAW_SPINS_2 16384u /* pinned apart: somebody else may, but that is rare */

struct raw_shm {
	uint32_t ping __attribute__((aligned(128)));
	uint32_t pong __attribute__((aligned(128)));
	uint64_t tail __attribute__((aligned(128))); /* written by the sender */
	uint64_t head __attribute__((aligned(128))); /* written by the receiver */
	uint64_t ring[RAW_RING] __attribute__((aligned(128)));
	struct raw_vq_mem vq[2]; /* from the guest, to the guest */
	struct side_stats side[2];
	struct rtt_result rtt;
};

struct raw_ctx {
	const struct bench_opts *o;
	const struct bench_cell *c;
	const struct workload_raw *loops; /* of the workload */
	struct raw_shm *shm;
	unsigned char *slots;
	uint32_t nslots, stride;
	uint32_t batch;
	struct raw_vq *vq; /* two virtqueues with nslots buffers each, as raw_shm.vq; NULL: none */
	bool packed;
	int wake[2]; /* --sleep: eventfds on which guest and host sleep */
};

/*
 * Forks two processes that run r->loops, once. The caller has set what says how, not the memory. 0
 * and *@res, or -errno and a sentence.
 */
int raw_run(struct raw_ctx *r, struct bench_result *res, struct proc_err *err);

/*
 * Payload in flight at once. 4 MiB was the fastest on the machines at hand for large messages (they
 * leave the sender's caches before they are read: out of a shared cache they come faster than out
 * of another core's own), 16 KiB for small ones (they stay in the first-level caches).
 */
static inline uint32_t raw_slots(uint32_t msg_size)
{
	uint32_t n = (4u << 20) / (msg_size ? msg_size : 1);

	if (msg_size <= 1024)
		n = 256;
	return n < 4 ? 4 : n;
}

static inline void raw_relax(const struct raw_ctx *r, unsigned *spins)
{
	unsigned most = r->o->cpus == CPUS_1 ? 1 : r->o->cpus == CPUS_2 ? RAW_SPINS_2 : RAW_SPINS;

	if (++*spins < most) /* no pause instruction: it would cost a round trip 40 cycles */
		return;
	*spins = 0;
	sched_yield();
}

#endif
