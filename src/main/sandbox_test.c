#include "main/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/bug.h"

/* Calls that fail otherwise, or not at all, where nobody refuses them. */
static int refused_calls(void)
{
	char *const none[] = {NULL};
	int left = 0;

#if !defined(BUILT_WITH_ASAN) && !defined(BUILT_WITH_TSAN)
	left += !(execve("/nonexistent", none, none) < 0 && errno == EPERM);
	left += !(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 && errno == EPERM);
#else
	left += !(execve("/nonexistent", none, none) < 0 && errno == ENOENT);
#endif
	left += !(unshare(0) < 0 && errno == EPERM);
	left += !(setns(-1, 0) < 0 && errno == EPERM);
	left += !(syscall(SYS_personality, 0xffffffff) < 0 && errno == EPERM);
	left += !(syscall(SYS_setuid, getuid()) < 0 && errno == EPERM);
	left += !(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0) < 0 && errno == EPERM);
	left += !(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0) < 0 &&
		  errno == EPERM);
	return left;
}

static void *make_a_loop(void *arg)
{
	int fd = epoll_create1(0);

	if (fd >= 0 && refused_calls() == 0) /* holds in threads that come later, too */
		*(bool *)arg = true;
	close(fd);
	return NULL;
}

static bool what_a_worker_does(void)
{
	bool ok = false;
	sigset_t set;
	pthread_t t;
	int fd[2];
	void *p;

	sigemptyset(&set);
	if (pthread_create(&t, NULL, make_a_loop, &ok) || pthread_join(t, NULL) || !ok)
		return false;
	if (signalfd(-1, &set, 0) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0 ||
	    pipe2(fd, O_CLOEXEC) < 0 || open("/tmp", O_TMPFILE | O_RDWR, 0600) < 0)
		return false;
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p != MAP_FAILED && mprotect(p, 4096, PROT_NONE) == 0 && munmap(p, 4096) == 0;
}

/* 0: as it should be; 77: no filter here. */
static int in_the_sandbox(void)
{
	if (refused_calls() == 0)
		return 1; /* then the test tells nothing */
	if (!sandbox_enter())
		return 77;
	if (refused_calls())
		return 2;
	return what_a_worker_does() ? 0 : 3;
}

static void test_sandbox(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(in_the_sandbox());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sandbox)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
