/* SPDX-License-Identifier: Apache-2.0 */
/* podferry logs: reads the container's log files, so that it works without the shim as well; with
 * --follow it is an attached client that gets the lines of the log, and goes where the pod goes. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "controllers/ids.h"
#include "lib/buf.h"
#include "shim/ctl/attach-loop.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/definition.h"
#include "shim/stdio/output-log.h"

#define TAIL_MAX 1000000U

enum { FOLLOW = 1, TIMESTAMPS, TAIL, SINCE, EXEC, STAY };

static const Option options[] = {
        { FOLLOW, 'f', "follow", NULL, "go on until the container ends, wherever it moves" },
        { TAIL, 'n', "tail", "N", "only the last N lines of what is there" },
        { SINCE, 0, "since", "TIME", "only from then on: 10m, 2h, or 2026-01-31T12:00 (UTC)" },
        { TIMESTAMPS, 't', "timestamps", NULL, "with the time of each line (UTC)" },
        { EXEC, 'e', "exec", "ID", "of a command of podferry exec --detach instead" },
        { STAY, 0, "stay", NULL, ATTACH_STAY_HELP },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_logs = {
        .name = "logs",
        .operands = "POD[/CONTAINER]",
        .summary = "Show what a container has written",
        .text = "What it wrote to stdout and stderr comes out on stdout and stderr. The log\n"
                "moves with the pod: on the new host it is all there, from the beginning.\n"
                "\n"
                "  podferry logs --tail 20 --follow web\n"
                "  podferry logs --since 10m --timestamps web/log",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = self_run,
};

typedef struct Logs {
        bool follow, timestamps, stay;
        uint64_t tail;  /* UINT64_MAX: all */
        char since[40]; /* as the log writes it, or the beginning of that; "": all */
        const char *exec_id;
        char *pod, *container, *path, *old_path;
        sd_bus *bus; /* NULL: its shim is dead */
        int fd;
        ino_t inode;
        Buf pending;
        Buf held; /* whole lines that may be among the last ones */
        uint64_t n_held;
        bool flows; /* the last ones are out: print what comes */
} Logs;

