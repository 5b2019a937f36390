/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device, a queue and a connection are made of.
 *
 * Theory of operation
 * -------------------
 * A device (struct zv_dev) has N queues (struct zv_queue), each over one struct transport_queue of
 * a transport. A queue owns all its state: connection table, buffers on loan, lists, timers. Its
 * owner thread is the only one that touches it, so there is no lock; what is shared between queues
 * is the table of listeners (read without lock, see listener.h) and a few words of the device.
 *
 * The structures consist of groups. The header or comment of each names the file that owns it: only
 * that file changes the group, others look. docs/architecture.md has the files in their order.
 *
 * Events are not queued. A connection that may have something to report is on its queue's ready
 * list; zv_poll walks the list, computes each connection's events from its state, reports what is
 * there and drops those that have nothing. So events are level-triggered and cost nothing to undo.
 */
#ifndef ZV_STATE_H
#define ZV_STATE_H

#include "proto/conn_table.h"
#include "proto/hello.h"
#include "proto/vsock_conn.h"
#include "proto/vsock_credit.h"
#include "proto/vsock_seqpacket.h"
#include "sock_type.h"
#include "spin.h"
#include "transport.h"
#include "tx_sched.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/queue.h>

#define ZV_BURST       32u    /* packets received by one zv_poll */
#define ZV_SLOTS       512u   /* most buffers one sending call reserves at a time */
#define ZV_ENDED       256u   /* connections whose end is remembered */
#define ZV_PLAIN_PKT   65536u /* largest packet towards a peer that has not said hello */
#define ZV_MAX_PKT     (1u << 20)
#define ZV_LISTEN_HASH 64u
#define ZV_PORT_LO     49152u /* ephemeral ports */
#define ZV_PORT_HI     0x7fffffffu

#define LOAN_NONE UINT32_MAX /* no entry of rx_loans, no record of tx_loans */

/* zv_conn.flags */
#define CF_READY	 (1u << 0)  /* on q->ready */
#define CF_CTRL		 (1u << 1)  /* on q->ctrl */
#define CF_TIMER	 (1u << 2)  /* on a timer list */
#define CF_MORE		 (1u << 3)  /* on q->more: holds a packet that is being filled */
#define CF_UPDATE	 (1u << 4)  /* on q->updates */
#define CF_CLOSED	 (1u << 5)  /* on q->closed */
#define CF_IN_TABLE	 (1u << 6)  /* in q->conns */
#define CF_ACCEPTQ	 (1u << 7)  /* waits in an accept queue; no handle outside */
#define CF_INTERNAL	 (1u << 8)  /* the HELLO connection; never reported */
#define CF_ORPHAN	 (1u << 9)  /* closed by the application, finishing */
#define CF_COUNTED	 (1u << 10) /* one of max_conns: in the table, neither internal nor closed */
#define CF_INCOMING	 (1u << 11) /* the peer sent the REQUEST */
#define CF_NEW		 (1u << 12) /* ZV_EV_CONNECT is due */
#define CF_EOF_SEEN	 (1u << 13) /* the application has got its 0 */
#define CF_WANT_OUT	 (1u << 14) /* a call found no room: report ZV_EV_OUT */
#define CF_CREQ_SENT	 (1u << 15) /* CREDIT_REQUEST sent; TIMER_CREDIT runs */
#define CF_CREQ_ANSWERED (1u << 16) /* a packet of the peer has come since */
#define CF_DRAINED	 (1u << 17) /* in the list that rx_buf_release() returns */
#define CF_WOKEN	 (1u << 18) /* ZV_EV_WAKE is due: broker.c */

/* zv_conn.pending: control packets to send, in this order */
#define CP_REQUEST	  (1u << 0)
#define CP_RESPONSE	  (1u << 1)
#define CP_CREDIT_UPDATE  (1u << 2)
#define CP_CREDIT_REQUEST (1u << 3)
#define CP_SHUTDOWN	  (1u << 4)
#define CP_RST		  (1u << 5)

/* TIMER_CREDIT to TIMER_CREDIT_LAST: the longer a stock peer gives no credit, the rarer requests
 * for it are. */
enum {
	TIMER_CONNECT,
	TIMER_CLOSE,
	TIMER_HELLO,
	TIMER_CREDIT,
	TIMER_CREDIT_SLOW,
	TIMER_CREDIT_LAST,
	TIMERS
};

/* ---- a connection ---- */

