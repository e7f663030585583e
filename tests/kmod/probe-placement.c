// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * probe-placement [--huge] [--weights 1,1,1] [--limit MIB] [--run SECONDS]: makes a pool on each node, an object over
 * them in order, touches 6 MiB of it, and prints the MiB that each pool gave, then how often a placement
 * program was asked and how often refused in that time. With --run it does so again and again, and prints
 * nothing but failures. --limit: of the last pool's tier. Exit status 3: the module knows no programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/morsel.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BYTES (6ULL << 20)
#define POOL_BYTES (32ULL << 20)
#define POOLS 3
#define ACCOUNT 58

static int control;

static void call(unsigned long request, void *argument, const char *what)
{
	if (ioctl(control, request, argument) == 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static struct morsel_stats stats(void)
{
	struct morsel_stats s = { .size = sizeof(s) };

	call(MORSEL_IOC_STATS, &s, "statistics");
	return s;
}

static void touch(const uint32_t *pools, const uint32_t *weights, uint32_t flags, uint64_t account,
		  uint64_t *mib)
{
	struct morsel_object_create c = {
		.size = sizeof(c), .flags = flags, .bytes = BYTES, .account = account
	};
	struct morsel_object_stat s = { .size = sizeof(s) };
	struct morsel_id id = { .size = sizeof(id) };
	volatile char *p;

	for (int i = 0; i < POOLS; i++) {
		c.placement.pools[i] = pools[i];
		c.placement.weights[i] = weights[i];
	}
	call(MORSEL_IOC_OBJECT_CREATE, &c, "object");
	p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, 0);
	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	for (uint64_t at = 0; at < BYTES; at += 4096)
		p[at] = 1;
	s.id = c.id;
	call(MORSEL_IOC_OBJECT_STAT, &s, "object's statistics");
	for (int i = 0; i < POOLS; i++)
		mib[i] = s.pool_bytes[pools[i]] >> 20;
	munmap((void *)p, BYTES);
	close(c.fd);
	id.id = c.id;
	call(MORSEL_IOC_OBJECT_DESTROY, &id, "destroy");
}

int main(int argc, char *argv[])
{
	struct morsel_hello hello = { .size = sizeof(hello), .version = MORSEL_UAPI_VERSION };
	struct morsel_account_create account = { .size = sizeof(account), .id = ACCOUNT };
	struct morsel_account_limit limit = { .size = sizeof(limit),
					      .id = ACCOUNT,
					      .tier = POOLS - 1 };
	uint32_t pools[POOLS], weights[POOLS] = {}, flags = 0;
	struct morsel_stats before, after;
	uint64_t mib[POOLS] = {};
	int seconds = 0;
	time_t end;

	limit.limit_bytes = MORSEL_NO_LIMIT;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--huge") == 0)
			flags = MORSEL_OBJECT_HUGE;
		else if (strcmp(argv[i], "--weights") == 0 && i + 1 < argc)
			sscanf(argv[++i], "%u,%u,%u", &weights[0], &weights[1], &weights[2]);
		else if (strcmp(argv[i], "--limit") == 0 && i + 1 < argc)
			limit.limit_bytes = strtoull(argv[++i], NULL, 10) << 20;
		else if (strcmp(argv[i], "--run") == 0 && i + 1 < argc)
			seconds = atoi(argv[++i]);
		else
			return 2;
	}
	control = open("/dev/morsel", O_RDWR | O_CLOEXEC);
	if (control < 0) {
		perror("/dev/morsel");
		return 1;
	}
	call(MORSEL_IOC_HELLO, &hello, "hello");
	if (!(hello.features & MORSEL_FEATURE_PLACEMENT)) {
		fprintf(stderr, "the module takes no placement programs\n");
		return 3;
	}
	for (int i = 0; i < POOLS; i++) {
		struct morsel_pool_create c = { .size = sizeof(c), .kind = MORSEL_POOL_NODE };

		c.tier = (uint32_t)i;
		c.node = i;
		c.max_bytes = POOL_BYTES;
		call(MORSEL_IOC_POOL_CREATE, &c, "pool");
		pools[i] = c.pool;
	}
	call(MORSEL_IOC_ACCOUNT_CREATE, &account, "account");
	call(MORSEL_IOC_ACCOUNT_LIMIT, &limit, "limit");

	before = stats();
	end = time(NULL) + seconds;
	do {
		touch(pools, weights, flags, ACCOUNT, mib);
	} while (time(NULL) < end);
	after = stats();
	if (!seconds)
		printf("%u %u %u asked %llu refused %llu\n", (unsigned int)mib[0],
		       (unsigned int)mib[1], (unsigned int)mib[2],
		       after.placement_calls - before.placement_calls,
		       after.placement_refused - before.placement_refused);

	for (int i = 0; i < POOLS; i++) {
		struct morsel_id id = { .size = sizeof(id), .id = pools[i] };

		call(MORSEL_IOC_POOL_DESTROY, &id, "pool's end");
	}
	call(MORSEL_IOC_ACCOUNT_DESTROY,
	     &(struct morsel_id){ .size = sizeof(struct morsel_id), .id = ACCOUNT },
	     "account's end");
	return 0;
}
