/* SPDX-License-Identifier: Apache-2.0 */
/* Check: this host's facts, and the answer of all rules to them and the other host's.
 *
 *      source        writes tokens beside its disks; says what the pod is
 *      destination   given that: looks for the tokens, writes its own; says what it has for the pod
 *      source        given that: looks for the destination's tokens; the whole answer
 *
 * Tokens are all that a check makes. The source removes its own with the second call, or when the
 * client that asked is gone; the destination when its shim ends or the pod is imported. */
#include <stdio.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/migration/storage.h"
#include "hostdev/image/guest-image.h"
#include "hostdev/libvirt/domain-look.h"
#include "lib/log.h"
#include "lib/net-message.h"
#include "shim/file-job.h"
#include "shim/migrate/migrate-check.h"
#include "shim/migrate/migrate-options.h"
#include "shim/wiring/ops.h"

#define AGENT_USEC (1000U * 1000U)
#define TEXT_MAX   500U

static void run_free(CheckRun *c) {
        (void)sd_event_source_disable_unref(c->timer);
        (void)check_facts_free(c->peer);
        (void)check_files_free(c->files);
        (void)json_object_put(c->facts);
        (void)json_object_put(c->disk_map);
        (void)json_object_put(c->link.document);
        (void)qemu_memory_free(c->memory.sample);
        free(c->namespace);
        free(c);
}

/* -- building -- */

void check_put_text(json_object *o, const char *key, const char *value) {
        char text[TEXT_MAX + 1];

        if (!value || !value[0])
                return;
        if (strlen(value) > TEXT_MAX || strcmp(key, "path") == 0 || strcmp(key, "there") == 0) {
                (void)json_object_object_add(o, key, json_object_new_string(value));
                return;
        }
        (void)snprintf(text, sizeof(text), "%s", value);
        text_clean(text);
        (void)json_object_object_add(o, key, json_object_new_string(text));
}

void check_put_number(json_object *o, const char *key, uint64_t n) {
        if (n != CHECK_NUMBER_UNKNOWN)
                (void)json_object_object_add(o, key, json_object_new_uint64(n));
}

void check_put_answer(json_object *o, const char *key, CheckAnswer a) {
        if (a != CHECK_UNKNOWN)
                (void)json_object_object_add(o, key, json_object_new_boolean(a == CHECK_YES));
}

/* The object of that name in o, made if it is not there. */
static json_object *part(json_object *o, const char *key) {
        json_object *p = NULL;

        if (json_object_object_get_ex(o, key, &p))
                return p;
        p = json_object_new_object();
        (void)json_object_object_add(o, key, p);
        return p;
}

void check_put_error(json_object *o, const char *key, int r, const Error *err) {
        char text[TEXT_MAX + 1];

        (void)snprintf(text, sizeof(text), "%.490s", error_text(err, r));
        check_put_text(o, key, text);
}

static void put_envelopes(json_object *facts) {
        static const struct {
                const char *kind;
                const EnvelopeType *type;
        } types[] = { { "vm", &vm_envelope },
                      { "scsi", &scsi_envelope },
                      { "plan9", &plan9_envelope },
                      { "vpci", &vpci_envelope },
                      { "pod", &pod_envelope },
                      { "network", &network_envelope },
                      { "container", &container_envelope },
                      { "process", &process_envelope },
                      { "migration", &migration_envelope },
                      { "handoff", &handoff_envelope } };
        json_object *list = json_object_new_array();

        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                json_object *o = json_object_new_object();

                check_put_text(o, "kind", types[i].kind);
                check_put_number(o, "min", types[i].type->min_version);
                check_put_number(o, "current", types[i].type->version);
                (void)json_object_array_add(list, o);
        }
        (void)json_object_object_add(facts, "envelopes", list);
}

void check_put_interface(json_object *list, const NetInterface *i) {
        json_object *o = json_object_new_object();
        char mac[NET_MAC_TEXT];

        check_put_text(o, "name", i->name);
        check_put_text(o, "mac", net_mac_text(&i->mac, mac));
        check_put_number(o, "mtu", i->mtu);
        (void)json_object_array_add(list, o);
}

