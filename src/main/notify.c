#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "main/notify.h"

static int address(struct sockaddr_un *un, socklen_t *len)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;

	if (n == 0)
		return -ENOENT;
	if ((path[0] != '/' && path[0] != '@') || n >= sizeof(un->sun_path))
		return -EINVAL;
	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(un->sun_path, path, n);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	if (path[0] == '@')
		un->sun_path[0] = 0; /* an abstract name */
	return 0;
}

int notify_send(const char *fmt, ...)
{
	struct sockaddr_un un;
	char text[256];
	socklen_t len;
	va_list ap;
	int fd, r = address(&un, &len);

	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&un, len) < 0)
		r = -errno;
	close(fd);
	return r;
}

void notify_ready(void)
{
	notify_send("READY=1\nMAINPID=%d", (int)getpid());
}

void notify_reloading(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	notify_send("RELOADING=1\nMONOTONIC_USEC=%lld",
		    (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
}

void notify_stopping(void)
{
	notify_send("STOPPING=1");
}

void notify_mainpid(int pid)
{
	notify_send("MAINPID=%d", pid);
}
