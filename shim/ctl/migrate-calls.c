/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "hostdev/image/layer.h"
#include "shim/ctl/migrate.h"
#include "shim/ctl/values.h"

/* Starting a shim over there, with a password to type before. */
#define CONNECT_DEADLINE SECONDS(120)

int mover_connect_source(Mover *m, Error *reterr) {
        m->source.name = "source";
        return pod_connect(m->ctl->config.run_dir, m->pod, &m->source.bus, reterr);
}

int mover_start_destination(Mover *m, Error *reterr) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        const char *args[] = { "receive", "--pod", m->new_name, NULL };
        int pair[2], r;

        m->destination.name = "destination";
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return error_setf(reterr, -errno, "socketpair: %m");
        ours = pair[0], theirs = pair[1];
        r = remote_start(&m->remote, args, theirs, theirs, &m->calls, reterr);
        if (r < 0)
                return r;
        theirs = close_fd(theirs);
        r = fcntl(ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
        if (r == 0) {
                int fd = TAKE_FD(ours);

                r = pod_connect_fds(fd, fd, &m->destination.bus, reterr);
        }
        return r < 0 ? error_prefix(reterr, r, "%s", m->remote.name) : 0;
}

int mover_connect_destination(Mover *m, Error *reterr) {
        Error why = ERROR_INIT;
        int r;

        r = pod_call(m->destination.bus, CONNECT_DEADLINE, NULL, reterr, BUS_ROOT, BUS_INTERFACE,
                     "Ping", "");
        if (r < 0 && remote_finish(&m->calls, 3000, &why) < 0)
                return error_setf(reterr, r, "%s: %s", m->remote.name, why.text);
        return r < 0 ? error_prefix(reterr, r, "%s", m->remote.name) : 0;
}

