/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For a process between zvsock peers, such as zvsockd, that connects two devices and lets the
 * payload of their connections bypass it through shared memory (libzvsock-host; docs/protocol.md,
 * "Channels").
 *
 * Theory of operation
 * -------------------
 * Both ends of such a connection are drivers of devices whose backend this process is (`host:` with
 * ZV_OPT_BROKER). A *region* is memory that some of these drivers can map. This process announces
 * it on each queue on which it is to be used, and learns whether the driver has mapped it. Then,
 * for a connection between two such queues, it takes a part of the region, formats a channel there
 * (shm_channel_format()) and *grants* one end to each driver: to the one being connected to before
 * its REQUEST, to the connecting one before its RESPONSE. From then on the connection carries only
 * SHUTDOWN, RST and wake-ups (ZV_EV_WAKE, zv_conn_wake), which this process forwards. A driver
 * reports when it no longer uses its end (ZV_BROKER_RELEASE); when both have, or are gone, the part
 * can be reused, with another generation.
 *
 * What drivers report comes from a hostile peer: look up ids, offsets and generations.
 *
 * All calls are made by the queue's owner.
 */
#ifndef ZVSOCK_BROKER_H
#define ZVSOCK_BROKER_H

#include <shm_ring.h>
#include <zvsock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZV_REGION_BY_FD                                                                            \
	UINT64_MAX /* zv_region.gpa: the driver gets a descriptor some other way                   \
		    */

struct zv_region {
	uint64_t id;   /* one that no other region has, and no former one had: a random number */
	uint64_t size; /* bytes */
	uint64_t gpa;  /* guest-physical address of its first byte; or ZV_REGION_BY_FD */
};

enum zv_broker_msg_type {
	ZV_BROKER_HELLO = 1, /* a driver that can use channels has begun a session: nonce */
	ZV_BROKER_OFFER,     /* it offers memory as a region: gpa, size */
	ZV_BROKER_REGION,  /* a region is mapped, or (result < 0) is not going to be: id, result */
	ZV_BROKER_RELEASE, /* its end of a channel is not used any more: id, offset, generation */
	ZV_BROKER_GONE,	   /* its process, or VM, has ended, and holds nothing any more */
	/*
	 * It still holds this end, which was granted in a former session (id 0: none): id, offset,
	 * generation, and how many such messages follow. With the last one, `left` 0, it holds no
	 * others of former sessions: a grant, or a release, was lost with the session.
	 */
	ZV_BROKER_HOLDS,
	ZV_BROKER_NONE, /* the driver cannot use channels, or has not said HELLO in time; it may
			   still do so */
};

struct zv_broker_msg {
	uint32_t what;	/* enum zv_broker_msg_type */
	int32_t result; /* ZV_BROKER_REGION: 0 or -errno */
	uint64_t nonce; /* ZV_BROKER_HELLO: of the opened device; another one is another driver */
	uint64_t id;	/* of a region */
	uint64_t gpa, size; /* ZV_BROKER_OFFER */
	uint64_t offset;    /* in the region: shm_channel_desc.offset */
	uint32_t generation;
	uint32_t left; /* ZV_BROKER_HOLDS */
};

/*
 * Receives a message from the queue's driver, oldest first; while there are any, zv_poll reports
 * ZV_EV_BROKER. Messages that are not received wait, and delay what comes after them. 1; 0: there
 * is none; -EOPNOTSUPP: a device without ZV_OPT_BROKER.
 */
ZV_API int zv_broker_recv(struct zv_queue *q, struct zv_broker_msg *m);

/*
 * Announces a region to the driver, which answers with ZV_BROKER_REGION unless the session ends
 * before. 0; -EAGAIN: no room now, try later; -EOPNOTSUPP: the driver has no channels (no
 * ZV_BROKER_HELLO in this session).
 */
ZV_API int zv_region_announce(struct zv_queue *q, const struct zv_region *r);

/* Tells the driver that the region will not be used on this queue again. Returns as above. */
ZV_API int zv_region_forget(struct zv_queue *q, uint64_t id);

/* One end of a channel. The shared part must have been formatted. */
struct zv_grant {
	uint64_t region; /* id of one that the driver has mapped on this queue */
	struct shm_channel_desc desc;
	enum shm_role role;
	/*
	 * How the two ends wake each other without this process (docs/protocol.md, "Bells"); 0: by
	 * zv_conn_wake(). A driver that cannot ring falls back to that.
	 */
	uint32_t bell;		       /* by which the other end wakes this one */
	uint32_t ring_page, ring_bell; /* by which this one wakes the other end */
};

/*
 * Grants an end to a connection whose request waits for an answer (zv_listen_all); call
 * zv_conn_answer() next. From then on no payload can be sent or received on the connection: zv_send
 * and zv_buf_alloc fail with -EOPNOTSUPP, and receiving calls return only the end of the stream. 0;
 * -EAGAIN: no room now, try later; -EINVAL: not such a connection; -EOPNOTSUPP as above.
 */
ZV_API int zv_conn_grant(struct zv_conn *conn, const struct zv_grant *g);

/*
 * zv_connect_from() for a connection with a channel. Additional errors: those of zv_conn_grant().
 */
ZV_API int zv_connect_granted(struct zv_queue *q, uint64_t src_cid, uint32_t src_port, uint64_t cid,
			      uint32_t port, enum zv_type type, const struct zv_grant *g,
			      struct zv_conn **conn);

/*
 * Checks whether zv_connect_from() would succeed now, for a process that has to announce a
 * connection before it makes it. If *src_port is ZV_PORT_ANY, it becomes the port that would be
 * used: pass that to the call, which may still run out of memory. 0, or the errors of
 * zv_connect_from().
 */
ZV_API int zv_connect_port(struct zv_queue *q, uint64_t src_cid, uint32_t *src_port, uint64_t cid,
			   uint32_t port);

/*
 * Wakes the driver of a connection with a grant: the other end has put something into the channel.
 * ZV_EV_WAKE with a conn is such a request from the other end's driver. 0 or -EINVAL.
 */
ZV_API int zv_conn_wake(struct zv_conn *conn);

#ifdef __cplusplus
}
#endif

#endif
