/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests with more than one frontend, or more than one life of one. */
#ifndef ZV_HOSTILE_SESSION_H
#define ZV_HOSTILE_SESSION_H

#include "raw.h"
#include "testbed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

extern const struct CMUnitTest session_tests[];
extern const unsigned n_session_tests;

struct suite;
/* Rings that are stopped and started; paused.c. */
void paused_add(struct suite *s);

/* No frontend of the test is connected any more. */
void session_quiet(struct raw *r);
/* A new frontend is served, and the bystander goes on. Leaves nobody connected. */
void session_recovers(struct raw *r);

#endif