/* Opens a{sv} with the user's options, and `more` of the form name, value, NULL. */
static int append_options(const Mover *m, sd_bus_message *message, const char *const *more) {
        int r = sd_bus_message_open_container(message, 'a', "{sv}");

        for (size_t i = 0; r >= 0 && i < m->n_options; i++)
                r = sd_bus_message_append(message, "{sv}", m->options[i].name, "s",
                                          m->options[i].value);
        for (size_t i = 0; r >= 0 && more && more[i]; i += 2)
                r = sd_bus_message_append(message, "{sv}", more[i], "s", more[i + 1]);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int call_with_options(Mover *m, Side *side, uint64_t deadline, const char *member,
                             const char *const *more, sd_bus_message **ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *message = NULL, *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(side->bus, &message, NULL, BUS_MIGRATION, MIGRATION_FACE,
                                           member);
        if (r >= 0)
                r = sd_bus_message_append(message, "s", m->session);
        if (r >= 0)
                r = append_options(m, message, more);
        if (r < 0)
                return error_setf(reterr, r, "%s: %s", member, strerrordesc_np(-r));
        r = pod_send(side->bus, message, deadline, &reply, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s", side->name);
        if (ret)
                *ret = TAKE(reply);
        return 0;
}

int mover_call(Mover *m, Side *side, uint64_t deadline, const char *member, const char *argument,
               Error *reterr) {
        int r;

        if (argument)
                r = pod_call(side->bus, deadline, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                             member, "ss", m->session, argument);
        else
                r = pod_call(side->bus, deadline, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                             member, "s", m->session);
        return r < 0 ? error_prefix(reterr, r, "%s", side->name) : 0;
}

int mover_get_state(Mover *m, Side *side, Error *reterr) {
        _cleanup_free_ char *state = NULL;
        int r;

        r = pod_get_string(side->bus, BUS_MIGRATION, MIGRATION_FACE, "State", &state, reterr);
        if (r == 0)
                (void)snprintf(side->state, sizeof(side->state), "%s", state);
        return r;
}

int mover_get_json(Side *side, const char *property, json_object **ret, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = pod_get_string(side->bus, BUS_MIGRATION, MIGRATION_FACE, property, &text, reterr);
        if (r < 0)
                return r;
        *ret = NULL;
        return *text ? json_read(text, strlen(text), ret, reterr) : 0;
}

static int read_text(sd_bus_message *reply, const char **ret, Error *reterr) {
        return sd_bus_message_read(reply, "s", ret) < 0
                       ? error_setf(reterr, -EBADMSG, "an answer that is no text")
                       : 0;
}

/* What is no obstacle, but worth knowing. */
static void show_warnings(Mover *m, const Side *side, json_object *check) {
        json_object *warnings = json_get_array(check, "warnings"), *w;
        char text[400];

        for (JSON_EACH(i, warnings, w)) {
                (void)snprintf(text, sizeof(text), "%s: %.300s", side->name,
                               json_get_text(w, "text"));
                show_note(&m->show, text);
        }
}

/* The first problem as the failure. */
static int first_problem(const Side *side, json_object *check, Error *reterr) {
        json_object *problems = json_get_array(check, "problems"), *p;

        for (JSON_EACH(i, problems, p))
                return error_setf(reterr, -EBADFD, "%s: %.300s", side->name,
                                  json_get_text(p, "text"));
        return error_setf(reterr, -EBADFD, "%s: it is not ready for a migration", side->name);
}

int mover_check(Mover *m, Side *side, Error *reterr) {
        bool source = side == &m->source;
        const char *facts =
                source ? NULL : json_object_to_json_string_ext(m->facts, JSON_C_TO_STRING_PLAIN);
        const char *const more[] = { "facts", facts ?: "{}", NULL };
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_json_ json_object *check = NULL;
        const char *text;
        int r;

        r = call_with_options(m, side, WORK_DEADLINE, "Check", source ? NULL : more, &reply,
                              reterr);
        if (r == 0)
                r = read_text(reply, &text, reterr);
        if (r == 0)
                r = json_read(text, strlen(text), &check, reterr);
        if (r < 0)
                return r;
        if (!json_object_get_boolean(json_get(check, "ok")))
                return first_problem(side, check, reterr);
        show_warnings(m, side, check);
        if (source)
                m->facts = json_object_get(json_get(check, "facts"));
        return 0;
}

/* -- layers -- */

typedef struct LayerRef {
        const char *digest, *path;
        uint64_t size;
} LayerRef;

#define LAYERS_MAX 1024U

/* Every layer of every container, once; borrowed from the facts. */
static size_t list_layers(json_object *facts, LayerRef *list) {
        json_object *containers = json_get_array(facts, "containers"), *c, *d;
        size_t n = 0;

        for (JSON_EACH(i, containers, c)) {
                json_object *disks = json_get_array(c, "disks");

                for (size_t k = 0; disks && k < json_object_array_length(disks); k++) {
                        bool known = false;

                        d = json_object_array_get_idx(disks, k);
                        if (strcmp(json_get_text(d, "role"), "layer") != 0 || n >= LAYERS_MAX)
                                continue;
                        for (size_t j = 0; j < n; j++)
                                known = known ||
                                        strcmp(list[j].digest, json_get_text(d, "digest")) == 0;
                        if (!known)
                                list[n++] = (LayerRef){ json_get_text(d, "digest"),
                                                        json_get_text(d, "path"),
                                                        (uint64_t)json_get_number(d, "size") };
                }
        }
        return n;
}

static int ask_missing(Mover *m, const LayerRef *list, size_t n, char ***ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *message = NULL, *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(m->destination.bus, &message, NULL, BUS_MIGRATION,
                                           MIGRATION_FACE, "MissingLayers");
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', "s");
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = sd_bus_message_append(message, "s", list[i].digest);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        if (r < 0)
                return error_setf(reterr, r, "MissingLayers: %s", strerrordesc_np(-r));
        r = pod_send(m->destination.bus, message, CALL_DEADLINE, &reply, reterr);
        if (r == 0 && sd_bus_message_read_strv(reply, ret) < 0)
                r = error_setf(reterr, -EBADMSG, "an answer that is no list");
        return r < 0 ? error_prefix(reterr, r, "destination") : 0;
}

static int send_layer(Mover *m, const LayerRef *l, Error *reterr) {
        char size[24];
        const char *args[] = { "receive", "--layer", l->digest, "--size", size, NULL };
        _cleanup_close_ int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        _cleanup_close_ int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
        RemoteRun run = REMOTE_RUN_INIT;
        char text[128];
        int r;

        if (fd < 0 || nothing < 0)
                return error_setf(reterr, -errno, "layer %s: %m", l->path);
        r = layer_verify(l->path, l->digest, reterr);
        if (r < 0)
                return r;
        (void)snprintf(size, sizeof(size), "%" PRIu64, l->size);
        (void)snprintf(text, sizeof(text), "sending layer %.19s (%" PRIu64 " MiB)", l->digest,
                       l->size >> 20);
        show_step(&m->show, "layers", text);
        r = remote_start(&m->remote, args, fd, nothing, &run, reterr);
        if (r < 0)
                return r;
        r = remote_finish(&run, 3600U * 1000U, reterr);
        return r < 0 ? error_prefix(reterr, r, "layer %.19s", l->digest) : 0;
}

int mover_send_layers(Mover *m, Error *reterr) {
        _cleanup_free_ LayerRef *list = calloc(LAYERS_MAX, sizeof(*list));
        _cleanup_(words_freep) char **missing = NULL;
        size_t n;
        int r;

        if (!list)
                return error_oom(reterr);
        n = list_layers(m->facts, list);
        if (n == 0)
                return 0;
        r = ask_missing(m, list, n, &missing, reterr);
        for (size_t i = 0; missing && missing[i] && r == 0; i++)
                for (size_t k = 0; k < n && r == 0; k++)
                        if (strcmp(list[k].digest, missing[i]) == 0)
                                r = send_layer(m, &list[k], reterr);
        return r;
}

/* -- the session's calls -- */

int mover_export(Mover *m, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        static const char *const bound[] = { "bound", "true", NULL };
        _cleanup_json_ json_object *facts = NULL;
        const void *envelope;
        const char *text;
        size_t n;
        int r;

        m->source.began = true;
        r = call_with_options(m, &m->source, WORK_DEADLINE, "PrepareAndExport", bound, &reply,
                              reterr);
        if (r < 0)
                return r;
        if (sd_bus_message_read_array(reply, 'y', &envelope, &n) < 0 || n == 0)
                return error_setf(reterr, -EBADMSG, "source: no envelope in its answer");
        r = read_text(reply, &text, reterr);
        if (r == 0)
                r = json_read(text, strlen(text), &facts, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "source");
        m->envelope = malloc(n);
        if (!m->envelope)
                return error_oom(reterr);
        memcpy(m->envelope, envelope, n);
        m->envelope_size = n;
        (void)json_object_put(m->facts);
        m->facts = TAKE(facts);
        return 0;
}

int mover_import(Mover *m, Error *reterr) {
        _cleanup_message_ sd_bus_message *message = NULL;
        int r;

        m->destination.began = true;
        r = sd_bus_message_new_method_call(m->destination.bus, &message, NULL, BUS_MIGRATION,
                                           MIGRATION_FACE, "Import");
        if (r >= 0)
                r = sd_bus_message_append(message, "ss", m->session, m->new_name);
        if (r >= 0)
                r = sd_bus_message_append_array(message, 'y', m->envelope, m->envelope_size);
        if (r < 0)
                return error_setf(reterr, r, "Import: %s", strerrordesc_np(-r));
        r = pod_send(m->destination.bus, message, WORK_DEADLINE, NULL, reterr);
        return r < 0 ? error_prefix(reterr, r, "destination") : 0;
}

static int patch_network(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object(), *n = json_object_new_object();
        const char *text;
        int r;

        if (!o || !n || json_add_string(n, "namespace", m->network) < 0 ||
            json_add_string(n, "mode", m->network_mode ?: "keep") < 0 ||
            json_add(o, "network", TAKE(n)) < 0 ||
            !(text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)))
                return error_oom(reterr);
        r = pod_call(m->destination.bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                     "Patch", "ssss", m->session, "", "", text);
        return r < 0 ? error_prefix(reterr, r, "destination") : 0;
}

static bool has_disk(json_object *facts, const char *path, size_t n) {
        json_object *containers = json_get_array(facts, "containers"), *c;

        for (JSON_EACH(i, containers, c)) {
                json_object *disks = json_get_array(c, "disks");

                for (size_t k = 0; disks && k < json_object_array_length(disks); k++) {
                        const char *at = json_get_text(json_object_array_get_idx(disks, k), "path");

                        if (strlen(at) == n && strncmp(at, path, n) == 0)
                                return true;
                }
        }
        return false;
}

/* {"disks": {path here: path there}}; the caller owns it. */
static int map_disks(const Mover *m, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *map = json_object_new_object();

        if (!o || json_add(o, "disks", map) < 0)
                return error_oom(reterr);
        for (size_t i = 0; m->disks && m->disks[i]; i++) {
                const char *equals = strchr(m->disks[i], '=');
                size_t n = (size_t)(equals - m->disks[i]);
                _cleanup_free_ char *from = strndup(m->disks[i], n);

                if (!has_disk(m->facts, m->disks[i], n))
                        return error_setf(reterr, -ENOENT, "--disk: the pod has no disk %.*s",
                                          (int)n, m->disks[i]);
                if (!from || json_add_string(map, from, equals + 1) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(o);
        return 0;
}

int mover_patch(Mover *m, Error *reterr) {
        json_object *containers = json_get_array(m->facts, "containers"), *c;
        _cleanup_json_ json_object *patch = NULL;
        int k = map_disks(m, &patch, reterr);

        if (k < 0)
                return k;

        if (m->network) {
                int r = patch_network(m, reterr);

                if (r < 0)
                        return r;
        }

        for (JSON_EACH(i, containers, c)) {
                int r = pod_call(m->destination.bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION,
                                 MIGRATION_FACE, "Patch", "ssss", m->session,
                                 json_get_text(c, "id"), "",
                                 json_object_to_json_string_ext(patch, JSON_C_TO_STRING_PLAIN));

                if (r < 0)
                        return error_prefix(reterr, r, "destination: container %s",
                                            json_get_text(c, "id"));
        }
        return 0;
}

int mover_prepare(Mover *m, Error *reterr) {
        json_object *storage = json_get_array(m->facts, "storage");
        const char *offer =
                storage ? json_object_to_json_string_ext(storage, JSON_C_TO_STRING_PLAIN) : NULL;
        const char *const more[] = { "storage_offer", offer ?: "", NULL };
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *ticket;
        int r;

        r = call_with_options(m, &m->destination, WORK_DEADLINE, "Prepare", more, &reply, reterr);
        if (r == 0)
                r = read_text(reply, &ticket, reterr);
        if (r < 0)
                return r;
        m->ticket = strdup(ticket);
        return m->ticket ? 0 : error_oom(reterr);
}

int mover_connect_transport(Mover *m, Error *reterr) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        const char *args[] = { "receive",   "--pod",    m->new_name, "--transport",
                               "--session", m->session, NULL };
        int pair[2], r;

        (void)remote_finish(&m->transport, 0, NULL);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return error_setf(reterr, -errno, "socketpair: %m");
        ours = pair[0], theirs = pair[1];
        r = remote_start(&m->remote, args, theirs, theirs, &m->transport, reterr);
        if (r < 0)
                return r;
        m->transports++;
        r = pod_call(m->source.bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                     "RegisterSocket", "sh", m->session, ours);
        return r < 0 ? error_prefix(reterr, r, "source") : 0;
}

int mover_transfer(Mover *m, Error *reterr) {
        const char *const more[] = { "ticket",   m->ticket, "to",        m->to, "to_program",
                                     m->program, "to_pod",  m->new_name, NULL };
        int r;

        r = call_with_options(m, &m->destination, CALL_DEADLINE, "Transfer", NULL, NULL, reterr);
        if (r == 0)
                r = call_with_options(m, &m->source, CALL_DEADLINE, "Transfer", more, NULL, reterr);
        return r;
}
