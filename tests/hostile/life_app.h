/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application that always holds buffers: a host device of its own and one thread that is inside
 * the library all the time, keeps loans in both directions and writes into every one of them again
 * and again, whatever has become of the guest.
 */
#ifndef ZV_HOSTILE_LIFE_APP_H
#define ZV_HOSTILE_LIFE_APP_H

#include <stdbool.h>
#include <stdint.h>

#define LIFE_CID  9u
#define LIFE_LATE 0xd1 /* what it writes */

extern char life_path[80];

/* Opens the device and starts the thread. NULL, or what is wrong. */
const char *life_start(uint64_t seed);
bool life_stop(void);

/* The device's rings run, or not; waits for it. */
bool life_wait_up(bool up);
/* Loans since the last life_new_round(): received, and reserved for sending. */
unsigned life_received(void);
unsigned life_reserved(void);
/* What is older than three rounds is given back. */
void life_new_round(void);
/* Waits until every loan has been written to twice from now on. */
bool life_touched(void);
/* From now on, or no more: no call into the library, all loans kept. */
void life_freeze(bool on);
/* Gives back every loan and closes every connection, before it returns. */
void life_give_up_all(void);

#endif
