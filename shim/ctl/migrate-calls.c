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

/* The command to the other host did not come to an answer: what it says itself is the better
 * reason, if it has ended. */
static int explain_command(Mover *m, int r, Error *reterr) {
        Error bus = reterr ? *reterr : ERROR_INIT, why = ERROR_INIT;

        if (r == -ECANCELED || (r == -ETIMEDOUT && mover_interrupted(m, NULL) < 0))
                return r;
        if (remote_wait(&m->calls, 3000)) {
                int k = remote_finish(&m->calls, 0, &why);

                if (k == 0)
                        (void)error_setf(&why, r, "it ended without a word");
                r = k == -EEXIST ? k : r; /* a pod of that name */
        } else if (r == -ETIMEDOUT) {
                (void)error_setf(&why, r, "podferry receive does not answer there");
        } else {
                (void)error_setf(&why, r, "what it says is not podferry receive's: %s",
                                 error_text(&bus, r));
        }
        return error_setf(reterr, r, "%s: %s", m->remote.name, why.text);
}

int mover_start_destination(Mover *m, Error *reterr) {
        const char *args[] = { "receive", "--pod", m->new_name, mover_placed(m), NULL };
        int fd, r;

        m->destination.name = "destination";
        r = remote_start_stream(&m->remote, args, &m->calls, &fd, reterr);
        if (r < 0)
                return r;
        r = pod_connect_fds(fd, fd, &m->destination.bus, reterr);
        return r < 0 ? explain_command(m, r, reterr) : 0;
}

static int new_call(const Side *side, const char *path, const char *interface, const char *member,
                    sd_bus_message **ret, Error *reterr) {
        int r = sd_bus_message_new_method_call(side->bus, ret, NULL, path, interface, member);

        return r < 0 ? error_setf(reterr, r, "%s: %s", member, strerrordesc_np(-r)) : 0;
}

int mover_connect_destination(Mover *m, Error *reterr) {
        _cleanup_message_ sd_bus_message *message = NULL;
        int r;

        r = new_call(&m->destination, BUS_ROOT, BUS_INTERFACE, "Ping", &message, reterr);
        if (r == 0)
                r = mover_send(m, &m->destination, message, CONNECT_DEADLINE, NULL, reterr);
        m->destination.answered = r == 0;
        return r < 0 ? explain_command(m, r, reterr) : 0;
}

/* Opens a{sv} with the user's options, and `more` of the form name, value, NULL. The destination is
 * told what the source's configuration says, too: its own is not meant for this pod. */