/* By these the other side is to prepare. */
static void put_options(const CheckRun *c) {
        json_object *list;

        if (c->ask.role != MIGRATION_SOURCE)
                return;
        list = migrate_options_json(&c->ask.options);
        if (list)
                (void)json_object_object_add(c->facts, "options", list);
}

/* -- the order of things -- */

static void finish(CheckRun *c);

void check_go_on(CheckRun *c) {
        while (*c->steps)
                if ((*c->steps++)(c) > 0)
                        return;
        finish(c);
}

static int step_begin(CheckRun *c) {
        Migrate *m = c->migrate;
        const char *state = "idle";

        c->facts = migrate_facts_json(m, c->ask.role);
        if (!c->facts)
                return 0;
        if (migration_check(m->migration, c->ask.role, &c->ask.options, NULL) < 0)
                state = fsm_name(migration_get_fsm(m->migration));
        check_put_text(part(c->facts, "session"), "state", state);
        put_envelopes(c->facts);
        put_options(c);
        c->host = part(c->facts, "host");
        c->image = part(c->facts, "image");
        c->network = part(c->facts, "network");
        c->domain = c->ask.role == MIGRATION_SOURCE ? part(c->facts, "domain") : NULL;
        check_put_number(c->host, "qemu", m->facts_known ? m->qemu_version : CHECK_NUMBER_UNKNOWN);
        check_put_number(c->host, "libvirt",
                         m->facts_known ? m->libvirt_version : CHECK_NUMBER_UNKNOWN);
        if (m->facts_known)
                check_put_answer(c->host, "has_kvm", m->has_kvm ? CHECK_YES : CHECK_NO);
        return 0;
}

static void on_learnt(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;

        (void)step_begin(c);
        if (r < 0 && c->host)
                check_put_error(c->host, "trouble", r, err);
        check_go_on(c);
}

static int step_learn(CheckRun *c) {
        Error e = ERROR_INIT;
        int r = migrate_learn_facts(c->migrate, on_learnt, c, &e);

        if (r > 0)
                return 1;
        (void)step_begin(c);
        if (r < 0 && c->host)
                check_put_error(c->host, "trouble", r, &e);
        return 0;
}

/* -- source: the domain and the guest -- */

static void add_device(void *userdata, const char *name) {
        (void)json_object_array_add(userdata, json_object_new_string(name));
}

static void put_inspected(CheckRun *c, const VirtInspect *v) {
        json_object *devices = json_object_new_array();
        char target[DISK_TARGET_SIZE];

        c->paused = v->domain.state == VIRT_PAUSED;
        c->memory.pid = v->domain.pid;
        check_put_text(c->domain, "state", virt_state_name(v->domain.state));
        check_put_text(c->domain, "job", v->job);
        check_put_number(c->domain, "block_jobs", v->block_jobs);
        check_put_number(c->domain, "snapshots", v->snapshots);
        check_put_number(c->domain, "huge_page_kib", domain_look_huge_page_kib(v->xml));
        domain_look_devices(v->xml, add_device, devices);
        (void)json_object_object_add(c->domain, "devices", devices);
        for (size_t i = 0; i < c->files->n; i++) {
                disk_target(c->files->files[i].slot, target);
                domain_look_cache(v->xml, target, c->files->files[i].cache);
        }
}

static void on_inspected(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;

        if (r == 0)
                put_inspected(c, result);
        else if (r == -ENOENT)
                check_put_text(c->domain, "state", "none");
        else
                check_put_error(c->host, "trouble", r, err);
        check_go_on(c);
}

static int step_inspect(CheckRun *c) {
        Shim *s = c->migrate->shim;
        Error e = ERROR_INIT;
        Virt *virt;
        int r;

        if (!c->facts)
                return 0;
        if (!s->vm || vm_state(s->vm) != VM_RUNNING) {
                check_put_text(c->domain, "state",
                               s->vm ? fsm_name(vm_controller(s->vm)->fsm) : "not started");
                return 0;
        }
        r = shim_virt(s, &virt, &e);
        if (r == 0)
                r = virt_inspect(virt, on_inspected, c, &e);
        if (r < 0)
                check_put_error(c->host, "trouble", r, &e);
        return r > 0;
}