/* Received payload that the application has not taken: rx_loan.c. */
struct conn_rx {
	uint32_t head, tail; /* entries of q->rx, oldest first; LOAN_NONE when empty */
	uint32_t queued;     /* entries in the list */
	uint32_t lent_descs; /* ring descriptors withheld from the peer by this connection */
	uint32_t app_bytes;  /* that the application has on loan, as credit counts them */
	struct seq_rx seq;   /* SEQPACKET: messages */
};

/* Buffers reserved by the application: tx_buf.c; the message they make: seqpacket.c. */
struct conn_tx {
	uint32_t loans;	    /* buffers reserved */
	uint32_t reserved;  /* credit reserved with them, and by an open packet */
	uint32_t msg_bytes; /* SEQPACKET: sent of the message that zv_buf_send has begun */
	uint32_t msg_pkts;  /* and packets of it; 0: none is open */
};

/* What the last call found missing, while CF_WANT_OUT: tx_wait.c. */
struct conn_blocked {
	uint32_t bytes; /* of credit */
	uint32_t pkts;	/* of the packet budget */
};

/* CREDIT_REQUESTs to a stock peer whose packet budget is used up: tx_wait.c. */
struct conn_creq {
	uint32_t fwd_cnt; /* the peer's, at the last request */
	uint8_t sent;	  /* requests in a row that brought no room */
	uint8_t unread;	  /* answers in a row after which the peer had read nothing */
};

/* The packet that ZV_MORE keeps open, while CF_MORE: tx_data.c. */
struct conn_more {
	TAILQ_ENTRY(zv_conn) link;
	struct tx_slot slot;
	uint32_t len; /* bytes in it */
	uint32_t max; /* bytes of credit that it holds */
};

/* While CF_TIMER: timer.c. */
struct conn_timer {
	TAILQ_ENTRY(zv_conn) link;
	uint64_t deadline; /* of queue_clock() */
	uint8_t which;	   /* TIMER_* */
};

/* A CREDIT_UPDATE that waits for more to tell, while CF_UPDATE: credit.c. */
struct conn_update {
	TAILQ_ENTRY(zv_conn) link;
	uint64_t at;
};

/* While CF_ACCEPTQ: listener.c. */
struct conn_accept {
	TAILQ_ENTRY(zv_conn) link;
	struct listener *listener;
};

/* Closed, and the application has the handle still, while CF_CLOSED: conn.c. */
struct conn_closed {
	TAILQ_ENTRY(zv_conn) link;
	uint64_t seq; /* rises along q->closed */
};

/* For zv_conn_info. */
struct conn_totals {
	uint64_t tx_bytes, rx_bytes;
	uint64_t opened_ns;
};

/* What each packet touches comes first. */
struct zv_conn {
	struct conn_node node; /* first: the table's node is the connection */
	struct zv_queue *q;
	uint64_t id;	 /* node.id, kept after the connection has left the table */
	uint32_t flags;	 /* CF_*; those that say "on a list" belong to the list's owner */
	uint16_t type;	 /* sock->type */
	uint8_t state;	 /* enum vc_state: rx.c, conn.c, close.c */
	uint8_t pending; /* CP_*: tx.c */
	const struct sock_type *sock;
	struct conn_rx rx;
	struct vsock_credit credit;
	struct conn_tx tx;
	struct tx_flow flow; /* tx_sched.c */
	struct conn_totals totals;
	struct vsock_shut shut; /* rx.c, close.c */
	int32_t err;		/* why it is VC_CLOSED; 0: cleanly */
	uint32_t mask;		/* ZV_EV_* that the application wants; see zv_set_events */
	union {
		void *user;		   /* of the application: zv_set_user */
		struct zv_conn *next_free; /* of a structure in q->pool.free */
	};
	TAILQ_ENTRY(zv_conn) ready_link; /* CF_READY */
	struct conn_blocked blocked;
	struct conn_creq creq;
	TAILQ_ENTRY(zv_conn) ctrl_link; /* CF_CTRL: tx.c */
	struct conn_timer timer;
	struct conn_update update;
	struct conn_more more;
	struct conn_accept accept;
	struct conn_closed closed;
	struct zv_conn *drained_next; /* CF_DRAINED */
	struct chan *chan;	      /* NULL: payload travels in packets. chan.c */
	uint64_t promised;	      /* of zv_opts.rx_memory: credit.c */
};

/* Two lines to find a connection and take a packet; what else a packet touches follows them. */
_Static_assert(offsetof(struct zv_conn, credit) <= 128 && offsetof(struct zv_conn, shut) <= 384,
	       "a packet touches few cache lines of a connection");

