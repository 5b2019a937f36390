/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a guest's programs meet it: asked of zvsockd's control socket. docs/daemon.md has its
 * protocol. */
#ifndef ZV_DROPIN_GUEST_H
#define ZV_DROPIN_GUEST_H

#include <stddef.h>

#define GUEST_CONTROL "/run/zvsock/control.sock"

/*
 * The drop-in directory of guest @name, of the zvsockd whose control socket is @control. 0 or
 * -errno; then @why says in one line what is wrong.
 */
int guest_dir(const char *control, const char *name, char *dir, size_t dir_size, char *why,
	      size_t size);

struct guest_seen {
	char name[128], state[16]; /* "up", "waiting" ... */
	unsigned cid;
};

/*
 * Tells @each of the guests of the drop-in directory @dir, by the zvsockd whose control socket is
 * @control. Their number, or -errno; then @why.
 */
int guest_list(const char *control, const char *dir, void (*each)(const struct guest_seen *g),
	       char *why, size_t size);

/*
 * The value of the string member @name in a line of JSON, as it stands there, with its escapes
 * undone; the first one, at whatever depth. NULL: there is none, or it does not fit.
 */
const char *guest_json_string(const char *json, const char *name, char *value, size_t size);

#endif
