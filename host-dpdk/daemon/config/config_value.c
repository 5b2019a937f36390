/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the configuration: numbers, words, CPUs, users and groups; see config_int.h. */
#include "config_int.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define CPUS_MAX (sizeof(((struct cfg *)0)->cpus) / sizeof(int))

int cfg_number(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (const char *p = s; *p; p++)
		if (*p < '0' || *p > '9')
			return -EINVAL;
	for (; *s; s++) {
		uint64_t digit = (uint64_t)(*s - '0');

		if (v > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		v = v * 10 + digit;
	}
	if (v < min || v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

void cfg_set_u32(struct load *l, void *obj, const struct key *k, char *value)
{
	uint64_t v;
	int ret = cfg_number(value, k->min, k->max, &v);

	if (ret == 0)
		*(uint32_t *)cfg_member(obj, k) = (uint32_t)v;
	else if (ret == -ERANGE)
		cfg_wrong(l, "%s = %s is out of range; take %" PRIu64 " to %" PRIu64, k->name,
			  value, k->min, k->max);
	else
		cfg_wrong(
			l, "%s = %s is no number; write digits only, %" PRIu64 " to %" PRIu64 "%s",
			k->name, value, k->min, k->max,
			strchr(value, '#') ? "; a comment behind a value begins with \" ;\"" : "");
}

/* A number of bytes, optionally followed by K or M. */
void cfg_set_size(struct load *l, void *obj, const struct key *k, char *value)
{
	size_t len = strlen(value);
	unsigned shift = 0;
	uint64_t v;
	int ret;

	if (len && strchr("kK", value[len - 1]))
		shift = 10;
	else if (len && strchr("mM", value[len - 1]))
		shift = 20;
	if (shift)
		value[len - 1] = 0;
	ret = cfg_number(value, 0, k->max >> shift, &v);
	if (ret == 0 && v << shift < k->min)
		ret = -ERANGE;
	if (shift)
		value[len - 1] = shift == 10 ? 'K' : 'M';
	if (ret == 0)
		*(uint32_t *)cfg_member(obj, k) = (uint32_t)(v << shift);
	else
		cfg_wrong(l,
			  "%s = %s is %s; take %" PRIu64 "K to %" PRIu64
			  "M, written 65536, 64K or 1M",
			  k->name, value, ret == -ERANGE ? "out of range" : "no number of bytes",
			  k->min >> 10, k->max >> 20);
}

void cfg_set_ring_size(struct load *l, void *obj, const struct key *k, char *value)
{
	uint64_t v;

	if (cfg_number(value, k->min, k->max, &v) < 0 || (v & (v - 1)))
		cfg_wrong(l,
			  "ring_size = %s is no power of two from %" PRIu64 " to %" PRIu64
			  "; take 128 or 256",
			  value, k->min, k->max);
	else
		*(uint32_t *)cfg_member(obj, k) = (uint32_t)v;
}

void cfg_set_cid(struct load *l, void *obj, const struct key *k, char *value)
{
	uint64_t v;
	int ret = cfg_number(value, 0, UINT64_MAX, &v);

	if (ret == -EINVAL)
		cfg_wrong(l, "cid = %s is no number; take one from 3 to 4294967294", value);
	else if (ret == 0 && (v <= 2 || v == UINT32_MAX || v == UINT64_MAX))
		cfg_wrong(l, "CID %" PRIu64 " is reserved; take one from 3 to 4294967294", v);
	else if (ret < 0 || v > UINT32_MAX)
		cfg_wrong(l,
			  "CID %s has more than 32 bits, which VIRTIO reserves; take one "
			  "from 3 to 4294967294",
			  value);
	else
		*(uint64_t *)cfg_member(obj, k) = v;
}

void cfg_set_mode(struct load *l, void *obj, const struct key *k, char *value)
{
	unsigned long v;
	char *end;

	v = strtoul(value, &end, 8);
	if (*value < '0' || *value > '7' || *end || v > 0777)
		cfg_wrong(l, "%s = %s is no mode; write octal digits as for chmod, such as 0660",
			  k->name, value);
	else if ((v & 0600) != 0600)
		cfg_wrong(l, "%s = %s locks out the owner itself; take 0600, 0660 or 0666", k->name,
			  value);
	else if (v & ~(unsigned long)k->max)
		cfg_wrong(l,
			  "%s = %s lets every user of this machine control the daemon; take "
			  "0600 or 0660",
			  k->name, value);
	else
		*(mode_t *)cfg_member(obj, k) = (mode_t)v;
}

void cfg_set_poll(struct load *l, void *obj, const struct key *k, char *value)
{
	bool busy = strcmp(value, "busy") == 0;

	if (!busy && strcmp(value, "adaptive") != 0)
		cfg_wrong(l, "poll = %s is unknown; write adaptive (sleep when idle) or busy",
			  value);
	else
		*(bool *)cfg_member(obj, k) = busy;
}

void cfg_set_vhost_mode(struct load *l, void *obj, const struct key *k, char *value)
{
	bool client = strcmp(value, "client") == 0;

	if (!client && strcmp(value, "server") != 0)
		cfg_wrong(l,
			  "mode = %s is unknown; write server (zvsockd listens, the VMM "
			  "connects) or client (the other way round)",
			  value);
	else
		*(bool *)cfg_member(obj, k) = client;
}

void cfg_set_memory(struct load *l, void *obj, const struct key *k, char *value)
{
	bool disk = strcmp(value, "disk") == 0;

	if (!disk && strcmp(value, "ram") != 0)
		cfg_wrong(l,
			  "memory = %s is unknown; write ram (memfd, /dev/shm, hugepages, DAX) or "
			  "disk (files on local disks as well)",
			  value);
	else
		*(bool *)cfg_member(obj, k) = disk;
}

void cfg_set_log_level(struct load *l, void *obj, const struct key *k, char *value)
{
	static const char *const names[] = {"err", "warn", "info", "debug"};

	for (unsigned i = 0; i < 4; i++) {
		if (strcmp(value, names[i]) == 0) {
			*(int *)cfg_member(obj, k) = ZV_LOG_ERR + (int)i;
			return;
		}
	}
	cfg_wrong(l, "log_level = %s is unknown; write err, warn, info or debug", value);
}

/* ---- lcores ------------------------------------------------------------------------------- */

/* -1: "any". False: it cannot be taken, and cfg_wrong() has said why. */
static bool add_cpu(struct load *l, struct cfg *c, int cpu)
{
	cpu_set_t mine;

	if (cpu >= 0 && sched_getaffinity(0, sizeof(mine), &mine) == 0 &&
	    !CPU_ISSET((unsigned)cpu, &mine)) {
		cfg_wrong(l,
			  "CPU %d is not on this machine, or not for this process; "
			  "\"grep Cpus_allowed_list /proc/self/status\" lists those that are",
			  cpu);
		return false;
	}
	for (unsigned i = 0; cpu >= 0 && i < c->n_cpus; i++) {
		if (c->cpus[i] == cpu) {
			cfg_wrong(l, "CPU %d is there twice; name it once", cpu);
			return false;
		}
	}
	if (c->n_cpus == CPUS_MAX) {
		cfg_wrong(l, "cpus: more than %zu lcores; take fewer CPUs", CPUS_MAX);
		return false;
	}
	c->cpus[c->n_cpus++] = cpu;
	return true;
}

/* One item of the list: "3", "2-5" or "any". One complaint is enough for a range. */
static bool add_cpus(struct load *l, struct cfg *c, const char *item)
{
	size_t digits = strspn(item, "0123456789");
	uint64_t first, last;
	char low[8];

	if (strcmp(item, "any") == 0) {
		add_cpu(l, c, -1);
		return true;
	}
	if (digits >= sizeof(low))
		return false;
	memcpy(low, item, digits);
	low[digits] = 0;
	if (cfg_number(low, 0, CPU_SETSIZE - 1, &first) < 0)
		return false;
	last = first;
	if (item[digits] && (item[digits] != '-' ||
			     cfg_number(item + digits + 1, first, CPU_SETSIZE - 1, &last) < 0))
		return false;
	for (uint64_t cpu = first; cpu <= last && add_cpu(l, c, (int)cpu); cpu++)
		;
	return true;
}

/* The command line replaces the whole list. */
void cfg_set_cpus(struct load *l, void *obj, const struct key *k, char *value)
{
	struct cfg *c = obj;
	char *comma = value;

	memset(cfg_member(obj, k), 0, k->size);
	while (comma) {
		char *item = comma + strspn(comma, " \t"), *end;

		comma = strchr(item, ',');
		if (comma)
			*comma++ = 0;
		end = item + strcspn(item, " \t");
		if (end[strspn(end, " \t")] == 0)
			*end = 0;
		if (!add_cpus(l, c, item))
			cfg_wrong(l,
				  "cpus: \"%s\" is no CPU and no range of them below %d; "
				  "write for example 2-3,6, or any for a thread that is not pinned",
				  item, CPU_SETSIZE);
	}
}

/* ---- users and groups --------------------------------------------------------------------- */

static bool find_user(const char *name, uid_t *uid)
{
	const struct passwd *pw = getpwnam(name);
	uint64_t v;

	if (pw)
		*uid = pw->pw_uid;
	else if (cfg_number(name, 0, UINT32_MAX - 1, &v) == 0)
		*uid = (uid_t)v;
	else
		return false;
	return true;
}

static bool find_group(const char *name, gid_t *gid)
{
	const struct group *gr = getgrnam(name);
	uint64_t v;

	if (gr)
		*gid = gr->gr_gid;
	else if (cfg_number(name, 0, UINT32_MAX - 1, &v) == 0)
		*gid = (gid_t)v;
	else
		return false;
	return true;
}

static void no_user(struct load *l, const struct key *k, const char *name)
{
	cfg_wrong(l,
		  "%s: there is no user \"%s\" on this machine; \"getent passwd\" lists "
		  "them, \"useradd --system %s\" makes one",
		  k->name, name, name);
}

static void no_group(struct load *l, const struct key *k, const char *name)
{
	cfg_wrong(l,
		  "%s: there is no group \"%s\" on this machine; \"getent group\" lists "
		  "them, \"groupadd --system %s\" makes one",
		  k->name, name, name);
}

bool cfg_uid(struct load *l, const struct key *k, const char *name, uid_t *uid)
{
	if (find_user(name, uid))
		return true;
	no_user(l, k, name);
	return false;
}

bool cfg_gid(struct load *l, const struct key *k, const char *name, gid_t *gid)
{
	if (find_group(name, gid))
		return true;
	no_group(l, k, name);
	return false;
}

void cfg_set_user(struct load *l, void *obj, const struct key *k, char *value)
{
	if (strlen(value) >= CFG_NAME_MAX || !getpwnam(value))
		no_user(l, k, value);
	else
		cfg_keep_text(obj, k, value);
}

void cfg_set_group(struct load *l, void *obj, const struct key *k, char *value)
{
	if (strlen(value) >= CFG_NAME_MAX || !getgrnam(value))
		no_group(l, k, value);
	else
		cfg_keep_text(obj, k, value);
}

void cfg_set_owner(struct load *l, void *obj, const struct key *k, char *value)
{
	uint32_t *ids = cfg_member(obj, k); /* a uid_t followed by a gid_t */
	char *group = strchr(value, ':');

	if (group)
		*group++ = 0;
	if (!*value && !(group && *group)) {
		cfg_wrong(l, "%s names nobody; write USER, USER:GROUP or :GROUP", k->name);
		return;
	}
	if (*value)
		(void)cfg_uid(l, k, value, &ids[0]);
	if (group)
		(void)cfg_gid(l, k, group, &ids[1]);
}
