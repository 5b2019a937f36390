/* SPDX-License-Identifier: BSD-3-Clause */
#include "privs.h"

#include "core/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- who we shall be ---------------------------------------------------------------------- */

struct identity {
	uid_t uid; /* -1: as it is */
	gid_t gid;
};

/* The names have been looked up by cfg_load already; they may have gone since. */
static int find_identity(const struct cfg *c, struct identity *id)
{
	const struct passwd *pw;
	const struct group *gr;

	id->uid = (uid_t)-1;
	id->gid = (gid_t)-1;
	if (*c->user) {
		pw = getpwnam(c->user);
		if (!pw) {
			log_line(ZV_LOG_ERR, NULL, "user %s has gone; create it again", c->user);
			return -ENOENT;
		}
		id->uid = pw->pw_uid;
		id->gid = pw->pw_gid;
	}
	if (*c->group) {
		gr = getgrnam(c->group);
		if (!gr) {
			log_line(ZV_LOG_ERR, NULL, "group %s has gone; create it again", c->group);
			return -ENOENT;
		}
		id->gid = gr->gr_gid;
	}
	return 0;
}

/* True if there is no user to switch to: already started as that user, perhaps by systemd. */
static bool is_already(const struct identity *id)
{
	return (id->uid == (uid_t)-1 || (id->uid == getuid() && id->uid == geteuid())) &&
	       (id->gid == (gid_t)-1 || (id->gid == getgid() && id->gid == getegid()));
}

/* ---- before the threads ------------------------------------------------------------------- */

static void raise_descriptor_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int privs_prepare(const struct cfg *c)
{
	struct identity id;
	int ret = find_identity(c, &id);

	if (ret < 0)
		return ret;
	if (!is_already(&id) && geteuid() != 0) {
		log_line(ZV_LOG_ERR, NULL,
			 "only root can become %s %s; start zvsockd as root or take the key "
			 "out of the configuration",
			 *c->user ? "user" : "group", *c->user ? c->user : c->group);
		return -EPERM;
	}
	if (geteuid() == 0 && !*c->user)
		log_line(ZV_LOG_INFO, NULL,
			 "zvsockd runs as root; to have it run as another user, set \"user\" in "
			 "[daemon]");
	raise_descriptor_limit();
	(void)umask(0077);
	(void)signal(SIGPIPE, SIG_IGN);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		int err = errno;

		log_line(ZV_LOG_ERR, NULL, "no_new_privs cannot be set: %s", zv_strerror(-err));
		return -err;
	}
	return 0;
}

/* ---- directories -------------------------------------------------------------------------- */

/* A socket's directory; false: the root, or no path at all (a device). */
static bool dir_of(const char *path, char *dir)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	memcpy(dir, path, len);
	dir[len] = 0;
	return len > 0;
}

static bool space_has_visitors(const struct cfg_space *s, uid_t own, const char *dir)
{
	return strcmp(s->dir, dir) == 0 &&
	       ((s->mode & 0077) || (s->uid != (uid_t)-1 && s->uid != own));
}

/* True if some socket in @dir is accessible to users other than @own, the daemon's user. */
static bool has_visitors(const struct cfg *c, uid_t own, const char *dir)
{
	char other[CFG_PATH_MAX];
	const char *path;

	if (*c->control_path && dir_of(c->control_path, other) && strcmp(other, dir) == 0 &&
	    (c->control_mode & 0077))
		return true;
	if (*c->apps.path && dir_of(c->apps.path, other) && strcmp(other, dir) == 0 &&
	    ((c->apps.mode & 0077) || (c->apps.uid != (uid_t)-1 && c->apps.uid != own)))
		return true;
	if (space_has_visitors(&c->space, own, dir))
		return true;
	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];
		bool here = false;

		for (unsigned j = 0; j < g->n_devices && !here; j++)
			here = dir_of(g->devices[j], other) && strcmp(other, dir) == 0;
		for (unsigned j = 0; (path = cfg_made_socket(c, g, j)) && !here; j++)
			here = dir_of(path, other) && strcmp(other, dir) == 0;
		if (space_has_visitors(&g->space, own, dir))
			return true;
		if (here && ((g->socket_mode & 0077) ||
			     (g->socket_uid != (uid_t)-1 && g->socket_uid != own)))
			return true;
	}
	return false;
}

static int make_dir(const struct cfg *c, const struct identity *id, const char *guest,
		    const char *path)
{
	char dir[CFG_PATH_MAX];
	mode_t mode;

	if (!dir_of(path, dir) || access(dir, F_OK) == 0)
		return 0;
	mode = has_visitors(c, id->uid == (uid_t)-1 ? geteuid() : id->uid, dir) ? 0711 : 0700;
	if (mkdir(dir, mode) < 0) {
		int err = errno;

		if (err == EEXIST)
			return 0;
		log_line(ZV_LOG_ERR, guest,
			 "the directory %s of the socket cannot be made: %s; make it with "
			 "\"mkdir -p\" and see to it that zvsockd may write to it",
			 dir, zv_strerror(-err));
		return -err;
	}
	/* The umask has removed permissions that other users need; and the user that we switch to
	 * must be able to unlink the sockets. */
	if (chmod(dir, mode) < 0 ||
	    (!is_already(id) && geteuid() == 0 && chown(dir, id->uid, id->gid) < 0)) {
		int err = errno;

		log_line(ZV_LOG_ERR, guest,
			 "the new directory %s cannot be given its owner and mode: %s", dir,
			 zv_strerror(-err));
		return -err;
	}
	log_line(ZV_LOG_INFO, guest, "made the directory %s, mode %04o", dir, mode);
	return 0;
}

