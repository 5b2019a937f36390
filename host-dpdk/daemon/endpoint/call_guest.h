/* SPDX-License-Identifier: BSD-3-Clause */
/* A connected socket of this machine being connected to a port of the guest: zv_connect() on a
 * queue whose rings run, and then the relay. The counterpart of dial.h for the other direction. */
#ifndef ZVD_CALL_GUEST_H
#define ZVD_CALL_GUEST_H

#include "relay/relay.h"

struct log_once;
struct call_guest;

struct call_guest_ops {
	/* The guest has accepted: tell the program, if it waits for that, and call
	 * relay_start(). */
	void (*joined)(struct call_guest *t);
	/* The guest has not accepted; @why is the reason in words. The socket is closed
	 * afterwards. */
	void (*refused)(struct call_guest *t, const char *why);
};

/* At the start of an allocation freed by free(3); initialised by relay_init() without a
 * connection. */
struct call_guest {
	struct relay r; /* first */
	const struct call_guest_ops *ops;
	uint32_t port;
	uint8_t queues_tried;
};

/* For joined(), if the program waits for the result: sends "OK PORT\n" with our port from @room and
 * starts the relay. @room, and @early (relay_start()), must stay valid as long as @t. */
#define CALL_OK_ROOM sizeof("OK 4294967295\n")
void call_guest_ok(struct call_guest *t, char *room, const char *early, uint32_t early_len);

/* Connects; one of the two functions follows, now or later, unless the guest is removed. */
void call_guest(struct call_guest *t);

/* Logs a refusal: "@what: @why". Of all that share *@once, one per second is at level info. */
void call_guest_log(const struct call_guest *t, struct log_once *once, const char *what,
		    const char *why);

#endif
