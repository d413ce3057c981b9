/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "hostdev/libvirt/domain-xml.h"
#include "lib/task.h"

/* One libvirt connection and the one domain of the pod on it, seen from the loop.
 *
 * libvirt blocks, so its calls run on three threads ("lanes"): change (in order), migrate (one call
 * lasts a whole transfer) and query (works meanwhile: job statistics, abort), each with a
 * connection of its own. A fourth thread runs
 * libvirt's event loop. Threads, the connection and libvirt itself (dlopen: linked, it would add
 * 11 ms to the start of the process and 2 MiB to its memory) come with the first call. All threads
 * share one queue to the loop, so completions and events arrive in the order in which libvirt
 * told them.
 *
 * Every call below follows lib/task.h and returns 1 or fails: inputs are copied before it returns,
 * the result is borrowed until `done` returns. A job that runs cannot be cancelled. Failures:
 *   -EBUSY   the lane's queue is full, or libvirt cannot be reached: nothing was done
 *   -ECONNRESET the connection was lost during the call: it may have been done, or not
 *   -ENOENT  there is no such domain             -EEXIST   there is one already
 *   -EBADFD  libvirt says the domain's state does not allow it
 *   -ETIMEDOUT, -ECANCELED (the job was aborted), -EOPNOTSUPP, -EINVAL; -EIO for what is left
 * The text has step, domain and libvirt's own message. Loop thread only. */
typedef struct Virt Virt;

#define VIRT_UUID_SIZE 37U

typedef enum VirtState {
        VIRT_NONE, /* libvirt knows no such domain */
        VIRT_RUNNING,
        VIRT_PAUSED,
        VIRT_SHUTTING_DOWN,
        VIRT_SHUTOFF,
        VIRT_CRASHED,
        _VIRT_STATE_MAX,
} VirtState;

/* Why it is so: of libvirt's reasons and event details those that a decision may hang on. */
typedef enum VirtReason {
        VIRT_REASON_OTHER,
        VIRT_REASON_BOOTED,
        VIRT_REASON_USER,            /* by a call */
        VIRT_REASON_MIGRATION,       /* paused: it is being migrated */
        VIRT_REASON_MIGRATED,        /* has come or gone by a migration */
        VIRT_REASON_STARTING,        /* paused: incoming, not complete yet */
        VIRT_REASON_CANCELED,        /* running again: the migration was given up */
        VIRT_REASON_POSTCOPY,        /* the other half of it is elsewhere */
        VIRT_REASON_POSTCOPY_FAILED, /* and the link to it is broken */
        VIRT_REASON_GUEST,           /* shut down from inside */
        VIRT_REASON_DESTROYED,
        VIRT_REASON_CRASHED,
        VIRT_REASON_FAILED,
        VIRT_REASON_IO_ERROR,
        _VIRT_REASON_MAX,
} VirtReason;

const char *virt_state_name(VirtState s);
const char *virt_reason_name(VirtReason r);

typedef struct VirtDomain {
        VirtState state;
        VirtReason reason;
        int id;           /* libvirt's number on this host; -1 when not active */
        pid_t pid;        /* its QEMU, verified; 0 if there is none */
        char machine[64]; /* versioned machine type ("pc-q35-7.2"); "" if not known */
} VirtDomain;

typedef enum VirtJobKind {
        VIRT_JOB_NONE, /* no job is running */
        VIRT_JOB_ACTIVE,
        VIRT_JOB_COMPLETED,
        VIRT_JOB_FAILED,
        VIRT_JOB_CANCELED,
} VirtJobKind;

typedef struct VirtJob {
        VirtJobKind kind;
        uint64_t elapsed_ms, setup_ms;
        uint64_t downtime_ms; /* expected while active, measured when completed */
        bool has_downtime;
        uint64_t total, processed, remaining; /* bytes: memory and disks together */
        uint64_t memory_total, memory_processed, memory_remaining, memory_bps;
        uint64_t compressed_bytes,
                compressed_pages; /* xbzrle: so many pages became so many bytes */
        uint32_t throttle;        /* auto-converge, % */
        uint64_t page_size, dirty_pages_per_s, iteration, postcopy_requests;
        uint64_t disk_total, disk_processed, disk_remaining, disk_bps;
        char error[128];
} VirtJob;

