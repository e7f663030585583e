/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Names of org.parperos.Morsel1.xml. */
#define ERROR_PREFIX "org.parperos.Morsel1.Error."
#define ERROR_INVALID_ARGUMENT ERROR_PREFIX "InvalidArgument"
#define ERROR_NO_SUCH_MORSEL ERROR_PREFIX "NoSuchMorsel"
#define ERROR_NO_SUCH_TIER ERROR_PREFIX "NoSuchTier"
#define ERROR_NO_SUCH_JOB ERROR_PREFIX "NoSuchJob"
#define ERROR_NO_SUCH_POLICY ERROR_PREFIX "NoSuchPolicy"
#define ERROR_EXISTS ERROR_PREFIX "Exists"
#define ERROR_ACCESS_DENIED ERROR_PREFIX "AccessDenied"
#define ERROR_NO_SPACE ERROR_PREFIX "NoSpace"
#define ERROR_QUOTA_EXCEEDED ERROR_PREFIX "QuotaExceeded"
#define ERROR_TIER_OFFLINE ERROR_PREFIX "TierOffline"
#define ERROR_NO_MEMORY ERROR_PREFIX "NoMemory"
#define ERROR_NO_DESCRIPTORS ERROR_PREFIX "NoDescriptors"
#define ERROR_NOT_SUPPORTED ERROR_PREFIX "NotSupported"
#define ERROR_BUSY ERROR_PREFIX "Busy"
#define ERROR_CANCELLED ERROR_PREFIX "Cancelled"
#define ERROR_FAILED ERROR_PREFIX "Failed"

#define BUS_NAME "org.parperos.Morsel1"
#define BUS_PATH "/org/parperos/Morsel1"
#define BUS_MANAGER "org.parperos.Morsel1.Manager"
#define BUS_TIER "org.parperos.Morsel1.Tier"
#define BUS_JOB "org.parperos.Morsel1.Job"

/* The error for a negative errno; of those that have no name of their own, Failed. */
const char *bus_error_name(int r);

/* Set error from a negative errno and a text of the daemon's (may be NULL: the errno's). Returns
 * r. */
int bus_error_set(sd_bus_error *error, int r, const char *text);

/* Set error with name and text; returns a negative errno, for "return bus_error_setf(…)". */
int bus_error_setf(sd_bus_error *error, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* What a client sent, fit for a message or a log line: quoted, control characters escaped, cut
 * after 64 bytes at a character's end. Free with g_free. */
char *quote(const char *s);
