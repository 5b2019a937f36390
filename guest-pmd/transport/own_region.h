/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shared memory region of a device of the guest's side: the device offers it to its host, and
 * maps the part that the host then announces (struct transport_region_ops).
 *
 * The URI option "region=...", anywhere in the list, selects it:
 *   in a VM (vfio:, uio:, vsock:)  auto (the default: what is found), none, or a name
 *                                  (vm_region.h)
 *   without a VM                   none (the default) or a size: a region is created, and is a
 *                                  further piece of the device's memory
 *
 * If a named region is not available, zv_open() fails; with auto that is only logged, and payload
 * goes through the rings.
 */
#ifndef ZV_OWN_REGION_H
#define ZV_OWN_REGION_H

#include "proto/vm_addr.h"
#include "transport.h"

struct own_region {
	struct region_map *map; /* NULL: none */
	struct gpa gpa;
	uint64_t size;
	int fd; /* of a region that was created; owned by the map */
};

/*
 * Removes the option from the @rest of a URI. *names is what remains, and *which is the option's
 * value; NULL: there is none. Both are in one allocation, which begins at *names and is owned by
 * the caller. 0; -EINVAL (option given twice), -ENOMEM with text.
 */
int own_region_option(const char *scheme, const char *rest, char **names, const char **which);

struct vm_region_own;

/*
 * Finds the region @which (NULL: auto) of this VM. @own: shared memory of the device, NULL: none.
 * 0, and r->map is the region or NULL; -errno with text.
 */
int own_region_find(struct own_region *r, const char *scheme, const char *which,
		    const struct zv_opts *opts, const struct vm_region_own *own);

/* Creates a region of @which bytes (NULL, "none": none) at @gpa. Returns as above. */
int own_region_make(struct own_region *r, const char *scheme, const char *which, struct gpa gpa,
		    const struct zv_opts *opts);

/*
 * True: there is a region with memory behind it. A deferred one has memory only while the host has
 * announced it. When that begins, regions.fd wakes the control thread.
 */
bool own_region_present(const struct own_region *r);

/* True: the host has announced it since the device was connected. */
bool own_region_announced(const struct own_region *r);

/* The file behind it, which belongs to the map; -1: there is none that could be locked. */
int own_region_file(const struct own_region *r);

/* The device has been lost, and with it the memory of a deferred region; no queue is running. */
void own_region_lost(const struct own_region *r);

/* The device no longer needs it. Does nothing if there is none. */
void own_region_release(struct own_region *r);

/* Implement transport_region_ops.offer and .map. @scheme, @name: of the device, for the log. */
int own_region_offer(const struct own_region *r, struct ctrl_offer *out);
int own_region_map_part(const struct own_region *r, const char *scheme, const char *name,
			unsigned queue, const struct ctrl_region *at, struct region_map **out);

/* For struct transport_ops of devices that embed struct guest_dev. */
extern const struct transport_region_ops own_region_ops;

#endif
