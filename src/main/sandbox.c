#include "main/sandbox.h"
#include <errno.h>
#include "base/bug.h"

#ifndef HAVE_SECCOMP
bool sandbox_enter(void)
{
	return false;
}
#else
#include <seccomp.h>

/* Names, for not every architecture and library version has all of them. */
static const char *const refused[] = {
#if !defined(BUILT_WITH_ASAN) && !defined(BUILT_WITH_TSAN)
	"execve",
	"execveat",
	"ptrace",
#endif
	/* other processes */
	"process_vm_readv",
	"process_vm_writev",
	"process_madvise",
	"pidfd_getfd",
	"kcmp",
	"perf_event_open",
	/* mounts and namespaces */
	"mount",
	"umount",
	"umount2",
	"pivot_root",
	"chroot",
	"move_mount",
	"open_tree",
	"fsopen",
	"fsconfig",
	"fsmount",
	"fspick",
	"mount_setattr",
	"unshare",
	"setns",
	/* the kernel */
	"init_module",
	"finit_module",
	"delete_module",
	"kexec_load",
	"kexec_file_load",
	"bpf",
	"reboot",
	"swapon",
	"swapoff",
	"acct",
	"quotactl",
	"quotactl_fd",
	"syslog",
	"iopl",
	"ioperm",
	"modify_ldt",
	"personality",
	"userfaultfd",
	"vhangup",
	"uselib",
	"lookup_dcookie",
	"nfsservctl",
	/* what system calls are refused here can be asked for there */
	"io_uring_setup",
	"io_uring_enter",
	"io_uring_register",
	/* clocks and names */
	"settimeofday",
	"clock_settime",
	"clock_settime64",
	"clock_adjtime",
	"clock_adjtime64",
	"adjtimex",
	"stime",
	"sethostname",
	"setdomainname",
	/* keys, users, devices, files by number */
	"add_key",
	"keyctl",
	"request_key",
	"setuid",
	"setgid",
	"setreuid",
	"setregid",
	"setresuid",
	"setresgid",
	"setfsuid",
	"setfsgid",
	"setgroups",
	"capset",
	"mknod",
	"mknodat",
	"name_to_handle_at",
	"open_by_handle_at",
};

static bool fill(scmp_filter_ctx f)
{
	/* The cost of a speculative-store barrier is not worth it: nothing foreign runs in here. */
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
	/* A sanitizer's thread is there already. */
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	for (unsigned i = 0; i < ARRAY_LEN(refused); i++) {
		int nr = seccomp_syscall_resolve_name(refused[i]);

		if (nr == __NR_SCMP_ERROR)
			continue;
		/* Some exist on other architectures only. */
		(void)seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), nr, 0);
	}
	return seccomp_load(f) == 0;
}

bool sandbox_enter(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	bool ok = f && fill(f);

	if (f)
		seccomp_release(f);
	return ok;
}
#endif