TAILQ_HEAD(conn_list, zv_conn);

/* ---- a queue ---- */

/*
 * tq->session counts from 0, a few times a second at most. That of a new queue is not read for a
 * start: a VMM that has waited for the socket may attach while zv_open is still at work.
 */
#define SESSION_NONE UINT32_MAX

/* Which session of the rings the connections belong to: session.c. */
struct queue_session {
	uint64_t own_cid, peer_cid; /* of the device, and of whom it leads to */
	uint32_t id;		    /* tq->session of it; not yet tq's while `leaving` */
	uint32_t next, leave_at;    /* the session to come; next place of the table */
	uint32_t lost;		    /* tq->lost, as far as it has been looked at */
	uint32_t gone;		    /* tq->gone, the same */
	/* 1: connections of the former session have still to be ended (session_sync) */
	uint8_t leaving;
	/* 1: unread payload of theirs that lies in guest memory may be wrong (tq->lost) */
	uint8_t gaps;
	/* 1: what is received belongs to a session that is over, so nothing is sent */
	uint8_t no_tx;
};

enum peer_state { HELLO_OFF, HELLO_WAIT, HELLO_DONE, HELLO_PLAIN };

/* What the peer of this session can do: peer.c. */
struct queue_peer {
	uint32_t max_pkt;   /* payload bytes of the largest packet that may be sent */
	uint8_t state;	    /* enum peer_state; read by any thread */
	bool channels;	    /* it can use them; as state, and set before */
	bool dgrams;	    /* both sides use them; the same */
	uint64_t hello_by;  /* host: when a guest that has not said HELLO runs plain */
	struct hello hello; /* the peer's last one in this session; caps 0: none so far */
	/* Over kernel sockets, where no session ends with the control connection: */
	uint64_t again_at; /* queue_clock() of the next HELLO; UINT64_MAX: none is due */
	uint64_t again_ns; /* until then, if it fails; 0: there never was a zvsock peer */
};

#define HELLO_NEWS_PEER (1u << 0) /* the peer has said HELLO */
#define HELLO_NEWS_GONE (1u << 2) /* the peer of the session before has gone for good */
#define HELLO_NEWS_DATA (1u << 1) /* something has come since it found no whole message */

/* The control connection: hello_conn.c, and peer.c when it is over. */
struct queue_hello {
	struct zv_conn *conn;
	uint8_t due;  /* enum ctrl_type that waits for a buffer; 0: none */
	uint8_t news; /* HELLO_NEWS_*: what zv_broker_recv has to look at */
};

/* Packet budgets of connections that are to follow what the peer can do: credit.c. */
struct queue_budgets {
	uint32_t at; /* next place of the table */
	uint8_t due; /* there are places left */
};

/* RSTs that wait for a buffer: tx.c. */
struct queue_rst {
	struct vsock_hdr *ring; /* `size` headers, a power of two */
	uint32_t size, head, count;
};

enum { ARMED = 1, ARMED_READABLE };
/* What is behind zv_fd. FD_LOOKED: somebody has looked which of the others are readable. */
enum { FD_RINGS = 1, FD_TIMER = 2, FD_BELLS = 4, FD_LOOKED = 8 };
#define FDS 3u

/* Asking for notifications, and zv_fd: arm.c. */
struct queue_arm {
	uint64_t until; /* what the timer is set to, for who sleeps on zv_fd */
	uint64_t
		runs; /* the timer runs out then, or by zv_wake before; UINT64_MAX: it is not set */
	uint32_t wake;	/* 1: zv_wake was called, not reported yet; any thread */
	uint32_t timer; /* 1: the timer has been set, and not been read since; any thread */
	uint8_t state;	/* 0; ARMED; ARMED_READABLE: zv_fd was made readable since, because a call
			   left work. Written by the owner */
	uint8_t seen;	/* what a sleep of zv_wait has seen readable: FD_*; 0: unknown */
	int epfd, timerfd;
};

/* Who sees every packet: tap.c, zv_set_tap. */
struct queue_tap {
	zv_tap_fn fn; /* NULL: off */
	void *ctx;
	struct iovec *iov;
	uint32_t room; /* of iov */
};

