/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel would let a user do with a file, by its mode bits or, if it has one, its POSIX
 * access ACL (acl(5)). Where there is an ACL, the mode's bits of the group are its mask, and say
 * nothing about the group. The kernel itself can be asked about another user only by a process that
 * can become that user, and zvsockd need not be root.
 */
#ifndef ZVD_ACL_H
#define ZVD_ACL_H

#include <stdbool.h>
#include <sys/types.h>

/* Bits of a permission, as in st_mode. */
#define ACL_MAY_WRITE  02u
#define ACL_MAY_SEARCH 01u

struct acl_user {
	uid_t uid;
	gid_t gid;
	const gid_t *gids; /* supplementary groups */
	unsigned n_gids;
};

/* False also: @path cannot be looked at. */
bool acl_allows(const char *path, unsigned bits, const struct acl_user *u);

#endif
