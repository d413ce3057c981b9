/* SPDX-License-Identifier: Apache-2.0 */
/* Drives hostdev/libvirt and hostdev/fence between two real hosts, and prints TAP and times.
 *
 * Runs in the first host; the second one is reached through /proc/<pid>/root of a process in it.
 * usage: virt-migrate GUEST_DIR ROOT_OF_SECOND_HOST MODE [WHAT]
 *        MODE: move (hot-plug, abort, hand-over) | reconnect (libvirtd is restarted from outside)
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "hostdev/fence.h"
#include "hostdev/libvirt/virt.h"

#define NAME         "podferry-virt-test"
#define DIR_RUN      "/run/podferry/virt-test"
#define DIR_STATE    "/var/lib/podferry/virt-test"
#define SCRATCH_SIZE (64 << 20)

typedef struct Host {
        const char *label, *root, *suffix; /* root is "" for the host that we are in */
        Virt *virt;
        VirtFacts facts;
        uint64_t seen[_VIRT_EVENT_KIND_MAX]; /* time of the last one of a kind */
        VirtReason why[_VIRT_EVENT_KIND_MAX];
        VirtState back_state;
} Host;

typedef struct Call {
        bool done;
        int r;
        Error error;
        void *copy;
        size_t size;
        uint64_t at;
} Call;

static sd_event *loop;
static Host here = { .label = "source", .root = "", .suffix = "" };
static Host there = { .label = "destination", .suffix = "-there" };
static char uuid[VIRT_UUID_SIZE];
static const char *guest_dir;
static unsigned points, failures;
static uint64_t start;

static uint64_t now_us(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000U + (uint64_t)t.tv_nsec / 1000U;
}

static void say(const char *fmt, ...) _printf_(1, 2);
static void say(const char *fmt, ...) {
        va_list ap;

        printf("# %8.1f ms  ", (double)(now_us() - start) / 1000.0);
        va_start(ap, fmt);
        (void)vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
        (void)fflush(stdout);
}

static void ok(bool good, const char *fmt, ...) _printf_(2, 3);
static void ok(bool good, const char *fmt, ...) {
        va_list ap;

        printf("%sok %u - ", good ? "" : "not ", ++points);
        failures += !good;
        va_start(ap, fmt);
        (void)vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
        (void)fflush(stdout);
}

static _Noreturn void bail(const char *what, int r) {
        printf("Bail out! %s: %s\n", what, error_text(NULL, r));
        exit(1);
}

static void on_event(void *userdata, const VirtEvent *e) {
        Host *h = userdata;

        h->seen[e->kind] = e->at_us;
        h->why[e->kind] = e->reason;
        if (e->kind == VIRT_EVENT_BACK)
                h->back_state = e->domain.state;
        say("%-11s %s (%s)%s%s %s", h->label, virt_event_name(e->kind), virt_reason_name(e->reason),
            e->alias[0] ? " " : "", e->alias,
            e->kind == VIRT_EVENT_BACK ? virt_state_name(e->domain.state) : "");
        if (e->kind == VIRT_EVENT_JOB_DONE)
                say("%-11s job: %" PRIu64 " ms, setup %" PRIu64 ", down %" PRIu64
                    ", memory %" PRIu64 " KiB, disks %" PRIu64 " KiB",
                    h->label, e->job.elapsed_ms, e->job.setup_ms, e->job.downtime_ms,
                    e->job.memory_processed >> 10, e->job.disk_processed >> 10);
}

static void on_done(void *userdata, int r, const void *result, const Error *err) {
        Call *c = userdata;

        c->done = true;
        c->r = r;
        c->at = now_us();
        if (err)
                c->error = *err;
        if (r >= 0 && c->copy)
                memcpy(c->copy, result, c->size);
}

static void turn(void) {
        int r = sd_event_run(loop, UINT64_MAX);

        if (r < 0)
                bail("loop", r);
}

/* Result of a call that has been made with on_done and c. */
static int await(int r, Call *c) {
        if (r != 1)
                return r;
        while (!c->done)
                turn();
        if (c->r < 0)
                say("%s", c->error.text);
        return c->r;
}

/* `call` uses on_done and &c. */
#define SYNC(call)                                                                                 \
        ({                                                                                         \
                Call c = {};                                                                       \
                int _r = (call);                                                                   \
                await(_r, &c);                                                                     \
        })

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        return -ETIMEDOUT;
}

