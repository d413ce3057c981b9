/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "controllers/ids.h"
#include "hostdev/image/files.h"
#include "lib/error.h"

/* Which host may start a pod that moves while it does not run (docs/offline.md): one record on each
 * host's disk, replaced as a whole and on disk when a function returns.
 *
 *      <state_dir>/pods/<pod>/outgoing   of the source: offered, given
 *                             incoming   of the destination: filling, ready, owned, returned
 *                             logs/      of the containers, while there is no shim
 *      <state_dir>/pods/.<pod>           the lock of whoever moves it, or lets a shim in
 *
 * The source may start it until "given" is on its disk, the destination from "owned" on. Each
 * directory `state` below is <state_dir>/pods/<pod>. All of this blocks. */
typedef enum OfflineState {
        OFFLINE_NONE,     /* no record */
        OFFLINE_OFFERED,  /* S: it is copied, and still this host's */
        OFFLINE_GIVEN,    /* S: it is not this host's any more */
        OFFLINE_FILLING,  /* D: half a copy */
        OFFLINE_READY,    /* D: all of it, but not this host's */
        OFFLINE_OWNED,    /* D: this host's */
        OFFLINE_RETURNED, /* D: it is not this host's any more: the source may take it again */
        _OFFLINE_STATE_MAX,
} OfflineState;

typedef enum OfflineRole {
        OFFLINE_OUTGOING,
        OFFLINE_INCOMING,
        _OFFLINE_ROLE_MAX,
} OfflineRole;

#define OFFLINE_PEER_MAX  1000U
#define OFFLINE_FILES_MAX 1024U

typedef struct OfflineRecord {
        OfflineState state;
        char session[ID_MAX + 1];
        char pod[ID_MAX + 1];            /* at the source */
        char name[ID_MAX + 1];           /* at the destination */
        char peer[OFFLINE_PEER_MAX + 1]; /* of the source: the other host, as the user named it */
        bool start;                      /* of the source: it ran, and is to run over there */
        char **files; /* of the destination: disks that were made for it; NULL-terminated */
} OfflineRecord;

void offline_record_done(OfflineRecord *r);
#define _cleanup_record_ _cleanup_(offline_record_done)

const char *offline_state_name(OfflineState s); /* "given" */
/* May a record of the one state be replaced by one of the other? */
bool offline_may_follow(OfflineState from, OfflineState to);

/* No record is OFFLINE_NONE. -EBADMSG: it is not what was written. */
int offline_read(const char *state, OfflineRole role, OfflineRecord *ret, Error *reterr);
/* -EBADFD: it may not follow the one that is there. OFFLINE_NONE removes it. */
int offline_write(const char *state, OfflineRole role, const OfflineRecord *r, Error *reterr);

/* May the pod be started, or one of its name be made, on this host? -EBADFD: it was given away, or
 * has not come yet; the text says to or from where, and what to do. */
int offline_check(const char *state_dir, const char *pod, Error *reterr);

/* The same, of a live hand-over that was cut off: after a reboot, or with a shim that knows nothing
 * of it, only the journal tells. -EBADFD: the other host may have the pod. */
int offline_check_journal(const char *state, const char *pod, Error *reterr);

/* Only one at a time moves it or lets a shim in. -EBUSY. */
typedef struct OfflineLock {
        int dir_fd;
        FileLock lock;
} OfflineLock;

#define OFFLINE_LOCK_INIT                                                                          \
        (OfflineLock) {                                                                            \
                .dir_fd = -EBADF, .lock = FILE_LOCK_INIT                                           \
        }

int offline_lock(const char *state_dir, const char *pod, OfflineLock *ret, Error *reterr);
void offline_unlock(OfflineLock *l);
#define _cleanup_offline_lock_ _cleanup_(offline_unlock)
/* For a shim that has its run directory: offline_check(), and -EBUSY while somebody moves the pod.
 * Whoever begins to move it looks for a run directory once he has the lock, so one of the two sees
 * the other. */
int offline_admit(const char *state_dir, const char *pod, Error *reterr);

/* The logs of the containers go from the run directory into the state directory, where they last
 * without a shim, and back when one starts the pod. *ret_any: there were some. */
int offline_keep_logs(const char *run_dir, const char *state, Error *reterr);
int offline_take_logs(const char *run_dir, const char *state, bool *ret_any, Error *reterr);

/* At the destination. Each may be called again after a crash anywhere in it. */
int offline_commit(const char *state, Error *reterr); /* ready or owned: it is this host's */
/* What came and is not this host's goes; nothing there is success. With `returned` also what is:
 * that is recorded before anything goes, and the record stays until it is discarded. */
int offline_discard(const char *state, bool returned, Error *reterr);
/* Where the definition is until the pod is this host's; the caller owns it; NULL: no memory. */
char *offline_staging(const char *state);
