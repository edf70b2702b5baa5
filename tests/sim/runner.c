#include "runner.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "ask.h"
#include "world.h"

#define JOBS_MAX   16
#define TAIL_LINES 60 /* of the diary, shown for a failure */
#define EXIT_HANG  67

struct job {
	pid_t pid; /* 0: free */
	struct run run;
	int out; /* a memory file: the child's stderr */
};

/* ---- in the child ---- */

static void on_hang(int signo)
{
	sim_print_events(2);
	dprintf(2, "broken: hang: the world takes too long\n");
	_exit(EXIT_HANG);
}

static void on_abort(int signo)
{
	signal(SIGABRT, SIG_DFL);
	sim_print_events(2);
	dprintf(2, "broken: bug: abort\n");
}

int run_here(const struct run *run, struct run_result *result)
{
	const struct scenario *s = scenario_find(run->scenario);
	struct ask_counts c;

	signal(SIGABRT, on_abort);
	world.o.seed = run->seed;
	s->run();
	c = asks_counted();
	*result = (struct run_result){.asked = c.asked,
				      .whole = c.whole,
				      .own = c.own,
				      .lost = c.lost,
				      .excused = c.excused,
				      .tries = c.tries,
				      .virtual_us = world.ended_us,
				      .fingerprint = world.fingerprint};
	return 0;
}

/* ---- in the parent ---- */

/* Of the processor, for others may be busy, too; one that waits for ever gets ten times that. */
static void limit_time(unsigned limit_s)
{
	struct itimerval t = {.it_value.tv_sec = limit_s};

	signal(SIGPROF, on_hang);
	signal(SIGALRM, on_hang);
	setitimer(ITIMER_PROF, &t, NULL);
	alarm(10 * limit_s);
}

static void job_start(struct runner *r, struct job *j, struct run_result *result)
{
	memset(result, 0, sizeof(*result));
	j->out = memfd_create("world", 0);
	fflush(NULL);
	j->pid = fork();
	if (j->pid < 0 || j->out < 0) {
		perror("fork");
		exit(2);
	}
	if (j->pid > 0)
		return;
	dup2(j->out, 2);
	limit_time(r->limit_s);
	_exit(run_here(&j->run, result));
}

static char *job_text(const struct job *j, size_t *n)
{
	off_t end = lseek(j->out, 0, SEEK_END);
	char *p = malloc((size_t)end + 1);
	ssize_t got = p ? pread(j->out, p, (size_t)end, 0) : -1;

	*n = got > 0 ? (size_t)got : 0;
	if (p)
		p[*n] = 0;
	return p;
}

/* "broken: NAME: ..." or what the status says. */
static void name_failure(struct runner *r, const char *text, int status)
{
	const char *at = strstr(text, "broken: "), *more;

	while (at && (more = strstr(at + 1, "broken: ")))
		at = more;
	if (strstr(text, "runtime error") || strstr(text, "Sanitizer"))
		snprintf(r->broken, sizeof(r->broken), "sanitizer");
	else if (at)
		snprintf(r->broken, sizeof(r->broken), "%.*s", (int)strcspn(at + 8, ":\n"), at + 8);
	else if (WIFSIGNALED(status))
		snprintf(r->broken, sizeof(r->broken), "signal %d", WTERMSIG(status));
	else
		snprintf(r->broken, sizeof(r->broken), "exit %d", WEXITSTATUS(status));
}

static const char *tail_of(const char *text, size_t n)
{
	const char *at = text + n;

	for (unsigned lines = 0; at > text; at--)
		if (at[-1] == '\n' && lines++ == TAIL_LINES)
			break;
	return at;
}

static void report_failure(struct runner *r, const struct job *j, int status)
{
	size_t n;
	char *text = job_text(j, &n);

	name_failure(r, text ? text : "", status);
	if (r->looked_for && strcmp(r->broken, r->looked_for) != 0) {
		r->others++;
		memcpy(r->other, r->broken, sizeof(r->other));
	} else {
		r->failures++;
	}
	if (!r->quiet) {
		printf("\n---- FAILED: %s: world %s, seed %llu ----\n%s", r->broken,
		       j->run.scenario, (unsigned long long)j->run.seed,
		       text && !strstr(text, "Sanitizer") ? tail_of(text, n) : text);
		printf("---- again: ./dev sim --scenario %s --seed %llu [--trace]\n",
		       j->run.scenario, (unsigned long long)j->run.seed);
		fflush(stdout);
	}
	free(text);
}

static void add_up(struct runner *r, const struct run_result *x)
{
	r->sum.asked += x->asked;
	r->sum.whole += x->whole;
	r->sum.own += x->own;
	r->sum.lost += x->lost;
	r->sum.excused += x->excused;
	r->sum.tries += x->tries;
	r->sum.virtual_us += x->virtual_us;
	r->sum.fingerprint += x->fingerprint;
}

static void progress(struct runner *r, bool last)
{
	static struct timespec began, shown;
	struct timespec now;
	double s;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!began.tv_sec)
		began = shown = now;
	if (r->quiet || (!last && now.tv_sec - shown.tv_sec < 5))
		return;
	shown = now;
	s = (double)(now.tv_sec - began.tv_sec) + (double)(now.tv_nsec - began.tv_nsec) / 1e9;
	printf("%u worlds (%.1f/s), %u failed; %.1f virtual hours; %u requests: %u answered, %u by "
	       "the proxy, "
	       "%u lost; %u tries\n",
	       r->worlds, r->worlds / (s > 0.01 ? s : 0.01), r->failures,
	       (double)r->sum.virtual_us / 3.6e9, r->sum.asked, r->sum.whole, r->sum.own,
	       r->sum.lost, r->sum.tries);
	fflush(stdout);
}

static void job_end(struct runner *r, struct job *j, struct run_result *result, int status)
{
	r->worlds++;
	if (status != 0)
		report_failure(r, j, status);
	else
		add_up(r, result);
	close(j->out);
	j->pid = 0;
	progress(r, false);
}

void runner_run(struct runner *r, bool (*next)(struct run *run, void *arg), void *arg)
{
	struct run_result *results = mmap(NULL, JOBS_MAX * sizeof(*results), PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct job jobs[JOBS_MAX] = {0};
	unsigned busy = 0;
	bool more = true;

	progress(r, false);
	for (;;) {
		int status;
		pid_t pid;

		for (unsigned i = 0; i < r->jobs && i < JOBS_MAX; i++) {
			if (jobs[i].pid)
				continue;
			more = more && r->failures < r->failures_max && next(&jobs[i].run, arg);
			if (!more)
				break;
			job_start(r, &jobs[i], &results[i]);
			busy++;
		}
		if (!busy)
			break;
		pid = waitpid(-1, &status, 0);
		for (unsigned i = 0; i < JOBS_MAX; i++) {
			if (pid > 0 && jobs[i].pid == pid) {
				busy--;
				job_end(r, &jobs[i], &results[i], status);
			}
		}
	}
	progress(r, true);
	munmap(results, JOBS_MAX * sizeof(*results));
}
