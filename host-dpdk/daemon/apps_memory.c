/* SPDX-License-Identifier: BSD-3-Clause */
#include "apps_memory.h"

#include "channel/bells.h"
#include "channel/reach.h"
#include "core/log.h"
#include "fd_send.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define UNREAD_BYTES 4096 /* of answers, as SIOCOUTQ counts them: a few of them */

void app_refuse(struct client_msg *m, int err, const char *fmt, ...)
{
	char text[CLIENT_TEXT];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	m->result = err;
	client_msg_text(m, text);
}

bool app_answer(int to, const struct client_msg *m, int fd)
{
	return fd_send(to, m, sizeof(*m), fd) == (ssize_t)sizeof(*m);
}

bool app_reads_nothing(int to)
{
	int bytes = 0;

	return ioctl(to, SIOCOUTQ, &bytes) == 0 && bytes > UNREAD_BYTES;
}

int app_region(const struct guest *app, struct client_msg *m)
{
	struct region_user u;
	int fd;

	if (!app) {
		app_refuse(m, -ENOTCONN, "not attached");
		return -1;
	}
	u = region_user(app);
	fd = region_fetch(m->region, &u, &m->size, &m->offset);
	if (fd == -ENOENT)
		app_refuse(m, fd, "region %016llx was not announced to this application",
			   (unsigned long long)m->region);
	else if (fd < 0)
		app_refuse(m, fd, "zvsockd has no descriptor left: %s", zv_strerror(fd));
	return fd < 0 ? -1 : fd;
}

/* Once: for each queue it is the same. */
static void log_no_bells(const struct guest *app, uid_t uid, int err, bool *logged)
{
	if (!*logged)
		log_line(
			ZV_LOG_WARN, app->name,
			"an application of uid %u gets no bells, and is woken by zvsockd, which is "
			"slower: %s",
			(unsigned)uid,
			err == -EBUSY ? "too many eventfds of applications that have gone wait to "
					"be closed; it helps to start it again later"
				      : zv_strerror(err));
	*logged = true;
}

int app_bells(const struct guest *app, uid_t uid, bool *logged, struct client_msg *m)
{
	struct region *own = app ? reach_own() : NULL;
	int fd = -ENOENT;

	if (!app)
		fd = -ENOTCONN;
	else if (own && m->type == CLIENT_BELLS)
		fd = bells_file(&m->size);
	else if (own && m->type == CLIENT_RING)
		fd = bells_ringer(m->page, uid, &m->offset);
	else if (own && m->type == CLIENT_BELL && m->queues < app->n_queues)
		fd = bells_page(app->serial, m->queues, uid, &m->page, &m->offset);
	region_put(own);
	if (fd < 0 && fd != -ENOENT && fd != -ENOTCONN && m->type != CLIENT_RING)
		log_no_bells(app, uid, fd, logged);
	if (fd == -ENOTCONN)
		app_refuse(m, fd, "not attached");
	else if (fd < 0)
		app_refuse(m, fd, "no bells: %s; zvsockd wakes sleepers", zv_strerror(fd));
	return fd < 0 ? -1 : fd;
}
