/* SPDX-License-Identifier: Apache-2.0 */
/* How long a shim takes from its start to its first answer on D-Bus: spawned as the CLI does it, in
 * a run directory of its own, then Ping on its private socket, then Shutdown. Prints milliseconds,
 * a line a run.
 *
 *      bench-shim SHIM [RUNS] */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <systemd/sd-bus.h>

#include "lib/cleanup.h"

extern char **environ;

static double milliseconds(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int call(const char *address, const char *member, sd_bus **ret) {
        sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = sd_bus_call_method(bus, NULL, "/org/podferry/Shim1", "org.podferry.Shim1",
                                       member, NULL, NULL, "");
        *ret = bus;
        return r;
}

static void die(const char *what, int r) {
        (void)fprintf(stderr, "bench-shim: %s: %s\n", what, strerror(-r));
        exit(1);
}

static double once(char *shim, char *dir) {
        char run[256], state[256], address[300];
        char *argv[] = { shim,
                         (char[]){ "--pod" },
                         (char[]){ "bench" },
                         (char[]){ "--run-dir" },
                         run,
                         (char[]){ "--state-dir" },
                         state,
                         NULL };
        sd_bus *first = NULL, *last = NULL;
        double begin, took;
        int status, r;
        pid_t pid;

        (void)snprintf(run, sizeof(run), "%s/run", dir);
        (void)snprintf(state, sizeof(state), "%s/state", dir);
        (void)snprintf(address, sizeof(address), "unix:path=%s/bench/bus.sock", run);
        begin = milliseconds();
        r = posix_spawn(&pid, shim, NULL, NULL, argv, environ);
        if (r != 0)
                die(shim, -r);
        if (waitpid(pid, &status, 0) < 0 || status != 0)
                die("the shim does not start", -ECHILD);
        r = call(address, "Ping", &first);
        if (r < 0)
                die("Ping", r);
        took = milliseconds() - begin;
        r = call(address, "Shutdown", &last);
        if (r < 0 && r != -ECONNRESET && r != -ENOTCONN)
                die("Shutdown", r);
        /* Its end closes the connection: the next run has the directory for itself. */
        while (sd_bus_wait(first, 1000000) >= 0 && sd_bus_process(first, NULL) >= 0)
                ;
        sd_bus_unref(first);
        sd_bus_unref(last);
        return took;
}

int main(int argc, char **argv) {
        int runs = argc > 2 ? atoi(argv[2]) : 20;
        char dir[] = "/tmp/podferry-bench.XXXXXX";

        if (argc < 2 || !mkdtemp(dir))
                die("usage: bench-shim SHIM [RUNS]", -EINVAL);
        for (int i = 0; i < runs; i++)
                printf("%.2f\n", once(argv[1], dir));
        (void)fflush(stdout);
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
        die("rm", -errno);
}
