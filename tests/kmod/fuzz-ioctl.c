// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random calls of morsel.ko, right and wrong, from several processes of two users: ioctls, mmap and what can be done to
 * a mapping, fork, descriptors sent and closed. What a page holds is zero or its object's mark. In the end
 * all is destroyed and nothing is left.
 *
 * fuzz-ioctl [--long] [--seed N] [--operations N] [--processes N]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod-common.h"

#define NOBODY 65534u
#define FDS 6
#define MAPS 6
#define IDS 16 /* ids that processes share */
#define ACCOUNTS 8
#define PIPES 3
#define OBJECT_MAX (8 * MIB)
#define POOL_MAX (16 * MIB)

static uint64_t seed = 1, operations = 10000;
static unsigned int processes = 5;
static int sockets[2];
static int nodes[8];
static unsigned int n_nodes;
static struct km_object start; /* what all begin with */
static char *device;	       /* a mapping for pools on it; NULL: the lab has none */

struct fd {
	int fd;
	uint64_t id;
	bool extents; /* its content is that of others too */
};

struct map {
	char *p;
	uint64_t bytes, id;
	bool writable, extents;
};

struct worker {
	unsigned int number;
	uint64_t random;
	bool control; /* root, with the control descriptor */
	struct fd fds[FDS];
	struct map maps[MAPS];
	int pipes[PIPES][2];
	uint64_t done, worked;
};

static uint64_t pick(struct worker *w, uint64_t n)
{
	return km_random(&w->random) % n;
}

static bool chance(struct worker *w, unsigned int in)
{
	return pick(w, in) == 0;
}

