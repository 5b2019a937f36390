/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interface between a transport and the socket layer: transport_ops for a device,
 * transport_queue_ops for each of its queues.
 *
 * Theory of operation
 * -------------------
 * A transport moves packets of one device over N queue pairs; the socket layer (socket/) turns
 * packets into connections. Both sides implement these tables: the guest driver (guest-pmd, over
 * its own buffers) and the in-process backend (host-dpdk, over buffers that the guest posted).
 *
 * struct transport_queue is one queue pair as seen by the socket layer; a transport embeds it as
 * the first member of its own queue. All functions in its table (transport_queue_ops) are called by
 * the queue's owner thread, between quiesce_enter() and quiesce_leave() on tq->qs. So a control
 * thread that has stopped the queue (quiesce_stop) may change rings, maps and the fields marked [C]
 * here.
 *
 * Sessions. A session lasts from the moment both rings run until one is stopped or broken, or the
 * peer goes away. tq->session counts starts and stops: it changes whenever what was in flight is
 * lost. The socket layer compares it on each entry and resets its connections if it has changed;
 * before that it receives what the peer had sent when its last session ended (rx_rest). tq->up says
 * whether there is a session.
 *
 * Pauses. A session whose rings are stopped and may be started again is paused: it receives nothing
 * and has no room to send. Timeouts do not run during a pause: the timers of the socket layer use a
 * clock that stands still while tq->paused_at is set.
 *
 * Tokens identify buffers: an rx token is the part of a received packet that the socket layer
 * holds, a tx token a buffer reserved for sending. Tokens outlive sessions: each must be returned
 * exactly once (rx_release; tx_commit or tx_cancel), at any time, and only the transport knows
 * whether that still has an effect on a ring. Memory behind a token stays mapped until then.
 */
#ifndef ZV_TRANSPORT_H
#define ZV_TRANSPORT_H

#include "proto/ctrl/ctrl_msg.h"
#include "proto/vm_addr.h"
#include "proto/vsock/vsock_hdr.h"
#include "quiesce.h"
#include "shm_access.h"
#include "zvsock.h"

enum zv_role { ZV_ROLE_GUEST, ZV_ROLE_HOST };

/* A contiguous piece of payload. */
struct pkt_seg {
	uint8_t *base;
	uint32_t len;
};

/* A received packet. hdr is a private copy, and hdr.len is the sum of the segments' lengths. */
struct rx_pkt {
	struct vsock_hdr hdr;
	const struct pkt_seg *seg; /* nseg entries; valid until the next rx_burst of the queue */
	uint32_t nseg;	/* 0: no payload; the buffer is released already, token is invalid */
	uint32_t token; /* for rx_release() once no segment is used any more */
	uint32_t ndesc; /* ring descriptors withheld from the peer until then, >= 1 */
};

/* A buffer reserved for one packet. */
struct tx_slot {
	uint8_t *data;	   /* payload goes here; 64-byte aligned on the guest side */
	uint32_t capacity; /* payload bytes that fit, contiguous */
	uint32_t token;
};

/*
 * When the peer's memory goes away, buffers that the socket layer holds are copied, and each of
 * their pieces costs a page. So a packet of many small pieces is not held: it is copied when it
 * arrives.
 */
#define PKT_PIECES    8u
#define PKT_PIECE_MIN 512u /* bytes, on average, if there are more than PKT_PIECES */
static inline bool pkt_in_small_pieces(uint32_t pieces, uint32_t len)
{
	return pieces > PKT_PIECES && len / pieces < PKT_PIECE_MIN;
}

/* tx_reserve flags */
#define TX_CTRL 1u /* a packet without payload: may use the last buffers, reserved for control */

/*
 * Limits log messages that a peer can cause at will to ZV_LOG_BURST per second. The next one
 * reports how many were suppressed before it. One thread at a time.
 */
#define ZV_LOG_BURST 10u
struct zv_log_limit {
	uint64_t second; /* second of the monotonic clock in which `lines` were counted */
	uint32_t lines;
	uint32_t suppressed;
};

/*
 * Completions of packets whose payload is in memory of the application (zvsock_mem.h). A ring of
 * @mask + 1 entries, at least as many as there can be such packets with the device. The transport
 * appends, the owner removes; both only inside the queue, or with the queue stopped.
 */
struct transport_sent {
	struct transport_sent_entry {
		uint32_t cookie; /* as passed to tx_commit_mem() */
		int32_t err;	 /* 0 or -ECONNRESET */
	} * ring;		 /* NULL: there are never any */
	uint32_t mask, head, tail;
	uint32_t out; /* packets with the device */
	uint32_t on;  /* [C] 1: tx_commit_mem can be used in this session */
};

