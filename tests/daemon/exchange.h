/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A test of zvsockd as the host of guests, made one of zvsockd as the guest: its configuration, and
 * the host's side of a device in the test's process. See zvd_fixture.h.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdint.h>
#include <zvsock.h>

#define EXCHANGE_NAME_MAX 32
#define LONG_S		  60 /* far more than anything here takes; only a failure waits that long */

/* @conf with "[device NAME]" for "[guest NAME]", and what goes with that; the caller frees it. */
char *exchange_conf(const char *conf);

/* Opens the host's side of the guest whose section begins at @section; @name gets its socket. NULL:
 * a failure, told on stderr. */
struct zv_dev *exchange_host(const char *section, char *name, uint32_t buf_alloc);

#endif
