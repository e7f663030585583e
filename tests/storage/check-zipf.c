/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests/lab/checks/65-ordinary: a load for an unmodified key-value server, and where its memory is.
 *
 *   check-zipf load SOCKET KEYS KIB         keys of that size, the first one first
 *   check-zipf run SOCKET KEYS              reads them by Zipf's law (0.99), the first one most, until SIGTERM
 *   check-zipf where PID KEYS NODE          "PAGES OF": how many pages of the first KEYS are on the node, of how many. Found in the
 *                                           server's memory by what was written, and asked of the kernel page by page
 *
 * Talks RESP over a socket of the file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096u
#define TAG_LENGTH 32u
#define THETA 0.99

static volatile sig_atomic_t ended;

static void on_end(int unused)
{
	ended = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "check-zipf: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
		fail("socket");
	strcpy(a.sun_path, path);
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		fail(path);
	return fd;
}

static void write_all(int fd, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t did = write(fd, data, n);

		if (did <= 0)
			fail("write");
		data += did;
		n -= (size_t)did;
	}
}

/* What every page of a key's value begins with, somewhere: the number makes it this key's. */
static void tag(char text[static TAG_LENGTH + 1], unsigned int key)
{
	snprintf(text, TAG_LENGTH + 1, "morsel-check-zipf-value%09u", key % 1000000000);
}

static void load(int fd, unsigned int keys, size_t bytes)
{
	char *value = malloc(bytes + 1), head[128], name[32], reply[16], text[TAG_LENGTH + 1];

	if (!value)
		fail("memory");
	for (unsigned int k = 0; k < keys; k++) {
		tag(text, k);
		for (size_t at = 0; at < bytes; at += TAG_LENGTH)
			memcpy(value + at, text, TAG_LENGTH);
		snprintf(name, sizeof(name), "key%u", k);
		snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n",
			 strlen(name), name, bytes);
		write_all(fd, head, strlen(head));
		write_all(fd, value, bytes);
		write_all(fd, "\r\n", 2);
		if (read(fd, reply, sizeof(reply)) != 5 || memcmp(reply, "+OK\r\n", 5) != 0)
			fail("SET");
	}
	free(value);
}

/* The answer to GET, its size found in its head. */
static void read_value(int fd)
{
	char buffer[65536];
	size_t wanted = 0, have = 0;
	bool head = true;

	while (head || have < wanted) {
		ssize_t n = read(fd, buffer, sizeof(buffer));

		if (n <= 0)
			fail("read");
		if (head) {
			const char *end = memchr(buffer, '\n', (size_t)n);
			size_t size = strtoul(buffer + 1, NULL, 10);

			if (!end || buffer[0] != '$' || size == 0)
				fail("GET");
			wanted = (size_t)(end + 1 - buffer) + size + 2;
			head = false;
		}
		have += (size_t)n;
	}
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void run(int fd, unsigned int keys)
{
	double *sum = calloc(keys, sizeof(*sum)), total = 0;
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15), done = 0;
	char text[128], name[32];

	if (!sum)
		fail("memory");
	for (unsigned int k = 0; k < keys; k++)
		sum[k] = total += pow(k + 1, -THETA);
	for (; !ended; done++) {
		double wanted = (double)(next_random(&state) >> 11) / (double)(UINT64_C(1) << 53);
		unsigned int low = 0, high = keys - 1;

		wanted *= total;
		while (low < high) {
			unsigned int middle = (low + high) / 2;

			if (sum[middle] < wanted)
				low = middle + 1;
			else
				high = middle;
		}
		snprintf(name, sizeof(name), "key%u", low);
		snprintf(text, sizeof(text), "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(name),
			 name);
		write_all(fd, text, strlen(text));
		read_value(fd);
	}
	printf("%" PRIu64 "\n", done);
	free(sum);
}

struct count {
	unsigned int keys, node;
	uint64_t on, of;
};

/* A page that holds a whole tag of one of the keys. */
static bool is_hot(const char *page, unsigned int keys)
{
	const char *at = page;
	char text[TAG_LENGTH + 1];

	tag(text, 0);
	at = memmem(page, PAGE, text, TAG_LENGTH - 9);
	if (!at || at + TAG_LENGTH > page + PAGE)
		return false;
	memcpy(text, at + TAG_LENGTH - 9, 9);
	text[9] = 0;
	return strspn(text, "0123456789") == 9 && strtoul(text, NULL, 10) < keys;
}

static void count_range(struct count *c, pid_t pid, int mem, uint64_t start, uint64_t end)
{
	static char data[64 * PAGE];

	for (uint64_t at = start; at < end; at += sizeof(data)) {
		size_t length = end - at < sizeof(data) ? end - at : sizeof(data);
		ssize_t n = pread(mem, data, length, (off_t)at);

		for (ssize_t i = 0; i + (ssize_t)PAGE <= n; i += PAGE) {
			void *page = (void *)(at + (uint64_t)i);
			int status = -1;

			if (!is_hot(data + i, c->keys))
				continue;
			if (syscall(SYS_move_pages, pid, 1UL, &page, NULL, &status, 0) < 0)
				fail("move_pages");
			c->of++;
			c->on += status == (int)c->node;
		}
	}
}

static void where(pid_t pid, struct count *c)
{
	char path[64], line[512], mode[8];
	uint64_t start, end;
	FILE *maps;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (!maps || mem < 0)
		fail(path);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &start, &end, mode) == 3 &&
		    strcmp(mode, "rw-p") == 0)
			count_range(c, pid, mem, start, end);
	fclose(maps);
	close(mem);
	printf("%" PRIu64 " %" PRIu64 "\n", c->on, c->of);
}

int main(int argc, char **argv)
{
	unsigned int keys = argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) : 0;
	unsigned int last = argc > 4 ? (unsigned int)strtoul(argv[4], NULL, 10) : 0;
	struct count c = { .keys = keys, .node = last };

	signal(SIGTERM, on_end);
	if (argc == 5 && keys > 0 && strcmp(argv[1], "load") == 0 && last > 0)
		load(connect_to(argv[2]), keys, (size_t)last << 10);
	else if (argc == 4 && keys > 0 && strcmp(argv[1], "run") == 0)
		run(connect_to(argv[2]), keys);
	else if (argc == 5 && keys > 0 && strcmp(argv[1], "where") == 0)
		where((pid_t)atoi(argv[2]), &c);
	else {
		fprintf(stderr,
			"check-zipf load SOCKET KEYS KIB | run SOCKET KEYS | where PID KEYS NODE\n");
		return 2;
	}
	return 0;
}
