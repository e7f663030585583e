// SPDX-License-Identifier: GPL-2.0-or-later
#include "storage-module.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "storage-module-account.h"
#include "storage-module-place.h"

G_STATIC_ASSERT(GRANULE_SIZE == MORSEL_GRANULE);

/* So much by one call: between two of them a cancel is seen. */
#define POPULATE_STEP (UINT64_C(32) << 20)

/* --- Objects -------------------------------------------------------------------------------- */

static struct storage_object *module_free(struct storage_object *o)
{
	if (!o)
		return NULL;
	placement_unref(o->placement);
	pthread_mutex_destroy(&o->lock);
	g_free(o->label);
	g_free(o);
	return NULL;
}

static struct storage_object *object_new(struct module_storage *m, const struct storage_spec *spec,
					 bool huge)
{
	struct storage_object *o = g_new0(struct storage_object, 1);

	o->module = m;
	o->label = g_strdup(spec->label ?: "");
	o->id = spec->id.qwords[0] ?: spec->id.qwords[1];
	o->size = spec->size;
	o->huge = huge;
	o->placed = spec->placed;
	o->placement = spec->placement ? placement_ref(spec->placement) : NULL;
	pthread_mutex_init(&o->lock, NULL);
	return o;
}

static int check_size(const struct storage_object *o, char **ret_error)
{
	uint64_t unit = o->huge ? GRANULE_SIZE : 4096;

	if (o->size == 0 || o->size % unit != 0) {
		*ret_error = g_strdup_printf("size %" PRIu64 " of '%s' is not a multiple of its "
					     "page size, %" PRIu64 ", above zero",
					     o->size, o->label, unit);
		return -EINVAL;
	}
	if (o->size > MORSEL_MAX_OBJECT_SIZE) {
		*ret_error = g_strdup_printf("size %" PRIu64 " of '%s' is over the module's limit "
					     "of %llu bytes for one object",
					     o->size, o->label, MORSEL_MAX_OBJECT_SIZE);
		return -EFBIG;
	}
	return 0;
}

static int get_pool(const struct tier *tier, int place, void *userdata, char **ret_error)
{
	return module_pool_get(userdata, tier, place, ret_error);
}

static int create_object(struct storage_object *o, uint64_t account, char **ret_error)
{
	struct module_storage *m = o->module;
	struct morsel_object_create create = {
		.size = sizeof(create),
		.flags = (o->huge ? MORSEL_OBJECT_HUGE : 0) |
			 (o->placed ? module_placed_flag(m) : 0),
		.bytes = o->size,
		.account = account,
		.placement = o->list,
		.id = o->id,
		.fd = -1,
	};
	int r = m->sys->call(m->fd, MORSEL_IOC_OBJECT_CREATE, &create);

	if (r < 0) {
		*ret_error = g_strdup_printf("the module makes no object of %" PRIu64
					     " bytes for '%s': %s",
					     o->size, o->label, g_strerror(-r));
		return r;
	}
	/* Each that it is wanted for opens it by its number: see open_fd. */
	close(create.fd);
	return 0;
}

static int get_account(struct module_storage *m, const struct storage_spec *spec, bool fresh,
		       uint64_t *ret_account, char **ret_error)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = module_account_get(m, spec->cgroup ?: "", spec->cgroup_id, fresh, ret_account,
			       ret_error);
	pthread_mutex_unlock(&m->lock);
	return r;
}

static int place_and_create(struct storage_object *o, const struct inventory *inv,
			    const struct storage_spec *spec, char **ret_error)
{
	struct module_storage *m = o->module;
	uint64_t account;
	int r;

	for (int tries = 0; tries < 2; tries++) {
		g_clear_pointer(ret_error, g_free);
		r = get_account(m, spec, tries > 0, &account, ret_error);
		if (r >= 0)
			r = module_place(inv, o->placement, true, get_pool, m, &o->list, ret_error);
		if (r >= 0)
			r = create_object(o, account, ret_error);
		if (r != -ENOENT)
			break;
		/* Another daemon may have given a pool back, or an account. */
		pthread_mutex_lock(&m->lock);
		(void)module_pools_scan(m);
		pthread_mutex_unlock(&m->lock);
	}
	return r;
}

