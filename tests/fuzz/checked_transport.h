/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fake transport with a bookkeeper in front of it, for fuzz_socket.c: every token that the
 * socket layer gets must come back once, by the right call, with a packet that fits. Also a clock
 * and random numbers that depend on the input alone (the linker's --wrap).
 */
#ifndef ZV_CHECKED_TRANSPORT_H
#define ZV_CHECKED_TRANSPORT_H

#include "unit/api/fake_transport.h"

/* Before the devices of an input are opened. */
void checked_reset(void);
/* Puts the bookkeeper between @dev and its transport; before anything is done with the device. */
void checked_attach(struct zv_dev *dev, enum zv_role role);
/* A tap that reads all that it is shown, and compares lengths. */
void checked_tap(void *ctx, bool sent, const void *hdr, const struct iovec *iov, int n);
/* Lets time pass. */
void checked_clock(uint64_t ns);

#endif
