/* SPDX-License-Identifier: Apache-2.0 */
/* podferry receive: the other host's end of podferry migrate, which starts it there.
 *
 *      --pod NAME                 starts the destination's shim; its D-Bus over stdin and stdout
 *      --pod NAME --transport     stdin and stdout are the session's transport
 *      ... --adopt                the same for a shim that is there, or was killed: see go-on.h
 *      --pod NAME --cold          takes a pod that does not run: cold-receive.h
 *      --pod NAME --hooks EVENT   runs this host's hooks of that event: hook-serve.h
 *      --layer DIGEST --size N    takes one image layer from stdin
 *      --place N                  has one of N places for a move to this host: places.h
 *      --measure                  counts what comes, for a forecast: migrate-link.c
 *
 * The shim is bound to the first, however that ends: if no pod has come by then, the shim ends with
 * all that it prepared. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "controllers/ids.h"
#include "hostdev/image/files.h"
#include "hostdev/image/layer.h"
#include "lib/clock.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/cold-receive.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/hook-serve.h"
#include "shim/ctl/json.h"
#include "shim/ctl/migrate.h"
#include "shim/ctl/places.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/ferry/nowait.h"

#define MIGRATION_FACE BUS_INTERFACE ".Migration"
#define SETTLE_MS      60000U

enum { POD = 1, TRANSPORT, SESSION, LAYER, SIZE, ADOPT, COLD, HOOKS, MEASURE, PLACE, PLACED };

static const Option options[] = {
        { POD, 'p', "pod", "NAME", "name of the pod on this host" },
        { TRANSPORT, 0, "transport", NULL, "carry the transfer instead of the calls" },
        { SESSION, 0, "session", "ID", "with --transport and --cold: of which migration" },
        { COLD, 0, "cold", NULL, "take a pod that does not run" },
        { HOOKS, 0, "hooks", "EVENT", "run this host's hooks of that event" },
        { LAYER, 0, "layer", "DIGEST", "take this image layer from stdin" },
        { SIZE, 0, "size", "BYTES", "with --layer: its size" },
        { PLACE, 0, "place", "N", "wait until fewer than N moves come here, then be one of them" },
        { PLACED, 0, "placed", NULL, "with --pod: the move has its place already" },
        { MEASURE, 0, "measure", NULL, "count what comes from stdin, and drop it" },
        { ADOPT, 0, "adopt", NULL, "of a pod that is here, and a hand-over that was cut off" },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_receive = {
        .name = "receive",
        .operands = "",
        .summary = "Take a pod from another host (started there by migrate)",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "",
        .run = self_run,
};

/* -- a relay of bytes between two pairs of descriptors -- */

typedef struct Pipe {
        int in, out;
        uint8_t data[65536];
        size_t at, n;
        bool ended; /* end of file was read, and passed on */
} Pipe;

