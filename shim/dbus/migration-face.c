/* SPDX-License-Identifier: Apache-2.0 */
/* /org/podferry/Shim1/migration: the calls, properties and signals of a migration. */
#include "shim/dbus/migration-face.h"

#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "shim/api-error.h"
#include "shim/dbus/faces.h"
#include "shim/dbus/migration-check.h"
#include "shim/dbus/migration-options.h"
#include "shim/migrate/migrate.h"

#define FACE_PATH      "/org/podferry/Shim1/migration"
#define FACE_INTERFACE "org.podferry.Shim1.Migration"

#define PROGRESS_USEC (250U * 1000U) /* between two signals of it */

static Migration *migration_of(void *userdata) {
        Shim *s = userdata;

        return migrate_controller(s->migrate);
}

/* Properties */

static int append_json(sd_bus_message *reply, json_object *o) {
        int r;

        if (!o)
                return -ENOMEM;
        r = sd_bus_message_append(reply, "s",
                                  json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
        return r;
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        return sd_bus_message_append(
                reply, "s",
                fsm_state_name(&migration_fsm, (int)migration_state(migration_of(userdata))));
}

static int get_session(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        return sd_bus_message_append(reply, "s", migration_session(migration_of(userdata)));
}

/* Where the journal of the pod on this host stands; "" if it has none. */
static int get_journal(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        const JournalRecord *last = migrate_journal_last(((Shim *)userdata)->migrate);
        json_object *o;

        if (!last || last->kind == JOURNAL_NONE)
                return sd_bus_message_append(reply, "s", "");
        o = json_object_new_object();
        if (o) {
                (void)json_object_object_add(o, "record",
                                             json_object_new_string(journal_kind_name(last->kind)));
                (void)json_object_object_add(o, "session", json_object_new_string(last->session));
                (void)json_object_object_add(o, "epoch", json_object_new_uint64(last->epoch));
                (void)json_object_object_add(o, "pod", json_object_new_string(last->pod));
                (void)json_object_object_add(o, "peer", json_object_new_string(last->peer));
        }
        return append_json(reply, o);
}

static int get_side(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        Migration *g = migration_of(userdata);

        return sd_bus_message_append(
                reply, "s",
                migration_state(g) == MIGRATION_IDLE ? "" : migration_role_name(migration_role(g)));
}

static int get_progress(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        Shim *s = userdata;

        return append_json(reply, migrate_progress_json(s->migrate));
}

static bool is_over(Migration *g) {
        const unsigned over = 1U << MIGRATION_TRANSFERRED | 1U << MIGRATION_CANCELLED |
                              1U << MIGRATION_FAILED | 1U << MIGRATION_FINALIZED;

        return over & (1U << migration_state(g));
}

static int get_result(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *reterr) {
        Shim *s = userdata;

        if (!is_over(migration_of(s)))
                return sd_bus_message_append(reply, "s", "");
        return append_json(reply, migrate_result_json(s->migrate));
}

/* Signals */

void migration_face_changed(Shim *s) {
        MigrateFace *face = migrate_face(s->migrate);
        Migration *g = migrate_controller(s->migrate);
        int state = (int)migration_state(g);
        uint64_t now;

        if (state != face->state) {
                bus_server_emit(s->bus, FACE_PATH, FACE_INTERFACE, "StateChanged", "ss",
                                fsm_state_name(&migration_fsm, face->state),
                                fsm_state_name(&migration_fsm, state));
                face->state = state;
                bus_server_changed(s->bus, FACE_PATH, FACE_INTERFACE, "State");
                if (state == MIGRATION_IDLE)
                        face->finished = false;
        }
        if (is_over(g) && !face->finished) {
                json_object *o = migrate_result_json(s->migrate);

                face->finished = true;
                if (o)
                        bus_server_emit(s->bus, FACE_PATH, FACE_INTERFACE, "Finished", "s",
                                        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
                json_object_put(o);
                bus_server_changed(s->bus, FACE_PATH, FACE_INTERFACE, "Result");
        }
        now = clock_us();
        if (now - face->progress_usec >= PROGRESS_USEC) {
                face->progress_usec = now;
                bus_server_changed(s->bus, FACE_PATH, FACE_INTERFACE, "Progress");
        }
}

static json_object *notification_json(const MigrationNotification *n) {
        json_object *o = json_object_new_object();

        if (!o)
                return NULL;
        (void)json_object_object_add(o, "id", json_object_new_uint64(n->id));
        (void)json_object_object_add(o, "at_ns", json_object_new_uint64(n->at_ns));
        (void)json_object_object_add(o, "session", json_object_new_string(n->session));
        (void)json_object_object_add(o, "origin",
                                     json_object_new_string(migration_role_name(n->origin)));
        (void)json_object_object_add(o, "phase",
                                     json_object_new_string(migration_phase_name(n->phase)));
        (void)json_object_object_add(o, "result",
                                     json_object_new_string(migration_result_name(n->result)));
        (void)json_object_object_add(o, "percent", json_object_new_int((int)n->percent));
        (void)json_object_object_add(o, "text", json_object_new_string(n->details));
        return o;
}

void migration_face_notify(Shim *s, const MigrationNotification *n) {
        json_object *o = notification_json(n);

        if (o)
                bus_server_emit(s->bus, FACE_PATH, FACE_INTERFACE, "Notification", "ts", n->id,
                                json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
}

static int append_notification(void *userdata, const MigrationNotification *n) {
        return append_json(userdata, notification_json(n));
}

static int on_notifications(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        uint64_t after;
        int r;

        if ((r = sd_bus_message_read(m, "t", &after)) < 0 ||
            (r = sd_bus_message_new_method_return(m, &reply)) < 0 ||
            (r = sd_bus_message_open_container(reply, 'a', "s")) < 0 ||
            (r = migration_history_since(migration_history(migration_of(userdata)), after, NULL,
                                         append_notification, reply)) < 0 ||
            (r = sd_bus_message_close_container(reply)) < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}

/* The session's calls */

static void export_now(FactsCall *c) {
        _cleanup_buf_ Buf envelope = {};
        Error err = ERROR_INIT;
        json_object *facts, *storage;
        int r;

        r = migration_export(migration_of(c->shim), c->session, &envelope, &err);
        if (r < 0) {
                bus_job_done(TAKE(c->job), r, NULL, &err);
                return;
        }
        if (c->bus && migrate_bind_driver(c->shim->migrate, c->bus, &err) < 0)
                log_warning("migration: nobody watches over its driver: %s", err.text);
        r = migrate_storage_offer(c->shim->migrate, &c->options, &storage, &err);
        if (r < 0) {
                bus_job_done(TAKE(c->job), r, NULL, &err);
                return;
        }
        facts = migrate_facts_json(c->shim->migrate, MIGRATION_SOURCE);
        if (facts)
                (void)json_object_object_add(facts, "storage", storage);
        bus_job_done(TAKE(c->job), 0,
                     &(MigrationExport){ .envelope = &envelope,
                                         .facts = facts ? json_object_to_json_string_ext(
                                                                  facts, JSON_C_TO_STRING_PLAIN)
                                                        : "{}" },
                     NULL);
        json_object_put(facts);
}

static void on_export_facts(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(facts_call_freep) FactsCall *c = userdata;

        if (r < 0)
                bus_job_done(TAKE(c->job), r, NULL, err);
        else
                export_now(c);
}

static int reply_export(sd_bus_message *reply, const void *result, const char *text) {
        const MigrationExport *x = result;
        int r;

        r = sd_bus_message_append_array(reply, 'y', x->envelope->data, x->envelope->len);
        return r < 0 ? r : sd_bus_message_append(reply, "s", x->facts);
}

static int on_export(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(facts_call_freep) FactsCall *c = calloc(1, sizeof(*c));
        const char *session, *bound = "";
        MigrationTexts texts[] = { { "bound", &bound }, {} };
        MigrationOptions below;
        Shim *s = userdata;
        Error err = ERROR_INIT;
        int r;

        if (!c)
                return -ENOMEM;
        c->shim = s;
        r = sd_bus_message_read(m, "s", &session);
        if (r < 0)
                return r;
        r = id_check("session", session, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        (void)snprintf(c->session, sizeof(c->session), "%s", session);
        shim_migration_options(s, &below);
        r = migration_read_options(m, &below, texts, &c->options, reterr);
        if (r < 0)
                return r;
        if (strcmp(bound, "true") == 0)
                c->bus = sd_bus_ref(sd_bus_message_get_bus(m));
        r = bus_job_new(m, 0, reply_export, &c->job, reterr);
        if (r < 0)
                return r;
        r = migrate_learn_facts(s->migrate, on_export_facts, c, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        if (r == 0)
                on_export_facts(c, 0, NULL, NULL);
        (void)TAKE(c);
        return 1;
}

static int on_import(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        const char *session, *pod;
        Error err = ERROR_INIT;
        const void *envelope;
        size_t n;
        int r;

        if ((r = sd_bus_message_read(m, "ss", &session, &pod)) < 0 ||
            (r = sd_bus_message_read_array(m, 'y', &envelope, &n)) < 0)
                return r;
        if ((r = id_check("session", session, &err)) < 0 ||
            (r = migration_import(migration_of(userdata), session, pod, envelope, n, &err)) < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, NULL);
}

/* {"network": {"namespace": PATH, "mode": "keep"}}: of the pod, so it is for no container. */
static int patch_network(Shim *s, const char *session, json_object *network, Error *reterr) {
        const char *path = "", *mode = "keep";

        if (!json_object_is_type(network, json_type_object))
                return error_setf(reterr, -EINVAL, "patch_json: \"network\" is not an object");
        json_object_object_foreach(network, key, value) {
                const char **to = strcmp(key, "namespace") == 0 ? &path
                                  : strcmp(key, "mode") == 0    ? &mode
                                                                : NULL;

                if (!to || !json_object_is_type(value, json_type_string))
                        return error_setf(reterr, -EINVAL, "patch_json: network: \"%.40s\"", key);
                *to = json_object_get_string(value);
        }
        return migrate_patch_network(s->migrate, session, path, mode, reterr);
}

static int on_patch(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        const char *session, *container, *new_id, *json;
        json_object *o, *disks = NULL, *network = NULL;
        MigratePatch patch;
        Error err = ERROR_INIT;
        int r;

        r = sd_bus_message_read(m, "ssss", &session, &container, &new_id, &json);
        if (r < 0)
                return r;
        if (new_id[0] && (r = id_check("container id", new_id, &err)) < 0)
                return api_error_set(reterr, r, &err);
        o = json_tokener_parse(json);
        if (!o || !json_object_is_type(o, json_type_object) ||
            (json_object_object_get_ex(o, "disks", &disks) &&
             !json_object_is_type(disks, json_type_object))) {
                json_object_put(o);
                return api_error_setf(reterr, -EINVAL, "patch_json: not {\"disks\": {...}}");
        }
        if (json_object_object_get_ex(o, "network", &network)) {
                r = patch_network(userdata, session, network, &err);
                if (r < 0 || !container[0]) {
                        json_object_put(o);
                        return r < 0 ? api_error_set(reterr, r, &err)
                                     : sd_bus_reply_method_return(m, NULL);
                }
        }
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r >= 0) {
                patch = (MigratePatch){ .new_id = new_id, .disks = disks };
                r = migration_patch(migration_of(userdata), session, container, &patch,
                                    bus_job_done, job, &err);
                r = bus_job_settle(job, r, NULL, &err, reterr);
        }
        json_object_put(o);
        return r;
}

static int reply_text(sd_bus_message *reply, const void *result, const char *text) {
        return sd_bus_message_append(reply, "s", (const char *)result);
}

static int on_prepare(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        const char *session, *storage = "";
        MigrationTexts texts[] = { { "storage_offer", &storage }, {} };
        MigrationOptions options, below;
        Shim *s = userdata;
        Error err = ERROR_INIT;
        int r;

        shim_migration_options(s, &below);
        if ((r = sd_bus_message_read(m, "s", &session)) < 0 ||
            (r = migration_read_options(m, &below, texts, &options, reterr)) < 0 ||
            (r = bus_job_new(m, 0, reply_text, &job, reterr)) < 0)
                return r;
        r = migrate_prepare(s->migrate, session, &options, storage, bus_job_done, job, &err);
        return bus_job_settle(job, r, r == 0 ? migrate_ticket(s->migrate) : NULL, &err, reterr);
}

static int on_register_socket(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Shim *s = userdata;
        const char *session;
        Error err = ERROR_INIT;
        int fd, r;

        r = sd_bus_message_read(m, "sh", &session, &fd);
        if (r < 0)
                return r;
        r = migrate_register_socket(s->migrate, session, fd, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, NULL);
}

static int on_reconnect(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        Shim *s = userdata;
        const char *session;
        Error err = ERROR_INIT;
        int fd, r;

        r = sd_bus_message_read(m, "sh", &session, &fd);
        if (r < 0)
                return r;
        r = migrate_reconnect(s->migrate, session, fd, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, NULL);
}

static int on_transfer(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        MigrateWay way = { "", "", "" };
        const char *session, *ticket = "";
        MigrationTexts texts[] = { { "ticket", &ticket },
                                   { "to", &way.to },
                                   { "to_program", &way.program },
                                   { "to_pod", &way.pod },
                                   {} };
        MigrationOptions options, below;
        Shim *s = userdata;
        Error err = ERROR_INIT;
        int r;

        shim_migration_options(s, &below);
        if ((r = sd_bus_message_read(m, "s", &session)) < 0 ||
            (r = migration_read_options(m, &below, texts, &options, reterr)) < 0)
                return r;
        r = migrate_transfer(s->migrate, session, &options, ticket, &way, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, NULL);
}

static int on_finalize(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        const char *session, *action;
        Error err = ERROR_INIT;
        bool resume;
        int r;

        r = sd_bus_message_read(m, "ss", &session, &action);
        if (r < 0)
                return r;
        resume = strcmp(action, "resume") == 0;
        if (!resume && strcmp(action, "stop") != 0)
                return api_error_setf(reterr, -EINVAL, "action \"%.40s\": it is stop or resume",
                                      action);
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        r = migration_finalize(migration_of(userdata), session, resume, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_cleanup(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        Shim *s = userdata;
        const char *session;
        Error err = ERROR_INIT;
        int r;

        if ((r = sd_bus_message_read(m, "s", &session)) < 0 ||
            (r = bus_job_new(m, 0, NULL, &job, reterr)) < 0)
                return r;
        r = migrate_cleanup(s->migrate, session, bus_job_done, job, &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        const char *session;
        Error err = ERROR_INIT;
        int r;

        r = sd_bus_message_read(m, "s", &session);
        if (r < 0)
                return r;
        r = migrate_cancel(((Shim *)userdata)->migrate, session, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        return sd_bus_reply_method_return(m, NULL);
}

static int tune(sd_bus_message *m, Shim *s, MigrationCall what, const char *types,
                sd_bus_error *reterr) {
        _cleanup_(bus_job_unrefp) BusJob *job = NULL;
        const char *session;
        uint64_t value = 0;
        Error err = ERROR_INIT;
        int r;

        r = types[1] ? sd_bus_message_read(m, "st", &session, &value)
                     : sd_bus_message_read(m, "s", &session);
        if (r < 0)
                return r;
        r = bus_job_new(m, 0, NULL, &job, reterr);
        if (r < 0)
                return r;
        if (what == MIGRATION_CALL_SET_BANDWIDTH)
                value = value / (1U << 20) + (value % (1U << 20) > 0);
        r = migration_tune(migrate_controller(s->migrate), session, what, value, bus_job_done, job,
                           &err);
        return bus_job_settle(job, r, NULL, &err, reterr);
}

static int on_force_complete(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return tune(m, userdata, MIGRATION_CALL_FORCE_COMPLETE, "s", reterr);
}

static int on_pause(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return tune(m, userdata, MIGRATION_CALL_PAUSE, "s", reterr);
}

static int on_set_bandwidth(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return tune(m, userdata, MIGRATION_CALL_SET_BANDWIDTH, "st", reterr);
}

static int on_set_max_downtime(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return tune(m, userdata, MIGRATION_CALL_SET_MAX_DOWNTIME, "st", reterr);
}

static int on_switch_to_postcopy(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return tune(m, userdata, MIGRATION_CALL_SWITCH_TO_POSTCOPY, "s", reterr);
}

static int on_set_timeout(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return tune(m, userdata, MIGRATION_CALL_SET_TIMEOUT, "st", reterr);
}

static int on_cutover(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        return tune(m, userdata, MIGRATION_CALL_CUTOVER, "s", reterr);
}

#define IN1    SD_BUS_ARGS("s", session)
#define CHANGE SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("State", "s", get_state, 0, CHANGE),
        SD_BUS_PROPERTY("Session", "s", get_session, 0, 0),
        SD_BUS_PROPERTY("Side", "s", get_side, 0, 0),
        SD_BUS_PROPERTY("Journal", "s", get_journal, 0, 0),
        SD_BUS_PROPERTY("Progress", "s", get_progress, 0, CHANGE),
        SD_BUS_PROPERTY("Result", "s", get_result, 0, CHANGE),
        SD_BUS_METHOD_WITH_ARGS("Check", SD_BUS_ARGS("s", session, "a{sv}", options),
                                SD_BUS_RESULT("s", result_json), migration_face_check, 0),
        SD_BUS_METHOD_WITH_ARGS("MissingLayers", SD_BUS_ARGS("as", digests),
                                SD_BUS_RESULT("as", missing), migration_face_missing_layers, 0),
        SD_BUS_METHOD_WITH_ARGS("PrepareAndExport", SD_BUS_ARGS("s", session, "a{sv}", options),
                                SD_BUS_RESULT("ay", envelope, "s", facts_json), on_export, 0),
        SD_BUS_METHOD_WITH_ARGS("Import", SD_BUS_ARGS("s", session, "s", pod, "ay", envelope),
                                SD_BUS_NO_RESULT, on_import, 0),
        SD_BUS_METHOD_WITH_ARGS(
                "Patch",
                SD_BUS_ARGS("s", session, "s", source_container, "s", new_id, "s", patch_json),
                SD_BUS_NO_RESULT, on_patch, 0),
        SD_BUS_METHOD_WITH_ARGS("Prepare", SD_BUS_ARGS("s", session, "a{sv}", options),
                                SD_BUS_RESULT("s", ticket), on_prepare, 0),
        SD_BUS_METHOD_WITH_ARGS("RegisterSocket", SD_BUS_ARGS("s", session, "h", socket),
                                SD_BUS_NO_RESULT, on_register_socket, 0),
        SD_BUS_METHOD_WITH_ARGS("Reconnect", SD_BUS_ARGS("s", session, "h", socket),
                                SD_BUS_NO_RESULT, on_reconnect, 0),
        SD_BUS_METHOD_WITH_ARGS("Transfer", SD_BUS_ARGS("s", session, "a{sv}", options),
                                SD_BUS_NO_RESULT, on_transfer, 0),
        SD_BUS_METHOD_WITH_ARGS("Finalize", SD_BUS_ARGS("s", session, "s", action),
                                SD_BUS_NO_RESULT, on_finalize, 0),
        SD_BUS_METHOD_WITH_ARGS("Cleanup", IN1, SD_BUS_NO_RESULT, on_cleanup, 0),
        SD_BUS_METHOD_WITH_ARGS("Cancel", IN1, SD_BUS_NO_RESULT, on_cancel, 0),
        SD_BUS_METHOD_WITH_ARGS("ForceComplete", IN1, SD_BUS_NO_RESULT, on_force_complete, 0),
        SD_BUS_METHOD_WITH_ARGS("Pause", IN1, SD_BUS_NO_RESULT, on_pause, 0),
        SD_BUS_METHOD_WITH_ARGS("SetBandwidth", SD_BUS_ARGS("s", session, "t", bytes_per_second),
                                SD_BUS_NO_RESULT, on_set_bandwidth, 0),
        SD_BUS_METHOD_WITH_ARGS("SetMaxDowntime", SD_BUS_ARGS("s", session, "t", milliseconds),
                                SD_BUS_NO_RESULT, on_set_max_downtime, 0),
        SD_BUS_METHOD_WITH_ARGS("SwitchToPostCopy", IN1, SD_BUS_NO_RESULT, on_switch_to_postcopy,
                                0),
        SD_BUS_METHOD_WITH_ARGS("SetTimeout", SD_BUS_ARGS("s", session, "t", milliseconds),
                                SD_BUS_NO_RESULT, on_set_timeout, 0),
        SD_BUS_METHOD_WITH_ARGS("Cutover", IN1, SD_BUS_NO_RESULT, on_cutover, 0),
        SD_BUS_METHOD_WITH_ARGS("Notifications", SD_BUS_ARGS("t", after_id),
                                SD_BUS_RESULT("as", notifications_json), on_notifications, 0),
        SD_BUS_SIGNAL_WITH_ARGS("StateChanged", SD_BUS_ARGS("s", from, "s", to), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Notification", SD_BUS_ARGS("t", id, "s", notification_json), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Finished", SD_BUS_ARGS("s", result_json), 0),
        SD_BUS_VTABLE_END,
};

int face_migration_add(sd_bus *bus, Shim *s) {
        return sd_bus_add_object_vtable(bus, NULL, FACE_PATH, FACE_INTERFACE, vtable, s);
}
