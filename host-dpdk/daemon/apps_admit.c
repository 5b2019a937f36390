/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may attach, and what becomes of the sockets of those who may not. */
#include "apps_int.h"
#include "apps_memory.h"
#include "base/clock.h"
#include "core/cred.h"
#include "passed.h"
#include "proto/local/client_msg.h"

#include <poll.h>
#include <unistd.h>

void apps_let_go(struct apps *as, int fd, uid_t uid)
{
	if (!as->closers || !passed_waits(fd, false)) {
		(void)close(fd);
		return;
	}
	(void)shutdown(fd, SHUT_WR); /* its peer need not wait */
	closers_put(as->closers, uid, &fd, 1);
}

void apps_gave(struct apps *as, int fd, uid_t uid)
{
	closers_put(as->given, uid, &fd, 1);
}

ssize_t apps_receive(const struct apps *as, int fd, struct msghdr *mh)
{
	if (as->closers && passed_peek(fd, mh, 0) < 0)
		return -1;
	return recvmsg(fd, mh, MSG_DONTWAIT);
}

bool app_is_privileged(const struct app *a)
{
	return a->cred.uid == 0 || a->cred.uid == geteuid();
}

/* Answers a request not yet received; the application reads it as the answer to "attach". */
static void turn_away(const struct apps *as, struct app *a, int err, const char *text)
{
	struct client_msg m;
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	client_msg_init(&m, CLIENT_ATTACH);
	app_refuse(&m, err, "%s", text);
	(void)app_answer(a->fd, &m, -1);
	/* Closing a socket with an unread request also discards the answer. */
	(void)shutdown(a->fd, SHUT_RD);
	while (apps_receive(as, a->fd, &mh) > 0)
		;
}

unsigned apps_closing(const struct apps *as, uid_t uid)
{
	return as->closers ? closers_count(as->closers, uid) : 0;
}

void app_bar_user(struct apps *as, const struct app *a)
{
	struct apps_barred *b = as->barred;

	if (app_is_privileged(a))
		return;
	/* The same user's place, or the one whose time is over first. */
	for (unsigned i = 0; i < APPS_BARRED; i++) {
		if (as->barred[i].uid == a->cred.uid && as->barred[i].until_ms) {
			b = &as->barred[i];
			break;
		}
		if (as->barred[i].until_ms < b->until_ms)
			b = &as->barred[i];
	}
	*b = (struct apps_barred){.uid = a->cred.uid, .until_ms = now_ms() + APPS_BARRED_MS};
}

static bool is_barred(const struct apps *as, uid_t uid)
{
	for (unsigned i = 0; i < APPS_BARRED; i++)
		if (as->barred[i].uid == uid && as->barred[i].until_ms > now_ms())
			return true;
	return false;
}

/* Its user may have no more places than it leaves for others. */
static bool has_share(const struct apps *as, const struct app *a)
{
	unsigned own = 0, left = 0;

	for (unsigned i = 0; i < APPS_MAX; i++) {
		left += as->app[i].fd < 0;
		own += as->app[i].fd >= 0 && as->app[i].cred.uid == a->cred.uid;
	}
	return own <= left;
}

/* Ends those of the user of @a that have gone, but whose ends were not read yet. */
static void end_gone(struct daemon *d, const struct app *a)
{
	for (unsigned i = 0; i < APPS_MAX; i++) {
		struct app *other = &d->apps->app[i];
		struct pollfd p = {.fd = other->fd};

		if (other != a && other->fd >= 0 && other->cred.uid == a->cred.uid &&
		    poll(&p, 1, 0) > 0 && p.revents & POLLHUP)
			app_end(d, other);
	}
}

/* Why it gets no place, with *err; NULL: it does. */
static const char *no_place(struct daemon *d, const struct app *a, int *err)
{
	const struct apps *as = d->apps;

	*err = -EACCES;
	if (!cred_admitted(&d->cfg->apps, a->fd, &a->cred))
		return "this user may not attach: application_users and application_groups in "
		       "zvsockd's configuration name those who may";
	*err = -EBUSY;
	if (!app_is_privileged(a))
		end_gone(d, a); /* what they leave counts */
	if (apps_closing(as, a->cred.uid) >= APPS_CLOSING_FULL)
		return "this user has sent too many descriptors that take long to close: end the "
		       "programs that have made them";
	if (closers_count(as->given, a->cred.uid) >= APPS_CLOSING_FULL)
		return "devices that this user was given before are not closed yet: try again";
	if (is_barred(as, a->cred.uid))
		return "an application of this user has made a descriptor block, or slow to write "
		       "to, less than a minute ago";
	if (app_is_privileged(a) || has_share(as, a))
		return NULL;
	return "this user has its share of the places for applications, half of what others leave: "
	       "end some";
}

bool app_admitted(struct daemon *d, struct app *a)
{
	struct apps *as = d->apps;
	const char *why;
	int err;

	if (!cred_of(a->fd, &a->cred)) {
		a->cred.uid = CLOSERS_NOBODY;
		return false;
	}
	why = no_place(d, a, &err);
	if (!why)
		return true;
	if (log_once(err == -EACCES ? &as->not_admitted : &as->over_limit, NULL))
		log_line(ZV_LOG_WARN, NULL, "%s: pid %d, uid %u, gid %u was turned away: %s",
			 as->path, (int)a->cred.pid, (unsigned)a->cred.uid, (unsigned)a->cred.gid,
			 why);
	turn_away(as, a, err, why);
	return false;
}
