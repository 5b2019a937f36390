/* SPDX-License-Identifier: BSD-3-Clause */
/* See control.h. Clients, lines and descriptors; control_answer.c serves the requests. */
#include "control_int.h"
#include "core/cred.h"
#include "core/log.h"
#include "fd_closer.h"
#include "fd_send.h"
#include "passed.h"
#include "sock_claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TICKS 10u /* timer ticks in the time-out of a client */

/* epoll data: the index of a client, or one of these. */
enum { EV_LISTENER = CONTROL_CLIENTS, EV_TIMER, EV_NOTIFY, EV_ALL };

static int watch(struct control *ct, int op, int fd, uint32_t events, uint32_t what)
{
	struct epoll_event ev = {.events = events, .data.u32 = what};

	return epoll_ctl(ct->ep, op, fd, &ev) < 0 ? -errno : 0;
}

/* The timer runs while there are clients, or while accepting is paused for want of descriptors or
 * memory. */
static void tick(struct control *ct, bool on)
{
	uint64_t ns = ct->client_timeout_ns / TICKS;
	const struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u),
				   .tv_nsec = (long)(ns % 1000000000u)};
	const struct itimerspec its = {.it_interval = t, .it_value = t}, off = {0};

	if (on == ct->ticking && (!on || ns == ct->tick_ns))
		return;
	ct->ticking = on;
	ct->tick_ns = ns;
	(void)timerfd_settime(ct->timer, 0, on ? &its : &off, NULL);
}

static void accepting(struct control *ct, bool on)
{
	if (on == ct->accepting)
		return;
	ct->accepting = on;
	(void)watch(ct, EPOLL_CTL_MOD, ct->listener, on ? EPOLLIN : 0, EV_LISTENER);
}

/* ---- clients ---- */

/* Time-outs are counted in ticks that were processed, not in time, so that no client is
 * disconnected because this process or the whole machine was stopped for a while. */
static void client_touch(struct client *cl)
{
	cl->ticks = TICKS + 1; /* the first tick may come at once */
}

static void client_watch(struct control *ct, struct client *cl)
{
	/* No further request of a client is served until it has received its answer. */
	uint32_t events = cl->out_len > cl->out_off ? EPOLLOUT : EPOLLIN;

	(void)watch(ct, EPOLL_CTL_MOD, cl->fd, events, (uint32_t)(cl - ct->clients));
}

static void client_drop_passed(struct client *cl)
{
	if (cl->passed >= 0)
		fd_closer_put(cl->user->closer, cl->passed);
	cl->passed = -1;
}

/* Closes the socket @fd, in another thread if descriptors may be queued in it. */
static void let_go(struct control_user *u, int fd, bool stream)
{
	if (!passed_waits(fd, stream)) {
		(void)close(fd);
		return;
	}
	(void)shutdown(fd, SHUT_WR); /* its peer need not wait */
	fd_closer_put_all(u->closer, &fd, 1);
}

static void client_close(struct control *ct, struct client *cl)
{
	captures_orphan(ct, cl);
	client_drop_passed(cl);
	if (cl->give >= 0) /* nobody else has had it */
		(void)close(cl->give);
	/* The socket may stay open elsewhere (let_go(), "connect"), and epoll reports sockets, not
	 * descriptors: the next client with this index would get its events. */
	(void)watch(ct, EPOLL_CTL_DEL, cl->fd, 0, 0);
	let_go(cl->user, cl->fd, true);
	cl->user->clients--;
	cl->fd = -1;
	ct->unsent -= cl->out_len - cl->out_off;
	free(cl->out);
	cl->out = NULL;
	accepting(ct, true);
}

/* Has the user of @fd a place, and nothing that keeps it from having one? False: it is told. */
static bool may_enter(struct control *ct, const struct control_user *u, int fd)
{
	static const char text[] =
		"{\"v\":1,\"ok\":false,\"code\":\"share\",\"error\":\"no place on the control "
		"socket is left for this user: end other programs that use it, or try again\"}\n";
	uint32_t more;

	if (!control_user_is_full(u) && control_user_has_share(ct, u))
		return true;
	(void)send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (log_once(&ct->turned_away, &more))
		log_line(ZV_LOG_WARN, NULL,
			 "control socket: no place is left for user %u (and %u more)", u->uid,
			 more);
	return false;
}

