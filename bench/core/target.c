/* SPDX-License-Identifier: BSD-3-Clause */
#include "target.h"

#include <errno.h>
#include <string.h>

const char *target_id(const struct target *t)
{
	return t->id ? t->id : t->name;
}

unsigned target_index(const struct target *t)
{
	unsigned i = 0;

	while (targets[i] != t)
		i++;
	return i;
}

/* zvsock itself, whatever its payload goes through. */
static bool is_path(const struct target *t)
{
	return t->io == IO_ZV && t->absent && !t->ratio;
}

const char *target_absent(const struct target *t, const struct bench_opts *o)
{
	if (o->paths && is_path(t) && !(o->paths >> target_index(t) & 1))
		return "not in --path";
	if (!o->targets)
		return t->absent ? t->absent(o) : "measured with --target only";
	if (!(o->targets >> target_index(t) & 1))
		return "not in --target";
	return t->missing ? t->missing(o) : NULL;
}

bool target_has_column(const struct target *t, const struct bench_opts *o)
{
	return t->ratio && !(t->opts && target_absent(t, o));
}

const struct target *target_measured(const struct bench_opts *o)
{
	for (unsigned i = 0; i < ntargets; i++)
		if (!targets[i]->ratio && !target_absent(targets[i], o))
			return targets[i];
	return NULL;
}

int targets_parse(struct bench_opts *o, char *arg, char *why, size_t len)
{
	char *save = NULL;

	o->targets = 0;
	for (char *s = strtok_r(arg, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		unsigned i = 0;

		if (strcmp(s, "all") == 0) {
			o->targets = (1ull << ntargets) - 1;
			continue;
		}
		while (i < ntargets && strcmp(s, target_id(targets[i])) != 0)
			i++;
		if (i == ntargets) {
			snprintf(why, len, "--target: there is no '%s'; --list-targets shows them",
				 s);
			return -EINVAL;
		}
		o->targets |= 1ull << i;
	}
	if (o->targets)
		return 0;
	snprintf(why, len, "--target takes names with commas, or all; --list-targets shows them");
	return -EINVAL;
}

int paths_parse(struct bench_opts *o, char *arg, char *why, size_t len)
{
	char *save = NULL;

	o->paths = 0;
	for (char *s = strtok_r(arg, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		unsigned i = 0;

		while (i < ntargets && !(is_path(targets[i]) && strcmp(s, targets[i]->path) == 0))
			i++;
		if (i == ntargets) {
			snprintf(why, len,
				 "--path: there is no '%s'; choose virtqueue, channel or relay", s);
			return -EINVAL;
		}
		o->paths |= 1ull << i;
	}
	if (o->paths)
		return 0;
	snprintf(why, len, "--path takes virtqueue, channel or relay, several with commas");
	return -EINVAL;
}

void targets_list(FILE *f, const struct bench_opts *o)
{
	for (unsigned i = 0; i < ntargets; i++) {
		const struct target *t = targets[i];
		const char *why = t->missing ? t->missing(o) : NULL;

		fprintf(f, "%-20s %-12s %s\n", target_id(t), why ? "absent" : "available",
			t->about);
		if (why)
			fprintf(f, "%-33s %s%s%s\n", "", why, t->get ? "; to get it: " : "",
				t->get ? t->get : "");
	}
}
