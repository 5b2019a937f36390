/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State of a device, a queue and a connection.
 *
 * Theory of operation
 * -------------------
 * A device (struct zv_dev) has N queues (struct zv_queue), each on one struct transport_queue of a
 * transport. A queue owns all its state: connection table, buffers on loan, lists, timers. Only its
 * owner thread touches it, so there is no lock. Queues share only the table of listeners (read
 * without a lock, see listener.h) and a few words of the device.
 *
 * The structures consist of groups. The header or comment of each names the file that owns it: only
 * that file changes the group, others only read it. docs/architecture.md lists the files in their
 * order.
 *
 * Events are not queued. A connection that may have something to report is on its queue's ready
 * list; zv_poll walks the list, computes each connection's events from its state, reports them, and
 * removes connections that have none. So events are level-triggered and cost nothing to undo.
 */
#ifndef ZV_STATE_H
#define ZV_STATE_H

#include "proto/ctrl/hello.h"
#include "proto/vsock/conn_table.h"
#include "proto/vsock/vsock_conn.h"
#include "proto/vsock/vsock_credit.h"
#include "proto/vsock/vsock_seqpacket.h"
#include "sock_type.h"
#include "spin.h"
#include "transport.h"
#include "tx_sched.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/queue.h>

#define ZV_BURST       32u    /* packets received by one zv_poll */
#define ZV_SLOTS       512u   /* most buffers that one sending call reserves at a time */
#define ZV_ENDED       256u   /* ended connections that are remembered */
#define ZV_PLAIN_PKT   65536u /* largest packet to a peer without HELLO */
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
#define CF_EOF_SEEN	 (1u << 13) /* the application has received its 0 (end of file) */
#define CF_WANT_OUT	 (1u << 14) /* a call found no room: report ZV_EV_OUT */
#define CF_CREQ_SENT	 (1u << 15) /* CREDIT_REQUEST sent; TIMER_CREDIT runs */
#define CF_CREQ_ANSWERED (1u << 16) /* the peer has sent a packet since */
#define CF_DRAINED	 (1u << 17) /* in the list that rx_buf_release() returns */
#define CF_WOKEN	 (1u << 18) /* ZV_EV_WAKE is due: broker.c */

/* zv_conn.pending: control packets to send, in this order */
#define CP_REQUEST	  (1u << 0)
#define CP_RESPONSE	  (1u << 1)
#define CP_CREDIT_UPDATE  (1u << 2)
#define CP_CREDIT_REQUEST (1u << 3)
#define CP_SHUTDOWN	  (1u << 4)
#define CP_RST		  (1u << 5)

/*
 * TIMER_CREDIT to TIMER_CREDIT_LAST: the longer a peer that is not zvsock gives no credit, the less
 * often it is requested.
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

/* ---- a connection ---- */

/* Received payload that the application has not taken: rx_loan.c. */
struct conn_rx {
	uint32_t head, tail; /* entries of q->rx, oldest first; LOAN_NONE when empty */
	uint32_t queued;     /* entries in the list */
	uint32_t lent_descs; /* ring descriptors withheld from the peer by this connection */
	uint32_t returned;   /* ring descriptors that it has given back; wraps */
	uint32_t app_bytes;  /* bytes on loan to the application, as credit counts them */
	struct seq_rx seq;   /* SEQPACKET: messages */
};

/* Buffers reserved by the application: tx_buf.c; the message that they form: seqpacket.c. */
struct conn_tx {
	uint32_t loans;	    /* buffers reserved */
	uint32_t returned;  /* buffers that were, and are sent or cancelled; stops at the maximum */
	uint32_t reserved;  /* credit reserved by them and by an open packet */
	uint32_t msg_bytes; /* SEQPACKET: bytes sent of the message that zv_buf_send has begun */
	uint32_t msg_pkts;  /* packets sent of it; 0: no message is open */
};

/* What the last blocked call needs, while CF_WANT_OUT: tx_wait.c. */
struct conn_blocked {
	uint32_t bytes; /* of credit */
	uint32_t pkts;	/* of the packet budget */
};

