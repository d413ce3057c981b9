/* SPDX-License-Identifier: Apache-2.0 */
/* podferry logs: reads the container's log files, so that it works without the shim as well; with
 * --follow the shim is asked for the end. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "controllers/ids.h"
#include "lib/buf.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/values.h"
#include "shim/stdio/output-log.h"

enum { FOLLOW = 1, TIMESTAMPS };

static const Option options[] = {
        { FOLLOW, 'f', "follow", NULL, "go on until the container ends or moves away" },
        { TIMESTAMPS, 't', "timestamps", NULL, "with the time of each line" },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_logs = {
        .name = "logs",
        .operands = "POD[/CONTAINER]",
        .summary = "Show what a container has written",
        .text = "What it wrote to stdout and stderr comes out on stdout and stderr. The log\n"
                "moves with the pod: on the new host it is all there, from the beginning.",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = self_run,
};

typedef struct Logs {
        bool follow, timestamps;
        char *pod, *container, *path, *old_path;
        sd_bus *bus; /* NULL: its shim is dead */
        int fd;
        ino_t inode;
        Buf pending;
        bool over; /* the container has ended */
} Logs;

static void logs_done(Logs *l) {
        l->bus = sd_bus_flush_close_unref(l->bus);
        l->fd = close_fd(l->fd);
        buf_done(&l->pending);
        free(l->pod);
        free(l->container);
        free(l->path);
        free(l->old_path);
}

/* -- lines -- */

static void print_one(const Logs *l, const char *line, const OutputLine *o) {
        FILE *out = o->stream == OUTPUT_STDERR ? stderr : stdout;

        if (l->timestamps)
                (void)fprintf(out, "%.*s ", (int)strcspn(line, " "), line);
        (void)fwrite(o->body, 1, o->n, out);
        if (o->newline || l->timestamps)
                (void)fputc('\n', out);
}

static void print_pending(Logs *l) {
        size_t used = 0;

        for (;;) {
                const char *at = (const char *)l->pending.data + used;
                OutputLine o;
                ssize_t n = l->pending.len > used ? output_line_parse(at, l->pending.len - used, &o)
                                                  : 0;

                if (n == 0)
                        break;
                if (n > 0)
                        print_one(l, at, &o);
                used += (size_t)(n > 0 ? n : -n);
        }
        buf_consume(&l->pending, used);
}

/* To the present end of the file. */
static int print_file(Logs *l, int fd, Error *reterr) {
        uint8_t chunk[32768];

        for (;;) {
                ssize_t n = read(fd, chunk, sizeof(chunk));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "%s: %m", l->path);
                if (n == 0)
                        break;
                if (buf_append(&l->pending, chunk, (size_t)n) < 0)
                        return error_oom(reterr);
                print_pending(l);
        }
        if (fflush(stdout) != 0)
                return error_setf(reterr, -errno, "cannot write: %m");
        return 0;
}

/* -- files -- */

