/* SPDX-License-Identifier: BSD-3-Clause */
/* The two ends of a guest's vsock, and how they differ, as data; see config.h. */
#include "config.h"
#include "vu_limits.h"

#include <zvsock.h>

const struct cfg_role_info cfg_roles[] = {
	[CFG_AS_HOST] =
		{
			.section = "guest",
			.ours = "host",
			.peer = "guest",
			.device = "socket",
			.verbs = {"listens at", "connects to"},
			.host_ports = true,
			.broker = true,
			.scheme = "host",
			.own_cid = ZV_CID_HOST,
			.peer_cid = 0,
			.down = "no VMM is attached, or the guest's driver is not running",
			.fds_device = VU_FDS_SOCKET(0),
			.fds_pair = VU_FDS_SOCKET(1) - VU_FDS_SOCKET(0),
			.needs = {{"cid", "cid = N, N from 3 to 4294967294 and different for each "
					  "guest"},
				  {"socket", "socket = PATH, where the VMM's vhost-user device "
					     "looks for it"}},
		},
	/*
	 * Descriptors: memory, the connection to the device, its interrupts, events and end; for a
	 * pair its call and two kicks, and what zv_fd() stands for.
	 */
	[CFG_AS_GUEST] =
		{
			.section = "device",
			.ours = "guest",
			.peer = "host",
			.device = "device",
			.verbs = {"", "drives"},
			.client = true,
			.peer_cid = ZV_CID_HOST,
			.down = "the device is gone or not running; it is tried again all the time",
			.fds_device = 16,
			.fds_pair = 8,
			.needs = {{"uri", "uri = vfio:BDF, or another device of zvsock's driver"}},
		},
	[CFG_APP] =
		{
			.section = "application",
			.attached = true,
			.any_cid = true,
			.host_ports = true,
			.broker = true,
			.ours = "host",
			.peer = "application",
			.device = "socket",
			.verbs = {"is on", ""},
			.scheme = "host",
			.own_cid = ZV_CID_HOST,
			.peer_cid = ZV_CID_HOST,
			.down = "the application is gone",
			.fds_device = VU_FDS_SOCKET(0),
			.fds_pair = VU_FDS_SOCKET(1) - VU_FDS_SOCKET(0),
		},
};
