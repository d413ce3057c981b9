/* SPDX-License-Identifier: Apache-2.0 */
/* Saved state on the wire: golden envelopes of schema version 1, which every later podferry reads;
 * damaged ones, which it refuses; and messages that parse but lie, each with the error that names
 * the lie.
 *
 * With two arguments it writes the golden files into the first directory, and inputs for the fuzz
 * target into the second (hack/gen-golden-state). */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "container.pb-c.h"
#include "network.pb-c.h"
#include "tests/fakes/fake-network.h"
#include "plan9.pb-c.h"
#include "pod.pb-c.h"
#include "process.pb-c.h"
#include "scsi.pb-c.h"
#include "vm.pb-c.h"
#include "vpci.pb-c.h"

#include "tests/fakes/fail-malloc.h"
#include "tests/fakes/fake-host.h"
#include "tests/fuzz/fuzz-envelope.h"

typedef enum Golden {
        GOLDEN_VM,
        GOLDEN_SCSI,
        GOLDEN_POD,
        GOLDEN_CONTAINER,
        GOLDEN_CONTAINER_CREATED,
        GOLDEN_PROCESS,
        GOLDEN_PROCESS_CREATED,
        GOLDEN_PROCESS_EXITED,
        GOLDEN_NETWORK,
        GOLDEN_PLAN9,
        GOLDEN_VPCI,
        _GOLDEN_MAX,
} Golden;

static const struct {
        const char *name;
        FuzzEnvelope importer;
        const EnvelopeType *type;
} goldens[_GOLDEN_MAX] = {
        [GOLDEN_VM] = { "vm-1", FUZZ_VM, &vm_envelope },
        [GOLDEN_SCSI] = { "scsi-1", FUZZ_SCSI, &scsi_envelope },
        [GOLDEN_POD] = { "pod-1-network-2", FUZZ_POD, &pod_envelope },
        [GOLDEN_CONTAINER] = { "container-1", FUZZ_CONTAINER, &container_envelope },
        [GOLDEN_CONTAINER_CREATED] = { "container-created-1", FUZZ_CONTAINER, &container_envelope },
        [GOLDEN_PROCESS] = { "process-1", FUZZ_PROCESS, &process_envelope },
        [GOLDEN_PROCESS_CREATED] = { "process-created-1", FUZZ_PROCESS, &process_envelope },
        [GOLDEN_PROCESS_EXITED] = { "process-exited-1", FUZZ_PROCESS, &process_envelope },
        [GOLDEN_NETWORK] = { "network-2", FUZZ_NETWORK, &network_envelope },
        [GOLDEN_PLAN9] = { "plan9-1", FUZZ_PLAN9, &plan9_envelope },
        [GOLDEN_VPCI] = { "vpci-1", FUZZ_VPCI, &vpci_envelope },
};

static Buf made[_GOLDEN_MAX]; /* as this build saves them */

static void must(int r, const Error *e) {
        if (r < 0) {
                (void)fprintf(stderr, "test-state: %s\n", error_text(e, r));
                abort();
        }
}

/* One pod with everything in it: a running container with execs of every kind, a created one, a
 * stopped one, shared and other disks. Always the same bytes. */
