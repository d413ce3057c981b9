/* SPDX-License-Identifier: Apache-2.0 */
/* Where the pod has gone, for the clients that are attached here: told by whoever drives the
 * migration, passed to them with the last frame, and never used by the shim itself. */
#include <string.h>

#include "shim/migrate/migrate-internal.h"

#define WAY_MAX 4096U

int migrate_set_way(Migrate *m, const MigrateWay *way, Error *reterr) {
        const char *const texts[] = { way->to, way->program, way->pod };
        static const char *const names[] = { "to", "to_program", "to_pod" };
        json_object *o;
        int r = 0;

        migrate_forget_way(m);
        if (!*way->to)
                return 0;
        o = json_object_new_object();
        for (size_t i = 0; o && r == 0 && i < ELEMENTSOF(texts); i++) {
                if (strlen(texts[i]) > WAY_MAX)
                        r = error_setf(reterr, -EINVAL, "option %s: longer than %u bytes", names[i],
                                       WAY_MAX);
                else
                        (void)json_object_object_add(o, names[i], json_object_new_string(texts[i]));
        }
        if (!o)
                r = error_oom(reterr);
        if (r == 0)
                m->way = TAKE(o);
        json_object_put(o);
        return r;
}

void migrate_forget_way(Migrate *m) {
        json_object_put(TAKE(m->way));
}

/* The machine's id and epoch tell a client the pod from another one of the same name. */
void migrate_tell_clients(Migrate *m) {
        const Shim *s = m->shim;
        const char *text = "";
        uint8_t id[16];
        uint32_t channel;
        uint64_t epoch;

        if (m->way) {
                guest_link_facts(s->link, id, &epoch, &channel);
                (void)json_object_object_add(m->way, "uuid",
                                             json_object_new_string(vm_spec(s->vm)->uuid));
                (void)json_object_object_add(m->way, "epoch", json_object_new_uint64(epoch));
                text = json_object_to_json_string_ext(m->way, JSON_C_TO_STRING_PLAIN);
        }
        stdio_hub_moved(s->stdio, text ? text : "");
        migrate_forget_way(m);
}
