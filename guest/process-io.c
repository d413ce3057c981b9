/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/process-io.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int listen_console(Stdio *io, Error *reterr) {
        static unsigned serial;
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void)snprintf(io->console_path, sizeof(io->console_path), "/run/podferry/console.%u",
                       serial++);
        memcpy(address.sun_path, io->console_path, sizeof(io->console_path));
        io->console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (io->console < 0 ||
            bind(io->console, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(io->console, 1) < 0)
                return error_setf(reterr, -errno, "cannot listen for a terminal: %m");
        return 0;
}

static int receive_fd(int conn, int *ret, Error *reterr) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {};
        char byte[256];
        struct iovec iov = { byte, sizeof(byte) };
        struct msghdr m = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control) };
        struct cmsghdr *c;

        if (recvmsg(conn, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
                return error_setf(reterr, -errno, "cannot receive the terminal: %m");
        c = CMSG_FIRSTHDR(&m);
        if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
            c->cmsg_len != CMSG_LEN(sizeof(int)))
                return error_setf(reterr, -EBADMSG, "crun sent no terminal");
        memcpy(ret, CMSG_DATA(c), sizeof(int));
        return 0;
}

static void end_console(Stdio *io) {
        if (io->console < 0)
                return;
        io->console = close_fd(io->console);
        (void)unlink(io->console_path);
}

static int prepare_pipe(Stdio *io, int i, int fds[3], Error *reterr) {
        bool input = i == 0;
        int ends[2];

        if (!io->streams[i])
                return 0;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "cannot make a pipe: %m");
        fds[i] = ends[input ? 0 : 1];
        return stream_start(io->streams[i], ends[input ? 1 : 0], false, reterr);
}

static int prepare(Stdio *io, Streams *all, StreamChanged changed, void *userdata, int fds[3],
                   Error *reterr) {
        int r;

        for (int i = 0; i < 3; i++) {
                /* The output of a terminal must be read even if nobody wants it. */
                if (io->channels[i] == 0 && !(io->terminal && i == 1))
                        continue;
                r = stream_new(all, i == 0 ? STREAM_INPUT : STREAM_OUTPUT, io->channels[i], changed,
                               userdata, &io->streams[i], reterr);
                if (r < 0)
                        return r;
        }
        if (io->terminal)
                return listen_console(io, reterr);
        for (int i = 0; i < 3; i++) {
                r = prepare_pipe(io, i, fds, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int stdio_prepare(Stdio *io, Streams *all, const StdioSpec *spec, StreamChanged changed,
                  void *userdata, int fds[3], Error *reterr) {
        int r;

        *io = (Stdio){ .console = -EBADF };
        for (int i = 0; i < 3; i++)
                fds[i] = -EBADF;
        if (!spec)
                return 0;
        io->terminal = spec->terminal;
        io->rows = spec->rows;
        io->columns = spec->columns;
        io->channels[0] = spec->stdin_channel;
        io->channels[1] = spec->stdout_channel;
        io->channels[2] = spec->stderr_channel;
        r = prepare(io, all, changed, userdata, fds, reterr);
        if (r < 0) {
                for (int i = 0; i < 3; i++)
                        fds[i] = close_fd(fds[i]);
                stdio_abandon(io);
        }
        return r;
}

int stdio_connect(Stdio *io, Error *reterr) {
        _cleanup_close_ int conn = -EBADF, master = -EBADF;
        int r;

        if (!io->terminal)
                return 0;
        conn = accept4(io->console, NULL, NULL, SOCK_CLOEXEC);
        if (conn < 0)
                return error_setf(reterr, -errno, "crun sent no terminal: %m");
        r = receive_fd(conn, &master, reterr);
        if (r < 0)
                return r;
        end_console(io);
        if (io->streams[0]) {
                int copy = fcntl(master, F_DUPFD_CLOEXEC, 3);

                if (copy < 0)
                        return error_setf(reterr, -errno, "cannot copy the terminal: %m");
                r = stream_start(io->streams[0], copy, true, reterr);
                if (r < 0)
                        return r;
        }
        r = stream_start(io->streams[1], TAKE_FD(master), true, reterr);
        if (r < 0 || io->rows == 0 || io->columns == 0)
                return r;
        return stream_resize(io->streams[1], io->rows, io->columns, reterr);
}

void stdio_drain(Stdio *io) {
        for (int i = 0; i < 3; i++)
                if (io->streams[i])
                        stream_drain(io->streams[i]);
}

bool stdio_is_settled(const Stdio *io) {
        for (int i = 0; i < 3; i++)
                if (io->streams[i] && !stream_is_settled(io->streams[i]))
                        return false;
        return true;
}

int stdio_resize(Stdio *io, uint32_t rows, uint32_t columns, Error *reterr) {
        if (!io->terminal)
                return error_setf(reterr, -EINVAL, "this process has no terminal");
        return stream_resize(io->streams[1], rows, columns, reterr);
}

void stdio_done(Stdio *io) {
        end_console(io);
        for (int i = 0; i < 3; i++)
                io->streams[i] = stream_free(io->streams[i]);
}

void stdio_abandon(Stdio *io) {
        end_console(io);
        for (int i = 0; i < 3; i++)
                io->streams[i] = stream_abandon(io->streams[i]);
}

void stdio_describe(const Stdio *io, StdioSpec *ret) {
        ret->terminal = io->terminal;
        ret->stdin_channel = io->channels[0];
        ret->stdout_channel = io->channels[1];
        ret->stderr_channel = io->channels[2];
        ret->rows = io->rows;
        ret->columns = io->columns;
}
