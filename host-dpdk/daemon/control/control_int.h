/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by the files of the control socket: control.c (clients), control_user.c, control_answer.c,
 * control_connect.c, control_guests.c, control_list.c, control_regions.c and control_stats.c
 * (requests), control_capture.c (captures).
 */
#ifndef ZVD_CONTROL_INT_H
#define ZVD_CONTROL_INT_H

#include "capture.h"
#include "control.h"
#include "core/daemon.h"
#include "core/log.h"
#include "protocol.h"

#include <jansson.h>
#include <stddef.h>

#define CONTROL_CAPTURES   8	       /* at a time, those included whose end is being waited for */
#define CONTROL_UNSENT_MAX (64u << 20) /* bytes of answers not taken yet, of all clients */

#define CONTROL_USERS (CONTROL_CLIENTS + 2) /* one may have no client any more */

struct fd_closer;

/*
 * A user with clients, or with descriptors that are still being closed. Descriptors that a client
 * sends may take long to close, and a thread of its user's own closes them: nobody else waits for
 * that. So it is with those that a client has been given, which it may have put into epoll sets
 * that it keeps locked; they do not wait for the others, because what their maker has at the other
 * end does not end before. Root and zvsockd's own user are one.
 */
struct control_user {
	uid_t uid;
	unsigned clients;
	struct fd_closer *closer, *given;
};

struct client {
	struct control_user *user;
	int fd;	      /* -1: free */
	int passed;   /* descriptor that came with the current line; -1: none */
	int give;     /* descriptor that goes with the first byte of `out`; -1: none */
	bool closing; /* close once everything is sent */
	char in[CONTROL_LINE_MAX];
	size_t in_len;
	char *out;
	size_t out_len, out_off, out_size;
	unsigned ticks; /* timer ticks until it is disconnected */
	struct control_capture *cap;
};

struct control_capture {
	struct capture *c;     /* NULL: free */
	struct client *client; /* NULL: it has disconnected */
	bool all;	       /* guests added later are captured too */
	bool gone;	       /* its only guest has been removed */
	unsigned guests;
};

struct control {
	struct daemon *d;
	int listener, claim, ep, timer, notify;
	char path[CFG_PATH_MAX];
	bool bound, accepting, ticking;
	uint64_t client_timeout_ns, tick_ns;
	size_t unsent;
	struct client clients[CONTROL_CLIENTS];
	struct control_user users[CONTROL_USERS];
	struct log_once turned_away, not_captured;
	struct control_capture captures[CONTROL_CAPTURES];
};

/* Why a request was refused: a code for programs and a sentence for people. */
struct refusal {
	const char *code;
	char text[512];
};

/* 0; -1: no memory. control_users_fini() in either case. */
int control_users_init(struct control *ct);
void control_users_fini(struct control *ct);
struct control_user *control_user_of(struct control *ct, uid_t uid);
/* The one of those that are not known. */
struct control_user *control_user_rest(struct control *ct);
/* With one more client its user has no more places than are left for others. */
bool control_user_has_share(const struct control *ct, const struct control_user *u);
/* Too many of its descriptors wait to be closed. */
bool control_user_is_full(const struct control_user *u);
/* Not so many of those that it has been given wait for that. */
bool control_user_may_be_given(const struct control_user *u);
/* So many that nobody's connection is taken until the next tick. */
bool control_user_is_flooding(const struct control_user *u);
/* So many of all users that nobody's connection is taken. */
bool control_users_are_full(const struct control *ct);

/* Handles a request. Returns the members of the answer, or NULL with *why. */
json_t *control_answer(struct control *ct, struct client *cl, const json_t *request,
		       struct refusal *why);

/* Sets *why and returns NULL; for use with "return". */
json_t *control_refuse(struct refusal *why, const char *code, const char *fmt, ...) ZV_PRINTF(3, 4);

/* The string or unsigned number @key of @request; *value is unchanged if the key is missing. False,
 * with *why: the value has another type. */
bool control_string(const json_t *request, const char *key, const char **value,
		    struct refusal *why);
bool control_number(const json_t *request, const char *key, uint64_t max, uint64_t *value,
		    struct refusal *why);

/* Finds the guest named by "guest" in the request; *only is NULL for all. False: no such guest. */
bool control_guest(struct control *ct, const json_t *request, struct guest **only,
		   struct refusal *why);

/* Appends @value, which may be NULL after a failed allocation. */
bool control_append(json_t *array, json_t *value);

/* A JSON string from any bytes: those that are not UTF-8 become "?". */
json_t *control_text(const char *s);

/* {@name: @array}; takes over @array. NULL with *why if @complete is false. */
json_t *control_wrap(const char *name, json_t *array, bool complete, struct refusal *why);

/* Number of connections of the guest. */
size_t control_count(const struct guest *g);

json_t *control_connect(struct control *ct, struct client *cl, const json_t *request,
			struct refusal *why);
json_t *control_guests(struct control *ct, struct client *cl, const json_t *request,
		       struct refusal *why);
json_t *control_list(struct control *ct, struct client *cl, const json_t *request,
		     struct refusal *why);
json_t *control_regions(struct control *ct, struct client *cl, const json_t *request,
			struct refusal *why);
json_t *control_stats(struct control *ct, struct client *cl, const json_t *request,
		      struct refusal *why);

/* Sends @answer as one line and frees it. */
void control_send(struct control *ct, struct client *cl, json_t *answer);

json_t *capture_begin(struct control *ct, struct client *cl, const json_t *request,
		      struct refusal *why);
json_t *capture_end_early(struct control *ct, struct client *cl, const json_t *request,
			  struct refusal *why);
/* Reports captures that are over to their clients, and frees those captures. */
void captures_reap(struct control *ct);
/* Captures of all guests get those that they could not take when they came. */
void captures_catch_up(struct control *ct);
/* The client has disconnected: ends its capture. */
void captures_orphan(struct control *ct, struct client *cl);
/* Ends all captures; waits a short time for those that can end. */
void captures_end(struct control *ct);

#endif
