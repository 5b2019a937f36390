/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A received buffer that a program keeps, whatever becomes of the connection:
 *
 *	borrow CID BYTES	has an echo server send BYTES (at most 4096), and keeps the buffer
 *	loan			fails if what is in it has changed; says whether the connection is
 *				open
 *	return			releases it
 */
#ifndef VM_LOAN_H
#define VM_LOAN_H

#include <zvsock.h>

/* Carries out a command and writes "ok ..." or "FAILED ..." to @said. False: it is another one. */
bool loan_command(struct zv_queue *queue, int argc, char **argv, char *said, size_t size);

/* An event of the connection with @user, which has been reset. False: it is not this one's. */
bool loan_event(const void *user);

#endif
