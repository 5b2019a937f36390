/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A running guest and its queues, shared by lcores, relays, endpoints and the control socket. In
 * the role CFG_AS_GUEST zvsockd is that guest, on a device that it drives; the far end of its
 * connections is then the host, and names that say "guest" mean that end.
 *
 * Threads: a field marked [L] belongs to the lcore of the queue; a field marked atomic may be
 * accessed by any thread; the rest is written by the main thread while no lcore serves the guest.
 */
#ifndef ZVD_GUEST_H
#define ZVD_GUEST_H

#include "base/counters.h"
#include "base/stock.h"
#include "config/config.h"
#include "lcore.h"

#define GUEST_WHY_MAX 640u

struct broker;
struct claims;
struct conn_owner;
struct fd_closer;
struct flow;
struct guest;
struct region;
struct relay;

TAILQ_HEAD(relay_list, relay);

/* What the send buffers of a guest's sockets may take: relay/sndbuf.h. */
struct sndbuf_limits {
	uint64_t memory;     /* of all of a queue, bytes, beside what each has in any case */
	uint32_t local, tcp; /* of a Unix or TCP socket, as the kernel has it */
};

struct guest_queue {
	struct lcore_queue lq;	/* first */
	struct lcore_turn turn; /* of the guest's queues on this lcore, if this is the first */
	struct lcore_turn dgram_turn; /* [L] what its datagrams have taken of a round */
	struct zv_queue *q;
	struct lcore *lc;
	unsigned lcore; /* its number */
	struct guest *guest;
	unsigned index;
	TAILQ_HEAD(, conn_owner) owners; /* [L] of open and opening connections */
	unsigned n_owners;		 /* [L] read by any thread */
	bool ending;	       /* [L] being removed: no connection moves to another queue */
	struct broker *broker; /* [L] for channels: channel/broker.h */
	bool polling;	       /* [L] broker_poll() is running */
	bool no_channels;      /* [L] its driver has none, or has not said HELLO in time */
	struct broker *programs_brokers; /* [L] brokers of programs of the guest */
	struct broker *closing_brokers;	 /* [L] ... that are closed and not yet freed */
	struct claims *claims;		 /* [L] claims of programs: channel/claims.h; NULL: none */
	uint64_t program_msgs_round; /* [L] the lcore's round, and in it: messages of programs that
				      */
	unsigned program_msgs;	     /* [L] ... requests had read, */
	bool hearing;		     /* [L] ... one is read because of a claim of another one, */
	unsigned claims_gone;  /* [L] ... and claims of programs that ended: endpoint_program.c */
	struct broker *asking; /* [L] whose request is being served; NULL: it has not said so */
	void *shares;	       /* [L] of siblings, and their sum: relay/share.h */
	uint32_t n_shared;
	uint64_t round;		   /* [L] lcore round, and the work left in it: relay/flow.h */
	int64_t left;		   /* [L] < 0: overdrawn, to be made up for in later rounds */
	struct cpu_stock connects; /* [L] for slow connects: endpoint/host/net_connect.h */
	uint32_t work_share;	   /* [L] added to it in each round; 0: WORK_ROUND */
	TAILQ_HEAD(flow_list, flow) waiting;	    /* [L] flows waiting for a share of `left` */
	struct lcore_work turns;		    /* [L] gives them their shares */
	const struct flow *called;		    /* [L] the flow that is getting its share */
	struct relay_list sndbufs, sndbufs_waiting; /* [L] relay/sndbuf.h */
	struct lcore_timer sndbuf_retry;	    /* [L] */
	uint64_t sndbufs_used;			    /* [L] of guest.sndbufs.memory */
	bool sndbufs_told;			    /* [L] the log has a line about it */
	uint32_t to_guest_cap; /* [L] size of the guest's receive buffers, as last seen; 0: unknown
				*/
};

struct guest {
	struct guest *next;
	char name[CFG_NAME_MAX];
	uint64_t serial;	     /* unique, never reused */
	const struct cfg_guest *cfg; /* a reload replaces it by an equal one: guest_cfg() */
	struct zv_dev *dev;
	struct region *region; /* of its own memory; where, and who offered it: channel/reach.c */
	uint64_t region_gpa, region_nonce, region_ns; /* ns: when it was offered */
	/* endpoint/endpoint_program.c; atomic. Those that have ended are freed later. */
	unsigned programs, programs_ended;
	uint64_t cid;	    /* as in the log; main thread only */
	uint64_t hinted_ns; /* main thread: attachment of its VMM that the log has a hint about */
	struct guest_queue queues[ZV_QUEUES_MAX];
	unsigned n_queues;
	char *why;			/* during start: GUEST_WHY_MAX bytes for guest_fails() */
	struct guest_counters counters; /* atomic */
	uint32_t fds, max_fds;		/* descriptors of its connections: held, maximum; atomic */
	struct sndbuf_limits sndbufs;
	struct fd_closer
		*closer; /* descriptors sent by local programs; NULL: they cannot send any */
	struct mem_account *mem;   /* of its memory; NULL: it has none of its own */
	uint64_t rests_until;	   /* now_ns(); for the log; atomic */
	void *part[CFG_PARTS_MAX]; /* state of each endpoint type */
};

/* The guest's configuration; on an lcore valid until its next round. */
static inline const struct cfg_guest *guest_cfg(const struct guest *g)
{
	return __atomic_load_n(&g->cfg, __ATOMIC_ACQUIRE);
}

/* Another program of the guest has a place: those that have ended, but are not freed yet, have
 * given theirs back, once each. */
static inline bool guest_has_program_place(const struct guest *g)
{
	const unsigned most = guest_cfg(g)->programs;
	const unsigned ended = __atomic_load_n(&g->programs_ended, __ATOMIC_RELAXED);

	return __atomic_load_n(&g->programs, __ATOMIC_RELAXED) <
	       most + (ended < most ? ended : most);
}

/* The guest's CID, from the configuration or the device; 0: not known yet. Any thread. */
uint64_t guest_cid(const struct guest *g);

/* Records why the guest cannot be started: what, where, how to fix it. Only the first reason is
 * kept. */
void guest_fails(struct guest *g, const char *fmt, ...) ZV_PRINTF(2, 3);

/* Counts one more of @field (counters.h). Any thread. */
#define GUEST_COUNT(gq, field)                                                                     \
	((void)__atomic_fetch_add(&(gq)->guest->counters.field, 1, __ATOMIC_RELAXED))

/* A copy of the counters. Any thread, while the guest lives. */
void guest_counters_read(const struct guest *g, struct guest_counters *to);

/* Reserves a descriptor for a connection; guest_fd_put() returns it. False: the guest, or all
 * guests together, have reached their limit; counted and logged. */
bool guest_fd_get(struct guest_queue *gq);
/* Checks the same without reserving. */
bool guest_fd_available(const struct guest *g);
void guest_fd_put(struct guest_queue *gq);
/* As guest_fd_put() for the connection's descriptor @fd, in which others may be queued (passed.h):
 * it is closed elsewhere, and counts until then. */
void guest_fd_discard(struct guest *g, int fd);
/* The same for @n unwanted descriptors that a local program has sent. */
void guest_fds_passed(struct guest *g, const int *fd, unsigned n);
/* Must be called before the first of them. 0, -ENOMEM. Main thread. */
int guest_expects_passed(struct guest *g);
/* Number of reads of its lcore that may receive descriptors; 0: look first. */
uint32_t guest_passed_reads(const struct guest *g);

/* The system has refused a descriptor (@err: -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM). Counts, logs. */
void guest_fd_refused(struct guest_queue *gq, int err);

#endif
