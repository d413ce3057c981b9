/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/events.h"

#include <stddef.h>

static const char *const names[_POD_EVENT_KIND_MAX] = {
        [POD_EVENT_CREATED] = "created",
        [POD_EVENT_STARTED] = "started",
        [POD_EVENT_EXEC_ADDED] = "exec-added",
        [POD_EVENT_EXEC_STARTED] = "exec-started",
        [POD_EVENT_EXITED] = "exited",
        [POD_EVENT_DELETED] = "deleted",
        [POD_EVENT_OOM] = "oom",
};

const char *pod_event_name(PodEventKind kind) {
        return (unsigned)kind < _POD_EVENT_KIND_MAX ? names[kind] : NULL;
}

void pod_events_publish(const PodEvents *events, const PodEvent *e) {
        if (events && events->event)
                events->event(events->userdata, e);
}