static char *path_of(const Host *h, const char *fmt, ...) _printf_(2, 3);
static char *path_of(const Host *h, const char *fmt, ...) {
        _cleanup_free_ char *rest = NULL;
        char *ret;
        va_list ap;

        va_start(ap, fmt);
        if (vasprintf(&rest, fmt, ap) < 0 || asprintf(&ret, "%s%s", h->root, rest) < 0)
                bail("out of memory", -ENOMEM);
        va_end(ap);
        return ret;
}

/* --- a relay, as plain as can be: one thread per direction --- */
typedef struct Relay {
        int listener;
        char *to;
} Relay;

typedef struct Pump {
        int from, to;
} Pump;

static void *pump(void *argument) {
        Pump p = *(Pump *)argument;
        static const size_t size = 256 << 10;
        char *buffer = malloc(size);
        ssize_t n;

        free(argument);
        while (buffer && (n = read(p.from, buffer, size)) > 0)
                for (ssize_t sent = 0, k; sent < n; sent += k) {
                        k = send(p.to, buffer + sent, (size_t)(n - sent), MSG_NOSIGNAL);
                        if (k < 0)
                                goto end;
                }
end:
        (void)shutdown(p.to, SHUT_WR);
        (void)shutdown(p.from, SHUT_RD);
        free(buffer);
        return NULL;
}

static void start_pump(int from, int to) {
        Pump *p = malloc(sizeof(*p));
        pthread_t t;

        if (!p)
                bail("relay", -ENOMEM);
        *p = (Pump){ from, to };
        if (pthread_create(&t, NULL, pump, p) != 0)
                bail("relay", -EAGAIN);
        (void)pthread_detach(t);
}

static int unix_socket(const char *path, struct sockaddr_un *ret) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (fd < 0 || strlen(path) >= sizeof(ret->sun_path))
                bail(path, -ENAMETOOLONG);
        memcpy(ret->sun_path, path, strlen(path));
        return fd;
}

