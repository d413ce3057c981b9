/* SPDX-License-Identifier: Apache-2.0 */
/* The VM's saved state (proto/state/v1/vm.proto), with the envelopes of its devices, and Patch. */
#include <stdio.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/vm/vm-internal.h"
#include "vm.pb-c.h"

typedef Podferry__State__V1__Vm PbVm;
typedef Podferry__State__V1__VmFile PbFile;
typedef Podferry__State__V1__VmLink PbLink;

#define UUID_BYTES 16U

const EnvelopeType vm_envelope = {
        .kind = "vm",
        .type_url = "type.podferry.org/podferry.state.v1.Vm",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__vm__descriptor,
};

static int hex_value(char c) {
        return c >= 'a' ? c - 'a' + 10 : c - '0';
}

static void uuid_to_bytes(const char *uuid, uint8_t ret[UUID_BYTES]) {
        for (size_t i = 0; i < UUID_BYTES; i++) {
                if (*uuid == '-')
                        uuid++;
                ret[i] = (uint8_t)(hex_value(uuid[0]) << 4 | hex_value(uuid[1]));
                uuid += 2;
        }
}

static void uuid_from_bytes(const uint8_t b[UUID_BYTES], char ret[37]) {
        (void)snprintf(ret, 37,
                       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                       b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                       b[13], b[14], b[15]);
}

/* Everything that the packed message points at. Strings are copies: protobuf-c wants them
 * writable. */
typedef struct Saver {
        char *strings[16];
        size_t n_strings;
        uint8_t digests[2][DIGEST_BYTES], uuid[UUID_BYTES];
        PbFile files[2];
        PbLink link;
        VmLink facts;
        Buf scsi, plan9, vpci;
} Saver;

static void saver_done(Saver *v) {
        for (size_t i = 0; i < v->n_strings; i++)
                free(v->strings[i]);
        buf_done(&v->scsi);
        buf_done(&v->plan9);
        buf_done(&v->vpci);
}

static int save_string(Saver *v, const char *s, char **ret) {
        char *copy;

        copy = strdup(s);
        if (!copy)
                return -ENOMEM;
        v->strings[v->n_strings++] = copy;
        *ret = copy;
        return 0;
}

static int save_file(Saver *v, const VmFile *f, size_t i, PbFile **ret) {
        PbFile *w = &v->files[i];

        *w = (PbFile)PODFERRY__STATE__V1__VM_FILE__INIT;
        if (save_string(v, f->path, &w->path) < 0)
                return -ENOMEM;
        if (f->digest[0]) {
                digest_to_bytes(f->digest, v->digests[i]);
                w->digest = (ProtobufCBinaryData){ .len = DIGEST_BYTES, .data = v->digests[i] };
        }
        *ret = w;
        return 0;
}

static int save_spec(Saver *v, const VmSpec *s, PbVm *w) {
        if (save_string(v, s->pod_id, &w->pod_id) < 0 ||
            save_string(v, s->domain_name, &w->domain_name) < 0 ||
            save_string(v, s->machine, &w->machine) < 0 || save_string(v, s->cpu, &w->cpu) < 0 ||
            save_string(v, s->cmdline, &w->cmdline) < 0 ||
            save_string(v, s->link_path, &w->link_path) < 0 ||
            save_string(v, s->console_path, &w->console_path) < 0 ||
            save_file(v, &s->kernel, 0, &w->kernel) < 0 ||
            save_file(v, &s->initrd, 1, &w->initrd) < 0)
                return -ENOMEM;
        uuid_to_bytes(s->uuid, v->uuid);
        w->uuid = (ProtobufCBinaryData){ .len = UUID_BYTES, .data = v->uuid };
        w->memory_mib = s->memory_mib;
        w->vcpus = s->vcpus;
        w->domain_type = (uint32_t)s->domain_type;
        return 0;
}

static void save_link(Saver *v, PbVm *w) {
        v->link = (PbLink)PODFERRY__STATE__V1__VM_LINK__INIT;
        v->link.session_id = (ProtobufCBinaryData){ .len = sizeof(v->facts.session_id),
                                                    .data = v->facts.session_id };
        v->link.epoch = v->facts.epoch;
        v->link.next_call_id = v->facts.next_call_id;
        v->link.next_channel = v->facts.next_channel;
        w->link = &v->link;
}

static ProtobufCBinaryData bytes_of(const Buf *b) {
        return (ProtobufCBinaryData){ .len = b->len, .data = b->data };
}

int vm_save(const Vm *vm, Buf *ret, Error *reterr) {
        _cleanup_(saver_done) Saver v = {};
        PbVm w = PODFERRY__STATE__V1__VM__INIT;
        int r;

        if (vm->fsm.state != VM_SOURCE_INITIALIZED)
                return fsm_refuse(&vm->fsm, "save", reterr);
        vm->ops->link(vm->userdata, &v.facts);
        r = vm_link_check(&v.facts, reterr);
        if (r < 0)
                return r;
        if (save_spec(&v, &vm->spec, &w) < 0)
                return error_oom(reterr);
        save_link(&v, &w);
        r = scsi_save(vm->scsi, &v.scsi, reterr);
        if (r == 0)
                r = plan9_save(vm->plan9, &v.plan9, reterr);
        if (r == 0)
                r = vpci_save(vm->vpci, &v.vpci, reterr);
        if (r < 0)
                return r;
        w.scsi = bytes_of(&v.scsi);
        w.plan9 = bytes_of(&v.plan9);
        w.vpci = bytes_of(&v.vpci);
        return envelope_seal(&vm_envelope, &w.base, ret, reterr);
}

