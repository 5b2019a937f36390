/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is known of one socket's frontend, and the steps from there to running pairs. Between
 * vu_messages.c, which takes the messages, and vhost_pair.c, which moves packets. Everything here
 * is called by the control thread (vu_server.h).
 */
#ifndef ZV_VU_DEVICE_H
#define ZV_VU_DEVICE_H

#include "mem/guest_iommu.h"
#include "mem/guest_shared.h"
#include "pair/vhost_pair.h"
#include "proto/vsock_device.h"
#include "vu_rules.h"
#include "vu_server.h"

/*
 * Bytes that all maps of one device may cover together: one for the rings and one for each pair;
 * and as many again that loans keep alive.
 * Sparse files cost a frontend nothing, and our address space has 2^47 bytes for all guests.
 */
#define VU_MAP_MAX (1ull << 43)
/* The same for a device that has a connected socket in the place of a path: an application, which
 * shares its rings and buffers, and of which any local user may have dozens. */
#define VU_MAP_MAX_FD (1ull << 36)

/* After a call that has blocked (call_watch.h), which may take some hundred ms to be seen. */
#define VU_UNCALLED_NS 60000000000ull

/* What the frontend has said about a ring. */
struct vu_ring {
	uint32_t num;
	struct vhost_ring_pos base; /* where it was set, and later where it was stopped */
	struct vu_vring_addr addr;
	bool have_addr, kicked, enabled;
	bool stopped, based; /* GET_VRING_BASE has come; SET_VRING_BASE since it was last stopped */
	void *at[VHOST_RING_PARTS]; /* where it was last found: valid while it runs */
};

/* What a pair was loaded with: a change means a new session. */
struct vu_loaded {
	uint64_t features;
	uint64_t where[2][VHOST_RING_PARTS]; /* as in SET_VRING_ADDR */
	uint32_t num[2];
};

/* Of the VIRTIO shared memory that the frontend is given, since it has started the rings. */
enum vu_shmem_state {
	VU_SHMEM_IDLE, /* nothing is to be sent: no table, or it has it */
	VU_SHMEM_DUE,
	VU_SHMEM_SENT,
};

struct vu_dev {
	struct vu_socket *socket;
	struct zv_log_limit log; /* what the frontend can cause */
	char *path;
	uint64_t cid;
	bool disk; /* memory may be on disks */
	struct vhost_pair *const *queues;
	unsigned nqueues;

	void (*anew)(void *ctx);
	void *ctx;

	uint64_t protocol;     /* protocol features, as the frontend has set them */
	uint64_t offered;      /* features, as the frontend was told; 0: it has not asked */
	struct vu_terms terms; /* features negotiated, and what else messages are checked by */
	struct vu_ring ring[VSOCK_VQS(ZV_QUEUES_MAX)];
	struct vu_loaded loaded[ZV_QUEUES_MAX];
	struct vhost_pair_bases left[ZV_QUEUES_MAX]; /* where paused pairs stand */
	struct guest_mem_src src[GUEST_MEM_REGIONS]; /* fds are dups of ours */
	unsigned nsrc;
	struct guest_mem *rings; /* NULL: no memory table */
	struct guest_shares shares;
	uint64_t page_size;
	bool reset_due;	  /* a TRANSPORT_RESET waits for the event ring */
	uint32_t waiting; /* bit i: pair i could not start for want of something of ours */
	bool evt_loaded;
	struct vhost_ring evt;
	struct vhost_call evt_call;
	uint64_t uncalled; /* a call has blocked: until when no descriptor for calls is taken */
	int backend_fd;	   /* of SET_BACKEND_REQ_FD; -1: none */
	struct guest_iommu *iommu; /* with VIRTIO_F_ACCESS_PLATFORM */
	enum vu_shmem_state shmem;
	int shmem_fd; /* the channel of the last SHMEM_MAP; -1: there was none */
};

/* The number of a pair's virtqueue. */
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

/* What was negotiated; it chooses the layout of the rings that start from then on. */
void vu_set_features(struct vu_dev *d, uint64_t features);

/* Brings what ring @no belongs to (a pair, the event ring) to the state that was asked for. */
void vu_ring_update(struct vu_dev *d, unsigned no);

/* ---- vu_events.c ---- */

/* Takes a duplicate of @fd (-1: none) as what virtqueue @vq is kicked by. 0; -errno, logged. */
int vu_set_kick(struct vu_dev *d, unsigned vq, int fd);
/* The same for what its driver is called by. -EACCES: calls have blocked lately. */
int vu_set_call(struct vu_dev *d, unsigned vq, int fd);

/* There is nothing any more to be kicked or called by. */
void vu_drop_events(struct vu_dev *d);

/* ---- vu_device.c ---- */

/* The sessions of its paused pairs are over. */
void vu_drop_paused(struct vu_dev *d);

/* Another try to start the pairs that wait. */
void vu_start_again(struct vu_dev *d);

/* GET_VRING_BASE: stops virtqueue @vq and says where. */
struct vhost_ring_pos vu_ring_stop(struct vu_dev *d, unsigned vq);

/* SET_MEM_TABLE, checked: the same sessions go on in new maps. 0; -errno: refused, as it was
 * before. */
int vu_take_table(struct vu_dev *d, struct vu_exchange *x);

/* ---- vu_shmem.c ---- */

/* The frontend has said a memory table. */
void vu_shmem_table(struct vu_dev *d);
/* It has stopped a ring, or is gone. */
void vu_shmem_stop(struct vu_dev *d);
/* Sends what is due, if a pair runs and that is possible by now. */
void vu_shmem_look(struct vu_dev *d);

/* ---- vu_translate.c ---- */

/* Where @len bytes at @a are in our map, in one piece. 0; -EAGAIN: asked for; -EFAULT. */
int vu_translate_area(struct vu_dev *d, struct iova a, bool write, uint64_t len, void **out);
/* IOTLB_MSG, checked: a translation comes or goes. 0; -errno, logged. */
int vu_translation(struct vu_dev *d, const struct vu_iotlb *t);
/* The frontend will tell them anew: after a stop, and when features change. */
void vu_forget_translations(struct vu_dev *d);

/* Its driver has died, with a frontend that goes on: all sessions end, paused ones too, and nothing
 * is held. */
void vu_forget_driver(struct vu_dev *d);
/* Everything of the frontend is gone or about to go. */
void vu_forget_frontend(struct vu_dev *d);

#endif
