/* auth_basic: names and passwords out of a file. Hashing is done by the helper thread; what was
 * right a short while ago is not hashed again. The file is looked at for each request, so that who
 * is taken out of it is out at once. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "io/offload.h"
#include "mod/auth_cache.h"
#include "mod/mods.h"
#include "mod/password.h"
#include "serve/credentials.h"
#include "serve/core.h"
#include "serve/req.h"

#define QUEUE_MS 30000 /* longest wait for the helper to begin */
/* A file that was changed so shortly ago may change again without looking different. */
#define UNSETTLED_MS 2000

struct auth_conf {
	struct tmpl *realm, *user_file;
	struct span conf_prefix;
};
static struct conf_mod auth_mod;

/* ---- on the helper ---- */

struct auth_job {
	struct offload_job job;
	const char *path;
	struct span password;
	struct user_entry entry;
	int found; /* as user_file_find */
	enum password_result result;
};

static void auth_job_run(struct offload_job *job)
{
	struct auth_job *j = CONTAINER_OF(job, struct auth_job, job);

	j->found = user_file_find(j->path, &j->entry);
	if (j->found > 0)
		j->result = password_check(span_make(j->entry.hash, j->entry.n), j->password);
	explicit_bzero(j->entry.hash, sizeof(j->entry.hash));
}

/* ---- what is told ---- */

static int file_failed(struct req *r, struct span path, int err)
{
	bool missing = err == ENOENT;

	req_log(r, missing ? LOG_ERR : LOG_CRIT, err, "open() \"%.*s\" failed", SPAN_ARG(path));
	r->fail = missing ? FAIL_FORBIDDEN : FAIL_FILE_ERROR;
	fail_count(r->fail);
	return missing ? 403 : 500;
}

static int helper_failed(struct req *r, int err)
{
	if (err == ECANCELED)
		return req_fail(r, r->aborted ? FAIL_CLIENT_CLOSED : FAIL_CANCELLED);
	req_log(r, LOG_ERR, err, "password cannot be checked");
	return req_fail(r, FAIL_AUTH_BUSY);
}

static int refused(struct req *r, const struct auth_job *j, struct span realm, struct span path)
{
	struct span user = j->entry.user;

	if (!j->found)
		req_log(r, LOG_ERR, 0, "user \"%.*s\" was not found in \"%.*s\"", SPAN_ARG(user),
			SPAN_ARG(path));
	else if (j->result == PASSWORD_WRONG)
		req_log(r, LOG_ERR, 0, "user \"%.*s\": password mismatch", SPAN_ARG(user));
	else
		req_log(r, LOG_ERR, 0,
			"user \"%.*s\": the form of the hash in \"%.*s\" is not known",
			SPAN_ARG(user), SPAN_ARG(path));
	return req_challenge(r, realm);
}

/* ---- the check ---- */

struct auth_ask {
	struct span realm, path, user, password;
};

/* Does k stand for what the file says now, and will a later change of it show? */
static bool worth_keeping(const struct auth_job *j)
{
	uint64_t changed_ms = j->entry.version.changed_ns / 1000000;

	return changed_ms + UNSETTLED_MS < io_wall_ms();
}

static MAY_SUSPEND int ask_helper(struct req *r, const struct auth_ask *a)
{
	struct auth_job *j = arena_zalloc(&r->arena, sizeof(*j));
	struct auth_key k;
	int rc;

	if (!j)
		return req_fail(r, FAIL_NO_MEMORY);
	j->job.run = auth_job_run;
	j->path = a->path.p;
	j->entry.user = a->user;
	j->password = a->password;
	rc = offload_run(&j->job, io_after(QUEUE_MS));
	if (rc < 0)
		return helper_failed(r, -rc);
	if (j->found < 0)
		return file_failed(r, a->path, -j->found);
	if (j->found && j->result == PASSWORD_FAILED)
		return req_fail(r, FAIL_NO_MEMORY);
	if (!j->found || j->result != PASSWORD_RIGHT)
		return refused(r, j, a->realm, a->path);
	if (worth_keeping(j) &&
	    auth_key_make(&r->arena, &j->entry.version, a->user, a->password, &k))
		auth_cache_add(&k, io_now_ms());
	return PHASE_ALLOW;
}

