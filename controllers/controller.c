/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/controller.h"

#include <assert.h>

void controller_init(Controller *c, const ControllerVtable *v, Controller *parent, const char *id,
                     Fsm *fsm) {
        *c = (Controller){ .vtable = v, .id = id, .fsm = fsm, .parent = parent };
        if (parent) {
                Controller **at = &parent->first_child;

                while (*at)
                        at = &(*at)->next_sibling;
                *at = c;
        }
}

void controller_done(Controller *c) {
        assert(!c->first_child);
        if (c->parent) {
                Controller **at = &c->parent->first_child;

                while (*at != c)
                        at = &(*at)->next_sibling;
                *at = c->next_sibling;
        }
        c->parent = NULL;
}

int controller_walk(Controller *root, ControllerVisitor visit, void *userdata) {
        int r;

        r = visit(root, userdata);
        for (Controller *c = root->first_child, *next; r == 0 && c; c = next) {
                next = c->next_sibling;
                r = controller_walk(c, visit, userdata);
        }
        return r;
}

bool controller_is_frozen(const Controller *c) {
        return fsm_flags(c->fsm) & FSM_FROZEN;
}

static int visit_can_freeze(Controller *c, void *userdata) {
        return c->vtable->can_freeze ? c->vtable->can_freeze(c, userdata) : 0;
}

static int visit_freeze(Controller *c, void *userdata) {
        if (c->vtable->freeze)
                c->vtable->freeze(c);
        return 0;
}

static int visit_thaw(Controller *c, void *userdata) {
        if (c->vtable->thaw)
                c->vtable->thaw(c);
        return 0;
}

int controller_freeze(Controller *root, Error *reterr) {
        int r;

        r = controller_walk(root, visit_can_freeze, reterr);
        if (r < 0)
                return r;
        return controller_walk(root, visit_freeze, NULL);
}

void controller_thaw(Controller *root) {
        (void)controller_walk(root, visit_thaw, NULL);
}

int controller_dump(const Controller *root, json_object **ret, Error *reterr) {
        json_object *o, *children = NULL;
        int r = 0;

        o = json_object_new_object();
        if (!o)
                return error_oom(reterr);
        json_object_object_add(o, "kind", json_object_new_string(root->vtable->kind));
        json_object_object_add(o, "id", json_object_new_string(root->id ?: ""));
        json_object_object_add(o, "state", json_object_new_string(fsm_name(root->fsm)));
        if (root->vtable->dump)
                r = root->vtable->dump(root, o);
        for (const Controller *c = root->first_child; r == 0 && c; c = c->next_sibling) {
                json_object *child;

                r = controller_dump(c, &child, reterr);
                if (r < 0)
                        break;
                if (!children) {
                        children = json_object_new_array();
                        json_object_object_add(o, "children", children);
                }
                r = json_object_array_add(children, child) < 0 ? -ENOMEM : 0;
        }
        if (r < 0) {
                json_object_put(o);
                return r == -ENOMEM ? error_oom(reterr) : r;
        }
        *ret = o;
        return 0;
}
