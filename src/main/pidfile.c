#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/log.h"
#include "main/pidfile.h"

static int complain(const char *what, struct span path)
{
	int err = errno;

	log_msg(NULL, LOG_EMERG, err, "%s() \"%.*s\" failed", what, SPAN_ARG(path));
	return -err;
}

int pidfile_write(struct span path)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid()), r = 0;
	int fd = open(path.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return complain("open", path);
	if (write(fd, text, (size_t)n) != n)
		r = complain("write", path);
	close(fd);
	return r;
}

int pidfile_check(struct span path)
{
	bool was = access(path.p, F_OK) == 0;
	int fd = open(path.p, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return complain("open", path);
	close(fd);
	if (!was)
		unlink(path.p);
	return 0;
}

pid_t pidfile_read(struct span path)
{
	int fd = open(path.p, O_RDONLY | O_CLOEXEC);
	char text[32];
	struct span s;
	uint64_t pid;
	ssize_t n;

	if (fd < 0) {
		n = -errno;
		log_msg(NULL, LOG_ERR, (int)-n, "open() \"%.*s\" failed", SPAN_ARG(path));
		return (pid_t)n;
	}
	n = read(fd, text, sizeof(text));
	close(fd);
	s = span_make(text, (size_t)MAX_OF(n, 0));
	while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
		s.n--;
	if (!span_to_u64(s, INT32_MAX, &pid) || pid == 0) {
		log_msg(NULL, LOG_ERR, 0, "invalid PID number \"%.*s\" in \"%.*s\"", SPAN_ARG(s),
			SPAN_ARG(path));
		return -EINVAL;
	}
	return (pid_t)pid;
}
