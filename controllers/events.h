/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What the tree tells the world outside (a runtime, D-Bus). One sink for the whole pod, given at
 * the root; the shim fills it in. Called from the loop, after the object reached its new state. The
 * sink must not call back into the tree. */
typedef struct ProcessExit {
        uint32_t code; /* 0..255, 128 + signal; PROCESS_EXIT_* when the guest could not tell */
        uint64_t exited_at_ns; /* CLOCK_REALTIME */
        bool moved;            /* not an exit: the process goes on at the destination */
} ProcessExit;

#define PROCESS_EXIT_UNKNOWN 255U /* the VM died, or the process lives on another host (moved) */
#define PROCESS_EXIT_ABORTED 137U /* an import that was given up: as if killed */

typedef enum PodEventKind {
        POD_EVENT_CREATED,      /* a container; pid */
        POD_EVENT_STARTED,      /* its init */
        POD_EVENT_EXEC_ADDED,   /* exec_id */
        POD_EVENT_EXEC_STARTED, /* exec_id, pid */
        POD_EVENT_EXITED,       /* exec_id ("": init), pid, exit; once per process */
        POD_EVENT_DELETED,      /* exec_id ("": the container), pid, exit */
        POD_EVENT_OOM,
        _POD_EVENT_KIND_MAX,
} PodEventKind;

typedef struct PodEvent {
        PodEventKind kind;
        const char *container_id; /* host-facing */
        const char *exec_id;      /* "": init or the container */
        uint32_t pid;             /* in the guest */
        ProcessExit exit;
        bool migrated; /* announced because the pod came here from another host */
} PodEvent;

typedef struct PodEvents {
        void (*event)(void *userdata, const PodEvent *e);
        void *userdata;
} PodEvents;

const char *pod_event_name(PodEventKind kind);                       /* NULL if unknown */
void pod_events_publish(const PodEvents *events, const PodEvent *e); /* events may be NULL */
