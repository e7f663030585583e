// SPDX-License-Identifier: GPL-2.0-or-later
#include "provision.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "daemon/log.h"
#include "dropin.h"
#include "execute.h"
#include "machine.h"

struct running {
	struct machine machine;
	const struct helper_request *request;
	const struct provision_call *call;
	struct helper_reply *reply;
};

static int on_run(void *userdata, const struct provision_step *step,
		  char text[static HELPER_TEXT_MAX])
{
	return machine_step(&((struct running *)userdata)->machine, step, text);
}

static const struct provision_facts *on_facts(void *userdata)
{
	return &((struct running *)userdata)->machine.facts;
}

static bool on_stopped(void *userdata)
{
	const struct provision_call *call = ((struct running *)userdata)->call;

	return call->stopped(call->userdata);
}

static void on_progress(void *userdata, const struct provision_step *step, unsigned int number,
			unsigned int total, bool undoing)
{
	struct running *run = userdata;
	char what[HELPER_TEXT_MAX];
	g_autofree char *text = NULL;

	plan_describe(step, &run->machine.facts, what);
	text = g_strdup_printf("%s%s", undoing ? "take back: " : "", what);
	log_line(LOG_INFO, LOG_PROVISION_STEP, run->machine.facts.region, "%s: %s %u of %u: %s",
		 run->call->who, helper_verb_to_string(run->request->verb), number, total, text);
	run->call->step(run->call->userdata, text, number, total);
}

static int end(struct running *run, int result, const char *format, ...) G_GNUC_PRINTF(3, 4);
static int end(struct running *run, int result, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	run->reply->result = result;
	g_strlcpy(run->reply->text, text, sizeof(run->reply->text));
	return result;
}