/* Memory of the application. */
struct transport_mem {
	void *addr;
	size_t len;
	int fd; /* borrowed for the call; -1: none */
	uint64_t offset;
};

struct transport_ops;
struct transport_queue_ops;

struct transport_queue {
	const struct transport_queue_ops *ops; /* [C]; the owner's, while the queue rests */
	struct quiesce qs;
	uint32_t session; /* [C] changes when what was in flight is lost: see above */
	/* [C] 1: rings run, packets can be received and sent. Stored atomically: any thread may
	 * read it. */
	uint32_t up;
	uint32_t rx_descs;	     /* [C] descriptors of the ring that carries received packets */
	uint32_t tx_descs;	     /* [C] descriptors of the ring that carries sent packets */
	struct zv_queue_stats stats; /* stats_add(); read by any thread */
	struct zv_log_limit log;     /* the owner's */
	const char *name;	     /* of the device, for logs; NULL: the scheme is enough */
	/* [C] Incremented when received payload that the owner holds may be wrong: the peer's
	 * memory went away, and not all of it could be copied before. */
	uint32_t lost;
	/* [C] Number of peers found to be gone for good, when their session ended or later;
	 * `session` has changed by then. */
	uint32_t gone;
	/* [C] 1: the session began with a driver that was running already and may hold connections
	 * of former sessions. */
	uint32_t inherited;
	/* The owner's. 1: the last rx_burst has ended before @max packets, and not because there
	 * was no other. */
	uint32_t rx_more;
	/*
	 * Counts how often memory behind received buffers, of any queue, was replaced by zeros. A
	 * signal handler of any thread increments it before the zeros can be read. rx_intact()
	 * tells which buffers were affected. NULL: that cannot happen. Set at open.
	 */
	const uint32_t *faults;
	uint64_t paused_at; /* [C] 0, or when the current pause began (CLOCK_MONOTONIC) */
	uint64_t paused_ns; /* [C] total length of former pauses */
	struct transport_sent sent;
};

/*
 * Counts @n. A counter has one writer at a time (the owner, or the control thread that has stopped
 * it) and may be read meanwhile (zv_queue_stats).
 */
static inline void stats_add(uint64_t *counter, uint64_t n)
{
	shm_store64(counter, *counter + n);
}

/* How a driver notices that the backend of its device has gone. */
enum transport_end {
	END_REPORTED, /* the session ends */
	END_SILENT,   /* not at all */
	END_MISSED,   /* by packets that are not accepted, so something must be sent */
};

/* A device as the socket layer sees it; a transport embeds it as the first member of its own. */
struct transport_dev {
	const struct transport_ops *ops;
	unsigned nqueues; /* fixed at open */
	uint8_t end;	  /* enum transport_end; fixed at open */
};

/*
 * The data path of a queue pair. Called by the queue's owner thread, between quiesce_enter() and
 * quiesce_leave(). A control thread that has stopped the queue may replace tq->ops, because a table
 * belongs to one ring layout and the next session may negotiate another. So the socket layer keeps
 * no copy of the pointer.
 */
struct transport_queue_ops {
	/*
	 * Up to @max packets, 0 when there is none or the queue is down. Malformed packets are
	 * dropped and counted; a broken ring ends the session (session changes, up = 0).
	 */
	int (*rx_burst)(struct transport_queue *q, struct rx_pkt *pkts, unsigned max);
	/*
	 * As rx_burst, for a session that has ended since the last call: returns what the peer had
	 * sent in it and rx_burst had not returned. 0: there are no more. It does not matter
	 * whether the rings are running again. NULL: such packets are lost.
	 */
	int (*rx_rest)(struct transport_queue *q, struct rx_pkt *pkts, unsigned max);
	/*
	 * Releases the buffer of a received packet. It becomes visible to the peer at a publish. A
	 * publish may leave a few for later ones, but not after rx_burst has found nothing, nor
	 * after arm.
	 */
	void (*rx_release)(struct transport_queue *q, uint32_t token);
	/* True: the bytes of a received packet are the peer's and have not been replaced by zeros.
	 * NULL if tq->faults is NULL. */
	bool (*rx_intact)(struct transport_queue *q, uint32_t token);