typedef enum VirtEventKind {
        VIRT_EVENT_STARTED,   /* BOOTED; MIGRATED: the destination's QEMU is there, paused */
        VIRT_EVENT_SUSPENDED, /* USER; at the destination that also means: complete, and paused as
                                 asked. Source: MIGRATION (the blackout begins), POSTCOPY,
                                 POSTCOPY_FAILED. IO_ERROR */
        VIRT_EVENT_RESUMED,   /* USER; MIGRATED: it has come, or (source) stays after all;
                                 POSTCOPY */
        VIRT_EVENT_STOPPED,   /* GUEST, DESTROYED, CRASHED, MIGRATED, FAILED */
        VIRT_EVENT_CRASHED,   /* guest panic reported by the hypervisor */
        VIRT_EVENT_ITERATION, /* .iteration: pass over memory that begins */
        VIRT_EVENT_JOB_DONE,  /* .job: statistics of the completed job */
        VIRT_EVENT_DEVICE_REMOVED, /* .alias */
        VIRT_EVENT_COPY,           /* .alias is the disk's target ("sda"), .copy what became of its
                                      virt_copy_disk() */
        VIRT_EVENT_LOST,           /* the connection is gone; a reconnect is under way */
        VIRT_EVENT_BACK, /* it is back, or events were lost: .domain is the true state now */
        _VIRT_EVENT_KIND_MAX,
} VirtEventKind;

const char *virt_event_name(VirtEventKind k);

typedef enum VirtCopyState {
        VIRT_COPY_READY,  /* both are the same from now on, up to virt_copy_end() */
        VIRT_COPY_FAILED, /* the disk stays what it was; libvirt does not say why */
        VIRT_COPY_ENDED,  /* by virt_copy_end(), one way or the other */
} VirtCopyState;

typedef struct VirtEvent {
        VirtEventKind kind;
        VirtReason reason;
        uint64_t at_us; /* CLOCK_MONOTONIC when libvirt told us */
        unsigned iteration;
        char alias[64];
        VirtCopyState copy;
        VirtJob job;
        VirtDomain domain;
} VirtEvent;

typedef void (*VirtHandler)(void *userdata, const VirtEvent *event);

/* No I/O and no thread yet. `uri`: e.g. "qemu:///system". */
int virt_new(sd_event *loop, const char *uri, VirtHandler handler, void *userdata, Virt **ret,
             Error *reterr);
/* Not while a job is in flight (virt_busy()); joins the threads. */
Virt *virt_free(Virt *v);
DEFINE_CLEANUP(Virt *, virt_free);
unsigned virt_busy(const Virt *v); /* jobs accepted and not completed */

/* Which domain the calls and events below are about; it need not exist yet (the destination of a
 * migration names the one that libvirt will make). Needed by all but virt_open(), virt_facts() and
 * virt_compare_cpu(). Naming the same one again is fine; another only while idle (-EBUSY). */
int virt_set_domain(Virt *v, const char *name, const char *uuid, Error *reterr);

/* Connects and registers for events; result NULL. A connection that was there and is lost is opened
 * again without end; one that never was is tried once per call. Other calls do it by themselves:
 * this is for whoever wants the events first (the destination) or wants to pay for it early. */
int virt_open(Virt *v, OpDone done, void *userdata, Error *reterr);

/* What two hosts compare before a migration. */
typedef struct VirtFacts {
        uint64_t hypervisor_version; /* 7002000 is 7.2.0 */
        uint64_t libvirt_version;    /* of the daemon */
        char host_uuid[VIRT_UUID_SIZE];
        char arch[32];
        char machine[64]; /* what "q35" means here for this type: "pc-q35-7.2" */
        bool has_kvm;     /* libvirt offers type kvm (that a guest lives under it is hostdev/probe's
                             matter) */
        const char *cpu_xml;         /* <cpu> of the host, for virt_compare_cpu() */
        uint32_t qemu_uid, qemu_gid; /* as whom libvirt runs QEMU (qemu.conf's user and group) */
} VirtFacts;
int virt_facts(Virt *v, DomainType type, OpDone done, void *userdata,
               Error *reterr); /* result: VirtFacts */
