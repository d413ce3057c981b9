/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "guest/agent.h"
#include "guest/boot.h"
#include "lib/log.h"

/* podferry-agent: PID 1 of a pod's guest. It makes the guest usable, opens the port to the shim,
 * and then does what it is asked. One loop; disks are waited for on a thread of their own. */

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        Agent *a = userdata;

        return channel == 0 ? rpc_data(&a->rpc, p, n) : streams_data(&a->streams, channel, p, n);
}

static void on_eof(void *userdata, uint32_t channel) {
        Agent *a = userdata;

        if (channel != 0)
                streams_eof(&a->streams, channel);
}

static void on_writable(void *userdata, uint32_t channel) {
        Agent *a = userdata;

        if (channel != 0) /* channel 0 is served after each event anyhow */
                streams_writable(&a->streams, channel);
}

static void on_wake(void *userdata) {
        Agent *a = userdata;

        port_wake(&a->port);
}

static const SessionOps session_ops = {
        .data = on_data,
        .eof = on_eof,
        .writable = on_writable,
        .wake = on_wake,
};

static void after_event(void *userdata) {
        Agent *a = userdata;

        rpc_service(&a->rpc);
        containers_service(&a->containers);
        rpc_service(&a->rpc);
        port_service(&a->port);
        power_continue(&a->power);
}

typedef struct AgentBoot {
        WorkerJob job;
        Agent *agent;
} AgentBoot;

static int load_late(WorkerJob *job, Error *reterr) {
        return boot_load_modules("late", reterr);
}

static void warmed_up(void *userdata, int code, const Error *err) {
        if (code < 0)
                log_err("boot: %s", error_text(err, code));
}

/* The first crun of a boot takes a tenth of a second more than later ones: it is done with before
 * somebody waits for it. */
static void loaded(WorkerJob *job) {
        Agent *a = container_of(job, AgentBoot, job)->agent;
        Error err = ERROR_INIT;
        int r;

        if (job->code < 0)
                log_err("boot: %s", error_text(&job->err, job->code));
        r = crun_run(&a->crun, (const char *[]){ "--version", NULL }, NULL, false, warmed_up, a,
                     &err);
        if (r < 0)
                log_err("boot: %s", error_text(&err, r));
}

static int agent_init(Agent *a, int port, Error *reterr) {
        int r;

        if ((r = loop_init(&a->loop, reterr)) < 0 ||
            (r = reaper_init(&a->reaper, &a->loop, reterr)) < 0 ||
            (r = port_init(&a->port, &a->loop, port, &session_ops, a, reterr)) < 0 ||
            (r = streams_init(&a->streams, &a->loop, a->port.session, reterr)) < 0 ||
            (r = oom_init(&a->oom, a, reterr)) < 0 || (r = power_init(&a->power, a, reterr)) < 0 ||
            (r = worker_init(&a->worker, &a->loop, reterr)) < 0)
                return r;
        rpc_init(&a->rpc, a, a->port.session);
        crun_init(&a->crun, &a->reaper);
        return 0;
}

/* What containers say and hear, and every request, goes through this one thread. It is little work
 * (stream.h), and nobody who waits for it should wait for a container's turns on the CPU as well;
 * most of all after a migration, when all of them come at once. crun, containers and the worker
 * begin as usual. sched(7). */
static void go_first(void) {
        static const struct sched_param least = { .sched_priority = 1 };

        if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &least) < 0)
                log_warning("agent: it takes turns with the containers: %m");
}

static int run(Error *reterr) {
        static Agent agent;
        static AgentBoot boot = { .agent = &agent, .job = { .run = load_late, .done = loaded } };
        int port, r;

        if ((r = boot_setup(reterr)) < 0 || (r = boot_load_modules("link", reterr)) < 0 ||
            (r = port_open(PORT_NAME, &port, reterr)) < 0 ||
            (r = agent_init(&agent, port, reterr)) < 0)
                return r;
        worker_submit(&agent.worker, &boot.job);
        go_first();
        return loop_run(&agent.loop, after_event, &agent, reterr);
}

int main(int argc, char *argv[]) {
        Error err = ERROR_INIT;
        int r;

        if (argc > 1 && strcmp(argv[1], "--version") == 0)
                return printf("podferry-agent %s\n", PODFERRY_VERSION) < 0;
        if (getpid() != 1) {
                (void)fprintf(stderr, "podferry-agent is the init of a pod's guest: it runs as "
                                      "PID 1 only, from an image made by hack/image\n");
                return 2;
        }
        r = run(&err);
        power_halt(error_text(&err, r));
}
