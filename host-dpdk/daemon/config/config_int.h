/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a configuration: shared by config*.c.
 *
 * Theory of operation
 * -------------------
 * config_file.c turns the file, and config_words.c the command line, into (section, key, value)
 * items. (inih finds names and values in a line; we number the lines, because inih reports the
 * first fault only.) config_keys.c finds each key in a table, its own or that of a part
 * (config_part.h); the table names the function that reads the value. An invalid value is recorded
 * as a fault, the default stays in place, and reading continues. config_check.c then checks what no
 * single value shows: what is missing, given twice, or in conflict. Finally all faults are sorted
 * by line and written.
 */
#ifndef ZVD_CONFIG_INT_H
#define ZVD_CONFIG_INT_H

#include "config_part.h"

/* Position of a value. */
struct pos {
	unsigned line;	  /* line of the file; 0: not in the file */
	unsigned rank;	  /* sort order of faults: lines of the file, then command line words */
	const char *word; /* word of the command line, as typed */
};

cfg_setter cfg_set_ring_size, cfg_set_cid, cfg_set_poll, cfg_set_vhost_mode, cfg_set_memory,
	cfg_set_log_level, cfg_set_cpus, cfg_set_user, cfg_set_group, cfg_set_owner,
	cfg_set_control, cfg_add_socket, cfg_set_uri, cfg_add_app_user, cfg_add_app_group,
	cfg_add_app_ports, cfg_set_region, cfg_set_channel, cfg_set_region_path,
	cfg_set_region_kind, cfg_set_space, cfg_add_low;

/* config_space.c: completes and checks the drop-in directories. Call when default owners are known,
 * before paths are checked. */
void cfg_check_spaces(struct load *l);
void cfg_print_space(const struct cfg_space *s, FILE *to);

/* config_region.c: checks the region of the @i-th guest. */
void cfg_check_vm_region(struct load *l, unsigned i);

extern const struct key cfg_daemon_keys[], cfg_guest_keys[]; /* end with a NULL name */

/* Sets the members of @obj, zeroed memory, to the initial values of @keys, one of the two above. */
void cfg_initial(void *obj, const struct key *keys);
/* True if the members of @k in @a and @b are the same. */
bool cfg_same(const void *a, const void *b, const struct key *k);
/* Writes @text, which fits, to the member and zeroes the rest. */
void cfg_keep_text(void *obj, const struct key *k, const char *text);

/* A socket in the file system created by zvsockd or a VMM, or a TCP address that zvsockd listens
 * on. */
struct path_use {
	const char *what; /* the key: "socket", "unix", "control" */
	char path[CFG_PATH_MAX];
	struct pos pos;
	unsigned guest; /* index; UINT_MAX: the daemon's */
	bool ports;	/* programs of the host listen at PATH_PORT */
	bool address;	/* no path: ADDRESS:PORT */
};

/* Host ports that an endpoint of a guest serves. */
struct port_use {
	const char *what; /* the key */
	uint32_t first, last;
	struct pos pos;
	unsigned guest;
};

/* State of a section besides its values. */
struct section {
	struct pos pos;
	struct pos *at; /* last position of each key, by number; word and line both 0: not given */
	bool ignore;	/* a guest whose name is invalid or taken: values are only checked */
};

struct fault {
	unsigned rank, seq;
	char *text;
};

struct load {
	const char *file;
	struct cfg *cfg;
	struct pos now; /* of the item being read */
	bool again;	/* its key has been given before */
	unsigned guest; /* guest of the item; UINT_MAX: [daemon] */
	struct section daemon;
	struct section *sections; /* of guests and devices, parallel to cfg->guests */
	void *names;		  /* config_guest.c's tree of the guests' names */
	struct path_use *paths;
	unsigned n_paths;
	struct port_use *ports;
	unsigned n_ports;
	struct fault *faults;
	unsigned n_faults;
	bool no_memory;
};

/* Records a fault: "what; how to mend it", without the position. */
void cfg_fault(struct load *l, const struct pos *at, const char *fmt, ...) ZV_PRINTF(3, 4);

/* Adds an element of @size bytes, zeroed, after the *n of the array *array. NULL: no memory. */
void *cfg_more(struct load *l, void *array, unsigned *n, size_t size);

/* Sets @name in the section that l->guest selects to @value, which is modified. */
void cfg_item(struct load *l, const char *name, char *value);

/* Starts a section [guest NAME] or [device NAME]. */
void cfg_begin_guest(struct load *l, enum cfg_role role, const char *name);

/* The index of the guest of that name, if it is not ignored; UINT_MAX: none. */
unsigned cfg_find_guest(const struct load *l, const char *name);
void cfg_forget_names(struct load *l);

/* Allocates the positions of the keys of [daemon], or of a guest. NULL: no memory. */
struct pos *cfg_positions(struct load *l, bool daemon);

/* Reads l->file: 0, -errno. */
int cfg_read_file(struct load *l);
/* Reads the words of the command line in @extra. */
void cfg_read_words(struct load *l, char *const *extra);

static inline bool pos_given(const struct pos *p)
{
	return p->line || p->word;
}

/* Position of a guest's key, or of its section where the key is not given. */
const struct pos *cfg_where(const struct load *l, unsigned guest, const char *key);

/* Checks what concerns more than one value. */
void cfg_check(struct load *l);

#endif
