/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the application that the device reads in place (zvsock_mem.h).
 *
 * Theory of operation
 * -------------------
 * A thread of the application requests the mapping of a piece and waits. Only the control thread
 * uses the device's connection, so it passes the device all memory, the new piece included
 * (guest_link_ops.set_memory), and what is left when a piece is removed. Without a connection a
 * piece is only recorded; the device gets it when it is connected. The device's address of a piece
 * is APP_MEM_GPA, which is above all other memory, plus the index of the piece times APP_MEM_STEP.
 */
#ifndef ZV_APP_MEM_H
#define ZV_APP_MEM_H

#include "transport.h"
#include "zvsock_mem.h"

#include <pthread.h>

struct guest_dev;

#define APP_MEM_GPA  ((struct gpa){1ull << 45}) /* of piece 0 */
#define APP_MEM_STEP (1ull << 41)

struct app_mem {
	struct transport_mem m; /* m.fd belongs to us */
	uint8_t state;		/* enum in app_mem.c */
	uint8_t announced;	/* part of what set_memory() passes; control thread only */
};

struct app_mems {
	pthread_mutex_t lock;
	pthread_cond_t served;
	struct app_mem mem[ZV_MEM_MAX];
	int fd; /* readable: there is a request; -1: the device accepts no such memory */
};

/* Before the control thread starts. 0 or -errno. */
int app_mems_init(struct guest_dev *dev);
void app_mems_fini(struct guest_dev *dev);

/* Serves requests, on the control thread. False: the device is lost; zv_error_text() says why. */
bool app_mems_serve(struct guest_dev *dev);

/* For links: iterates over the pieces that the device is to have. NULL: begins; returns NULL at the
 * end. */
const struct app_mem *app_mem_next(const struct guest_dev *dev, const struct app_mem *m);
/* The device's address of @m. */
struct gpa app_mem_gpa(const struct guest_dev *dev, const struct app_mem *m);

/* For struct transport_ops, where link->set_memory is set. */
int app_mem_map(struct transport_dev *d, const struct transport_mem *m, struct iova *at);
void app_mem_unmap(struct transport_dev *d, struct iova at);

#endif
