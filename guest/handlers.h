/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/rpc.h"

/* One per request of proto/guest/v1/agent.proto; their rows are in guest/rpc-table.c. */
int handle_info(Agent *a, Call *c, const ToGuest *m, Error *reterr);           /* node.c */
int handle_clock(Agent *a, Call *c, const ToGuest *m, Error *reterr);          /* node.c */
int handle_run(Agent *a, Call *c, const ToGuest *m, Error *reterr);            /* run.c */
int handle_mount(Agent *a, Call *c, const ToGuest *m, Error *reterr);          /* storage.c */
int handle_unmount(Agent *a, Call *c, const ToGuest *m, Error *reterr);        /* storage.c */
int handle_overlay(Agent *a, Call *c, const ToGuest *m, Error *reterr);        /* storage.c */
int handle_remove_overlay(Agent *a, Call *c, const ToGuest *m, Error *reterr); /* storage.c */
int handle_bind(Agent *a, Call *c, const ToGuest *m, Error *reterr);           /* bind.c */
int handle_unbind(Agent *a, Call *c, const ToGuest *m, Error *reterr);         /* bind.c */
int handle_create(Agent *a, Call *c, const ToGuest *m, Error *reterr);         /* lifecycle.c */
int handle_start(Agent *a, Call *c, const ToGuest *m, Error *reterr);          /* lifecycle.c */
int handle_delete(Agent *a, Call *c, const ToGuest *m, Error *reterr);         /* lifecycle.c */
int handle_update(Agent *a, Call *c, const ToGuest *m, Error *reterr);         /* lifecycle.c */
int handle_exec(Agent *a, Call *c, const ToGuest *m, Error *reterr);           /* exec.c */
int handle_kill(Agent *a, Call *c, const ToGuest *m, Error *reterr);           /* inspect.c */
int handle_wait(Agent *a, Call *c, const ToGuest *m, Error *reterr);           /* inspect.c */
int handle_resize(Agent *a, Call *c, const ToGuest *m, Error *reterr);         /* inspect.c */
int handle_state(Agent *a, Call *c, const ToGuest *m, Error *reterr);          /* inspect.c */
int handle_ps(Agent *a, Call *c, const ToGuest *m, Error *reterr);             /* inspect.c */
int handle_network(Agent *a, Call *c, const ToGuest *m, Error *reterr);        /* network.c */
int handle_power_off(Agent *a, Call *c, const ToGuest *m, Error *reterr);      /* power.c */
