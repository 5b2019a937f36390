/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon and zvsockctl must agree on; docs/daemon.md ("The control protocol"). */
#ifndef ZVD_CONTROL_PROTOCOL_H
#define ZVD_CONTROL_PROTOCOL_H

#define CONTROL_PROTOCOL 1 /* "v" of each request and answer */

#endif
