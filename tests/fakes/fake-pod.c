/* SPDX-License-Identifier: Apache-2.0 */
/* A pod that runs on the fake host, and its way to another one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <limits.h>

#include "controllers/ids.h"
#include "tests/fakes/fake-host.h"

const VmSpec fake_vm_spec = {
        .pod_id = "web",
        .domain_name = "podferry-web",
        .uuid = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
        .memory_mib = 256,
        .vcpus = 1,
        .domain_type = VM_DOMAIN_QEMU,
        .machine = "pc-q35-7.2",
        .cpu = "maximum",
        .kernel = { "/usr/lib/podferry/guest/vmlinux", FAKE_DIGEST("a") },
        .initrd = { "/usr/lib/podferry/guest/initrd", FAKE_DIGEST("b") },
        .cmdline = "console=hvc0 quiet",
        .n_scsi_controllers = 1,
        .link_path = "/run/podferry/web/link.sock",
        .console_path = "/run/podferry/web/console.log",
};

static void must(int r, const Error *e) {
        if (r == 0)
                return;
        (void)fprintf(stderr, "fake pod: %s\n", error_text(e, r));
        abort();
}

static void count_end(void *userdata, Vm *vm, const char *reason) {
        ((FakePod *)userdata)->ended++;
}

void fake_pod_init(FakePod *p) {
        Error e = ERROR_INIT;

        *p = (FakePod){};
        must(vm_new(&fake_vm_spec, &p->vm, &e), &e);
        fake_host_init(&p->host, vm_scsi(p->vm));
        vm_bind(p->vm, &fake_vm_ops, &p->host, count_end, p);
        scsi_bind(vm_scsi(p->vm), &fake_scsi_ops, &p->host);
        must(vm_start(p->vm, NULL, NULL, &e), &e);
        must(pod_new(vm_controller(p->vm), "web", &p->pod, &e), &e);
        pod_bind(p->pod, &p->host.pod_ops);
}

void fake_pod_done(FakePod *p) {
        p->pod = pod_free(p->pod);
        p->vm = vm_free(p->vm);
}

void fake_pod_spec(const char *id, ContainerSpec *ret, ContainerDisk disks[4], char paths[4][64]) {
        static char digest[2][72];

        (void)snprintf(digest[0], sizeof(digest[0]), "%s", FAKE_DIGEST("0"));
        (void)snprintf(digest[1], sizeof(digest[1]), "%s", FAKE_DIGEST("1"));
        for (size_t i = 0; i < strlen(id) && i < 64; i++) /* a layer of its own per id */
                digest[1][7 + i] = "0123456789abcdef"[(unsigned char)id[i] & 15];
        (void)snprintf(paths[0], 64, "/layers/base.erofs");
        (void)snprintf(paths[1], 64, "/layers/%.40s.erofs", id);
        (void)snprintf(paths[2], 64, "/pods/web/scratch-%.30s.raw", id);
        (void)snprintf(paths[3], 64, "/vol/%.40s.raw", id);
        for (int i = 0; i < 4; i++)
                disks[i] = (ContainerDisk){
                        .disk = { .host_path = paths[i],
                                  .kind = i < 2    ? SCSI_DISK_LAYER
                                          : i == 2 ? SCSI_DISK_SCRATCH
                                                   : SCSI_DISK_VOLUME,
                                  .mode = i < 2    ? SCSI_STORAGE_SAME
                                          : i == 2 ? SCSI_STORAGE_COPY
                                                   : SCSI_STORAGE_SHARED,
                                  .read_only = i < 2,
                                  .format = "raw",
                                  .digest = i < 2 ? digest[i] : "",
                                  .virtual_size = 1U << 20 },
                        .filesystem = i < 2 ? "erofs" : "ext4",
                        .destination = i == 3 ? "/mnt/data" : "",
                };
        *ret = (ContainerSpec){ .id = id,
                                .config_json = "{\"process\":{\"args\":[\"sh\"]},\"mounts\":[]}",
                                .bundle = "/bundle",
                                .log_path = "/log",
                                .stdin_open = true,
                                .disks = disks,
                                .n_disks = 4 };
}