/* 0 if this host's CPU has all that the other's (VirtFacts.cpu_xml) has; else -EINVAL with what is
 * missing. Of use with kvm only: an emulated CPU is the same everywhere. Result NULL. */
int virt_compare_cpu(Virt *v, const char *cpu_xml, OpDone done, void *userdata, Error *reterr);

/* What a check looks at before a migration. */
typedef struct VirtInspect {
        VirtDomain domain;
        const char *job; /* what libvirt is at with the domain: "none", "backup", ...; static */
        unsigned block_jobs, snapshots;
        const char *xml; /* of the domain that runs: see hostdev/libvirt/domain-look.h */
} VirtInspect;
int virt_inspect(Virt *v, OpDone done, void *userdata, Error *reterr); /* -ENOENT: no domain */

/* How much the guest writes, for a forecast. Starting it changes nothing that the guest could see;
 * -EINVAL: not 1 to 60 s. A second start while one is under way is an error of libvirt's. */
typedef struct VirtDirty {
        bool measuring; /* still */
        bool measured;  /* what follows counts */
        unsigned seconds;
        uint64_t mib_per_s; /* distinct pages that were written to, by that time */
} VirtDirty;
/* QEMU leaves out memory below this size, and says 0. */
#define VIRT_DIRTY_LEAST_MIB 128U
int virt_dirty_start(Virt *v, unsigned seconds, OpDone done, void *userdata, Error *reterr);
int virt_dirty_look(Virt *v, OpDone done, void *userdata, Error *reterr); /* VirtDirty */

/* 0: QEMU here can be this machine. Of the host; result NULL. */
int virt_knows_machine(Virt *v, DomainType type, const char *machine, OpDone done, void *userdata,
                       Error *reterr);

/* --- lane "change" --- */
/* Makes the transient domain; name and UUID in the XML must be those of virt_set_domain(). Result:
 * VirtDomain. */
int virt_create(Virt *v, const char *xml, bool paused, OpDone done, void *userdata, Error *reterr);
int virt_destroy(Virt *v, OpDone done, void *userdata,
                 Error *reterr); /* also fine if there is none */
int virt_suspend(Virt *v, OpDone done, void *userdata, Error *reterr);
int virt_resume(Virt *v, OpDone done, void *userdata, Error *reterr);
/* -EEXIST: the slot is taken. */
int virt_plug_disk(Virt *v, const DiskSpec *disk, OpDone done, void *userdata, Error *reterr);
/* Completes when the device is gone; at once if it never was there. -ETIMEDOUT: the guest did not
 * let go of it (10 s); then it may be called again. */
int virt_unplug_disk(Virt *v, uint32_t slot, OpDone done, void *userdata, Error *reterr);
/* As with disks, but a slot that is taken has no code of its own. */
int virt_plug_nic(Virt *v, const NicSpec *nic, OpDone done, void *userdata, Error *reterr);
int virt_unplug_nic(Virt *v, uint32_t slot, OpDone done, void *userdata, Error *reterr);

/* Copies a disk that is plugged to another file or device, which is there, of that format and large
 * enough, while the guest works. `to` has the slot of the disk and what it is to be. Result NULL,
 * once it has begun; VIRT_EVENT_COPY says the rest. What the guest writes goes to both from the
 * start, so it comes to an end whatever the guest does. bandwidth_mib 0: not limited. */
#define VIRT_COPY_BANDWIDTH_MAX (1U << 20) /* MiB/s */
int virt_copy_disk(Virt *v, const DiskSpec *to, uint64_t bandwidth_mib, OpDone done, void *userdata,
                   Error *reterr);
/* Ends the copy of that slot. pivot: the guest goes on with the copy, if it is READY; else with
 * what it had. Completes when that is so. Result NULL. */
int virt_copy_end(Virt *v, uint32_t slot, bool pivot, OpDone done, void *userdata, Error *reterr);