static int pump(Pipe *p, short revents_in, short revents_out) {
        ssize_t k;

        if (p->n == 0 && revents_in && !p->ended) {
                k = nowait_read(p->in, p->data, sizeof(p->data));
                if (k < 0 && errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
                        k = 0;
                if (k == 0) {
                        p->ended = true;
                        if (shutdown(p->out, SHUT_WR) < 0)
                                return -EPIPE; /* a pipe: the caller closes it by ending */
                }
                p->at = 0;
                p->n = k > 0 ? (size_t)k : 0;
        }
        if (p->n > 0 && revents_out) {
                k = nowait_write(p->out, p->data + p->at, p->n);
                if (k < 0)
                        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
                p->at += (size_t)k;
                p->n -= (size_t)k;
        }
        return 0;
}

/* Until either side ends. */
static void relay(int in, int out, int fd) {
        static Pipe there, back; /* large */

        there = (Pipe){ .in = in, .out = fd };
        back = (Pipe){ .in = fd, .out = out };
        nowait_prepare(fd);
        nowait_prepare(in);
        nowait_prepare(out);
        while (!(there.ended && there.n == 0) && !(back.ended && back.n == 0)) {
                struct pollfd fds[4] = {
                        { .fd = there.n == 0 && !there.ended ? in : -1, .events = POLLIN },
                        { .fd = there.n > 0 ? fd : -1, .events = POLLOUT },
                        { .fd = back.n == 0 && !back.ended ? fd : -1, .events = POLLIN },
                        { .fd = back.n > 0 ? out : -1, .events = POLLOUT },
                };

                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return;
                if (pump(&there, fds[0].revents, fds[1].revents) < 0 ||
                    pump(&back, fds[2].revents, fds[3].revents) < 0)
                        return;
        }
}

/* -- the calls -- */

/* 0: it ended as it should, and left nothing. */
static int check_gone(const Ctl *ctl, const char *pod, Error *reterr) {
        int fd, r = pod_connect_socket(ctl->config.run_dir, pod, &fd, reterr);

        if (r == -ENOENT)
                return 0;
        if (r == 0)
                (void)close_fd(fd);
        return error_setf(reterr, -ECONNREFUSED,
                          "%s: its shim here has died; podferry adopt %s goes on with it", pod,
                          pod);
}

/* Post-copy is not called off: it waits for another transport, as long as it takes. */
static int check_postcopy(json_object *dump, const char *pod, Error *reterr) {
        json_object *m = json_get(dump, "migration");

        if (!json_object_get_boolean(json_get(m, "post_copy")) ||
            json_object_get_boolean(json_get(m, "transport")))
                return 0;
        return error_setf(reterr, -ENOTCONN,
                          "%s: it is in post-copy, and waits for a transport; podferry adopt %s, "
                          "with --to and the other host, goes on with it",
                          pod, pod);
}

/* Whoever drove the migration is gone, and the shim, which has just heard so, ends it by itself.
 * Returns when it has: it owns the pod, or is gone with all that it had prepared. */
static int wait_settled(const Ctl *ctl, const char *pod, Error *reterr) {
        _cleanup_free_ char *state = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        uint64_t end = clock_ms() + SETTLE_MS;
        int r = pod_connect(ctl->config.run_dir, pod, &bus, NULL);

        while (r >= 0) {
                _cleanup_json_ json_object *dump = NULL;

                free(state);
                state = NULL;
                r = pod_get_string(bus, BUS_MIGRATION, MIGRATION_FACE, "State", &state, NULL);
                if (r == 0)
                        r = pod_dump(bus, &dump, NULL);
                if (r < 0)
                        break;
                if (strcmp(state, "idle") == 0 && json_get(dump, "tree"))
                        return 0;
                r = check_postcopy(dump, pod, reterr);
                if (r < 0)
                        return r;
                if (clock_ms() >= end)
                        return error_setf(reterr, -ETIMEDOUT,
                                          "%s: the migration is %s here and waits for the other "
                                          "host's word; podferry rm --force %s drops what came",
                                          pod, state, pod);
                /* any signal of the shim wakes us; a state change is one, and so is its end */
                r = sd_bus_wait(bus, SECONDS(1));
                while (r >= 0 && (r = sd_bus_process(bus, NULL)) > 0)
                        ;
        }
        return check_gone(ctl, pod, reterr);
}

/* Counted as a move to this host; one that cannot be counted goes on all the same. */
static void be_counted(const Ctl *ctl, bool placed, Place *ret) {
        if (!placed)
                (void)place_take(ctl->config.run_dir, PLACE_IN, 0, ret, NULL, NULL);
}

static int carry_calls(const Ctl *ctl, const char *pod, Error *reterr) {
        _cleanup_close_ int fd = -EBADF, hold = -EBADF;
        int r;

        r = shim_start_receiver(ctl, pod, &hold, reterr);
        if (r < 0)
                return r;
        r = pod_connect_socket(ctl->config.run_dir, pod, &fd, reterr);
        if (r == 0)
                relay(STDIN_FILENO, STDOUT_FILENO, fd);
        fd = close_fd(fd);
        hold = close_fd(hold);
        return r < 0 ? r : wait_settled(ctl, pod, reterr);
}

/* For a hand-over that was cut off: the pod's shim is here, or was. It stays, whoever calls. */
static int carry_adopted(const Ctl *ctl, const char *pod, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = shim_start_again(ctl, pod, reterr);
        if (r == 0 || r == -EEXIST)
                r = pod_connect_socket(ctl->config.run_dir, pod, &fd, reterr);
        if (r == 0)
                relay(STDIN_FILENO, STDOUT_FILENO, fd);
        return r;
}

/* -- the transport -- */

typedef struct Session {
        const char *pod, *id;
        bool again; /* what was carried before is forgotten */
} Session;

/* *ret_bus is open as long as the shim lives. */
static int register_socket(const Ctl *ctl, const Session *s, int fd, sd_bus **ret_bus,
                           Error *reterr) {
        int r;

        r = pod_connect(ctl->config.run_dir, s->pod, ret_bus, reterr);
        if (r < 0)
                return r;
        r = pod_call(*ret_bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                     s->again ? "Reconnect" : "RegisterSocket", "sh", s->id, fd);
        return r < 0 ? error_prefix(reterr, r, "%s: cannot hand over the transport", s->pod) : 0;
}

/* The shim has the socket; what is waited for is its end, and the shim's, after which the other
 * host must not take the stream for one that is only slow. */
static void wait_for_either(int fd, sd_bus *bus) {
        for (;;) {
                struct pollfd p[] = { { .fd = fd },
                                      { .fd = sd_bus_get_fd(bus), .events = POLLIN } };

                if (poll(p, ELEMENTSOF(p), -1) < 0 && errno != EINTR)
                        return;
                if (p[0].revents & (POLLHUP | POLLERR))
                        return;
                for (int r = 1; r > 0;) {
                        r = sd_bus_process(bus, NULL);
                        if (r < 0 || sd_bus_is_open(bus) <= 0)
                                return;
                }
        }
}

/* stdin and stdout are one stream socket: the shim can have it itself. */
static bool is_one_socket(void) {
        struct stat in, out;
        int type = 0;
        socklen_t n = sizeof(type);

        return fstat(STDIN_FILENO, &in) == 0 && fstat(STDOUT_FILENO, &out) == 0 &&
               S_ISSOCK(in.st_mode) && in.st_dev == out.st_dev && in.st_ino == out.st_ino &&
               getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

static int carry_transport(const Ctl *ctl, const Session *s, Error *reterr) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        _cleanup_bus_ sd_bus *bus = NULL;
        int pair[2], r;

        if (is_one_socket()) {
                r = register_socket(ctl, s, STDIN_FILENO, &bus, reterr);
                if (r == 0)
                        wait_for_either(STDIN_FILENO, bus);
                return r;
        }
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return error_setf(reterr, -errno, "socketpair: %m");
        ours = pair[0], theirs = pair[1];
        r = register_socket(ctl, s, theirs, &bus, reterr);
        theirs = close_fd(theirs);
        if (r == 0)
                relay(STDIN_FILENO, STDOUT_FILENO, ours);
        return r;
}

/* -- a pod that does not run -- */

/* -ENODATA: the end, before the first of these bytes. */
static int read_stdin(void *userdata, void *p, size_t n, Error *reterr) {
        for (size_t done = 0; done < n;) {
                ssize_t k = read(STDIN_FILENO, (uint8_t *)p + done, n - done);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return error_setf(reterr, -errno, "cannot read: %m");
                if (k == 0)
                        return error_setf(reterr, done == 0 ? -ENODATA : -ECONNRESET,
                                          "the connection ended");
                done += (size_t)k;
        }
        return 0;
}

static int write_stdout(void *userdata, const void *p, size_t n, Error *reterr) {
        int r = files_write_all(STDOUT_FILENO, p, n);

        return r < 0 ? error_setf(reterr, r, "cannot write: %s", strerrordesc_np(-r)) : 0;
}

static int wait_stdin(void *userdata, int fd, int timeout_ms) {
        struct pollfd p[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                              { .fd = fd, .events = POLLIN } };

        return poll(p, ELEMENTSOF(p), timeout_ms) > 0 && p[0].revents;
}

/* It lives as long as the connection: what it has to remove it removes after that. */
static int carry_cold(const Ctl *ctl, const char *pod, const char *session, Error *reterr) {
        static const ColdPipe pipe = { read_stdin, write_stdout, NULL, wait_stdin };

        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
        (void)umask(077);
        return cold_receive(ctl, pod, session, &pipe, reterr);
}

/* What runs is for this host's configuration to say, not for the caller. */
static int run_hooks(const Ctl *ctl, const char *pod, const char *event, Error *reterr) {
        HookServe s = { .own = &ctl->config.hooks,
                        .event = hook_event_from_name(event),
                        .pod = pod,
                        .side = "destination" };

        if (s.event == _HOOK_EVENT_INVALID ||
            (!hook_event_is_target(s.event) && s.event != HOOK_ON_FAILURE))
                return error_setf(reterr, -EINVAL,
                                  "hooks \"%.40s\": not for another host to ask for", event);
        return hook_serve_standard(&s, reterr);
}

/* -- the command -- */

static int take_layer(const Ctl *ctl, const char *digest, uint64_t size, Error *reterr) {
        _cleanup_layer_ Layer l = LAYER_INIT;

        return layer_receive(ctl->config.state_dir, digest, size, STDIN_FILENO, &l, reterr);
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        const char *pod = NULL, *session = NULL, *layer = NULL, *hooks = NULL;
        bool transport = false, adopt = false, cold = false, measure = false, placed = false;
        _cleanup_place_ Place counted = PLACE_INIT;
        Error e = ERROR_INIT;
        uint64_t size = 0, place = 0;
        OptionParser p;
        int id, r = 0;

        option_parser_init(&p, self, argc, argv);
        while (r == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                if (id < 0)
                        r = id;
                else if (id == POD)
                        pod = p.value;
                else if (id == SESSION)
                        session = p.value;
                else if (id == LAYER)
                        layer = p.value;
                else if (id == SIZE)
                        r = value_size(p.value, &size, &e);
                else if (id == ADOPT)
                        adopt = true;
                else if (id == HOOKS)
                        hooks = p.value;
                else if (id == COLD)
                        cold = true;
                else if (id == MEASURE)
                        measure = true;
                else if (id == PLACE)
                        r = value_number(p.value, 1, PLACES_MAX, &place, &e);
                else if (id == PLACED)
                        placed = true;
                else
                        transport = true;
        }
        if (r == 0 && (pod != NULL) + (layer != NULL) + measure + (place > 0) != 1)
                r = error_setf(&e, -EINVAL,
                               "one of --pod, --layer, --measure and --place is expected");
        if (r == 0 && (p.n_operands > 0 || (adopt && !pod) ||
                       (hooks && (!pod || transport || cold || adopt)) ||
                       ((transport || cold) && (!pod || !session || transport == cold))))
                r = error_setf(&e, -EINVAL,
                               "--pod NAME, --pod NAME --transport or --cold with --session ID, "
                               "--pod NAME --hooks EVENT, or --layer DIGEST --size BYTES");
        if (r == 0 && pod)
                r = id_check("pod name", pod, &e);
        if (r == 0 && cold)
                r = id_check("session", session, &e);
        if (r < 0)
                return ctl_usage(self, &e);
        if (pod && !hooks && !transport && !adopt)
                be_counted(ctl, placed, &counted);
        if (measure)
                r = link_measure_serve(&e);
        else if (place > 0)
                r = place_serve(ctl->config.run_dir, (unsigned)place, &e);
        else if (layer)
                r = take_layer(ctl, layer, size, &e);
        else if (hooks)
                r = run_hooks(ctl, pod, hooks, &e);
        else if (cold)
                r = carry_cold(ctl, pod, session, &e);
        else if (transport)
                r = carry_transport(ctl, &(Session){ pod, session, adopt }, &e);
        else
                r = adopt ? carry_adopted(ctl, pod, &e) : carry_calls(ctl, pod, &e);
        if (r < 0)
                (void)ctl_fail(r, &e, "receive");
        return r == -ENOENT && adopt                                      ? CTL_NO_POD
               : r == -EEXIST && !adopt && !transport && !layer && !hooks ? CTL_EXISTS
               : r < 0                                                    ? CTL_FAILED
                                                                          : CTL_OK;
}