static void client_new(struct control *ct)
{
	struct control_user *user;
	struct client *cl = NULL;
	struct ucred cred;
	int fd;

	for (unsigned i = 0; i < CONTROL_CLIENTS && !cl; i++)
		if (ct->clients[i].fd < 0)
			cl = &ct->clients[i];
	if (!cl || control_users_are_full(ct)) {
		accepting(ct, false); /* until a client leaves, or the next tick */
		tick(ct, true);
		return;
	}
	fd = accept4(ct->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		/* No descriptors or no memory: the listener would stay readable. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_line(ZV_LOG_WARN, NULL, "control socket: cannot take a client: %s",
				 strerror(errno));
			accepting(ct, false);
		}
		tick(ct, true);
		return;
	}
	user = cred_of(fd, &cred) ? control_user_of(ct, cred.uid) : control_user_rest(ct);
	passed_expect(fd);
	if (!may_enter(ct, user, fd)) {
		let_go(user, fd, true);
		if (control_user_is_flooding(user)) {
			accepting(ct, false); /* until the next tick */
			tick(ct, true);
		}
		return;
	}
	memset(cl, 0, sizeof(*cl));
	cl->user = user;
	user->clients++;
	cl->fd = fd;
	cl->passed = cl->give = -1;
	client_touch(cl);
	if (watch(ct, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)(cl - ct->clients)) < 0)
		client_close(ct, cl);
	tick(ct, true);
}

static void refuse(struct control *ct, struct client *cl, const struct refusal *why)
{
	control_send(ct, cl,
		     json_pack("{si ss sb ss ss}", "v", CONTROL_PROTOCOL, "daemon", zv_version(),
			       "ok", 0, "code", why->code, "error", why->text));
}

/* Its answer cannot be sent with the descriptor, and becomes a refusal. */
static void client_take_back(struct control *ct, struct client *cl)
{
	struct refusal why;

	(void)close(cl->give);
	cl->give = -1;
	ct->unsent -= cl->out_len;
	cl->out_len = 0;
	(void)control_refuse(&why, "busy",
			     "too many descriptors are on their way to programs that do not read "
			     "them: raise zvsockd's limit (LimitNOFILE= or \"ulimit -Hn\")");
	refuse(ct, cl, &why);
}

/* Sends what the client accepts now. False: it has gone. */
static bool client_flush(struct control *ct, struct client *cl)
{
	while (cl->out_off < cl->out_len) {
		ssize_t n =
			fd_send(cl->fd, cl->out + cl->out_off, cl->out_len - cl->out_off, cl->give);

		if (n < 0 && errno == ETOOMANYREFS && cl->give >= 0) {
			client_take_back(ct, cl);
			continue;
		}
		if (n > 0 && cl->give >= 0) {
			fd_closer_put_all(cl->user->given, &cl->give, 1);
			cl->give = -1;
		}
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			cl->out_off += (size_t)n;
			ct->unsent -= (size_t)n;
			client_touch(cl);
		}
	}
	free(cl->out);
	cl->out = NULL;
	cl->out_len = cl->out_off = cl->out_size = 0;
	return !cl->closing;
}

struct appender {
	struct control *ct;
	struct client *cl;
};

static int append(const char *data, size_t len, void *arg)
{
	struct client *cl = ((struct appender *)arg)->cl;

	if (cl->out_size - cl->out_len < len) {
		size_t size = (cl->out_len + len) * 2;
		char *out = realloc(cl->out, size);

		if (!out)
			return -1;
		cl->out = out;
		cl->out_size = size;
	}
	memcpy(cl->out + cl->out_len, data, len);
	cl->out_len += len;
	((struct appender *)arg)->ct->unsent += len;
	return 0;
}

void control_send(struct control *ct, struct client *cl, json_t *answer)
{
	struct appender a = {ct, cl};

	if (!answer || json_dump_callback(answer, append, &a, JSON_COMPACT) < 0 ||
	    append("\n", 1, &a) < 0) {
		log_line(ZV_LOG_ERR, NULL, "control: out of memory for an answer");
		cl->closing = true; /* a truncated line is no answer */
	}
	json_decref(answer);
	client_touch(cl);
}

/* ---- requests ---- */

