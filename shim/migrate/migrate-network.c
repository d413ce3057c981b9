/* SPDX-License-Identifier: Apache-2.0 */
/* The pod's network in a migration.
 *
 *      destination  Patch names the namespace; Prepare reads it and cuts it off; when QEMU is there
 *                   its taps are joined; when the guest is complete the gates open and the
 *                   switches are told, so that what arrives waits for it; it is resumed only after
 *                   that. No sooner: QEMU reads the tap all the time, and what it reads before the
 *                   device's state is there is mistaken later; the guest did not survive it.
 *                   In mode rebind they open later: once the guest has its new addresses.
 *      source       at the blackout the gates close; they open again if the pod stays.
 *
 * A copy that is paused says nothing, and a source whose gates are closed neither: so no address
 * answers from two places. */
#include <string.h>

#include "controllers/checks.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"
#include "shim/wiring/ops.h"

int migrate_patch_network(Migrate *m, const char *session, const char *path, const char *mode,
                          Error *reterr) {
        int parsed = network_mode_from_name(mode);
        char *copy;
        int r;

        if (migration_state(m->migration) != MIGRATION_DESTINATION_IMPORTED ||
            strcmp(session, migration_session(m->migration)) != 0)
                return error_setf(reterr, -EBADFD,
                                  "Patch: the network is named between Import and Prepare");
        if (parsed < 0)
                return error_setf(reterr, -EINVAL, "network mode \"%.40s\": keep or rebind", mode);
        r = path_check_or_empty("network namespace", path, reterr);
        if (r < 0)
                return r;
        copy = strdup(path);
        if (!copy)
                return error_oom(reterr);
        free(m->network.path);
        m->network.path = copy;
        m->network.mode = (NetworkMode)parsed;
        return 0;
}

static int apply_patch(Migrate *m, const NetFacts *facts, Error *reterr) {
        NetworkPatch network = { .path = m->network.path ?: "",
                                 .mode = m->network.mode,
                                 .facts = facts };
        PodPatch patch = { .id = m->shim->pod_id, .network = &network };

        return pod_patch(m->shim->pod, &patch, reterr);
}

static void on_cut(void *userdata, int r, const void *result, const Error *err) {
        relay_done(userdata, r, NULL, err);
}

/* What is on the namespace's interfaces is known from here on. */
static void on_read(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = apply_patch(relay->migrate, result, &e);
                if (r == 0 && !relay->migrate->network.again)
                        r = shim_net_all(relay->migrate->shim,
                                         SHIM_NET_MAKE | SHIM_NET_CUT |
                                                 (relay->migrate->network.mode == NETWORK_KEEP
                                                          ? SHIM_NET_ALONE
                                                          : 0),
                                         on_cut, relay, &e);
                if (r > 0)
                        return;
                err = &e;
        }
        relay_done(relay, r, NULL, err);
}

int migrate_prepare_network(Migrate *m, OpDone done, void *job, Error *reterr) {
        Relay *relay;
        int r;

        if (!m->network.path || !m->network.path[0]) {
                r = apply_patch(m, NULL, reterr);
                /* A QEMU that is there already listens at them itself. */
                return r < 0 || m->network.again ? r : shim_ports_check(m->shim, reterr);
        }
        relay = relay_new(m, done, job);
        if (!relay)
                return error_oom(reterr);
        r = shim_net_read(m->shim, m->network.path, on_read, relay, reterr);
        if (r < 0)
                free(relay);
        return r;
}

void migrate_forget_network(Migrate *m) {
        free(m->network.path);
        m->network = (MigrateNetwork){ .shut = m->network.shut }; /* its session may be over */
}

/* At the destination: once taps are joined and the guest is complete. */
static void on_opened(void *userdata, int r, const void *result, const Error *err) {
        Migrate *m = userdata;

        m->network.open = m->network.opening && r == 0; /* not of a session that is over */
        m->network.opening = false;
        if (r < 0) /* it is tried again before the guest runs */
                log_warning("migration: network: %s", error_text(err, r));
}

static void open_gates(Migrate *m) {
        Error e = ERROR_INIT;
        int r;

        if (m->network.joining || m->network.opening || m->network.open ||
            m->network.mode == NETWORK_REBIND)
                return;
        m->network.opening = true;
        r = shim_net_all(m->shim, SHIM_NET_OPEN, on_opened, m, &e);
        if (r <= 0)
                on_opened(m, r, NULL, &e);
}

/* QEMU is there, paused. That the guest is complete is told no sooner than that its taps are
 * joined.
 */
static void on_joined(void *userdata, int r, const void *result, const Error *err) {
        Migrate *m = userdata;

        m->network.joining = false;
        if (r < 0)
                migration_on_host_failed(m->migration, "network", r, err);
        else if (m->network.runs)
                open_gates(m);
        if (m->network.complete) {
                m->network.complete = false;
                migrate_guest_complete(m);
        }
}

void migrate_join_network(Migrate *m) {
        Error e = ERROR_INIT;
        int r;

        r = shim_net_all(m->shim, SHIM_NET_JOIN, on_joined, m, &e);
        m->network.joining = r > 0;
        if (r < 0)
                on_joined(m, r, NULL, &e);
}

static void on_gates(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0)
                log_warning("migration: network: %s", error_text(err, r));
}