int privs_make_dirs(const struct cfg *c)
{
	struct identity id;
	int ret = find_identity(c, &id), one;
	const char *path;

	if (ret < 0)
		return ret;
	if (*c->control_path)
		ret = make_dir(c, &id, NULL, c->control_path);
	if (ret == 0 && *c->apps.path)
		ret = make_dir(c, &id, NULL, c->apps.path);
	if (ret == 0 && c->space.apps)
		ret = make_dir(c, &id, NULL, c->space.sockets[0]);
	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];

		for (unsigned j = 0; (path = cfg_made_socket(c, g, j)); j++) {
			one = make_dir(c, &id, g->name, path);
			ret = ret < 0 ? ret : one;
		}
	}
	return ret;
}

/* ---- for good ----------------------------------------------------------------------------- */

/* Checks the real, effective, saved and file system user of a thread in /proc; true if all are
 * @uid. */
static bool task_is(const char *task, uid_t uid)
{
	unsigned ids[4] = {0};
	char path[64], line[256];
	bool ok = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%.16s/status", task);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT; /* it has ended */
	while (!ok && fgets(line, sizeof(line), f))
		ok = sscanf(line, "Uid: %u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) == 4;
	(void)fclose(f);
	return !ok || (ids[0] == uid && ids[1] == uid && ids[2] == uid && ids[3] == uid);
}

/* glibc changes the threads that it knows. io_uring workers are created by the kernel and keep the
 * user that they started with: none may remain from before. */
static int all_tasks_are(uid_t uid)
{
	const struct dirent *e;
	int ret = 0;
	DIR *d = opendir("/proc/self/task");

	if (!d)
		return -errno;
	while (ret == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.' && !task_is(e->d_name, uid))
			ret = -EPERM;
	(void)closedir(d);
	return ret;
}

static bool in_space(const struct cfg_space *s, const char *path)
{
	for (unsigned i = 0; i < CFG_SPACE_SOCKETS; i++)
		if (strcmp(path, s->sockets[i]) == 0)
			return true;
	return false;
}

/* Calls @fn for each socket that we have made: a guest that is not started has none. */
static void each_socket(const struct daemon *d,
			void (*fn)(const char *guest, const char *path, void *arg), void *arg)
{
	const char *path;

	if (d->control)
		fn(NULL, d->cfg->control_path, arg);
	if (d->apps)
		fn(NULL, d->cfg->apps.path, arg);
	for (unsigned j = 0; d->cfg->space.apps && j < CFG_SPACE_SOCKETS; j++)
		fn(NULL, d->cfg->space.sockets[j], arg);
	for (const struct guest *g = d->guests; g; g = g->next)
		for (unsigned j = 0; (path = cfg_made_socket(d->cfg, g->cfg, j)); j++)
			if (!g->cfg->space.apps || !in_space(&d->cfg->space, path))
				fn(g->name, path, arg);
}

/*
 * Gives away the socket's lock file as well: the new user must be able to remove it, and to lock it
 * again after a crash. Others may have rights in its directory: only an empty file with no other
 * name is given away, which is harmless, whatever file it is.
 */
static void give_lock(const char *guest, const char *path, void *arg)
{
	const struct identity *id = arg;
	char lock[CFG_PATH_MAX + sizeof(".lock")];
	struct stat st;
	int fd;

	(void)snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
	    st.st_size || fchown(fd, id->uid, id->gid) < 0)
		log_line(ZV_LOG_WARN, guest,
			 "%s cannot be given to the new user, and will not be removed at the end",
			 lock);
	if (fd >= 0)
		(void)close(fd);
}

/* Logs if the new user could not create the socket again. */
static void try_dir(const char *guest, const char *path, void *arg)
{
	char dir[CFG_PATH_MAX];

	(void)arg;
	if (!dir_of(path, dir))
		(void)strcpy(dir, "/");
	if (access(dir, W_OK | X_OK) < 0)
		log_line(
			ZV_LOG_WARN, guest,
			"%s: uid %u may not write to its directory: the socket will not be removed "
			"at the end, and a reload cannot create it again; give %s to that user",
			path, (unsigned)getuid(), dir);
}

int privs_drop(const struct daemon *d)
{
	const struct cfg *c = d->cfg;
	struct identity id;
	int ret = find_identity(c, &id);

	if (ret < 0 || is_already(&id))
		return ret;
	each_socket(d, give_lock, &id);
	/* The guests' sockets got their owner when they were created. */
	if (*c->control_path && lchown(c->control_path, id.uid, id.gid) < 0) {
		int err = errno;

		log_line(ZV_LOG_ERR, NULL, "%s cannot be given to %s: %s", c->control_path,
			 *c->user ? c->user : c->group, zv_strerror(-err));
		return -err;
	}
	ret = *c->user ? initgroups(c->user, id.gid) : setgroups(0, NULL);
	if (ret == 0)
		ret = setresgid(id.gid, id.gid, id.gid);
	if (ret == 0 && *c->user)
		ret = setresuid(id.uid, id.uid, id.uid);
	if (ret < 0) {
		ret = -errno;
	} else if (*c->user && id.uid != 0) {
		ret = all_tasks_are(id.uid);
		if (ret == 0 && setresuid(0, 0, 0) == 0)
			ret = -EPERM; /* it could be undone */
	}
	if (ret < 0)
		log_line(ZV_LOG_ERR, NULL,
			 "cannot become %s for good: %s; start zvsockd as that user instead",
			 *c->user ? c->user : c->group, zv_strerror(ret));
	else
		each_socket(d, try_dir, NULL);
	return ret;
}