/* Received buffers: rx_loan.c. */
struct rx_loans {
	struct rx_entry *e;
	uint32_t size, free;	/* entries allocated; head of the free list */
	uint32_t top;		/* entries from here on have never been used */
	uint32_t used;		/* entries in use */
	uint32_t lent_descs;	/* descriptors withheld from the peer */
	uint32_t holders;	/* connections that withhold some */
	uint32_t app_loans;	/* entries that the application has */
	uint64_t serial;	/* of the last loan */
	const uint32_t *faults; /* tq->faults, or a word that is always 0 */
	uint32_t faults_seen;	/* *faults when the last look found nothing on loan */
};

/* Sends from memory of the application: tx_mem.c. */
struct mem_sends {
	struct mem_send *s;
	uint32_t size, free;  /* records allocated; head of the free list */
	uint32_t first, last; /* of those that are over, in this order; LOAN_NONE: none */
	uint32_t out;	      /* packets that the device has */
};

/* Buffers reserved for sending: tx_buf.c. */
struct tx_loans {
	struct tx_loan *l;
	uint32_t size, free; /* records allocated; head of the free list */
	uint32_t app_loans;  /* buffers that the application has */
	uint64_t serial;     /* of the last loan */
};

TAILQ_HEAD(accept_list, accept_queue);
TAILQ_HEAD(chan_list, chan);
LIST_HEAD(ringer_list, chan_ringer);

/* Connections whose payload goes through shared memory (chan_state.h): chan.c, stages: chan_tx.c.
 */
struct queue_chans {
	uint32_t n;	      /* attached, and in tab */
	uint32_t size;	      /* of tab */
	struct chan **tab;    /* by their numbers; NULL: free */
	struct chan_list hot; /* that zv_poll looks at */
	uint32_t nhot;
	uint64_t look_at; /* queue_clock() of the next chans_tick(); UINT64_MAX: none is due */
	uint32_t looked;  /* places of tab that it has looked at so far */
	struct chan_bells *bells; /* chan_bell.c; NULL: peers send packets */
	struct ringer_list ringers;
	struct {
		uint8_t **slab;
		struct chan_out *out;
		uint32_t *free; /* their numbers */
		uint32_t size, nfree;
	} stage; /* memory for reserved buffers that are short enough for the ring */
};

TAILQ_HEAD(region_list, queue_region);
TAILQ_HEAD(grant_list, grant);
STAILQ_HEAD(ctrl_out_list, ctrl_out);

/* Regions that the device has announced, and channels that it has granted: grant.c. */
struct queue_grants {
	struct region_list regions;
	uint32_t nregions;
	uint32_t mapping;	   /* of them: those whose mapping is under way */
	struct grant_list pending; /* for connections whose REQUEST is still to come */
	uint32_t npending;
	struct grant_list held; /* all of them, until they are released */
	uint32_t nheld;
	struct ctrl_out *spare; /* for when there is no memory */
	bool spoken;		/* there was a session before, whose messages may have been lost */
	bool offer_due;	 /* in this session, once nothing is held in the memory to be offered */
	uint64_t device; /* whose grants are held: the nonce of its HELLO_ACK */
	struct ctrl_out_list out; /* what this side has to say: sent when there is a buffer */
	uint32_t nout;
};

struct zv_queue {
	struct transport_queue *tq;
	struct zv_dev *dev;
	uint32_t index;
	uint8_t host;	 /* this side is the host */
	uint8_t any_cid; /* the transport says which CIDs can be reached */
	struct queue_session session;
	struct queue_peer peer;
	struct queue_hello hello;
	struct queue_budgets budgets;
	struct {		 /* poll.c, timer.c */
		uint32_t tick;	 /* polls, to look at the clock only now and then */
		uint32_t behind; /* full bursts for which that look has waited */
		uint64_t now;	 /* last look at queue_clock() */
	} clock;
	struct queue_arm arm;
	struct {		  /* wait.c */
		uint32_t next;	  /* zv_wait_queues: index of the queue that it polls first */
		struct idle idle; /* spin.h */
	} wait;
	struct queue_tap tap;
	struct conn_table conns; /* conn.c */
	struct zv_conn *last;	 /* connection of the last packet: rx.c */
	struct conn_list ready;
	struct conn_list ctrl;		 /* control packets wait for a buffer: tx.c */
	struct conn_list more;		 /* packets kept open: tx_data.c */
	struct conn_list updates;	 /* CREDIT_UPDATEs that wait a moment: credit.c */
	struct conn_list timers[TIMERS]; /* timer.c */
	struct tx_sched sched;		 /* tx_sched.c */
	struct {			 /* datagrams: dgram.c */
		struct tx_flow flow;	 /* all that are sent */
		bool waits;		 /* a sender, for the end of HELLO */
	} dgram;
	struct {		       /* conn.c */
		struct conn_list list; /* out of the table; the application has the handle, or
					  will get it by zv_accept */
		uint64_t seq;	       /* of the last that was put there */
	} closed;
	struct {		/* conn.c */
		uint32_t live;	/* connections that count as max_conns: CF_COUNTED */
		uint32_t nfree; /* structures kept for the next connections */
		struct zv_conn *free;
	} pool;
	struct { /* listener.c; first: poll.c */
		/* What ZV_EV_ACCEPT or ZV_EV_DGRAM is due for, the next first. */
		struct accept_list due;
		uint32_t ndue;	     /* of them, and `room` */
		uint32_t listen_gen; /* dev->listen_gen, as far as it has been looked at */
		uint8_t first;	     /* 1: ports get the larger half of an odd number of events */
		uint8_t room;	     /* 1: ZV_EV_DGRAM_OUT is due */
	} accept;
	struct rx_loans rx;
	struct tx_loans tx;
	struct mem_sends mem;
	struct queue_chans chans;
	struct queue_grants grants;
	struct queue_rst rst;
	struct conn_key ended[ZV_ENDED]; /* conn_ended_lately(): conn.c */
	struct rx_pkt pkts[ZV_BURST];	 /* of one call */
	struct tx_slot slots[ZV_SLOTS];	 /* of one call */
};