static int module_create(struct storage *s, const struct inventory *inv,
			 const struct storage_spec *spec, struct storage_object **ret_object,
			 char **ret_error)
{
	struct module_storage *m = (struct module_storage *)s;
	struct storage_object *o =
		object_new(m, spec, spec->placement && spec->placement->page_size == GRANULE_SIZE);
	int r = 0;

	if (spec->placement)
		r = placement_check(spec->placement, ret_error);
	if (r >= 0)
		r = check_size(o, ret_error);
	if (r >= 0)
		r = place_and_create(o, inv, spec, ret_error);
	if (r < 0) {
		module_free(o);
		return r;
	}
	*ret_object = o;
	return 0;
}

static int stat_object(const struct storage_object *o, struct morsel_object_stat *ret_stat)
{
	*ret_stat = (struct morsel_object_stat){ .size = sizeof(*ret_stat), .id = o->id };
	return o->module->sys->call(o->module->fd, MORSEL_IOC_OBJECT_STAT, ret_stat);
}

/* The object has its account; where it was created from, limits hold again if the configuration has others by now. */
static void learn_account(struct module_storage *m, const struct storage_spec *spec)
{
	g_autofree char *error = NULL;
	uint64_t account;

	if (spec->cgroup && g_hash_table_add(m->adopted, g_strdup(spec->cgroup)))
		(void)get_account(m, spec, false, &account, &error);
}

static int module_adopt(struct storage *s, const struct inventory *inv,
			const struct storage_spec *spec, enum page_backing backing, int fd,
			struct storage_object **ret_object, char **ret_error)
{
	struct module_storage *m = (struct module_storage *)s;
	struct storage_object *o = object_new(m, spec, backing == PAGES_THP);
	g_autofree char *error = NULL;
	struct morsel_object_stat stat;
	const char *wrong = NULL;
	int r;

	if (fd >= 0)
		close(fd);
	r = stat_object(o, &stat);
	if (r == -ENOENT || (r >= 0 && stat.flags & MORSEL_STAT_DESTROYED)) {
		*ret_error = g_strdup("the module has it no more");
		r = -ENOENT;
	} else if (r < 0) {
		*ret_error = g_strdup_printf("the module does not tell of it: %s", g_strerror(-r));
	} else {
		if (stat.bytes != o->size)
			wrong = "it has another size";
		else if (!(stat.flags & MORSEL_OBJECT_HUGE) != !o->huge)
			wrong = "its pages are of another size";
		else if (!module_account_is_ours(m, stat.account))
			wrong = "it was not made by this daemon";
		if (wrong) {
			*ret_error = g_strdup_printf("the module's object of '%s' is wrong: %s",
						     o->label, wrong);
			r = -EINVAL;
		}
	}
	if (r < 0) {
		module_free(o);
		return r;
	}
	/* What new frames follow the module has kept; this is what the next move begins with. */
	(void)module_place(inv, spec->placement, false, get_pool, m, &o->list, &error);
	learn_account(m, spec);
	module_pools_adopt(m, stat.pool_bytes);
	*ret_object = o;
	return 0;
}

static int destroy_id(struct module_storage *m, uint64_t id)
{
	struct morsel_id which = { .size = sizeof(which), .id = id };
	int r;

	do
		r = m->sys->call(m->fd, MORSEL_IOC_OBJECT_DESTROY, &which);
	while (r == -EINTR);
	return r == -ENOENT ? 0 : r;
}

static int module_destroy(struct storage_object *o)
{
	int r = destroy_id(o->module, o->id);

	module_accounts_collect(o->module);
	return r;
}

static bool module_gone(const struct storage_object *o)
{
	struct morsel_object_stat stat;

	return stat_object(o, &stat) == -ENOENT;
}

static bool module_needs_prepare(const struct storage_object *o)
{
	return false;
}

static int module_prepare(struct storage_object *o, storage_progress_t progress, void *userdata,
			  char **ret_error)
{
	return 0;
}

