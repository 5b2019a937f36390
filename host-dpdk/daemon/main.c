/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockd: start, signals, reload, end.
 *
 * Theory of operation
 * -------------------
 * The main thread blocks the signals that it handles before any other thread exists, so that all of
 * them arrive on one descriptor, and then does one thing at a time: a signal, a request on the
 * control socket, a late line of the log. Data is handled by the lcores (lcore.h). While it drains,
 * signals are delivered directly (a second one hurries it) and the control socket is still served.
 */
#include "apps.h"
#include "channel/region.h"
#include "cli.h"
#include "config/config.h"
#include "control/control.h"
#include "core/log.h"
#include "endpoint/endpoint.h"
#include "endpoint/endpoint_app.h"
#include "endpoint/handover.h"
#include "fd_closer.h"
#include "heap.h"
#include "lifecycle.h"
#include "notify.h"
#include "privs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zvsock.h>

#define TICK_MS	       1000 /* while lines have been left out, or guests are to be tried again */
#define DEATH_CHECK_MS 350  /* while the death of a driver can be seen */
#define CHECK_MS       5000 /* lines that an lcore has left out since wake nobody */

enum { EXIT_OK = 0, EXIT_RUN = 1, EXIT_WRONG = 2 };

/* ---- configuration ------------------------------------------------------------------------ */

static void apply_log(const struct cfg *c)
{
	log_set_level((enum zv_log_level)c->log_level);
	for (unsigned i = 0; i < c->n_guests; i++)
		log_guest(cfg_roles[c->guests[i].role].section, c->guests[i].name,
			  c->guests[i].cid);
}

/* As cfg_load; faults go to the log. NULL: there were some. */
static struct cfg *load_to_log(const struct cli *cli)
{
	char *text = NULL, *rest, *line;
	struct cfg *c = NULL;
	size_t size;
	FILE *faults = open_memstream(&text, &size);
	int ret;

	if (!faults)
		return NULL;
	ret = cfg_load(&c, endpoint_parts, cli->file, cli->words, faults);
	if (fclose(faults) < 0) {
		free(text);
		return ret < 0 ? NULL : c;
	}
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			log_line(ZV_LOG_ERR, NULL, "%s", line);
	free(text);
	return ret < 0 ? NULL : c;
}

#define SUMMARY_MAX 96

/* "guests: 1 of 2, devices: 1 of 1": of what there is in the configuration. */
static const char *summary(const struct daemon *d, char *buf)
{
	unsigned all[CFG_ROLES] = {0}, run[CFG_ROLES] = {0};
	size_t len = 0;

	for (unsigned i = 0; i < d->cfg->n_guests; i++)
		all[d->cfg->guests[i].role]++;
	for (const struct guest *g = d->guests; g; g = g->next)
		run[g->cfg->role]++;
	buf[0] = 0;
	for (unsigned i = 0; i < CFG_ROLES; i++)
		if (all[i])
			len += (size_t)snprintf(buf + len, SUMMARY_MAX - len, "%s%ss: %u of %u",
						len ? ", " : "", cfg_roles[i].section, run[i],
						all[i]);
	if (!len)
		(void)snprintf(buf, SUMMARY_MAX, "applications only");
	return buf;
}

static void say_ready(const struct daemon *d, const char *remark)
{
	const char *down = d->down ? d->down->cfg->name : NULL;
	char buf[SUMMARY_MAX];

	notify_ready("%s, lcores: %u%s%s%s%s", summary(d, buf), d->n_lcores, remark,
		     down ? "; not started: " : "", down ? down : "",
		     d->n_down > 1 ? " and others, zvsockctl guests lists them" : "");
}

static void reload(struct daemon *d, const struct cli *cli)
{
	struct cfg *c;
	char fixed[128], buf[SUMMARY_MAX];

	notify_reloading();
	log_line(ZV_LOG_INFO, NULL, "reading the configuration again");
	c = load_to_log(cli);
	if (!c) {
		log_line(ZV_LOG_ERR, NULL,
			 "the configuration is wrong: the one before stays in force");
		say_ready(d, "; the last reload found a wrong configuration");
		return;
	}
	cfg_fixed_keys(d->cfg, c, fixed, sizeof(fixed));
	if (*fixed)
		log_line(ZV_LOG_WARN, NULL, "changed, but in force only after a restart: %s",
			 fixed);
	apply_log(c);
	(void)privs_make_dirs(c); /* logged; the guest will not start and say so too */
	if (daemon_reload(d, c) < 0)
		log_line(ZV_LOG_ERR, NULL,
			 "no memory for the new configuration: the one before stays in force");
	else if (d->n_down)
		log_line(ZV_LOG_ERR, NULL,
			 "the new configuration is in force, but %u of %u could not be started: %s",
			 d->n_down, d->cfg->n_guests, summary(d, buf));
	else
		log_line(ZV_LOG_INFO, NULL, "the new configuration is in force; %s",
			 summary(d, buf));
	say_ready(d, "");
}

