/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "hostdev/libvirt/virt.h"

/* All domains of one libvirt at once, for somebody who looks at a host that may be broken: no loop,
 * and a deadline, whatever libvirt or a QEMU does. Nothing is changed. */
typedef enum VirtControl {
        VIRT_CONTROL_OK,
        VIRT_CONTROL_BUSY,   /* libvirt is at a call to its QEMU, or waits for the answer */
        VIRT_CONTROL_BROKEN, /* libvirt cannot speak to its QEMU any more */
        _VIRT_CONTROL_MAX,
} VirtControl;

const char *virt_control_name(VirtControl c);

#define VIRT_SURVEY_NAME_SIZE 128U
#define VIRT_SURVEY_MAX       1024U

typedef struct VirtSurveyed {
        char name[VIRT_SURVEY_NAME_SIZE], uuid[VIRT_UUID_SIZE];
        VirtState state;
        VirtReason reason;
        VirtControl control;
        bool job_known, job; /* libvirt is at a migration, save, ... of it */
} VirtSurveyed;

typedef struct VirtSurvey {
        size_t n;
        VirtSurveyed domains[VIRT_SURVEY_MAX];
} VirtSurvey;

/* Those whose names begin with the prefix. Whether there is a job may mean a question to QEMU, so
 * it stays unknown where QEMU does not answer in time. -EBUSY: libvirt cannot be reached,
 * -ETIMEDOUT: it does not answer. Frees with free(). */
int virt_survey(const char *uri, const char *prefix, unsigned timeout_ms, VirtSurvey **ret,
                Error *reterr);
/* NULL: there is none of that name. */
const VirtSurveyed *virt_survey_find(const VirtSurvey *s, const char *name);
