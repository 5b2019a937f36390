/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file, line by line; see config_int.h. */
#include "config_int.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_READ                                                                              \
	4096 /* bytes read of a line; the limit of inih is lower, and inih reports it */

struct reading {
	struct load *l;
	FILE *f;
	bool binary;
	bool no_section; /* before the first section, or in an unknown one */
	bool expected;	 /* inih must call item() for the line that it has read */
	bool complained; /* a fault in lines before the first section was reported */
	char text[LINE_MAX_READ];
};

/* Reads a line without its newline into r->text, truncated to its size. Returns the length of the
 * line, or -1. */
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

/* The role of a section "[@word NAME]"; CFG_ROLES: unknown. */
static enum cfg_role role_of(const char *text)
{
	size_t len = strcspn(text, " \t");
	enum cfg_role role = 0;

	while (role < CFG_ROLES &&
	       (cfg_roles[role].attached || strlen(cfg_roles[role].section) != len ||
		strncmp(text, cfg_roles[role].section, len) != 0))
		role++;
	return role;
}

static void begin_section(struct reading *r, char *text)
{
	struct load *l = r->l;
	char *end = strchr(text, ']');
	enum cfg_role role;

	r->no_section = true;
	r->complained = true; /* the lines of an unknown section are not reported as well */
	if (!end) {
		cfg_wrong(l, "a section without its \"]\"; write [daemon], [guest NAME] or [device "
			     "NAME]");
		return;
	}
	*end = 0;
	end += 1 + strspn(end + 1, " \t");
	if (*end && *end != ';' && *end != '#') {
		cfg_wrong(l, "\"%s\" behind the section; put it on a line of its own", end);
		return;
	}
	role = role_of(text);
	if (strcmp(text, "daemon") == 0) {
		l->guest = UINT_MAX;
	} else if (role < CFG_ROLES) {
		text += strlen(cfg_roles[role].section);
		cfg_begin_guest(l, role, text + strspn(text, " \t"));
	} else {
		cfg_wrong(l,
			  "[%s] is an unknown section; there are [daemon], [guest NAME] and "
			  "[device NAME]",
			  text);
		return;
	}
	r->no_section = false;
}

/* Reports the last line if inih did not call item() for it: it has neither '=' nor ':'. */
static void check_last_line(struct reading *r)
{
	if (r->expected)
		cfg_fault(r->l, &r->l->now,
			  "a line without \"=\"; write KEY = VALUE, or \"#\" before a "
			  "comment");
	r->expected = false;
}

/*
 * The reader for inih, like fgets. It removes indentation, because inih would append an indented
 * line to the previous value, and section lines, because inih does not report sections that are
 * empty or repeated.
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
		cfg_wrong(l, "a NUL byte: this is no text; name the configuration file");
		return NULL;
	}
	if (l->now.line == 1 && strncmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3; /* the byte order mark of UTF-8 that some editors write */
	text += strspn(text, " \t\v\f");
	if (*text == ';' || *text == '#')
		*text = 0;
	if (*text && len > size - 3) {
		cfg_wrong(l,
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
	buf[used] = '\n'; /* never an empty string: inih would stop there */
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
				  "%s stands before any section; write [daemon], [guest NAME] "
				  "or [device NAME] above it",
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
		  : err == ENOENT
			  ? "check the path, or say what to serve with --guest, --device or -s "
			    "applications=PATH"
			  : "see to it that zvsockd may read it");
	return -err;
}

int cfg_read_file(struct load *l)
{
	struct reading r = {.l = l, .no_section = true};
	struct stat st = {0};
	int fd, ret = 0;

	/* Opening or reading a pipe or a device may block for ever. */
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
