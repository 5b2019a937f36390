/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Decides which program's requests are read next. There may be thousands of programs, and each may
 * have sent as much as its socket holds. So their cost for home in one round is limited, for the
 * whole space together, and the rest waits. Users get turns in rotation, and so do the programs of
 * each user: a user who opens many connections delays only himself.
 */
#include "av.h"

#include "base/clock.h"

static void serve(struct lcore_work *w)
{
	struct av_space *s =
		(struct av_space *)(void *)((char *)w - offsetof(struct av_space, serve));
	struct av_user *u;

	while (av_turn_may(s) && (u = TAILQ_FIRST(&s->turn))) {
		struct av_ask *a = TAILQ_FIRST(&u->turn);

		av_turn_leave(a);
		av_turn_done(s);
		if (!TAILQ_EMPTY(&u->turn)) {
			TAILQ_REMOVE(&s->turn, u, turner);
			TAILQ_INSERT_TAIL(&s->turn, u, turner);
		}
		av_ask_serve(a);
	}
	if (!TAILQ_EMPTY(&s->turn))
		lcore_defer(s->home, w);
}

void av_turn_init(struct av_space *s)
{
	TAILQ_INIT(&s->turn);
	s->serve.run = serve;
}

bool av_turn_may(struct av_space *s)
{
	uint64_t round = lcore_round(s->home);

	if (s->round != round) {
		s->round = round;
		s->left = AV_TURN_WORK;
		s->turn_ns = now_ns();
	}
	return s->left > 0 && now_ns() - s->turn_ns < AV_TURN_NS;
}

void av_turn(struct av_ask *a)
{
	if (TAILQ_EMPTY(&a->space->turn) && av_turn_may(a->space))
		av_ask_serve(a);
	else if (!av_ask_waits(a)) /* it is queued when that is decided */
		av_turn_wait(a);
}

void av_turn_wait(struct av_ask *a)
{
	struct av_space *s = a->space;

	if (a->waits)
		return;
	a->waits = a->unread = true;
	if (TAILQ_EMPTY(&a->user->turn))
		TAILQ_INSERT_TAIL(&s->turn, a->user, turner);
	TAILQ_INSERT_TAIL(&a->user->turn, a, turn);
	lcore_defer(s->home, &s->serve);
}

void av_turn_leave(struct av_ask *a)
{
	if (!a->waits)
		return;
	a->waits = false;
	TAILQ_REMOVE(&a->user->turn, a, turn);
	if (TAILQ_EMPTY(&a->user->turn))
		TAILQ_REMOVE(&a->space->turn, a->user, turner);
}
