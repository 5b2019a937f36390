/* SPDX-License-Identifier: BSD-3-Clause */
#include "app_mem.h"

#include "guest_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* States of a piece; under the lock. */
enum { FREE = 0, REQUESTED, MAPPED, REFUSED, UNMAPPING, UNMAPPED };

int app_mems_init(struct guest_dev *dev)
{
	pthread_mutex_init(&dev->app.lock, NULL);
	pthread_cond_init(&dev->app.served, NULL);
	dev->app.fd = -1;
	if (!dev->link->set_memory)
		return 0;
	dev->app.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return dev->app.fd < 0 ? -errno : 0;
}

void app_mems_fini(struct guest_dev *dev)
{
	for (unsigned i = 0; i < ZV_MEM_MAX; i++)
		if (dev->app.mem[i].state != FREE)
			close(dev->app.mem[i].m.fd);
	if (dev->app.fd >= 0)
		close(dev->app.fd);
	pthread_cond_destroy(&dev->app.served);
	pthread_mutex_destroy(&dev->app.lock);
}

/* ---- the control thread ---- */

const struct app_mem *app_mem_next(const struct guest_dev *dev, const struct app_mem *m)
{
	for (m = m ? m + 1 : dev->app.mem; m < dev->app.mem + ZV_MEM_MAX; m++)
		if (m->announced)
			return m;
	return NULL;
}

struct gpa app_mem_gpa(const struct guest_dev *dev, const struct app_mem *m)
{
	return (struct gpa){APP_MEM_GPA.v + (uint64_t)(m - dev->app.mem) * APP_MEM_STEP};
}

/* The next piece in state @state, or NULL. */
static struct app_mem *next_in(struct guest_dev *dev, uint8_t state)
{
	struct app_mem *found = NULL;

	pthread_mutex_lock(&dev->app.lock);
	for (unsigned i = 0; i < ZV_MEM_MAX && !found; i++)
		if (dev->app.mem[i].state == state)
			found = &dev->app.mem[i];
	pthread_mutex_unlock(&dev->app.lock);
	return found;
}

static void served(struct guest_dev *dev, struct app_mem *m, uint8_t state)
{
	pthread_mutex_lock(&dev->app.lock);
	m->state = state;
	pthread_cond_broadcast(&dev->app.served);
	pthread_mutex_unlock(&dev->app.lock);
}

/* Passes the current memory to the device, if it is connected. */
static int announce(struct guest_dev *dev)
{
	return dev->link->fd(dev) < 0 ? 0 : dev->link->set_memory(dev);
}

bool app_mems_serve(struct guest_dev *dev)
{
	struct app_mem *m;
	uint64_t count;
	bool good = true;

	if (read(dev->app.fd, &count, sizeof(count)) < 0)
		return true;
	while ((m = next_in(dev, UNMAPPING))) {
		m->announced = false;
		good = good && announce(dev) == 0;
		served(dev, m, UNMAPPED);
	}
	while ((m = next_in(dev, REQUESTED))) {
		int ret;

		m->announced = true;
		ret = good ? announce(dev) : 0;
		if (ret) {
			zv_log(ZV_LOG_WARN,
			       "%s %s: memory of the application (%zu KiB) cannot be read by the "
			       "device: %s; payload is copied",
			       dev->scheme, dev->name, m->m.len >> 10, zv_error_text());
			m->announced = false;
			good = announce(dev) == 0; /* it keeps what it had */
		}
		served(dev, m, ret ? REFUSED : MAPPED);
	}
	return good;
}

/* ---- a thread of the application ---- */

/* Makes the control thread handle @m, and waits until it has. Under the lock. */
static void wait_served(struct guest_dev *dev, const struct app_mem *m)
{
	const uint8_t state = m->state;

	eventfd_signal(dev->app.fd);
	while (m->state == state)
		pthread_cond_wait(&dev->app.served, &dev->app.lock);
}

/* Returns an unused entry, or NULL. Under the lock. */
static struct app_mem *free_slot(struct guest_dev *dev)
{
	for (unsigned i = 0; i < ZV_MEM_MAX; i++)
		if (dev->app.mem[i].state == FREE)
			return &dev->app.mem[i];
	return NULL;
}

int app_mem_map(struct transport_dev *d, const struct transport_mem *m, struct iova *at)
{
	struct guest_dev *dev = (struct guest_dev *)d;
	struct app_mem *p;
	int fd, ret = 0;

	if (m->fd < 0)
		return zv_err(-EOPNOTSUPP, "zv_mem_register: memory without a file descriptor "
					   "cannot be shared with a backend: payload is copied");
	if (m->len > APP_MEM_STEP)
		return zv_err(-EOPNOTSUPP,
			      "zv_mem_register: %zu bytes are more than can be shared "
			      "with a backend: payload is copied",
			      m->len);
	fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return zv_err(-errno,
			      "zv_mem_register: no file descriptor left: payload is copied");
	pthread_mutex_lock(&dev->app.lock);
	p = free_slot(dev);
	if (p) {
		p->m = *m;
		p->m.fd = fd;
		p->state = REQUESTED;
		wait_served(dev, p);
		ret = p->state == MAPPED ? 0 : -EOPNOTSUPP;
		if (ret)
			p->state = FREE;
	}
	pthread_mutex_unlock(&dev->app.lock);
	if (p && ret == 0) {
		*at = iova_of_gpa(app_mem_gpa(dev, p));
		return 0;
	}
	close(fd);
	return p ? zv_err(-EOPNOTSUPP,
			  "zv_mem_register: the backend cannot map the memory (the log "
			  "says why): payload is copied")
		 : zv_err(-ENOSPC,
			  "zv_mem_register: %u pieces of memory are registered, as many as there "
			  "can "
			  "be: payload of this one is copied",
			  ZV_MEM_MAX);
}

void app_mem_unmap(struct transport_dev *d, struct iova at)
{
	struct guest_dev *dev = (struct guest_dev *)d;
	struct app_mem *p =
		&dev->app.mem[(at.v - iova_of_gpa(APP_MEM_GPA).v) / APP_MEM_STEP % ZV_MEM_MAX];

	pthread_mutex_lock(&dev->app.lock);
	p->state = UNMAPPING;
	wait_served(dev, p);
	close(p->m.fd);
	p->state = FREE;
	pthread_mutex_unlock(&dev->app.lock);
}
