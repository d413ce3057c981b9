/* SPDX-License-Identifier: Apache-2.0 */
/* containerd-shim-podferry-v2: one pod's shim. Reads its options, takes the run directory, goes to
 * the background, and runs the loop. */
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "shim/adopt.h"
#include "shim/daemon.h"
#include "shim/dbus/paths.h"
#include "shim/log-sink.h"
#include "shim/migrate/migrate.h"
#include "shim/offline.h"
#include "shim/shim.h"

typedef struct Options {
        const char *pod, *run_dir, *state_dir, *config;
        bool receive, bound, adopt, discard, foreground;
} Options;

static const char usage[] =
        "usage: containerd-shim-podferry-v2 --pod NAME [OPTION...]\n"
        "Runs the shim of one pod. It goes to the background and is ready when this command ends.\n"
        "\n"
        "  --pod NAME        the pod to serve\n"
        "  --receive         wait for a pod that another host sends\n"
        "  --bound           with --receive: end what is not decided when stdin ends\n"
        "  --adopt           serve the running pod of a shim that was killed\n"
        "  --discard         only to remove what is left of one: its machine, too\n"
        "  --run-dir DIR     instead of /run/podferry: the pod's sockets are in DIR/NAME\n"
        "  --state-dir DIR   instead of /var/lib/podferry\n"
        "  --config FILE     instead of $PODFERRY_CONFIG or /etc/podferry/config.json\n"
        "  --foreground      stay in the foreground, log to stderr\n"
        "  --version         print the version\n"
        "  --help            print this text\n";

/* 1: go on; 0: done; < 0: wrong. */
static int parse_options(int argc, char **argv, Options *o) {
        enum {
                POD = 1,
                RECEIVE,
                BOUND,
                ADOPT,
                DISCARD,
                RUN_DIR,
                STATE_DIR,
                CONFIG,
                FOREGROUND,
                VERSION,
                HELP
        };
        static const struct option options[] = {
                { "pod", required_argument, NULL, POD },
                { "receive", no_argument, NULL, RECEIVE },
                { "bound", no_argument, NULL, BOUND },
                { "adopt", no_argument, NULL, ADOPT },
                { "discard", no_argument, NULL, DISCARD },
                { "run-dir", required_argument, NULL, RUN_DIR },
                { "state-dir", required_argument, NULL, STATE_DIR },
                { "config", required_argument, NULL, CONFIG },
                { "foreground", no_argument, NULL, FOREGROUND },
                { "version", no_argument, NULL, VERSION },
                { "help", no_argument, NULL, HELP },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (c) {
                case POD:
                        o->pod = optarg;
                        break;
                case RECEIVE:
                        o->receive = true;
                        break;
                case BOUND:
                        o->bound = true;
                        break;
                case ADOPT:
                        o->adopt = true;
                        break;
                case DISCARD:
                        o->discard = true;
                        break;
                case RUN_DIR:
                        o->run_dir = optarg;
                        break;
                case STATE_DIR:
                        o->state_dir = optarg;
                        break;
                case CONFIG:
                        o->config = optarg;
                        break;
                case FOREGROUND:
                        o->foreground = true;
                        break;
                case VERSION:
                        (void)puts("containerd-shim-podferry-v2 " PODFERRY_VERSION);
                        return 0;
                case HELP:
                        (void)fputs(usage, stdout);
                        return 0;
                default:
                        return -EINVAL;
                }
        if (o->adopt + o->receive + o->discard > 1 || (o->bound && !o->receive)) {
                (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name,
                              o->bound ? "--bound goes with --receive"
                                       : "--adopt, --receive and --discard exclude each other");
                return -EINVAL;
        }
        if (optind < argc || !o->pod) {
                (void)fprintf(stderr, "%s: %s%s\n", program_invocation_short_name,
                              optind < argc ? "unexpected argument " : "--pod is missing",
                              optind < argc ? argv[optind] : "");
                return -EINVAL;
        }
        return 1;
}

static int override_path(char **path, const char *name, const char *value, Error *reterr) {
        char *copy;

        if (!value)
                return 0;
        if (value[0] != '/')
                return error_setf(reterr, -EINVAL, "%s must be an absolute path, not '%s'", name,
                                  value);
        copy = strdup(value);
        if (!copy)
                return error_oom(reterr);
        free(*path);
        *path = copy;
        return 0;
}

/* A shim is one of many on its host: what it does not use goes back at once. */
static void keep_small(void) {
        (void)mallopt(M_ARENA_MAX, 1);
        (void)mallopt(M_TRIM_THRESHOLD, 64 << 10);
        (void)mallopt(M_MMAP_THRESHOLD, 64 << 10);
        (void)mallopt(M_TOP_PAD, 16 << 10);
}

static void raise_fd_limit(void) {
        struct rlimit l;

        if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
                l.rlim_cur = MIN_OF(l.rlim_max, (rlim_t)65536);
                (void)setrlimit(RLIMIT_NOFILE, &l);
        }
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        log_info("signal %u", si->ssi_signo);
        shim_stop(userdata);
        return 0;
}

static int watch_signals(sd_event *event, Shim *s, Error *reterr) {
        sigset_t set;
        int r;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGCHLD); /* for sd_event_add_child() */
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return error_setf(reterr, -errno, "block signals: %m");
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
        r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, s);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, on_signal, s);
        return r < 0 ? error_setf(reterr, r, "watch signals") : 0;
}

