/* SPDX-License-Identifier: BSD-3-Clause */
#include "vsock_family.h"

static socklen_t vsock_port(struct sockaddr_storage *ss, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm *vm = (struct sockaddr_vm *)ss;

	*vm = (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	return sizeof(*vm);
}

static socklen_t vsock_local(struct sockaddr_storage *ss)
{
	return vsock_port(ss, VSOCK_CID_LOCAL, VMADDR_PORT_ANY);
}

/* The same receive credit as that of libzvsock; a kernel may allow less. */
static void vsock_tune(int fd, const struct bench_opts *o)
{
	uint64_t credit = o->buf_alloc;
	struct timeval limit = {.tv_sec = BENCH_GRACE_NS / 2 / 1000000000u};

	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &credit, sizeof(credit));
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &credit, sizeof(credit));
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof(limit));
}

const struct socket_family vsock_family = {.name = "af_vsock",
					   .family = AF_VSOCK,
					   .address = vsock_local,
					   .port = vsock_port,
					   .tune = vsock_tune};
