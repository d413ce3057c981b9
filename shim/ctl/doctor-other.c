/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/doctor.h"
#include "shim/ctl/migrate-show.h"

/* Until its end, the deadline, or more than there may be. */
static int read_all(int fd, uint64_t end, Buf *ret, Error *reterr) {
        for (;;) {
                uint64_t now = clock_ms();
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint8_t bytes[4096];
                ssize_t n;

                if (now >= end)
                        return error_setf(reterr, -ETIMEDOUT, "it does not answer in time");
                if (poll(&p, 1, (int)MIN_OF(end - now, (uint64_t)INT32_MAX)) <= 0)
                        continue;
                n = read(fd, bytes, sizeof(bytes));
                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "its answer cannot be read: %m");
                if (n == 0)
                        return 0;
                if (ret->len + (size_t)n > DIAGNOSE_FACTS_MAX)
                        return error_setf(reterr, -EBADMSG,
                                          "what it says is not an answer of podferry doctor: more "
                                          "than %u bytes",
                                          DIAGNOSE_FACTS_MAX);
                if (buf_append(ret, bytes, (size_t)n) < 0)
                        return error_oom(reterr);
        }
}

/* One line. */
static int understand(Buf *answer, const char *pod, DiagnoseFacts **ret, Error *reterr) {
        _cleanup_(diagnose_facts_freep) DiagnoseFacts *f = NULL;
        int r;

        if (answer->len > 0 && answer->data[answer->len - 1] == '\n')
                answer->data[answer->len - 1] = '\0';
        else if (buf_append(answer, "", 1) < 0)
                return error_oom(reterr);
        r = memchr(answer->data, '\0', answer->len - 1)
                    ? error_setf(reterr, -EBADMSG, "a NUL in it")
                    : diagnose_facts_read((const char *)answer->data, &f, reterr);
        if (r < 0)
                return r == -ENOMEM ? r
                                    : error_prefix(reterr, -EBADMSG,
                                                   "what it says is not an answer of podferry "
                                                   "doctor");
        if (strcmp(f->pod, pod) != 0)
                return error_setf(reterr, -EBADMSG, "it was asked for %s, and speaks of %s", pod,
                                  f->pod);
        *ret = TAKE(f);
        return 0;
}

/* Whatever it wrote on stderr says more than that its output makes no sense. */
static int listen_to(RemoteRun *run, int fd, uint64_t end, const char *pod, DiagnoseFacts **ret,
                     Error *reterr) {
        _cleanup_buf_ Buf answer = {};
        Error why = ERROR_INIT;
        int r, k;

        r = read_all(fd, end, &answer, reterr);
        k = remote_finish(run, r < 0 ? 0 : 2000, &why);
        if (r < 0)
                return r;
        if (k < 0)
                return error_setf(reterr, k, "%s", why.text);
        return understand(&answer, pod, ret, reterr);
}

int doctor_look_there(const Doctor *d, const char *pod, DiagnoseFacts **ret, Error *reterr) {
        const char *const args[] = { "doctor", "--facts", pod, NULL };
        _cleanup_close_ int nothing = -EBADF, ours = -EBADF, theirs = -EBADF;
        uint64_t end = clock_ms() + d->timeout_ms;
        RemoteRun run = REMOTE_RUN_INIT;
        int fds[2], r;

        nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (nothing < 0 || pipe2(fds, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        ours = fds[0], theirs = fds[1];
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        r = remote_start(&d->remote, args, nothing, theirs, &run, reterr);
        theirs = close_fd(theirs);
        if (r == 0)
                r = listen_to(&run, ours, end, pod, ret, reterr);
        if (reterr)
                text_clean(reterr->text);
        return r < 0 ? error_prefix(reterr, r, "%s", d->remote.name) : 0;
}
