/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Driver against device in one process, without vhost-user: "loopguest:" is the guest driver,
 * "loophost:" the backend's packet layer, and this file does what the vhost-user messages would
 * do. Open the host first.
 */
#ifndef LOOP_H
#define LOOP_H

#include "transport.h"

#define LOOP_CID 7u

extern const struct transport_ops loop_guest_ops, loop_host_ops;

/* What both sides can ring in; NULL: nothing. */
extern struct bell_map *loop_ring[2];

/* Stops all rings (as a lost backend does) and starts fresh ones; owners may be running. */
void loop_restart(void);
/* Replaces the host's memory table by a new import of the same memory, live. */
void loop_switch_mem(void);
/* Before zv_open: the guest's memory is a file that can be cut off. */
extern bool loop_unsealed;
/* Cuts it off. The guest's own map becomes zeros as well. */
int loop_cut_off(void);
/*
 * The guest and its rings stop, @meanwhile is called, and both go on where they were, as when a VM
 * is paused. False: a session has not gone on.
 */
bool loop_pause(void (*meanwhile)(void *arg), void *arg);

#endif
