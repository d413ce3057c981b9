/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "agent.pb-c.h"
#include "lib/buf.h"
#include "lib/session.h"

/* A host for one guest, for tests: the session over QEMU's socket, blocking calls, and all output
 * kept per channel. Failure of the rig itself ends the program. */
typedef Podferry__Guest__V1__ToGuest ToGuest;
typedef Podferry__Guest__V1__FromGuest FromGuest;
typedef Podferry__Guest__V1__Stdio StdioSpec;

enum { HOST_CHANNELS = 4096 };

typedef struct HostChannel {
        Buf got;
        bool eof;
        bool stalled; /* take nothing */
} HostChannel;

typedef struct Host Host;

Host *host_new(const char *socket_path);
void host_free(Host *h);
HostChannel *host_channel(Host *h, uint32_t channel);
uint32_t host_open(Host *h); /* a fresh channel, open at this end */
void host_send(Host *h, uint32_t channel, const void *p, size_t n); /* until all is taken */
size_t host_try_send(Host *h, uint32_t channel, const void *p, size_t n);
void host_close(Host *h, uint32_t channel);
void host_drop(Host *h, uint32_t channel);
void host_unstall(Host *h, uint32_t channel);
/* Handles I/O until `done` says true; false after timeout_ms. */
bool host_until(Host *h, bool (*done)(Host *h, void *userdata), void *userdata, int timeout_ms);
bool host_until_up(Host *h, int timeout_ms);
bool host_until_eof(Host *h, uint32_t channel, int timeout_ms);
bool host_until_got(Host *h, uint32_t channel, size_t n, int timeout_ms);
bool host_until_gone(Host *h, int timeout_ms); /* QEMU has closed */
/* Cuts the connection, and makes it again with a higher epoch. */
void host_cut(Host *h);
void host_reconnect(Host *h);

uint64_t host_begin(Host *h, ToGuest *request);
/* The reply of that call; NULL after timeout_ms. The caller frees it with host_reply_free(). */
FromGuest *host_end(Host *h, uint64_t call, int timeout_ms);
bool host_has_reply(Host *h, uint64_t call);
unsigned host_replies(Host *h, uint64_t call); /* how often it was answered, ever */
unsigned host_ooms(Host *h);
FromGuest *host_call(Host *h, ToGuest *request);
void host_reply_free(FromGuest *reply);
