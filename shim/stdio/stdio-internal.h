/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/stdio/attach.h"
#include "shim/stdio/stdio.h"

/* What the files of this folder share. */
struct Stdio {
        StdioHub *hub;
        Stdio *next;        /* in the hub, by (guest id, exec id) */
        char *container_id; /* on this host */
        char *guest_id, *exec_id;
        ProcessChannels channels;
        OutputLog *log;
        bool opened;  /* between stdio_open and stdio_close */
        bool removed; /* deleted: goes with its last client */
        bool again;   /* its container is to start anew: the log goes on */

        uint64_t stdin_taken;
        bool stdin_closed, out_ended, err_ended;

        bool has_exit, exit_told;
        ProcessExit exit;
        StdioDrained drained;
        void *drained_userdata;
        sd_event_source *drained_later, *grace;

        AttachClient *clients[STDIO_CLIENTS_MAX];
        size_t n_clients;
};

struct StdioHub {
        sd_event *event;
        GuestLink *link;
        StdioConfig config;
        char *log_dir;
        Stdio *first;
        bool frozen;
        bool kept; /* logs of containers that are in the directory go on */
        char *way; /* the pod has moved; NULL: it has not */
};

int stdio_add(StdioHub *hub, const ProcessKey *key, Stdio **ret, Error *reterr);
void stdio_free(Stdio *io);
int stdio_compare(const Stdio *io, const char *guest_id, const char *exec_id);
int stdio_open_log(Stdio *io, bool reopen, uint64_t start, Error *reterr);
void stdio_wake_clients(Stdio *io);
/* Stdin, for clients: how much the session took. */
size_t stdio_take(Stdio *io, const void *p, size_t n);
