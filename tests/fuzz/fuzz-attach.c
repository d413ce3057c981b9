/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of an attached client that keeps to no rule. First byte: with stdin (bit 0), with lines
 * (bit 1), how much the process takes at a time (the rest of it). Then frames: a length byte, the
 * bytes. No stdin is taken that was not sent, in order; none after its end. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shim/stdio/attach.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Process {
        AttachClient *client;
        uint64_t taken, sent;
        size_t room;
        unsigned closed;
} Process;

static size_t take(void *userdata, const void *p, size_t n) {
        Process *x = userdata;

        n = MIN_OF(n, x->room);
        x->taken += n;
        if (x->taken > x->sent || x->closed)
                abort();
        return n;
}

static uint64_t taken(void *userdata) {
        return ((Process *)userdata)->taken;
}

static void close_stdin(void *userdata) {
        ((Process *)userdata)->closed++;
}

static void resize(void *userdata, uint32_t rows, uint32_t columns) {
        if (rows > UINT16_MAX || columns > UINT16_MAX)
                abort();
}

static const char *way(void *userdata) {
        return "";
}

static void gone(void *userdata, AttachClient *c) {
        Process *x = userdata;

        if (c != x->client)
                abort();
        x->client = attach_client_free(c);
}

static void turn(sd_event *event, int fd) {
        uint8_t byte[64];

        for (unsigned i = 0; i < 16 && sd_event_run(event, 0) > 0; i++)
                while (recv(fd, byte, sizeof(byte), MSG_DONTWAIT) > 0)
                        ;
}

static void feed(Process *x, sd_event *event, int fd, const uint8_t *p, size_t n) {
        while (n > 0 && x->client) {
                size_t k = MIN_OF((size_t)p[0], n - 1);

                if (k > 0 && p[1] == ATTACH_STDIN)
                        x->sent += k - 1;
                if (send(fd, p + 1, k, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                        break;
                turn(event, fd);
                if (x->client)
                        attach_client_wake(x->client);
                p += 1 + k;
                n -= 1 + k;
        }
}

static void make_log(OutputLog **ret) {
        char dir[] = "/tmp/podferry-fuzz-attach.XXXXXX", path[64];

        if (!mkdtemp(dir))
                abort();
        (void)snprintf(path, sizeof(path), "%s/log", dir);
        if (output_log_new(path, 1 << 20, ret, NULL) < 0 || unlink(path) < 0 || rmdir(dir) < 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const AttachOps ops = { .take = take,
                                       .taken = taken,
                                       .close_stdin = close_stdin,
                                       .resize = resize,
                                       .way = way,
                                       .gone = gone };
        static OutputLog *log; /* empty; both last as long as the process */
        static sd_event *event;
        AttachWishes wishes = {};
        Process x = {};
        int fd;

        if (size == 0)
                return 0;
        if (!event) {
                make_log(&log);
                if (sd_event_new(&event) < 0)
                        abort();
        }
        x.room = data[0] >> 2;
        wishes = (AttachWishes){ .with_stdin = data[0] & 1, .lines = data[0] & 2 };
        if (attach_client_new(event, log, &wishes, &ops, &x, &x.client, &fd, NULL) < 0)
                abort();
        feed(&x, event, fd, data + 1, size - 1);
        if (x.closed > 1)
                abort();
        (void)attach_client_free(x.client);
        (void)close_fd(fd);
        return 0;
}
