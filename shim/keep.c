/* SPDX-License-Identifier: Apache-2.0 */
/* The record: u32 version, u32 length each of VM, pod, handoff and session, then these: three
 * envelopes, and the JSON of migrate-kept.c. Version 1 had no session. */
#include "shim/keep.h"

#include <string.h>

#include "lib/frame.h"
#include "lib/log.h"
#include "shim/migrate/migrate.h"
#include "shim/state-file.h"

#define VERSION    2U
#define HEAD_FIRST 16U /* of version 1 */
#define HEAD       20U

struct Keep {
        Shim *shim;
        StateFile file;
        sd_event_source *post; /* after each turn of the loop */
        Buf vm, pod;           /* the tree, as last saved */
        bool tree_changed;
        bool saving;  /* the moves of the tree are ours */
        bool failing; /* has said that writing fails */
};

/* Does this host have a tree that runs, or ran until a migration froze it? */
static bool has_tree(const Shim *s) {
        if (!s->vm || !s->pod || s->ending || vm_imported_link(s->vm))
                return false;
        switch (vm_state(s->vm)) {
        case VM_RUNNING:
        case VM_SOURCE_INITIALIZED:
        case VM_SOURCE_STARTED:
        case VM_TRANSFER_COMPLETED:
                return true;
        case VM_NOT_CREATED:
        case VM_STARTING:
        case VM_STOPPING:
        case VM_TERMINATED:
        case VM_INVALID:
        case VM_DESTINATION_IMPORTED:
        case VM_DESTINATION_PATCHED:
        case VM_DESTINATION_STARTED:
        case VM_SOURCE_MOVED:
        case _VM_STATE_MAX:
                break;
        }
        return false;
}

static int save_tree(Keep *k) {
        _cleanup_buf_ Buf vm = {}, pod = {};
        Shim *s = k->shim;
        int r;

        if (vm_state(s->vm) != VM_RUNNING || migration_is_active(migrate_controller(s->migrate)))
                return -EBUSY; /* frozen: nothing changes */
        k->saving = true;
        r = controller_freeze(vm_controller(s->vm), NULL);
        if (r == 0) {
                r = vm_save(s->vm, &vm, NULL);
                if (r == 0)
                        r = pod_save(s->pod, &pod, NULL);
                controller_thaw(vm_controller(s->vm));
        }
        k->saving = false;
        if (r < 0)
                return r;
        buf_done(&k->vm);
        buf_done(&k->pod);
        k->vm = vm;
        k->pod = pod;
        vm = pod = (Buf){};
        k->tree_changed = false;
        return 0;
}

static int write_all(Keep *k, const Buf *vm, const Buf *pod, Error *reterr) {
        const char *session = migrate_kept_session(k->shim->migrate);
        _cleanup_buf_ Buf link = {};
        uint8_t head[HEAD];
        int r;

        r = migrate_save_link(k->shim->migrate, &link, reterr);
        if (r < 0)
                return r;
        put_le32(head, VERSION);
        put_le32(head + 4, (uint32_t)vm->len);
        put_le32(head + 8, (uint32_t)pod->len);
        put_le32(head + 12, (uint32_t)link.len);
        put_le32(head + 16, (uint32_t)strlen(session));
        return state_file_write(&k->file,
                                (struct iovec[]){ { head, HEAD },
                                                  { vm->data, vm->len },
                                                  { pod->data, pod->len },
                                                  { link.data, link.len },
                                                  { (void *)(uintptr_t)session, strlen(session) } },
                                5, reterr);
}

/* A pod that came by a migration is first saved as it came; from the first time that it could be
 * saved as it is here, as any other. */
static bool find_tree(Keep *k, const Buf **vm, const Buf **pod) {
        if (has_tree(k->shim) && k->tree_changed && save_tree(k) == 0)
                migrate_forget_came(k->shim->migrate);
        if (migrate_kept_tree(k->shim->migrate, vm, pod))
                return true;
        *vm = &k->vm; /* the one before counts, until it can be saved again */
        *pod = &k->pod;
        return has_tree(k->shim) && k->vm.len > 0;
}