/* CREDIT_REQUESTs to a peer that is not zvsock, when its packet budget is used up: tx_wait.c. */
struct conn_creq {
	uint32_t fwd_cnt; /* the peer's value at the last request */
	uint8_t sent;	  /* requests in a row that brought no room */
	uint8_t unread;	  /* answers in a row that showed nothing read */
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

/* A delayed CREDIT_UPDATE, while CF_UPDATE: credit.c. */
struct conn_update {
	TAILQ_ENTRY(zv_conn) link;
	uint64_t at;
};

/* While CF_ACCEPTQ: listener.c. */
struct conn_accept {
	TAILQ_ENTRY(zv_conn) link;
	struct listener *listener;
};

/* Closed, but the application still has the handle, while CF_CLOSED: conn.c. */
struct conn_closed {
	TAILQ_ENTRY(zv_conn) link;
	uint64_t seq; /* ascending along q->closed */
};

/* For zv_conn_info. */
struct conn_totals {
	uint64_t tx_bytes, rx_bytes;
	uint64_t opened_ns;
};

/* Fields that each packet touches come first. */
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
		struct zv_conn *next_free; /* while in q->pool.free */
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
	uint64_t promised;	      /* share of zv_opts.rx_memory: credit.c */
};

/*
 * Two cache lines to find a connection and take a packet; what else a packet touches follows them.
 */
_Static_assert(offsetof(struct zv_conn, credit) <= 128 && offsetof(struct zv_conn, shut) <= 384,
	       "a packet touches few cache lines of a connection");

TAILQ_HEAD(conn_list, zv_conn);

/* ---- a queue ---- */

/*
 * tq->session counts from 0, a few times a second at most. A new queue does not start with its
 * current value: a VMM that has waited for the socket may attach while zv_open is still running.
 */
#define SESSION_NONE UINT32_MAX

/* Which session of the rings the connections belong to: session.c. */
struct queue_session {
	uint64_t own_cid, peer_cid; /* of the device, and of its peer */
	uint32_t id;		    /* tq->session of that session; the old one while `leaving` */
	uint32_t next, leave_at;    /* next session; next table entry to end */
	uint32_t lost;		    /* tq->lost as last seen */
	uint32_t gone;		    /* tq->gone as last seen */
	/* 1: connections of the former session still have to be ended (session_sync()) */
	uint8_t leaving;
	/* 1: their unread payload that lies in guest memory may be wrong (tq->lost) */
	uint8_t gaps;
	/* 1: what is received belongs to a session that is over, so nothing may be sent */
	uint8_t no_tx;
};

enum peer_state { HELLO_OFF, HELLO_WAIT, HELLO_DONE, HELLO_PLAIN };

/* What the peer of this session can do: peer.c. */
struct queue_peer {
	uint32_t max_pkt;  /* payload bytes of the largest packet that may be sent */
	uint8_t state;	   /* enum peer_state; read by any thread */
	bool channels;	   /* the peer can use channels; read like state, set before it */
	bool dgrams;	   /* both sides use datagrams; the same */
	uint64_t hello_by; /* host: deadline after which a guest without HELLO is plain virtio-vsock
			    */
	struct hello hello; /* the peer's last HELLO in this session; caps 0: none yet */
	/* For kernel sockets, where the end of the control connection does not end the session: */
	uint64_t retry_at; /* queue_clock() of the next HELLO; UINT64_MAX: none is due */
	uint64_t retry_ns; /* delay of the next try if it fails; 0: there never was a zvsock peer */
};

#define HELLO_EV_PEER (1u << 0) /* the peer has said HELLO */
#define HELLO_EV_GONE (1u << 2) /* the peer of the previous session has gone for good */
#define HELLO_EV_DATA (1u << 1) /* data has arrived since no whole message was found */
#define HELLO_EV_NONE (1u << 3) /* the peer has no channels, or has not said HELLO in time */

/* The control connection: hello_conn.c; peer.c when it has ended. */
struct queue_hello {
	struct zv_conn *conn;
	uint8_t due;	/* enum ctrl_type that waits for a buffer; 0: none */
	uint8_t events; /* HELLO_EV_*: what zv_broker_recv has to check */
};

/* Update of all connections' packet budgets after the peer's capabilities changed: credit.c. */
struct queue_budgets {
	uint32_t at; /* next table entry */
	uint8_t due; /* entries are left */
};

/* RSTs that wait for a buffer: tx.c. */
struct queue_rst {
	struct vsock_hdr *ring; /* `size` headers, a power of two */
	uint32_t size, head, count;
};

enum { ARMED = 1, ARMED_READABLE };
/* Descriptors behind zv_fd. FD_CHECKED: the readable ones of them are known. */
enum { FD_RINGS = 1, FD_TIMER = 2, FD_BELLS = 4, FD_CHECKED = 8 };
#define FDS 3u

