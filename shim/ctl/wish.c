/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/wish.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/directory.h"
#include "shim/ctl/values.h"

#define ANSWER_MS  180000U /* what is over there is removed meanwhile */
#define ANSWER_MAX 400U
#define LINE_MS    1000U /* it is sent at once */
#define TRIES      3U

static int address_of(const char *run_dir, const char *pod, struct sockaddr_un *ret,
                      Error *reterr) {
        int n, r = id_check("pod name", pod, reterr);

        if (r < 0)
                return r;
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/.wish-%s", run_dir, pod);
        return n < 0 || (size_t)n >= sizeof(ret->sun_path)
                       ? error_setf(reterr, -ENAMETOOLONG,
                                    "%s/%s: the path is too long for a socket", run_dir, pod)
                       : 0;
}

int wishes_open(Wishes *w, const char *run_dir, const char *pod, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un address;
        int r;

        r = address_of(run_dir, pod, &address, reterr);
        if (r == 0)
                r = directory_make(run_dir, 0711, reterr);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "socket: %m");
        if (unlink(address.sun_path) < 0 && errno != ENOENT) /* of one that was killed */
                return error_setf(reterr, -errno, "%s: %m", address.sun_path);
        /* Nobody can connect before it listens. */
        if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            chmod(address.sun_path, 0600) < 0 || listen(fd, (int)WISHES_MAX) < 0)
                return error_setf(reterr, -errno, "%s: %m", address.sun_path);
        w->path = strdup(address.sun_path);
        if (!w->path) {
                (void)unlink(address.sun_path);
                return error_oom(reterr);
        }
        w->fd = TAKE_FD(fd);
        return 0;
}

static void answer(int fd, const char *what, const char *text) {
        char line[ANSWER_MAX];
        int n = snprintf(line, sizeof(line), "%s%s%.300s\n", what, *text ? " " : "", text);

        (void)send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* 1: a line, without its end. 0: it hung up without one. -ETIMEDOUT; -EMSGSIZE: a longer one. */
static int read_line(int fd, char *line, size_t size, unsigned ms, Error *reterr) {
        uint64_t end = clock_ms() + ms;
        size_t n = 0;

        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint64_t now = clock_ms();
                ssize_t k;

                if (now >= end)
                        return error_setf(reterr, -ETIMEDOUT, "not a word in %u s", ms / 1000);
                if (poll(&p, 1, (int)(end - now)) < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "poll: %m");
                if (!p.revents)
                        continue;
                k = recv(fd, line + n, size - 1 - n, MSG_DONTWAIT);
                if (k < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (k <= 0)
                        return 0;
                n += (size_t)k;
                line[n] = '\0';
                if (strchr(line, '\n')) {
                        line[strcspn(line, "\n")] = '\0';
                        return 1;
                }
                if (n + 1 >= size)
                        return error_setf(reterr, -EMSGSIZE, "a line of more than %zu bytes", n);
        }
}

/* Nothing is said on it after the beginning: what can be read is its end. */
static bool has_hung_up(int fd) {
        char c;

        return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EINTR);
}

static void drop_gone(Wishes *w) {
        size_t kept = 0;

        for (size_t i = 0; i < w->n; i++)
                if (has_hung_up(w->asked[i]))
                        (void)close_fd(w->asked[i]);
                else
                        w->asked[kept++] = w->asked[i];
        w->n = kept;
}

/* Who connects says at once what it is. -EBADMSG, -ETIMEDOUT: it did not. */
static int read_wish(int fd, Wish *ret) {
        static const char *const lines[_WISH_MAX] = {
                [WISH_START] = "start",
                [WISH_CANCEL] = "cancel",
                [WISH_CUTOVER] = "cutover",
                [WISH_BANDWIDTH] = "set bandwidth ",
        };
        char line[WISH_MAX];
        int r = read_line(fd, line, sizeof(line), LINE_MS, NULL);

        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        *ret = (Wish){ .kind = WISH_OTHER };
        for (size_t i = 0; i < WISH_OTHER; i++) {
                size_t n = strlen(lines[i]);
                bool valued = lines[i][n - 1] == ' ';

                if (valued ? strncmp(line, lines[i], n) != 0 : strcmp(line, lines[i]) != 0)
                        continue;
                ret->kind = (WishKind)i;
                return valued ? value_number(line + n, 0, UINT64_MAX, &ret->value, NULL) : 0;
        }
        return 0;
}

