/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* The programs of a host that run around a migration: which they are, and whether they can run.
 * docs/hooks.md is the contract; who runs them is shim/ctl/migrate-hooks.c.
 *
 * A host runs its own hooks only: they come from its configuration, or from the command line on it,
 * and never from the other host. */
typedef enum HookEvent {
        HOOK_PRE_SOURCE,
        HOOK_PRE_TARGET,
        HOOK_POST_TARGET,
        HOOK_POST_SOURCE,
        HOOK_ON_FAILURE,
        _HOOK_EVENT_MAX,
        _HOOK_EVENT_INVALID = -EINVAL,
} HookEvent;

#define HOOKS_MAX           16U /* for one event */
#define HOOK_WORDS_MAX      32U
#define HOOK_TIMEOUT_MS     30000U
#define HOOK_TIMEOUT_MS_MAX 3600000U
#define HOOK_RETRIES_MAX    10U
#define HOOK_DELAY_MS       1000U /* before a retry */
#define HOOK_DELAY_MS_MAX   60000U

typedef struct Hook {
        char **run; /* program and arguments, NULL at the end */
        uint64_t timeout_ms, delay_ms;
        uint32_t retries;
        bool ignore; /* its failure does not end the migration */
} Hook;

typedef struct HookList {
        Hook *hooks;
        size_t n;
} HookList;

typedef struct Hooks {
        HookList events[_HOOK_EVENT_MAX];
} Hooks;

const char *hook_event_name(HookEvent e);
HookEvent hook_event_from_name(const char *name); /* _HOOK_EVENT_INVALID */
bool hook_event_is_target(HookEvent e);           /* it is the other host's */
bool hook_event_may_abort(HookEvent e);           /* the pod has not been touched yet */

/* {"EVENT": [{"run": [...], "timeout": "30s", "retries": 1, "retry_delay": "1s", "on_failure":
 * "abort"}]}; adds to *h. Strict, as the configuration is: -EINVAL with the place and the key.
 * What there is on the disk is not looked at. */
int hooks_parse(Hooks *h, json_object *o, Error *reterr);
/* Adds one with all else as by default; takes over the words, in every case. -EINVAL, -ENOMEM. */
int hooks_add(Hooks *h, HookEvent e, char **words, Error *reterr);
/* Adds copies of all that `from` has for this event. -EINVAL: too many; -ENOMEM. */
int hooks_append(Hooks *h, const Hooks *from, HookEvent e, Error *reterr);
/* Hooks of an event as hooks_parse() reads them; the caller owns it; NULL: out of memory. */
json_object *hooks_json(const Hook *list, size_t n);
bool hooks_any(const Hooks *h);
void hooks_done(Hooks *h);
#define _cleanup_hooks_ _cleanup_(hooks_done)

/* Can this program be run? Regular and executable; for root also: root's alone to change, and so
 * are the directories on the way to it (one with the sticky bit will do). -EINVAL, -EACCES or the
 * code of stat. */
int hook_check(const Hook *h, Error *reterr);

#define HOOK_PROBLEMS_MAX 8U
#define HOOK_PROBLEM_MAX  300U

/* What the other host is told of the hooks that are this one's as the source or as the target:
 * {"events": {"pre-target": 2}, "problems": ["..."]}. No program's name but in a problem. The
 * caller owns it; NULL: out of memory. */
json_object *hooks_facts(const Hooks *h, bool target);
