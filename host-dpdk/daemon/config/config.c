/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading a configuration as a whole: memory, faults, parts; see config_int.h. */
#include "config_int.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_WAIT_MS 5000u /* limit for name look-ups while the configuration is read */

/* ---- faults and memory -------------------------------------------------------------------- */

void *cfg_more(struct load *l, void *array, unsigned *n, size_t size)
{
	void *old, *bigger = NULL;

	memcpy(&old, array, sizeof(old)); /* @array is the address of a pointer of any type */
	if (l->no_memory)
		return NULL;
	if (*n & (*n - 1)) { /* the array has room for the next power of two */
		bigger = old;
	} else {
		bigger = reallocarray(old, *n ? (size_t)*n * 2 : 1, size);
		l->no_memory = !bigger;
		if (!bigger)
			return NULL;
		memcpy(array, &bigger, sizeof(bigger));
	}
	return memset((char *)bigger + (*n)++ * size, 0, size);
}

void *cfg_add(struct load *l, struct cfg_array *a, size_t size)
{
	return cfg_more(l, &a->v, &a->n, size);
}

static void add_fault(struct load *l, const struct pos *at, const char *fmt, va_list ap)
{
	char place[200], *what = NULL;
	struct fault *f;

	if (at->word)
		(void)snprintf(place, sizeof(place), "%.160s%s", at->word,
			       strlen(at->word) > 160 ? "..." : "");
	else if (at->line)
		(void)snprintf(place, sizeof(place), ":%u", at->line);
	else
		place[0] = 0;
	if (vasprintf(&what, fmt, ap) < 0)
		what = NULL;
	f = cfg_more(l, &l->faults, &l->n_faults, sizeof(*f));
	if (!f || !what ||
	    asprintf(&f->text, "%s%s: %s", at->word ? "" : l->file, place, what) < 0) {
		l->no_memory = true;
		if (f)
			f->text = NULL;
	} else {
		f->rank = at->rank;
		f->seq = l->n_faults;
	}
	free(what);
}

void cfg_fault(struct load *l, const struct pos *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_fault(l, at, fmt, ap);
	va_end(ap);
}

void cfg_wrong(struct load *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_fault(l, &l->now, fmt, ap);
	va_end(ap);
}

static int by_place(const void *a, const void *b)
{
	const struct fault *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

static void write_faults(struct load *l, FILE *err)
{
	if (l->n_faults)
		qsort(l->faults, l->n_faults, sizeof(*l->faults), by_place);
	for (unsigned i = 0; i < l->n_faults; i++) {
		if (l->faults[i].text)
			(void)fprintf(err, "%s\n", l->faults[i].text);
		free(l->faults[i].text);
	}
	if (l->no_memory)
		(void)fprintf(err, "%s: out of memory while reading it\n", l->file);
}

/* ---- host names --------------------------------------------------------------------------- */

int cfg_ask(struct cfg *c)
{
	int ret = 0;

	for (unsigned i = 0; c->parts[i] && ret == 0; i++)
		if (c->parts[i]->ask)
			ret = c->parts[i]->ask(c);
	return ret;
}

bool cfg_answers(struct cfg *c, unsigned ms)
{
	bool over = true;

	for (unsigned i = 0; c->parts[i]; i++)
		if (c->parts[i]->answers)
			over &= c->parts[i]->answers(c, ms);
	return over;
}

const char *cfg_trouble(const struct cfg *c, const struct cfg_guest *g)
{
	const char *why = NULL;

	for (unsigned i = 0; c->parts[i] && !why; i++)
		if (c->parts[i]->trouble)
			why = c->parts[i]->trouble(g->part[i]);
	return why;
}

void cfg_keep(const struct cfg *c, struct cfg_guest *to, const struct cfg_guest *from)
{
	for (unsigned i = 0; c->parts[i]; i++)
		if (c->parts[i]->keep)
			c->parts[i]->keep(to->part[i], from->part[i]);
}

/* ---- all ---------------------------------------------------------------------------------- */

static void free_parts(const struct cfg *c, struct cfg_guest *g)
{
	for (unsigned i = 0; c->parts[i]; i++) {
		if (g->part[i] && c->parts[i]->release)
			c->parts[i]->release(g->part[i]);
		free(g->part[i]);
	}
}

void cfg_free(struct cfg *c)
{
	if (!c)
		return;
	for (unsigned i = 0; c->parts[i]; i++)
		if (c->parts[i]->release_all)
			c->parts[i]->release_all(c);
	for (unsigned i = 0; i < c->n_guests; i++)
		free_parts(c, &c->guests[i]);
	free(c->guests);
	free(c);
}

static struct cfg *new_cfg(const struct cfg_part *const *parts)
{
	struct cfg *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->parts = parts;
	cfg_initial(c, cfg_daemon_keys);
	return c;
}

static void load_free(struct load *l)
{
	for (unsigned i = 0; i < l->cfg->n_guests && l->sections; i++)
		free(l->sections[i].at);
	free(l->daemon.at);
	free(l->faults);
	free(l->sections);
	free(l->paths);
	free(l->ports);
	cfg_forget_names(l);
}

int cfg_load(struct cfg **out, const struct cfg_part *const *parts, const char *file,
	     char *const *extra, FILE *err)
{
	struct load l = {.file = file ? file : "command line", .guest = UINT_MAX};
	int ret = 0;

	l.cfg = new_cfg(parts);
	if (!l.cfg)
		return -ENOMEM;
	l.daemon.at = cfg_positions(&l, true);
	if (file && !l.no_memory)
		ret = cfg_read_file(&l);
	cfg_read_words(&l, extra);
	if (ret == 0 && !l.no_memory)
		cfg_check(&l);
	if (ret == 0 && l.n_faults)
		ret = -EINVAL;
	if (ret == 0 && !l.no_memory) {
		l.no_memory = cfg_ask(l.cfg) < 0;
		(void)cfg_answers(l.cfg, NAMES_WAIT_MS);
	}
	if (l.no_memory)
		ret = -ENOMEM;
	write_faults(&l, err);
	load_free(&l);
	if (ret == 0)
		*out = l.cfg;
	else
		cfg_free(l.cfg);
	return ret;
}
