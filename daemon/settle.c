/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "settle.h"

#include <glib.h>
#include <stdbool.h>
#include <time.h>

struct settle {
	sd_event *event;
	sd_event_source *timer;
	uint64_t quiet_usec, max_usec;
	uint64_t latest_usec; /* of the pending call */
	bool pending;
	settle_call_t call;
	void *userdata;
};

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct settle *s = userdata;

	s->pending = false;
	s->call(s->userdata);
	return 0;
}

int settle_new(sd_event *event, uint64_t quiet_usec, uint64_t max_usec, settle_call_t call,
	       void *userdata, struct settle **ret_settle)
{
	struct settle *s = g_new0(struct settle, 1);
	int r;

	s->quiet_usec = quiet_usec;
	s->max_usec = max_usec;
	s->call = call;
	s->userdata = userdata;
	/* Accuracy: the default of 250 ms is longer than the pauses waited for. */
	r = sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, 0, MAX(quiet_usec / 4, 1),
			      on_timer, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	if (r < 0) {
		sd_event_source_disable_unref(s->timer);
		g_free(s);
		return r;
	}
	s->event = sd_event_ref(event);
	*ret_settle = s;
	return 0;
}

struct settle *settle_free(struct settle *s)
{
	if (s == NULL)
		return NULL;
	sd_event_source_disable_unref(s->timer);
	sd_event_unref(s->event);
	g_free(s);
	return NULL;
}

int settle_poke(struct settle *s)
{
	uint64_t now;
	int r;

	r = sd_event_now(s->event, CLOCK_MONOTONIC, &now);
	if (r < 0)
		return r;
	if (!s->pending)
		s->latest_usec = now + s->max_usec;
	r = sd_event_source_set_time(s->timer, MIN(now + s->quiet_usec, s->latest_usec));
	if (r >= 0)
		r = sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
	if (r < 0)
		return r;
	s->pending = true;
	return 0;
}