void migrate_gates(Migrate *m, bool open) {
        Error e = ERROR_INIT;
        int r;

        r = shim_net_all(m->shim, open ? SHIM_NET_OPEN : SHIM_NET_CLOSE, on_gates, NULL, &e);
        on_gates(NULL, r, NULL, &e);
}

void migrate_open_gates(Migrate *m) {
        migrate_gates(m, true);
}

/* libvirt's word that the guest has stopped here, complete. */
void migrate_guest_complete(Migrate *m) {
        m->complete_ms = clock_ms();
        if (m->network.joining) {
                m->network.complete = true;
                return;
        }
        open_gates(m);
        migration_on_domain(m->migration, MIGRATION_DOMAIN_COMPLETE, "");
}

/* With handover=fast, and in post-copy, libvirt lets it run by itself and says nothing before. */
void migrate_guest_runs(Migrate *m) {
        m->complete_ms = clock_ms();
        m->network.runs = true;
        open_gates(m);
}

static void on_open(void *userdata, int r, const void *result, const Error *err) {
        Relay *relay = userdata;
        Migrate *m = relay->migrate;
        OpDone done = relay->done;
        void *job = relay->job;
        Error e = ERROR_INIT;

        free(relay);
        if (r < 0) /* it owns the pod: a pod without network is better than none */
                log_err("the network of the pod is not joined: %s", error_text(err, r));
        r = virt_resume(m->shim->virt, done, job, &e);
        if (r <= 0)
                done(job, r, NULL, &e);
}

/* Already done, as a rule. What is not known to be open is opened now, before the guest runs. */
int migrate_resume_with_network(Migrate *m, OpDone done, void *job, Error *reterr) {
        Relay *relay;
        int r;

        if (m->network.open)
                return virt_resume(m->shim->virt, done, job, reterr);
        relay = relay_new(m, done, job);
        if (!relay)
                return error_oom(reterr);
        r = shim_net_all(m->shim,
                         m->network.mode == NETWORK_REBIND ? SHIM_NET_JOIN
                                                           : SHIM_NET_JOIN | SHIM_NET_OPEN,
                         on_open, relay, reterr);
        if (r > 0)
                return r;
        free(relay);
        return r < 0 ? r : virt_resume(m->shim->virt, done, job, reterr);
}

static void on_announced(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0 && r != -ENOTCONN)
                log_err("the guest's network after the migration: %s", error_text(err, r));
}

static int reset(Migrate *m, OpDone done, Error *reterr) {
        Network *n = pod_network(m->shim->pod);

        return network_state(n) == NETWORK_CONFIGURED ? network_reset(n, done, m, reterr) : 0;
}

/* What it said of itself before, nobody could hear. */
static void on_open_late(void *userdata, int r, const void *result, const Error *err) {
        Migrate *m = userdata;
        Error e = ERROR_INIT;

        if (r == 0 && m->shim->pod) {
                r = reset(m, on_announced, &e);
                err = &e;
        }
        on_announced(NULL, r, NULL, err);
}

static void open_late(Migrate *m) {
        Error e = ERROR_INIT;
        int r = shim_net_all(m->shim, SHIM_NET_OPEN, on_open_late, m, &e);

        on_announced(NULL, r, NULL, &e);
}

static int on_quiet(sd_event_source *source, uint64_t usec, void *userdata) {
        Migrate *m = userdata;

        m->quiet_timer = sd_event_source_disable_unref(m->quiet_timer);
        open_late(m);
        return 0;
}

/* QEMU announces the device's own MAC, which is the old one, in five rounds within 800 ms of the
 * copy's being complete (qemu_announce_self()), and nobody can ask whether it is through. */
#define QEMU_ANNOUNCES_MS 1000U

static void on_reset(void *userdata, int r, const void *result, const Error *err) {
        uint64_t quiet, now = clock_ms();
        Migrate *m = userdata;

        if (r < 0 || !m->network.shut) {
                on_announced(NULL, r, NULL, err);
                return;
        }
        m->network.shut = false;
        quiet = m->complete_ms + QEMU_ANNOUNCES_MS;
        if (now >= quiet ||
            sd_event_add_time_relative(m->shim->event, &m->quiet_timer, CLOCK_MONOTONIC,
                                       (quiet - now) * 1000U, 0, on_quiet, m) < 0)
                open_late(m);
}

void migrate_reset_network(Migrate *m) {
        Error e = ERROR_INIT;
        int r;

        m->network.shut = migration_role(m->migration) == MIGRATION_DESTINATION &&
                          m->network.mode == NETWORK_REBIND;
        r = reset(m, on_reset, &e);
        if (r <= 0)
                on_reset(m, r, NULL, &e);
}

static void on_open_again(void *userdata, int r, const void *result, const Error *err) {
        on_gates(NULL, r, NULL, err);
        if (r == 0)
                migrate_reset_network(userdata);
}

/* What the guest says while its gate is closed, nobody hears: it speaks once the gate is open. */
void migrate_network_stays(Migrate *m) {
        Error e = ERROR_INIT;
        int r;

        r = shim_net_all(m->shim, SHIM_NET_OPEN, on_open_again, m, &e);
        if (r <= 0)
                on_open_again(m, r, NULL, &e);
}
