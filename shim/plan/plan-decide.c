/* SPDX-License-Identifier: Apache-2.0 */
/* From what hosts say to what is so. Nothing is ever inferred from how a command ended: only a host
 * that has the pod, in no migration, counts as having it. */
#include <string.h>

#include "shim/plan/plan-engine.h"

static const char *const class_names[_PLAN_CLASS_MAX] = {
        [PLAN_CLASS_NONE] = "none",         [PLAN_CLASS_CHECK] = "check",
        [PLAN_CLASS_CONNECT] = "connect",   [PLAN_CLASS_PREPARE] = "prepare",
        [PLAN_CLASS_TRANSFER] = "transfer", [PLAN_CLASS_HANDOVER] = "handover",
        [PLAN_CLASS_FINISH] = "finish",     [PLAN_CLASS_CANCELLED] = "cancelled",
        [PLAN_CLASS_LOST] = "lost",         [PLAN_CLASS_COPIES] = "two-copies",
        [PLAN_CLASS_HOST] = "host",         [PLAN_CLASS_INTERNAL] = "internal",
};

const char *plan_class_name(PlanClass c) {
        return (unsigned)c < _PLAN_CLASS_MAX ? class_names[c] : NULL;
}

int plan_class_from_name(const char *name) {
        for (int i = 0; i < _PLAN_CLASS_MAX; i++)
                if (strcmp(class_names[i], name) == 0)
                        return i;
        return -EINVAL;
}

PlanClass plan_classify(const char *step) {
        static const struct {
                const char *step;
                PlanClass class;
        } steps[] = {
                { "queue", PLAN_CLASS_CHECK },        { "preflight", PLAN_CLASS_CHECK },
                { "connect", PLAN_CLASS_CONNECT },    { "layers", PLAN_CLASS_PREPARE },
                { "export", PLAN_CLASS_PREPARE },     { "import", PLAN_CLASS_PREPARE },
                { "patch", PLAN_CLASS_PREPARE },      { "prepare", PLAN_CLASS_PREPARE },
                { "transfer", PLAN_CLASS_TRANSFER },  { "storage", PLAN_CLASS_TRANSFER },
                { "memory", PLAN_CLASS_TRANSFER },    { "switchover", PLAN_CLASS_HANDOVER },
                { "handoff", PLAN_CLASS_HANDOVER },   { "resume", PLAN_CLASS_HANDOVER },
                { "finalize", PLAN_CLASS_FINISH },    { "cleanup", PLAN_CLASS_FINISH },
                { "pre-source", PLAN_CLASS_PREPARE }, { "pre-target", PLAN_CLASS_PREPARE },
                { "offer", PLAN_CLASS_CHECK }, /* cold, warm */
                { "ahead", PLAN_CLASS_TRANSFER },     { "stop", PLAN_CLASS_PREPARE },
                { "copy", PLAN_CLASS_TRANSFER },      { "hand-over", PLAN_CLASS_HANDOVER },
                { "commit", PLAN_CLASS_HANDOVER },    { "start", PLAN_CLASS_HANDOVER },
        };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                if (strcmp(steps[i].step, step) == 0)
                        return steps[i].class;
        return PLAN_CLASS_INTERNAL;
}

PlanVerdict plan_decide(const PlanFact *facts, size_t n, size_t *ret_host) {
        unsigned count[_PLAN_FACT_MAX] = {};

        *ret_host = 0;
        for (size_t i = 0; i < n; i++) {
                count[facts[i]]++;
                if (facts[i] == PLAN_FACT_HERE)
                        *ret_host = i;
        }
        if (count[PLAN_FACT_HERE] > 1)
                return PLAN_TWO_COPIES;
        if (count[PLAN_FACT_BUSY] + count[PLAN_FACT_DEAD] > 0)
                return PLAN_UNDECIDED;
        /* A shim that has the pod and is in no migration owns it: that of a silent host cannot. */
        if (count[PLAN_FACT_HERE] == 1)
                return *ret_host == 0 ? PLAN_STAYED : PLAN_ARRIVED;
        return count[PLAN_FACT_SILENT] > 0 ? PLAN_UNREACHED : PLAN_NOWHERE;
}
