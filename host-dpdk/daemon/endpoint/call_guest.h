/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connected socket of this machine on its way to a port of the guest: zv_connect() on a queue
 * whose rings run, and then the relay. It is what dial.h is for the other direction.
 */
#ifndef ZVD_CALL_GUEST_H
#define ZVD_CALL_GUEST_H

#include "relay/relay.h"

struct log_once;
struct call_guest;

struct call_guest_ops {
	/* The guest has accepted: says so to the program, if it waits for that; relay_start(). */
	void (*joined)(struct call_guest *t);
	/* It has not, and @why is the reason in words. Its socket is closed afterwards. */
	void (*refused)(struct call_guest *t, const char *why);
};

/* The beginning of what free(3) gets in the end, made by relay_init() without a connection. */
struct call_guest {
	struct relay r; /* first */
	const struct call_guest_ops *ops;
	uint32_t port;
	uint8_t queues_tried;
};

/*
 * For joined(), when the program waits for it: "OK PORT\n" with our port goes out from @room, and
 * the relay starts. @room, and @early (relay_start()), stay as long as @t.
 */
#define CALL_OK_ROOM sizeof("OK 4294967295\n")
void call_guest_ok(struct call_guest *t, char *room, const char *early, uint32_t early_len);

/* Connects; one of the two functions follows, at once or later, unless the guest is removed. */
void call_guest(struct call_guest *t);

/* A refusal's line in the log: "@what: @why", of all that *@once is for one a second at level info.
 */
void call_guest_log(const struct call_guest *t, struct log_once *once, const char *what,
		    const char *why);

#endif
