/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bound ports in a file, DIR/ports, one per line: user, process, label, and for datagrams the key.
 * Listening programs do not notice when zvsockd ends and is restarted, so it must recognise their
 * sockets. Whoever could write the file could get guests' connections: it must be writable only by
 * zvsockd's user or root.
 *
 * Lines are only appended, until there are many more lines than ports; then another file,
 * DIR/ports.new, takes its place, so that a kill at any moment leaves one of them whole. Where the
 * directory does not let zvsockd's user make files, or has made it wait, the file itself is
 * rewritten. If a write fails
 * (a full file system), the file lacks ports until a later one succeeds.
 *
 * Entries that are no longer bound are skipped when it is read.
 *
 * The end of a port is not written. So a port can have several lines, of which only the last one
 * counts: whoever had the port before may give a socket his former label again. Hence the file is
 * read from its end.
 */
#include "av_dgram.h"

#include "base/clock.h"
#include "base/thread_time.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINES_SPARE    1024u
#define PORTS_LINE     (DROPIN_LABEL + 48u)
#define PORTS_FILE_MAX (4ll * AV_PORTS_MAX * PORTS_LINE)
#define RETRY_NS       1000000000ull /* after a write that failed */
/* Waiting for the directory: for so long, and how many times as long it is left alone after that.
 */
#define WAIT_NS	  ((uint64_t)1000000)
#define WAIT_REST 100u

static void path_of(const struct av_space *s, const char *name, char path[static CFG_PATH_MAX])
{
	(void)snprintf(path, CFG_PATH_MAX, "%.*s/%s", (int)(CFG_PATH_MAX - sizeof("/ports.new")),
		       s->cfg.dir, name);
}

static void warn(const struct av_space *s, const char *why)
{
	char path[CFG_PATH_MAX];

	path_of(s, "ports", path);
	log_line(ZV_LOG_WARN, NULL,
		 "%s: %s: programs that listen have to be started again when zvsockd is", path,
		 why);
}

/* Why the file must not be trusted; NULL: it can be. */
static const char *untrusted(const struct av_space *s, const struct stat *st)
{
	bool ours = st->st_uid == geteuid() || st->st_uid == 0 || st->st_uid == s->cfg.becomes;

	if (!S_ISREG(st->st_mode) || st->st_nlink != 1)
		return "it is no plain file of one name; remove it";
	if (!ours || st->st_mode & 0077)
		return "others may write to it or own it; remove it";
	return st->st_size > PORTS_FILE_MAX ? "it is too large; remove it" : NULL;
}

static size_t line_of(const struct av_port *p, char line[static PORTS_LINE])
{
	return (size_t)snprintf(line, PORTS_LINE, "%u %d %s %" PRIx64 "\n", (unsigned)p->uid,
				(int)p->pid, p->text, p->inbox ? av_inbox_key(p->inbox) : 0);
}

/* A write has succeeded, or has not and is tried again later. */
static void written(struct av_space *s, bool good)
{
	char why[128];

	if (!good && !s->ports_retry_ns) {
		(void)snprintf(why, sizeof(why), "it cannot be written: %s", strerror(errno));
		warn(s, why);
	}
	s->ports_retry_ns = good ? 0 : now_ns() + RETRY_NS;
}

static bool write_lines(int fd, const char *data, size_t len)
{
	ssize_t n = write(fd, data, len);

	if (n >= 0 && n < (ssize_t)len)
		errno = ENOSPC;
	return n == (ssize_t)len;
}

/* Like the sockets: the user that zvsockd changes to must be able to read it after a restart. */
static bool give_away(const struct av_space *s, int fd)
{
	return geteuid() != 0 || fchown(fd, s->cfg.becomes, (gid_t)-1) == 0;
}

