/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures of the control socket's clients: which client each belongs to, which guests it covers.
 *
 * A capture belongs to the client that requested it and passed the file. It ends at its limits,
 * with "stop", with an error of the file, or when the client disconnects; at the end the client
 * gets a second line, {"event":"captured", ...}. A queue has one tap, so a guest is in at most one
 * capture at a time.
 */
#include "control_int.h"
#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <zvsock.h>

#define DURATION_MAX_MS (UINT64_C(1000) * 86400 * 365)

/* The client's identity, for the log. */
static struct ucred peer_of(const struct client *cl)
{
	struct ucred u = {.pid = 0, .uid = (uid_t)-1};
	socklen_t len = sizeof(u);

	(void)getsockopt(cl->fd, SOL_SOCKET, SO_PEERCRED, &u, &len);
	return u;
}

static struct control_capture *free_slot(struct control *ct)
{
	for (unsigned i = 0; i < CONTROL_CAPTURES; i++)
		if (!ct->captures[i].c)
			return &ct->captures[i];
	return NULL;
}

static bool captured(const struct control *ct, const struct guest *g)
{
	for (unsigned i = 0; i < CONTROL_CAPTURES; i++)
		if (ct->captures[i].c && capture_has(ct->captures[i].c, g))
			return true;
	return false;
}

/* True, and *why, when @only, or one of all guests, is in a capture. */
static bool captured_some(const struct control *ct, const struct guest *only, struct refusal *why)
{
	for (const struct guest *g = ct->d->guests; g; g = g->next)
		if ((!only || g == only) && captured(ct, g)) {
			(void)control_refuse(why, "busy", "guest \"%s\" is being captured already",
					     g->cfg->name);
			return true;
		}
	return false;
}

/* Reads the request's options. */
static bool options(const json_t *request, struct capture_opts *o, struct refusal *why)
{
	uint64_t snaplen = CAPTURE_SNAPLEN_MAX, ms = 0;

	memset(o, 0, sizeof(*o));
	if (!control_number(request, "snaplen", CAPTURE_SNAPLEN_MAX, &snaplen, why) ||
	    !control_number(request, "count", INT64_MAX, &o->count, why) ||
	    !control_number(request, "duration_ms", DURATION_MAX_MS, &ms, why))
		return false;
	o->snaplen = (uint32_t)snaplen;
	o->duration_ns = ms * 1000000u;
	return true;
}

/* Checks whether a capture may begin; if so, *only is the guest to capture, NULL: all. */
static bool permitted(struct control *ct, const struct client *cl, const json_t *request,
		      struct guest **only, struct refusal *why)
{
	if (!control_guest(ct, request, only, why))
		return false;
	if (cl->passed < 0)
		(void)control_refuse(why, "request",
				     "a capture needs the descriptor of its file with the request");
	else if (cl->cap)
		(void)control_refuse(why, "busy", "this client has a capture already");
	else if (!free_slot(ct))
		(void)control_refuse(why, "busy", "there are %d captures already; end one first",
				     CONTROL_CAPTURES);
	else
		return !captured_some(ct, *only, why);
	return false;
}

/* Adds @only, or all guests. */
static int add_guests(struct control *ct, struct control_capture *cc, struct guest *only)
{
	for (struct guest *g = ct->d->guests; g; g = g->next) {
		int ret = !only || g == only ? capture_add(cc->c, g) : 0;

		if (ret < 0)
			return ret;
		cc->guests += !only || g == only;
	}
	return 0;
}

json_t *capture_begin(struct control *ct, struct client *cl, const json_t *request,
		      struct refusal *why)
{
	struct control_capture *cc = free_slot(ct);
	struct ucred u = peer_of(cl);
	struct capture_opts o;
	struct guest *only;
	int ret;

	if (!options(request, &o, why) || !permitted(ct, cl, request, &only, why))
		return NULL;
	*cc = (struct control_capture){.client = cl, .all = !only};
	ret = capture_start(&cc->c, cl->passed, &o, ct->notify);
	if (ret == 0)
		cl->passed = -1;
	if (ret == -EBADF)
		return control_refuse(why, "request", "the capture's file is not open for writing");
	if (ret == 0) {
		cl->cap = cc;
		ret = add_guests(ct, cc, only);
		if (ret < 0)
			captures_orphan(ct, cl);
	}
	if (ret < 0)
		return control_refuse(why, "memory", "the capture cannot be started: %s",
				      zv_strerror(ret));
	log_line(ZV_LOG_INFO, only ? only->cfg->name : NULL,
		 "capture of %s started by uid %u (pid %d)", only ? "this guest" : "all guests",
		 u.uid, u.pid);
	return json_pack("{sI}", "guests", (json_int_t)cc->guests);
}