/* ---- the end ------------------------------------------------------------------------------ */

static int *skip_drain; /* of struct daemon */

static void on_second_signal(int sig)
{
	(void)sig;
	__atomic_store_n(skip_drain, 1, __ATOMIC_RELAXED);
}

/* The configured time for connections to end; another one of @signals cuts it short. */
static void stop(struct daemon *d, const sigset_t *signals)
{
	struct sigaction act = {.sa_handler = on_second_signal};

	if (!d->cfg)
		return; /* daemon_start has not been called */
	skip_drain = &d->skip_drain;
	(void)sigaction(SIGTERM, &act, NULL);
	(void)sigaction(SIGINT, &act, NULL);
	act.sa_handler = SIG_IGN;
	(void)sigaction(SIGHUP, &act, NULL);
	(void)sigprocmask(SIG_UNBLOCK, signals, NULL);
	notify_stopping(d->cfg->drain_ms);
	daemon_drain(d);
	control_stop(d);
	daemon_stop(d);
}

/* ---- the life ----------------------------------------------------------------------------- */

static int serve(struct daemon *d, const struct cli *cli, int sigfd)
{
	struct pollfd fds[4] = {{.fd = sigfd, .events = POLLIN},
				{.fd = control_fd(d), .events = POLLIN},
				{.fd = apps_fd(d), .events = POLLIN},
				{.fd = regions_fd(), .events = POLLIN}}; /* daemon_check() */
	struct signalfd_siginfo info;
	bool soon = false;

	for (;;) {
		int n = poll(fds, 4,
			     soon		     ? DEATH_CHECK_MS
			     : log_tick() || d->down ? TICK_MS
						     : CHECK_MS);

		if (n < 0 && errno != EINTR) {
			log_line(ZV_LOG_ERR, NULL, "poll: %s", zv_strerror(errno));
			return EXIT_RUN;
		}
		if (n > 0 && fds[1].revents)
			control_serve(d);
		if (n > 0 && fds[2].revents)
			apps_serve(d);
		apps_check(d);
		if (d->down && daemon_retry(d))
			say_ready(d, "");
		soon = daemon_check(d);
		heap_check();
		fd_closer_retry();
		if (n <= 0 || !fds[0].revents || read(sigfd, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo == SIGHUP) {
			reload(d, cli);
			continue;
		}
		log_line(ZV_LOG_INFO, NULL, "%s: ending; waiting up to %u ms for open connections",
			 info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT", d->cfg->drain_ms);
		return EXIT_OK;
	}
}

/* All that must be there before the first guest is served. */
static int start(struct daemon *d, struct cfg *c)
{
	int ret = privs_prepare(c);

	if (ret == 0)
		(void)privs_make_dirs(c); /* logged; what needs them will fail and say so */
	if (ret < 0) {
		cfg_free(c);
		return ret;
	}
	ret = daemon_start(d, c);
	if (ret == 0 && !d->n_guests && c->n_guests) {
		log_line(ZV_LOG_ERR, NULL, "none of the %s could be started",
			 d->down && d->down->cfg->role == CFG_AS_GUEST ? "devices" : "guests");
		ret = -ENOENT;
	}
	d->join = handover_join;
	d->app_port = app_port_of;
	if (ret == 0)
		ret = control_start(d);
	if (ret == 0)
		ret = apps_start(d);
	if (ret == 0)
		ret = privs_drop(d);
	return ret;
}

static int run(const struct cli *cli, struct cfg *c)
{
	struct daemon d = {0};
	char buf[SUMMARY_MAX];
	sigset_t signals;
	int sigfd, ret;

	log_init();
	apply_log(c);
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	sigfd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sigfd < 0) {
		log_line(ZV_LOG_ERR, NULL, "signalfd: %s", zv_strerror(errno));
		cfg_free(c);
		return EXIT_RUN;
	}
	if (start(&d, c) == 0) {
		log_line(ZV_LOG_INFO, NULL, "zvsockd %s is up; %s, lcores: %u", zv_version(),
			 summary(&d, buf), d.n_lcores);
		say_ready(&d, "");
		ret = serve(&d, cli, sigfd);
	} else {
		log_line(ZV_LOG_ERR, NULL, "not started");
		ret = EXIT_RUN;
	}
	stop(&d, &signals);
	(void)close(sigfd);
	(void)log_tick();
	return ret;
}

int main(int argc, char **argv)
{
	struct cfg *c = NULL;
	struct cli cli;
	int ret;

	cli_parse(&cli, argc, argv);
	if (cfg_load(&c, endpoint_parts, cli.file, cli.words, stderr) < 0) {
		ret = EXIT_WRONG;
	} else if (cli.check) {
		cfg_print(c, stdout);
		daemon_check_maps(c);
		ret = fflush(stdout) < 0 || cfg_print_troubles(c, stderr) ? EXIT_RUN : EXIT_OK;
		cfg_free(c);
	} else {
		ret = run(&cli, c);
	}
	cli_free(&cli);
	return ret;
}
