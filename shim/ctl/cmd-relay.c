/* SPDX-License-Identifier: Apache-2.0 */
/* podferry relay: the end of an attached client on a host that its pod came to. See attach-link.h.
 *
 * Between MOVED and the client's FOLLOW nothing of his goes down: it was sent before he knew. */
#include <poll.h>
#include <string.h>

#include "controllers/ids.h"
#include "shim/ctl/attach-link.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/values.h"
#include "shim/ferry/nowait.h"

#define OUT_MAX (256U << 10) /* to the client; then the process waits */

enum { POD = 1, CONTAINER, EXEC, OFFSET, WITH_STDIN, LINES };

static const Option options[] = {
        { POD, 'p', "pod", "NAME", "name of the pod on this host" },
        { CONTAINER, 'c', "container", "NAME", "its container" },
        { EXEC, 'e', "exec", "ID", "a process of it; empty: its command" },
        { OFFSET, 0, "offset", "N", "of the log, to go on from" },
        { WITH_STDIN, 0, "stdin", NULL, "pass input on" },
        { LINES, 0, "lines", NULL, "lines of the log instead of what was written" },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_relay = {
        .name = "relay",
        .operands = "",
        .summary = "Carry an attached client to a pod that came here (started there by attach)",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "",
        .run = self_run,
};

typedef struct Relay {
        AttachTarget target;
        AttachLink link;
        AttachWay way;
        Buf in, out;                         /* of the client */
        uint8_t frame[1 + ATTACH_FRAME_MAX]; /* of his, for which the link has no room */
        size_t n_frame;
        bool moved; /* the pod has, and the client has not said that he follows */
        bool quiet; /* the link has nothing more to say */
        bool over;
} Relay;

static int say(Relay *x, uint8_t type, const void *p, size_t n) {
        return relay_put(&x->out, type, p, n);
}

/* -- the link -- */

static int tell_opened(Relay *x) {
        uint8_t with_stdin = x->link.with_stdin;

        x->quiet = false;
        return say(x, RELAY_OPENED, &with_stdin, 1);
}

static int refuse(Relay *x, int code, const Error *e) {
        const char *text = error_text(e, code);

        x->over = true;
        return say(x, RELAY_REFUSED, text, strlen(text));
}

static int open_here(Relay *x) {
        _cleanup_free_ char *path = NULL;
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL; /* the link keeps it */
        Error e = ERROR_INIT;
        int r;

        r = pod_connect(x->target.run_dir, x->target.pod, &bus, &e);
        if (r == 0) {
                path = bus_container_path(x->target.container);
                r = path ? attach_link_local(&x->link, bus, path, &x->target, true, &e)
                         : error_oom(&e);
        }
        return r < 0 ? refuse(x, r, &e) : tell_opened(x);
}

static int follow(Relay *x) {
        AttachLink next = ATTACH_LINK_INIT;
        Error e = ERROR_INIT;
        int r;

        x->target.wishes.with_stdin = x->link.with_stdin;
        if (attach_link_is_remote(&x->link)) {
                r = attach_link_home(&next, &x->way, &x->target, &e);
                if (r == -ENOENT) {
                        r = attach_link_send(&x->link, RELAY_FOLLOW, NULL, 0);
                        return r > 0 ? 0 : -EPIPE;
                }
        } else
                r = attach_link_remote(&next, &x->way, &x->target, &e);
        if (r < 0)
                return refuse(x, r, &e);
        attach_link_close(&x->link);
        x->link = next;
        x->quiet = false;
        return attach_link_is_remote(&x->link) ? 0 : tell_opened(x);
}

static int on_link_frame(Relay *x, const uint8_t *p, size_t n) {
        Error e = ERROR_INIT;
        int r;

        if (p[0] == RELAY_OPENED && n >= 2)
                x->link.with_stdin = p[1];
        if (p[0] == ATTACH_MOVED) {
                attach_way_done(&x->way);
                r = attach_way_parse(p + 1, n - 1, &x->way, &e);
                if (r < 0)
                        return r;
                x->moved = true;
                x->n_frame = 0;
        }
        if ((p[0] == ATTACH_MOVED || p[0] == ATTACH_EXIT) && !attach_link_is_remote(&x->link))
                x->quiet = true;
        if (x->quiet)
                x->n_frame = 0;
        return say(x, p[0], p + 1, n - 1);
}

static int read_link(Relay *x) {
        uint8_t frame[1 + ATTACH_FRAME_MAX];

        while (!x->quiet && !x->over && x->out.len <= OUT_MAX) {
                ssize_t n = attach_link_receive(&x->link, frame);
                int r;

                if (n <= 0)
                        return (int)n;
                r = on_link_frame(x, frame, (size_t)n);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* -- the client -- */

static int tell_result(Relay *x, uint8_t type, int code, const Error *e) {
        const char *text = code < 0 ? error_text(e, code) : "";

        return say(x, type, text, strlen(text));
}

static int on_client_frame(Relay *x, const uint8_t *p, size_t n) {
        Error e = ERROR_INIT;
        int r;

        switch (p[0]) {
        case RELAY_FOLLOW:
                if (!x->moved || !x->way.to)
                        return -EPROTO;
                x->moved = false;
                return follow(x);
        case RELAY_SIGNAL:
                if (n < 3)
                        return -EPROTO;
                r = attach_link_signal(&x->link, (uint32_t)(p[1] | p[2] << 8), &e);
                return r < 0 ? tell_result(x, RELAY_SAID, r, &e) : 0;
        case RELAY_REMOVE:
                if (n != 2 || p[1] > ATTACH_REMOVE_POD)
                        return -EPROTO;
                r = attach_link_remove(&x->link, p[1], &e);
                return r == 1 ? 0 : tell_result(x, RELAY_REMOVED, r, &e);
        default:
                if (x->moved || x->quiet)
                        return 0;
                r = attach_link_send(&x->link, p[0], p + 1, n - 1);
                if (r == 0) {
                        memcpy(x->frame, p, n);
                        x->n_frame = n;
                }
                return r < 0 && r != -EPIPE && r != -ECONNRESET ? r : 0;
        }
}

/* What waited for room first. */
static int take_client_frames(Relay *x) {
        uint8_t frame[1 + ATTACH_FRAME_MAX];

        if (x->n_frame > 0) {
                size_t n = x->n_frame;
                int r;

                x->n_frame = 0;
                memcpy(frame, x->frame, n);
                r = on_client_frame(x, frame, n);
                if (r < 0)
                        return r;
        }
        while (x->n_frame == 0 && !x->over) {
                ssize_t n = relay_take(&x->in, frame);
                int r;

                if (n <= 0)
                        return (int)n;
                r = on_client_frame(x, frame, (size_t)n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_client(Relay *x) {
        ssize_t n;

        if (buf_reserve(&x->in, ATTACH_FRAME_MAX) < 0)
                return -ENOMEM;
        n = nowait_read(STDIN_FILENO, x->in.data + x->in.len, ATTACH_FRAME_MAX);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -EPIPE;
        x->in.len += (size_t)n;
        return 0;
}

static int write_client(Relay *x) {
        while (x->out.len > 0) {
                ssize_t n = nowait_write(STDOUT_FILENO, x->out.data, x->out.len);

                if (n < 0 && errno != EINTR)
                        return errno == EAGAIN ? 0 : -errno;
                if (n > 0)
                        buf_consume(&x->out, (size_t)n);
        }
        return 0;
}

/* -- the loop -- */

static int turn(Relay *x) {
        bool full = x->out.len > OUT_MAX;
        struct pollfd fds[3] = {
                { .fd = x->quiet || full ? -1 : x->link.fd,
                  .events = attach_link_events(&x->link, x->n_frame > 0) },
                { .fd = x->n_frame == 0 ? STDIN_FILENO : -1, .events = POLLIN },
                { .fd = x->out.len > 0 ? STDOUT_FILENO : -1, .events = POLLOUT },
        };
        bool more = fds[0].fd >= 0 && attach_link_has_frame(&x->link);
        int r;

        if (poll(fds, ELEMENTSOF(fds), more ? 0 : -1) < 0)
                return errno == EINTR ? 0 : -errno;
        r = fds[1].revents ? read_client(x) : 0;
        if (r == 0)
                r = take_client_frames(x);
        if (r == 0 && (fds[0].revents || more))
                r = read_link(x);
        return r == 0 ? write_client(x) : r;
}

/* The last frame goes out, if the client still reads. */
static int flush_client(Relay *x) {
        int r = 0;

        while (r == 0 && x->out.len > 0) {
                struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

                r = poll(&p, 1, 5000) <= 0 ? -EPIPE : write_client(x);
        }
        return r;
}

static int carry(Relay *x) {
        int r;

        nowait_prepare(STDIN_FILENO);
        nowait_prepare(STDOUT_FILENO);
        r = open_here(x);
        while (r == 0 && !x->over)
                r = turn(x);
        (void)flush_client(x);
        attach_link_close(&x->link);
        attach_way_done(&x->way);
        buf_done(&x->in);
        buf_done(&x->out);
        return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

static int take_option(AttachTarget *t, int id, const char *value, Error *reterr) {
        switch (id) {
        case POD:
                t->pod = value;
                return id_check("pod name", value, reterr);
        case CONTAINER:
                t->container = value;
                return id_check("container name", value, reterr);
        case EXEC:
                t->exec_id = value;
                return *value ? id_check("exec", value, reterr) : 0;
        case OFFSET:
                return value_number(value, 0, UINT64_MAX, &t->wishes.offset, reterr);
        case WITH_STDIN:
                t->wishes.with_stdin = true;
                return 0;
        case LINES:
                t->wishes.lines = true;
                return 0;
        default:
                return -EINVAL;
        }
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        static Relay x; /* large */
        Error e = ERROR_INIT;
        OptionParser p;
        int id, r = 0;

        x = (Relay){ .target = { .run_dir = ctl->config.run_dir, .exec_id = "" },
                     .link = ATTACH_LINK_INIT };
        option_parser_init(&p, self, argc, argv);
        while (r == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                r = id < 0 ? id : option_took(&p, take_option(&x.target, id, p.value, &e), &e);
        }
        if (r == 0 && (!x.target.pod || !x.target.container || p.n_operands > 0))
                r = error_setf(&e, -EINVAL, "--pod NAME --container NAME");
        if (r < 0)
                return ctl_usage(self, &e);
        r = carry(&x);
        return r < 0 ? ctl_fail(r, NULL, "relay") : CTL_OK;
}