static void make_goldens(void) {
        NetFacts *facts = fake_network_facts(2, 5);
        static FakeNetwork fake;
        static FakePod p;
        Error e = ERROR_INIT;
        Container *c1, *c2;
        Buf *b = made;

        fake_pod_init(&p);
        network_bind(pod_network(p.pod), &fake_network_ops, &fake);
        must(network_plan(pod_network(p.pod), NETWORK_NAMESPACE, "/run/netns/web", facts, &e), &e);
        (void)net_facts_free(facts);
        must(network_setup(pod_network(p.pod), NULL, NULL, &e), &e);
        c1 = fake_pod_run(&p, "c1");
        c2 = fake_pod_add(&p, "c2");
        (void)fake_pod_run(&p, "c3");
        (void)fake_pod_exec(&p, c1, "done", true);
        (void)fake_pod_exec(&p, c1, "new", false);
        (void)fake_pod_exec(&p, c1, "shell", true);
        if (!fake_exit(&p.host, "c1", "done", 3))
                abort();
        p.host.n_exits = 0; /* both at one time, as in the files */
        if (!fake_exit(&p.host, "c3", "", 0))
                abort();
        must(controller_freeze(vm_controller(p.vm), &e), &e);
        must(vm_save(p.vm, &b[GOLDEN_VM], &e), &e);
        must(scsi_save(vm_scsi(p.vm), &b[GOLDEN_SCSI], &e), &e);
        must(pod_save(p.pod, &b[GOLDEN_POD], &e), &e);
        must(container_save(c1, &b[GOLDEN_CONTAINER], &e), &e);
        must(container_save(c2, &b[GOLDEN_CONTAINER_CREATED], &e), &e);
        must(process_save(container_process(c1, "shell"), &b[GOLDEN_PROCESS], &e), &e);
        must(process_save(container_process(c1, "new"), &b[GOLDEN_PROCESS_CREATED], &e), &e);
        must(process_save(container_process(c1, "done"), &b[GOLDEN_PROCESS_EXITED], &e), &e);
        must(network_save(pod_network(p.pod), &b[GOLDEN_NETWORK], &e), &e);
        must(plan9_save(vm_plan9(p.vm), &b[GOLDEN_PLAN9], &e), &e);
        must(vpci_save(vm_vpci(p.vm), &b[GOLDEN_VPCI], &e), &e);
        controller_thaw(vm_controller(p.vm));
        fake_pod_done(&p);
}