static uint64_t mark_of(uint64_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

/* Numbers that are often right, and wrong ones that people and compilers make. */
static uint64_t pick_bytes(struct worker *w, uint64_t max)
{
	static const uint64_t odd[] = { 0,
					1,
					4095,
					4097,
					UINT64_MAX,
					INT64_MAX,
					UINT32_MAX,
					UINT64_C(1) << 63,
					UINT64_MAX - 4095 };

	if (chance(w, 24))
		return odd[pick(w, sizeof(odd) / sizeof(*odd))];
	return chance(w, 3) ? pick(w, max / PAGE) * PAGE + PAGE
			    : pick(w, max / GRANULE) * GRANULE + GRANULE;
}

/* Small ones are more likely to be inside. */
static uint64_t pick_offset(struct worker *w)
{
	return chance(w, 2) ? 0 : pick_bytes(w, OBJECT_MAX) / 4 & ~(PAGE - 1);
}

static uint64_t pick_length(struct worker *w)
{
	return pick_bytes(w, chance(w, 3) ? OBJECT_MAX : 2 * GRANULE);
}

static uint32_t pick_pool(struct worker *w)
{
	return (uint32_t)(chance(w, 16) ? pick(w, 70) : pick(w, 4) + 1);
}

static uint64_t pick_id(struct worker *w)
{
	return chance(w, 16) ? km_random(&w->random) : pick(w, IDS + 1);
}

static uint32_t pick_flags(struct worker *w, uint32_t good)
{
	return (uint32_t)(chance(w, 16) ? km_random(&w->random) : km_random(&w->random) & good);
}

static void pick_placement(struct worker *w, struct morsel_placement *p)
{
	unsigned int n = 1 + (unsigned int)pick(w, 3);

	for (unsigned int i = 0; i < n; i++) {
		p->pools[i] = pick_pool(w);
		if (chance(w, 3))
			p->weights[i] = (uint32_t)pick(w, 4);
		if (i > 0 && p->pools[i] == p->pools[0] && !chance(w, 8))
			p->pools[i] = p->weights[i] = 0;
	}
}

/* ---- calls ---- */

static const unsigned long requests[] = {
	MORSEL_IOC_HELLO,	    MORSEL_IOC_STATS,	      MORSEL_IOC_POOL_CREATE,
	MORSEL_IOC_POOL_DESTROY,    MORSEL_IOC_POOL_STAT,     MORSEL_IOC_POOL_RESIZE,
	MORSEL_IOC_POOL_OFFLINE,    MORSEL_IOC_POOL_ONLINE,   MORSEL_IOC_ACCOUNT_CREATE,
	MORSEL_IOC_ACCOUNT_DESTROY, MORSEL_IOC_ACCOUNT_LIMIT, MORSEL_IOC_ACCOUNT_STAT,
	MORSEL_IOC_OBJECT_CREATE,   MORSEL_IOC_OBJECT_OPEN,   MORSEL_IOC_OBJECT_DESTROY,
	MORSEL_IOC_OBJECT_LIST,	    MORSEL_IOC_OBJECT_SET,    MORSEL_IOC_OBJECT_STAT,
	MORSEL_IOC_POPULATE,	    MORSEL_IOC_EVICT,	      MORSEL_IOC_MOVE,
	MORSEL_IOC_HARVEST,	    MORSEL_IOC_RESIDENCY,
};
#define REQUESTS (sizeof(requests) / sizeof(*requests))

/*
 * What arguments point to. Pointers and lengths get random bytes, and the kernel may write where they say: so there is
 * nothing but holes for gigabytes around.
 */
struct pointed {
	struct morsel_extent ranges[8];
	struct morsel_object_extent extents[8];
	struct morsel_move_range moves[8];
	uint64_t list[64], bits[2][OBJECT_MAX / PAGE / 64];
	uint8_t granules[OBJECT_MAX / GRANULE], page[PAGE];
};
static struct pointed *to;
#define HOLES (16 * GIB)

static void make_pointed(void)
{
	char *p = mmap(NULL, HOLES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	km_require(p != MAP_FAILED);
	to = mmap(p + HOLES / 2, sizeof(*to), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	km_require(to != MAP_FAILED);
}

/* Over the device, or over whatever has that number. */
static void fill_in_extents(struct worker *w, struct morsel_object_create *c)
{
	c->flags = MORSEL_OBJECT_EXTENTS;
	memset(&c->placement, 0, sizeof(c->placement));
	c->extents = (uintptr_t)to->extents;
	c->extents_count = (uint32_t)(chance(w, 16) ? km_random(&w->random) : pick(w, 4));
	c->extents_pool = (uint32_t)(chance(w, 16) ? pick_pool(w) : 5 + pick(w, 4));
	for (unsigned int i = 0; i < 8; i++)
		to->extents[i] = (struct morsel_object_extent){
			.offset = i * GRANULE / 2 + pick_offset(w) / 16,
			.length = chance(w, 2) ? PAGE : pick_length(w) / 8 & ~(PAGE - 1),
			.at = pick_offset(w)
		};
}

static void fill_in(struct worker *w, unsigned long request, union km_argument *a)
{
	memset(a, 0, sizeof(*a));
	a->size = _IOC_SIZE(request);
	switch (request) {
	case MORSEL_IOC_HELLO:
		a->hello.version = MORSEL_UAPI_VERSION;
		break;
	case MORSEL_IOC_POOL_CREATE:
		a->pool_create.kind = chance(w, 12) ? (uint32_t)pick(w, 4) : MORSEL_POOL_NODE;
		a->pool_create.tier = (uint32_t)pick(w, 4);
		a->pool_create.node = chance(w, 16) ? (int)pick(w, 70) - 2
						    : nodes[pick(w, n_nodes)];
		a->pool_create.max_bytes = pick_bytes(w, POOL_MAX);
		if (chance(w, 3))
			a->pool_create.start_bytes = pick_bytes(w, POOL_MAX);
		if (device && chance(w, 2))
			a->pool_create.kind = chance(w, 4) ? MORSEL_POOL_DAX : MORSEL_POOL_EXTENTS;
		if (a->pool_create.kind != MORSEL_POOL_NODE) {
			a->pool_create.node = -1;
			a->pool_create.start_bytes = 0;
			a->pool_create.address =
				(uintptr_t)(chance(w, 4) ? w->maps[pick(w, MAPS)].p : device);
		}
		break;
	case MORSEL_IOC_POOL_DESTROY:
		/* Without pools nothing works. */
		a->id.id = chance(w, 8) ? pick_pool(w) : 5 + pick(w, 4);
		break;
	case MORSEL_IOC_POOL_STAT:
		a->pool_stat.pool = pick_pool(w);
		break;
	case MORSEL_IOC_POOL_RESIZE:
		a->pool_resize.pool = pick_pool(w);
		a->pool_resize.bytes = pick_bytes(w, POOL_MAX);
		break;
	case MORSEL_IOC_POOL_OFFLINE:
	case MORSEL_IOC_POOL_ONLINE:
		a->pool_offline.pool = pick_pool(w);
		a->pool_offline.first = chance(w, 16) ? km_random(&w->random) : pick(w, 8);
		a->pool_offline.count = chance(w, 16) ? km_random(&w->random) : pick(w, 4);
		if (request == MORSEL_IOC_POOL_OFFLINE)
			a->pool_offline.flags = pick_flags(w, MORSEL_OFFLINE_DRAIN);
		break;
	case MORSEL_IOC_ACCOUNT_CREATE:
		a->account_create.id = pick(w, ACCOUNTS + 1);
		a->account_create.parent = pick(w, ACCOUNTS + 1);
		break;
	case MORSEL_IOC_ACCOUNT_DESTROY:
		a->id.id = pick(w, ACCOUNTS + 1);
		break;
	case MORSEL_IOC_ACCOUNT_LIMIT:
		a->account_limit.id = pick(w, ACCOUNTS + 1);
		a->account_limit.tier = (uint32_t)pick(w, 5);
		a->account_limit.limit_bytes = chance(w, 2) ? MORSEL_NO_LIMIT
							    : pick_bytes(w, POOL_MAX);
		break;
	case MORSEL_IOC_ACCOUNT_STAT:
		a->account_stat.id = pick(w, ACCOUNTS + 1);
		break;
	case MORSEL_IOC_OBJECT_CREATE:
		a->object_create.flags = pick_flags(w, MORSEL_OBJECT_HUGE | MORSEL_OBJECT_PLACED);
		a->object_create.bytes = pick_bytes(w, OBJECT_MAX);
		a->object_create.account = chance(w, 2) ? 0 : pick(w, ACCOUNTS + 1);
		pick_placement(w, &a->object_create.placement);
		a->object_create.id = pick(w, IDS) + 1;
		if (chance(w, 3))
			fill_in_extents(w, &a->object_create);
		break;
	case MORSEL_IOC_OBJECT_OPEN:
		a->object_open.id = pick_id(w);
		a->object_open.flags = pick_flags(w, MORSEL_OPEN_RDONLY);
		break;
	case MORSEL_IOC_OBJECT_DESTROY:
		a->id.id = pick_id(w);
		break;
	case MORSEL_IOC_OBJECT_LIST:
		a->object_list.count = (uint32_t)pick(w, 65);
		a->object_list.after = pick_id(w);
		a->object_list.ids = (uintptr_t)to->list;
		break;
	case MORSEL_IOC_OBJECT_SET:
		a->object_set.id = pick_id(w);
		a->object_set.flags = pick_flags(w, MORSEL_OBJECT_PLACED);
		pick_placement(w, &a->object_set.placement);
		break;
	case MORSEL_IOC_OBJECT_STAT:
		a->object_stat.id = pick_id(w);
		break;
	case MORSEL_IOC_POPULATE:
	case MORSEL_IOC_EVICT:
		for (unsigned int i = 0; i < 8; i++)
			to->ranges[i] = (struct morsel_extent){ pick_offset(w), pick_length(w) };
		a->ranges.id = pick_id(w);
		a->ranges.count = (uint32_t)(chance(w, 16) ? km_random(&w->random) : pick(w, 9));
		a->ranges.ranges = (uintptr_t)to->ranges;
		break;
	case MORSEL_IOC_MOVE:
		for (unsigned int i = 0; i < 8; i++)
			to->moves[i] = (struct morsel_move_range){ .offset = pick_offset(w),
								   .length = pick_length(w),
								   .pool = pick_pool(w) };
		a->move.id = pick_id(w);
		a->move.count = (uint32_t)(chance(w, 16) ? km_random(&w->random) : pick(w, 9));
		a->move.ranges = (uintptr_t)to->moves;
		break;
	case MORSEL_IOC_HARVEST:
		a->harvest.id = pick_id(w);
		a->harvest.flags = pick_flags(w, MORSEL_HARVEST_FLUSH | MORSEL_HARVEST_KEEP |
							 MORSEL_HARVEST_CLEAR_DIRTY);
		a->harvest.offset = pick_offset(w);
		a->harvest.length = pick_length(w);
		if (a->harvest.length <= OBJECT_MAX) {
			a->harvest.accessed = (uintptr_t)to->bits[0];
			a->harvest.dirty = (uintptr_t)to->bits[1];
		}
		break;
	case MORSEL_IOC_RESIDENCY:
		a->residency.id = pick_id(w);
		a->residency.offset = pick_offset(w);
		a->residency.length = pick_length(w);
		if (a->residency.length <= OBJECT_MAX)
			a->residency.granules = (uintptr_t)to->granules;
		break;
	}
}

static void keep_fd(struct worker *w, int fd)
{
	struct morsel_object_stat s = { .size = sizeof(s) };
	struct fd *slot = &w->fds[pick(w, FDS)];

	if (km_ioctl(fd, MORSEL_IOC_OBJECT_STAT, &s) < 0) {
		km_check(false, "descriptor %d is no object's", fd);
		close(fd);
		return;
	}
	if (slot->fd >= 0)
		close(slot->fd);
	*slot = (struct fd){ fd, s.id, s.flags & MORSEL_OBJECT_EXTENTS };
}

/* Descriptors that came of it, and what is too large to keep. */
static void take_result(struct worker *w, unsigned long request, union km_argument *a)
{
	if (request == MORSEL_IOC_OBJECT_CREATE) {
		if (a->object_create.bytes > 2 * OBJECT_MAX)
			km_object_destroy(a->object_create.id);
		keep_fd(w, a->object_create.fd);
	} else if (request == MORSEL_IOC_OBJECT_OPEN) {
		keep_fd(w, a->object_open.fd);
	} else if (request == MORSEL_IOC_ACCOUNT_CREATE && a->account_create.id > ACCOUNTS) {
		/* Random bytes made it: nobody else knows this id. */
		km_account_destroy(a->account_create.id);
	} else if (request == MORSEL_IOC_POOL_CREATE && a->pool_create.max_bytes > 2 * POOL_MAX) {
		struct morsel_id id = { .size = sizeof(id), .id = a->pool_create.pool };

		km_ioctl(km_control, MORSEL_IOC_POOL_DESTROY, &id);
	}
}

static int random_fd(struct worker *w)
{
	return w->fds[pick(w, FDS)].fd;
}

static bool call(struct worker *w)
{
	unsigned long request = requests[pick(w, REQUESTS)];
	int fd = w->control && !chance(w, 8) ? km_control : random_fd(w), r;
	union km_argument a;

	fill_in(w, request, &a);
	/* An object's own descriptor wants no id. */
	if (fd != km_control && (request == MORSEL_IOC_POPULATE || request == MORSEL_IOC_EVICT))
		a.ranges.id = 0;
	if (chance(w, 12))
		for (uint64_t n = pick(w, 4) + 1; n > 0; n--)
			a.bytes[pick(w, _IOC_SIZE(request) + 8)] =
				(unsigned char)km_random(&w->random);
	if (chance(w, 64))
		request = _IOC(pick(w, 4), 'M', pick(w, 256), pick(w, 16384));
	if (chance(w, 64)) {
		static const uintptr_t bad[] = { 0, 1, 8, UINT64_C(0xffffffff80000000),
						 UINT64_MAX };

		return ioctl(fd, request, bad[pick(w, 5)]) >= 0;
	}
	r = ioctl(fd, request, &a);
	if (r < 0)
		return false;
	if (fd == km_control)
		take_result(w, request, &a);
	return true;
}

/* ---- mappings ---- */

static bool map(struct worker *w)
{
	struct fd *fd = &w->fds[pick(w, FDS)];
	struct map *m = &w->maps[pick(w, MAPS)];
	bool writable = !chance(w, 3);
	uint64_t bytes = chance(w, 3) ? pick_length(w) : GRANULE,
		 offset = chance(w, 3) ? pick_offset(w) : 0;
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	char *p;

	if (fd->fd < 0)
		return false;
	if (m->p && !chance(w, 4)) {
		/* Over what is there, now and then; not over its neighbours. */
		if (chance(w, 2) && bytes <= m->bytes) {
			p = mmap(m->p, bytes, protection, MAP_SHARED | MAP_FIXED, fd->fd,
				 (off_t)offset);
			if (p == MAP_FAILED) {
				/* By then the kernel may have taken away what was there. */
				munmap(m->p, m->bytes);
				m->p = NULL;
				return false;
			}
			if (bytes < m->bytes) {
				/* What is left of the old one. */
				munmap(p + bytes, m->bytes - bytes);
			}
			goto mapped;
		}
		munmap(m->p, m->bytes);
		m->p = NULL;
	}
	p = mmap(NULL, bytes, protection, chance(w, 16) ? MAP_PRIVATE : MAP_SHARED, fd->fd,
		 (off_t)offset);
	if (p == MAP_FAILED)
		return false;
	if (m->p)
		munmap(m->p, m->bytes);
mapped:
	*m = (struct map){ p, bytes, fd->id, writable, fd->extents };
	return true;
}

static bool touch(struct worker *w)
{
	struct map *m = &w->maps[pick(w, MAPS)];
	uint64_t n = pick(w, 32) + 1, got;
	bool worked = false;

	if (!m->p || m->bytes < PAGE)
		return false;
	while (n-- > 0) {
		uint64_t *at = (uint64_t *)(m->p + pick(w, m->bytes / PAGE) * PAGE +
					    pick(w, PAGE / 8) * 8);

		if (!km_touch(at, false))
			continue;
		worked = true;
		/* It may be evicted and be filled anew, or not (SIGBUS), between any two accesses. */
		if (!km_load(at, &got))
			continue;
		km_check(m->extents || got == 0 || got == mark_of(m->id),
			 "object %" PRIu64 " holds %" PRIx64, m->id, got);
		if (m->writable)
			km_store(at, mark_of(m->id));
	}
	return worked;
}

static bool advise(struct worker *w)
{
	static const int advice[] = { MADV_DONTNEED,   MADV_COLD,	   MADV_PAGEOUT,
				      MADV_WILLNEED,   MADV_FREE,	   MADV_HUGEPAGE,
				      MADV_NOHUGEPAGE, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
				      MADV_KEEPONFORK, MADV_WIPEONFORK,	   MADV_DONTFORK,
				      MADV_DOFORK,     MADV_MERGEABLE };
	struct map *m = &w->maps[pick(w, MAPS)];
	uint64_t first;

	if (!m->p || m->bytes < PAGE)
		return false;
	first = pick(w, m->bytes / PAGE);
	return madvise(m->p + first * PAGE, pick(w, m->bytes / PAGE - first + 1) * PAGE,
		       advice[pick(w, sizeof(advice) / sizeof(*advice))]) == 0;
}

static bool other_calls(struct worker *w)
{
	struct map *m = &w->maps[pick(w, MAPS)];
	uint64_t pages = m->bytes / PAGE, first = pages ? pick(w, pages) : 0;
	char *p = m->p + first * PAGE, *q;

	if (!m->p || !pages)
		return false;
	switch (pick(w, 8)) {
	case 0:
		return mlock(p, PAGE) == 0;
	case 1:
		return munlock(p, PAGE) == 0;
	case 2:
		return mprotect(p, PAGE, PROT_READ) == 0;
	case 3:
		/* A part cannot go; if that is all there is it does. */
		if (munmap(p, PAGE) < 0)
			return false;
		km_check(m->bytes <= PAGE, "a page of %" PRIu64 " KiB could be unmapped",
			 m->bytes / KIB);
		m->p = NULL;
		return true;
	case 4:
		q = mremap(m->p, m->bytes, pick_bytes(w, OBJECT_MAX), MREMAP_MAYMOVE);
		if (q == MAP_FAILED)
			return false;
		/* Only the same size can be had. */
		m->p = q;
		return true;
	case 5: {
		struct iovec local = { to->page, PAGE }, remote = { p, PAGE };

		return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) > 0;
	}
	case 6:
		return mincore(p, PAGE, to->page) == 0;
	default:
		munmap(m->p, m->bytes);
		m->p = NULL;
		return true;
	}
}

/* References that last: pages in pipes. */
static bool splice_pages(struct worker *w)
{
	int *ends = w->pipes[pick(w, PIPES)];
	struct map *m = &w->maps[pick(w, MAPS)];
	struct iovec v;

	if (ends[0] >= 0) {
		close(ends[0]);
		close(ends[1]);
		ends[0] = -1;
		return true;
	}
	if (!m->p || m->bytes < PAGE || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	v.iov_base = m->p + pick(w, m->bytes / PAGE) * PAGE;
	v.iov_len = PAGE;
	return vmsplice(ends[1], &v, 1, SPLICE_F_NONBLOCK) > 0;
}

static bool fork_now(struct worker *w)
{
	pid_t pid = fork();

	if (pid < 0)
		return false;
	if (pid == 0) {
		for (unsigned int i = 0; i < 4; i++)
			touch(w);
		if (chance(w, 2))
			map(w);
		if (chance(w, 4))
			execl("/bin/true", "true", NULL);
		if (chance(w, 4))
			kill(getpid(), SIGKILL);
		_exit(0);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return true;
}

static bool send_fd(struct worker *w)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {};
	char text = 'f';
	struct iovec v = { &text, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	int fd = random_fd(w);

	if (fd < 0)
		return false;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	return sendmsg(sockets[0], &m, MSG_DONTWAIT) == 1;
}

static bool receive_fd(struct worker *w)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {};
	char text;
	struct iovec v = { &text, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	int fd;

	if (recvmsg(sockets[1], &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1 ||
	    m.msg_controllen < CMSG_LEN(sizeof(int)))
		return false;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(int));
	keep_fd(w, fd);
	return true;
}

static bool close_fd(struct worker *w)
{
	struct fd *fd = &w->fds[pick(w, FDS)];

	if (fd->fd < 0)
		return false;
	close(fd->fd);
	fd->fd = -1;
	return true;
}

static bool operate(struct worker *w)
{
	switch (pick(w, 32)) {
	case 0 ... 11:
		return call(w);
	case 12 ... 15:
		return map(w);
	case 16 ... 22:
		return touch(w);
	case 23 ... 24:
		return advise(w);
	case 25 ... 26:
		return other_calls(w);
	case 27:
		return splice_pages(w);
	case 28:
		return chance(w, 4) && fork_now(w);
	case 29:
		return w->control ? send_fd(w) : receive_fd(w);
	case 30:
		return w->control ? close_fd(w) : receive_fd(w);
	default:
		return close_fd(w);
	}
}

static void on_alarm(int number)
{
}

static void work(void *argument)
{
	/* A copy: children that are forked change theirs. */
	struct worker *shared = argument, mine = *shared, *w = &mine;
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { .it_interval = { .tv_usec = 7000 },
				   .it_value = { .tv_usec = 7000 } };

	w->fds[0] = (struct fd){ dup(start.fd), start.id, false };
	/* Without SA_RESTART: every wait is broken off now and then. */
	sigaction(SIGALRM, &action, NULL);
	if (w->number % 2)
		setitimer(ITIMER_REAL, &often, NULL);
	if (!w->control) {
		close(km_control);
		km_control = -1;
		km_require(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
			   setresuid(NOBODY, NOBODY, NOBODY) == 0);
		km_check(open("/dev/morsel", O_RDWR | O_CLOEXEC) < 0, "nobody opened /dev/morsel");
	}
	for (; shared->done < operations / processes; shared->done++)
		shared->worked += operate(w);
}

static void destroy_all(void)
{
	struct morsel_object_list l = { .size = sizeof(l),
					.count = 64,
					.ids = (uintptr_t)to->list };

	while (km_ioctl(km_control, MORSEL_IOC_OBJECT_LIST, &l) == 0 && l.count > 0) {
		for (unsigned int i = 0; i < l.count; i++)
			km_expect(0, km_object_destroy(to->list[i]));
		l.after = to->list[l.count - 1];
		l.count = 64;
	}
	for (uint32_t pool = 1; pool <= MORSEL_MAX_POOLS; pool++) {
		struct morsel_pool_stat s = { .size = sizeof(s), .pool = pool };

		if (km_ioctl(km_control, MORSEL_IOC_POOL_STAT, &s) == 0)
			km_pool_destroy(pool);
	}
	/* In any order their children may be in the way. */
	for (unsigned int pass = 0; pass <= ACCOUNTS; pass++)
		for (uint64_t id = 1; id <= ACCOUNTS; id++)
			km_account_destroy(id);
}

static void test_fuzz(void)
{
	uint32_t pools[2] = {};
	struct worker *workers = km_shared(processes * sizeof(*workers));
	pid_t *pids = calloc(processes, sizeof(*pids));
	uint64_t worked = 0, done = 0;

	for (unsigned int i = 0; i < 4; i++)
		pools[0] = km_pool(nodes[i % n_nodes], i, POOL_MAX);
	for (unsigned int i = 0; i < 4; i++) {
		if (i > 0)
			close(start.fd);
		km_require(km_object_try(OBJECT_MAX, i % 2, 0, pools, &start) == 0);
	}
	for (unsigned int i = 0; i < processes; i++) {
		struct worker *w = &workers[i];

		w->number = i;
		w->random = seed * 1000 + i;
		/* Two of five have nothing but descriptors that others send them. */
		w->control = i % 5 < 3;
		for (unsigned int k = 0; k < FDS; k++)
			w->fds[k].fd = -1;
		for (unsigned int k = 0; k < PIPES; k++)
			w->pipes[k][0] = -1;
		pids[i] = km_fork(work, w);
	}
	close(start.fd);
	for (unsigned int i = 0; i < processes; i++) {
		km_check(km_wait(pids[i]), "process %u ended badly after %" PRIu64 " operations", i,
			 workers[i].done);
		worked += workers[i].worked;
		done += workers[i].done;
	}
	close(sockets[0]);
	close(sockets[1]);
	km_note("seed %" PRIu64 ": %" PRIu64 " operations, %" PRIu64 " of them worked", seed, done,
		worked);
	km_check(worked > done / 16, "hardly anything works");
	destroy_all();
	free(pids);
}

/* Of the lab's NVDIMM; to be inherited. */
static void map_device(void)
{
	const char *path = getenv("MORSEL_LAB_NVM_DAX");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = mmap(NULL, POOL_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	km_require(p != MAP_FAILED, "%s: %s", path, strerror(errno));
	close(fd);
	device = p;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "long", no_argument, NULL, 'l' },
		{ "seed", required_argument, NULL, 's' },
		{ "operations", required_argument, NULL, 'o' },
		{ "processes", required_argument, NULL, 'p' },
		{},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (option) {
		case 'l':
			operations = 1000000;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'o':
			operations = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			processes = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	km_begin();
	n_nodes = km_nodes(nodes, 8);
	km_require(processes > 0 &&
		   socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
	make_pointed();
	map_device();
	km_test("random calls", test_fuzz);
	return km_end();
}