static MAY_SUSPEND int check(struct req *r, const struct auth_ask *a)
{
	struct file_version v;
	struct auth_key k;
	struct stat st;
	int rc = memchr(a->path.p, 0, a->path.n) ? -ENOENT
						 : sys->fstatat(AT_FDCWD, a->path.p, &st, 0);

	if (rc < 0)
		return file_failed(r, a->path, -rc);
	v = file_version_of(&st);
	if (auth_key_make(&r->arena, &v, a->user, a->password, &k) &&
	    auth_cache_has(&k, io_now_ms()))
		return PHASE_ALLOW;
	return ask_helper(r, a);
}

/* Relative to the configuration, also when it begins with a variable. Empty: no memory. */
static struct span user_file_path(struct req *r, const struct auth_conf *conf)
{
	struct span path = tmpl_eval(conf->user_file, &r->vars);

	if (path.n && path.p[0] == '/')
		return arena_dup(&r->arena, path);
	return arena_printf(&r->arena, "%.*s%.*s", SPAN_ARG(conf->conf_prefix), SPAN_ARG(path));
}

static MAY_SUSPEND int auth_phase(struct req *r)
{
	const struct auth_conf *conf = req_conf(r, &auth_mod);
	struct auth_ask a;

	if (!conf->realm || !conf->user_file)
		return PHASE_NEXT;
	a.realm = tmpl_eval(conf->realm, &r->vars);
	if (r->vars.failed)
		return req_fail(r, FAIL_NO_MEMORY);
	if (span_eq(a.realm, SPAN("off")))
		return PHASE_NEXT;
	if (!req_credentials(r, &a.user, &a.password)) {
		req_log(r, LOG_INFO, 0, "no user/password was provided for basic authentication");
		return req_challenge(r, a.realm);
	}
	a.path = user_file_path(r, conf);
	return r->vars.failed || !a.path.p ? req_fail(r, FAIL_NO_MEMORY) : check(r, &a);
}

/* ---- directives ---- */

static int user_file_set(struct conf_call *c)
{
	struct auth_conf *conf = conf_mine(c);

	if (!conf)
		return CONF_ERR;
	if (!conf_first_here(c))
		return conf_error(c, 0, "\"auth_basic_user_file\" directive is duplicate");
	conf->conf_prefix = c->ctx->conf_prefix;
	conf->user_file = tmpl_compile(c, 1);
	return conf->user_file ? CONF_OK : CONF_ERR;
}

#define AUTH_WHERE (IN_HTTP_ALL | IN_LIMIT_EXCEPT)

static const struct conf_row rows[] = {
	MTMPL("auth_basic", AUTH_WHERE, struct auth_conf, realm,
	      "Ask for a name and a password for that realm; off: for none."),
	MCUSTOM("auth_basic_user_file", AUTH_WHERE, 1, 1, 0, user_file_set,
		"File of lines name:hash; hashes as crypt(3) knows them, $apr1$, {SHA}, {SSHA} or "
		"{PLAIN}."),
	MEND,
};

static struct conf_mod auth_mod = {
	.name = "auth_basic", .size = sizeof(struct auth_conf), .rows = rows};
static struct conf_mod *const confs[] = {&auth_mod, NULL};

static int auth_thread_start(void)
{
	offload_join();
	return 0;
}

const struct http_module auth_basic_module = {
	.name = "auth_basic",
	.confs = confs,
	.phase = {[PHASE_ACCESS] = auth_phase},
	.thread_start = auth_thread_start,
	.thread_stop = offload_leave,
};