/* ---- a device ---- */

/* Two kinds of ports: a number of the one is not taken by the other. */
enum port_space { PORTS_CONN, PORTS_DGRAM, PORT_SPACES };

struct zv_dev {
	struct transport_dev *t;
	const struct transport_ops *ops;
	struct zv_opts opts; /* complete */
	unsigned nqueues;
	uint64_t nonce; /* of its HELLOs */
	struct zv_queue **queues;
	/* listener.c */
	struct listener *listeners[PORT_SPACES][ZV_LISTEN_HASH];
	struct listener *catch_all[PORT_SPACES]; /* read without lock, as the chains */
	struct listener *closed;		 /* unlinked, not yet seen by all queues */
	uint32_t listen_gen;			 /* counts unlistens */
	pthread_mutex_t closed_lock;		 /* closed, acked, seen_closed */
	struct zv_mem *mems;			 /* registered: mem.c */
	uint32_t held_own; /* ends of channels in memory that this side offers, of all queues;
			      atomic */
};

static inline struct zv_conn *conn_of_flow(struct tx_flow *f)
{
	return (struct zv_conn *)((char *)f - offsetof(struct zv_conn, flow));
}

/* Puts the connection on the ready list: it may have an event. */
static inline void conn_ready(struct zv_conn *c)
{
	if (c->flags & (CF_READY | CF_INTERNAL | CF_ORPHAN | CF_ACCEPTQ))
		return;
	c->flags |= CF_READY;
	TAILQ_INSERT_TAIL(&c->q->ready, c, ready_link);
}

/* A receiving call would find something: a whole message, or any bytes. */
static inline bool conn_has_data(const struct zv_conn *c)
{
	return c->sock->framed ? c->rx.seq.msgs != 0 : c->rx.queued != 0;
}

/*
 * One end of every connection is the guest of the device; the other is the host, or a sibling
 * guest for which the host speaks: that is the CID of the connection's key.
 */
static inline uint64_t queue_guest_cid(const struct zv_queue *q)
{
	return q->host ? q->session.peer_cid : q->session.own_cid;
}

static inline uint64_t conn_local_cid(const struct zv_conn *c)
{
	return c->q->host ? c->node.key.cid : c->q->session.own_cid;
}

static inline uint64_t conn_peer_cid(const struct zv_conn *c)
{
	return c->q->host ? c->q->session.peer_cid : c->node.key.cid;
}

/* To an application of the host, which has CID 2 itself, the others are guests and CID 1. */
static inline bool cid_is_sibling(const struct zv_queue *q, uint64_t cid)
{
	uint64_t own = queue_guest_cid(q);

	return q->any_cid || (cid != own && (vsock_cid_is_guest(cid) ||
					     (cid == VSOCK_CID_LOCAL && own == VSOCK_CID_HOST)));
}

/*
 * Capabilities that what we send may rely on. Those that what we receive relies on are
 * peer.hello.caps: they outlive the control connection, as do packets that are on their way.
 */
static inline uint32_t queue_caps(const struct zv_queue *q)
{
	return q->peer.state == HELLO_DONE ? q->peer.hello.caps : 0;
}

#endif