/* One at a time: decoders are one resource, and a second one would find things half done. */
static int lock(int *ret_fd)
{
	int fd = open(RECORD_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0) {
		r = -errno;
		if (r == -EINTR)
			continue;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static char *describe_state(const struct provision_facts *f)
{
	if (!f->region[0])
		return g_strdup_printf("the %s memory of %s (serial %#" PRIx64 ") is not in use",
				       f->mode == MODE_PMEM ? "pmem" : "ram",
				       f->memdev[0] ? f->memdev : "a device that is gone",
				       f->serial);
	if (f->dax_state == DAX_SYSTEM_RAM)
		return g_strdup_printf(
			"%s on %s (serial %#" PRIx64
			") is system memory: node %d, %u memory blocks in the %s zone",
			f->region, f->memdev, f->serial, f->node, f->online,
			f->online_kernel ? "kernel" : "movable");
	return g_strdup_printf("%s on %s (serial %#" PRIx64 ") is the device /dev/%s", f->region,
			       f->memdev, f->serial, f->dax);
}

/* The drop-in as it is wanted now; what to say of it, or why it is not so. */
static int make_lasting(struct running *run, bool up, char **ret_note)
{
	const struct provision_facts *f = &run->machine.facts;
	const struct provision_wish *w = &run->request->wish;
	g_autofree char *name = dropin_name(f->serial, f->mode);
	g_autofree char *path = g_build_filename(DROPIN_DIR, name, NULL);
	int r;

	*ret_note = g_strdup("");
	if (up && !(w->flags & PROVISION_PERSIST)) {
		if (access(path, F_OK) < 0)
			return 0;
		g_free(*ret_note);
		*ret_note = g_strdup_printf("; at the next start it is made as %s says", path);
		return 0;
	}
	r = up ? dropin_write(DROPIN_DIR, f->serial, f->mode, w)
	       : dropin_remove(DROPIN_DIR, f->serial, f->mode);
	if (r < 0)
		return end(
			run, r,
			"done, but %s cannot be %s (%s): at the next start it is not as wished. The file "
			"system may be full or read-only; then repeat this.",
			path, up ? "written" : "removed", g_strerror(-r));
	if (r > 0) {
		g_free(*ret_note);
		*ret_note = g_strdup_printf("; %s %s", up ? "wrote" : "removed", path);
	}
	return 0;
}

static void dry_run(struct running *run, const struct provision_plan *plan)
{
	char text[HELPER_TEXT_MAX];

	for (unsigned int i = 0; i < plan->n; i++) {
		plan_describe(&plan->steps[i], &run->machine.facts, text);
		run->call->step(run->call->userdata, text, i + 1, plan->n);
	}
	run->reply->total = plan->n;
	end(run, 0, plan->n ? "%u steps would be done; nothing was" : "it is so already", plan->n);
}

static int carry_out(struct running *run, const struct provision_plan *plan, bool up)
{
	static const struct execute_ops ops = {
		.run = on_run,
		.progress = on_progress,
		.stopped = on_stopped,
		.facts = on_facts,
	};
	struct provision_facts *f = &run->machine.facts;
	/* A node or a device that was named may be gone by the end. */
	const struct provision_wish again = { .select = SELECT_SERIAL,
					      .serial = f->serial,
					      .mode = f->mode };
	g_autofree char *state = NULL, *note = NULL;
	char text[HELPER_TEXT_MAX];
	int r;

	/* What is taken over is ours from now on. */
	if (f->region[0] && !f->ours && plan->n > 0) {
		r = record_write(RECORD_DIR, f->serial, f->mode, &run->machine.record);
		if (r < 0)
			return end(run, r, "cannot note in " RECORD_DIR " that %s is morsel's: %s",
				   f->region, g_strerror(-r));
		log_line(LOG_NOTICE, LOG_PROVISION_STEP, f->region,
			 "%s: takes over %s, which morsel did not make", run->call->who, f->region);
	}
	r = execute(plan, &ops, run, text);
	if (r < 0)
		return end(run, r, "%s", text);
	r = machine_look(&run->machine, &again, text);
	if (r < 0 && up)
		return end(run, r, "%s", text);
	r = make_lasting(run, up, &note);
	if (r < 0)
		return r;
	state = describe_state(f);
	run->reply->step = run->reply->total = plan->n;
	if (up) {
		g_strlcpy(run->reply->device, f->dax, sizeof(run->reply->device));
		run->reply->node = f->dax_state == DAX_SYSTEM_RAM ? f->node : -1;
	}
	return end(run, 0, "%s%s%s", plan->n ? "" : "nothing to do: ", state, note);
}

static int run_locked(struct running *run)
{
	const struct provision_wish *w = &run->request->wish;
	bool up = run->request->verb == HELPER_PROVISION;
	struct provision_plan plan;
	char text[HELPER_TEXT_MAX];
	int r;

	r = machine_look(&run->machine, w, text);
	if (r == 0)
		r = up ? plan_provision(&run->machine.facts, w, &plan, text)
		       : plan_unprovision(&run->machine.facts, w, &plan, text);
	if (r < 0)
		return end(run, r, "%s", text);
	if (w->flags & PROVISION_DRY_RUN) {
		dry_run(run, &plan);
		return 0;
	}
	return carry_out(run, &plan, up);
}

void provision(const struct helper_request *request, const struct provision_call *call,
	       struct helper_reply *ret_reply)
{
	struct running run = { .machine = { .record_dir = RECORD_DIR },
			       .request = request,
			       .call = call,
			       .reply = ret_reply };
	const struct provision_wish *w = &request->wish;
	g_autofree char *object = w->select == SELECT_SERIAL
					  ? g_strdup_printf("serial %#" PRIx64, w->serial)
					  : g_strdup(w->name);
	int fd = -1, r;

	memset(ret_reply, 0, sizeof(*ret_reply));
	ret_reply->kind = HELPER_END;
	ret_reply->node = -1;
	r = lock(&fd);
	if (r < 0) {
		end(&run, r, "cannot use " RECORD_DIR ": %s. morsel-helper.service makes it.",
		    g_strerror(-r));
	} else {
		r = run_locked(&run);
		close(fd);
	}
	log_line(r < 0 ? LOG_WARNING : LOG_INFO, LOG_PROVISION_ENDED, object,
		 "%s for uid %" PRIu32 ": %s%s of %s: %s%s", call->who, request->requester,
		 w->flags & PROVISION_DRY_RUN ? "dry run of " : "",
		 helper_verb_to_string(request->verb), object, r < 0 ? "refused or failed: " : "",
		 ret_reply->text);
}