typedef struct Adoption {
        bool done;
        int r;
        Error err;
} Adoption;

static void on_adopted(void *userdata, int r, const void *result, const Error *err) {
        Adoption *a = userdata;

        a->done = true;
        a->r = r;
        if (err)
                a->err = *err;
}

/* Whoever started us hears of the outcome, so it is waited for. What is found on the way belongs in
 * the log that the shim before this one kept. */
static int adopt(const Options *o, sd_event *event, Shim *s, Error *reterr) {
        _cleanup_free_ char *log = run_dir_file(&s->dir, "shim.log");
        Adoption a = {};
        int r;

        if (!log)
                return error_oom(reterr);
        r = o->foreground ? 0 : daemon_log(log, reterr);
        if (r == 0)
                r = shim_adopt(s, on_adopted, &a, reterr);
        if (r <= 0)
                return r;
        while (!a.done) {
                r = sd_event_run(event, UINT64_MAX);
                if (r < 0)
                        return error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
        }
        return a.r < 0 ? error_setf(reterr, a.r, "%s", error_text(&a.err, a.r)) : 0;
}

/* stdin becomes the pipe that tells of the driver's end; the shim's own will be /dev/null. */
static int bind_to_stdin(Shim *s, Error *reterr) {
        int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);

        return fd < 0 ? error_setf(reterr, -errno, "stdin: %m")
                      : migrate_bind_pipe(s->migrate, fd, reterr);
}

/* All that can fail before the shim serves. */
static int prepare(const Options *o, sd_event **event, Shim **shim, Error *reterr) {
        RunDir dir __attribute__((cleanup(run_dir_done))) = RUN_DIR_INIT;
        _cleanup_config_ Config config = {};
        int r;

        if ((r = config_load(&config, o->config, reterr)) < 0 ||
            (r = override_path(&config.run_dir, "--run-dir", o->run_dir, reterr)) < 0 ||
            (r = override_path(&config.state_dir, "--state-dir", o->state_dir, reterr)) < 0)
                return r;
        log_sink_start(o->pod, config.log_level);
        r = run_dir_open(&dir, config.run_dir, o->pod, reterr);
        if (r < 0)
                return r;
        r = offline_admit(config.state_dir, o->pod, reterr);
        if (r < 0) {
                if (!dir.was_there)
                        run_dir_remove(&dir);
                return r;
        }
        r = run_dir_write_pid(&dir, reterr);
        if (r < 0)
                return r;
        r = sd_event_new(event);
        if (r < 0)
                return error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
        r = shim_new(*event, o->pod, o->receive, &config, &dir, shim, reterr);
        if (r < 0)
                return r;
        (*shim)->discard = o->discard;
        r = watch_signals(*event, *shim, reterr);
        if (r == 0 && o->bound)
                r = bind_to_stdin(*shim, reterr);
        return r == 0 && o->adopt ? adopt(o, *event, *shim, reterr) : r;
}

static int announce(const Options *o, const Shim *s, int report_fd, Error *reterr) {
        _cleanup_free_ char *log = run_dir_file(&s->dir, "shim.log");

        if (!log)
                return error_oom(reterr);
        return o->foreground ? 0 : daemon_ready(report_fd, log, reterr);
}

static int on_served(sd_event_source *source, void *userdata) {
        _cleanup_free_ char *name = NULL;
        Shim *s = userdata;

        sd_event_source_disable_unref(source);
        name = bus_name_of_pod(s->pod_id);
        if (name)
                bus_server_join_system_bus(s->bus, name);
        return 0;
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
/* We leave by _exit(), where the sanitizer does not look. What the roots reach is no leak. */
static void report_leaks(Shim *shim, sd_event *event) {
        static void *volatile roots[2] __attribute__((unused));

        roots[0] = shim;
        roots[1] = event;
        (void)__lsan_do_recoverable_leak_check();
}
#else
static void report_leaks(Shim *shim, sd_event *event) {
}
#endif

static int run(const Options *o) {
        sd_event_source *later = NULL;
        Error err = ERROR_INIT;
        sd_event *event = NULL;
        int report_fd = -EBADF, r = 0;
        Shim *shim = NULL;

        if (!o->foreground)
                r = daemon_start(&report_fd, &err);
        if (r == 0)
                r = prepare(o, &event, &shim, &err);
        if (r == 0)
                r = announce(o, shim, report_fd, &err);
        if (r < 0) {
                if (shim)
                        shim_end_network(shim);
                if (report_fd >= 0)
                        daemon_failed(report_fd, error_text(&err, r));
                else
                        (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name,
                                      error_text(&err, r));
                return EXIT_FAILURE;
        }
        log_info("serving pod %s in %s", shim->pod_id, shim->dir.path);
        if (sd_event_add_defer(event, &later, on_served, shim) >= 0)
                (void)sd_event_source_set_priority(later, SD_EVENT_PRIORITY_IDLE);
        r = sd_event_loop(event);
        if (r < 0)
                log_err("the loop ended: %s", strerrordesc_np(-r));
        /* Calls may be in flight: the kernel frees what they hold. */
        (void)bus_server_free(TAKE(shim->bus));
        shim_end_check(shim);
        shim_end_network(shim);
        report_leaks(shim, event);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        Options o = {};
        int r;

        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        r = parse_options(argc, argv, &o);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        (void)umask(077);
        keep_small();
        raise_fd_limit();
        r = run(&o);
        (void)fflush(NULL);
        _exit(r);
}
