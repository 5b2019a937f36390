/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region of shared memory of a device of the guest's side: what it offers to its host, and maps
 * when that says which part is used (struct transport_region_ops).
 *
 * Which one is said by an option of the URI, "region=...", anywhere in the list:
 *   in a VM (vfio:, uio:, vsock:)  auto (the default: what there is), none, or a name (vm_region.h)
 *   without a VM           none (the default) or a size: a region is made, and is a further piece
 * of the device's memory A region that was named and cannot be had fails zv_open(); with auto it is
 * a line in the log, and payload goes through the rings.
 */
#ifndef ZV_OWN_REGION_H
#define ZV_OWN_REGION_H

#include "proto/vm_addr.h"
#include "transport.h"

struct own_region {
	struct region_map *map; /* NULL: none */
	struct gpa gpa;
	uint64_t size;
	int fd; /* of a region that was made; the map's */
};

/*
 * Takes the option out of the @rest of a URI. *names is what is left, without it, and *which what
 * it says, NULL: it is not there; both in one piece of memory, which begins at *names and is the
 * caller's. 0; -EINVAL (twice), -ENOMEM with text.
 */
int own_region_option(const char *scheme, const char *rest, char **names, const char **which);

struct vm_region_own;

/*
 * The region @which (NULL: auto) of this VM. @own: shared memory of the device, NULL: none. 0:
 * r->map is it, or NULL; -errno with text.
 */
int own_region_find(struct own_region *r, const char *scheme, const char *which,
		    const struct zv_opts *opts, const struct vm_region_own *own);

/* A region of @which bytes (NULL, "none": none), at @gpa. As above. */
int own_region_make(struct own_region *r, const char *scheme, const char *which, struct gpa gpa,
		    const struct zv_opts *opts);

/* There is one, and memory behind it: from the beginning or, if it is late, while the host has
 * announced it. The control thread is told when that begins, in the way of regions.fd. */
bool own_region_there(const struct own_region *r);

/* The device has been lost, and with it what is late; no queue is at work. */
void own_region_lost(const struct own_region *r);

/* The device does not need it any more. Harmless when there is none. */
void own_region_release(struct own_region *r);

/* What transport_region_ops.offer and .map do. @scheme, @name: of the device, for the log. */
int own_region_offer(const struct own_region *r, struct ctrl_offer *out);
int own_region_part(const struct own_region *r, const char *scheme, const char *name,
		    unsigned queue, const struct ctrl_region *at, struct region_map **out);

/* For struct transport_ops of devices that embed struct guest_dev. */
extern const struct transport_region_ops own_region_ops;

#endif
