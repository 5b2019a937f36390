/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line's "--guest=...", "--device=..." and "--set=..."; see config_int.h. */
#include "config_int.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* True if @s, up to its comma, is "KEY=..."; otherwise it continues the list before the comma. */
static bool begins_key(const char *s)
{
	return *s >= 'a' && *s <= 'z' && memchr(s, '=', strcspn(s, ","));
}

/* "name=web,cid=3,groups=a,b" */
static void section_word(struct load *l, enum cfg_role role, char *list)
{
	char *name = NULL, *next;

	if (strncmp(list, "name=", 5) == 0) {
		name = list + 5;
		list = name + strcspn(name, ",");
		if (*list)
			*list++ = 0;
	}
	cfg_begin_guest(l, role, name ? name : "");
	while (*list && !l->no_memory) {
		char *value = strchr(list, '=');

		if (!value) {
			cfg_wrong(l, "\"%s\" has no \"=\"; write KEY=VALUE,KEY=VALUE", list);
			return;
		}
		*value++ = 0;
		next = value + strcspn(value, ",");
		while (*next && !begins_key(next + 1))
			next += 1 + strcspn(next + 1, ",");
		if (*next)
			*next++ = 0;
		cfg_item(l, list, value);
		list = next;
	}
}

static void guest_word(struct load *l, char *list)
{
	section_word(l, CFG_AS_HOST, list);
}

static void device_word(struct load *l, char *list)
{
	section_word(l, CFG_AS_GUEST, list);
}

static void set_word(struct load *l, char *item_text)
{
	char *value = strchr(item_text, '='), *key = item_text, *dot;

	if (!value) {
		cfg_wrong(l, "no \"=\"; write --set [SECTION.]KEY=VALUE");
		return;
	}
	*value++ = 0;
	l->guest = UINT_MAX;
	dot = strchr(key, '.');
	if (dot) {
		*dot = 0;
		if (strcmp(key, "daemon") != 0) {
			l->guest = cfg_find_guest(l, key);
			if (l->guest == UINT_MAX) {
				cfg_wrong(l,
					  "there is no guest and no device \"%s\"; write daemon "
					  "or the name of one before the dot",
					  key);
				return;
			}
		}
		key = dot + 1;
	}
	cfg_item(l, key, value);
}

/* Guests and devices first, so that --set finds them whatever the order of the options. */
static void read_words(struct load *l, char *const *extra, const char *option,
		       void (*word)(struct load *, char *))
{
	for (unsigned i = 0; extra && extra[i] && !l->no_memory; i++) {
		char *copy;

		if (strncmp(extra[i], option, strlen(option)) != 0)
			continue;
		copy = strdup(extra[i] + strlen(option));
		if (!copy) {
			l->no_memory = true;
			return;
		}
		l->now = (struct pos){.rank = UINT_MAX / 2 + i, .word = extra[i]};
		word(l, copy);
		free(copy);
	}
}

void cfg_read_words(struct load *l, char *const *extra)
{
	read_words(l, extra, "--guest=", guest_word);
	read_words(l, extra, "--device=", device_word);
	read_words(l, extra, "--set=", set_word);
}