static void client_line(struct control *ct, struct client *cl, const char *line, size_t len)
{
	struct refusal why = {"request", ""};
	json_t *answer = NULL, *request;
	json_error_t err;

	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err);
	if (!request)
		(void)control_refuse(&why, "request", "the request is not JSON: %s", err.text);
	else
		answer = control_answer(ct, cl, request, &why);
	client_drop_passed(cl);
	if (answer) {
		(void)json_object_set_new(answer, "v", json_integer(CONTROL_PROTOCOL));
		(void)json_object_set_new(answer, "daemon", json_string(zv_version()));
		(void)json_object_set_new(answer, "ok", json_true());
		control_send(ct, cl, answer);
	} else {
		refuse(ct, cl, &why);
	}
	json_decref(request);
}

/* Serves the lines of the input one at a time, each when the answer to the one before has been
 * sent. */
static bool client_lines(struct control *ct, struct client *cl)
{
	while (cl->in_len && cl->out_len == cl->out_off && !cl->closing) {
		char *end = memchr(cl->in, '\n', cl->in_len);
		size_t len;

		if (!end && cl->in_len < sizeof(cl->in))
			break;
		if (!end) {
			struct refusal why = {"request", ""};

			(void)control_refuse(&why, "request", "the request is longer than %d bytes",
					     CONTROL_LINE_MAX);
			refuse(ct, cl, &why);
			cl->closing = true;
		} else {
			len = (size_t)(end - cl->in);
			client_line(ct, cl, cl->in, len);
			cl->in_len -= len + 1;
			memmove(cl->in, end + 1, cl->in_len);
		}
		if (!client_flush(ct, cl))
			return false;
	}
	return true;
}

/* False: the client has gone, or passes more descriptors than can be closed. */
static bool client_read(struct client *cl)
{
	struct iovec iov = {cl->in + cl->in_len, sizeof(cl->in) - cl->in_len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct passed_cmsg room;
	int fd[PASSED_MAX];
	unsigned n_fds;
	ssize_t n;

	if (control_user_is_full(cl->user))
		return false;
	passed_cmsg_attach(&m, &room);
	n = recvmsg(cl->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	/* The first one of the line is kept. */
	n_fds = passed_take(&m, fd);
	for (unsigned i = 0; i < n_fds; i++)
		if (cl->passed < 0)
			cl->passed = fd[i];
		else
			fd_closer_put(cl->user->closer, fd[i]);
	cl->in_len += (size_t)n;
	return n > 0;
}

static void client_event(struct control *ct, struct client *cl, uint32_t events)
{
	bool alive = cl->fd >= 0;

	if (!alive) /* closed while an earlier event of this round was served */
		return;
	if (events & EPOLLOUT)
		alive = client_flush(ct, cl);
	else if (events & EPOLLIN)
		alive = client_read(cl);
	else
		alive = false;
	if (alive)
		alive = client_lines(ct, cl);
	if (alive)
		client_watch(ct, cl);
	else
		client_close(ct, cl);
}

/* ---- the main thread's turn ---- */

static void tick_work(struct control *ct)
{
	uint64_t missed;
	bool some = false;

	(void)!read(ct->timer, &missed, sizeof(missed));
	accepting(ct, true);
	captures_catch_up(ct);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *cl = &ct->clients[i];

		if (cl->fd < 0)
			continue;
		cl->ticks -= cl->ticks > 0;
		/* A client whose capture runs may be silent, but must read. */
		if (!cl->ticks && !(cl->cap && cl->out_len == cl->out_off))
			client_close(ct, cl);
		else
			some = true;
	}
	tick(ct, some);
}

static void notify_work(struct control *ct)
{
	eventfd_t n;

	(void)eventfd_read(ct->notify, &n);
	captures_reap(ct);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *cl = &ct->clients[i];

		if (cl->fd < 0 || cl->out_len == cl->out_off)
			continue;
		if (client_flush(ct, cl))
			client_watch(ct, cl);
		else
			client_close(ct, cl);
	}
}

int control_fd(const struct daemon *d)
{
	return d->control ? d->control->ep : -1;
}

