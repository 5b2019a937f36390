/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State of the frontend of one socket, and the steps from there to running pairs. Between
 * vu_messages.c, which handles the messages, and vhost_pair.c, which moves packets. All functions
 * are called by the control thread (vu_server.h).
 */
#ifndef ZV_VU_DEVICE_H
#define ZV_VU_DEVICE_H

#include "mem/guest_iommu.h"
#include "mem/guest_shared.h"
#include "pair/vhost_pair.h"
#include "proto/vsock/vsock_device.h"
#include "vu_rules.h"
#include "vu_server.h"

/*
 * Total size of the maps of one device: one map for the rings and one for each pair, plus the same
 * again for maps kept by loans. Sparse files cost a frontend nothing, and our address space has
 * 2^47 bytes for all guests.
 */
#define VU_MAP_MAX (1ull << 43)
/* The same for a device with a connected socket instead of a path: an application, which shares its
 * rings and buffers. Any local user may have dozens of them. */
#define VU_MAP_MAX_FD (1ull << 36)

/* Time for which no call descriptor is accepted after a call has blocked, which may take some
 * hundred ms to detect (call_watch.h). */
#define VU_UNCALLED_NS 60000000000ull

/* What the frontend has set for a ring. */
struct vu_ring {
	uint32_t num;
	struct vhost_ring_pos base; /* as set, and later as of the stop */
	struct vu_vring_addr addr;
	bool have_addr, kicked, enabled;
	bool stopped, based;	    /* GET_VRING_BASE has come; SET_VRING_BASE since then */
	void *at[VHOST_RING_PARTS]; /* addresses of the parts: valid while it runs */
};

/* Parameters a pair was loaded with: a change means a new session. */
struct vu_loaded {
	uint64_t features;
	uint64_t vring_addr[2][VHOST_RING_PARTS]; /* as in SET_VRING_ADDR */
	uint32_t num[2];
};

/* State of giving VIRTIO shared memory to the frontend, since it has started the rings. */
enum vu_shmem_state {
	VU_SHMEM_IDLE, /* nothing to send: no memory table, or the frontend has it */
	VU_SHMEM_DUE,
	VU_SHMEM_SENT,
};

struct vu_dev {
	struct vu_socket *socket;
	struct zv_log_limit log; /* for lines that the frontend can cause */
	char *path;
	uint64_t cid;
	bool disk;	       /* guest memory may be files on disks */
	struct charge *charge; /* what it leaves behind; NULL: no user's */
	struct vhost_pair *const *queues;
	unsigned nqueues;

	void (*restarted)(void *ctx);
	void *ctx;

	uint64_t protocol;     /* protocol features set by the frontend */
	uint64_t offered;      /* features sent to the frontend; 0: it has not asked */
	struct vu_terms terms; /* negotiated features and other limits for messages */
	struct vu_ring ring[VSOCK_VQS(ZV_QUEUES_MAX)];
	struct vu_loaded loaded[ZV_QUEUES_MAX];
	struct vhost_pair_bases paused_base[ZV_QUEUES_MAX]; /* positions of paused pairs */
	struct guest_mem_src src[GUEST_MEM_REGIONS];	    /* fds are our dups */
	unsigned nsrc;
	struct guest_mem *rings; /* NULL: no memory table */
	struct guest_shares shares;
	uint64_t page_size;
	uint64_t attached_ns; /* CLOCK_MONOTONIC when the frontend attached; 0: none has. Atomic */
	bool ran;	      /* ... and a pair has run since then. Atomic */
	bool reset_due;	      /* a TRANSPORT_RESET waits for the event ring */
	uint32_t waiting;     /* bit i: pair i could not start for lack of our resources */
	bool evt_loaded;
	struct vhost_ring evt;
	struct vhost_call evt_call;
	struct wake_limit wakes;   /* of calls on all rings */
	uint64_t uncalled;	   /* call descriptors are refused until then: one has blocked.
				      Written by the control thread, atomic */
	int backend_fd;		   /* from SET_BACKEND_REQ_FD; -1: none */
	struct guest_iommu *iommu; /* with VIRTIO_F_ACCESS_PLATFORM */
	enum vu_shmem_state shmem;
	int shmem_fd; /* channel of the last SHMEM_MAP; -1: none */
};

