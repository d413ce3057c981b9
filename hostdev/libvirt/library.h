/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "lib/error.h"

/* libvirt's client library, opened when it is first needed and kept.
 *
 * The table has the functions used here under their own names: lv->virConnectOpen(uri). Nothing
 * else in the tree may call libvirt. Any thread. */
#define LIBVIRT_FUNCTIONS(X)                                                                       \
        X(virInitialize)                                                                           \
        X(virSetErrorFunc)                                                                         \
        X(virGetLastError)                                                                         \
        X(virResetLastError)                                                                       \
        X(virEventRegisterDefaultImpl)                                                             \
        X(virEventRunDefaultImpl)                                                                  \
        X(virEventAddTimeout)                                                                      \
        X(virEventUpdateTimeout)                                                                   \
        X(virEventRemoveTimeout)                                                                   \
        X(virConnectOpen)                                                                          \
        X(virConnectClose)                                                                         \
        X(virConnectRef)                                                                           \
        X(virConnectIsAlive)                                                                       \
        X(virConnectRegisterCloseCallback)                                                         \
        X(virConnectUnregisterCloseCallback)                                                       \
        X(virConnectDomainEventRegisterAny)                                                        \
        X(virConnectDomainEventDeregisterAny)                                                      \
        X(virConnectGetVersion)                                                                    \
        X(virConnectGetLibVersion)                                                                 \
        X(virConnectGetCapabilities)                                                               \
        X(virConnectGetDomainCapabilities)                                                         \
        X(virConnectCompareHypervisorCPU)                                                          \
        X(virConnectListAllDomains)                                                                \
        X(virDomainLookupByUUIDString)                                                             \
        X(virDomainLookupByName)                                                                   \
        X(virDomainGetName)                                                                        \
        X(virDomainGetUUIDString)                                                                  \
        X(virDomainGetControlInfo)                                                                 \
        X(virDomainGetID)                                                                          \
        X(virDomainGetState)                                                                       \
        X(virDomainGetXMLDesc)                                                                     \
        X(virDomainGetBlockInfo)                                                                   \
        X(virDomainGetBlockJobInfo)                                                                \
        X(virDomainBlockCopy)                                                                      \
        X(virDomainBlockJobAbort)                                                                  \
        X(virDomainSnapshotNum)                                                                    \
        X(virDomainGetJobStats)                                                                    \
        X(virDomainStartDirtyRateCalc)                                                             \
        X(virDomainListGetStats)                                                                   \
        X(virDomainStatsRecordListFree)                                                            \
        X(virDomainAbortJob)                                                                       \
        X(virDomainMigrateSetMaxSpeed)                                                             \
        X(virDomainMigrateSetMaxDowntime)                                                          \
        X(virDomainMigrateStartPostCopy)                                                           \
        X(virDomainMigrateToURI3)                                                                  \
        X(virDomainCreateXML)                                                                      \
        X(virDomainDestroy)                                                                        \
        X(virDomainSuspend)                                                                        \
        X(virDomainResume)                                                                         \
        X(virDomainAttachDeviceFlags)                                                              \
        X(virDomainDetachDeviceAlias)                                                              \
        X(virDomainFree)                                                                           \
        X(virTypedParamsAddInt)                                                                    \
        X(virTypedParamsAddULLong)                                                                 \
        X(virTypedParamsAddString)                                                                 \
        X(virTypedParamsGetInt)                                                                    \
        X(virTypedParamsGetLLong)                                                                  \
        X(virTypedParamsGetULLong)                                                                 \
        X(virTypedParamsGetString)                                                                 \
        X(virTypedParamsFree)

typedef struct Libvirt {
#define LIBVIRT_MEMBER(f) __typeof__(&f) f;
        LIBVIRT_FUNCTIONS(LIBVIRT_MEMBER)
#undef LIBVIRT_MEMBER
} Libvirt;

/* Opens it on the first call. -EOPNOTSUPP: not installed, or older than 9.0. */
int libvirt_load(const Libvirt **ret, Error *reterr);

/* Turns this thread's last libvirt error into a code of virt.h and a text; to be called at once
 * after the call that failed, in the same thread. */
int libvirt_error(const Libvirt *lv, Error *reterr);
