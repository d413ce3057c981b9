/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "lib/buf.h"
#include "lib/envelope.h"
#include "lib/error.h"
#include "lib/fsm.h"
#include "lib/task.h"

/* What every node of the pod's tree has in common. A typed controller embeds this as its first
 * member.
 *
 * The verbs of migration: freeze/thaw (the whole tree, all or nothing; no call that changes state
 * succeeds in between), Save (changes nothing; legal only frozen), Import (a function of each type:
 * makes an inert object from an envelope), Patch (each type has its own arguments), Resume and
 * AbortMigrated. Parents call their children's; the functions below walk a whole tree. Loop thread
 * only, no locks. */
typedef struct Controller Controller;

typedef struct ControllerVtable {
        const char
                *kind; /* "vm", "pod", "container", "process", "network", "scsi", "plan9", "vpci" */
        /* 0 if this node could be frozen now; -EBADFD or -EBUSY with what stands in the way.
         * Changes nothing. */
        int (*can_freeze)(const Controller *c, Error *reterr);
        void (*freeze)(Controller *c); /* after can_freeze said yes to every node */
        void (*thaw)(Controller *c);   /* no-op when not frozen */
        /* Fields of this node alone, without children; borrowed object to fill. */
        int (*dump)(const Controller *c, json_object *o);
} ControllerVtable;

struct Controller {
        const ControllerVtable *vtable;
        const char *id;     /* borrowed from the typed object */
        Fsm *fsm;           /* borrowed from the typed object */
        Controller *parent; /* borrowed; NULL for a root */
        Controller *first_child, *next_sibling;
};

/* Links c below parent (NULL: a root), in order of arrival. */
void controller_init(Controller *c, const ControllerVtable *v, Controller *parent, const char *id,
                     Fsm *fsm);
void controller_done(Controller *c); /* unlinks; children must be gone */

/* Depth first, parents before children; stops at the first result that is not 0 and returns it. */
typedef int (*ControllerVisitor)(Controller *c, void *userdata);
int controller_walk(Controller *root, ControllerVisitor visit, void *userdata);

int controller_freeze(Controller *root, Error *reterr); /* all or nothing */
void controller_thaw(Controller *root);
bool controller_is_frozen(const Controller *c);
/* The tree as JSON: {"kind","id","state",...,"children":[...]}; the caller owns *ret. */
int controller_dump(const Controller *root, json_object **ret, Error *reterr);
