/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of a capture: capture.c (the tap on the lcores, the main thread) and
 * capture_writer.c (the writer's thread). */
#ifndef ZVD_CAPTURE_INT_H
#define ZVD_CAPTURE_INT_H

#include "base/clock.h"
#include "capture.h"
#include "pcap_vsock.h"
#include "spsc_ring.h"

#include <pthread.h>
#include <stddef.h>

/* A packet takes a record and its payload, rounded up to whole entries. */
#define CAPTURE_ENTRY	256u
#define CAPTURE_ENTRIES (CAPTURE_RING_BYTES / CAPTURE_ENTRY)

struct capture_record {
	uint64_t ns; /* CLOCK_MONOTONIC */
	uint32_t len;
	uint32_t caplen;
	uint8_t hdr[PCAP_VIRTIO_BYTES];
	uint32_t pad;
};
_Static_assert(sizeof(struct capture_record) <= CAPTURE_ENTRY, "a record fits into one entry");
_Static_assert((CAPTURE_SNAPLEN_MAX + sizeof(struct capture_record)) * 2 < CAPTURE_RING_BYTES,
	       "the largest packet fits with room to spare");

/* A queue that is captured. */
struct capture_source {
	struct capture_source *next;
	struct guest_queue *gq; /* main thread only; NULL: no longer captured */
	uint32_t snaplen;
	void *mem;

	/* lcore only */
	struct spsc_prod prod SHM_CACHE_ALIGNED;
	uint64_t dropped; /* any thread may read it */

	/* the writer's */
	struct spsc_cons cons SHM_CACHE_ALIGNED;
	bool have; /* head is the oldest packet not yet written */
	uint32_t idx;
	struct capture_record head;
};

struct capture {
	struct capture_opts opts;
	int fd, notify;
	bool pipe;	/* poll(2) can tell whether a write would block */
	uint64_t epoch; /* CLOCK_REALTIME - CLOCK_MONOTONIC at the start */
	uint64_t start;
	struct capture_source *sources;
	pthread_t thread;
	uint32_t stop, over; /* flags shared by the threads */

	/* writer only, until the capture is over */
	struct capture_result res;
	uint64_t stop_seen; /* time at which the writer saw stop; 0: not yet */
	uint64_t buffered;  /* packets in out */
	uint8_t *out;
	size_t out_len, out_size;
};

/* Entries that a packet with @caplen bytes of captured payload takes. */
static inline uint32_t capture_entries(uint32_t caplen)
{
	return (uint32_t)((sizeof(struct capture_record) + caplen + CAPTURE_ENTRY - 1) /
			  CAPTURE_ENTRY);
}

/* The writer's thread; @arg: the struct capture. */
void *capture_writer(void *arg);

/* After the writer has ended: the number of packets in the ring that will not be written. */
uint64_t capture_left_over(struct capture_source *s);

#endif
