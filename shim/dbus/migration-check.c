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

static void add_finding(json_object *list, const char *rule, const char *text, const char *code) {
        json_object *o = json_object_new_object();

        (void)json_object_object_add(o, "rule", json_object_new_string(rule));
        (void)json_object_object_add(o, "text", json_object_new_string(text));
        (void)json_object_object_add(o, "code", json_object_new_string(code));
        (void)json_object_array_add(list, o);
}

/* A running guest brings its kernel along in its memory, so another image here is no obstacle: if
 * it were, no host could get a new one before all pods of its neighbours had ended. */
static void compare_images(const FactsCall *c, json_object *warnings) {
        const GuestImage *theirs = &c->peer_image;
        GuestImage ours;
        Error e = ERROR_INIT;
        int r;

        if (c->role != MIGRATION_DESTINATION || !theirs->kernel[0])
                return;
        r = guest_image_read(c->shim->config.guest_dir, &ours, &e);
        if (r < 0)
                add_finding(warnings, "guest-image", error_text(&e, r), "Unreadable");
        else if (ours.kernel[0] && (strcmp(ours.kernel, theirs->kernel) != 0 ||
                                    strcmp(ours.initrd, theirs->initrd) != 0))
                add_finding(warnings, "guest-image",
                            "the guest image of this host is another one; the pod keeps the kernel "
                            "and agent that it was started with",
                            "Differs");
}

static void on_checked(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(facts_call_freep) FactsCall *c = userdata;
        json_object *o = json_object_new_object(), *problems = json_object_new_array();
        json_object *warnings = json_object_new_array();
        json_object *facts = migrate_facts_json(c->shim->migrate, c->role);
        BusJob *job = TAKE(c->job);
        Error e = ERROR_INIT;

        if (!o || !problems || !warnings || !facts) {
                json_object_put(problems);
                json_object_put(warnings);
                json_object_put(facts);
                json_object_put(o);
                bus_job_done(job, error_oom(&e), NULL, &e);
                return;
        }
        if (r < 0)
                add_finding(problems, "preflight", error_text(err, r),
                            api_error_name(r) + strlen(API_ERROR_PREFIX));
        compare_images(c, warnings);
        (void)json_object_object_add(o, "ok", json_object_new_boolean(r == 0));
        (void)json_object_object_add(o, "problems", problems);
        (void)json_object_object_add(o, "warnings", warnings);
        (void)json_object_object_add(o, "facts", facts);
        bus_job_done(job, 0, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), NULL);
        json_object_put(o);
}

static void on_check_facts(void *userdata, int r, const void *result, const Error *err) {
        FactsCall *c = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = migration_check(migrate_controller(c->shim->migrate), c->role, &c->options,
                                    c->has_peer ? &c->peer : NULL, on_checked, c, &e);
                if (r == 1)
                        return;
                err = &e;
        }
        on_checked(c, r, NULL, err);
}

static void copy_string(json_object *o, const char *key, char *to, size_t size) {
        json_object *v;

        if (o && json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string))
                (void)snprintf(to, size, "%s", json_object_get_string(v));
}

/* The facts of the other side, as its Check gave them: strings of bounded length, nothing else is
 * used. */
static int read_peer_facts(FactsCall *c, const char *text, sd_bus_error *reterr) {
        json_object *o = json_tokener_parse(text), *host = NULL, *domain = NULL, *image = NULL, *v;

        if (!o || !json_object_is_type(o, json_type_object)) {
                json_object_put(o);
                return api_error_setf(reterr, -EINVAL, "facts is not a JSON object");
        }
        if (json_object_object_get_ex(o, "host", &host)) {
                copy_string(host, "uuid", c->peer.host_uuid, sizeof(c->peer.host_uuid));
                copy_string(host, "cpu", c->peer.cpu_xml, sizeof(c->peer.cpu_xml));
                copy_string(host, "arch", c->peer.arch, sizeof(c->peer.arch));
                copy_string(host, "hypervisor", c->peer.hypervisor, sizeof(c->peer.hypervisor));
        }
        if (json_object_object_get_ex(o, "domain", &domain)) {
                copy_string(domain, "machine", c->peer.machine, sizeof(c->peer.machine));
                copy_string(domain, "type", c->peer.domain_type, sizeof(c->peer.domain_type));
                if (json_object_object_get_ex(domain, "memory_mib", &v))
                        c->peer.memory_mib = json_object_get_uint64(v);
        }
        if (json_object_object_get_ex(o, "image", &image)) {
                copy_string(image, "kernel", c->peer_image.kernel, sizeof(c->peer_image.kernel));
                copy_string(image, "initrd", c->peer_image.initrd, sizeof(c->peer_image.initrd));
        }
        c->has_peer = true;
        json_object_put(o);
        return 0;
}

int migration_face_check(sd_bus_message *m, void *userdata, sd_bus_error *reterr) {
        _cleanup_(facts_call_freep) FactsCall *c = calloc(1, sizeof(*c));
        const char *session, *facts = NULL;
        MigrationTexts texts[] = { { "facts", &facts }, {} };
        Shim *s = userdata;
        Error err = ERROR_INIT;
        int r;

        if (!c)
                return -ENOMEM;
        c->shim = s;
        c->role = s->receive && !s->vm ? MIGRATION_DESTINATION : MIGRATION_SOURCE;
        r = sd_bus_message_read(m, "s", &session);
        if (r < 0)
                return r;
        r = migration_read_options(m, &s->config, texts, &c->options, reterr);
        if (r < 0)
                return r;
        if (facts) {
                r = read_peer_facts(c, facts, reterr);
                if (r < 0)
                        return r;
        }
        r = bus_job_new(m, 0, reply_check, &c->job, reterr);
        if (r < 0)
                return r;
        r = migrate_learn_facts(s->migrate, on_check_facts, c, &err);
        if (r < 0)
                return api_error_set(reterr, r, &err);
        if (r == 0)
                on_check_facts(c, 0, NULL, NULL);
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
