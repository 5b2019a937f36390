/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads the file and the command line, item by item, and keeps the faults; see config_int.h. */
#include "config_int.h"
#include "endpoint/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <search.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_READ 4096 /* of what a line has at most; inih takes less, and says how much */

/* ---- faults and memory -------------------------------------------------------------------- */

void *cfg_more(struct load *l, void *array, unsigned *n, size_t size)
{
	void *old, *bigger = NULL;

	memcpy(&old, array, sizeof(old)); /* @array is the address of a pointer of any type */
	if (l->no_memory)
		return NULL;
	if (*n & (*n - 1)) { /* there is room up to the next power of two */
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

void cfg_fault(struct load *l, const struct pos *at, const char *fmt, ...)
{
	char place[200], *what = NULL;
	struct fault *f;
	va_list ap;

	if (at->word)
		(void)snprintf(place, sizeof(place), "%.160s%s", at->word,
			       strlen(at->word) > 160 ? "..." : "");
	else if (at->line)
		(void)snprintf(place, sizeof(place), ":%u", at->line);
	else
		place[0] = 0;
	va_start(ap, fmt);
	if (vasprintf(&what, fmt, ap) < 0)
		what = NULL;
	va_end(ap);
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

/* ---- guests ------------------------------------------------------------------------------- */

bool cfg_name_ok(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len < CFG_NAME_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

/* Of a guest that is not ignored, in the tree l->names. */
struct guest_name {
	unsigned guest;
	char name[CFG_NAME_MAX];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct guest_name *)a)->name, ((const struct guest_name *)b)->name);
}

static unsigned find_guest(const struct load *l, const char *name)
{
	struct guest_name key = {0}, *const * found;
	size_t len = strlen(name);

	if (len >= sizeof(key.name))
		return UINT_MAX;
	memcpy(key.name, name, len + 1);
	found = tfind(&key, &l->names, by_name);
	return found ? (*found)->guest : UINT_MAX;
}

static void remember_guest(struct load *l, const char *name, unsigned guest)
{
	struct guest_name *n = calloc(1, sizeof(*n));

	if (n) {
		n->guest = guest;
		memcpy(n->name, name, strlen(name) + 1); /* cfg_name_ok() has said so */
	}
	if (!n || !tsearch(n, &l->names, by_name)) {
		l->no_memory = true;
		free(n);
	}
}

static void guest_defaults(struct cfg_guest *g, const struct load *l)
{
	g->buf_alloc = 262144;
	g->max_conns = 65536;
	g->connect_timeout_ms = 2000;
	g->socket_mode = 0600;
	g->socket_uid = (uid_t)-1;
	g->socket_gid = (gid_t)-1;
	if (l->now.word)
		(void)snprintf(g->origin, sizeof(g->origin), "%s", l->now.word);
	else
		(void)snprintf(g->origin, sizeof(g->origin), "%s:%u", l->file, l->now.line);
}

void cfg_begin_guest(struct load *l, const char *name)
{
	unsigned twin = find_guest(l, name), n = l->cfg->n_guests;
	bool ignore = true;
	struct section *s;
	struct cfg_guest *g;

	if (!*name)
		cfg_fault(l, &l->now,
			  "a guest without a name; write [guest NAME] or --guest=name=NAME,...");
	else if (!cfg_name_ok(name))
		cfg_fault(l, &l->now,
			  "\"%s\" is no name for a guest; take up to %u letters, digits, \"-\" "
			  "and \"_\"",
			  name, CFG_NAME_MAX - 1);
	else if (strcmp(name, "daemon") == 0)
		cfg_fault(l, &l->now, "a guest cannot be called daemon; choose another name");
	else if (twin != UINT_MAX && l->sections[twin].pos.line)
		cfg_fault(l, &l->now,
			  "guest %s is there already, in line %u; choose another name or join "
			  "the two",
			  name, l->sections[twin].pos.line);
	else if (twin != UINT_MAX)
		cfg_fault(l, &l->now,
			  "guest %s is there already, on the command line; choose another name",
			  name);
	else
		ignore = false;
	s = cfg_more(l, &l->sections, &n, sizeof(*s));
	g = cfg_more(l, &l->cfg->guests, &l->cfg->n_guests, sizeof(*g));
	if (!s || !g)
		return;
	s->pos = l->now;
	s->ignore = ignore;
	l->guest = l->cfg->n_guests - 1;
	guest_defaults(g, l);
	(void)snprintf(g->name, sizeof(g->name), "%s", name);
	if (!ignore)
		remember_guest(l, name, l->guest);
}

/* ---- the file ----------------------------------------------------------------------------- */

struct reading {
	struct load *l;
	FILE *f;
	bool binary;
	bool no_section; /* before the first section, or in one that nobody knows */
	bool expected;	 /* the line that inih has should make it call item() */
	bool complained; /* about the lines before the first section */
	char text[LINE_MAX_READ];
};

/* Reads a line without its end into r->text; longer ones are cut. The length of the line, or -1. */
static long read_line(struct reading *r)
{
	long len = 0;
	int ch;

	while ((ch = getc(r->f)) != EOF && ch != '\n') {
		if (ch == 0)
			r->binary = true;
		if (len < LINE_MAX_READ - 1)
			r->text[len] = (char)ch;
		len++;
	}
	if (ch == EOF && len == 0)
		return -1;
	if (len && len < LINE_MAX_READ && r->text[len - 1] == '\r')
		len--;
	r->text[len < LINE_MAX_READ ? len : LINE_MAX_READ - 1] = 0;
	return len;
}

static void begin_section(struct reading *r, char *text)
{
	struct load *l = r->l;
	char *end = strchr(text, ']');

	r->no_section = true;
	r->complained = true; /* the lines of a section that is wrong are not wrong themselves */
	if (!end) {
		cfg_fault(l, &l->now,
			  "a section without its \"]\"; write [daemon] or [guest NAME]");
		return;
	}
	*end = 0;
	end += 1 + strspn(end + 1, " \t");
	if (*end && *end != ';' && *end != '#') {
		cfg_fault(l, &l->now, "\"%s\" behind the section; put it on a line of its own",
			  end);
		return;
	}
	if (strcmp(text, "daemon") == 0) {
		l->guest = UINT_MAX;
	} else if (strncmp(text, "guest", 5) == 0 && (!text[5] || strchr(" \t", text[5]))) {
		cfg_begin_guest(l, text + 5 + strspn(text + 5, " \t"));
	} else {
		cfg_fault(l, &l->now,
			  "[%s] is an unknown section; there are [daemon] and [guest NAME]", text);
		return;
	}
	r->no_section = false;
}

/* A line that inih had said nothing about: it found neither '=' nor ':'. */
static void check_last_line(struct reading *r)
{
	if (r->expected)
		cfg_fault(r->l, &r->l->now,
			  "a line without \"=\"; write KEY = VALUE, or \"#\" before a "
			  "comment");
	r->expected = false;
}

/*
 * inih's reader, like fgets. The indentation goes, because inih would join an indented line to the
 * value before it; the sections too, because inih does not tell of one that is empty or there
 * twice.
 */
static char *next_line(char *buf, int size, void *ctx)
{
	struct reading *r = ctx;
	struct load *l = r->l;
	char *text = r->text;
	size_t used = 0;
	long len;

	check_last_line(r);
	len = read_line(r);
	if (len < 0 || l->no_memory)
		return NULL;
	l->now.rank = ++l->now.line;
	if (r->binary) {
		cfg_fault(l, &l->now, "a NUL byte: this is no text; name the configuration file");
		return NULL;
	}
	if (l->now.line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3; /* the mark of UTF-8 that some editors write */
	text += strspn(text, " \t\v\f");
	if (*text == ';' || *text == '#')
		*text = 0;
	if (*text && len > size - 3) {
		cfg_fault(l, &l->now,
			  "the line has %ld bytes, %d can be read; cut it, keys with lists may "
			  "be repeated",
			  len, size - 3);
	} else if (*text == '[') {
		begin_section(r, text + 1);
	} else {
		used = strlen(text);
		memcpy(buf, text, used);
		r->expected = used != 0;
	}
	buf[used] = '\n'; /* never an empty string: inih would end there */
	buf[used + 1] = 0;
	return buf;
}

static int item(void *ctx, const char *section, const char *name, const char *value)
{
	struct reading *r = ctx;
	char copy[LINE_MAX_READ];

	(void)section;
	r->expected = false;
	if (r->no_section) {
		if (!r->complained)
			cfg_fault(r->l, &r->l->now,
				  "%s stands before any section; write [daemon] or "
				  "[guest NAME] above it",
				  name);
		r->complained = true;
		return 1;
	}
	(void)snprintf(copy, sizeof(copy), "%s", value);
	if (*name)
		cfg_item(r->l, name, copy);
	else
		cfg_fault(r->l, &r->l->now, "a value without a key; write KEY = VALUE");
	return 1;
}

static int cannot_read(struct load *l, int err)
{
	static const struct pos file = {0};

	cfg_fault(l, &file, "cannot be read: %s; %s",
		  err == EINVAL ? "it is no regular file" : zv_strerror(err),
		  err == EISDIR	  ? "name a file in it"
		  : err == EINVAL ? "write the configuration to a file"
		  : err == ENOENT ? "name the file with -c, or give the guests with --guest"
				  : "see to it that zvsockd may read it");
	return -err;
}

static int read_file(struct load *l)
{
	struct reading r = {.l = l, .no_section = true};
	struct stat st = {0};
	int fd, ret = 0;

	/* A pipe or a device may never come to an end, or not even open. */
	fd = open(l->file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return cannot_read(l, errno);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return cannot_read(l, S_ISDIR(st.st_mode) ? EISDIR : EINVAL);
	}
	r.f = fdopen(fd, "r");
	if (r.f)
		(void)ini_parse_stream(next_line, &r, item, &r);
	if (!r.f || ferror(r.f))
		ret = cannot_read(l, errno);
	if (r.f)
		(void)fclose(r.f);
	else
		(void)close(fd);
	return ret;
}

/* ---- the command line --------------------------------------------------------------------- */

/* True if @s, up to its comma, is "KEY=...": else it goes on with the list before the comma. */
static bool begins_key(const char *s)
{
	return *s >= 'a' && *s <= 'z' && memchr(s, '=', strcspn(s, ","));
}

/* "name=web,cid=3,groups=a,b" */
static void guest_word(struct load *l, char *list)
{
	char *name = NULL, *next;

	if (strncmp(list, "name=", 5) == 0) {
		name = list + 5;
		list = name + strcspn(name, ",");
		if (*list)
			*list++ = 0;
	}
	cfg_begin_guest(l, name ? name : "");
	while (*list && !l->no_memory) {
		char *value = strchr(list, '=');

		if (!value) {
			cfg_fault(l, &l->now, "\"%s\" has no \"=\"; write KEY=VALUE,KEY=VALUE",
				  list);
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

static void set_word(struct load *l, char *item_text)
{
	char *value = strchr(item_text, '='), *key = item_text, *dot;

	if (!value) {
		cfg_fault(l, &l->now, "no \"=\"; write --set [SECTION.]KEY=VALUE");
		return;
	}
	*value++ = 0;
	l->guest = UINT_MAX;
	dot = strchr(key, '.');
	if (dot) {
		*dot = 0;
		if (strcmp(key, "daemon") != 0) {
			l->guest = find_guest(l, key);
			if (l->guest == UINT_MAX) {
				cfg_fault(l, &l->now,
					  "there is no guest \"%s\"; write daemon or the name "
					  "of a guest before the dot",
					  key);
				return;
			}
		}
		key = dot + 1;
	}
	cfg_item(l, key, value);
}

/* Guests first, so that --set finds them wherever it stands. */
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

/* ---- all ---------------------------------------------------------------------------------- */

void cfg_free(struct cfg *c)
{
	if (!c)
		return;
	lookup_end(c);
	for (unsigned i = 0; i < c->n_guests; i++) {
		free(c->guests[i].low_uids);
		free(c->guests[i].low_gids);
		free(c->guests[i].tcp);
		free(c->guests[i].vsock);
		free(c->guests[i].builtin);
		free(c->guests[i].trouble);
	}
	free(c->guests);
	free(c);
}

static struct cfg *new_cfg(void)
{
	struct cfg *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->spin_us = 50;
	c->log_level = ZV_LOG_INFO;
	c->drain_ms = 5000;
	c->control_mode = 0600;
	return c;
}

int cfg_load(struct cfg **out, const char *file, char *const *extra, FILE *err)
{
	struct load l = {.file = file ? file : "command line", .guest = UINT_MAX, .cfg = new_cfg()};
	int ret = 0;

	if (!l.cfg)
		return -ENOMEM;
	if (file)
		ret = read_file(&l);
	read_words(&l, extra, "--guest=", guest_word);
	read_words(&l, extra, "--set=", set_word);
	if (ret == 0 && !l.no_memory)
		cfg_check(&l);
	if (ret == 0 && l.n_faults)
		ret = -EINVAL;
	if (ret == 0 && !l.no_memory) {
		l.no_memory = lookup_begin(l.cfg) < 0;
		(void)lookup_take(l.cfg, LOOKUP_WAIT_MS);
	}
	if (l.no_memory)
		ret = -ENOMEM;
	write_faults(&l, err);
	free(l.faults);
	free(l.sections);
	free(l.paths);
	free(l.ports);
	tdestroy(l.names, free);
	if (ret == 0)
		*out = l.cfg;
	else
		cfg_free(l.cfg);
	return ret;
}
