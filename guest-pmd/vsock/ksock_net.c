/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_VSOCK: vsock(7). */
#include "ksock_net.h"

#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define VSOCK_DEV "/dev/vsock"

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

static struct sockaddr_vm address(uint32_t cid, uint32_t port)
{
	return (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
}

static int vsock_socket(int type)
{
	return result(socket(AF_VSOCK, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int bind_cid(int fd, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm a = address(cid, port);

	return result(bind(fd, (struct sockaddr *)&a, sizeof(a)));
}

static int vsock_bind(int fd, uint32_t port)
{
	return bind_cid(fd, VMADDR_CID_ANY, port);
}

static int vsock_connect(int fd, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm a = address(cid, port);

	return result(connect(fd, (struct sockaddr *)&a, sizeof(a)));
}

static int vsock_accept(int fd, uint32_t *cid, uint32_t *port)
{
	struct sockaddr_vm a = address(0, 0);
	socklen_t len = sizeof(a);
	int ret = result(accept4(fd, (struct sockaddr *)&a, &len, SOCK_CLOEXEC | SOCK_NONBLOCK));

	*cid = a.svm_cid;
	*port = a.svm_port;
	return ret;
}

/* A failure leaves the kernel's own value, with which everything works. */
static void vsock_set_buffer(int fd, uint32_t bytes)
{
	uint64_t v = bytes;

	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &v, sizeof(v));
	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &v, sizeof(v));
}

static void vsock_set_connect_timeout(int fd, uint64_t ns)
{
	const uint64_t most = 86400; /* the kernel refuses what does not fit its clock */
	struct timeval t = {.tv_sec = (time_t)(ns / 1000000000u),
			    .tv_usec = (suseconds_t)(ns % 1000000000u / 1000u)};

	if ((uint64_t)t.tv_sec > most)
		t = (struct timeval){.tv_sec = (time_t)most};
	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &t, sizeof(t));
}

/*
 * An empty send transmits nothing, not even a message, and returns the error that a real send
 * would.
 */
static bool vsock_peer_receives(int fd)
{
	return send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) == 0;
}

/* The CID from the kernel's drivers; VMADDR_CID_ANY: none has one. 0 or -errno with text. */
static int drivers_cid(uint32_t *cid)
{
	int fd = open(VSOCK_DEV, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return zv_err(-errno,
			      "vsock: cannot ask the kernel for this machine's CID: " VSOCK_DEV
			      ": %s: the file has to be there and readable (udev makes it so: "
			      "mode 0666)",
			      strerror(errno));
	ret = result(ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, cid));
	close(fd);
	return ret ? zv_err(ret, "vsock: " VSOCK_DEV " does not tell this machine's CID: %s",
			    strerror(-ret))
		   : 0;
}

static int vsock_own_cid(uint64_t *cid)
{
	int fd = vsock_socket(SOCK_STREAM), ret;
	uint32_t cid32 = VMADDR_CID_ANY;
	bool loopback;

	if (fd == -EAFNOSUPPORT)
		return zv_err(fd,
			      "vsock: this kernel has no AF_VSOCK sockets: load the module "
			      "vmw_vsock_virtio_transport in a guest, vhost_vsock on a host, or "
			      "vsock_loopback");
	if (fd < 0)
		return zv_err(fd, "vsock: cannot make an AF_VSOCK socket: %s", strerror(-fd));
	loopback = bind_cid(fd, VMADDR_CID_LOCAL, VMADDR_PORT_ANY) == 0;
	close(fd);
	ret = drivers_cid(&cid32);
	if (ret)
		return ret;
	if (cid32 == VMADDR_CID_ANY && !loopback)
		return zv_err(-ENODEV,
			      "vsock: this kernel has AF_VSOCK sockets and nothing that carries "
			      "them: give the VM a vsock device and load the module "
			      "vmw_vsock_virtio_transport, or load vhost_vsock on a host, or "
			      "vsock_loopback");
	*cid = cid32 == VMADDR_CID_ANY ? VMADDR_CID_LOCAL : cid32;
	return 0;
}

const struct ksock_net ksock_net_vsock = {
	.own_cid = vsock_own_cid,
	.socket = vsock_socket,
	.bind = vsock_bind,
	.connect = vsock_connect,
	.accept = vsock_accept,
	.set_buffer = vsock_set_buffer,
	.set_connect_timeout = vsock_set_connect_timeout,
	.peer_receives = vsock_peer_receives,
};
