/* SPDX-License-Identifier: Apache-2.0 */
/* Every import function of the tree, on bytes from anywhere. The first byte chooses the function.
 * What loads is given up again; nothing may crash, hang or leak. */
#include "tests/fuzz/fuzz-envelope.h"

#include "controllers/pod/pod.h"
#include "controllers/vm/vm.h"

static void fuzz_vm(const uint8_t *p, size_t n) {
        _cleanup_(vm_freep) Vm *vm = NULL;

        if (vm_import(p, n, &vm, NULL) == 0)
                (void)vm_abort_migrated(vm, NULL);
}

static void fuzz_scsi(const uint8_t *p, size_t n) {
        _cleanup_(scsi_freep) Scsi *s = NULL;

        if (scsi_import(NULL, p, n, &s, NULL) == 0)
                (void)scsi_abort_migrated(s, NULL);
}

static void fuzz_process(const uint8_t *p, size_t n) {
        _cleanup_(process_freep) Process *process = NULL;

        if (process_import(NULL, "c1", "c1", p, n, &process, NULL) == 0)
                (void)process_abort_migrated(process, NULL);
}

/* Pods and containers refer to disks, which come first in the input: a length of two bytes (little
 * endian), and an envelope of that length. NULL: these do not load. */
static Scsi *take_disks(const uint8_t **p, size_t *n) {
        Scsi *s = NULL;
        size_t len;

        if (*n < 2)
                return NULL;
        len = MIN_OF((size_t)((*p)[0] | (*p)[1] << 8), *n - 2);
        if (scsi_import(NULL, *p + 2, len, &s, NULL) < 0)
                return NULL;
        *p += 2 + len;
        *n -= 2 + len;
        return s;
}

static void fuzz_container(const uint8_t *p, size_t n) {
        _cleanup_(scsi_freep) Scsi *s = take_disks(&p, &n);
        _cleanup_(container_freep) Container *c = NULL;

        if (s && container_import(NULL, s, p, n, &c, NULL) == 0)
                (void)container_abort_migrated(c, NULL);
}

static void fuzz_pod(const uint8_t *p, size_t n) {
        _cleanup_(scsi_freep) Scsi *s = take_disks(&p, &n);
        _cleanup_(pod_freep) Pod *pod = NULL;

        if (s && pod_import(NULL, s, p, n, &pod, NULL) == 0) {
                (void)pod_check_floors(pod, 100, 100, NULL);
                (void)pod_abort_migrated(pod, NULL);
        }
}

static void fuzz_network(const uint8_t *p, size_t n) {
        _cleanup_(network_freep) Network *network = NULL;

        (void)network_import(NULL, p, n, &network, NULL);
}

static void fuzz_plan9(const uint8_t *p, size_t n) {
        _cleanup_(plan9_freep) Plan9 *plan9 = NULL;

        (void)plan9_import(NULL, p, n, &plan9, NULL);
}

static void fuzz_vpci(const uint8_t *p, size_t n) {
        _cleanup_(vpci_freep) Vpci *vpci = NULL;

        (void)vpci_import(NULL, p, n, &vpci, NULL);
}

static void (*const targets[_FUZZ_ENVELOPE_MAX])(const uint8_t *p, size_t n) = {
        [FUZZ_VM] = fuzz_vm,           [FUZZ_SCSI] = fuzz_scsi,
        [FUZZ_POD] = fuzz_pod,         [FUZZ_CONTAINER] = fuzz_container,
        [FUZZ_PROCESS] = fuzz_process, [FUZZ_NETWORK] = fuzz_network,
        [FUZZ_PLAN9] = fuzz_plan9,     [FUZZ_VPCI] = fuzz_vpci,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size > 0)
                targets[data[0] % _FUZZ_ENVELOPE_MAX](data + 1, size - 1);
        return 0;
}
