/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket layer: packets to connections and back, over any transport.
 *
 * Theory of operation
 * -------------------
 * A device (struct zv_dev) has N queues (struct zv_queue), each over one struct transport_queue of
 * a transport. A queue owns all its state: connection table, buffers on loan, lists, timers. Its
 * owner thread is the only one that touches it, so there is no lock; what is shared between queues
 * is the table of listeners (read without lock, see device.c) and a few words of the device.
 *
 *   poll.c    zv_poll: receive a burst, run timers, flush, report events; arm
 *   wait.c    zv_wait and all other calls that block; zv_wake
 *   rx.c      one packet: find the connection, step the state machine, take the payload
 *   tx.c      control packets; may a connection send now? credit, turns, waiting in line
 *   send.c    payload: copied, gathered, or in place
 *   loan.c    received payload: held in ring buffers or in private memory; handed out, given back
 *   conn.c    life of a connection: made, reset, closed, freed; its timers
 *   ctrl.c    HELLO, on an internal connection of each queue
 *   device.c  open, close, listeners
 *   accept.c  connections that wait to be accepted
 *   inspect.c what can be seen from outside: information, counters, the tap
 *   zvsock.c  the public calls: check arguments, enter the queue, dispatch
 *
 * Events are not queued. A connection that may have something to report is on its queue's ready
 * list; zv_poll walks the list, computes each connection's events from its state, reports what is
 * there and drops those that have nothing. So events are level-triggered and cost nothing to undo.
 *
 * Fairness. Who may have the next transmit buffer is for tx_sched.h to say: connections that found
 * none wait in line and have turns.
 *
 * Control packets (REQUEST, RESPONSE, CREDIT_UPDATE, SHUTDOWN, RST) are bits of a connection, not
 * queued packets: a full ring costs no memory. RSTs that belong to no connection wait in a ring of
 * headers per queue. Those that answer stray packets may fill a small one and are then dropped and
 * counted; those of connections that are over (a peer that does not get one keeps its end for ever)
 * make it grow, to as many as the queue may have connections. Other control packets wait behind
 * them, so that a RST never overtakes what comes from the same ports later.
 */
#ifndef ZV_SOCKET_H
#define ZV_SOCKET_H

#include "loan.h"
#include "proto/conn_table.h"
#include "proto/hello.h"
#include "proto/vsock_conn.h"
#include "proto/vsock_credit.h"
#include "proto/vsock_seqpacket.h"
#include "socket/tx_sched.h"
#include "spin.h"
#include "transport.h"

#include <pthread.h>
#include <sys/queue.h>

#define ZV_BURST       32u    /* packets received by one zv_poll */
#define ZV_SLOTS       512u   /* most buffers one sending call reserves at a time */
#define ZV_RX_SHARE    64u    /* of the receive memory that is left, for one connection */
#define ZV_RST_FIFO    64u    /* RST replies to stray packets that may wait for room */
#define ZV_ENDED       256u   /* connections whose end is remembered */
#define ZV_PLAIN_PKT   65536u /* largest packet towards a peer that has not said hello */
#define ZV_MAX_PKT     (1u << 20)
#define ZV_LISTEN_HASH 64u
#define ZV_PORT_LO     49152u /* ephemeral ports */
#define ZV_PORT_HI     0x7fffffffu

/* zv_conn.flags */
#define CF_READY	(1u << 0)  /* on q->ready */
#define CF_CTRL		(1u << 1)  /* on q->ctrl */
#define CF_TIMER	(1u << 3)  /* on a timer list */
#define CF_MORE		(1u << 4)  /* on q->more: holds a packet that is being filled */
#define CF_ACCEPTQ	(1u << 5)  /* waits in an accept queue; no handle outside */
#define CF_INTERNAL	(1u << 6)  /* the HELLO connection; never reported */
#define CF_ORPHAN	(1u << 7)  /* closed by the application, finishing */
#define CF_WANT_OUT	(1u << 8)  /* a call found no room: report ZV_EV_OUT */
#define CF_NEW		(1u << 9)  /* ZV_EV_CONNECT is due */
#define CF_EOF_SEEN	(1u << 10) /* the application has got its 0 */
#define CF_CREDIT_ASKED (1u << 11) /* CREDIT_REQUEST sent; TIMER_CREDIT runs */
#define CF_IN_TABLE	(1u << 12)
#define CF_OVER		(1u << 14) /* on q->over */
#define CF_INCOMING	(1u << 15) /* the peer asked for it */
#define CF_CREDIT_TOLD	(1u << 20) /* a packet of the peer has come since it was asked */
#define CF_UNTOLD	(1u << 21) /* on q->untold */
#define CF_COUNTED	(1u << 16) /* one of max_conns: in the table, neither internal nor closed */

