/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX	   (1 << 20) /* some 3,000 guests */
#define GUEST_MAX	   4096	     /* of one of them */
#define ANSWER_TIMEOUT_SEC 10	     /* as zvsockctl has */

__attribute__((format(printf, 4, 5))) static int failed(int r, char *why, size_t size,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, size, format, args);
	va_end(args);
	return r;
}

const char *guest_json_string(const char *json, const char *name, char *value, size_t size)
{
	size_t len = strlen(name), n = 0;
	const char *at = json;

	for (;; at++) {
		at = strchr(at, '"');
		if (!at)
			return NULL;
		if (!strncmp(at + 1, name, len) && at[len + 1] == '"') {
			at += len + 2;
			at += strspn(at, " ");
			if (*at == ':')
				break;
		} else { /* skips this string: its contents are not names */
			for (at++; *at && *at != '"'; at++)
				if (*at == '\\' && at[1])
					at++;
			if (!*at)
				return NULL;
		}
	}
	at += 1 + strspn(at + 1, " ");
	if (*at++ != '"')
		return NULL;
	for (; *at && *at != '"'; at++) {
		if (*at == '\\' && (at[1] == '"' || at[1] == '\\' || at[1] == '/'))
			at++;
		else if (*at == '\\')
			return NULL; /* control characters and \u: not in a path of ours */
		if (n + 1 >= size)
			return NULL;
		value[n++] = *at;
	}
	value[n] = '\0';
	return *at == '"' ? value : NULL;
}

static int connect_control(const char *path, char *why, size_t size)
{
	const struct timeval patience = {.tv_sec = ANSWER_TIMEOUT_SEC};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(a.sun_path))
		return failed(-ENAMETOOLONG, why, size, "%s: too long for a Unix socket", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failed(-errno, why, size, "a socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		int r = -errno;

		close(fd);
		return failed(r, why, size, "no zvsockd at its control socket %s: %s%s", path,
			      strerror(-r),
			      r == -EACCES ? " (control_mode and group say who may ask)"
					   : " (--control says where it is)");
	}
	return fd;
}

/* One line. */
static bool read_answer(int fd, char *text, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		ssize_t got = read(fd, text + n, size - n - 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		n += (size_t)got;
		text[n] = '\0';
		if (text[n - 1] == '\n')
			return true;
	}
	return false;
}

static bool plain(const char *name)
{
	for (const char *c = name; *c; c++)
		if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
			return false;
	return *name && strlen(name) < 128;
}

/* Sends @request to @control and reads the answer, one line. 0; -errno and *why. */
static int ask(const char *control, const char *request, const char **back, char *why, size_t size)
{
	static char answer[ANSWER_MAX];
	ssize_t len = (ssize_t)strlen(request);
	char text[256];
	int fd = connect_control(control, why, size);
	bool answered;

	if (fd < 0)
		return fd;
	answered = send(fd, request, (size_t)len, MSG_NOSIGNAL) == len &&
		   read_answer(fd, answer, sizeof(answer));
	close(fd);
	if (!answered)
		return failed(-EPROTO, why, size, "%s: zvsockd did not answer", control);
	if (strstr(answer, "\"ok\":false") || strstr(answer, "\"ok\": false")) {
		const char *said = guest_json_string(answer, "error", text, sizeof(text));

		return failed(-ENODEV, why, size, "zvsockd at %s: %s", control,
			      said ? said : "refused");
	}
	*back = answer;
	return 0;
}

int guest_dir(const char *control, const char *name, char *dir, size_t dir_size, char *why,
	      size_t size)
{
	const char *answer = "";
	char request[256];
	int r;

	if (!plain(name))
		return failed(-EINVAL, why, size, "--guest \"%s\": not a name of a guest", name);
	snprintf(request, sizeof(request), "{\"v\":1,\"cmd\":\"guests\",\"guest\":\"%s\"}\n", name);
	r = ask(control, request, &answer, why, size);
	if (r < 0)
		return r;
	if (!guest_json_string(answer, "af_vsock", dir, dir_size))
		return failed(-ENODEV, why, size,
			      "guest %s is not reached by AF_VSOCK programs: its section, or "
			      "[daemon], has no af_vsock = DIR",
			      name);
	return 0;
}

/* The next object of an array at *at, as text. False: the end. */
static bool next_object(const char **at, char *text, size_t size)
{
	const char *from = strchr(*at, '{'), *c;
	bool in_string = false;
	unsigned depth = 0;

	if (!from)
		return false;
	for (c = from; *c; c++) {
		if (in_string && *c == '\\' && c[1])
			c++;
		else if (*c == '"')
			in_string = !in_string;
		else if (!in_string && *c == '{')
			depth++;
		else if (!in_string && *c == '}' && --depth == 0)
			break;
	}
	if (!*c || (size_t)(c + 2 - from) > size)
		return false;
	memcpy(text, from, (size_t)(c + 1 - from));
	text[c + 1 - from] = '\0';
	*at = c + 1;
	return true;
}

int guest_list(const char *control, const char *dir, void (*each)(const struct guest_seen *g),
	       char *why, size_t size)
{
	char text[GUEST_MAX], value[256];
	const char *at = "", *cid;
	int n = 0, r = ask(control, "{\"v\":1,\"cmd\":\"guests\"}\n", &at, why, size);

	if (r < 0)
		return r;
	for (at = strchr(at, '['); at && next_object(&at, text, sizeof(text));) {
		struct guest_seen g = {0};

		cid = strstr(text, "\"cid\"");
		if (!guest_json_string(text, "af_vsock", value, sizeof(value)) ||
		    strcmp(value, dir) != 0 ||
		    !guest_json_string(text, "kind", value, sizeof(value)) ||
		    strcmp(value, "guest") != 0 || !cid ||
		    sscanf(cid, "\"cid\" : %u", &g.cid) != 1 ||
		    !guest_json_string(text, "name", g.name, sizeof(g.name)) ||
		    !guest_json_string(text, "state", g.state, sizeof(g.state)))
			continue;
		each(&g);
		n++;
	}
	return n;
}
