/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the application that the device reads in place (zvsock_mem.h).
 *
 * Theory of operation
 * -------------------
 * A thread of the application requests a piece and waits. Only the control thread uses the device's
 * connection, so it tells the device (guest_link_ops.set_memory, with all memory that there is),
 * and tells it what is left when a piece goes. While there is no connection, a piece is only
 * recorded: the device is told when it is connected. The device's address of a piece is the number
 * of the piece times APP_MEM_STEP, above all other memory.
 */
#ifndef ZV_APP_MEM_H
#define ZV_APP_MEM_H

#include "transport.h"
#include "zvsock_mem.h"

#include <pthread.h>

struct guest_dev;

#define APP_MEM_GPA  ((struct gpa){1ull << 45}) /* of the first piece */
#define APP_MEM_STEP (1ull << 41)

struct app_mem {
	struct transport_mem m; /* m.fd is ours */
	uint8_t state;		/* enum in app_mem.c */
	uint8_t announced;	/* the device has it or is being told; control thread only */
};

struct app_mems {
	pthread_mutex_t lock;
	pthread_cond_t served;
	struct app_mem mem[ZV_MEM_MAX];
	int fd; /* readable: there is a request; -1: the device takes no such memory */
};

/* 0 or -errno. Before the control thread starts. */
int app_mems_init(struct guest_dev *dev);
void app_mems_fini(struct guest_dev *dev);

/* Run by the control thread. False: the device is lost, zv_error_text() says why. */
bool app_mems_serve(struct guest_dev *dev);

/* For a link: the pieces that the device is to have, one after the other. NULL: no more. */
const struct app_mem *app_mem_next(const struct guest_dev *dev, const struct app_mem *m);
/* The device's address of @m. */
struct gpa app_mem_gpa(const struct guest_dev *dev, const struct app_mem *m);

/* For struct transport_ops, where link->set_memory is set. */
int app_mem_map(struct transport_dev *d, const struct transport_mem *m, struct iova *at);
void app_mem_unmap(struct transport_dev *d, struct iova at);

#endif