static int append_options(const Mover *m, const Side *side, sd_bus_message *message,
                          const char *const *more) {
        int r = sd_bus_message_open_container(message, 'a', "{sv}");

        for (size_t i = 0; r >= 0 && i < m->n_options; i++)
                r = sd_bus_message_append(message, "{sv}", m->options[i].name, "s",
                                          m->options[i].value);
        if (r >= 0 && side == &m->destination && m->rules)
                r = sd_bus_message_append(
                        message, "{sv}", "source_options", "s",
                        json_object_to_json_string_ext(m->rules, JSON_C_TO_STRING_PLAIN));
        for (size_t i = 0; r >= 0 && more && more[i]; i += 2)
                r = sd_bus_message_append(message, "{sv}", more[i], "s", more[i + 1]);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

int mover_call_options(Mover *m, Side *side, uint64_t deadline, const char *member,
                       const char *const *more, sd_bus_message **ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *message = NULL, *reply = NULL;
        int r;

        r = new_call(side, BUS_MIGRATION, MIGRATION_FACE, member, &message, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_append(message, "s", m->session);
        if (r >= 0)
                r = append_options(m, side, message, more);
        if (r < 0)
                return error_setf(reterr, r, "%s: %s", member, strerrordesc_np(-r));
        r = mover_send(m, side, message, deadline, &reply, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s", side->name);
        if (ret)
                *ret = TAKE(reply);
        return 0;
}

/* Strings only; NULL ends them. */
static int call_strings(Mover *m, Side *side, uint64_t deadline, const char *member,
                        const char *const *words, Error *reterr) {
        _cleanup_message_ sd_bus_message *message = NULL;
        int r;

        r = new_call(side, BUS_MIGRATION, MIGRATION_FACE, member, &message, reterr);
        if (r < 0)
                return r;
        for (; *words && r >= 0; words++)
                r = sd_bus_message_append(message, "s", *words);
        if (r < 0)
                return error_setf(reterr, r, "%s: %s", member, strerrordesc_np(-r));
        return mover_send(m, side, message, deadline, NULL, reterr);
}

int mover_call(Mover *m, Side *side, uint64_t deadline, const char *member, const char *argument,
               Error *reterr) {
        const char *const words[] = { m->session, argument, NULL };
        int r = call_strings(m, side, deadline, member, words, reterr);

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
        r = mover_send(m, &m->destination, message, CALL_DEADLINE, &reply, reterr);
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
        r = mover_wait_command(m, &run, reterr);
        return r < 0 ? error_prefix(reterr, r, "layer %.19s", l->digest) : 0;
}

int mover_send_missing(Mover *m, char *const *missing, Error *reterr) {
        _cleanup_free_ LayerRef *list = calloc(LAYERS_MAX, sizeof(*list));
        size_t n;
        int r = 0;

        if (!list)
                return error_oom(reterr);
        n = list_layers(m->facts, list);
        for (size_t i = 0; missing && missing[i] && r == 0; i++)
                for (size_t k = 0; k < n && r == 0; k++)
                        if (strcmp(list[k].digest, missing[i]) == 0)
                                r = send_layer(m, &list[k], reterr);
        return r;
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
        return r < 0 ? r : mover_send_missing(m, missing, reterr);
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
        r = mover_call_options(m, &m->source, WORK_DEADLINE, "PrepareAndExport", bound, &reply,
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
        r = mover_send(m, &m->destination, message, WORK_DEADLINE, NULL, reterr);
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

int mover_map_disks(const Mover *m, json_object **ret, Error *reterr) {
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
        int k = mover_map_disks(m, &patch, reterr);

        if (k < 0)
                return k;

        if (m->network) {
                int r = patch_network(m, reterr);

                if (r < 0)
                        return r;
        }

        for (JSON_EACH(i, containers, c)) {
                const char *const words[] = {
                        m->session, json_get_text(c, "id"), "",
                        json_object_to_json_string_ext(patch, JSON_C_TO_STRING_PLAIN), NULL
                };
                int r = call_strings(m, &m->destination, CALL_DEADLINE, "Patch", words, reterr);

                if (r < 0)
                        return error_prefix(reterr, r, "destination: container %s",
                                            json_get_text(c, "id"));
        }
        return 0;
}

/* Both hosts read all of what is to be the same, with 20 MB/s at least. */
static uint64_t prepare_deadline(json_object *storage) {
        uint64_t sum = 0;
        json_object *d;

        for (JSON_EACH(i, storage, d))
                if (strcmp(json_get_text(d, "plan"), "same") == 0)
                        sum += (uint64_t)json_get_number(d, "size") / 20;
        return WORK_DEADLINE + sum;
}

int mover_prepare(Mover *m, Error *reterr) {
        json_object *storage = json_get_array(m->facts, "storage");
        const char *offer =
                storage ? json_object_to_json_string_ext(storage, JSON_C_TO_STRING_PLAIN) : NULL;
        const char *const more[] = { "storage_offer", offer ?: "", NULL };
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *ticket;
        int r;

        r = mover_call_options(m, &m->destination, prepare_deadline(storage), "Prepare", more,
                               &reply, reterr);
        if (r == 0)
                r = read_text(reply, &ticket, reterr);
        if (r < 0)
                return r;
        m->ticket = strdup(ticket);
        return m->ticket ? 0 : error_oom(reterr);
}

int mover_connect_transport(Mover *m, Error *reterr) {
        const char *args[] = { "receive",   "--pod",    m->new_name, "--transport",
                               "--session", m->session, NULL };
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = remote_start_stream(&m->remote, args, &m->transport, &fd, reterr);
        if (r < 0)
                return r;
        m->transports++;
        r = pod_call(m->source.bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                     "RegisterSocket", "sh", m->session, fd);
        return r < 0 ? error_prefix(reterr, r, "source") : 0;
}

/* What the source does, as it does it. */
static int on_notification(sd_bus_message *message, void *userdata, sd_bus_error *reterr) {
        _cleanup_json_ json_object *n = NULL;
        const char *text, *result;
        Mover *m = userdata;
        uint64_t id;

        if (sd_bus_message_read(message, "ts", &id, &text) < 0 ||
            json_read(text, strlen(text), &n, NULL) < 0 ||
            strcmp(json_get_text(n, "session"), m->session) != 0)
                return 0;
        result = json_get_text(n, "result");
        text = json_get_text(n, "text");
        if (strcmp(result, "started") == 0)
                show_phase(&m->show, json_get_text(n, "phase"));
        /* A transport that breaks is the command's own, which tells more of it. */
        else if (strcmp(result, "warning") == 0 && strncmp(text, "transport lost", 14) != 0)
                show_note(&m->show, text);
        return 0;
}

int mover_transfer(Mover *m, Error *reterr) {
        const char *const more[] = { "ticket",   m->ticket, "to",        m->to, "to_program",
                                     m->program, "to_pod",  m->new_name, NULL };
        int r;

        r = sd_bus_match_signal(m->source.bus, NULL, NULL, BUS_MIGRATION, MIGRATION_FACE,
                                "Notification", on_notification, m);
        if (r < 0)
                return error_setf(reterr, r, "source: %s", strerrordesc_np(-r));
        r = mover_call_options(m, &m->destination, CALL_DEADLINE, "Transfer", NULL, NULL, reterr);
        if (r == 0)
                r = mover_call_options(m, &m->source, CALL_DEADLINE, "Transfer", more, NULL,
                                       reterr);
        return r;
}
