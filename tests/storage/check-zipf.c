/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests/lab/checks/44-ordinary: a load for an unmodified key-value server, and where its memory is.
 *
 *   check-zipf load SOCKET KEYS        keys of about a page each, the first one first
 *   check-zipf run SOCKET KEYS         reads in them by Zipf's law (0.99), in the first one most, until SIGTERM; prints how often
 *   check-zipf where PID KEYS NODE     "PAGES OF": how many pages of the first KEYS are on the node, of how many. Found in the
 *                                      server's memory by what was written, and asked of the kernel page by page
 *
 * Talks RESP over a socket of the file system.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096u
#define TAG_LENGTH 32u
/* With the server's few bytes about it, a page. */
#define VALUE 4064u
/* Read at once. */
#define PART 32u
/* Looked at of each page: more than what another value's end may take of it. */
#define HEAD 128u
/* Requests sent before their answers are read: else the two processes wait for each other most of the time. */
#define BATCH 128u
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

/* What a key's value is made of, over and over: the number makes it this key's. */
static void tag(char text[static TAG_LENGTH + 1], unsigned int key)
{
	snprintf(text, TAG_LENGTH + 1, "morsel-check-zipf-value%09u", key % 1000000000);
}

/* Reads n answers of wanted bytes each. */
static void read_answers(int fd, unsigned int n, size_t wanted)
{
	static char buffer[1 << 16];
	size_t left = n * wanted;

	while (left > 0) {
		ssize_t did = read(fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer));

		if (did <= 0 || (left == n * wanted && buffer[0] == '-'))
			fail("an answer");
		left -= (size_t)did;
	}
}

static void load(int fd, unsigned int keys)
{
	static char value[VALUE + 1], text[TAG_LENGTH + 1], batch[BATCH * (VALUE + 128)];

	for (unsigned int k = 0; k < keys; k += BATCH) {
		unsigned int n = keys - k < BATCH ? keys - k : BATCH;
		size_t length = 0;

		for (unsigned int i = 0; i < n; i++) {
			tag(text, k + i);
			for (size_t at = 0; at < VALUE; at += TAG_LENGTH)
				memcpy(value + at, text, TAG_LENGTH);
			length += (size_t)sprintf(
				batch + length,
				"*3\r\n$3\r\nSET\r\n$12\r\nkey%09u\r\n$%u\r\n%s\r\n", k + i, VALUE,
				value);
		}
		write_all(fd, batch, length);
		read_answers(fd, n, strlen("+OK\r\n"));
	}
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static unsigned int next_key(const double *sum, unsigned int keys, uint64_t *state)
{
	double wanted = (double)(next_random(state) >> 11) / (double)(UINT64_C(1) << 53);
	unsigned int low = 0, high = keys - 1;

	wanted *= sum[keys - 1];
	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (sum[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* A part of a value, for what an emulated machine does most slowly is to copy. */
static void run(int fd, unsigned int keys)
{
	static char batch[BATCH * 128];
	double *sum = calloc(keys, sizeof(*sum)), total = 0;
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15), done = 0;

	if (!sum)
		fail("memory");
	for (unsigned int k = 0; k < keys; k++)
		sum[k] = total += pow(k + 1, -THETA);
	for (; !ended; done += BATCH) {
		size_t length = 0;

		for (unsigned int i = 0; i < BATCH; i++) {
			unsigned int at = 1024 + next_random(&state) % 3000;

			length += (size_t)sprintf(
				batch + length,
				"*4\r\n$8\r\nGETRANGE\r\n$12\r\nkey%09u\r\n$4\r\n%u\r\n$4\r\n%u\r\n",
				next_key(sum, keys, &state), at, at + PART - 1);
		}
		write_all(fd, batch, length);
		read_answers(fd, BATCH, strlen("$32\r\n\r\n") + PART);
	}
	printf("%" PRIu64 "\n", done);
	free(sum);
}

struct count {
	unsigned int keys, node;
	uint64_t on, of;
};

/* Is there a whole tag of one of the keys in what a page begins with? */
static bool is_hot(const char *head, unsigned int keys)
{
	char text[TAG_LENGTH + 1];
	const char *at;

	tag(text, 0);
	at = memmem(head, HEAD, text, TAG_LENGTH - 9);
	if (!at || at + TAG_LENGTH > head + HEAD)
		return false;
	memcpy(text, at + TAG_LENGTH - 9, 9);
	text[9] = 0;
	return strspn(text, "0123456789") == 9 && strtoul(text, NULL, 10) < keys;
}

static void count_pages(struct count *c, pid_t pid, void **pages, unsigned int n)
{
	int status[BATCH];

	if (n > 0 && syscall(SYS_move_pages, pid, (unsigned long)n, pages, NULL, status, 0) < 0)
		fail("move_pages");
	for (unsigned int i = 0; i < n; i++)
		c->on += status[i] == (int)c->node;
	c->of += n;
}

static void count_range(struct count *c, pid_t pid, uint64_t start, uint64_t end)
{
	static char heads[BATCH][HEAD];
	struct iovec local = { heads, 0 }, remote[BATCH];
	void *hot[BATCH];

	while (start < end) {
		unsigned int n = 0, n_hot = 0;
		ssize_t did;

		for (; n < BATCH && start + n * PAGE < end; n++)
			remote[n] = (struct iovec){ (void *)(start + n * PAGE), HEAD };
		local.iov_len = n * HEAD;
		did = process_vm_readv(pid, &local, 1, remote, n, 0);
		for (unsigned int i = 0; did > 0 && (size_t)did >= (i + 1) * HEAD; i++)
			if (is_hot(heads[i], c->keys))
				hot[n_hot++] = remote[i].iov_base;
		count_pages(c, pid, hot, n_hot);
		start += n * PAGE;
	}
}

static void where(pid_t pid, struct count *c)
{
	char path[64], line[512], mode[8];
	uint64_t start, end;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		fail(path);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &start, &end, mode) == 3 &&
		    strcmp(mode, "rw-p") == 0)
			count_range(c, pid, start, end);
	fclose(maps);
	printf("%" PRIu64 " %" PRIu64 "\n", c->on, c->of);
}

int main(int argc, char **argv)
{
	unsigned int keys = argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) : 0;

	signal(SIGTERM, on_end);
	if (argc == 4 && keys > 0 && strcmp(argv[1], "load") == 0) {
		load(connect_to(argv[2]), keys);
	} else if (argc == 4 && keys > 0 && strcmp(argv[1], "run") == 0) {
		run(connect_to(argv[2]), keys);
	} else if (argc == 5 && keys > 0 && strcmp(argv[1], "where") == 0) {
		struct count c = { .keys = keys, .node = (unsigned int)strtoul(argv[4], NULL, 10) };

		where((pid_t)atoi(argv[2]), &c);
	} else {
		fprintf(stderr,
			"check-zipf load SOCKET KEYS | run SOCKET KEYS | where PID KEYS NODE\n");
		return 2;
	}
	return 0;
}