static void agent_answered(CheckRun *c, CheckAnswer a) {
        c->timer = sd_event_source_disable_unref(c->timer);
        check_put_answer(c->domain, "agent", a);
        check_go_on(c);
}

static void on_agent(void *userdata, int r, const FromGuest *reply, const Error *err) {
        agent_answered(userdata, r < 0 ? CHECK_NO : CHECK_YES);
}

static int on_agent_late(sd_event_source *source, uint64_t usec, void *userdata) {
        CheckRun *c = userdata;

        guest_rpc_drop(c->migrate->shim->rpc, c->call);
        agent_answered(c, CHECK_NO);
        return 0;
}

static int step_agent(CheckRun *c) {
        Podferry__Guest__V1__InfoRequest info = PODFERRY__GUEST__V1__INFO_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;
        Shim *s = c->migrate->shim;

        if (!c->facts || !s->vm || vm_state(s->vm) != VM_RUNNING || !s->rpc || c->paused)
                return 0;
        request.body_case = TO_GUEST_BODY(INFO);
        request.info = &info;
        if (sd_event_add_time_relative(s->event, &c->timer, CLOCK_MONOTONIC, AGENT_USEC, 0,
                                       on_agent_late, c) < 0)
                return 0;
        if (guest_rpc_call(s->rpc, &request, on_agent, c, &c->call, NULL) == 1)
                return 1;
        c->timer = sd_event_source_disable_unref(c->timer);
        check_put_answer(c->domain, "agent", CHECK_NO);
        return 0;
}

static int step_interfaces(CheckRun *c) {
        Shim *s = c->migrate->shim;
        NetworkInterfaceInfo infos[NET_INTERFACES_MAX];
        json_object *list;
        size_t n;

        if (!c->facts || !s->pod)
                return 0;
        check_put_text(c->network, "kind", network_kind_name(network_kind(pod_network(s->pod))));
        list = json_object_new_array();
        n = shim_interfaces(s, infos);
        for (size_t i = 0; i < n; i++)
                check_put_interface(list, infos[i].config);
        (void)json_object_object_add(c->facts, "interfaces", list);
        return 0;
}

/* -- both: files -- */

CheckFile *check_add_file(CheckFiles *f, uint32_t slot, const char *path) {
        for (size_t i = 0; i < f->n; i++)
                if (f->files[i].slot == slot)
                        return NULL;
        if (f->n == CHECK_DISKS_MAX)
                return NULL;
        f->files[f->n] = (CheckFile){ .slot = slot,
                                      .path = strdup(path),
                                      .role = "",
                                      .plan = "",
                                      .format = "",
                                      .allocated = CHECK_NUMBER_UNKNOWN,
                                      .data = CHECK_NUMBER_UNKNOWN,
                                      .free = CHECK_NUMBER_UNKNOWN,
                                      .size = CHECK_NUMBER_UNKNOWN };
        return f->files[f->n].path ? &f->files[f->n++] : NULL;
}

static int add_disk(void *userdata, const ContainerDiskInfo *info) {
        const ScsiDiskConfig *d = &info->disk.config;
        CheckRun *c = userdata;
        const CheckDisk *told;
        Error e = ERROR_INIT;
        StoragePlan plan;
        CheckFile *f;
        int r;

        r = storage_plan(d, c->ask.options.storage, &plan, &e);
        if (r == 0 && plan == STORAGE_PLAN_LAYER)
                return 0;
        f = check_add_file(c->files, info->disk.slot, d->host_path);
        if (!f)
                return 0;
        f->size = d->virtual_size;
        f->role = d->kind == SCSI_DISK_SCRATCH ? "scratch" : "volume";
        if (r < 0)
                (void)snprintf(f->why, sizeof(f->why), "%.250s", e.text);
        else
                f->plan = storage_plan_name(plan);
        told = c->peer ? check_facts_disk(c->peer, f->slot) : NULL;
        if (told)
                (void)snprintf(f->theirs, sizeof(f->theirs), "%s", told->token);
        return 0;
}

static int add_container(void *userdata, Container *container) {
        CheckRun *c = userdata;
        size_t before = c->files->n;

        (void)container_each_disk(container, add_disk, c);
        for (size_t i = before; i < c->files->n; i++)
                c->files->files[i].container = strdup(container_id(container));
        return 0;
}