void keep_now(Keep *k) {
        const Buf *vm, *pod;
        Error err = ERROR_INIT;
        int r;

        if (!k || k->saving || k->shim->ending || !find_tree(k, &vm, &pod))
                return;
        r = write_all(k, vm, pod, &err);
        if (r < 0 && !k->failing)
                log_warning("what the pod needs to survive this shim cannot be saved: %s",
                            error_text(&err, r));
        k->failing = r < 0;
}

static int on_post(sd_event_source *source, void *userdata) {
        Keep *k = userdata;

        if (k->tree_changed && has_tree(k->shim) && save_tree(k) == 0) {
                migrate_forget_came(k->shim->migrate);
                keep_now(k);
        }
        return 0;
}

bool keep_saw_move(Keep *k) {
        if (!k)
                return true;
        if (k->saving)
                return false;
        k->tree_changed = true;
        return true;
}

void keep_tree_changed(Keep *k) {
        if (k)
                k->tree_changed = true;
}

bool keep_is_current(const Keep *k) {
        return k && !k->tree_changed && !k->failing;
}

int keep_new(Shim *s, Keep **ret, Error *reterr) {
        _cleanup_free_ char *path = run_dir_file(&s->dir, "state");
        Keep *k;
        int r;

        if (!path)
                return error_oom(reterr);
        k = calloc(1, sizeof(*k));
        if (!k)
                return error_oom(reterr);
        k->shim = s;
        r = state_file_init(&k->file, path, reterr);
        if (r == 0) {
                r = sd_event_add_post(s->event, &k->post, on_post, k);
                if (r < 0)
                        (void)error_setf(reterr, r, "event for saving");
        }
        if (r < 0) {
                (void)keep_free(k);
                return r;
        }
        *ret = k;
        return 0;
}

Keep *keep_free(Keep *k) {
        if (!k)
                return NULL;
        sd_event_source_disable_unref(k->post);
        state_file_done(&k->file);
        buf_done(&k->vm);
        buf_done(&k->pod);
        free(k);
        return NULL;
}

void kept_state_done(KeptState *state) {
        buf_done(&state->vm);
        buf_done(&state->pod);
        buf_done(&state->handoff);
        buf_done(&state->session);
}

void keep_go_on(Keep *k, const KeptState *state) {
        if (k->vm.len > 0 || buf_append(&k->vm, state->vm.data, state->vm.len) < 0 ||
            buf_append(&k->pod, state->pod.data, state->pod.len) < 0) {
                k->vm.len = k->pod.len = 0;
                log_warning("nothing can be kept until the pod has been saved again");
        }
}

int keep_read(Keep *k, KeptState *ret, Error *reterr) {
        Buf *parts[] = { &ret->vm, &ret->pod, &ret->handoff, &ret->session };
        size_t n_parts = ELEMENTSOF(parts);
        _cleanup_buf_ Buf all = {};
        size_t at = HEAD;
        int r;

        r = state_file_read(&k->file, &all, reterr);
        if (r < 0)
                return r;
        if (all.len >= HEAD_FIRST && get_le32(all.data) == 1) {
                at = HEAD_FIRST;
                n_parts--;
        } else if (all.len < HEAD || get_le32(all.data) != VERSION)
                return error_setf(reterr, -EPROTONOSUPPORT,
                                  "%s: saved by another version of podferry", k->file.path);
        for (size_t i = 0; i < n_parts; i++) {
                size_t n = get_le32(all.data + 4 + 4 * i);

                if (n > all.len - at)
                        return error_setf(reterr, -EBADMSG, "%s: cut off", k->file.path);
                if (buf_append(parts[i], all.data + at, n) < 0)
                        return error_oom(reterr);
                at += n;
        }
        return 0;
}