/* Asking for notifications, and zv_fd: arm.c. */
struct queue_arm {
	uint64_t until; /* deadline asked for by the sleeper on zv_fd */
	uint64_t runs;	/* expiry of the timer, zv_wake aside; UINT64_MAX: not set */
	uint32_t wake;	/* 1: zv_wake was called and not reported yet; any thread */
	uint32_t timer; /* 1: the timer was set and its descriptor not read since; any thread */
	uint8_t state;	/* 0; ARMED; ARMED_READABLE: zv_fd was made readable since, because a call
			   left work. Written by the owner */
	uint8_t seen;	/* descriptors that zv_wait found readable: FD_*; 0: unknown */
	int epfd, timerfd;
};

/* The tap, which sees every packet: tap.c, zv_set_tap. */
struct queue_tap {
	zv_tap_fn fn; /* NULL: off */
	void *ctx;
	struct iovec *iov;
	uint32_t room; /* of iov */
};

/* Received buffers: rx_loan.c. */
struct rx_loans {
	struct rx_entry *e;
	uint32_t size, free;	  /* entries allocated; head of the free list */
	uint32_t top;		  /* entries from here on are neither in use nor in the free list */
	uint32_t used;		  /* entries in use */
	uint32_t touched;	  /* entries from here on take no memory, or are below top */
	uint32_t drop, drop_last; /* list of entries that nobody reads any more: rx_drop_all() */
	bool chores;		  /* for rx_chores() */
	uint32_t lent_descs;	  /* descriptors withheld from the peer */
	uint32_t holders;	  /* connections that withhold descriptors */
	uint32_t app_loans;	  /* entries that the application has */
	uint64_t serial;	  /* of the last loan */
	const uint32_t *faults;	  /* tq->faults, or a word that is always 0 */
	uint32_t faults_seen;	  /* *faults when nothing was last on loan */
};