static void logs_done(Logs *l) {
        l->bus = sd_bus_flush_close_unref(l->bus);
        l->fd = close_fd(l->fd);
        buf_done(&l->pending);
        buf_done(&l->held);
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

/* The first n lines of what is held, printed or thrown away. */
static void release(Logs *l, uint64_t n, bool print) {
        size_t used = 0;

        for (; n > 0 && used < l->held.len; n--, l->n_held--) {
                const char *at = (const char *)l->held.data + used;
                OutputLine o;
                ssize_t k = output_line_parse(at, l->held.len - used, &o);

                if (k <= 0) /* only whole lines are held */
                        break;
                if (print)
                        print_one(l, at, &o);
                used += (size_t)k;
        }
        buf_consume(&l->held, used);
}

/* Twice as many as wanted are held before some go, so that none is moved often. */
static int hold(Logs *l, const char *line, size_t n) {
        if (buf_append(&l->held, line, n) < 0)
                return -ENOMEM;
        l->n_held++;
        if (l->n_held > 2 * l->tail + 1024)
                release(l, l->n_held - l->tail, false);
        return 0;
}

static int take_line(Logs *l, const char *line, size_t n, const OutputLine *o) {
        if (*l->since && strncmp(line, l->since, strlen(l->since)) < 0)
                return 0;
        if (l->tail != UINT64_MAX && !l->flows)
                return hold(l, line, n);
        print_one(l, line, o);
        return 0;
}

static int take_pending(Logs *l) {
        size_t used = 0;
        int r = 0;

        while (r == 0) {
                const char *at = (const char *)l->pending.data + used;
                OutputLine o;
                ssize_t n = l->pending.len > used ? output_line_parse(at, l->pending.len - used, &o)
                                                  : 0;

                if (n == 0)
                        break;
                if (n > 0)
                        r = take_line(l, at, (size_t)n, &o);
                used += (size_t)(n > 0 ? n : -n);
        }
        buf_consume(&l->pending, used);
        return r;
}

/* What was there has been read: the last lines of it. */
static int let_flow(void *userdata) {
        Logs *l = userdata;

        if (l->n_held > l->tail)
                release(l, l->n_held - l->tail, false);
        release(l, l->n_held, true);
        l->flows = true;
        return fflush(stdout) == 0 ? 0 : -errno;
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
                if (buf_append(&l->pending, chunk, (size_t)n) < 0 || take_pending(l) < 0)
                        return error_oom(reterr);
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

static int on_lines(void *userdata, const char *p, size_t n) {
        Logs *l = userdata;

        if (buf_append(&l->pending, p, n) < 0 || take_pending(l) < 0)
                return -ENOMEM;
        return fflush(stdout) == 0 ? 0 : -errno;
}

static int follow(Logs *l, const char *run_dir, int *ret_status, Error *reterr) {
        _cleanup_free_ char *path = bus_container_path(l->container);
        AttachSession s = { .target = { .run_dir = run_dir,
                                        .pod = l->pod,
                                        .container = l->container,
                                        .exec_id = l->exec_id,
                                        .wishes.lines = true },
                            .link = ATTACH_LINK_INIT,
                            .stay = l->stay,
                            .lines = on_lines,
                            .caught_up = let_flow,
                            .userdata = l };
        AttachEnd end = ATTACH_LOST;
        int r;

        if (!path)
                return error_oom(reterr);
        r = attach_open(&s, l->bus, path, reterr);
        if (r == 0)
                r = attach_run(&s, &end, reterr);
        if (r == 0 && end == ATTACH_MOVED_ON) {
                ctl_say("%s: it has moved to another host; podferry logs there shows the rest",
                        l->pod);
                *ret_status = l->stay ? CTL_OK : CTL_FAILED;
        } else if (r == 0 && end == ATTACH_LOST && s.host)
                *ret_status = attach_status(&s, end);
        attach_close(&s);
        return r;
}

/* -- the command -- */

/* The container of a stopped pod without a shim: its only one, if none was named. */
static int find_stopped(const char *state, Logs *l, Error *reterr) {
        _cleanup_definition_ Definition d = {};
        int r = l->container ? 0 : definition_read(state, &d, reterr);

        if (r < 0 || l->container)
                return r;
        if (d.n_containers != 1)
                return error_setf(reterr, -EINVAL, "%s has %zu containers: name one, as in %s/%s",
                                  l->pod, d.n_containers, l->pod,
                                  d.n_containers > 0 ? d.containers[0].id : "CONTAINER");
        l->container = strdup(d.containers[0].id);
        return l->container ? 0 : error_oom(reterr);
}

static int find_log(const Ctl *ctl, Logs *l, Error *reterr) {
        _cleanup_free_ char *path = NULL, *id = NULL, *in = NULL;
        int r;

        r = pod_connect(ctl->config.run_dir, l->pod, &l->bus, reterr);
        if (r == -ECONNREFUSED && l->container)
                r = 0;
        else if (r == 0) {
                r = pod_find_container(l->bus, l->pod, l->container, &path, &id, reterr);
                free(l->container);
                l->container = TAKE(id);
        } else if (r == -ENOENT && pod_is_stopped(ctl, l->pod)) {
                if (asprintf(&in, "%s/pods/%s", ctl->config.state_dir, l->pod) < 0)
                        in = NULL;
                r = in ? find_stopped(in, l, reterr) : error_oom(reterr);
        }
        if (r < 0)
                return r;
        if (!in && asprintf(&in, "%s/%s", ctl->config.run_dir, l->pod) < 0)
                in = NULL;
        if (in && asprintf(&l->path, "%s/logs/%s%s%s.log", in, l->container, *l->exec_id ? "/" : "",
                           l->exec_id) < 0)
                l->path = NULL;
        if (l->path && asprintf(&l->old_path, "%s.1", l->path) < 0)
                l->old_path = NULL;
        return l->path && l->old_path ? 0 : error_oom(reterr);
}

/* "10m" before now, or a time in the form of the log, as much of it as there is. */
static int parse_since(Logs *l, const char *value, Error *reterr) {
        uint64_t ms;
        struct tm t;
        time_t then;

        if (value_duration(value, &ms, NULL) == 0) {
                then = time(NULL) - (time_t)(ms / 1000);
                if (!gmtime_r(&then, &t) ||
                    strftime(l->since, sizeof(l->since), "%Y-%m-%dT%H:%M:%S", &t) == 0)
                        return error_setf(reterr, -EINVAL, "\"%.40s\": too long ago", value);
                return 0;
        }
        if (strlen(value) < 10 || strlen(value) >= sizeof(l->since) || value[4] != '-' ||
            value[7] != '-' || strspn(value, "0123456789-T:.Z") != strlen(value))
                return error_setf(reterr, -EINVAL,
                                  "\"%.40s\": 90s, 10m, 2h, or 2026-01-31T12:00 in UTC", value);
        (void)snprintf(l->since, sizeof(l->since), "%s", value);
        return 0;
}

static int take_option(Logs *l, int id, const char *value, Error *reterr) {
        switch (id) {
        case FOLLOW:
                l->follow = true;
                return 0;
        case TIMESTAMPS:
                l->timestamps = true;
                return 0;
        case STAY:
                l->stay = true;
                return 0;
        case TAIL:
                return value_number(value, 0, TAIL_MAX, &l->tail, reterr);
        case EXEC:
                l->exec_id = value;
                return id_check("exec", value, reterr);
        case SINCE:
                return parse_since(l, value, reterr);
        default:
                return -EINVAL;
        }
}

/* The files, as far as they go at present. */
static int print_files(Logs *l, Error *reterr) {
        int r = open_log(l, reterr);

        if (r == 0)
                r = print_old(l, reterr);
        if (r == 0)
                r = print_new(l, reterr);
        if (r == 0 && let_flow(l) < 0)
                r = error_setf(reterr, -EIO, "cannot write");
        return r;
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(logs_done) Logs l = { .fd = -EBADF, .tail = UINT64_MAX, .exec_id = "" };
        Error e = ERROR_INIT;
        OptionParser p;
        char **operands;
        int id, n, r = 0, status = CTL_OK;

        option_parser_init(&p, self, argc, argv);
        while (r == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                r = id < 0 ? id : option_took(&p, take_option(&l, id, p.value, &e), &e);
        }
        if (r < 0)
                return ctl_usage(self, &e);
        operands = option_operands(&p, &n);
        if (n != 1)
                return ctl_usagef(self, "%s", n < 1 ? "POD is missing" : "one POD at a time");
        r = value_target(operands[0], &l.pod, &l.container, &e);
        if (r == 0)
                r = find_log(ctl, &l, &e);
        if (r == 0)
                r = l.follow && l.bus ? follow(&l, ctl->config.run_dir, &status, &e)
                                      : print_files(&l, &e);
        return r < 0 ? ctl_fail(r, &e, "logs") : status;
}