static void take_one(Wishes *w, int fd, WishHeed *heed, void *userdata) {
        _cleanup_close_ int asked = fd;
        const char *refusal;
        Wish wish;

        if (read_wish(fd, &wish) < 0)
                return;
        refusal = heed(userdata, &wish);
        if (refusal)
                answer(fd, "no", refusal);
        else if (wish.kind != WISH_START)
                answer(fd, "ok", "");
        else if (w->n < WISHES_MAX)
                w->asked[w->n++] = TAKE_FD(asked);
}

bool wishes_take(Wishes *w, WishHeed *heed, void *userdata) {
        drop_gone(w);
        for (;;) {
                int fd = w->fd >= 0 ? accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;

                if (fd < 0)
                        break;
                take_one(w, fd, heed, userdata);
        }
        drop_gone(w);
        return w->n > 0;
}

void wishes_close(Wishes *w) {
        if (w->fd < 0)
                return;
        (void)unlink(w->path);
        w->fd = close_fd(w->fd);
        free(TAKE(w->path));
}

void wishes_grant(Wishes *w) {
        for (size_t i = 0; i < w->n; i++)
                answer(w->asked[i], "go", "");
}

bool wishes_wait(Wishes *w, int signal_fd, unsigned ms) {
        struct pollfd fds[WISHES_MAX + 1] = { { .fd = signal_fd, .events = POLLIN } };

        drop_gone(w);
        for (size_t i = 0; i < w->n; i++)
                fds[i + 1] = (struct pollfd){ .fd = w->asked[i], .events = POLLIN };
        if (w->n > 0)
                (void)poll(fds, w->n + 1, (int)ms);
        drop_gone(w);
        return w->n == 0;
}

void wishes_done(Wishes *w) {
        wishes_close(w);
        for (size_t i = 0; i < w->n; i++)
                (void)close_fd(w->asked[i]);
        w->n = 0;
}

/* -- the other end -- */

/* Says it, and hears the answer. 1: there is one, and *ret_fd is the connection. 0: nobody is
 * there, or nobody any more. */
static int ask(const char *run_dir, const char *pod, const char *wish, char answer[ANSWER_MAX],
               int *ret_fd, Error *reterr) {
        struct sockaddr_un address;
        char line[WISH_MAX];
        int n, r;

        n = snprintf(line, sizeof(line), "%s\n", wish);
        if (n < 0 || (size_t)n >= sizeof(line))
                return error_setf(reterr, -EINVAL, "\"%.40s\": too long", wish);
        r = address_of(run_dir, pod, &address, reterr);
        for (unsigned i = 0; r == 0 && i < TRIES; i++) {
                _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (fd < 0)
                        return error_setf(reterr, -errno, "socket: %m");
                if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                        return errno == ENOENT || errno == ECONNREFUSED
                                       ? 0
                                       : error_setf(reterr, -errno, "%s: %m", address.sun_path);
                if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
                        continue; /* it is gone, or too far: look again */
                r = read_line(fd, answer, ANSWER_MAX, ANSWER_MS, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "whoever moves the pod");
                if (r == 0)
                        continue;
                text_clean(answer);
                *ret_fd = TAKE_FD(fd);
                return 1;
        }
        return r < 0 ? r
                     : error_setf(reterr, -EBUSY,
                                  "pod %s is being moved, and who moves it hangs up: try again",
                                  pod);
}

static int refused(const char *answer, Error *reterr) {
        return error_setf(reterr, -EBUSY, "%s",
                          strncmp(answer, "no ", 3) == 0 ? answer + 3 : "it is being moved");
}

int wish_start(const char *run_dir, const char *pod, int *ret_fd, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        char answer[ANSWER_MAX];
        int r;

        *ret_fd = -EBADF;
        r = ask(run_dir, pod, "start", answer, &fd, reterr);
        if (r <= 0)
                return r;
        if (strcmp(answer, "go") != 0)
                return refused(answer, reterr);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int wish_tell(const char *run_dir, const char *pod, const char *line, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        char answer[ANSWER_MAX];
        int r;

        r = ask(run_dir, pod, line, answer, &fd, reterr);
        if (r == 0)
                return error_setf(reterr, -ENOENT, "pod %s is not moved as a stopped one", pod);
        if (r < 0)
                return r;
        return strcmp(answer, "ok") == 0 ? 0 : refused(answer, reterr);
}