/* zv_conn.pending: control packets to send, in this order */
#define CP_REQUEST	  (1u << 0)
#define CP_RESPONSE	  (1u << 1)
#define CP_CREDIT_UPDATE  (1u << 2)
#define CP_CREDIT_REQUEST (1u << 3)
#define CP_SHUTDOWN	  (1u << 4)
#define CP_RST		  (1u << 5)

/* TIMER_CREDIT to TIMER_CREDIT_LAST: the longer a stock peer gives no credit, the less it is asked.
 */
enum {
	TIMER_CONNECT,
	TIMER_CLOSE,
	TIMER_HELLO,
	TIMER_CREDIT,
	TIMER_CREDIT_SLOW,
	TIMER_CREDIT_LAST,
	TIMERS
};

struct zv_conn {
	struct conn_node node; /* first: the table's node is the connection */
	struct zv_queue *q;
	uint64_t id;	/* node.id, kept after the connection has left the table */
	uint32_t flags; /* CF_* */
	uint16_t type;
	uint8_t state;	 /* enum vc_state */
	uint8_t pending; /* CP_* */
	struct vsock_shut shut;
	uint8_t timer;	    /* TIMER_* while CF_TIMER */
	uint8_t asked;	    /* for credit in a row, in vain */
	uint8_t in_vain;    /* answers in a row after which the peer had read nothing */
	uint32_t asked_fwd; /* the peer's fwd_cnt when it was asked last */
	int32_t err;	    /* why it is VC_CLOSED; 0: cleanly */
	void *user;
	uint32_t mask;	    /* ZV_EV_* that the application wants; see zv_set_events */
	uint32_t want_pkts; /* and the packets of the budget */
	uint32_t want;	    /* CF_WANT_OUT: credit that the blocked call needs */
	/* received: entries of q->rx, oldest first; LOAN_NONE when empty */
	uint32_t rx_head, rx_tail;
	uint32_t rx_queued; /* entries in the list */
	uint32_t rx_lent;   /* ring descriptors withheld from the peer by this connection */
	struct seq_rx seq;
	/* sending */
	uint32_t tx_loans;	     /* buffers reserved by the application */
	uint32_t tx_reserved;	     /* credit reserved with them */
	struct tx_flow flow;	     /* whether it is its turn to have a buffer */
	uint32_t msg_bytes;	     /* SEQPACKET: sent of the message that zv_buf_send has begun */
	uint32_t msg_pkts;	     /* and packets of it; 0: none is open */
	struct tx_slot more;	     /* CF_MORE: the packet being filled */
	uint32_t more_len, more_max; /* bytes in it; bytes of credit that it holds */
	struct vsock_credit credit;
	struct listener *listener; /* CF_ACCEPTQ: whose accept queue */
	uint64_t deadline;
	uint64_t tell_at; /* CF_UNTOLD: when the peer is told of consumed bytes */
	uint64_t tx_bytes, rx_bytes;
	uint64_t promised; /* of zv_opts.rx_memory */
	uint64_t opened_ns;
	TAILQ_ENTRY(zv_conn) ready, ctrl, timers, untold, morelink;
	TAILQ_ENTRY(zv_conn) acceptlink, overlink;
	uint64_t over_seq; /* CF_OVER: rises along q->over */
};

TAILQ_HEAD(conn_list, zv_conn);

static inline struct zv_conn *conn_of_flow(struct tx_flow *f)
{
	return (struct zv_conn *)((char *)f - offsetof(struct zv_conn, flow));
}