static void read_file(const char *name, Buf *ret) {
        _cleanup_close_ int fd = -EBADF;
        char path[4096];
        struct stat st;

        (void)snprintf(path, sizeof(path), WIRE_DIR "/%s.bin", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(buf_reserve(ret, (size_t)st.st_size + 1), 0);
        assert_int_equal(read(fd, ret->data, (size_t)st.st_size + 1), st.st_size);
        ret->len = (size_t)st.st_size;
}

static void test_golden(void **state) {
        Golden g = (Golden)(uintptr_t)*state;
        _cleanup_buf_ Buf b = {};

        read_file(goldens[g].name, &b);
        assert_int_equal(b.len, made[g].len);
        assert_memory_equal(b.data, made[g].data, b.len);
}

/* What an older podferry saved is still understood. */
static void test_old(void **state) {
        static const struct {
                const char *name;
                FuzzEnvelope importer;
        } old[] = { { "network-1", FUZZ_NETWORK }, { "pod-1", FUZZ_POD } };

        for (size_t i = 0; i < ELEMENTSOF(old); i++) {
                _cleanup_(scsi_freep) Scsi *disks = NULL;
                _cleanup_(network_freep) Network *network = NULL;
                _cleanup_(pod_freep) Pod *pod = NULL;
                _cleanup_buf_ Buf b = {};

                read_file(old[i].name, &b);
                assert_int_equal(scsi_import(NULL, made[GOLDEN_SCSI].data, made[GOLDEN_SCSI].len,
                                             &disks, NULL),
                                 0);
                assert_int_equal(old[i].importer == FUZZ_POD
                                         ? pod_import(NULL, disks, b.data, b.len, &pod, NULL)
                                         : network_import(NULL, b.data, b.len, &network, NULL),
                                 0);
        }
}

/* An input of the fuzz target: returns its length. */
static size_t fuzz_input(Golden g, const uint8_t *p, size_t n, uint8_t *ret, size_t size) {
        const Buf *disks = &made[GOLDEN_SCSI];
        size_t at = 0;

        if (n + disks->len + 3 > size)
                abort();
        ret[at++] = (uint8_t)goldens[g].importer;
        if (goldens[g].importer == FUZZ_POD || goldens[g].importer == FUZZ_CONTAINER) {
                ret[at++] = (uint8_t)disks->len;
                ret[at++] = (uint8_t)(disks->len >> 8);
                memcpy(ret + at, disks->data, disks->len);
                at += disks->len;
        }
        memcpy(ret + at, p, n);
        return at + n;
}

/* An import that must not load these bytes, or must do so without harm. */
static void feed(Golden g, const uint8_t *p, size_t n) {
        uint8_t input[16384];

        n = fuzz_input(g, p, n, input, sizeof(input));
        (void)LLVMFuzzerTestOneInput(input, n);
}

static void test_damage(void **state) {
        Golden g = (Golden)(uintptr_t)*state;
        uint8_t copy[8192];

        assert_true(made[g].len < sizeof(copy));
        for (size_t n = 0; n < made[g].len; n++)
                feed(g, made[g].data, n);
        for (size_t i = 0; i < made[g].len; i++)
                for (unsigned bit = 0; bit < 9; bit++) {
                        memcpy(copy, made[g].data, made[g].len);
                        copy[i] ^= bit < 8 ? (uint8_t)(1U << bit) : 0xff;
                        feed(g, copy, made[g].len);
                }
}

static int import(Golden g, const Buf *b, Error *reterr) {
        _cleanup_(scsi_freep) Scsi *disks = NULL;
        _cleanup_(vm_freep) Vm *vm = NULL;
        _cleanup_(scsi_freep) Scsi *scsi = NULL;
        _cleanup_(pod_freep) Pod *pod = NULL;
        _cleanup_(container_freep) Container *c = NULL;
        _cleanup_(process_freep) Process *p = NULL;
        _cleanup_(network_freep) Network *network = NULL;
        _cleanup_(plan9_freep) Plan9 *plan9 = NULL;
        _cleanup_(vpci_freep) Vpci *vpci = NULL;
        int r;

        assert_int_equal(
                scsi_import(NULL, made[GOLDEN_SCSI].data, made[GOLDEN_SCSI].len, &disks, NULL), 0);
        switch (goldens[g].importer) {
        case FUZZ_VM:
                return vm_import(b->data, b->len, &vm, reterr);
        case FUZZ_SCSI:
                return scsi_import(NULL, b->data, b->len, &scsi, reterr);
        case FUZZ_POD:
                r = pod_import(NULL, disks, b->data, b->len, &pod, reterr);
                return r < 0 ? r : pod_check_floors(pod, 50, 50, reterr);
        case FUZZ_CONTAINER:
                return container_import(NULL, disks, b->data, b->len, &c, reterr);
        case FUZZ_PROCESS:
                return process_import(NULL, "c1", "c1", b->data, b->len, &p, reterr);
        case FUZZ_NETWORK:
                return network_import(NULL, b->data, b->len, &network, reterr);
        case FUZZ_PLAN9:
                return plan9_import(NULL, b->data, b->len, &plan9, reterr);
        case FUZZ_VPCI:
                return vpci_import(NULL, b->data, b->len, &vpci, reterr);
        case _FUZZ_ENVELOPE_MAX:
                break;
        }
        return -EINVAL;
}

/* Refused: nothing, another's envelope, a version above and below, bytes that do not parse. */
static void test_outer(void **state) {
        Golden g = (Golden)(uintptr_t)*state, other = g == GOLDEN_VM ? GOLDEN_POD : GOLDEN_VM;
        _cleanup_buf_ Buf b = {};
        EnvelopeType newer = *goldens[g].type;
        ProtobufCMessage *m;
        Error e = ERROR_INIT;

        assert_int_equal(import(g, &made[g], &e), 0);
        assert_int_equal(import(g, &b, &e), -EINVAL);
        assert_int_equal(import(g, &made[other], &e), -EINVAL);
        assert_non_null(strstr(e.text, "type_url"));
        assert_int_equal(envelope_open(goldens[g].type, made[g].data, made[g].len, &m, NULL, &e),
                         0);
        newer.version = goldens[g].type->version + 1;
        assert_int_equal(envelope_seal(&newer, m, &b, &e), 0);
        assert_int_equal(import(g, &b, &e), -EPROTONOSUPPORT);
        b.len = 0;
        newer.version = 0;
        assert_int_equal(envelope_seal(&newer, m, &b, &e), 0);
        assert_int_equal(import(g, &b, &e), -EPROTONOSUPPORT);
        protobuf_c_message_free_unpacked(m, NULL);
        b.len = 0;
        assert_int_equal(buf_append(&b, made[g].data, made[g].len), 0);
        assert_int_equal(buf_append(&b, "\xff\xff", 2), 0);
        assert_int_equal(import(g, &b, &e), -EBADMSG);
}

static Podferry__State__V1__ScsiMount **twice(Podferry__State__V1__ScsiMount *mount) {
        static Podferry__State__V1__ScsiMount *list[2];

        list[0] = list[1] = mount;
        return list;
}

/* A lie: one change to the message of a golden envelope, and what the refusal says. */
#define LIES(X)                                                                                    \
        X("scsi: too many controllers", SCSI, Scsi, m->n_controllers = 5, "n_controllers")         \
        X("scsi: no controllers", SCSI, Scsi, m->n_controllers = 0, "disks in 0 slots")            \
        X("scsi: huge controllers", SCSI, Scsi, m->n_controllers = UINT32_MAX, "n_controllers")    \
        X("scsi: next reservation 0", SCSI, Scsi, m->next_reservation = 0, "next_reservation")     \
        X("scsi: next reservation low", SCSI, Scsi, m->next_reservation = 2, "out of range")       \
        X("scsi: slot beyond the last", SCSI, Scsi, m->disks[1]->skip = 64, "out of range")        \
        X("scsi: slot wraps", SCSI, Scsi, m->disks[1]->skip = UINT32_MAX, "out of range")          \
        X("scsi: kind", SCSI, Scsi, m->disks[0]->kind = 3, "kind")                                 \
        X("scsi: mode", SCSI, Scsi, m->disks[0]->mode = 3, "mode")                                 \
        X("scsi: layer said read-only", SCSI, Scsi, m->disks[0]->read_only = true, "read_only")    \
        X("scsi: directory", SCSI, Scsi, m->disks[0]->directory = 77, "directory")                 \
        X("scsi: relative directory", SCSI, Scsi, m->directories[0] = "x", "not absolute")         \
        X("scsi: directory twice", SCSI, Scsi, m->directories[1] = m->directories[0], "twice")     \
        X("scsi: digest length", SCSI, Scsi, m->disks[0]->digest.len = 31, "digest")               \
        X("scsi: layer without digest", SCSI, Scsi, m->disks[0]->digest.len = 0, "digest")         \
        X("scsi: no name", SCSI, Scsi, m->disks[2]->name = "", "neither name nor digest")          \
        X("scsi: slash in a name", SCSI, Scsi, m->disks[2]->name = "a/b", "slash")                 \
        X("scsi: dots as a name", SCSI, Scsi, m->disks[2]->name = "..", "not normalised")          \
        X("scsi: path twice", SCSI, Scsi, m->disks[2]->name = m->disks[1]->name;                   \
          m->disks[2]->directory = m->disks[1]->directory, "another disk")                         \
        X("scsi: size", SCSI, Scsi, m->disks[0]->virtual_size = 0, "size")                         \
        X("scsi: format", SCSI, Scsi, m->disks[2]->format = "vmdk", "vmdk")                        \
        X("scsi: no mounts", SCSI, Scsi, m->disks[0]->n_mounts = 0, "no mounts")                   \
        X("scsi: mounted, not plugged", SCSI, Scsi, m->disks[0]->unplugged = true, "not plugged")  \
        X("scsi: partition", SCSI, Scsi, m->disks[0]->mounts[0]->partition = 9999, "partition")    \
        X("scsi: partition twice", SCSI, Scsi, m->disks[0]->n_mounts = 2;                          \
          m->disks[0]->mounts = twice(m->disks[0]->mounts[0]), "partitions")                       \
        X("scsi: read-only twice", SCSI, Scsi, m->disks[0]->mounts[0]->read_only = true, "twice")  \
        X("scsi: filesystem", SCSI, Scsi, m->disks[0]->mounts[0]->filesystem = "a b",              \
          "filesystem")                                                                            \
        X("scsi: nobody's mount", SCSI, Scsi, m->disks[0]->mounts[0]->n_reservations = 0,          \
          "number of reservations")                                                                \
        X("scsi: reservation 0", SCSI, Scsi, m->disks[0]->mounts[0]->reservations[0] = 0,          \
          "out of range")                                                                          \
        X("scsi: reservations fall", SCSI, Scsi, m->disks[0]->mounts[0]->reservations[1] = 1,      \
          "do not rise")                                                                           \
        X("scsi: reservation of two disks", SCSI, Scsi,                                            \
          m->disks[1]->mounts[0]->reservations[0] = 1, "twice")                                    \
        X("vm: uuid", VM, Vm, m->uuid.len = 15, "uuid")                                            \
        X("vm: pod id", VM, Vm, m->pod_id = "a/b", "pod_id")                                       \
        X("vm: domain name", VM, Vm, m->domain_name = "a b", "domain_name")                        \
        X("vm: no memory", VM, Vm, m->memory_mib = 0, "memory_mib")                                \
        X("vm: huge memory", VM, Vm, m->memory_mib = UINT64_MAX, "memory_mib")                     \
        X("vm: vcpus", VM, Vm, m->vcpus = 100000, "vcpus")                                         \
        X("vm: domain type", VM, Vm, m->domain_type = 2, "domain_type")                            \
        X("vm: machine", VM, Vm, m->machine = "", "machine")                                       \
        X("vm: cpu", VM, Vm, m->cpu = "a\nb", "cpu")                                               \
        X("vm: no kernel", VM, Vm, m->kernel = NULL, "kernel")                                     \
        X("vm: kernel path", VM, Vm, m->kernel->path = "x", "kernel path")                         \
        X("vm: kernel digest", VM, Vm, m->kernel->digest.len = 5, "digest")                        \
        X("vm: initrd path", VM, Vm, m->initrd->path = "", "initrd path")                          \
        X("vm: cmdline", VM, Vm, m->cmdline = "a\x01", "cmdline")                                  \
        X("vm: link path", VM, Vm, m->link_path = "run", "link_path")                              \
        X("vm: console path", VM, Vm, m->console_path = "run", "console_path")                     \
        X("vm: no link", VM, Vm, m->link = NULL, "link")                                           \
        X("vm: session id", VM, Vm, m->link->session_id.len = 8, "session_id")                     \
        X("vm: session id zero", VM, Vm, memset(m->link->session_id.data, 0, 16), "session_id")    \
        X("vm: epoch", VM, Vm, m->link->epoch = 0, "epoch")                                        \
        X("vm: call floor", VM, Vm, m->link->next_call_id = 0, "next_call_id")                     \
        X("vm: channel floor", VM, Vm, m->link->next_channel = 0, "next_channel")                  \
        X("vm: no scsi", VM, Vm, m->scsi.len = 0, "scsi envelope is empty")                        \
        X("vm: no plan9", VM, Vm, m->plan9.len = 0, "plan9 envelope is empty")                     \
        X("vm: no vpci", VM, Vm, m->vpci.len = 0, "vpci envelope is empty")                        \
        X("vm: children swapped", VM, Vm, m->plan9 = m->vpci, "type_url")                          \
        X("pod: id", POD, Pod, m->pod_id = ".x", "pod_id")                                         \
        X("pod: guest id repeats", POD, Pod, m->guest_id = m->pod_id, "guest_id")                  \
        X("pod: guest id", POD, Pod, m->guest_id = "a b", "guest_id")                              \
        X("pod: no network", POD, Pod, m->network.len = 0, "network envelope is empty")            \
        X("pod: containers out of order", POD, Pod, m->containers++; m->n_containers = 1;          \
          m->containers[1] = m->containers[-1]; m->n_containers = 2, "sorted")                     \
        X("pod: container twice", POD, Pod, m->containers[1] = m->containers[0], "claimed twice")  \
        X("container: id", CONTAINER, Container, m->container_id = "-", "container_id")            \
        X("container: guest id", CONTAINER, Container, m->guest_id = m->container_id, "guest_id")  \
        X("container: phase", CONTAINER, Container, m->phase = 3, "phase")                         \
        X("container: phase lies", CONTAINER, Container, m->phase = 2, "phase")                    \
        X("container: created with execs", CONTAINER, Container, m->phase = 1, "execs")            \
        X("container: no disks", CONTAINER, Container, m->n_reservations = 0, "reservations")      \
        X("container: unknown disk", CONTAINER, Container, m->reservations[0] = 4711,              \
          "not among the disks")                                                                   \
        X("container: disk twice", CONTAINER, Container, m->reservations[1] = m->reservations[0],  \
          "twice")                                                                                 \
        X("container: disks out of order", CONTAINER, Container, m->reservations[0] = 3;           \
          m->n_reservations = 1, "first one is not a layer")                                       \
        X("container: no destination", CONTAINER, Container, m->n_destinations = 0, "fewer")       \
        X("container: destination to spare", CONTAINER, Container, m->n_reservations = 3, "more")  \
        X("container: destination", CONTAINER, Container, m->destinations[0] = "x", "absolute")    \
        X("container: root as destination", CONTAINER, Container, m->destinations[0] = "/",        \
          "root")                                                                                  \
        X("container: no processes", CONTAINER, Container, m->n_processes = 0, "processes")        \
        X("container: no init", CONTAINER, Container, m->processes++;                              \
          m->n_processes--, "not an init")                                                         \
        X("container: two inits", CONTAINER, Container, m->processes[1] = m->processes[0],         \
          "second init")                                                                           \
        X("container: exec twice", CONTAINER, Container, m->processes[2] = m->processes[1],        \
          "sorted")                                                                                \
        X("container: no process", CONTAINER, Container, m->processes[1].len = 0, "empty")         \
        X("process: exec id", PROCESS, Process, m->exec_id = "a/b", "exec_id")                     \
        X("process: phase", PROCESS, Process, m->phase = 9, "phase")                               \
        X("process: pid 0", PROCESS, Process, m->pid = 0, "pid")                                   \
        X("process: no wait", PROCESS, Process, m->wait_call = 0, "wait_call")                     \
        X("process: exit of a runner", PROCESS, Process, m->exit_code = 1, "exit")                 \
        X("process: json of a runner", PROCESS, Process, m->process_json = "{}", "process_json")   \
        X("process: no stdout", PROCESS, Process, m->stdout_channel = 0, "stdout_channel")         \
        X("process: terminal", PROCESS, Process, m->terminal = true, "terminal")                   \
        X("process: stdin", PROCESS, Process, m->stdin_open = true, "stdin_channel")               \
        X("process: one channel twice", PROCESS, Process, m->stderr_channel = m->stdout_channel,   \
          "channels")                                                                              \
        X("process: window", PROCESS, Process, m->rows = 65536, "size")                            \
        X("process: created with a pid", PROCESS_CREATED, Process, m->pid = 5, "pid")              \
        X("process: created and waited for", PROCESS_CREATED, Process, m->wait_call = 5,           \
          "wait_call")                                                                             \
        X("process: created, bad json", PROCESS_CREATED, Process, m->process_json = "[]",          \
          "process_json")                                                                          \
        X("process: created, no json", PROCESS_CREATED, Process, m->process_json = "",             \
          "process_json")                                                                          \
        X("process: created with a channel", PROCESS_CREATED, Process, m->stdout_channel = 3,      \
          "channels")                                                                              \
        X("process: exited and waited for", PROCESS_EXITED, Process, m->wait_call = 5,             \
          "wait_call")                                                                             \
        X("process: exit code", PROCESS_EXITED, Process, m->exit_code = 256, "exit_code")          \
        X("network: phase", NETWORK, Network, m->phase = 3, "phase")                               \
        X("network: kind", NETWORK, Network, m->kind = 3, "kind")                                  \
        X("network: no path", NETWORK, Network, m->namespace_path[0] = 0, "namespace")             \
        X("network: path", NETWORK, Network, m->namespace_path[1] = '/', "network namespace")      \
        X("network: user with a path", NETWORK, Network, m->kind = 2, "namespace")                 \
        X("network: MAC", NETWORK, Network, m->interfaces[0]->mac.len = 5, "MAC")                  \
        X("network: a group's MAC", NETWORK, Network, m->interfaces[0]->mac.data[0] = 3, "MAC")    \
        X("network: slot", NETWORK, Network, m->interfaces[1]->slot = 4, "slot")                   \
        X("network: one slot twice", NETWORK, Network, m->interfaces[1]->slot = 0, "in slot 0")    \
        X("network: one name twice", NETWORK, Network, m->interfaces[1]->name[3] = '0',            \
          "two interfaces eth0")                                                                   \
        X("network: name", NETWORK, Network, m->interfaces[0]->name[0] = '/', "no name")           \
        X("network: address", NETWORK, Network, m->interfaces[0]->addresses[0]->address.len = 3,   \
          "an address is none")                                                                    \
        X("network: prefix", NETWORK, Network, m->interfaces[0]->addresses[0]->prefix = 33,        \
          "an address is none")                                                                    \
        X("network: route", NETWORK, Network, m->interfaces[0]->routes[0]->gateway.len = 3,        \
          "a route is none")                                                                       \
        X("network: neighbour", NETWORK, Network, m->interfaces[0]->neighbours[0]->mac.len = 1,    \
          "a neighbour is none")                                                                   \
        X("network: a port in a namespace", NETWORK, Network, m->publish = ports;                  \
          m->n_publish = 1, "ports are published")                                                 \
        X("network: MTU", NETWORK, Network, m->interfaces[0]->mtu = 67, "MTU")                     \
        X("network: server", NETWORK, Network, m->names->servers[0][0] = '\n', "names")            \
        X("plan9: a share", PLAN9, Plan9, m->shares = shares;                                      \
          m->n_shares = 1, "not supported yet")                                                    \
        X("vpci: a device", VPCI, Vpci, m->devices = devices; m->n_devices = 1, "not supported yet")

static Podferry__State__V1__Publish port =
        PROTOBUF_C_MESSAGE_INIT(&podferry__state__v1__publish__descriptor);
static Podferry__State__V1__Publish *ports[] = { &port };
static Podferry__State__V1__Plan9Share share =
        PROTOBUF_C_MESSAGE_INIT(&podferry__state__v1__plan9_share__descriptor);
static Podferry__State__V1__Plan9Share *shares[] = { &share };
static Podferry__State__V1__VpciDevice device =
        PROTOBUF_C_MESSAGE_INIT(&podferry__state__v1__vpci_device__descriptor);
static Podferry__State__V1__VpciDevice *devices[] = { &device };

typedef struct Lie {
        const char *name, *says;
        Golden golden;
} Lie;

#define LIE_ROW(n, g, type, statement, s) { .name = n, .says = s, .golden = GOLDEN_##g },
static const Lie lies[] = { LIES(LIE_ROW) };

/* Tells the lie with this name. */
static void tell(const char *name, void *message) {
#define LIE_TELL(n, g, type, statement, s)                                                         \
        if (strcmp(name, n) == 0) {                                                                \
                Podferry__State__V1__##type *m = message;                                          \
                statement;                                                                         \
        }
        LIES(LIE_TELL)
}

/* Messages are unpacked into an arena, so that a lie may put anything anywhere in them. */
typedef struct Arena {
        size_t used;
        _Alignas(16) uint8_t bytes[1 << 16];
} Arena;

static void *arena_alloc(void *data, size_t size) {
        Arena *a = data;
        void *p = a->bytes + a->used;

        a->used += (size + 15) & ~(size_t)15;
        return a->used <= sizeof(a->bytes) ? p : NULL;
}

static void arena_free(void *data, void *p) {
}

static void test_lie(void **state) {
        const Lie *lie = *state;
        static Arena arena;
        ProtobufCAllocator allocator = { arena_alloc, arena_free, &arena };
        const EnvelopeType *type = goldens[lie->golden].type;
        _cleanup_free_ char *url = NULL;
        _cleanup_buf_ Buf payload = {}, b = {};
        ProtobufCMessage *m;
        Error e = ERROR_INIT;
        uint32_t version;
        int r;

        arena.used = 0;
        assert_int_equal(envelope_peek(made[lie->golden].data, made[lie->golden].len, &url,
                                       &version, &payload, &e),
                         0);
        m = protobuf_c_message_unpack(type->descriptor, &allocator, payload.len, payload.data);
        assert_non_null(m);
        tell(lie->name, m);
        assert_int_equal(envelope_seal(type, m, &b, &e), 0);
        r = import(lie->golden, &b, &e);
        if (!strstr(e.text, lie->says))
                fail_msg("refused with %d \"%s\", which does not say \"%s\"", r, e.text, lie->says);
        assert_int_equal(r, strstr(lie->says, "not supported") ? -EOPNOTSUPP : -EINVAL);
}

static void test_floors(void **state) {
        _cleanup_(scsi_freep) Scsi *disks = NULL;
        _cleanup_(pod_freep) Pod *pod = NULL;
        Error e = ERROR_INIT;

        assert_int_equal(
                scsi_import(NULL, made[GOLDEN_SCSI].data, made[GOLDEN_SCSI].len, &disks, NULL), 0);
        assert_int_equal(
                pod_import(NULL, disks, made[GOLDEN_POD].data, made[GOLDEN_POD].len, &pod, NULL),
                0);
        assert_int_equal(pod_check_floors(pod, 50, 50, &e), 0);
        assert_int_equal(pod_check_floors(pod, 1, 50, &e), -EINVAL);
        assert_non_null(strstr(e.text, "next_call_id"));
        assert_int_equal(pod_check_floors(pod, 50, 3, &e), -EINVAL);
        assert_non_null(strstr(e.text, "next_channel"));
        assert_int_equal(scsi_check_claims(disks, &e), 0);
        pod = pod_free(pod); /* an import that is given up gives its disks back */
        assert_int_equal(scsi_check_claims(disks, &e), -EINVAL);
        assert_int_equal(
                pod_import(NULL, disks, made[GOLDEN_POD].data, made[GOLDEN_POD].len, &pod, NULL),
                0);
}

/* Whatever allocation fails: refused, nothing built, and the disks are free to be claimed. */
static void test_no_memory(void **state) {
        Golden g = (Golden)(uintptr_t)*state;
        _cleanup_(scsi_freep) Scsi *disks = NULL;
        _cleanup_(vm_freep) Vm *vm = NULL;
        _cleanup_(pod_freep) Pod *pod = NULL;
        int r = -ENOMEM;

        if (!fail_malloc_works())
                skip();
        assert_int_equal(
                scsi_import(NULL, made[GOLDEN_SCSI].data, made[GOLDEN_SCSI].len, &disks, NULL), 0);
        for (unsigned n = 1; r != 0; n++) {
                size_t before = fail_malloc_live();

                fail_malloc_at(n);
                r = g == GOLDEN_VM ? vm_import(made[g].data, made[g].len, &vm, NULL)
                                   : pod_import(NULL, disks, made[g].data, made[g].len, &pod, NULL);
                fail_malloc_at(0);
                assert_true(r == 0 || (!vm && !pod));
                assert_true(r == 0 || fail_malloc_live() == before);
        }
}

static int write_file(const char *dir, const char *name, const uint8_t *p, size_t n) {
        char path[4096];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "we");
        if (!f || fwrite(p, 1, n, f) != n) {
                perror(path);
                return 1;
        }
        return fclose(f) == 0 ? 0 : 1;
}

