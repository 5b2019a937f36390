/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIMITED_H
#define LIMITED_H

/* Vsock ports whose connections are never allowed to move anything. */
#define BLOCKED_FIRST 6660u
#define BLOCKED_LAST  6679u

#endif
