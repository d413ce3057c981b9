/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>

#include "lib/error.h"

/* How the codes of the controllers are called on the bus: the one table of it, for both
 * directions (the CLI turns names back into codes). */
#define API_ERROR_PREFIX "org.podferry.Error."

const char *
api_error_name(int code); /* code < 0; never NULL: what is not in the table is Internal */
int api_error_code(const char *name); /* negative errno; -EIO for a name that is not in the table */

/* Fills *ret (which may be NULL) with the name of `code` and the text of `e` (may be NULL) and
 * returns `code`. */
int api_error_set(sd_bus_error *ret, int code, const Error *e);
/* The same with a text made here, for what a handler finds wrong with its arguments. */
int api_error_setf(sd_bus_error *ret, int code, const char *fmt, ...) _printf_(3, 4);