static void *relay(void *argument) {
        Relay *r = argument;
        struct sockaddr_un a;
        int in;

        while ((in = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                int out = unix_socket(r->to, &a);

                if (connect(out, (struct sockaddr *)&a, sizeof(a)) < 0) {
                        (void)close(in);
                        (void)close(out);
                        continue;
                }
                start_pump(in, out);
                start_pump(out, in);
        }
        return NULL;
}

static void start_relay(const char *name, char *to) {
        Relay *r = malloc(sizeof(*r));
        struct sockaddr_un a;
        char path[100];
        pthread_t t;

        (void)snprintf(path, sizeof(path), DIR_RUN "/%s", name);
        (void)unlink(path);
        if (!r)
                bail("relay", -ENOMEM);
        *r = (Relay){ unix_socket(path, &a), to };
        if (bind(r->listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(r->listener, 8) < 0)
                bail(path, -errno);
        if (pthread_create(&t, NULL, relay, r) != 0)
                bail("relay", -EAGAIN);
        (void)pthread_detach(t);
}

/* --- hosts --- */
static void make_directories(Host *h) {
        for (size_t i = 0; i < 2; i++) {
                _cleanup_free_ char *parent = path_of(h, i ? "/var/lib/podferry" : "/run/podferry");
                _cleanup_free_ char *dir = path_of(h, "%s", i ? DIR_STATE : DIR_RUN);

                if (mkdir(parent, 0700) < 0 && errno != EEXIST)
                        bail(parent, -errno);
                if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                        bail(dir, -errno);
        }
}

static void make_file(Host *h, const char *name, size_t content) {
        _cleanup_free_ char *path = path_of(h, DIR_STATE "/%s%s", name, h->suffix);
        _cleanup_close_ int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        char block[4096];

        if (fd < 0 || ftruncate(fd, SCRATCH_SIZE) < 0)
                bail(path, -errno);
        for (size_t n = 0; n < content; n += sizeof(block))
                if (getrandom(block, sizeof(block), 0) != sizeof(block) ||
                    write(fd, block, sizeof(block)) != sizeof(block))
                        bail(path, -errno);
}

static char *domain_of(Host *h, bool with_scratch) {
        char layer[200], scratch[200], kernel[300], initrd[300], *xml;
        DiskSpec disks[] = {
                { .slot = 0, .path = layer, .format = "raw", .read_only = true },
                { .slot = 65, .path = scratch, .format = "raw" },
        };
        DomainSpec spec = {
                .name = NAME,
                .uuid = uuid,
                .machine = here.facts.machine,
                .memory_mib = 256,
                .vcpus = 1,
                .kernel = kernel,
                .initrd = initrd,
                .link_path = h == &here ? DIR_RUN "/link.sock" : DIR_RUN "/link-there.sock",
                .console_path = h == &here ? DIR_RUN "/console.log" : DIR_RUN "/console-there.log",
                .n_scsi_controllers = 2,
                .n_spare_ports = 2,
                .disks = disks,
                .n_disks = with_scratch ? 2 : 1,
        };
        Error e = ERROR_INIT;

        (void)snprintf(layer, sizeof(layer), DIR_STATE "/layer%s", h->suffix);
        (void)snprintf(scratch, sizeof(scratch), DIR_STATE "/scratch%s", h->suffix);
        (void)snprintf(kernel, sizeof(kernel), "%s/vmlinux", guest_dir);
        (void)snprintf(initrd, sizeof(initrd), "%s/initrd", guest_dir);
        if (domain_xml(&spec, &xml, &e) < 0)
                bail(e.text, -EINVAL);
        return xml;
}

static void open_host(Host *h) {
        _cleanup_free_ char *uri =
                path_of(h, "%s", "/run/libvirt/libvirt-sock"); /* the socket's path */
        _cleanup_free_ char *full = NULL;
        Call facts = { .copy = &h->facts, .size = sizeof(h->facts) };
        uint64_t t = now_us();

        if (asprintf(&full, "qemu+unix:///system?socket=%s", uri) < 0 ||
            virt_new(loop, full, on_event, h, &h->virt, NULL) < 0 ||
            virt_set_domain(h->virt, NAME, uuid, NULL) < 0)
                bail("virt_new", -ENOMEM);
        ok(SYNC(virt_open(h->virt, on_done, &c, NULL)) == 0, "%s: connected", h->label);
        if (await(virt_facts(h->virt, DOMAIN_QEMU, on_done, &facts, NULL), &facts) < 0)
                bail(facts.error.text, facts.r);
        h->facts.cpu_xml = NULL;
        say("%s: connected and asked in %.1f ms: qemu %" PRIu64 ", libvirt %" PRIu64
            ", %s, %s, kvm %d, host %s",
            h->label, (double)(now_us() - t) / 1000.0, h->facts.hypervisor_version,
            h->facts.libvirt_version, h->facts.arch, h->facts.machine, h->facts.has_kvm,
            h->facts.host_uuid);
}

static void create(void) {
        _cleanup_free_ char *xml = domain_of(&here, false);
        VirtDomain d;
        Call c = { .copy = &d, .size = sizeof(d) };
        Call again = {};
        uint64_t t = now_us();

        if (await(virt_create(here.virt, xml, false, on_done, &c, NULL), &c) < 0)
                bail(c.error.text, c.r);
        say("created in %.1f ms", (double)(now_us() - t) / 1000.0);
        ok(d.state == VIRT_RUNNING && d.pid > 1 && strcmp(d.machine, here.facts.machine) == 0,
           "domain runs, pid and machine are known");
        ok(await(virt_create(here.virt, xml, false, on_done, &again, NULL), &again) == -EEXIST,
           "a second one is refused");
}

static int plug(uint32_t slot, const char *name) {
        DiskSpec disk = { .slot = slot, .format = "raw" };
        char path[200];
        uint64_t t = now_us();
        int r;

        (void)snprintf(path, sizeof(path), DIR_STATE "/%s", name);
        disk.path = path;
        r = SYNC(virt_plug_disk(here.virt, &disk, on_done, &c, NULL));
        say("plug of slot %u: %.1f ms, %d", slot, (double)(now_us() - t) / 1000.0, r);
        return r;
}

static int unplug(uint32_t slot) {
        uint64_t t = now_us();
        int r = SYNC(virt_unplug_disk(here.virt, slot, on_done, &c, NULL));

        say("unplug of slot %u: %.1f ms, %d", slot, (double)(now_us() - t) / 1000.0, r);
        return r;
}

static VirtDomain query(Host *h) {
        VirtDomain d = {};
        Call c = { .copy = &d, .size = sizeof(d) };

        if (await(virt_query(h->virt, on_done, &c, NULL), &c) < 0)
                bail(c.error.text, c.r);
        return d;
}

static int begin_migration(uint64_t bandwidth_mib, unsigned flags, Call *c) {
        _cleanup_free_ char *xml = domain_of(&there, true);
        const uint32_t slots[] = { 65 };
        VirtMigrate m = {
                .dest_uri = "qemu+unix:///system?socket=" DIR_RUN "/libvirt.sock",
                .migrate_uri = "unix://" DIR_RUN "/memory.sock",
                .disks_uri = "unix://" DIR_RUN "/disk.sock",
                .dest_xml = xml,
                .copy_slots = slots,
                .n_copy_slots = 1,
                .flags = VIRT_MIGRATE_COPY_DISKS | VIRT_MIGRATE_ABORT_ON_ERROR | flags,
                .bandwidth_mib = bandwidth_mib,
        };

        memset(here.seen, 0, sizeof(here.seen));
        memset(there.seen, 0, sizeof(there.seen));
        start = now_us();
        return virt_migrate(here.virt, &m, on_done, c, NULL);
}

static void test_abort(void) {
        Call migrate = {}, abort = {};
        VirtJob job = {};
        Call stats = { .copy = &job, .size = sizeof(job) };
        int r;

        r = begin_migration(1, VIRT_MIGRATE_PAUSED, &migrate);
        while (r == 1 && !there.seen[VIRT_EVENT_STARTED])
                turn();
        ok(await(virt_job(here.virt, on_done, &stats, NULL), &stats) == 0 &&
                   job.kind == VIRT_JOB_ACTIVE,
           "statistics come while the migration lasts");
        ok(await(virt_abort_job(here.virt, on_done, &abort, NULL), &abort) == 0, "abort is taken");
        say("abort answered");
        ok(await(r, &migrate) == -ECANCELED, "the migration ends as cancelled");
        say("migration call returned");
        ok(query(&here).state == VIRT_RUNNING, "the source runs on");
        while (query(&there).state != VIRT_NONE)
                turn();
        ok(true, "nothing is left at the destination");
        ok(SYNC(virt_abort_job(here.virt, on_done, &c, NULL)) == 0, "abort without a job is fine");
}

static void compare_scratch(void) {
        _cleanup_free_ char *command = NULL;

        if (asprintf(&command, "cmp " DIR_STATE "/scratch %s" DIR_STATE "/scratch-there",
                     there.root) < 0)
                bail("cmp", -ENOMEM);
        ok(system(command) == 0, "the copied disk is equal");
}

/* The hand-over: destination complete and paused, source killed for certain, destination resumed.
 */
static void test_hand_over(void) {
        _cleanup_(fence_freep) Fence *fence = NULL;
        VirtDomain d = query(&here);
        Call migrate = {}, halt = {}, ask = {}, kill = {}, resume = {};
        uint64_t ready, stopped, fenced, resumed;
        bool marked = false;
        Error e = ERROR_INIT;
        int r;

        ok(fence_open(loop, d.pid, "00000000-0000-0000-0000-000000000000", NULL, NULL, &fence,
                      &e) == -ENOENT,
           "the fence refuses a process of another domain");
        ok(fence_open(loop, d.pid, uuid, NULL, NULL, &fence, &e) == 0, "fence is open");
        r = begin_migration(0, VIRT_MIGRATE_PAUSED, &migrate);
        while (r == 1 && !there.seen[VIRT_EVENT_SUSPENDED] && !migrate.done) {
                if (here.seen[VIRT_EVENT_SUSPENDED] && !marked)
                        marked = fence_mark(fence, NULL) == 0;
                turn();
        }
        ok(marked, "the blackout is marked");
        ready = now_us();
        say("destination is complete");
        if (migrate.done && migrate.r < 0)
                bail(migrate.error.text, migrate.r);
        r = fence_stop(fence, on_done, &halt, &e);
        r = await(r, &halt);
        ok(r == 0, "the guest has not run since the blackout, and QEMU stands still");
        stopped = now_us();
        r = await(virt_query(here.virt, on_done, &ask, NULL), &ask);
        ok(r == 0 || r == -ENOENT, "libvirt answers while QEMU is stopped");
        printf("# fence: stop and look %.2f ms, libvirt's answer %.2f\n",
               (double)(stopped - ready) / 1e3, (double)(now_us() - stopped) / 1e3);
        r = fence_kill(fence, on_done, &kill, NULL);
        ok(await(r, &kill) == 0 && fence_is_dead(fence), "the source is fenced");
        fenced = now_us();
        say("fenced");
        ok(await(virt_resume(there.virt, on_done, &resume, NULL), &resume) == 0,
           "the destination is resumed");
        resumed = now_us();
        r = await(1, &migrate);
        say("migration call returned %d", r);
        ok(r == 0 || r == -EIO, "libvirt's call ends, well or badly");
        d = query(&there);
        ok(d.state == VIRT_RUNNING, "the destination runs");
        ok(query(&here).state == VIRT_NONE, "the source is gone");
        compare_scratch();
        printf("# times: start to blackout %.1f ms, blackout to ready %.1f, ready to fenced %.1f, "
               "fenced to resumed %.1f, blackout in all %.1f, call %.1f\n",
               (double)(here.seen[VIRT_EVENT_SUSPENDED] - start) / 1e3,
               (double)(ready - here.seen[VIRT_EVENT_SUSPENDED]) / 1e3,
               (double)(fenced - ready) / 1e3, (double)(resumed - fenced) / 1e3,
               (double)(resumed - here.seen[VIRT_EVENT_SUSPENDED]) / 1e3,
               (double)(migrate.at - start) / 1e3);
        ok(SYNC(virt_completed_job(there.virt, on_done, &c, NULL)) == 0,
           "statistics at the destination");
}

static void move(void) {
        _cleanup_free_ char *libvirt = path_of(&there, "/run/libvirt/libvirt-sock");
        _cleanup_free_ char *memory = path_of(&there, DIR_RUN "/memory.sock");
        _cleanup_free_ char *disk = path_of(&there, DIR_RUN "/disk.sock");

        start_relay("libvirt.sock", TAKE(libvirt));
        start_relay("memory.sock", TAKE(memory));
        start_relay("disk.sock", TAKE(disk));
        ok(strcmp(here.facts.host_uuid, there.facts.host_uuid) != 0, "two hosts have two UUIDs");
        create();
        ok(plug(65, "scratch") == 0, "a disk is plugged");
        ok(plug(65, "scratch") == -EEXIST, "its slot is taken then");
        ok(unplug(65) == 0, "and unplugged");
        ok(unplug(65) == 0, "twice is fine");
        ok(plug(65, "scratch") == 0, "and plugged again");
        test_abort();
        test_hand_over();
}

/* The other side of the pipe restarts libvirtd when it reads "restart". */
static void restart_libvirtd(void) {
        here.seen[VIRT_EVENT_BACK] = here.seen[VIRT_EVENT_LOST] = 0;
        printf("restart\n");
        (void)fflush(stdout);
        while (!here.seen[VIRT_EVENT_BACK])
                turn();
        ok(here.seen[VIRT_EVENT_LOST] > 0, "the loss was reported");
}

static void reconnect(void) {
        create();
        restart_libvirtd();
        ok(here.back_state == VIRT_RUNNING, "and then that the domain runs");
        ok(query(&here).state == VIRT_RUNNING, "the domain runs on");
        ok(plug(65, "scratch") == 0, "and a disk can be plugged");
        ok(SYNC(virt_destroy(here.virt, on_done, &c, NULL)) == 0, "domain destroyed");
        restart_libvirtd();
        ok(here.back_state == VIRT_NONE, "and then that there is no domain");
}

static void destroy(Host *h) {
        ok(SYNC(virt_destroy(h->virt, on_done, &c, NULL)) == 0, "%s: domain destroyed", h->label);
        virt_free(h->virt);
}

int main(int argc, char **argv) {
        uint8_t id[16];

        if (argc != 4)
                return 2;
        guest_dir = argv[1];
        there.root = argv[2];
        if (getrandom(id, sizeof(id), 0) != sizeof(id))
                return 1;
        (void)snprintf(uuid, sizeof(uuid),
                       "%02x%02x%02x%02x-0000-4000-8000-%02x%02x%02x%02x%02x%02x", id[0], id[1],
                       id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9]);
        start = now_us();
        if (sd_event_new(&loop) < 0 ||
            sd_event_add_time_relative(loop, NULL, CLOCK_MONOTONIC, 120000000, 0, on_timeout,
                                       NULL) < 0)
                return 1;
        make_directories(&here);
        make_directories(&there);
        for (int i = 0; i < 2; i++) {
                make_file(i ? &there : &here, "layer", 0);
                make_file(i ? &there : &here, "scratch", i ? 0 : 8 << 20);
        }
        open_host(&here);
        open_host(&there);
        if (strcmp(argv[3], "move") == 0)
                move();
        else
                reconnect();
        destroy(&here);
        destroy(&there);
        sd_event_unref(loop);
        printf("1..%u\n", points);
        return failures > 0;
}