static int write_goldens(const char *wire, const char *corpus) {
        for (Golden g = 0; g < _GOLDEN_MAX; g++) {
                uint8_t input[16384];
                char name[64];

                (void)snprintf(name, sizeof(name), "%s.bin", goldens[g].name);
                if (write_file(wire, name, made[g].data, made[g].len) != 0 ||
                    write_file(corpus, goldens[g].name, input,
                               fuzz_input(g, made[g].data, made[g].len, input, sizeof(input))) != 0)
                        return 1;
        }
        return 0;
}

int main(int argc, char **argv) {
        static struct CMUnitTest tests[3 * _GOLDEN_MAX + ELEMENTSOF(lies) + 4];
        static char names[3 * _GOLDEN_MAX][64];
        static const struct {
                const char *name;
                CMUnitTestFunction run;
        } kinds[] = { { "golden", test_golden },
                      { "damage", test_damage },
                      { "outer", test_outer } };
        size_t n = 0;

        make_goldens();
        if (argc == 3)
                return write_goldens(argv[1], argv[2]);
        for (size_t k = 0; k < ELEMENTSOF(kinds); k++)
                for (Golden g = 0; g < _GOLDEN_MAX; g++, n++) {
                        (void)snprintf(names[n], sizeof(names[n]), "%s: %s", kinds[k].name,
                                       goldens[g].name);
                        tests[n] = (struct CMUnitTest){ .name = names[n],
                                                        .test_func = kinds[k].run,
                                                        .initial_state = (void *)(uintptr_t)g };
                }
        for (size_t i = 0; i < ELEMENTSOF(lies); i++)
                tests[n++] = (struct CMUnitTest){ .name = lies[i].name,
                                                  .test_func = test_lie,
                                                  .initial_state = (void *)(uintptr_t)&lies[i] };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_floors);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_old);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test_prestate(test_no_memory,
                                                                  (void *)(uintptr_t)GOLDEN_VM);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test_prestate(test_no_memory,
                                                                  (void *)(uintptr_t)GOLDEN_POD);
        n = (size_t)_cmocka_run_group_tests("state", tests, n, NULL, NULL);
        for (Golden g = 0; g < _GOLDEN_MAX; g++)
                buf_done(&made[g]);
        return (int)n;
}