static int open_log(Logs *l, Error *reterr) {
        struct stat st;

        l->fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (l->fd < 0 && errno == ENOENT)
                return error_setf(reterr, -ENOENT, "%s: container %s has no log", l->pod,
                                  l->container);
        if (l->fd < 0 || fstat(l->fd, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", l->path);
        l->inode = st.st_ino;
        return 0;
}

/* The older file, unless it became the newer one's successor since that was opened. */
static int print_old(Logs *l, Error *reterr) {
        _cleanup_close_ int fd = open(l->old_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino == l->inode)
                return 0;
        return print_file(l, fd, reterr);
}

/* The log was cut: what we have open is the older file now. */
static int next_file(Logs *l, bool *ret_changed, Error *reterr) {
        struct stat st;

        *ret_changed = false;
        if (stat(l->path, &st) < 0 || st.st_ino == l->inode)
                return 0;
        l->fd = close_fd(l->fd);
        *ret_changed = true;
        return open_log(l, reterr);
}

static int print_new(Logs *l, Error *reterr) {
        bool changed = true;
        int r = 0;

        while (r == 0 && changed) {
                r = print_file(l, l->fd, reterr);
                if (r == 0)
                        r = next_file(l, &changed, reterr);
        }
        return r;
}

/* -- following -- */

static int on_exit_known(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Logs *l = userdata;

        l->over = true;
        return 0;
}

/* Its Wait is answered when all output is in the log. */
static int ask_for_end(Logs *l, Error *reterr) {
        _cleanup_free_ char *path = bus_container_path(l->container);
        int r;

        if (!path)
                return error_oom(reterr);
        if (!l->bus) {
                l->over = true;
                return 0;
        }
        r = sd_bus_call_method_async(l->bus, NULL, NULL, path, BUS_INTERFACE ".Container", "Wait",
                                     on_exit_known, l, "s", "");
        return r < 0 ? error_setf(reterr, r, "%s: %s", l->pod, strerrordesc_np(-r)) : 0;
}

static int work_off_bus(Logs *l) {
        int r;

        while ((r = sd_bus_process(l->bus, NULL)) > 0)
                ;
        if (r < 0)
                l->over = true; /* the shim has gone: there will be no more */
        return sd_bus_get_events(l->bus);
}

static int follow(Logs *l, Error *reterr) {
        _cleanup_close_ int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        char directory[4096];
        int r;

        (void)snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(l->path, '/') - l->path),
                       l->path);
        if (watch < 0 ||
            inotify_add_watch(watch, directory,
                              IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF) < 0)
                return error_setf(reterr, -errno, "cannot watch %s: %m", directory);
        r = ask_for_end(l, reterr);
        while (r == 0) {
                struct pollfd fds[2] = { { .fd = watch, .events = POLLIN }, { .fd = -1 } };
                char events[4096];
                int wanted = l->over ? 0 : work_off_bus(l);

                r = print_new(l, reterr);
                if (r < 0 || l->over)
                        break;
                fds[1] = (struct pollfd){ .fd = sd_bus_get_fd(l->bus),
                                          .events = (short)(wanted < 0 ? POLLIN : wanted) };
                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "poll: %m");
                while (read(watch, events, sizeof(events)) > 0)
                        ;
        }
        return r;
}

/* -- the command -- */

static int find_log(const Ctl *ctl, Logs *l, Error *reterr) {
        _cleanup_free_ char *path = NULL, *id = NULL;
        int r;

        r = pod_connect(ctl->config.run_dir, l->pod, &l->bus, reterr);
        if (r == -ECONNREFUSED && l->container)
                r = 0;
        else if (r == 0) {
                r = pod_find_container(l->bus, l->pod, l->container, &path, &id, reterr);
                free(l->container);
                l->container = TAKE(id);
        }
        if (r < 0)
                return r;
        if (asprintf(&l->path, "%s/%s/logs/%s.log", ctl->config.run_dir, l->pod, l->container) < 0)
                l->path = NULL;
        if (l->path && asprintf(&l->old_path, "%s.1", l->path) < 0)
                l->old_path = NULL;
        return l->path && l->old_path ? 0 : error_oom(reterr);
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(logs_done) Logs l = { .fd = -EBADF };
        Error e = ERROR_INIT;
        OptionParser p;
        char **operands;
        int id, n, r;

        option_parser_init(&p, self, argc, argv);
        while ((id = option_next(&p, &e)) > 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                l.follow = l.follow || id == FOLLOW;
                l.timestamps = l.timestamps || id == TIMESTAMPS;
        }
        if (id < 0)
                return ctl_usage(self, &e);
        operands = option_operands(&p, &n);
        if (n != 1)
                return ctl_usagef(self, "%s", n < 1 ? "POD is missing" : "one POD at a time");
        r = value_target(operands[0], &l.pod, &l.container, &e);
        if (r == 0)
                r = find_log(ctl, &l, &e);
        if (r == 0)
                r = open_log(&l, &e);
        if (r == 0)
                r = print_old(&l, &e);
        if (r == 0)
                r = l.follow ? follow(&l, &e) : print_new(&l, &e);
        return r < 0 ? ctl_fail(r, &e, "logs") : CTL_OK;
}