/* A port that is listened on. Linked into the device; see device.c for its life. */
struct listener {
	struct listener *next; /* hash chain, read without lock */
	uint32_t port;	       /* ZV_PORT_ANY: the catch-all listener, which waits for answers */
	uint16_t type;	       /* 0: either */
	uint16_t flags;	       /* ZV_LISTEN_* */
	uint32_t backlog;
	uint32_t acked;		      /* queues that have seen the unlinking; under closed_lock */
	struct listener *next_closed; /* device's list of unlinked ones */
	struct accept_queue {
		struct conn_list conns;
		TAILQ_ENTRY(accept_queue) link; /* q->accepts */
		struct listener *listener;
		uint32_t count;
		uint8_t seen_closed;
		uint8_t linked; /* on q->accepts: there are some, and it is not quiet */
		uint8_t quiet;	/* zv_set_accept: no ZV_EV_ACCEPT */
	} SHM_CACHE_ALIGNED q[];
};

TAILQ_HEAD(accept_list, accept_queue);

enum { ARMED = 1, ARMED_SPOKEN };
enum hello_state { HELLO_OFF, HELLO_WAIT, HELLO_DONE, HELLO_PLAIN };

struct zv_queue {
	struct transport_queue *tq;
	struct zv_dev *dev;
	uint32_t index;
	uint32_t session; /* the tq session this state belongs to; not yet tq's while `leaving` */
	uint32_t leaving_to, leave_at; /* the session to come; next place of the table */
	uint8_t leaving;	       /* connections of the session before are left: queue_sync */
	uint8_t leaving_gaps;	       /* some of them lack what they had received */
	uint32_t lost;		       /* tq->lost, as far as it has been looked at */
	uint32_t tick;		       /* polls, to look at the clock only now and then */
	uint32_t behind;	       /* full bursts for which that look has waited */
	uint32_t listen_gen;
	uint8_t host;  /* this side is the host */
	uint8_t armed; /* 0, ARMED, ARMED_SPOKEN: by a call since, that left work. By the owner */
	uint64_t armed_until; /* what its timer is set to */
	uint8_t no_tx;	   /* what is received belongs to a session that is over: nothing is sent */
	uint8_t crowded;   /* zv_wait: somebody else wants this CPU; see wait.c */
	uint8_t hello;	   /* enum hello_state */
	uint8_t hello_due; /* enum ctrl_type that waits for a buffer; 0: none */
	uint8_t budgets_due; /* ctrl_budgets() has places of the table left, from budget_at on */
	uint8_t incoming;    /* host: the guest takes connections on this pair */
	uint32_t max_pkt;    /* payload bytes of the largest packet we may send */
	uint64_t own_cid, peer_cid; /* of this session: of the device, and of whom it leads to */
	struct tx_sched sched;	    /* who may have the next transmit buffer */
	uint32_t wake;		    /* 1: zv_wake was called, not reported yet; any thread */
	uint32_t wait_next;	    /* zv_wait_queues, first queue of the array: who is first */
	uint64_t now;		    /* last look at queue_clock() */
	struct tap {
		zv_tap_fn fn; /* NULL: off */
		void *ctx;
		struct iovec *iov;
		uint32_t room; /* of iov */
	} tap;
	struct conn_table conns;
	struct zv_conn *last; /* connection of the last packet */
	struct conn_list ready, ctrl, more, timers[TIMERS];
	struct conn_list untold; /* consumed bytes that the peer will be told of soon */
	/* out of the table; the application still has the handle, or will get it by zv_accept */
	struct conn_list over;
	uint64_t over_seq; /* of the last that was put there */
	struct zv_conn *hello_conn;
	uint32_t budget_at;
	uint64_t hello_by;	 /* host: when a guest that has not said HELLO runs plain */
	struct hello peer_hello; /* the peer's last one in this session; caps 0: none so far */
	struct rx_loans rx;
	struct tx_loans tx;
	struct vsock_hdr *rst; /* ring of rst_size, a power of two */
	uint32_t rst_size, rst_head, rst_count;
	struct conn_key ended[ZV_ENDED]; /* see conn_ended_lately() */
	struct accept_list accepts;	 /* what ZV_EV_ACCEPT is due for, the next first */
	uint32_t naccepts;		 /* of them */
	uint8_t accept_first;		 /* whose turn an odd place of zv_poll is */
	uint32_t nlive;			 /* connections that count as max_conns: CF_COUNTED */
	struct zv_conn *free_conns;
	uint32_t nfree;
	int epfd, timerfd;
	struct rx_pkt pkts[ZV_BURST];
	struct tx_slot slots[ZV_SLOTS];
};