static int module_open_fd(struct storage_object *o, bool writable)
{
	struct morsel_object_open open = { .size = sizeof(open),
					   .flags = writable ? 0 : MORSEL_OPEN_RDONLY,
					   .id = o->id,
					   .fd = -1 };
	int r = o->module->sys->call(o->module->fd, MORSEL_IOC_OBJECT_OPEN, &open);

	return r < 0 ? r : open.fd;
}

static int module_descriptor(const struct storage_object *o)
{
	return -1;
}

static enum page_backing module_page_backing(const struct storage_object *o)
{
	return o->huge ? PAGES_THP : PAGES_4K;
}

static int module_allocated(struct storage_object *o, uint64_t *ret_bytes)
{
	struct morsel_object_stat stat;
	int r = stat_object(o, &stat);

	if (r >= 0)
		*ret_bytes = stat.used_bytes;
	return r;
}

int module_check_range(const struct storage_object *o, uint64_t offset, uint64_t length,
		       char **ret_error)
{
	if (length == 0 || offset % 4096 != 0 || length % 4096 != 0) {
		*ret_error = g_strdup_printf("range %" PRIu64 "+%" PRIu64 " of '%s' is not in whole"
					     " pages of 4096 bytes, at least one",
					     offset, length, o->label);
		return -EINVAL;
	}
	if (offset >= o->size || length > o->size - offset) {
		*ret_error = g_strdup_printf("range %" PRIu64 "+%" PRIu64
					     " is not inside '%s' of %" PRIu64 " bytes",
					     offset, length, o->label, o->size);
		return -EINVAL;
	}
	return 0;
}

static int populate_step(const struct storage_object *o, uint64_t offset, uint64_t length)
{
	struct morsel_extent range = { offset, length };
	struct morsel_ranges ranges = {
		.size = sizeof(ranges), .count = 1, .id = o->id, .ranges = (uintptr_t)&range
	};

	return o->module->sys->call(o->module->fd, MORSEL_IOC_POPULATE, &ranges);
}

int module_populate(struct storage_object *o, uint64_t offset, uint64_t length,
		    storage_progress_t progress, void *userdata, char **ret_error)
{
	uint64_t at = offset, next, end = offset + length;
	int r;

	r = module_check_range(o, offset, length, ret_error);
	if (r < 0)
		return r;
	while (at < end) {
		if (progress && !progress(at - offset, length, userdata)) {
			*ret_error = g_strdup_printf("allocating '%s' was cancelled", o->label);
			return -ECANCELED;
		}
		next = MIN(end, at + POPULATE_STEP);
		r = populate_step(o, at, next - at);
		if (r == -EINTR) /* what is there is passed over the next time */
			continue;
		if (r < 0) {
			*ret_error = g_strdup_printf(
				"cannot allocate '%s' beyond offset %" PRIu64 ": %s%s", o->label,
				at, g_strerror(-r),
				r == -ENOMEM ? " (of the pools it may use, or of what its cgroup"
					       " may have there: morselctl quota)"
					     : "");
			return r;
		}
		at = next;
	}
	if (progress)
		progress(length, length, userdata);
	return 0;
}

struct storage_object *storage_module_lingering(struct storage *s, sd_id128_t id)
{
	const struct storage_spec spec = { .id = id };
	struct storage_object *o = object_new((struct module_storage *)s, &spec, false);

	return module_gone(o) ? module_free(o) : o;
}

/* --- The storage ---------------------------------------------------------------------------- */

static const struct storage_ops module_ops = {
	.create = module_create,
	.adopt = module_adopt,
	.free = module_free,
	.destroy = module_destroy,
	.gone = module_gone,
	.needs_prepare = module_needs_prepare,
	.prepare = module_prepare,
	.populate = module_populate,
	.open_fd = module_open_fd,
	.descriptor = module_descriptor,
	.page_backing = module_page_backing,
	.allocated = module_allocated,
	.move = module_move,
	.residency = module_residency,
	.harvest = module_harvest,
	.room = module_room,
};