/* Sends from memory of the application: tx_mem.c. */
struct mem_sends {
	struct mem_send *s;
	uint32_t size, free;  /* records allocated; head of the free list */
	uint32_t first, last; /* completed ones, in order; LOAN_NONE: none */
	uint32_t out;	      /* packets with the device */
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

/* Connections whose payload goes through shared memory (chan_state.h): chan.c, staging buffers:
 * chan_tx.c.
 */
struct queue_chans {
	uint32_t n;		 /* attached, and in tab */
	uint32_t size;		 /* of tab */
	struct chan **tab;	 /* by their numbers; NULL: free */
	struct chan_list active; /* checked by each zv_poll */
	uint32_t nactive;
	uint64_t next_tick; /* queue_clock() of the next chans_tick(); UINT64_MAX: none is due */
	uint32_t tick_pos;  /* entries of tab that it has checked so far */
	struct chan_bells *bells; /* chan_bell.c; NULL: peers send packets */
	struct ringer_list ringers;
	struct {
		uint8_t **slab;
		struct chan_out *out;
		uint32_t *free; /* their numbers */
		uint32_t size, nfree;
	} staging; /* memory for reserved buffers that are short enough for the ring */
};

TAILQ_HEAD(region_list, queue_region);
TAILQ_HEAD(grant_list, grant);
STAILQ_HEAD(ctrl_out_list, ctrl_out);

/* Regions that the device has announced, and channels that it has granted: grant.c. */
struct queue_grants {
	struct region_list regions;
	uint32_t nregions;
	uint32_t mapping;	   /* of these, being mapped */
	struct grant_list pending; /* for connections whose REQUEST has not arrived */
	uint32_t npending;
	struct grant_list held; /* all of them, until they are released */
	uint32_t nheld;
	struct ctrl_out *spare;	  /* used when there is no memory */
	bool had_session;	  /* there was an earlier session, whose messages may be lost */
	bool offer_due;		  /* a region is to be offered once nothing is held in it */
	uint64_t device;	  /* device whose grants are held: the nonce of its HELLO_ACK */
	uint64_t begun;		  /* when the device answered HELLO, in ns of zv_now() */
	struct ctrl_out_list out; /* messages to the device: sent when there is a buffer */
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
		uint32_t tick;	 /* counts polls, to read the clock only now and then */
		uint32_t behind; /* full bursts since the clock read was due */
		uint64_t now;	 /* last read of queue_clock() */
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
	struct zv_conn *ready_at; /* who becomes ready is inserted behind it; NULL: at the head.
				   * ready_events() in poll.c */
	struct conn_list ctrl;	  /* control packets wait for a buffer: tx.c */
	struct conn_list more;	  /* packets kept open: tx_data.c */
	struct conn_list updates; /* CREDIT_UPDATEs that wait a moment: credit.c */
	struct conn_list timers[TIMERS]; /* timer.c */
	struct tx_sched sched;		 /* tx_sched.c */
	struct {			 /* datagrams: dgram.c */
		struct tx_flow flow;	 /* all datagrams sent */
		bool waits;		 /* a sender waits for the end of HELLO */
	} dgram;
	struct {		       /* conn.c */
		struct conn_list list; /* out of the table; the application has the handle, or
					  will get it by zv_accept */
		uint64_t seq;	       /* of the last one added */
	} closed;
	struct {		/* conn.c */
		uint32_t live;	/* connections that count as max_conns: CF_COUNTED */
		uint32_t nfree; /* structures kept for the next connections */
		struct zv_conn *free;
	} pool;
	struct { /* listener.c; first: poll.c */
		/* Accept queues with ZV_EV_ACCEPT or ZV_EV_DGRAM due, the next one first. */
		struct accept_list due;
		uint32_t ndue;	     /* entries of `due`, plus `dgram_out` */
		uint32_t listen_gen; /* dev->listen_gen as last seen */
		uint8_t first;	     /* 1: ports get the larger half of an odd number of events */
		uint8_t dgram_out;   /* 1: ZV_EV_DGRAM_OUT is due */
	} accept;
	struct rx_loans rx;
	struct tx_loans tx;
	struct mem_sends mem;
	struct queue_chans chans;
	struct queue_grants grants;
	struct queue_rst rst;
	struct conn_key ended[ZV_ENDED]; /* conn_ended_recently(): conn.c */
	struct rx_pkt pkts[ZV_BURST];	 /* of one call */
	struct tx_slot slots[ZV_SLOTS];	 /* of one call */
};

/* ---- a device ---- */

/* Two separate port spaces: a number in one does not occupy it in the other. */
enum port_space { PORTS_CONN, PORTS_DGRAM, PORT_SPACES };

struct zv_dev {
	struct transport_dev *t;
	const struct transport_ops *ops;
	struct zv_opts opts; /* complete */
	unsigned nqueues;
	uint64_t nonce; /* sent in its HELLOs */
	struct zv_queue **queues;
	/* listener.c */
	struct listener *listeners[PORT_SPACES][ZV_LISTEN_HASH];
	struct listener *catch_all[PORT_SPACES]; /* read without lock, like the chains */
	struct listener *closed;		 /* unlinked, not yet seen by all queues */
	uint32_t listen_gen;			 /* counts unlistens */
	pthread_mutex_t closed_lock;		 /* closed, acked, seen_closed */
	struct zv_mem *mems;			 /* registered: mem.c */
	uint32_t held_own; /* ends of channels in this side's region, over all queues; atomic */
};

static inline struct zv_conn *conn_of_flow(struct tx_flow *f)
{
	return (struct zv_conn *)((char *)f - offsetof(struct zv_conn, flow));
}

/* Puts the connection on the ready list, because it may have an event. */
static inline void conn_ready(struct zv_conn *c)
{
	if (c->flags & (CF_READY | CF_INTERNAL | CF_ORPHAN | CF_ACCEPTQ))
		return;
	c->flags |= CF_READY;
	if (c->q->ready_at)
		TAILQ_INSERT_AFTER(&c->q->ready, c->q->ready_at, c, ready_link);
	else
		TAILQ_INSERT_HEAD(&c->q->ready, c, ready_link);
	c->q->ready_at = c;
}

/* Takes the connection off the ready list. */
static inline void conn_not_ready(struct zv_conn *c)
{
	if (!(c->flags & CF_READY))
		return;
	if (c->q->ready_at == c)
		c->q->ready_at = TAILQ_PREV(c, conn_list, ready_link);
	TAILQ_REMOVE(&c->q->ready, c, ready_link);
	c->flags &= ~CF_READY;
}

/* A receiving call would find data: a whole message, or any bytes. */
static inline bool conn_has_data(const struct zv_conn *c)
{
	return c->sock->framed ? c->rx.seq.msgs != 0 : c->rx.queued != 0;
}

/*
 * One end of every connection is the guest of the device. The other is the host, or a sibling guest
 * on whose behalf the host speaks; its CID is in the connection's key.
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

/* For an application of the host, which itself has CID 2, all guests and CID 1 are siblings. */
static inline bool cid_is_sibling(const struct zv_queue *q, uint64_t cid)
{
	uint64_t own = queue_guest_cid(q);

	return q->any_cid || (cid != own && (vsock_cid_is_guest(cid) ||
					     (cid == VSOCK_CID_LOCAL && own == VSOCK_CID_HOST)));
}

/*
 * Capabilities that sending may rely on. Receiving uses peer.hello.caps instead: those outlive the
 * control connection, as do packets in flight.
 */
static inline uint32_t queue_caps(const struct zv_queue *q)
{
	return q->peer.state == HELLO_DONE ? q->peer.hello.caps : 0;
}

#endif
