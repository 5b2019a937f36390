/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the cells of shm-ring-bench. */
#ifndef SHM_BENCH_CELLS_H
#define SHM_BENCH_CELLS_H

#include "shm_access.h"
#include "shm_ring.h"

#include <sched.h>
#include <stdbool.h>
#include <time.h>

#define RTT_ROUNDS 20000u
#define RTT_P50	   10000u
#define RTT_P99	   19800u
#define BATCH_MAX  32u
#define BARE_RING  512u	  /* entries of the bare rings: the same as of the channel here */
#define SPINS	   16384u /* yield now and then, in case others need the CPU */

/* The bare ring, and the words that both processes exchange. */
struct shared {
	uint64_t ping __attribute__((aligned(128)));
	uint64_t pong __attribute__((aligned(128)));
	uint32_t prod __attribute__((aligned(128)));
	uint32_t cons __attribute__((aligned(128)));
	uint32_t ready __attribute__((aligned(128)));
	uint32_t stop;	 /* sent is final */
	uint32_t faulty; /* the receiver found something wrong */
	uint64_t sent;
	uint64_t end_ns; /* when the receiver had all of it */
	uint8_t lines[BARE_RING][64] __attribute__((aligned(128)));
	uint32_t slots[BARE_RING] __attribute__((aligned(128)));
};

struct cell {
	const char *name;
	uint32_t len; /* bytes of a message */
	unsigned batch;
	bool touch;	 /* payload is written, and compared */
	uint32_t nslots; /* 0: payload lies in the ring */
	bool sleep;	 /* on one CPU, instead of polling on two */
	bool many;	 /* beside many idle channels */
	void (*send)(const struct cell *c, uint64_t until);
	void (*recv)(const struct cell *c);
};

/* Of this process, or the same in both. */
extern struct shared *sh;
extern struct shm_region region;
extern struct shm_channel *ch;
extern uint32_t rtt_ns[RTT_ROUNDS];
extern int wake_fd[2]; /* eventfds that the two sleep on */
extern int my_fd;
extern unsigned spins_max;

/* Ends the program. */
void die(const char *what);

/* bare.c */
void ping_send(const struct cell *c, uint64_t until);
void ping_recv(const struct cell *c);
void eventfd_send(const struct cell *c, uint64_t until);
void eventfd_recv(const struct cell *c);
void bare_send(const struct cell *c, uint64_t until);
void bare_recv(const struct cell *c);

/* chan.c */
void chan_ping_send(const struct cell *c, uint64_t until);
void chan_ping_recv(const struct cell *c);
void chan_send(const struct cell *c, uint64_t until);
void chan_recv(const struct cell *c);

/* many.c */
void many_format(const struct shm_channel_desc *busy);
void many_attach(const struct shm_channel_desc *busy, enum shm_role role);
void many_detach(void);
void many_notify(void); /* the sender's end of a burst */
void many_poll(void);	/* the receiver's look */

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void spin(unsigned *spins)
{
	if (++*spins < spins_max)
		return;
	*spins = 0;
	sched_yield();
}

static inline void fill(void *data, uint32_t len, uint64_t seed)
{
	uint64_t *w = data;

	for (uint32_t i = 0; i < len / 8; i++)
		w[i] = seed;
}

static inline void verify(const void *data, uint32_t len, uint64_t seed)
{
	const uint64_t *w = data;
	uint64_t bad = 0;

	for (uint32_t i = 0; i < len / 8; i++)
		bad |= w[i] ^ seed;
	if (bad)
		shm_store32(&sh->faulty, 1);
}

/* Has the receiver got all of @n? */
static inline bool all_of(uint64_t n)
{
	return shm_load_acquire32(&sh->stop) && n == shm_load64(&sh->sent);
}

static inline void report_sent(uint64_t n)
{
	shm_store64(&sh->sent, n);
	shm_store_release32(&sh->stop, 1);
}

#endif