/* Another file with these lines takes the place of the old one. False: see errno. */
static bool replace_file(struct av_space *s, const char *all, size_t len)
{
	char path[CFG_PATH_MAX], new[CFG_PATH_MAX];
	int fd, err;

	path_of(s, "ports", path);
	path_of(s, "ports.new", new);
	(void)unlink(new); /* left by a zvsockd that was killed */
	fd = open(new, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	if (!give_away(s, fd) || !write_lines(fd, all, len) || rename(new, path) < 0) {
		err = errno;
		(void)unlink(new);
		(void)close(fd);
		errno = err;
		return false;
	}
	(void)close(s->ports_fd);
	s->ports_fd = fd;
	return true;
}

/* Whoever may search the directory can hold its lock, for seconds, and an lcore waits for it. So it
 * does that in at most 1 % of the time. */
static bool replace_timed(struct av_space *s, const char *all, size_t len)
{
	const uint64_t waits = thread_waits(), start = now_ns();
	const bool good = replace_file(s, all, len);
	const int err = errno;
	const uint64_t took = now_ns() - start;

	if (took >= WAIT_NS && thread_waits() != waits)
		s->ports_rest_ns = start + took + WAIT_REST * took;
	errno = err;
	return good;
}

static bool may_not_replace(int err)
{
	return err == EACCES || err == EPERM || err == EROFS || err == EBUSY; /* a mount */
}

static void write_all(struct av_space *s)
{
	char *all = malloc(((size_t)s->n_ports + 1) * PORTS_LINE);
	const struct av_port *p;
	size_t len = 0;
	bool good, rests;

	if (!all)
		return; /* the file grows until there is memory */
	for (unsigned i = 0; i < AV_BUCKETS; i++)
		LIST_FOREACH(p, &s->ports[i], link)
			len += line_of(p, all + len);
	rests = now_ns() < s->ports_rest_ns;
	good = !rests && replace_timed(s, all, len);
	if (rests || (!good && may_not_replace(errno)))
		good = ftruncate(s->ports_fd, 0) == 0 && write_lines(s->ports_fd, all, len);
	if (good)
		s->n_saved = s->n_ports;
	written(s, good);
	free(all);
}

static void read_line(struct av_space *s, const char *line)
{
	char text[DROPIN_LABEL];
	struct dropin_label l;
	uint64_t key = 0;
	unsigned uid;
	int pid;

	/* 99 is the size of text[] without the terminator. The key was added with datagrams: older
	 * lines have none. */
	if (sscanf(line, "%u %d %99s %" SCNx64, &uid, &pid, text, &key) >= 3 &&
	    dropin_label_read(&l, text, strlen(text)) && !(l.sock_type == SOCK_DGRAM && !key))
		av_port_restore(s, &l, (uid_t)uid, (pid_t)pid, key);
}

/* Reads the file into memory. NULL: *why says why not. */
static char *contents(const struct av_space *s, size_t size, size_t *len, const char **why)
{
	char *all = malloc(size + 1);
	ssize_t n = 0;

	if (!all)
		*why = "no memory to read it";
	for (*len = 0; all && *len < size; *len += (size_t)n) {
		n = pread(s->ports_fd, all + *len, size - *len, (off_t)*len);
		if (n <= 0)
			break;
	}
	if (all && n < 0) {
		*why = strerror(errno);
		free(all);
		return NULL;
	}
	return all;
}

static void read_all(struct av_space *s, size_t size)
{
	const char *why = NULL;
	size_t len = 0;
	char *all = contents(s, size, &len, &why);

	if (!all) {
		warn(s, why);
		return;
	}
	while (len && all[len - 1] != '\n') /* half a line: zvsockd was killed while writing it */
		len--;
	while (len) {
		all[--len] = 0;
		while (len && all[len - 1] != '\n')
			len--;
		read_line(s, all + len);
	}
	free(all);
	if (s->n_ports)
		log_line(ZV_LOG_INFO, NULL, "%s: %u ports that programs have bound are known again",
			 s->cfg.dir, s->n_ports);
}

void av_ports_load(struct av_space *s)
{
	char path[CFG_PATH_MAX];
	const char *why = NULL;
	struct stat st = {0};

	path_of(s, "ports", path);
	s->ports_fd =
		open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (s->ports_fd < 0 || fstat(s->ports_fd, &st) < 0)
		why = strerror(errno);
	else
		why = untrusted(s, &st);
	if (why) {
		warn(s, why);
		av_ports_close(s);
		return;
	}
	if (!give_away(s, s->ports_fd))
		warn(s, "it cannot be given away");
	read_all(s, (size_t)st.st_size);
	write_all(s);
}

void av_ports_save(struct av_space *s, const struct av_port *p)
{
	char line[PORTS_LINE];

	if (s->ports_fd < 0 || now_ns() < s->ports_retry_ns)
		return;
	/* After a write that failed, half a line may be the last one. */
	if (s->ports_retry_ns || s->n_saved > 2 * s->n_ports + LINES_SPARE) {
		write_all(s); /* includes @p */
		return;
	}
	if (write_lines(s->ports_fd, line, line_of(p, line)))
		s->n_saved++;
	else
		written(s, false);
}

void av_ports_close(struct av_space *s)
{
	if (s->ports_fd >= 0)
		(void)close(s->ports_fd);
	s->ports_fd = -1;
}
