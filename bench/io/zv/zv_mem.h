/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages in memory that the program has registered (zvsock_mem.h). A worker has one piece of it,
 * cut into slots of the size of a message, and writes to a slot again once its completion has
 * arrived.
 */
#ifndef BENCH_ZV_MEM_H
#define BENCH_ZV_MEM_H

#include "zv_side.h"

/* A batch, as send_copy(): 1 sent, -EAGAIN no room (bc->no_slot: no slot), -errno. */
int mem_send(struct worker *w, struct bconn *bc, bool last);
/* @bc sends no more: gives back the slot of a message that it has not begun to send. */
void mem_drop(struct worker *w, struct bconn *bc);
/* Enters completions of the worker's queues; nothing where it has no such memory. */
void mem_reap(struct worker *w);
/* There is a slot. */
bool mem_has_slot(const struct worker *w);
void mem_free(struct worker *w);

#endif