static int step_own_disks(CheckRun *c) {
        Shim *s = c->migrate->shim;

        c->files->side = TOKEN_SOURCE;
        c->files->look = c->peer;
        c->files->write = !c->peer && !c->bystander;
        c->files->sample = c->ask.forecast;
        if (s->pod)
                (void)pod_each_container(s->pod, add_container, c);
        if (c->ask.options.transport[0])
                c->files->dial = strdup(c->ask.options.transport);
        return 0;
}

static void put_files(CheckRun *c) {
        json_object *list = json_object_new_array(), *o;
        const CheckFiles *all = c->files;

        for (size_t i = 0; i < all->n; i++) {
                const CheckFile *f = &all->files[i];

                o = json_object_new_object();
                check_put_number(o, "slot", f->slot);
                check_put_text(o, "path", f->path);
                check_put_text(o, "there", f->there);
                check_put_text(o, "role", f->role);
                check_put_text(o, "container", f->container);
                check_put_text(o, "plan", f->plan);
                check_put_text(o, "why", f->why);
                check_put_text(o, "cache", f->cache);
                check_put_text(o, "token", f->mine);
                check_put_text(o, "filesystem", f->filesystem);
                check_put_number(o, "size", f->size);
                check_put_number(o, "allocated", f->allocated);
                check_put_number(o, "data", f->data);
                check_put_number(o, "free", f->free);
                check_put_answer(o, "exists", f->exists);
                check_put_answer(o, "seen", f->seen);
                (void)json_object_array_add(list, o);
        }
        (void)json_object_object_add(c->facts, "disks", list);
        if (all->layers_directory) {
                o = part(c->facts, "layers");
                check_put_number(o, "missing", all->layers_missing);
                check_put_number(o, "bytes", all->layers_bytes);
                check_put_number(o, "free", all->layers_free);
        }
        if (all->dial) {
                o = part(c->facts, "transport");
                check_put_answer(o, "reached", all->dialled);
                check_put_text(o, "error", all->dial_error);
        }
}

void migrate_check_forget(Migrate *m) {
        if (m->tokens)
                check_files_remove_tokens(m->tokens);
        m->tokens = check_files_free(m->tokens);
        m->tokens_bus = sd_bus_unref(m->tokens_bus);
}

void migrate_check_bus_gone(Migrate *m, const sd_bus *bus) {
        if (m->tokens_bus == bus)
                migrate_check_forget(m);
}

static void on_files(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;
        Migrate *m = c->migrate;

        if (m->at_files == c->files)
                m->at_files = NULL;
        if (c->facts)
                put_files(c);
        if (c->bystander) {
                check_go_on(c);
                return;
        }
        migrate_check_forget(m);
        m->tokens = TAKE(c->files);
        m->tokens_bus = sd_bus_ref(c->ask.bus);
        if (c->ask.bus && sd_bus_is_open(c->ask.bus) <= 0)
                migrate_check_forget(m); /* nobody is left to ask the second question */
        check_go_on(c);
}

static int step_files(CheckRun *c) {
        c->migrate->at_files = c->files;
        return file_job(c->migrate->shim, check_files_work, c->files, on_files, c, NULL) > 0;
}

static int remove_tokens(void *argument, Error *reterr) {
        check_files_remove_tokens(argument);
        return 0;
}

static void on_removed(void *userdata, int r, const void *result, const Error *err) {
}

/* The shim ends, and what the thread for files is writing nobody hears of any more: that thread
 * removes it, after that, before it ends. */
bool migrate_check_end(Migrate *m) {
        bool later = m->at_files &&
                     file_job(m->shim, remove_tokens, m->at_files, on_removed, NULL, NULL) > 0;

        m->at_files = NULL;
        migrate_check_forget(m);
        return later;
}

/* -- the answer -- */

static const CheckStep source_steps[] = { step_learn,      step_own_disks,
                                          step_inspect,    step_agent,
                                          step_interfaces, check_step_load,
                                          step_files,      NULL };
static const CheckStep destination_steps[] = { step_learn,
                                               check_step_their_disks,
                                               check_step_layers,
                                               check_step_machine,
                                               check_step_cpu,
                                               check_step_host,
                                               check_step_namespace,
                                               step_files,
                                               NULL };