/* The index of a virtqueue of a pair. */
static inline unsigned vu_vq(unsigned pair, enum vhost_direction ring)
{
	return vsock_vq(pair, ring == VHOST_TO_GUEST ? VSOCK_VQ_RX : VSOCK_VQ_TX);
}

/* The inverse. False: it is the event queue. */
static inline bool vu_vq_pair(unsigned vq, unsigned *pair, enum vhost_direction *ring)
{
	unsigned which;

	if (!vsock_vq_pair(vq, pair, &which))
		return false;
	*ring = which == VSOCK_VQ_RX ? VHOST_TO_GUEST : VHOST_FROM_GUEST;
	return true;
}

/* Sets the negotiated features; they select the layout of rings started from then on. */
void vu_set_features(struct vu_dev *d, uint64_t features);

/* Brings the pair of ring @no, or the event ring, to the requested state. */
void vu_ring_update(struct vu_dev *d, unsigned no);

/* Closes @fd (-1: none), received from the frontend, where nobody waits for that. */
static inline void vu_drop_fd(struct vu_dev *d, int fd)
{
	if (fd >= 0)
		vu_server_drop(d->socket, fd);
}

/* ---- vu_events.c ---- */

/* Sets a duplicate of @fd (-1: none) as the kick descriptor of virtqueue @vq. 0; -errno, logged. */
int vu_set_kick(struct vu_dev *d, unsigned vq, int fd);
/* The same for the call descriptor. -EACCES: calls have blocked recently. */
int vu_set_call(struct vu_dev *d, unsigned vq, int fd);
/* Remembers that a call has blocked, if one has. */
void vu_note_blocked(struct vu_dev *d);

/* Drops all kick and call descriptors. */
void vu_drop_events(struct vu_dev *d);

/* ---- vu_device.c ---- */

/* Ends the sessions of its paused pairs. */
void vu_drop_paused(struct vu_dev *d);

/* Tries again to start the pairs that wait. */
void vu_start_again(struct vu_dev *d);

/* GET_VRING_BASE: stops virtqueue @vq and returns its position. */
struct vhost_ring_pos vu_ring_stop(struct vu_dev *d, unsigned vq);

/* A checked SET_MEM_TABLE: the sessions continue with new maps. 0; -errno: refused, nothing has
 * changed. */
int vu_take_table(struct vu_dev *d, struct vu_exchange *x);

/* ---- vu_shmem.c ---- */

/* The frontend has set a memory table. */
void vu_shmem_table(struct vu_dev *d);
/* The frontend has stopped a ring, or is gone. */
void vu_shmem_stop(struct vu_dev *d);
/* Sends a due message if a pair runs and sending is possible. */
void vu_shmem_check(struct vu_dev *d);

/* ---- vu_translate.c ---- */

/* Our address of the @len bytes at @a, which must be contiguous. 0; -EAGAIN: requested; -EFAULT. */
int vu_translate_area(struct vu_dev *d, struct iova a, bool write, uint64_t len, void **out);
/* A checked IOTLB_MSG: adds or removes a translation. 0; -errno, logged. */
int vu_translation(struct vu_dev *d, const struct vu_iotlb *t);
/* Forgets all translations, which the frontend will send again: after a stop, and when features
 * change. */
void vu_forget_translations(struct vu_dev *d);

/* The driver has died but the frontend goes on: ends all sessions, also paused ones, and drops
 * everything held. */
void vu_forget_driver(struct vu_dev *d);
/* Drops all state of the frontend, which is gone or about to go. */
void vu_forget_frontend(struct vu_dev *d);

#endif
