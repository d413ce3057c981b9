/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/ids.h"
#include "controllers/migration/check.h"
#include "hostdev/disk/token.h"
#include "hostdev/image/layer.h"
#include "hostdev/qemu-memory.h"
#include "lib/net-message.h"
#include "shim/migrate/migrate-internal.h"

/* Shared by migrate-check.c (what is asked, in which order; the source), -load.c, -destination.c
 * and -files.c. */

/* One disk, as the thread for files sees it. */
typedef struct CheckFile {
        uint32_t slot;
        char *path, *there;
        const char *role, *format, *plan; /* static; plan "": see why */
        char why[256];
        char mine[DISK_TOKEN_SIZE], theirs[DISK_TOKEN_SIZE];
        char filesystem[32];
        uint64_t size, allocated, free, data;
        CheckAnswer exists, seen;
        char *container;
        char cache[32];
} CheckFile;

typedef struct CheckFiles {
        char session[ID_MAX + 1];
        TokenSide side;
        bool look;   /* for the other side's tokens, and at what is there */
        bool write;  /* tokens of our own */
        bool sample; /* how much of what is copied is not zero */
        char *layers_directory;
        char (*layers)[LAYER_DIGEST_SIZE]; /* destination: which it should have */
        uint64_t *layer_sizes;
        size_t n_layers;
        const char *state_dir;
        uint64_t layers_missing, layers_bytes, layers_free;
        char *dial; /* source: URI to connect to; NULL: none */
        CheckAnswer dialled;
        char dial_error[256];
        CheckFile *files;
        size_t n;
} CheckFiles;

CheckFiles *check_files_free(CheckFiles *f);
DEFINE_CLEANUP(CheckFiles *, check_files_free);
/* Runs on the thread for files; never fails: what could not be had stays unknown. */
int check_files_work(void *files, Error *reterr);
void check_files_remove_tokens(const CheckFiles *f);

/* For the thread: memory of the pod's QEMU. */
typedef struct CheckMemory {
        pid_t pid;
        uint64_t size;
        QemuMemory *sample;
        uint64_t begin_us, now_us; /* of the first look, and of the last one */
        uint64_t written;
} CheckMemory;

/* What was asked for with option "forecast": of the link. */
typedef struct CheckLink {
        json_object *document;
        uint64_t bps, connect_ms;
        const char *error; /* borrowed from it */
} CheckLink;

typedef struct CheckRun CheckRun;
typedef int (*CheckStep)(CheckRun *c); /* 1: check_go_on() will be called; 0: done */

struct CheckRun {
        Migrate *migrate;
        MigrateAsk ask; /* strings are copied below */
        char session[ID_MAX + 1];
        char *namespace;
        CheckFacts *peer;
        json_object *disk_map; /* path at the source -> path here; or NULL */
        CheckFiles *files;
        json_object *facts, *host, *domain, *image, *network; /* all but the first borrowed */
        json_object *load; /* borrowed; NULL: no forecast, or it was given up */
        CheckMemory memory;
        CheckLink link;
        bool measures;   /* libvirt does */
        unsigned looked; /* how often its result was asked for */
        const CheckStep *steps;
        sd_event_source *timer; /* of the agent, then of a look */
        uint64_t call;
        bool paused;    /* so that the agent cannot answer */
        bool bystander; /* of a migration under way, whose tokens are not touched */
        OpDone done;
        void *job;
};

/* migrate-check.c */
void check_go_on(CheckRun *c); /* after a step that returned 1; may free c */
void check_put_text(json_object *o, const char *key, const char *value);
void check_put_number(json_object *o, const char *key, uint64_t n);
void check_put_answer(json_object *o, const char *key, CheckAnswer a);
void check_put_error(json_object *o, const char *key, int r, const Error *err);
void check_put_interface(json_object *list, const NetInterface *i);
CheckFile *check_add_file(CheckFiles *f, uint32_t slot, const char *path);

/* migrate-check-load.c */
int check_step_load(CheckRun *c);

/* migrate-check-destination.c, in their order */
int check_step_their_disks(CheckRun *c);
int check_step_layers(CheckRun *c);
int check_step_machine(CheckRun *c);
int check_step_cpu(CheckRun *c);
int check_step_host(CheckRun *c);
int check_step_namespace(CheckRun *c);
