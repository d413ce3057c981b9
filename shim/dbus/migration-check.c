/* SPDX-License-Identifier: Apache-2.0 */
/* Check and MissingLayers: what is asked before anything is touched. */
#include "shim/dbus/migration-check.h"

#include <string.h>

#include "hostdev/image/layer.h"
#include "shim/api-error.h"
#include "shim/dbus/migration-options.h"
#include "shim/migrate/migrate.h"

FactsCall *facts_call_free(FactsCall *c) {
        if (c) {
                (void)bus_job_unref(c->job);
                (void)sd_bus_unref(c->bus);
        }
        free(c);
        return NULL;
}

static int reply_check(sd_bus_message *reply, const void *result, const char *text) {
        return sd_bus_message_append(reply, "s", (const char *)result);
}

static void on_checked(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(facts_call_freep) FactsCall *c = userdata;
        const MigrateAnswer *a = result;
        BusJob *job = TAKE(c->job);
        Error e = ERROR_INIT;
        json_object *o;

        if (r < 0) {
                bus_job_done(job, r, NULL, err);
                return;
        }
        o = check_report_json(a->report);
        if (!o || json_object_object_add(o, "facts", json_object_get(a->facts)) < 0) {
                json_object_put(o);
                bus_job_done(job, error_oom(&e), NULL, &e);
                return;
        }
        bus_job_done(job, 0, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), NULL);
        json_object_put(o);
}

/* "true" and "false", and nothing else. */
static int read_flag(const char *name, const char *text, bool *ret, sd_bus_error *reterr) {
        *ret = strcmp(text, "true") == 0;
        return *ret || strcmp(text, "false") == 0
                       ? 0
                       : api_error_setf(reterr, -EINVAL, "option %s is neither true nor false",
                                        name);
}

int migration_face_check(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(facts_call_freep) FactsCall *c = calloc(1, sizeof(*c));
        const char *unsafe = "false", *space = "allocated", *mode = "keep";
        Shim *s = userdata;
        MigrateAsk ask = { .facts = "", .disks = "", .namespace = "" };
        MigrationOptions below;
        MigrationTexts texts[] = { { "facts", &ask.facts },         { "disks", &ask.disks },
                                   { "namespace", &ask.namespace }, { "unsafe", &unsafe },
                                   { "disk_space", &space },        { "network_mode", &mode },
                                   { "forecast", &ask.forecast },   {} };
        Error err = ERROR_INIT;
        int r;

        if (!c)
                return -ENOMEM;
        r = sd_bus_message_read(m, "s", &ask.session);
        if (r < 0)
                return r;
        shim_migration_options(s, &below);
        r = migration_read_options(m, &below, texts, &ask.options, reterr);
        if (r == 0)
                r = read_flag("unsafe", unsafe, &ask.unsafe, reterr);
        if (r < 0)
                return r;
        ask.virtual_size = strcmp(space, "virtual") == 0;
        if (!ask.virtual_size && strcmp(space, "allocated") != 0)
                return api_error_setf(reterr, -EINVAL,
                                      "option disk_space is neither allocated nor virtual");
        ask.rebind = strcmp(mode, "rebind") == 0;
        if (!ask.rebind && strcmp(mode, "keep") != 0)
                return api_error_setf(reterr, -EINVAL,
                                      "option network_mode is neither keep nor rebind");
        ask.role = s->receive && !s->vm ? MIGRATION_DESTINATION : MIGRATION_SOURCE;
        ask.bus = sd_bus_message_get_bus(m);
        c->bus = sd_bus_ref(ask.bus);
        r = bus_job_new(m, 0, reply_check, &c->job, reterr);
        if (r < 0)
                return r;
        r = migrate_check(s->migrate, &ask, on_checked, c, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        (void)TAKE(c);
        return 1;
}

int migration_face_missing_layers(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *digest;
        Shim *s = userdata;
        int r;

        if ((r = sd_bus_message_new_method_return(m, &reply)) < 0 ||
            (r = sd_bus_message_open_container(reply, 'a', "s")) < 0 ||
            (r = sd_bus_message_enter_container(m, 'a', "s")) < 0)
                return r;
        while ((r = sd_bus_message_read(m, "s", &digest)) > 0) {
                _cleanup_layer_ Layer layer = LAYER_INIT;
                Error err = ERROR_INIT;

                r = layer_find(s->config.state_dir, digest, &layer, &err);
                if (r == -ENOENT)
                        r = sd_bus_message_append(reply, "s", digest);
                else if (r < 0)
                        return api_error_set(reterr, r, &err);
                if (r < 0)
                        return r;
        }
        if (r < 0 || (r = sd_bus_message_close_container(reply)) < 0)
                return r;
        return sd_bus_send(NULL, reply, NULL);
}
