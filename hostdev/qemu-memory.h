/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "lib/cleanup.h"
#include "lib/error.h"

/* A sample of the pages of a guest's memory, looked at from outside, in /proc of its QEMU: how many
 * hold anything (one that was never touched, or holds zeroes, costs a migration next to nothing),
 * and how many were written to since the first look. The guest notices nothing, and no page comes
 * to be by it. libvirt can say the second, too, but not for less than a second, and not of less
 * than 512 pages of a GiB. A look takes milliseconds. One thread at a time, as root. */
typedef struct QemuMemory QemuMemory;

/* The first look at a guest with that many bytes. -ENOENT: the process is gone, or has no mapping
 * of that size. */
int qemu_memory_new(pid_t pid, uint64_t size, QemuMemory **ret, Error *reterr);
QemuMemory *qemu_memory_free(QemuMemory *m);
DEFINE_CLEANUP(QemuMemory *, qemu_memory_free);
uint64_t qemu_memory_used(const QemuMemory *m);  /* bytes, at the first look */
uint64_t qemu_memory_grain(const QemuMemory *m); /* bytes that one page of the sample stands for */
/* Looks again: bytes of the pages that are not what they were at first. */
uint64_t qemu_memory_written(QemuMemory *m);
