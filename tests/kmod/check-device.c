// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/morsel: root opens it, read and write; a user without rights does not; what it does not know it refuses. */
#include <errno.h>
#include <fcntl.h>
#include <linux/morsel.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "/dev/morsel"

static int failed;

static void expect(int want, int got, const char *what)
{
	if (want == got)
		return;
	fprintf(stderr, "%s: want %s, got %s\n", what, want ? strerror(want) : "success",
		got ? strerror(got) : "success");
	failed = 1;
}

static int error_of(long r)
{
	return r < 0 ? errno : 0;
}

static void check_user(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		expect(EACCES, error_of(open(DEVICE, O_RDWR | O_CLOEXEC)), "open as nobody");
		_exit(failed);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		failed = 1;
}

int main(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	expect(0, error_of(fd), "open as root");
	if (fd < 0)
		return 1;
	check_user();
	/* 0xff is not, and will not be, one of the module's types. */
	expect(ENOTTY, error_of(ioctl(fd, _IO(0xff, 0), 0)), "a foreign ioctl");
	if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED) {
		fprintf(stderr, "mmap of the control descriptor at 0: want an error\n");
		failed = 1;
	}
	close(fd);
	return failed;
}