int storage_module_new_with(int root_fd, int fd, uint32_t instance, const struct module_sys *sys,
			    struct storage **ret_storage)
{
	struct module_storage *m;
	int root = fcntl(root_fd, F_DUPFD_CLOEXEC, 3), r;

	if (root < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	m = g_new0(struct module_storage, 1);
	m->base.name = "module";
	m->base.ops = &module_ops;
	m->base.lasting = true;
	m->base.unplaced = "the first tier with room is taken, in the order of morselctl tiers";
	m->root_fd = root;
	m->fd = fd;
	m->sys = sys;
	m->instance = instance & INT32_MAX;
	pthread_mutex_init(&m->lock, NULL);
	m->pools = g_array_new(false, true, sizeof(struct module_pool));
	m->devices = g_array_new(false, true, sizeof(struct module_device));
	m->cgroups = module_cgroups_new();
	m->adopted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	r = module_pools_scan(m);
	if (r < 0) {
		storage_module_free(&m->base);
		return r;
	}
	module_accounts_scan(m);
	*ret_storage = &m->base;
	return 0;
}

void storage_module_set_features(struct storage *s, uint64_t features)
{
	((struct module_storage *)s)->features = features;
}

void storage_module_set_opener(struct storage *s, const struct module_opener *opener)
{
	((struct module_storage *)s)->opener = *opener;
}

struct storage *storage_module_free(struct storage *s)
{
	struct module_storage *m = (struct module_storage *)s;

	if (!m)
		return NULL;
	module_pools_release(m);
	g_array_unref(m->pools);
	for (unsigned int i = 0; i < m->devices->len; i++)
		g_free(g_array_index(m->devices, struct module_device, i).text);
	g_array_unref(m->devices);
	g_hash_table_unref(m->cgroups);
	g_hash_table_unref(m->adopted);
	for (unsigned int i = 0; i < MORSEL_MAX_TIERS; i++)
		g_free(m->tier_names[i]);
	policy_set_unref(m->policies);
	pthread_mutex_destroy(&m->lock);
	close(m->fd);
	close(m->root_fd);
	g_free(m);
	return NULL;
}

/* --- What no morsel claims ------------------------------------------------------------------- */

#define LIST_BATCH 1024

static void look_at_stray(struct module_storage *m, uint64_t id, bool destroy,
			  struct storage_module_strays *strays)
{
	struct morsel_object_stat stat = { .size = sizeof(stat), .id = id };
	int r = m->sys->call(m->fd, MORSEL_IOC_OBJECT_STAT, &stat);

	if (r < 0 || stat.flags & MORSEL_STAT_DESTROYED)
		return;
	if (!module_account_is_ours(m, stat.account)) {
		strays->foreign++;
		strays->foreign_bytes += stat.used_bytes;
	} else if (!destroy || destroy_id(m, id) < 0) {
		strays->left++;
		strays->left_bytes += stat.used_bytes;
	} else {
		strays->destroyed++;
	}
}

uint64_t storage_module_object_id(const struct storage_object *o)
{
	return o->id;
}

int storage_module_strays(struct storage *s, bool (*claimed)(uint64_t id, void *userdata),
			  void *userdata, bool destroy, struct storage_module_strays *ret_strays)
{
	struct module_storage *m = (struct module_storage *)s;
	struct storage_module_strays strays = {};
	g_autofree uint64_t *ids = g_new(uint64_t, LIST_BATCH);
	uint64_t after = 0;

	for (;;) {
		struct morsel_object_list list = { .size = sizeof(list),
						   .count = LIST_BATCH,
						   .after = after,
						   .ids = (uintptr_t)ids };
		int r = m->sys->call(m->fd, MORSEL_IOC_OBJECT_LIST, &list);

		if (r < 0)
			return r;
		if (list.count == 0 || list.count > LIST_BATCH)
			break;
		for (uint32_t i = 0; i < list.count; i++)
			if (!claimed(ids[i], userdata))
				look_at_stray(m, ids[i], destroy, &strays);
		after = ids[list.count - 1];
	}
	*ret_strays = strays;
	return 0;
}
