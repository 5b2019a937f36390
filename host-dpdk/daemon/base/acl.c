/* SPDX-License-Identifier: BSD-3-Clause */
#include "acl.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* The form of the attribute, in little-endian order: a version, and entries. */
#define ATTRIBUTE "system.posix_acl_access"
#define VERSION	  2u

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

struct acl {
	uint32_t version;
	struct entry entry[];
};

enum { USER = 0x02, GROUP_OBJ = 0x04, GROUP = 0x08, MASK = 0x10, OTHER = 0x20 };

static bool is_member(const struct acl_user *u, gid_t gid)
{
	bool is = u->gid == gid;

	for (unsigned i = 0; i < u->n_gids && !is; i++)
		is = u->gids[i] == gid;
	return is;
}

/* By the first class that fits, and no other. */
static bool mode_allows(const struct stat *st, unsigned bits, const struct acl_user *u)
{
	unsigned shift = st->st_uid == u->uid ? 6 : is_member(u, st->st_gid) ? 3 : 0;

	return (st->st_mode >> shift & bits) == bits;
}

static unsigned mask_of(const struct acl *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (le16toh(a->entry[i].tag) == MASK)
			return le16toh(a->entry[i].perm);
	return 07;
}

/* Is the entry about @u, who is not the owner? The one for all others is for the caller. */
static bool concerns(const struct entry *e, const struct stat *st, const struct acl_user *u)
{
	switch (le16toh(e->tag)) {
	case USER:
		return le32toh(e->id) == u->uid;
	case GROUP_OBJ:
		return is_member(u, st->st_gid);
	case GROUP:
		return is_member(u, le32toh(e->id));
	default:
		return false;
	}
}

/* For @u who is not the owner. Entries are in the order of their tags. The first one that concerns
 * a user decides; of those for groups, any that grants all. */
static bool acl_grants(const struct acl *a, size_t n, const struct stat *st, unsigned bits,
		       const struct acl_user *u)
{
	const unsigned mask = mask_of(a, n);
	bool in_group = false;

	for (size_t i = 0; i < n; i++) {
		const struct entry *e = &a->entry[i];
		const unsigned tag = le16toh(e->tag), perm = le16toh(e->perm);

		if (tag == OTHER)
			return !in_group && (perm & bits) == bits;
		if (!concerns(e, st, u))
			continue;
		if (tag == USER || (perm & mask & bits) == bits)
			return (perm & mask & bits) == bits;
		in_group = true;
	}
	return false;
}

/* NULL and *len 0: the file has none, only mode bits; NULL and -1: it cannot be read. */
static struct acl *acl_read(const char *path, ssize_t *len)
{
	struct acl *a = NULL;

	*len = getxattr(path, ATTRIBUTE, NULL, 0);
	if (*len > 0 && (a = malloc((size_t)*len)) != NULL)
		*len = getxattr(path, ATTRIBUTE, a, (size_t)*len);
	if (*len < 0)
		*len = errno == ENODATA || errno == EOPNOTSUPP ? 0 : -1;
	else if (!a || (size_t)*len < sizeof(*a) || le32toh(a->version) != VERSION)
		*len = -1;
	if (*len > 0)
		return a;
	free(a);
	return NULL;
}

bool acl_allows(const char *path, unsigned bits, const struct acl_user *u)
{
	struct stat st;
	struct acl *a;
	ssize_t len;
	bool may;

	if (stat(path, &st) < 0)
		return false;
	if (u->uid == st.st_uid) /* for whom mode bits and ACL say the same */
		return mode_allows(&st, bits, u);
	if (!(st.st_mode & S_IRWXG)) /* with an empty mask the kernel does not look at the ACL */
		return mode_allows(&st, bits, u);
	a = acl_read(path, &len);
	if (len < 0)
		return false;
	if (!a)
		return mode_allows(&st, bits, u);
	may = acl_grants(a, ((size_t)len - sizeof(*a)) / sizeof(a->entry[0]), &st, bits, u);
	free(a);
	return may;
}