static int bad(const char *what, Error *reterr) {
        return error_setf(reterr, -EINVAL, "vm envelope: %s", what);
}

static int import_file(const PbFile *w, const char *missing, char digest[7 + 64 + 1], VmFile *ret,
                       Error *reterr) {
        if (!w)
                return bad(missing, reterr);
        if (w->digest.len != 0 && w->digest.len != DIGEST_BYTES)
                return bad("a file's digest is not 32 bytes long", reterr);
        digest[0] = '\0';
        if (w->digest.len > 0)
                digest_from_bytes(w->digest.data, digest);
        *ret = (VmFile){ .path = w->path, .digest = digest };
        return 0;
}

static int import_link(const PbLink *w, VmLink *ret, Error *reterr) {
        int r;

        if (!w)
                return bad("link is missing", reterr);
        if (w->session_id.len != sizeof(ret->session_id))
                return bad("session_id is not 16 bytes long", reterr);
        *ret = (VmLink){ .epoch = w->epoch,
                         .next_call_id = w->next_call_id,
                         .next_channel = w->next_channel };
        memcpy(ret->session_id, w->session_id.data, sizeof(ret->session_id));
        r = vm_link_check(ret, reterr);
        return r < 0 ? error_prefix(reterr, r, "vm envelope") : 0;
}

static int import_message(const PbVm *w, Vm **ret, Error *reterr) {
        char uuid[37], kernel[7 + 64 + 1], initrd[7 + 64 + 1];
        _cleanup_(vm_freep) Vm *vm = NULL;
        VmLink link;
        VmSpec s = { .pod_id = w->pod_id,
                     .domain_name = w->domain_name,
                     .uuid = uuid,
                     .memory_mib = w->memory_mib,
                     .vcpus = w->vcpus,
                     .machine = w->machine,
                     .cpu = w->cpu,
                     .cmdline = w->cmdline,
                     .link_path = w->link_path,
                     .console_path = w->console_path };
        int r;

        if (w->uuid.len != UUID_BYTES)
                return bad("uuid is not 16 bytes long", reterr);
        uuid_from_bytes(w->uuid.data, uuid);
        if (w->domain_type >= _VM_DOMAIN_TYPE_MAX)
                return bad("domain_type is unknown", reterr);
        s.domain_type = (VmDomainType)w->domain_type;
        r = import_file(w->kernel, "kernel is missing", kernel, &s.kernel, reterr);
        if (r == 0)
                r = import_file(w->initrd, "initrd is missing", initrd, &s.initrd, reterr);
        if (r == 0)
                r = import_link(w->link, &link, reterr);
        if (r < 0)
                return r;
        r = vm_alloc(&s, VM_DESTINATION_IMPORTED, &vm, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "vm envelope");
        vm->destination = true;
        vm->link = link;
        r = scsi_import(&vm->controller, w->scsi.data, w->scsi.len, &vm->scsi, reterr);
        if (r == 0)
                r = plan9_import(&vm->controller, w->plan9.data, w->plan9.len, &vm->plan9, reterr);
        if (r == 0)
                r = vpci_import(&vm->controller, w->vpci.data, w->vpci.len, &vm->vpci, reterr);
        if (r < 0)
                return r;
        vm->spec.n_scsi_controllers = scsi_n_controllers(vm->scsi);
        *ret = TAKE(vm);
        return 0;
}

int vm_import(const void *p, size_t n, Vm **ret, Error *reterr) {
        ProtobufCMessage *m;
        int r;

        r = envelope_open(&vm_envelope, p, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        r = import_message((PbVm *)m, ret, reterr);
        protobuf_c_message_free_unpacked(m, NULL);
        return r;
}

int vm_patch(Vm *vm, const VmPatch *patch, Error *reterr) {
        VmSpec s = vm->spec, copy;
        int r;

        if (vm->fsm.state != VM_DESTINATION_IMPORTED && vm->fsm.state != VM_DESTINATION_PATCHED)
                return fsm_refuse(&vm->fsm, "patch", reterr);
        s.kernel.path = patch->kernel_path;
        s.initrd.path = patch->initrd_path;
        s.link_path = patch->link_path;
        s.console_path = patch->console_path;
        r = vm_spec_check(&s, reterr);
        if (r == 0)
                r = scsi_check_claims(vm->scsi, reterr);
        if (r < 0)
                return r;
        if (vm_spec_copy(&s, &copy) < 0) {
                vm_spec_done(&copy);
                return error_oom(reterr);
        }
        vm_spec_done(&vm->spec);
        vm->spec = copy;
        vm->fsm.id = vm->controller.id = vm->spec.domain_name;
        if (vm->fsm.state == VM_DESTINATION_IMPORTED)
                fsm_must(&vm->fsm, VM_DESTINATION_PATCHED);
        return 0;
}