json_t *capture_end_early(struct control *ct, struct client *cl, const json_t *request,
			  struct refusal *why)
{
	(void)ct;
	(void)request;
	if (!cl->cap)
		return control_refuse(why, "request", "this client has no capture to stop");
	capture_stop(cl->cap->c);
	return json_object();
}

void captures_orphan(struct control *ct, struct client *cl)
{
	struct control_capture *cc = cl->cap;

	(void)ct;
	if (!cc)
		return;
	cl->cap = NULL;
	cc->client = NULL;
	capture_stop(cc->c);
}

static void send_result(struct control *ct, struct control_capture *cc,
			const struct capture_result *r)
{
	static const char *const ends[] = {"stopped", "count", "duration", "failed"};
	struct client *cl = cc->client;

	if (r->end == CAPTURE_FAILED)
		log_line(ZV_LOG_WARN, NULL,
			 "capture ended: its file cannot be written: %s (%llu packets are in it)",
			 strerror(-r->err), (unsigned long long)r->packets);
	else
		log_line(ZV_LOG_INFO, NULL, "capture ended: %llu packets, %llu dropped",
			 (unsigned long long)r->packets, (unsigned long long)r->dropped);
	if (!cl)
		return;
	cl->cap = NULL;
	control_send(ct, cl,
		     json_pack("{si ss sb ss ss sI sI sI ss*}", "v", CONTROL_PROTOCOL, "daemon",
			       zv_version(), "ok", r->end != CAPTURE_FAILED, "event", "captured",
			       "end", cc->gone ? "guest-removed" : ends[r->end], "packets",
			       (json_int_t)r->packets, "bytes", (json_int_t)r->bytes, "dropped",
			       (json_int_t)r->dropped, "error",
			       r->end == CAPTURE_FAILED ? strerror(-r->err) : NULL));
}

void captures_reap(struct control *ct)
{
	for (unsigned i = 0; i < CONTROL_CAPTURES; i++) {
		struct control_capture *cc = &ct->captures[i];
		struct capture_result r;

		if (!cc->c || !capture_over(cc->c))
			continue;
		capture_free(cc->c, &r);
		cc->c = NULL;
		send_result(ct, cc, &r);
	}
}

void captures_end(struct control *ct)
{
	struct pollfd p = {.fd = ct->notify, .events = POLLIN};
	bool some = false;

	for (unsigned i = 0; i < CONTROL_CAPTURES; i++)
		if (ct->captures[i].c) {
			capture_stop(ct->captures[i].c);
			some = true;
		}
	/* Each capture that ends adds 1 to the eventfd. The wait ends with the last one, or by
	 * time-out. */
	while (some && poll(&p, 1, 2 * CAPTURE_GRACE_MS) > 0) {
		uint64_t n;

		(void)!read(ct->notify, &n, sizeof(n));
		captures_reap(ct);
		some = false;
		for (unsigned i = 0; i < CONTROL_CAPTURES; i++)
			some |= ct->captures[i].c != NULL;
	}
	for (unsigned i = 0; i < CONTROL_CAPTURES; i++) {
		struct control_capture *cc = &ct->captures[i];
		struct capture_result r;

		if (!cc->c)
			continue;
		capture_free(cc->c, &r);
		cc->c = NULL;
		send_result(ct, cc, &r);
	}
}

void control_guest_up(struct daemon *d, struct guest *g)
{
	struct control *ct = d->control;
	uint32_t more;

	for (unsigned i = 0; ct && i < CONTROL_CAPTURES; i++) {
		struct control_capture *cc = &ct->captures[i];
		int ret;

		if (!cc->c || !cc->client || !cc->all || capture_over(cc->c) || captured(ct, g))
			continue;
		ret = capture_add(cc->c, g);
		if (ret < 0 && log_once(&ct->not_captured, &more))
			log_line(ZV_LOG_WARN, g->cfg->name,
				 "it (and %u more) is not captured yet: %s", more,
				 ret == -EAGAIN
					 ? "of many that have gone, the packets are still to "
					   "be written to the capture's file"
					 : zv_strerror(ret));
	}
}

void captures_catch_up(struct control *ct)
{
	for (struct guest *g = ct->d->guests; g; g = g->next)
		control_guest_up(ct->d, g);
}

void control_guest_down(struct daemon *d, struct guest *g)
{
	struct control *ct = d->control;

	for (unsigned i = 0; ct && i < CONTROL_CAPTURES; i++) {
		struct control_capture *cc = &ct->captures[i];

		if (!cc->c || !capture_has(cc->c, g))
			continue;
		capture_remove(cc->c, g);
		if (!cc->all) {
			cc->gone = true;
			capture_stop(cc->c);
		}
	}
}
