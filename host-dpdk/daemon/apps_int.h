/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of the client socket: apps.c and apps_admit.c. */
#ifndef ZVD_APPS_INT_H
#define ZVD_APPS_INT_H

#include "apps.h"
#include "core/closers.h"
#include "core/log.h"

#include <sys/socket.h>

/* Sockets that wait to be closed, on kernels where descriptors may be queued in them (passed.h).
 * They take descriptors reserved for applications, of which these hardly ever use all. */
#define APPS_CLOSING_FULL 64u /* of a user: it gets no place */
#define APPS_CLOSING_FLOOD                                                                         \
	256u /* of a user: after each further one nobody is accepted for PAUSE_MS */
#define APPS_CLOSING_MOST 512u /* of all users: nobody is accepted */

struct app {
	int fd; /* of the client socket; -1: a free place */
	struct ucred cred;
	uint64_t since_ms;     /* when it connected */
	struct cfg_guest *cfg; /* NULL: not attached */
	struct guest *guest;   /* NULL: not attached */
	bool no_bells;	       /* it has got none, which is in the log */
};

/* A user whose application has made a descriptor block may not attach for APPS_BARRED_MS: the limit
 * that a device has for that begins anew with each device. */
#define APPS_BARRED    64u
#define APPS_BARRED_MS 60000u

struct apps_barred {
	uid_t uid;
	uint64_t until_ms; /* 0: a free place */
};

struct apps {
	int listener, claim, ep;
	bool accepting;
	bool in_space;		 /* there is a drop-in directory for them */
	struct closers *closers; /* of sockets that take long to close; NULL: there are none */
	struct closers *given;	 /* of our descriptors of what applications are attached by */
	uint64_t again_ms;	 /* while not accepting for want of descriptors or memory */
	/* Lines that concern no guest. */
	struct log_once not_admitted, over_limit, full, malformed, no_device;
	char path[CFG_PATH_MAX];
	struct app app[APPS_MAX];
	struct apps_barred barred[APPS_BARRED];
};

/* ---- apps.c ---- */

/* It leaves its place, with all that it has. */
void app_end(struct daemon *d, struct app *a);

/* ---- apps_admit.c ---- */

/* Low ports are for root, and for the user of zvsockd itself. */
bool app_is_privileged(const struct app *a);
/* Whether @a, which has just connected, gets a place. False: it has been told why. */
bool app_admitted(struct daemon *d, struct app *a);
/* @a, which ends, has made a descriptor block: its user is barred, unless it is privileged. */
void app_bar_user(struct apps *as, const struct app *a);
/* recvmsg(2), without waiting. -1 with EPERM: there are descriptors, and nothing was received. */
ssize_t apps_receive(const struct apps *as, int fd, struct msghdr *mh);
/* Closes @fd, or has it closed: descriptors that @uid has sent may be queued in it. */
void apps_let_go(struct apps *as, int fd, uid_t uid);
/* The same for our descriptor of what @uid was attached by, which may be the last: an application
 * can leave its own in an epoll set that it keeps locked, and close() waits for that. */
void apps_gave(struct apps *as, int fd, uid_t uid);
/* Sockets of @uid that wait to be closed. */
unsigned apps_closing(const struct apps *as, uid_t uid);

#endif
