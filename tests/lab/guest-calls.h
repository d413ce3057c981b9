/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "tests/lab/guest-host.h"

/* The agent's requests as functions: each returns the code of the reply. */
extern Host *host;

#define REQUEST(type, field, BODY)                                                                 \
        ToGuest m = PODFERRY__GUEST__V1__TO_GUEST__INIT;                                           \
        Podferry__Guest__V1__##type q = BODY;                                                      \
        m.body_case = PODFERRY__GUEST__V1__TO_GUEST__BODY_##field

#define STRING(s) ((char *)(uintptr_t)(s))

int call_code(ToGuest *m); /* calls, and frees the reply */
int mount_disk(unsigned target, const char *path, const char *type, bool read_only);
int unmount(const char *path, int target);
int overlay(const char *path, const char *lower, const char *upper);
StdioSpec stdio_of(const uint32_t ch[3], bool terminal);
/* A container with busybox in which /bin/sh runs `script`; `memory` is its limit. */
int create_container(const char *id, const char *script, StdioSpec *io, const char *memory);
int start_container(const char *id);
int exec_process(const char *id, const char *exec_id, const char *script, StdioSpec *io);
uint64_t begin_exec(const char *id, const char *exec_id, const char *script, StdioSpec *io);
int kill_process(const char *id, const char *exec_id, unsigned sig, bool all);
int delete_process(const char *id, const char *exec_id, bool force);
uint64_t begin_wait(const char *id, const char *exec_id);
int end_wait(uint64_t call); /* the exit code, or negative */
