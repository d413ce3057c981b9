/* SPDX-License-Identifier: Apache-2.0 */
/* What saving and importing a pod costs, and how large it is: a pod of 100 containers and 1,000
 * processes, saved and imported (all checks included); a pod of 30 containers with 7 disks each,
 * weighed.
 *
 *      bench-envelope [RUNS] [--json] */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/fakes/fake-host.h"

#define RUNS_MAX 1000

static void must(int r, const Error *e, const char *what) {
        if (r == 0)
                return;
        (void)fprintf(stderr, "bench-envelope: %s: %s\n", what, error_text(e, r));
        exit(1);
}

static void on_end(void *userdata, Vm *vm, const char *reason) {
}

static void make_pod(FakePod *p) {
        VmSpec spec = fake_vm_spec;
        Error e = ERROR_INIT;

        *p = (FakePod){};
        spec.n_scsi_controllers = SCSI_CONTROLLERS_MAX;
        must(vm_new(&spec, &p->vm, &e), &e, "vm");
        fake_host_init(&p->host, vm_scsi(p->vm));
        vm_bind(p->vm, &fake_vm_ops, &p->host, on_end, p);
        scsi_bind(vm_scsi(p->vm), &fake_scsi_ops, &p->host);
        must(vm_start(p->vm, NULL, NULL, &e), &e, "vm");
        must(pod_new(vm_controller(p->vm), "web", &p->pod, &e), &e, "pod");
        pod_bind(p->pod, &p->host.pod_ops);
}

/* A disk as the shim would describe it: a layer's file is named by its digest. */
static void describe(ContainerDisk *ret, char path[160], char digest[80], int container, int i,
                     int n) {
        bool layer = i < n - 1;

        (void)snprintf(digest, 80, "sha256:%08x%056x", (unsigned)container, (unsigned)i);
        if (layer)
                (void)snprintf(path, 160, "/var/lib/podferry/layers/%s.erofs", digest + 7);
        else
                (void)snprintf(path, 160, "/var/lib/podferry/pods/web/scratch-c%d.raw", container);
        *ret = (ContainerDisk){ .disk = { .host_path = path,
                                          .kind = layer ? SCSI_DISK_LAYER : SCSI_DISK_SCRATCH,
                                          .mode = layer ? SCSI_STORAGE_SAME : SCSI_STORAGE_COPY,
                                          .read_only = layer,
                                          .format = "raw",
                                          .digest = layer ? digest : "",
                                          .virtual_size = 1U << 30 },
                                .filesystem = layer ? "erofs" : "ext4",
                                .destination = "" };
}

static void fill_pod(FakePod *p, int containers, int disks, int execs) {
        for (int c = 0; c < containers; c++) {
                ContainerDisk list[8];
                char paths[8][160], digests[8][80], id[32], exec_id[32];
                Error e = ERROR_INIT;
                Container *container;
                ContainerSpec spec;

                (void)snprintf(id, sizeof(id), "c%d", c);
                for (int i = 0; i < disks; i++)
                        describe(&list[i], paths[i], digests[i], c, i, disks);
                spec = (ContainerSpec){ .id = id,
                                        .config_json = "{\"process\":{\"args\":[\"sh\"]}}",
                                        .bundle = "",
                                        .log_path = "",
                                        .disks = list,
                                        .n_disks = (size_t)disks };
                must(pod_create_container(p->pod, &spec, &container, NULL, NULL, &e), &e, id);
                must(container_start(container, NULL, NULL, NULL, &e), &e, id);
                for (int x = 0; x < execs; x++) {
                        (void)snprintf(exec_id, sizeof(exec_id), "e%d", x);
                        (void)fake_pod_exec(p, container, exec_id, true);
                }
        }
}

static double milliseconds(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double time_moves(int runs) {
        static FakePod from, to;
        double times[RUNS_MAX];
        Error e = ERROR_INIT;

        make_pod(&from);
        fill_pod(&from, 100, 2, 9);
        must(controller_freeze(vm_controller(from.vm), &e), &e, "freeze");
        for (int i = 0; i < runs; i++) {
                times[i] = milliseconds();
                must(fake_pod_move(&from, &to, &e), &e, "move");
                times[i] = milliseconds() - times[i];
                fake_pod_done(&to);
        }
        controller_thaw(vm_controller(from.vm));
        fake_pod_done(&from);
        qsort(times, (size_t)runs, sizeof(times[0]), compare);
        return times[runs / 2];
}

static size_t weigh(void) {
        static FakePod p;
        _cleanup_buf_ Buf vm = {}, pod = {};
        Error e = ERROR_INIT;

        make_pod(&p);
        fill_pod(&p, 30, 7, 0);
        must(controller_freeze(vm_controller(p.vm), &e), &e, "freeze");
        must(vm_save(p.vm, &vm, &e), &e, "save");
        must(pod_save(p.pod, &pod, &e), &e, "save");
        controller_thaw(vm_controller(p.vm));
        fake_pod_done(&p);
        return vm.len + pod.len;
}

int main(int argc, char **argv) {
        bool json = false;
        int runs = 21;

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--json") == 0)
                        json = true;
                else
                        runs = MIN_OF(MAX_OF(atoi(argv[i]), 1), RUNS_MAX);
        }
        double ms = time_moves(runs), kb = (double)weigh() / 1e3;

        if (json) {
                printf("{\"figure\": \"save-import\", \"value\": %.2f, \"unit\": \"ms\", \"bound\": 10, "
                       "\"peer\": \"\", \"n\": %d, \"ok\": %s}\n",
                       ms, runs, ms <= 10 ? "true" : "false");
                printf("{\"figure\": \"envelope-size\", \"value\": %.1f, \"unit\": \"kB\", \"bound\": 18, "
                       "\"peer\": \"hcsshim's schema 72.5 kB\", \"n\": 1, \"ok\": %s}\n",
                       kb, kb <= 18 ? "true" : "false");
        } else {
                printf("save and import of 100 containers, 1,000 processes: %.2f ms (at most 10)\n",
                       ms);
                printf("envelope of 30 containers with 7 disks each: %.1f kB (at most 18)\n", kb);
        }
        return 0;
}