/* --- lane "query" --- */
int virt_query(Virt *v, OpDone done, void *userdata,
               Error *reterr); /* VirtDomain; VIRT_NONE is no failure */
int virt_job(Virt *v, OpDone done, void *userdata, Error *reterr); /* VirtJob */
int virt_completed_job(Virt *v, OpDone done, void *userdata,
                       Error *reterr); /* VirtJob; keeps it readable */
typedef struct VirtCopy {
        uint64_t copied, total; /* bytes; both 0: there is none */
} VirtCopy;
int virt_copy_look(Virt *v, uint32_t slot, OpDone done, void *userdata,
                   Error *reterr); /* VirtCopy */
int virt_abort_job(Virt *v, OpDone done, void *userdata,
                   Error *reterr); /* also fine if there is none */
int virt_set_bandwidth(Virt *v, uint64_t mib_per_s, OpDone done, void *userdata, Error *reterr);
int virt_set_max_downtime(Virt *v, uint64_t ms, OpDone done, void *userdata, Error *reterr);
int virt_start_postcopy(Virt *v, OpDone done, void *userdata, Error *reterr);

/* --- lane "migrate" --- */
typedef enum VirtMigrateFlags {
        VIRT_MIGRATE_PAUSED = 1U << 0, /* leave it paused at the destination */
        VIRT_MIGRATE_COPY_DISKS = 1U << 1,
        VIRT_MIGRATE_POSTCOPY = 1U << 2, /* allow virt_start_postcopy() */
        VIRT_MIGRATE_AUTO_CONVERGE = 1U << 3,
        VIRT_MIGRATE_COMPRESS = 1U << 4, /* by xbzrle */
        VIRT_MIGRATE_UNSAFE =
                1U << 5, /* shared files on what libvirt takes for a local file system */
        VIRT_MIGRATE_TLS = 1U << 6,
        VIRT_MIGRATE_ZEROCOPY = 1U << 7,       /* with parallel_connections */
        VIRT_MIGRATE_ABORT_ON_ERROR = 1U << 8, /* a disk that cannot be read or written ends it */
        VIRT_MIGRATE_SYNCHRONOUS_WRITES = 1U << 9, /* with COPY_DISKS: a write waits for its copy */
} VirtMigrateFlags;

typedef struct VirtMigrate {
        const char *dest_uri;       /* peer libvirtd, as the source's libvirtd reaches it */
        const char *migrate_uri;    /* memory: "unix:///run/podferry/<pod>/memory.sock"; NULL:
                                       libvirt's    choice */
        const char *disks_uri;      /* NBD: "unix:///..."; NULL */
        const char *dest_xml;       /* NULL: the same paths there */
        const char *dest_name;      /* NULL: the same name there */
        const uint32_t *copy_slots; /* disks to copy, with VIRT_MIGRATE_COPY_DISKS */
        size_t n_copy_slots;
        unsigned flags;
        uint64_t bandwidth_mib, bandwidth_postcopy_mib; /* 0: not limited */
        uint64_t max_downtime_ms;                       /* 0: the hypervisor's default (300) */
        uint32_t parallel_connections;                  /* 0: one stream */
        uint64_t compression_cache;                     /* bytes; 0: the hypervisor's default */
        uint32_t throttle_initial, throttle_increment;  /* %; 0: the hypervisor's defaults */
} VirtMigrate;

/* Live, peer to peer. Result VirtJob: statistics of the completed job (kind NONE if they could not
 * be had). A failure says nothing about where the domain is: ask both hosts. */
int virt_migrate(Virt *v, const VirtMigrate *m, OpDone done, void *userdata, Error *reterr);

/* --- no lane: reads files, at once --- */
/* Pid of the domain's QEMU, from libvirt's pid file, checked against the UUID on its command line.
 * -ENOENT: none runs. */
int virt_qemu_pid(const char *name, const char *uuid, pid_t *ret, Error *reterr);
/* The same by name alone, for somebody whom libvirt does not tell the UUID: checked against the
 * name on its command line, where the UUID is, too. */
int virt_qemu_find(const char *name, pid_t *ret, char ret_uuid[static VIRT_UUID_SIZE],
                   Error *reterr);
