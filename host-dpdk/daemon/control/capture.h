/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture: writes the packets of some guests to a file, without anybody waiting for the file.
 *
 * Theory of operation
 * -------------------
 * Each captured queue has a tap (zv_set_tap) and a ring of CAPTURE_RING_BYTES. The tap runs on the
 * queue's lcore: it copies the header and the kept part of the payload into the ring or, if the
 * ring is full, counts the packet as dropped. That is all an lcore ever does for a capture: it
 * makes no system call, wakes nobody and never waits. Without a capture there is no tap.
 *
 * The capture's own thread checks the rings every CAPTURE_CHECK_MS and writes what it finds,
 * ordered by time across queues, to the descriptor that zvsockctl has passed. The file's owner
 * decides how long it waits in write(2), so nothing ever waits for the thread: it reports its end
 * on an eventfd, and only then is it joined.
 *
 * All functions are for the main thread. Sources are added while the writer runs and are never
 * removed before it has ended: their list only grows, at its head, so it needs no lock. Guests come
 * and go, and applications as often as they like: the ring of a queue that has gone is given to
 * another one as soon as it is empty, and while CAPTURE_LEFT_MAX rings wait to be written, further
 * guests are not captured; they are tried again each second.
 */
#ifndef ZVD_CAPTURE_H
#define ZVD_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#define CAPTURE_RING_BYTES  (4u << 20) /* per queue; unused memory is not allocated */
#define CAPTURE_LEFT_MAX    64u	       /* rings of queues that have gone */
#define CAPTURE_CHECK_MS    20
#define CAPTURE_GRACE_MS    1000       /* how long a pipe that nobody reads may delay the end */
#define CAPTURE_SNAPLEN_MAX (1u << 20) /* no packet carries more */

struct capture;
struct guest;

struct capture_opts {
	uint32_t snaplen;     /* payload bytes kept of a packet, up to CAPTURE_SNAPLEN_MAX */
	uint64_t count;	      /* ends after this many packets; 0: no limit */
	uint64_t duration_ns; /* ends after this time; 0: no limit */
};

enum capture_end { CAPTURE_STOPPED, CAPTURE_COUNT, CAPTURE_DURATION, CAPTURE_FAILED };

struct capture_result {
	enum capture_end end;
	int err;	  /* CAPTURE_FAILED: -errno of the write */
	uint64_t packets; /* written */
	uint64_t bytes;	  /* bytes in the file */
	uint64_t dropped; /* ring full, or too late to be written */
};

/*
 * Starts to write to @fd, which the capture's thread closes at its end. @notify: an eventfd that is
 * written when the capture is over. 0; -EBADF (not open for writing), -ENOMEM or the error of
 * pthread_create; on error @fd still belongs to the caller.
 */
int capture_start(struct capture **out, int fd, const struct capture_opts *o, int notify);

/* Adds the guest's queues to the capture. 0; -ENOMEM; -EAGAIN: too many rings wait to be written.
 */
int capture_add(struct capture *c, struct guest *g);

/* Before the guest is freed: stops capturing its queues. What was captured is still written. */
void capture_remove(struct capture *c, const struct guest *g);

bool capture_has(const struct capture *c, const struct guest *g);

/* Captures nothing more; the capture is over once the rest is written. */
void capture_stop(struct capture *c);

/* True once nothing more will be written. */
bool capture_over(const struct capture *c);

/* Fills in the result and frees everything. If the capture is not over, its thread is stuck in
 * write(2), and the memory that it uses is kept until the process ends. */
void capture_free(struct capture *c, struct capture_result *r);

#endif
