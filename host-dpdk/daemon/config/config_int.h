/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a configuration: what config.c, config_keys.c and config_check.c share.
 *
 * Theory of operation
 * -------------------
 * config.c turns the file (inih finds names and values in a line; we number the lines, because
 * inih stops telling after the first fault) and the command line into (section, key, value) items.
 * config_keys.c has a table of the keys and one function for each kind of value. A value that is
 * wrong leaves a fault behind and the default in place, and reading goes on. config_check.c then
 * looks at what no single value can tell: what is missing, what is there twice, what collides. In
 * the end the faults are sorted by line and written, all of them.
 */
#ifndef ZVD_CONFIG_INT_H
#define ZVD_CONFIG_INT_H

#include "config.h"

#include <stddef.h>
#include <zvsock.h>

#define KEYS_MAX 24u /* of a section */

/* Where a value stands. */
struct pos {
	unsigned line; /* of the file; 0: not in the file */
	unsigned rank; /* order of the faults: lines of the file, then words of the command line */
	const char *word; /* of the command line, as typed */
};

struct load;
struct key;

/* Reads @value, which may be changed, into the struct cfg or struct cfg_guest @obj. */
typedef void cfg_setter(struct load *l, void *obj, const struct key *k, char *value);

struct key {
	const char *name;
	cfg_setter *set;
	size_t offset; /* of the member of struct cfg or struct cfg_guest, where @set wants it */
	uint64_t min, max; /* of a number */
	bool list;	   /* may be repeated, takes several values with commas between */
};

cfg_setter cfg_set_u32, cfg_set_size, cfg_set_ring_size, cfg_set_cid, cfg_set_mode, cfg_set_poll,
	cfg_set_vhost_mode, cfg_set_log_level, cfg_set_cpus, cfg_set_user, cfg_set_group,
	cfg_set_owner, cfg_add_low_user, cfg_add_low_group, cfg_add_sibling_group, cfg_set_control,
	cfg_set_unix, cfg_add_socket, cfg_add_builtin, cfg_add_vsock, cfg_add_tcp;

extern const struct key cfg_daemon_keys[], cfg_guest_keys[]; /* end with a NULL name */

/* A socket in the file system that somebody will make or look for. */
struct path_use {
	const char *what; /* "socket", "unix", "control" */
	char path[CFG_PATH_MAX];
	struct pos pos;
	unsigned guest; /* index; UINT_MAX: the daemon's */
};

/* Host ports that an endpoint of a guest serves. */
struct port_use {
	const char *what; /* the key */
	uint32_t first, last;
	struct pos pos;
	unsigned guest;
};

/* What is known of a section besides its values. */
struct section {
	struct pos pos;
	struct pos at[KEYS_MAX]; /* the last place of each key; word and line both 0: not given */
	unsigned path; /* 1 + place in load.paths of the path that is no list; 0: none yet */
	bool ignore;   /* a guest whose name is bad or there already: values are checked, no more */
};

struct fault {
	unsigned rank, seq;
	char *text;
};

struct load {
	const char *file;
	struct cfg *cfg;
	struct pos now; /* of the item that is being read */
	unsigned guest; /* that it belongs to; UINT_MAX: [daemon] */
	struct section daemon;
	struct section *sections; /* of the guests, parallel to cfg->guests */
	void *names;		  /* config.c's tree of the guests' names */
	struct path_use *paths;
	unsigned n_paths;
	struct port_use *ports;
	unsigned n_ports;
	struct fault *faults;
	unsigned n_faults;
	bool no_memory;
};

/* Notes a fault: "what; how to mend it", without the place. */
void cfg_fault(struct load *l, const struct pos *at, const char *fmt, ...) ZV_PRINTF(3, 4);

/* One more element of @size bytes, zeroed, behind the *n of the array *array. NULL: no memory. */
void *cfg_more(struct load *l, void *array, unsigned *n, size_t size);

/* Sets @name of the section that l->guest says to @value, which is changed. */
void cfg_item(struct load *l, const char *name, char *value);

/* A begun [guest NAME]. */
void cfg_begin_guest(struct load *l, const char *name);

/* Digits and nothing else: 0. -EINVAL: something else. -ERANGE: below @min or above @max. */
int cfg_number(const char *s, uint64_t min, uint64_t max, uint64_t *out);

/* True if @s can name a guest or a group: letters, digits, "-" and "_", not too many. */
bool cfg_name_ok(const char *s);

static inline bool pos_given(const struct pos *p)
{
	return p->line || p->word;
}

/* Position of a guest's key, or of its section where the key is not given. */
const struct pos *cfg_where(const struct load *l, unsigned guest, const char *key);

/* All that concerns more than one value. */
void cfg_check(struct load *l);

/* Puts what is looked up by port or number into the order of config_find.c. */
void cfg_sort(struct cfg *c);

#endif
