/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A running guest and its queues, which lcores, relays, endpoints and the control socket share. In
 * the role CFG_AS_GUEST zvsockd is that guest, on a device that it drives; the far end of its
 * connections is then the host, and names that say "guest" mean that end.
 *
 * Threads: a field marked [L] belongs to the lcore of the queue; what is marked atomic may be
 * touched by any thread; the rest is written by the main thread, while no lcore serves the guest.
 */
#ifndef ZVD_GUEST_H
#define ZVD_GUEST_H

#include "config/config.h"
#include "counters.h"
#include "lcore.h"

#define GUEST_WHY_MAX 640u

struct broker;
struct claims;
struct conn_owner;
struct fd_bin;
struct flow;
struct guest;
struct region;

struct guest_queue {
	struct lcore_queue lq; /* first */
	struct zv_queue *q;
	struct lcore *lc;
	unsigned lcore; /* its number */
	struct guest *guest;
	unsigned index;
	TAILQ_HEAD(, conn_owner) owners; /* [L] of connections, made or in the making */
	unsigned n_owners;		 /* [L] read by any thread */
	bool ending;			 /* [L] being removed: none is moved to another queue */
	struct broker *broker;		 /* [L] of channels: channel/broker.h */
	bool hearing;			 /* [L] broker_news() is at work */
	struct broker *lines;		 /* [L] the same, of programs of the guest */
	struct broker *cut_lines; /* [L] ... whose users have not all been told that it is over */
	struct claims *claims;	  /* [L] of those: channel/claims.h; NULL: none */
	uint64_t heard_round;	  /* [L] the lcore's round, and in it: messages of programs that */
	unsigned heard;		  /* [L] ... requests had read, */
	unsigned claims_gone;  /* [L] ... and claims of programs that ended: endpoint_program.c */
	struct broker *asking; /* [L] whose request is being served; NULL: it has not said so */
	void *shares;	       /* [L] of siblings, and their sum: relay/share.h */
	uint32_t n_shared;
	uint64_t round; /* [L] the lcore's round, and the work that is left in it: relay/flow.h */
	int64_t left;	/* [L] < 0: was overdrawn, which the next rounds make up for */
	TAILQ_HEAD(flow_list, flow) waiting; /* [L] for a share of that */
	struct lcore_work turns;	     /* [L] gives it to them */
	const struct flow *called;	     /* [L] who is just getting it */
	uint32_t to_guest_cap; /* [L] size of the guest's receive buffers, as last seen; 0: not
				  known */
};

struct guest {
	struct guest *next;
	char name[CFG_NAME_MAX];
	uint64_t serial;	     /* no other one has it, nor had it */
	const struct cfg_guest *cfg; /* a reload replaces it by its equal: guest_cfg() */
	struct zv_dev *dev;
	struct region *region; /* of its own memory; where, and who offered it: channel/reach.c */
	uint64_t region_gpa, region_nonce, region_ns; /* ns: when it was offered */
	unsigned programs;			      /* endpoint/endpoint_program.c; atomic */
	uint64_t cid;				      /* as the log has it; the main thread's */
	struct guest_queue queues[ZV_QUEUES_MAX];
	unsigned n_queues;
	char *why; /* while it is being started: GUEST_WHY_MAX bytes for guest_fails() */
	struct guest_counters counters; /* atomic */
	uint32_t fds, max_fds;		/* descriptors that its connections hold, and may; atomic */
	struct fd_bin *bin; /* what local programs have sent; NULL: there is nobody who can */
	void *part[CFG_PARTS_MAX]; /* what each endpoint type keeps of it */
};

/* The guest's configuration; on an lcore valid until its next round. */
static inline const struct cfg_guest *guest_cfg(const struct guest *g)
{
	return __atomic_load_n(&g->cfg, __ATOMIC_ACQUIRE);
}

/* The guest's CID, whoever says which it is; 0: not known yet. Any thread. */
uint64_t guest_cid(const struct guest *g);

/* Notes why the guest cannot be started: what, where, how to mend it. The first reason counts. */
void guest_fails(struct guest *g, const char *fmt, ...) ZV_PRINTF(2, 3);

/* Counts one more of @field (counters.h). Any thread. */
#define GUEST_COUNT(gq, field)                                                                     \
	((void)__atomic_fetch_add(&(gq)->guest->counters.field, 1, __ATOMIC_RELAXED))

/* A copy of the counters. Any thread, while the guest lives. */
void guest_counters_read(const struct guest *g, struct guest_counters *to);

/*
 * Room for one more descriptor of a connection; guest_fd_put() gives it back. False: the guest, or
 * all guests together, have what they may have; counted and logged.
 */
bool guest_fd_get(struct guest_queue *gq);
/* The same question, without an answer that lasts. */
bool guest_fd_room(const struct guest *g);
void guest_fd_put(struct guest_queue *gq);
/*
 * As guest_fd_put() for the connection's descriptor @fd, which others may wait in (passed.h): it is
 * closed elsewhere, and counts until then.
 */
void guest_fd_discard(struct guest *g, int fd);
/* The same for @n descriptors that a local program has sent and that are not wanted. */
void guest_fds_passed(struct guest *g, const int *fd, unsigned n);
/* Before the first of them. 0, -ENOMEM. Main thread. */
int guest_expects_passed(struct guest *g);
/* How many reads of its lcore may receive descriptors; 0: look first. */
uint32_t guest_passed_reads(const struct guest *g);

/* The system has refused a descriptor (@err: -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM). Counts, logs. */
void guest_fd_refused(struct guest_queue *gq, int err);

#endif
