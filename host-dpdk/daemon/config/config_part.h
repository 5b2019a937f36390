/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A part of a guest's configuration: the keys of an endpoint type, and everything about their
 * values that must be known before a connection comes.
 *
 * The values of a guest are in a structure defined by the part, which gives its size; it is
 * allocated with the guest, initially zeroed, and the functions get its address. A part without
 * keys has size 0 and gets NULL. A function that is not needed is NULL.
 */
#ifndef ZVD_CONFIG_PART_H
#define ZVD_CONFIG_PART_H

#include "config.h"

#include <stddef.h>
#include <zvsock.h>

struct load;
struct key;

/* ---- keys ---- */

/* Reads @value, which may be modified, into @obj: the struct cfg, struct cfg_guest or values of the
 * part that the key belongs to. */
typedef void cfg_setter(struct load *l, void *obj, const struct key *k, char *value);

struct key {
	const char *name;
	cfg_setter *set;
	size_t offset;	   /* of the member of @obj, if @set uses it */
	uint64_t min, max; /* of a number */
	bool list;	   /* may be repeated, and takes several values separated by commas */
	const char
		*absent[CFG_ROLES]; /* why a section of this role does not have it; NULL: it has */

	/* For config_keys.c only; parts compare and print their values themselves. */
	size_t size;	  /* of the member; compared at a reload */
	uint32_t initial; /* value of each 32-bit word of the member if the key is not given */
	bool fixed;	  /* in [daemon]: a change needs a restart */
	/* The line of --check if the value is not the initial one: "LABEL VALUE WORDS". NULL:
	 * config_print.c prints it in a sentence. */
	const char *label, *words;
};

static inline void *cfg_member(void *obj, const struct key *k)
{
	return (char *)obj + k->offset;
}

/* ---- the part ---- */

/* Host ports first to last; the first member of what a part stores for them. */
struct cfg_ports {
	uint32_t first, last;
};

/* An array that grows with cfg_add(). */
struct cfg_array {
	void *v;
	unsigned n;
};

struct cfg_part {
	const struct key *keys; /* of guests and devices; ends with a NULL name. NULL: none */
	size_t size;		/* of the values */

	/* Called when all keys of the guest are read: completes the values. */
	void (*ready)(void *values);
	/* Frees what @values points to, but not @values. */
	void (*release)(void *values);
	/* True: nothing that a running guest depends on differs. NULL: the part handles differences
	 * while the guest runs (endpoint_ops.trim and extend). */
	bool (*same)(const void *a, const void *b);
	/*
	 * Prints lines for --check about what the peer of @g connects to. *scratch is NULL for the
	 * first guest of @c; what it points to is passed on to the next guest, and is freed by
	 * free(3).
	 */
	void (*print)(const struct cfg *c, const struct cfg_guest *g, const void *values,
		      void **scratch, FILE *to);

	/* The i-th socket that it creates in the file system for the guest; NULL: no more. */
	const char *(*socket)(const void *values, unsigned i);
	/* Descriptors that it holds for the guest, besides those of connections. */
	unsigned (*fds)(const void *values);
	/*
	 * A list of names that "zvsockctl guests --json" shows: its key, and the i-th name or NULL.
	 */
	const char *names;
	const char *(*name)(const void *values, unsigned i);

	/* Host names, for all guests of @c together: as cfg_ask(), cfg_answers() and cfg_keep().
	 * trouble(): what this guest lacks, or NULL. release_all(): for cfg_free(). */
	int (*ask)(struct cfg *c);
	bool (*answers)(struct cfg *c, unsigned ms);
	const char *(*trouble)(const void *values);
	void (*keep)(void *to, const void *from);
	void (*release_all)(struct cfg *c);
};

/* True if the section of @g can have any of the part's keys. */
static inline bool cfg_has_part(const struct cfg_guest *g, const struct cfg_part *part)
{
	const struct key *k = part->keys;

	while (k && k->name && k->absent[g->role])
		k++;
	return k && k->name;
}

/* ---- for setters ---- */

cfg_setter cfg_set_u32, cfg_set_size, cfg_set_mode;

/* Records a fault of the value being read: "what; how to mend it", without the position. */
void cfg_wrong(struct load *l, const char *fmt, ...) ZV_PRINTF(2, 3);

/* Adds an element of @size bytes, zeroed, at the end of @a. NULL: no memory. */
void *cfg_add(struct load *l, struct cfg_array *a, size_t size);

/* Reads a decimal number, digits only. 0; -EINVAL: something else; -ERANGE: below @min or above
 * @max. */
int cfg_number(const char *s, uint64_t min, uint64_t max, uint64_t *out);

/* True if @s can name a guest or a group: letters, digits, "-" and "_", not too many. */
bool cfg_name_ok(const char *s);

/* The user or group @name, or a number. False: there is none, which is recorded as a fault. */
bool cfg_uid(struct load *l, const struct key *k, const char *name, uid_t *uid);
bool cfg_gid(struct load *l, const struct key *k, const char *name, gid_t *gid);

/* Reads a vsock port. False: it is invalid, which is recorded as a fault. */
bool cfg_port(struct load *l, const struct key *k, const char *text, uint32_t *port);

/* The part serves the guest's host ports @p: no other part may have them. */
bool cfg_take_ports(struct load *l, const struct key *k, const struct cfg_ports *p);
/* zvsockd listens for TCP at @address, "ADDRESS:PORT": nothing else may. False: no memory. */
bool cfg_take_address(struct load *l, const struct key *k, const char *address);
/* The part serves all ports that no other part has. */
void cfg_take_rest(struct load *l);

/* Checks @value as the path of a socket that will be created. @ports: host programs listen at the
 * path with "_PORT" appended, which must fit. False: a fault. */
bool cfg_take_path(struct load *l, const struct key *k, const char *value, bool ports);

/* ---- look-ups, in arrays of numbers or of elements that begin with a struct cfg_ports ---- */

void cfg_sort_ports(struct cfg_array *a, size_t size);
/* The element that contains @port, or NULL. */
const void *cfg_find_port(const struct cfg_array *a, size_t size, uint32_t port);

void cfg_sort_ids(struct cfg_array *a); /* of uint32_t: uid_t, gid_t */
bool cfg_has_id(const struct cfg_array *a, uint32_t id);

/* True if they have the same bytes, with elements of @size. */
bool cfg_same_array(const struct cfg_array *a, const struct cfg_array *b, size_t size);

#endif