struct zv_dev {
	struct transport_dev *t;
	const struct transport_ops *ops;
	struct zv_opts opts; /* complete */
	unsigned nqueues;
	uint64_t nonce;
	struct listener *listeners[ZV_LISTEN_HASH];
	struct listener *catch_all;  /* read without lock, as the chains */
	struct listener *closed;     /* unlinked, not yet seen by all queues */
	uint32_t listen_gen;	     /* counts unlistens */
	pthread_mutex_t closed_lock; /* closed, acked, seen_closed */
	struct zv_queue **queues;
};

/* ---- device.c ---- */
struct listener *listener_find(struct zv_dev *dev, uint32_t port);
static inline struct listener *listener_catch_all(struct zv_dev *dev)
{
	return __atomic_load_n(&dev->catch_all, __ATOMIC_ACQUIRE);
}
/* Owner of @q: drops connections that wait on listeners that are gone. */
void listener_sync(struct zv_queue *q);

/* ---- accept.c ---- */
/* @c waits to be accepted, by @l; takes it out of there again. */
void accept_put(struct listener *l, struct zv_conn *c);
void accept_take(struct zv_conn *c);
/* The first connection that waits for @port on @q, or NULL. *@found: there is a listener. */
struct zv_conn *accept_next(struct zv_queue *q, uint32_t port, bool *found);
/* ZV_EV_ACCEPT of the first @max listeners of the *@left that are not reported yet. */
unsigned accept_events(struct zv_queue *q, struct zv_event *events, unsigned max, uint32_t *left);

/* ---- conn.c ---- */
/* A connection in the table, state @state, @flags 0 or CF_INTERNAL; NULL and *err. */
struct zv_conn *conn_new(struct zv_queue *q, const struct conn_key *key, unsigned type,
			 enum vc_state state, unsigned flags, int *err);
/* Over, for @err (0: cleanly): out of the table; freed too when nobody holds the handle. */
void conn_over(struct zv_conn *c, int err);
/* Removes every trace and frees. */
void conn_free(struct zv_conn *c);
/* Sets the budget of unread packets that the peer calls for (vsock_credit.h). */
void conn_pkt_budget(struct zv_conn *c);
/* zv_conn_close, zv_conn_reset, zv_conn_answer after the argument checks. */
int conn_close(struct zv_conn *c);
int conn_reset(struct zv_conn *c);
int conn_answer(struct zv_conn *c, int err);
void conn_timer_start(struct zv_conn *c, unsigned which, uint64_t timeout_ns);
void conn_timer_stop(struct zv_conn *c);
/* The peer is told of consumed bytes a moment from now, unless a packet does before. */
void conn_tell_soon(struct zv_conn *c);
/* Runs timers that are due at q->now. */
void conn_timers_run(struct zv_queue *q);
/* Next deadline of the queue on the monotonic clock, UINT64_MAX when there is none. */
uint64_t conn_timers_next(const struct zv_queue *q);
/*
 * A connection of @key was here, not long ago: what still comes for it was on its way when it
 * ended. A guess (the last end of each of ZV_ENDED places), good enough for counters.
 */
bool conn_ended_lately(struct zv_queue *q, const struct conn_key *key);
/* Nobody will accept @c, which is in an accept queue. */
void conn_unaccepted(struct zv_conn *c);
/*
 * All connections of a session that is over: ECONNRESET, or closed when the peer had closed. On the
 * host's side a RST for each waits for a session with the same driver.
 */
