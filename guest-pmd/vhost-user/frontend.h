/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frontend's end of a vhost-user connection: socket and handshake.
 *
 * Waiting ends after timeout_ms, or when cancel_fd becomes readable. After a failure the connection
 * is closed or must be closed: there is no way to go on after half a message. All functions return
 * 0 or -errno with zv_err() text:
 *   -EPROTO           the backend closed, was silent too long, or sent an invalid reply
 *   -EPROTONOSUPPORT  it lacks a required feature
 *   -ERANGE           it has too few queues
 *   -ECANCELED        cancel_fd
 */
#ifndef ZV_FRONTEND_H
#define ZV_FRONTEND_H

#include "proto/vhost_user.h"
#include "virtqueue.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#define FRONTEND_TIMEOUT_MS 30000 /* generous: the backend may be slow on a busy machine */

struct frontend {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;		     /* -1: not connected */
	int cancel_fd;	     /* -1: none */
	int timeout_ms;	     /* for a reply; FRONTEND_TIMEOUT_MS */
	uint64_t want_rings; /* feature bits of ring layouts to ask for */
	uint64_t features;   /* as negotiated */
	uint64_t protocol;
	uint64_t guest_cid;
	bool host_app; /* this is an application of the host: the device may have CID 2 */
};

/* Checks and stores @path. -EINVAL (empty), -ENAMETOOLONG. */
int frontend_init(struct frontend *f, const char *path, int cancel_fd);

/* -ENOENT, -ECONNREFUSED, -EACCES, -EMFILE... as connect(2); -ETIMEDOUT: its backlog is full. */
int frontend_connect(struct frontend *f);
void frontend_disconnect(struct frontend *f);

/*
 * Negotiates owner, features, number of queues (@pairs pairs and the event queue are needed), CID.
 */
int frontend_negotiate(struct frontend *f, unsigned pairs);

bool frontend_event_idx(const struct frontend *f);
/* The backend takes tables of indirect descriptors. */
bool frontend_takes_tables(const struct frontend *f);

/* Whether the backend is to be given the event queue. */
bool frontend_wants_events(const struct frontend *f);

/* Whether the backend may return a receive buffer unwritten: rx_wipe in vsock_drv.h. */
bool frontend_may_return_unwritten(const struct frontend *f);

/* Reads the guest's CID; updates guest_cid. */
int frontend_read_cid(struct frontend *f);

/* A piece of memory for the backend: behind @fd at @offset, mapped here at @addr. */
struct frontend_mem {
	int fd;
	const void *addr;
	uint64_t size;
	struct gpa gpa;
	uint64_t offset;
};
#define FRONTEND_MEM_MAX VU_REGIONS

/*
 * Gives the backend the memory table: all @n pieces that the guest has, at most FRONTEND_MEM_MAX.
 */
int frontend_set_memory(struct frontend *f, const struct frontend_mem *mem, unsigned n);

/* Hands over a fresh ring as virtqueue @index and enables it. */
int frontend_start_ring(struct frontend *f, unsigned index, const struct virtq_areas *ring,
			int call_fd, int kick_fd);

/* Returns when the backend has dealt with everything sent before. */
int frontend_barrier(struct frontend *f);

#endif