	/*
	 * A connection with the addresses, type and buf_alloc in @h, those of the REQUEST that
	 * follows, is about to be requested. 0; -EADDRINUSE: that local port is in use outside this
	 * device, try another; or -errno with zv_err() text: no REQUEST is sent. NULL: local ports
	 * belong to the device.
	 */
	int (*connect)(struct transport_queue *q, const struct vsock_hdr *h);
	/*
	 * Reserves up to @n buffers, about @len payload bytes in each. Returns how many, 0 when
	 * there is none or the queue is down. TX_CTRL: capacity may be 0.
	 */
	unsigned (*tx_reserve)(struct transport_queue *q, struct tx_slot *slots, unsigned n,
			       uint32_t len, unsigned flags);
	/* Queues a reserved buffer: header @h, h->len payload bytes (<= capacity). */
	void (*tx_commit)(struct transport_queue *q, uint32_t token, const struct vsock_hdr *h);
	void (*tx_cancel)(struct transport_queue *q, uint32_t token);
	/*
	 * As tx_commit, but the payload is at @at, an address of the device in memory of
	 * transport_ops.mem_map. @cookie is reported in tq->sent, from which the caller has removed
	 * all entries before. To be called while tq->sent.on only. NULL if that is never set.
	 */
	void (*tx_commit_mem)(struct transport_queue *q, uint32_t token, const struct vsock_hdr *h,
			      struct iova at, uint32_t cookie);
	/* Makes commits and releases visible to the peer and notifies it if it has requested
	 * that. */
	void (*publish)(struct transport_queue *q);
	/* The largest number of buffers that tx_reserve can ever return, without TX_CTRL. */
	unsigned (*tx_max)(struct transport_queue *q);
	/* About how many buffers tx_reserve (without TX_CTRL) would return now. Cheap. */
	unsigned (*tx_ready)(struct transport_queue *q);

	/* Requests a notification from the peer: for a received packet and, unless @room is 0, for
	 * @room buffers to send. 0: armed; 1: there is work already (not armed). */
	int (*arm)(struct transport_queue *q, unsigned room);
	/* Undoes arm and clears fd. If @rung is false fd has not been seen readable, and may be
	 * left readable: it then causes one more wake-up in vain. */
	void (*disarm)(struct transport_queue *q, bool rung);
};

/*
 * A mapped region of shared memory (docs/protocol.md, "Channels"). It stays mapped until the last
 * reference is dropped, whatever becomes of the device. Any thread.
 */
struct region_map {
	void *addr;
	size_t size;
	uint32_t refs;	    /* atomic */
	uint32_t truncated; /* 1: its file was truncated, zeros have replaced its contents */
	void (*free)(struct region_map *m);
};

static inline struct region_map *region_map_hold(struct region_map *m)
{
	(void)__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	return m;
}

static inline void region_map_put(struct region_map *m)
{
	if (__atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) == 0)
		m->free(m);
}

/*
 * A mapped page of bells (shm-ring/bell_page.h), of this side or of another one. It stays mapped
 * until the last reference is dropped, whatever becomes of the device. Any thread.
 */
struct bell_map {
	void *page;
	uint32_t id; /* identifies this use of the page: bells_open(), bell_attach() */
	/* An eventfd. Its events (EPOLLIN, edge-triggered) wake the owner of the page, who need not
	 * read it. */
	int fd;
	uint32_t refs; /* atomic */
	void (*free)(struct bell_map *m);
};

static inline struct bell_map *bell_map_hold(struct bell_map *m)
{
	(void)__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	return m;
}

static inline void bell_map_put(struct bell_map *m)
{
	if (__atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) == 0)
		m->free(m);
}

/*
 * A driver's access to regions. None of these functions blocks; the device's own thread does what
 * may block. @queue: on which the region is to be used.
 */
struct transport_region_ops {
	/*
	 * Finds memory that this side can offer to the device as a region. 0; -ENOENT: none. NULL:
	 * never any.
	 */
	int (*offer)(struct transport_dev *d, unsigned queue, struct ctrl_offer *out);
	/*
	 * Maps the region that *r names, if it is not mapped already. 0, and the caller owns a
	 * reference to *out; -EINPROGRESS: in progress, call again when the queue is woken; another
	 * -errno: it cannot be mapped, and the log says why.
	 */
	int (*map)(struct transport_dev *d, unsigned queue, const struct ctrl_region *r,
		   struct region_map **out);
	/* The device no longer uses the region in this queue, its session is over, or map() has
	 * failed. */
	void (*forget)(struct transport_dev *d, unsigned queue, uint64_t id);
	/* The queue's own page of bells, with a reference for the caller, once a region has been
	 * mapped. NULL: it has none. If the function is NULL it never has. */
	struct bell_map *(*bells)(struct transport_dev *d, unsigned queue);
	/* Access to page @id for ringing. 0, and the caller owns a reference to *out; -EINPROGRESS:
	 * in progress, call again; another -errno: not available. NULL if bells is NULL. */
	int (*ringer)(struct transport_dev *d, uint32_t id, struct bell_map **out);
};

