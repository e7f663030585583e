// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For test-record.py: morseld with the model of the module (daemon/fake-module.h) in the place of the ioctls. Of each
 * object the first quarter is accessed in each round.
 */
#include <pthread.h>

#include "clock.h"
#include "fake-module.h"
#include "storage.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* When the object was looked at last, and something was found. */
static uint64_t *last_look(uint64_t id)
{
	static struct {
		uint64_t id, usec;
	} looks[64];
	unsigned int i = 0;

	while (i < 63 && looks[i].id != 0 && looks[i].id != id)
		i++;
	looks[i].id = id;
	return &looks[i].usec;
}

static int harvest(struct morsel_harvest *a)
{
	const struct fake_object *o = fake_find(a->id);
	uint64_t *bits = (uint64_t *)(uintptr_t)a->accessed, now = now_monotonic();
	uint64_t *last = last_look(a->id);

	if (!o)
		return -ENOENT;
	/* Once in a while, all at once: who looks again after a moment finds nothing. */
	if (now - *last < 400000)
		return 0;
	*last = now;
	for (uint64_t at = 0; at < a->length; at += PAGE)
		if (a->offset + at < o->bytes / 4 && o->pages[(a->offset + at) / PAGE])
			bits[at / PAGE / 64] |= UINT64_C(1) << at / PAGE % 64;
	return 0;
}

static int fake_daemon_call(int fd, unsigned long request, void *argument)
{
	struct morsel_hello *hello = argument;
	int r = 0;

	pthread_mutex_lock(&lock);
	if (request == MORSEL_IOC_HELLO)
		hello->version = MORSEL_UAPI_VERSION;
	else if (request == MORSEL_IOC_HARVEST &&
		 !(((struct morsel_harvest *)argument)->flags & MORSEL_HARVEST_KEEP))
		r = harvest(argument);
	else
		r = fake_sys.call(fd, request, argument);
	pthread_mutex_unlock(&lock);
	return r;
}

/* Instead of the library's. */
const struct module_sys module_sys_real = { .call = fake_daemon_call };
