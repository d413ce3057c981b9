/* SPDX-License-Identifier: Apache-2.0 */
/* How the pod was made (shim/definition.h) moves along, so that it can be started again where it
 * is. The source sends it while memory is copied; the destination stages it with the paths that the
 * disks have there, and publishes it once the pod is its own. */
#include <string.h>

#include <json-c/json.h>
#include <peer.pb-c.h>

#include "controllers/ids.h"
#include "lib/log.h"
#include "shim/file-job.h"
#include "shim/migrate/migrate-internal.h"

#define TOTAL_MAX (32U << 20) /* all specifications of a peer together */

typedef Podferry__Peer__V1__Definition Part;

/* -- source -- */

typedef struct Reading {
        Migrate *migrate;
        char *session;
        Definition definition;
} Reading;

static int work_read(void *argument, Error *reterr) {
        Reading *c = argument;

        return definition_read(c->migrate->shim->state_path, &c->definition, reterr);
}

static int send_part(Migrate *m, Part *part) {
        Podferry__Peer__V1__Peer peer = PODFERRY__PEER__V1__PEER__INIT;
        _cleanup_free_ char *pod = strdup(m->shim->pod_id);
        _cleanup_free_ char *session = strdup(migration_session(m->migration));
        _cleanup_buf_ Buf b = {};
        int r;

        if (!pod || !session)
                return -ENOMEM;
        peer.pod = pod;
        peer.session = session;
        peer.epoch = migration_epoch(m->migration);
        peer.body_case = PODFERRY__PEER__V1__PEER__BODY_DEFINITION;
        peer.definition = part;
        r = message_pack((const ProtobufCMessage *)&peer, &b);
        return r < 0 ? r : migrate_op_send(m, b.data + 4, b.len - 4);
}

static int send_all(Migrate *m, const Definition *d) {
        Part machine = PODFERRY__PEER__V1__DEFINITION__INIT;
        int r;

        machine.container_id = (char[]){ "" };
        machine.memory_mib = d->memory_mib;
        machine.vcpus = d->vcpus;
        machine.network = d->network;
        machine.publish = d->publish;
        r = send_part(m, &machine);
        for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
                Part part = PODFERRY__PEER__V1__DEFINITION__INIT;

                part.container_id = d->containers[i].id;
                part.made = d->containers[i].made;
                part.spec.data = (uint8_t *)d->containers[i].spec;
                part.spec.len = strlen(d->containers[i].spec);
                r = send_part(m, &part);
        }
        return r;
}

static void on_read(void *userdata, int r, const void *result, const Error *err) {
        Reading *c = userdata;
        Migrate *m = c->migrate;

        m->reading_definition = false;
        if (r == 0 && strcmp(c->session, migration_session(m->migration)) == 0)
                r = send_all(m, &c->definition);
        if (r < 0)
                log_warning("migration: the pod cannot be started again once it has moved: %s",
                            error_text(err, r));
        definition_done(&c->definition);
        free(c->session);
        free(c);
}

void migrate_send_definition(Migrate *m) {
        Reading *c;

        if (m->reading_definition || !(c = calloc(1, sizeof(*c))))
                return;
        *c = (Reading){ .migrate = m, .session = strdup(migration_session(m->migration)) };
        if (!c->session || file_job(m->shim, work_read, c, on_read, c, NULL) < 0) {
                free(c->session);
                free(c);
                return;
        }
        m->reading_definition = true;
}

/* -- destination -- */

void migrate_forget_definition(Migrate *m) {
        definition_done(&m->definition);
        m->definition_bytes = 0;
        m->staged = false;
}

static int take_machine(Migrate *m, const Part *part) {
        char *network = strdup(part->network), *publish = strdup(part->publish);

        if (!network || !publish) {
                free(network);
                free(publish);
                return -ENOMEM;
        }
        free(m->definition.network);
        free(m->definition.publish);
        m->definition.network = network;
        m->definition.publish = publish;
        m->definition.memory_mib = part->memory_mib;
        m->definition.vcpus = part->vcpus;
        return 0;
}

