/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <sys/types.h>

/* A process that maps the device ("dax0.0"): its id, 0: none is seen. ret_comm: its name, "" if it is not told. */
pid_t dax_device_holder(int root_fd, const char *name, char ret_comm[static 16]);

/*
 * A descriptor for reading and writing of a dax device that is morsel's to overwrite (inventory-claim.h), by the
 * configuration as it is now, and that nobody maps; or a negative errno with a text that says what to do: -ENODEV, -EACCES: not
 * morsel's, -EBUSY. Any thread; reads files.
 */
int dax_device_open(int root_fd, const char *config_path, const char *name, char **ret_text);
