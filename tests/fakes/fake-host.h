/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/pod/pod.h"
#include "controllers/vm/vm.h"

/* A host and a guest in one: every operation that the controllers declare, with a mode each. It
 * records what it was asked; the tests assert. */
typedef enum FakeOp {
        FAKE_PLUG,
        FAKE_UNPLUG,
        FAKE_MOUNT,
        FAKE_UNMOUNT,
        FAKE_OVERLAY,
        FAKE_REMOVE_OVERLAY,
        FAKE_CREATE,
        FAKE_DELETE,
        FAKE_UPDATE,
        FAKE_PS,
        FAKE_BIND,
        FAKE_UNBIND,
        FAKE_IO_OPEN,
        FAKE_IO_CLOSE,
        FAKE_START,
        FAKE_KILL,
        FAKE_RESIZE,
        FAKE_CLOSE_STDIN,
        FAKE_DELETE_EXEC,
        FAKE_WAIT,
        FAKE_ADOPT_WAIT,
        FAKE_DROP_WAIT,
        FAKE_VM_CREATE,
        FAKE_VM_CONNECT,
        FAKE_VM_POWER_OFF,
        FAKE_VM_DESTROY,
        _FAKE_OP_MAX,
} FakeOp;

typedef enum FakeMode {
        FAKE_NOW,    /* done at once */
        FAKE_LATER,  /* by fake_fire() */
        FAKE_REFUSE, /* -EIO, or code[op] */
} FakeMode;

#define FAKE_PENDING_MAX 256
#define FAKE_WAITS_MAX   2048

typedef struct FakePending {
        FakeOp op;
        OpDone done;
        void *job;
} FakePending;

typedef struct FakeWait {
        uint64_t call_id;
        char guest_id[80], exec_id[80];
        OpDone done;
        void *job;
} FakeWait;

typedef struct FakeHost {
        FakeMode mode[_FAKE_OP_MAX];
        int code[_FAKE_OP_MAX];
        unsigned calls[_FAKE_OP_MAX];
        FakePending pending[FAKE_PENDING_MAX];
        size_t n_pending;
        FakeWait waits[FAKE_WAITS_MAX];
        size_t n_waits;
        uint64_t n_exits; /* each ends a nanosecond after the one before */
        uint64_t next_call;
        uint32_t next_channel, next_pid;
        bool gone;
        char last_config[4096]; /* of the last create */
        char trace[8192];       /* "plug 0;mount 0 /run/...;..." */
        char events[8192];      /* "created c1;exited c1/x 0;..." */
        Scsi *scsi;
        PodOps pod_ops;
} FakeHost;

void fake_host_init(FakeHost *h, Scsi *scsi);
/* Every operation answers later from now on. */
void fake_all_later(FakeHost *h);
/* Completes the oldest pending operation; false if there is none. */
bool fake_fire(FakeHost *h, int r);
void fake_fire_all(FakeHost *h, int r); /* until nothing is pending */
/* The process exits; false if nobody waits for it. r < 0: the wait fails instead. */
bool fake_exit(FakeHost *h, const char *guest_id, const char *exec_id, uint32_t code);
bool fake_lose_wait(FakeHost *h, const char *guest_id, const char *exec_id);
void fake_clear(FakeHost *h); /* trace, events and counters */

extern const ScsiOps fake_scsi_ops;
extern const ContainerOps fake_container_ops;
extern const ProcessOps fake_process_ops;
extern const VmOps fake_vm_ops;

/* What a completion brought; for done, give fake_answer and a FakeAnswer. */
typedef struct FakeAnswer {
        unsigned times;
        int r;
        ProcessExit exit; /* if the result is one and r is 0 */
        uint32_t pid;
        char text[512];
} FakeAnswer;
void fake_answer(void *answer, int r, const void *result, const Error *err);      /* no result */
void fake_answer_exit(void *answer, int r, const void *result, const Error *err); /* ProcessExit */
void fake_answer_pid(void *answer, int r, const void *result, const Error *err);

/* A whole pod for tests: VM running, containers as asked. */
typedef struct FakePod {
        FakeHost host;
        Vm *vm;
        Pod *pod;
        unsigned ended;
} FakePod;

extern const VmSpec fake_vm_spec;
#define FAKE_DIGEST(c)                                                                             \
        "sha256:" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c  \
                c c c c c c c c c c c c c c c c c c c c c c c c
void fake_pod_init(FakePod *p); /* asserts nothing: aborts on failure */
void fake_pod_done(FakePod *p);
/* Container `id` with a shared base layer, a layer of its own, a scratch and a volume. */
void fake_pod_spec(const char *id, ContainerSpec *ret, ContainerDisk disks[4], char paths[4][64]);
Container *fake_pod_add(FakePod *p, const char *id); /* created, or abort */
Container *fake_pod_run(FakePod *p, const char *id); /* created and started */
Process *fake_pod_exec(FakePod *p, Container *c, const char *exec_id, bool start);
/* Patches every container to paths below /dst. */
int fake_pod_patch(FakePod *p, Error *reterr);
/* Saves the frozen pod and imports it into *to, bound and not patched. */
int fake_pod_move(const FakePod *from, FakePod *to, Error *reterr);
