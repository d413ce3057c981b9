/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

#include "lib/cleanup.h"

/* A stand-in for etcd (tests/fakes/etcd.py) in a process of its own, and what main.c of the command
 * line has and no plan ever calls. */
void fake_etcd_start(char ret_endpoint[static 64]);
void fake_etcd_end(void);
/* Makes it misbehave, with JSON: {"mode": "garbage", "n": 1}. */
void fake_etcd(const char *fmt, ...) _printf_(1, 2);
