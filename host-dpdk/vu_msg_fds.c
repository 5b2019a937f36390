/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_msg_fds.h"

#include <fcntl.h>
#include <rte_version.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct msg_fds {
	int fd[VU_MSG_FDS];
	int n;
};

/* Copies the descriptors of @m. False: this rte_vhost does not keep them where we know. */
static bool msg_fds(const struct vu_msg *m, struct msg_fds *f)
{
	memcpy(f, (const uint8_t *)m + VU_MSG_FDS_AT, sizeof(*f));
	if (strncmp(rte_version(), "DPDK 22.11", 10) != 0 || f->n < 0 || f->n > (int)VU_MSG_FDS)
		return false;
	for (int i = f->n; i < (int)VU_MSG_FDS; i++)
		if (f->fd[i] != -1)
			return false;
	return true;
}

void vu_drop_fds(struct vu_msg *m)
{
	struct msg_fds f;

	if (!msg_fds(m, &f))
		return;
	for (int i = 0; i < f.n; i++) {
		if (f.fd[i] >= 0)
			(void)close(f.fd[i]);
		f.fd[i] = -1;
	}
	f.n = 0;
	memcpy((uint8_t *)m + VU_MSG_FDS_AT, &f, sizeof(f));
}

/*
 * What rte_vhost does with a region, for a trial: it loses the descriptor of one that it cannot
 * map, and maps one that is larger than its file, to read indices there when rings are running.
 */
static bool region_fits(uint64_t size, uint64_t off, int fd)
{
	struct stat st;
	uint64_t len;
	void *p;

	if (fstat(fd, &st) < 0 || size == 0 || size > UINT64_MAX - off || st.st_blksize <= 0 ||
	    (S_ISREG(st.st_mode) && off + size > (uint64_t)st.st_size))
		return false;
	len = (off + size + (uint64_t)st.st_blksize - 1) / (uint64_t)st.st_blksize *
	      (uint64_t)st.st_blksize;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return false;
	(void)munmap(p, len);
	return true;
}

bool vu_table_fits(const struct vu_msg *m)
{
	const struct vu_mem_table *t = &m->payload.mem;
	struct msg_fds f;

	if (t->nregions > VU_MSG_FDS || !msg_fds(m, &f) || f.n != (int)t->nregions)
		return true; /* rte_vhost refuses the first and the last */
	for (uint32_t i = 0; i < t->nregions; i++)
		if (!region_fits(t->region[i].size, t->region[i].offset, f.fd[i]))
			return false;
	return t->nregions != 0;
}

void vu_keep_table(struct vu_dev *d, const struct vu_msg *m)
{
	const struct vu_mem_table *t = &m->payload.mem;
	struct msg_fds f;

	vu_forget_given(d);
	if (t->nregions > GUEST_MEM_REGIONS || !msg_fds(m, &f) || f.n != (int)t->nregions)
		return;
	for (uint32_t i = 0; i < t->nregions; i++) {
		int fd = fcntl(f.fd[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			vu_forget_given(d);
			return;
		}
		d->given[d->ngiven++] = (struct guest_mem_src){.gpa = t->region[i].gpa,
							       .uva = t->region[i].uva,
							       .size = t->region[i].size,
							       .offset = t->region[i].offset,
							       .fd = fd};
	}
}