void conn_reset_all(struct zv_queue *q);
/* The same piece by piece: see queue_sync. The last: true when none is left. */
void conn_leave_begin(struct zv_queue *q);
bool conn_leave_some(struct zv_queue *q);
/* This one at once, if its turn has not come yet. */
void conn_leave(struct zv_conn *c);
/*
 * Ends the connection by RST when the peer has shut down both ways and everything is read (section
 * 5.10.6.5). True: it is over; when nobody has the handle, @c is freed.
 */
bool conn_drained(struct zv_conn *c);

/* Puts the connection on the ready list: it may have an event. */
static inline void conn_ready(struct zv_conn *c)
{
	if (c->flags & (CF_READY | CF_INTERNAL | CF_ORPHAN | CF_ACCEPTQ))
		return;
	c->flags |= CF_READY;
	TAILQ_INSERT_TAIL(&c->q->ready, c, ready);
}

/*
 * One end of every connection is the guest of the device; the other is the host, or a sibling
 * guest for which the host speaks: that is the CID of the connection's key.
 */
static inline uint64_t queue_guest_cid(const struct zv_queue *q)
{
	return q->host ? q->peer_cid : q->own_cid;
}

static inline uint64_t conn_local_cid(const struct zv_conn *c)
{
	return c->q->host ? c->node.key.cid : c->q->own_cid;
}

static inline uint64_t conn_peer_cid(const struct zv_conn *c)
{
	return c->q->host ? c->q->peer_cid : c->node.key.cid;
}

static inline bool cid_is_sibling(const struct zv_queue *q, uint64_t cid)
{
	return vsock_cid_is_guest(cid) && cid != queue_guest_cid(q);
}

/*
 * The peer of @c, if it is a stock one, joins small packets of a stream in its queue: it is a
 * guest, whose kernel has posted buffers and keeps what is left of them. A host kernel's have no
 * such room.
 */
static inline bool tx_joins(const struct zv_conn *c)
{
	return c->q->host && c->type == ZV_STREAM;
}

uint64_t zv_now(void);

/* The clock of the queue's timers: it stands still while the rings are paused (transport.h). */
static inline uint64_t queue_clock(const struct zv_queue *q)
{
	uint64_t at = q->tq->paused_at;

	return (at ? at : zv_now()) - q->tq->paused_ns;
}

/* @ns after @now; UINT64_MAX, never, when that is beyond the clock's range. */
static inline uint64_t time_after(uint64_t now, uint64_t ns)
{
	return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

/* Enters a queue for a public call: waits, for a bounded time, while the control thread has it. */
static inline void queue_enter(struct zv_queue *q)
{
	unsigned steps = 0;

	while (!quiesce_enter(&q->tq->qs))
		spin_step(&steps);
}

/*
 * After zv_arm: what a call has left to do (an event, a timer, something that waits for a buffer)
 * must make zv_fd readable as well.
 */
void queue_rearm(struct zv_queue *q) __attribute__((cold));

static inline void queue_leave(struct zv_queue *q)
{
	if (__builtin_expect(q->armed, 0))
		queue_rearm(q);
	quiesce_leave(&q->tq->qs);
}

/* ---- inspect.c ---- */
/* Show a packet to the tap. Called only while there is one: q->tap.fn. */
void tap_received(struct zv_queue *q, const struct rx_pkt *p) __attribute__((cold));
void tap_sent(struct zv_queue *q, const struct vsock_hdr *h, uint8_t *data) __attribute__((cold));

/*
 * Capabilities that what we send may rely on. Those that what we receive relies on are
 * peer_hello.caps: they outlive the control connection, as do packets that are on their way.
 */
static inline uint32_t queue_caps(const struct zv_queue *q)
{
	return q->hello == HELLO_DONE ? q->peer_hello.caps : 0;
}

/* ---- rx.c ---- */
void rx_packet(struct zv_queue *q, struct rx_pkt *p);
/* Gives back what @p brought; nobody has seen it. */
void rx_drop(struct zv_queue *q, const struct rx_pkt *p);

/* ---- tx.c, send.c ---- */
/* Marks control packets as due and tries to send them. */
void tx_ctrl(struct zv_conn *c, unsigned pending);
/* Sends what is due and fits: RST replies, then connections' control packets. */
void tx_ctrl_flush(struct zv_queue *q);
/* Sends @len bytes of the control connection in one packet. False: there is no buffer now. */
bool tx_ctrl_msg(struct zv_conn *c, const void *data, uint32_t len);
/* Answers @in by RST (never a RST). */
void tx_rst_reply(struct zv_queue *q, const struct vsock_hdr *in);
/* The RST of @c, which is over: it goes out as soon as there is room. */
void tx_rst_of(const struct zv_conn *c);
/* Wakes the first in line; there are @buffers. */
void tx_wake_waiters(struct zv_queue *q, unsigned buffers);
/* Sends packets that ZV_MORE has kept open. */
void tx_more_flush(struct zv_queue *q);
void tx_more_drop(struct zv_conn *c);
/* Payload bytes that credit lets @c send now; 0 when it cannot send at all. */
uint32_t tx_credit_now(const struct zv_conn *c);
/* The credit that the last blocked call of @c needs is there. */
bool tx_has_credit(const struct zv_conn *c);
/* A packet of the peer while a question is open: one that brings room is the answer, and the next
 * question need not wait for the timer. */
void tx_credit_answer(struct zv_conn *c);
/* TIMER_CREDIT: asks again while the connection is still blocked. */
void tx_credit_retry(struct zv_conn *c);
ssize_t tx_send(struct zv_conn *c, const void *data, size_t len, uint32_t flags);
int tx_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len);
int tx_buf_send(struct zv_conn *c, struct zv_buf *bufs, unsigned n);
void tx_buf_cancel(struct zv_conn *c, struct zv_buf *bufs, unsigned n);
int tx_shutdown(struct zv_conn *c, unsigned how);