static int answer(CheckRun *c, MigrateAnswer *ret, CheckReport **ret_report, Error *reterr) {
        bool source = c->ask.role == MIGRATION_SOURCE;
        CheckWishes wishes = { .options = &c->ask.options,
                               .unsafe = c->ask.unsafe,
                               .virtual_size = c->ask.virtual_size,
                               .forecast = c->ask.forecast && source,
                               .link = c->link.bps,
                               .connect_ms = c->link.connect_ms,
                               .link_error = c->link.error };
        _cleanup_(check_facts_freep) CheckFacts *own = NULL;
        const char *text;
        int r;

        if (!c->facts || !(text = json_object_to_json_string_ext(c->facts, JSON_C_TO_STRING_PLAIN)))
                return error_oom(reterr);
        r = check_facts_read(text, &own, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "this host's own facts");
        r = check_decide(source ? own : c->peer, source ? c->peer : own, &wishes, ret_report,
                         reterr);
        if (r == 0)
                *ret = (MigrateAnswer){ .report = *ret_report, .facts = c->facts };
        return r;
}

static void finish(CheckRun *c) {
        _cleanup_(check_report_freep) CheckReport *report = NULL;
        MigrateAnswer a = {};
        Error e = ERROR_INIT;
        int r = answer(c, &a, &report, &e);

        if (c->ask.role == MIGRATION_SOURCE && c->peer && !c->bystander)
                migrate_check_forget(c->migrate);
        c->done(c->job, r, &a, &e);
        run_free(c);
}

/* {"link": {"bps", "connect_ms", "error"}}: what is not there is not known. */
static int read_link(const char *text, CheckLink *l, Error *reterr) {
        static const FactsField fields[] = { FACTS_FIELD(CheckLink, bps, NUMBER, "bps"),
                                             FACTS_FIELD(CheckLink, connect_ms, NUMBER,
                                                         "connect_ms"),
                                             FACTS_FIELD(CheckLink, error, TEXT, "error") };
        int r = facts_parse(text, TEXT_MAX * 2, &l->document, reterr);

        if (r == 0)
                r = facts_read_part(l->document, "link", fields, ELEMENTSOF(fields), l, reterr);
        if (l->bps == CHECK_NUMBER_UNKNOWN)
                l->bps = 0;
        if (l->connect_ms == CHECK_NUMBER_UNKNOWN)
                l->connect_ms = 0;
        return r < 0 ? error_prefix(reterr, r, "option forecast") : 0;
}

int migrate_check(Migrate *m, const MigrateAsk *ask, OpDone done, void *job, Error *reterr) {
        CheckRun *c = calloc(1, sizeof(*c));
        int r = id_check("session", ask->session, reterr);

        if (!c)
                return error_oom(reterr);
        *c = (CheckRun){ .migrate = m,
                         .ask = *ask,
                         .bystander = migration_is_active(m->migration),
                         .done = done,
                         .job = job };
        if (r == 0 && ask->namespace[0])
                r = path_check("network namespace", ask->namespace, reterr);
        if (r == 0 && ask->facts[0])
                r = check_facts_read(ask->facts, &c->peer, reterr);
        if (r == 0 && ask->forecast)
                r = read_link(ask->forecast, &c->link, reterr);
        if (r == 0 && ask->disks[0]) {
                r = json_object_check("disks", ask->disks, CHECK_FACTS_MAX, reterr);
                c->disk_map = r == 0 ? json_tokener_parse(ask->disks) : NULL;
        }
        if (r == 0) {
                c->namespace = strdup(ask->namespace);
                c->files = calloc(1, sizeof(*c->files));
                if (!c->namespace || !c->files ||
                    !(c->files->files = calloc(CHECK_DISKS_MAX, sizeof(*c->files->files))))
                        r = error_oom(reterr);
        }
        if (r < 0) {
                run_free(c);
                return r;
        }
        (void)snprintf(c->files->session, sizeof(c->files->session), "%s", ask->session);
        c->steps = ask->role == MIGRATION_SOURCE ? source_steps : destination_steps;
        check_go_on(c);
        return 1;
}
