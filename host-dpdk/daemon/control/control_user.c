/* SPDX-License-Identifier: BSD-3-Clause */
/* The users of the control socket: places, and the closing of what they have sent. */
#include "control_int.h"
#include "fd_closer.h"

#include <unistd.h>

#define OWN  0u			  /* root and zvsockd's own user */
#define REST (CONTROL_USERS - 1u) /* those for whom there is no entry, together */
/* Descriptors that wait to be closed: nothing is taken from the user; as control_int.h says. */
#define CLOSER_FULL  64u
#define CLOSER_FLOOD 256u
#define CLOSERS_FULL 1024u

static unsigned closing(const struct control_user *u)
{
	return fd_closer_count(u->closer) + fd_closer_count(u->given);
}

static bool is_idle(const struct control_user *u)
{
	return !u->clients && closing(u) == 0;
}

int control_users_init(struct control *ct)
{
	for (unsigned i = 0; i < CONTROL_USERS; i++) {
		ct->users[i] = (struct control_user){.closer = fd_closer_new(NULL),
						     .given = fd_closer_new(NULL)};
		if (!ct->users[i].closer || !ct->users[i].given)
			return -1;
	}
	return 0;
}

void control_users_fini(struct control *ct)
{
	for (unsigned i = 0; i < CONTROL_USERS; i++) {
		fd_closer_free(ct->users[i].closer);
		fd_closer_free(ct->users[i].given);
	}
}

struct control_user *control_user_rest(struct control *ct)
{
	return &ct->users[REST];
}

struct control_user *control_user_of(struct control *ct, uid_t uid)
{
	struct control_user *idle = &ct->users[REST];

	if (uid == 0 || uid == geteuid())
		return &ct->users[OWN];
	for (unsigned i = OWN + 1; i < REST; i++) {
		struct control_user *u = &ct->users[i];

		if (u->uid == uid && !is_idle(u))
			return u;
		if (is_idle(u))
			idle = u;
	}
	if (idle != &ct->users[REST])
		idle->uid = uid;
	return idle;
}

bool control_user_has_share(const struct control *ct, const struct control_user *u)
{
	unsigned left = 0;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		left += ct->clients[i].fd < 0;
	/* As it will be with this client. */
	return u == &ct->users[OWN] || u->clients + 1 <= left - 1;
}

bool control_user_is_full(const struct control_user *u)
{
	return fd_closer_count(u->closer) >= CLOSER_FULL;
}

bool control_user_may_be_given(const struct control_user *u)
{
	return fd_closer_count(u->given) < CLOSER_FULL;
}

bool control_user_is_flooding(const struct control_user *u)
{
	return closing(u) >= CLOSER_FLOOD;
}

bool control_users_are_full(const struct control *ct)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CONTROL_USERS; i++)
		n += closing(&ct->users[i]);
	return n >= CLOSERS_FULL;
}
