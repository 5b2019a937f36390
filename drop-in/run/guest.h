/* SPDX-License-Identifier: BSD-3-Clause */
/* The drop-in directory of a guest, from zvsockd's control socket. docs/daemon.md describes its
 * protocol. */
#ifndef ZV_DROPIN_GUEST_H
#define ZV_DROPIN_GUEST_H

#include <stddef.h>

#define GUEST_CONTROL "/run/zvsock/control.sock"

/* The drop-in directory of guest @name, from the zvsockd with control socket @control. 0 or -errno,
 * with one line in @why about what is wrong. */
int guest_dir(const char *control, const char *name, char *dir, size_t dir_size, char *why,
	      size_t size);

struct guest_seen {
	char name[128], state[16]; /* "up", "waiting" ... */
	unsigned cid;
};

/* Calls @each for the guests of the drop-in directory @dir, from the zvsockd with control socket
 * @control. Returns their number, or -errno with @why. */
int guest_list(const char *control, const char *dir, void (*each)(const struct guest_seen *g),
	       char *why, size_t size);

/* The value of the string member @name in a line of JSON, with escapes undone; the first one at any
 * depth. NULL: there is none, or it does not fit. */
const char *guest_json_string(const char *json, const char *name, char *value, size_t size);

#endif