Container *fake_pod_add(FakePod *p, const char *id) {
        ContainerDisk disks[4];
        char paths[4][64];
        Error e = ERROR_INIT;
        ContainerSpec spec;
        Container *c;

        fake_pod_spec(id, &spec, disks, paths);
        must(pod_create_container(p->pod, &spec, &c, NULL, NULL, &e), &e);
        return c;
}

Container *fake_pod_run(FakePod *p, const char *id) {
        Error e = ERROR_INIT;
        Container *c = fake_pod_add(p, id);

        must(container_start(c, NULL, NULL, NULL, &e), &e);
        return c;
}

Process *fake_pod_exec(FakePod *p, Container *c, const char *exec_id, bool start) {
        ProcessSpec spec = { .exec_id = exec_id, .process_json = "{\"args\":[\"true\"]}" };
        Error e = ERROR_INIT;
        Process *process;

        must(container_exec(c, &spec, &process, &e), &e);
        if (start)
                must(container_start_exec(c, exec_id, NULL, NULL, NULL, &e), &e);
        return process;
}

typedef struct Paths {
        char buffers[CONTAINER_DISKS_MAX][PATH_MAX];
        const char *list[CONTAINER_DISKS_MAX];
        size_t n;
} Paths;

static int add_path(void *userdata, const ContainerDiskInfo *info) {
        Paths *p = userdata;

        (void)snprintf(p->buffers[p->n], PATH_MAX, "/dst/%u.img", info->disk.slot);
        p->list[p->n] = p->buffers[p->n];
        p->n++;
        return 0;
}

typedef struct Unpatched {
        Container *list[POD_CONTAINERS_MAX];
        size_t n;
} Unpatched;

static int add_unpatched(void *userdata, Container *c) {
        Unpatched *u = userdata;

        u->list[u->n++] = c;
        return 0;
}

int fake_pod_patch(FakePod *p, Error *reterr) {
        static Paths paths;
        Unpatched u = {};
        int r = 0;

        (void)pod_each_unpatched(p->pod, add_unpatched, &u);
        for (size_t i = 0; r == 0 && i < u.n; i++) {
                char id[ID_MAX + 1];

                paths.n = 0;
                (void)container_each_disk(u.list[i], add_path, &paths);
                (void)snprintf(id, sizeof(id), "%s", container_id(u.list[i]));
                r = pod_patch_container(p->pod,
                                        &(ContainerPatch){ .source_id = id,
                                                           .id = id,
                                                           .bundle = "/dst/bundle",
                                                           .log_path = "/dst/log",
                                                           .disk_paths = paths.list,
                                                           .n_disks = paths.n },
                                        reterr);
        }
        return r;
}

int fake_pod_move(const FakePod *from, FakePod *to, Error *reterr) {
        _cleanup_buf_ Buf vm = {}, pod = {};
        int r;

        *to = (FakePod){};
        r = vm_save(from->vm, &vm, reterr);
        if (r == 0)
                r = pod_save(from->pod, &pod, reterr);
        if (r == 0)
                r = vm_import(vm.data, vm.len, &to->vm, reterr);
        if (r < 0)
                return r;
        fake_host_init(&to->host, vm_scsi(to->vm));
        to->host.next_call = vm_imported_link(to->vm)->next_call_id;
        to->host.next_channel = vm_imported_link(to->vm)->next_channel;
        vm_bind(to->vm, &fake_vm_ops, &to->host, count_end, to);
        r = pod_import(vm_controller(to->vm), vm_scsi(to->vm), pod.data, pod.len, &to->pod, reterr);
        if (r == 0)
                r = pod_check_floors(to->pod, to->host.next_call, to->host.next_channel, reterr);
        if (r == 0)
                pod_bind(to->pod, &to->host.pod_ops);
        return r;
}