/* ---- loan.c: see loan.h ---- */

/* ---- ctrl.c ---- */
/* A session has begun: the guest says hello on this pair, the host waits for it. */
void ctrl_start(struct zv_queue *q);
/* Host: a REQUEST for ZV_CTRL_PORT. Returns the connection or NULL (RST). */
struct zv_conn *ctrl_accept(struct zv_queue *q, const struct vsock_hdr *h);
void ctrl_established(struct zv_conn *c);
void ctrl_data(struct zv_conn *c);
/* Host: the guest has had its time to say HELLO; it may still, later. */
void ctrl_silent(struct zv_queue *q);
/* Sends the HELLO or answer that is due, if there is a buffer by now. */
void ctrl_flush(struct zv_queue *q);
/* Brings the packet budgets of some connections up to what the peer can do. */
void ctrl_budgets(struct zv_queue *q);
/* The HELLO connection is over (RST, timeout, end of the session). */
void ctrl_over(struct zv_conn *c);

/* ---- poll.c ---- */
/* What zv_poll would report of the connection, its mask left aside. */
uint32_t conn_events(const struct zv_conn *c);
/* zv_poll without the events. */
void queue_work(struct zv_queue *q);
int queue_poll(struct zv_queue *q, struct zv_event *events, unsigned max);
/*
 * Asks for notifications of rings and of zv_wake; the timers are up to the caller. 0, or -EAGAIN:
 * there is work or, unless @quiet, an event to report.
 */
int queue_arm_rings(struct zv_queue *q, bool quiet);
int queue_arm(struct zv_queue *q);
/* queue_arm for a queue that was armed before; where that is not to be had, zv_fd is readable. */
void queue_arm_again(struct zv_queue *q);
/* zv_wake was called and zv_poll has not reported it. */
static inline bool queue_woken(const struct zv_queue *q)
{
	return __atomic_load_n(&q->wake, __ATOMIC_SEQ_CST);
}
int queue_fds_open(struct zv_queue *q);
void queue_fds_close(struct zv_queue *q);
/*
 * After quiesce_enter: resets the connections when the session has changed. There may be tens of
 * thousands, and others wait for this thread, so this does some of them, and each poll more. Until
 * all are done the new session has not begun for this queue: nothing is received or sent, there are
 * no new connections (-ENETDOWN), and one that is called is reset first (conn_leave).
 */
void queue_sync(struct zv_queue *q);

#endif