/* A device as a whole, and the transport by which it is opened. */
struct transport_ops {
	const char *scheme; /* the part of the URI before the first ':' */
	enum zv_role role;
	/*
	 * Connections are sockets of this machine's kernel, which decides which CIDs can be
	 * reached. HELLO is sent only where there are regions, on each queue as by one program
	 * (docs/protocol.md, 6.1). The end of HELLO's connection ends all channels, and the
	 * transport resets the connections that use them. A connection with a channel announces
	 * that by a packet that grants no credit, at the latest when it is established.
	 */
	bool kernel_sockets;
	/* The default of zv_opts.spin_ns; 0: the general default. */
	uint64_t spin_ns;
	/* The default of zv_opts.hello_timeout_ns, likewise: longer where the peer is known to be
	 * zvsock, and not to answer in time only because its machine is busy. */
	uint64_t hello_timeout_ns;

	/*
	 * Opens the device; @rest is the URI after the scheme and ':', @opts complete (defaults
	 * filled in) and within their ranges (socket/call/opts.c). 0 and *out, or -errno with
	 * zv_err() text. Blocks at most a few seconds.
	 */
	int (*open)(struct transport_dev **out, const char *rest, const struct zv_opts *opts);
	/* Stops everything and frees the device. All tokens have been returned. */
	void (*close)(struct transport_dev *d);
	/* CID of the guest of this device; 0 if not known yet. Any thread. */
	uint64_t (*guest_cid)(struct transport_dev *d);
	/* Page size of the memory behind buffers; 0: unknown. */
	uint64_t (*page_size)(struct transport_dev *d);
	/* When the peer attached (CLOCK_MONOTONIC), 0 while there is none; adds ZV_DEV_RAN and
	 * ZV_DEV_BLOCKED to *flags. Any thread. NULL: not known. */
	uint64_t (*attached)(struct transport_dev *d, uint32_t *flags);
	struct transport_queue *(*queue)(struct transport_dev *d, unsigned i);
	/*
	 * The socket layer listens on @port (ZV_PORT_ANY: all): connections to it must reach this
	 * device, and @backlog of them may wait; or, with VSOCK_TYPE_DGRAM as @type, its datagrams
	 * must. Any thread; blocks at most a few seconds. 0, or -errno with zv_err() text. NULL:
	 * everything for the CID reaches the device.
	 */
	int (*listen)(struct transport_dev *d, uint32_t port, unsigned type, unsigned backlog);
	/* Ends listen() for @port and @type. NULL if listen is NULL. */
	void (*unlisten)(struct transport_dev *d, uint32_t port, unsigned type);
	/*
	 * Readable when an armed event has happened or the control thread changed the queue. Any
	 * thread, any time.
	 */
	int (*fd)(struct transport_queue *q);
	/*
	 * Lets the device read @m; *at is its address for the device. 0; -errno with zv_err() text:
	 * not possible, payload is copied. Blocks a few seconds at most. NULL: never possible.
	 */
	int (*mem_map)(struct transport_dev *d, const struct transport_mem *m, struct iova *at);
	/* Ends mem_map(); no packet with payload there is with the device. NULL if mem_map is
	 * NULL. */
	void (*mem_unmap)(struct transport_dev *d, struct iova at);
	/* NULL: payload goes through this device's rings only. */
	const struct transport_region_ops *regions;
};

/* ---- registry (registry.c) ---- */

/* The transport of an opened device. */
struct transport_dev *zv_dev_transport(struct zv_dev *dev);
/* Adds a transport. 0, -EEXIST, -ENOSPC. libzvsock's own are in guest-pmd/builtin.c. */
int zv_transport_register(const struct transport_ops *ops);
/* The transport for @uri; *rest points behind the scheme. NULL: none. */
const struct transport_ops *zv_transport_find(const char *uri, const char **rest);
/* Writes the known schemes, as "vhost-user:, vfio:", into @buf; truncated if it is too small. */
void zv_transport_schemes(char *buf, size_t size);

/* ---- error text and log (error.c) ---- */

/* Stores the sentence for this thread's zv_error_text(); returns @err (negative errno). */
int zv_err(int err, const char *fmt, ...) ZV_PRINTF(2, 3);
/* The same for a constant @text; as fast as a store, for frequent errors (-EAGAIN). */
int zv_fail(int err, const char *text);
/* Sends a line to the log callback, if there is one. */
void zv_log(enum zv_log_level level, const char *fmt, ...) ZV_PRINTF(2, 3);
void zv_log_limited(struct zv_log_limit *l, enum zv_log_level level, const char *fmt, ...)
	ZV_PRINTF(3, 4);

#endif
