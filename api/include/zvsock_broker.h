/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For a process that stands between zvsock peers, as zvsockd does: it joins connections of two
 * devices, and lets their payload go through shared memory instead of through itself
 * (libzvsock-host; docs/protocol.md, "Channels").
 *
 * Theory of operation
 * -------------------
 * Both ends of a joined connection are drivers of devices whose backend this process is (`host:`
 * with ZV_OPT_BROKER). A *region* is memory that some of them can map. This process announces it
 * on each queue on which it is to be used, and hears whether the driver has it. Then, for a
 * connection between two such queues, it takes a part of the region, formats a channel there
 * (shm_channel_format()) and *grants* one end to each driver: to the one that is asked before its
 * REQUEST, to the one that asks before its RESPONSE. From there on the connection carries SHUTDOWN,
 * RST and wake-ups (ZV_EV_WAKE, zv_conn_wake) only, which this process hands on. A driver says when
 * it does not touch its end any more (ZV_BROKER_RELEASE); when both have, or are gone, the part can
 * be used again, with another generation.
 *
 * What drivers say is a hostile peer's word: ids, offsets and generations need to be looked up.
 *
 * All calls are for the queue's owner.
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

enum zv_broker_news {
	ZV_BROKER_HELLO = 1, /* a driver that can use channels has begun a session: nonce */
	ZV_BROKER_OFFER,     /* it offers memory to be a region: gpa, size */
	ZV_BROKER_REGION,  /* a region is mapped, or (result < 0) is not going to be: id, result */
	ZV_BROKER_RELEASE, /* its end of a channel is not used any more: id, offset, generation */
	ZV_BROKER_GONE,	   /* its process, or VM, has ended, and holds nothing any more */
	/*
	 * It still holds this end, which was granted in a former session (id 0: none): id, offset,
	 * generation, and how many such messages follow. With the last one, `left` 0, it holds no
	 * others of former sessions: a grant, or a release, was lost with the session.
	 */
	ZV_BROKER_HOLDS,
};

struct zv_broker_msg {
	uint32_t what;	/* enum zv_broker_news */
	int32_t result; /* ZV_BROKER_REGION: 0 or -errno */
	uint64_t nonce; /* ZV_BROKER_HELLO: of the opened device; another one is another driver */
	uint64_t id;	/* of a region */
	uint64_t gpa, size; /* ZV_BROKER_OFFER */
	uint64_t offset;    /* in the region: shm_channel_desc.offset */
	uint32_t generation;
	uint32_t left; /* ZV_BROKER_HOLDS */
};

/*
 * What the driver of the queue has said, oldest first: while there is something, zv_poll reports
 * ZV_EV_BROKER. What is not fetched waits, and holds up what comes behind it. 1, 0: nothing;
 * -EOPNOTSUPP: a device without ZV_OPT_BROKER.
 */
ZV_API int zv_broker_recv(struct zv_queue *q, struct zv_broker_msg *m);

/*
 * Tells the driver of a region; ZV_BROKER_REGION will answer, unless the session ends before.
 * 0; -EAGAIN: no room now, try later; -EOPNOTSUPP: the driver has no channels (no ZV_BROKER_HELLO
 * in this session).
 */
ZV_API int zv_region_announce(struct zv_queue *q, const struct zv_region *r);

/* The region will not be used on this queue again. As above. */
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
 * Grants an end to a connection whose request waits for an answer (zv_listen_all); zv_conn_answer()
 * comes next. From here on no payload can be sent or received on it: zv_send and zv_buf_alloc
 * fail with -EOPNOTSUPP, receiving calls know the end of stream alone. 0; -EAGAIN: no room now,
 * try later; -EINVAL: not such a connection; -EOPNOTSUPP as above.
 */
ZV_API int zv_conn_grant(struct zv_conn *conn, const struct zv_grant *g);

/* zv_connect_from() for a connection with a channel. Further errors: as zv_conn_grant(). */
ZV_API int zv_connect_granted(struct zv_queue *q, uint64_t src_cid, uint32_t src_port, uint64_t cid,
			      uint32_t port, enum zv_type type, const struct zv_grant *g,
			      struct zv_conn **conn);

/*
 * For who has to tell of a connection before it asks for it: would zv_connect_from() do now?
 * *src_port becomes the port that it would take, if that is ZV_PORT_ANY: name it in the call, which
 * may still find no memory. 0, or as zv_connect_from().
 */
ZV_API int zv_connect_port(struct zv_queue *q, uint64_t src_cid, uint32_t *src_port, uint64_t cid,
			   uint32_t port);

/*
 * Wakes the driver of a connection with a grant: the other end has put something into the channel.
 * ZV_EV_WAKE with a conn is what the other end's driver asks this for. 0 or -EINVAL.
 */
ZV_API int zv_conn_wake(struct zv_conn *conn);

#ifdef __cplusplus
}
#endif

#endif