void control_serve(struct daemon *d)
{
	struct control *ct = d->control;
	struct epoll_event ev[EV_ALL]; /* all at once: a client that has gone leaves its place */
	int n = ct ? epoll_wait(ct->ep, ev, EV_ALL, 0) : 0;
	bool more = false, late = false;

	for (int i = 0; i < n; i++) {
		if (ev[i].data.u32 == EV_LISTENER)
			more = true;
		else if (ev[i].data.u32 == EV_TIMER)
			late = true;
		else if (ev[i].data.u32 == EV_NOTIFY)
			notify_work(ct);
		else
			client_event(ct, &ct->clients[ev[i].data.u32], ev[i].events);
	}
	/* After the others, so that a client whose request waited while this thread was busy (with
	 * a reload) does not time out. */
	if (late)
		tick_work(ct);
	/* Last: a new client must not get the events of the one whose index it takes. */
	if (more)
		client_new(ct);
}

/* ---- start and stop ---- */

/* The socket's file never has more permissions than @mode, not even for a moment. */
static int listen_on(struct control *ct, const char *path, mode_t mode)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int ret;

	memcpy(sa.sun_path, path, strlen(path) + 1);
	ct->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ct->listener < 0 || fchmod(ct->listener, mode) < 0 ||
	    bind(ct->listener, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	ct->bound = true;
	ret = sock_set_rights(path, mode, (uid_t)-1,
			      (gid_t)-1); /* the umask has removed some of them */
	if (ret == 0 && listen(ct->listener, CONTROL_CLIENTS) < 0)
		ret = -errno;
	return ret;
}

static int start(struct control *ct, mode_t mode)
{
	const char *path = ct->path;
	int ret;

	ct->claim = sock_claim(path);
	if (ct->claim < 0) {
		log_line(ZV_LOG_ERR, NULL, "control socket: %s", zv_error_text());
		return ct->claim;
	}
	ret = listen_on(ct, path, mode);
	ct->ep = epoll_create1(EPOLL_CLOEXEC);
	ct->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	ct->notify = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ret == 0 && (ct->ep < 0 || ct->timer < 0 || ct->notify < 0))
		ret = -errno;
	if (ret == 0)
		ret = watch(ct, EPOLL_CTL_ADD, ct->listener, EPOLLIN, EV_LISTENER);
	if (ret == 0)
		ret = watch(ct, EPOLL_CTL_ADD, ct->timer, EPOLLIN, EV_TIMER);
	if (ret == 0)
		ret = watch(ct, EPOLL_CTL_ADD, ct->notify, EPOLLIN, EV_NOTIFY);
	if (ret < 0)
		log_line(ZV_LOG_ERR, NULL, "control socket: cannot listen on %s: %s", path,
			 sock_rights_error(ret));
	return ret;
}

int control_start(struct daemon *d)
{
	struct control *ct;
	int ret;

	if (!*d->cfg->control_path)
		return 0;
	ct = calloc(1, sizeof(*ct));
	if (!ct)
		return -ENOMEM;
	if (control_users_init(ct) < 0) {
		control_users_fini(ct);
		free(ct);
		return -ENOMEM;
	}
	ct->d = d;
	ct->accepting = true;
	memcpy(ct->path, d->cfg->control_path, sizeof(ct->path));
	ct->client_timeout_ns = CONTROL_CLIENT_TIMEOUT_MS * UINT64_C(1000000);
	ct->listener = ct->claim = ct->ep = ct->timer = ct->notify = -1;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		ct->clients[i].fd = -1;
	d->control = ct;
	ret = start(ct, d->cfg->control_mode);
	if (ret < 0)
		control_stop(d);
	return ret;
}

void control_stop(struct daemon *d)
{
	struct control *ct = d->control;

	if (!ct)
		return;
	captures_end(ct);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		if (ct->clients[i].fd < 0)
			continue;
		(void)client_flush(ct, &ct->clients[i]);
		client_close(ct, &ct->clients[i]);
	}
	if (ct->bound)
		(void)unlink(ct->path);
	if (ct->claim >= 0)
		sock_unclaim(ct->path, ct->claim);
	if (ct->listener >= 0)
		let_go(control_user_rest(ct), ct->listener,
		       false); /* some may not have been accepted */
	for (unsigned i = 0; i < 3; i++) {
		int fd = (const int[]){ct->ep, ct->timer, ct->notify}[i];

		if (fd >= 0)
			(void)close(fd);
	}
	control_users_fini(ct);
	d->control = NULL;
	free(ct);
}