static int take_container(Migrate *m, const Part *part) {
        DefinitionContainer *grown, c = { .made = part->made };
        Definition *d = &m->definition;

        if (id_check("container id", part->container_id, NULL) < 0)
                return -EINVAL;
        if (d->n_containers >= POD_CONTAINERS_MAX ||
            part->spec.len > TOTAL_MAX - m->definition_bytes)
                return -ENOSPC;
        for (size_t i = 0; i < d->n_containers; i++)
                if (strcmp(d->containers[i].id, part->container_id) == 0)
                        return 0; /* said again */
        grown = reallocarray(d->containers, d->n_containers + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        d->containers = grown;
        c.id = strdup(part->container_id);
        c.spec = buf_text(part->spec.data, part->spec.len);
        if (!c.id || !c.spec) {
                free(c.id);
                free(c.spec);
                return -ENOMEM;
        }
        m->definition_bytes += part->spec.len;
        grown[d->n_containers++] = c;
        return 0;
}

/* -- adapted, staged and published -- */

static int put_path(void *userdata, const ContainerDiskInfo *info) {
        json_object *disk = json_object_array_get_idx(userdata, info->index);
        json_object *path = json_object_new_string(info->disk.config.host_path);

        if (!path || !json_object_is_type(disk, json_type_object) ||
            json_object_object_add(disk, "path", path) < 0) {
                json_object_put(path);
                return -EBADMSG;
        }
        return 0;
}

/* The specification of a container, with its disks as they are here. */
static int adapt(const Container *c, DefinitionContainer *d) {
        json_object *spec = json_tokener_parse(d->spec), *disks;
        char *id, *text = NULL;
        int r = -EBADMSG;

        if (json_object_is_type(spec, json_type_object) &&
            json_object_object_get_ex(spec, "disks", &disks) &&
            json_object_is_type(disks, json_type_array) &&
            json_object_array_length(disks) == container_n_disks(c))
                r = container_each_disk(c, put_path, disks);
        id = strdup(container_id(c));
        if (r == 0)
                text = strdup(json_object_to_json_string_ext(
                        spec, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(spec);
        if (!id || !text) {
                free(id);
                free(text);
                return r < 0 ? r : -ENOMEM;
        }
        free(d->id);
        free(d->spec);
        d->id = id;
        d->spec = text;
        return 0;
}

typedef struct Search {
        const char *source_id;
        const Container *found;
} Search;

static int match(void *userdata, Container *c) {
        Search *s = userdata;

        if (strcmp(container_source_id(c), s->source_id) == 0)
                s->found = c;
        return s->found != NULL;
}

static bool is_whole(const Migrate *m) {
        return m->definition.network &&
               m->definition.n_containers == pod_n_containers(m->shim->pod);
}

/* The definition as it is to be on this host. -EBADMSG: it does not fit the pod that came. */
static int adapt_all(Migrate *m, Error *reterr) {
        Definition *d = &m->definition;
        JournalRecord identity = {};
        char *network = NULL;
        int r;

        for (size_t i = 0; i < d->n_containers; i++) {
                Search s = { .source_id = d->containers[i].id };

                (void)pod_each_container(m->shim->pod, match, &s);
                r = s.found ? adapt(s.found, &d->containers[i]) : -EBADMSG;
                if (r < 0)
                        return error_setf(reterr, r,
                                          "container \"%s\": how it was made does not fit it",
                                          s.source_id);
        }
        if (m->network.path) {
                if (asprintf(&network, "ns:%s", m->network.path) < 0)
                        return error_oom(reterr);
                free(d->network);
                d->network = network;
        }
        migration_identity(m->migration, &identity);
        d->epoch = identity.epoch; /* as the record will have it that makes the pod this host's */
        return 0;
}

typedef struct Writing {
        char *state;
        Definition definition; /* to be staged */
        uint64_t epoch;        /* to be published */
        bool came;             /* it has to be there */
        Shim *shim;            /* for the loop */
        Annotations annotations;
} Writing;

static Writing *writing_free(Writing *c) {
        if (!c)
                return NULL;
        annotations_done(&c->annotations);
        definition_done(&c->definition);
        free(c->state);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(Writing *, writing_free);

static Writing *writing_new(const Migrate *m) {
        _cleanup_(writing_freep) Writing *c = calloc(1, sizeof(*c));

        if (!c || !(c->state = strdup(m->shim->state_path)))
                return NULL;
        c->shim = m->shim;
        return TAKE(c);
}

static void not_kept(int r, const Error *err) {
        log_warning("how the pod was made is not kept here, once stopped it cannot start: %s",
                    error_text(err, r));
}

static void on_written(void *userdata, int r, const void *result, const Error *err) {
        Writing *c = userdata;

        if (r < 0 && (r != -ENOENT || c->came))
                not_kept(r, err);
        (void)writing_free(c);
}

static void on_staged(void *userdata, int r, const void *result, const Error *err) {
        Writing *c = userdata;
        Migrate *m = c->shim->migrate;

        on_written(c, r, result, err);
        m->staging--;
        migration_look_again(m->migration);
}

bool migrate_op_kept(void *u) {
        const Migrate *m = u;

        return m->staging == 0;
}

static int work_stage(void *argument, Error *reterr) {
        const Writing *c = argument;

        return definition_stage(c->state, &c->definition, reterr);
}

/* All of it is here: on disk before the pod is, so that a shim that comes after this one has it. */
static void stage(Migrate *m) {
        Error e = ERROR_INIT;
        Writing *c;
        int r;

        r = adapt_all(m, &e);
        c = r == 0 ? writing_new(m) : NULL;
        if (!c) {
                not_kept(r == 0 ? -ENOMEM : r, &e);
                return;
        }
        c->definition = m->definition;
        m->definition = (Definition){};
        m->staged = true;
        m->staging++;
        r = file_job(m->shim, work_stage, c, on_staged, c, &e);
        if (r < 0)
                on_staged(c, r, NULL, &e);
}

void migrate_take_definition(Migrate *m, const Part *part) {
        int r;

        if (m->staged)
                return;
        r = part->container_id[0] ? take_container(m, part) : take_machine(m, part);
        if (r < 0)
                log_warning("migration: how container \"%s\" was made is not kept: %s",
                            part->container_id, error_text(NULL, r));
        else if (is_whole(m))
                stage(m);
}

/* What its containers say of the next migration comes along with it. */
static void read_annotations(Writing *c) {
        _cleanup_definition_ Definition d = {};
        Error e = ERROR_INIT;
        int r = definition_read(c->state, &d, &e);

        if (r == 0)
                r = definition_annotations(&d, &c->annotations, &e);
        if (r < 0)
                log_warning("not all annotations of the pod are known: %s", error_text(&e, r));
}

static int work_publish(void *argument, Error *reterr) {
        Writing *c = argument;
        int r = definition_publish(c->state, c->epoch, reterr);

        read_annotations(c);
        return r;
}

static void on_published(void *userdata, int r, const void *result, const Error *err) {
        Writing *c = userdata;

        annotations_merge(&c->shim->annotations, &c->annotations);
        on_written(c, r, result, err);
}

void migrate_publish_definition(Migrate *m, uint64_t epoch, bool came) {
        Error e = ERROR_INIT;
        Writing *c = writing_new(m);
        int r;

        if (!c) {
                not_kept(-ENOMEM, NULL);
                return;
        }
        c->epoch = epoch;
        c->came = came;
        r = file_job(m->shim, work_publish, c, on_published, c, &e);
        if (r < 0)
                on_published(c, r, NULL, &e);
}
