/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a migration session, and which call is legal in which, as data. Nothing else in the
 * tree decides that. A cell that is not listed refuses. */
#include "controllers/migration/internal.h"

#include <stdio.h>

#define TO(s) (1U << MIGRATION_##s)

/* clang-format off */
static const FsmRow rows[_MIGRATION_STATE_MAX] = {
        [MIGRATION_IDLE]                 = { "idle", TO(SOURCE_PREPARED) | TO(DESTINATION_IMPORTED) | TO(SWITCHOVER), FSM_FIRST },
        [MIGRATION_SOURCE_PREPARED]      = { "source-prepared", TO(SOURCE_EXPORTED) | TO(IDLE), 0 },
        [MIGRATION_SOURCE_EXPORTED]      = { "source-exported", TO(TRANSPORT_READY) | TO(TRANSPORT_WAITING) | TO(CANCELLED), 0 },
        [MIGRATION_DESTINATION_IMPORTED] = { "destination-imported", TO(DESTINATION_PREPARED) | TO(CANCELLED), 0 },
        [MIGRATION_DESTINATION_PREPARED] = { "destination-prepared", TO(TRANSPORT_READY) | TO(TRANSPORT_WAITING) | TO(CANCELLED), 0 },
        [MIGRATION_TRANSPORT_WAITING]    = { "transport-waiting", TO(TRANSFERRING) | TO(CANCELLED) | TO(FAILED), FSM_WAITING },
        [MIGRATION_TRANSPORT_READY]      = { "transport-ready", TO(TRANSPORT_WAITING) | TO(TRANSFERRING) | TO(CANCELLED), 0 },
        [MIGRATION_TRANSFERRING]         = { "transferring", TO(SWITCHOVER) | TO(CANCELLING) | TO(FAILED), FSM_WAITING },
        [MIGRATION_SWITCHOVER]           = { "switchover", TO(TRANSFERRED) | TO(CANCELLING) | TO(CANCELLED) | TO(FAILED) | TO(POSTCOPY_BROKEN), FSM_WAITING },
        [MIGRATION_POSTCOPY_BROKEN]      = { "postcopy-broken", TO(SWITCHOVER) | TO(TRANSFERRED) | TO(FAILED), FSM_WAITING },
        [MIGRATION_TRANSFERRED]          = { "transferred", TO(FINALIZED) | TO(CANCELLING) | TO(CANCELLED) | TO(FAILED), FSM_WAITING },
        [MIGRATION_CANCELLING]           = { "cancelling", TO(CANCELLED) | TO(FAILED) | TO(TRANSFERRED), FSM_WAITING },
        [MIGRATION_CANCELLED]            = { "cancelled", TO(FINALIZED) | TO(IDLE), 0 },
        [MIGRATION_FAILED]               = { "failed", TO(FINALIZED) | TO(IDLE), 0 },
        [MIGRATION_FINALIZED]            = { "finalized", TO(IDLE), 0 },
};
/* clang-format on */
const FsmTable migration_fsm = { "migration", rows, _MIGRATION_STATE_MAX };

#define S(v)                                                                                       \
        { CALL_##v, CALL_REFUSE }
#define D(v)                                                                                       \
        { CALL_REFUSE, CALL_##v }
#define BOTH(v)                                                                                    \
        { CALL_##v, CALL_##v }
#define ROW(s) [MIGRATION_##s]
#define ON(c)  [MIGRATION_CALL_##c]

/* clang-format off */
const MigrationCell migration_calls[_MIGRATION_STATE_MAX][_MIGRATION_CALL_MAX] = {
        ROW(IDLE) = {
                ON(CHECK) = BOTH(DO), ON(EXPORT) = S(DO), ON(IMPORT) = D(DO),
                ON(CANCEL) = BOTH(NOOP), ON(CLEANUP) = BOTH(NOOP),
        },
        ROW(SOURCE_PREPARED) = { ON(CHECK) = S(DO) },
        ROW(SOURCE_EXPORTED) = {
                ON(CHECK) = S(DO), ON(EXPORT) = S(NOOP), ON(REGISTER_SOCKET) = S(DO),
                ON(TRANSFER) = S(DO), ON(CANCEL) = S(DO),
        },
        ROW(DESTINATION_IMPORTED) = {
                ON(CHECK) = D(DO), ON(IMPORT) = D(NOOP), ON(PATCH) = D(DO), ON(PREPARE) = D(DO),
                ON(CANCEL) = D(DO),
        },
        ROW(DESTINATION_PREPARED) = {
                ON(CHECK) = D(DO), ON(IMPORT) = D(NOOP), ON(PREPARE) = D(NOOP),
                ON(REGISTER_SOCKET) = D(DO), ON(TRANSFER) = D(DO), ON(CANCEL) = D(DO),
        },
        ROW(TRANSPORT_WAITING) = {
                ON(EXPORT) = S(NOOP), ON(IMPORT) = D(NOOP), ON(PREPARE) = D(NOOP),
                ON(REGISTER_SOCKET) = BOTH(DO), ON(TRANSFER) = BOTH(NOOP), ON(CANCEL) = BOTH(DO),
        },
        ROW(TRANSPORT_READY) = {
                ON(EXPORT) = S(NOOP), ON(IMPORT) = D(NOOP), ON(PREPARE) = D(NOOP),
                ON(REGISTER_SOCKET) = BOTH(DO), ON(TRANSFER) = BOTH(DO), ON(CANCEL) = BOTH(DO),
        },
        ROW(TRANSFERRING) = {
                ON(EXPORT) = S(NOOP), ON(IMPORT) = D(NOOP), ON(PREPARE) = D(NOOP),
                ON(REGISTER_SOCKET) = BOTH(DO), ON(TRANSFER) = BOTH(NOOP), ON(CANCEL) = BOTH(DO),
                ON(FORCE_COMPLETE) = S(DO), ON(PAUSE) = S(DO), ON(SET_BANDWIDTH) = S(DO),
                ON(SET_MAX_DOWNTIME) = S(DO), ON(SWITCH_TO_POSTCOPY) = S(DO), ON(SET_TIMEOUT) = S(DO),
                ON(CUTOVER) = S(DO),
        },
        ROW(SWITCHOVER) = {
                ON(EXPORT) = S(NOOP), ON(IMPORT) = D(NOOP), ON(PREPARE) = D(NOOP),
                ON(REGISTER_SOCKET) = BOTH(DO), ON(TRANSFER) = BOTH(NOOP), ON(CANCEL) = BOTH(DO),
        },
        ROW(POSTCOPY_BROKEN) = { ON(REGISTER_SOCKET) = S(DO), ON(TRANSFER) = S(NOOP) },
        ROW(TRANSFERRED) = {
                ON(REGISTER_SOCKET) = BOTH(DO), ON(TRANSFER) = BOTH(NOOP), ON(CANCEL) = BOTH(DO),
                ON(FINALIZE_STOP) = BOTH(DO), ON(FINALIZE_RESUME) = BOTH(DO),
        },
        ROW(CANCELLING) = { ON(REGISTER_SOCKET) = BOTH(DO), ON(CANCEL) = BOTH(NOOP) },
        ROW(CANCELLED) = {
                ON(REGISTER_SOCKET) = BOTH(DO), ON(CANCEL) = BOTH(NOOP),
                ON(FINALIZE_STOP) = BOTH(DO), ON(FINALIZE_RESUME) = BOTH(DO), ON(CLEANUP) = BOTH(DO),
        },
        ROW(FAILED) = {
                ON(REGISTER_SOCKET) = BOTH(DO), ON(CANCEL) = BOTH(NOOP),
                ON(FINALIZE_STOP) = BOTH(DO), ON(FINALIZE_RESUME) = BOTH(DO), ON(CLEANUP) = BOTH(DO),
        },
        ROW(FINALIZED) = {
                ON(CANCEL) = BOTH(NOOP), ON(FINALIZE_STOP) = BOTH(DO), ON(FINALIZE_RESUME) = BOTH(DO),
                ON(CLEANUP) = BOTH(DO),
        },
};

static const char *const call_names[_MIGRATION_CALL_MAX] = {
        ON(CHECK) = "Check",                     ON(EXPORT) = "PrepareAndExport",
        ON(IMPORT) = "Import",                   ON(PATCH) = "Patch",
        ON(PREPARE) = "Prepare",                 ON(REGISTER_SOCKET) = "RegisterSocket",
        ON(TRANSFER) = "Transfer",               ON(FINALIZE_STOP) = "Finalize(stop)",
        ON(FINALIZE_RESUME) = "Finalize(resume)", ON(CLEANUP) = "Cleanup",
        ON(CANCEL) = "Cancel",                   ON(FORCE_COMPLETE) = "ForceComplete",
        ON(PAUSE) = "Pause",                     ON(SET_BANDWIDTH) = "SetBandwidth",
        ON(SET_MAX_DOWNTIME) = "SetMaxDowntime", ON(SWITCH_TO_POSTCOPY) = "SwitchToPostCopy",
        ON(SET_TIMEOUT) = "SetTimeout",          ON(CUTOVER) = "Cutover",
};
/* clang-format on */

const char *migration_call_name(MigrationCall c) {
        return (unsigned)c < _MIGRATION_CALL_MAX ? call_names[c] : NULL;
}

static uint8_t verdict(MigrationState s, MigrationCall c, MigrationRole role) {
        const MigrationCell *cell = &migration_calls[s][c];

        return role == MIGRATION_SOURCE ? cell->source : cell->destination;
}

/* "idle, failed": the states in which this side may make the call. */
static void list_states(MigrationCall c, MigrationRole role, char *p, size_t n) {
        size_t used = 0;

        p[0] = '\0';
        for (int s = 0; s < _MIGRATION_STATE_MAX && used < n; s++)
                if (verdict(s, c, role) == CALL_DO)
                        used += (size_t)snprintf(p + used, n - used, "%s%s", used ? ", " : "",
                                                 rows[s].name);
}

int migration_ask(const Migration *m, MigrationCall c, Error *reterr) {
        MigrationState s = migration_state(m);
        MigrationRole role = m->role;
        char needs[256];

        if (s == MIGRATION_IDLE)
                role = migration_calls[s][c].source == CALL_REFUSE ? MIGRATION_DESTINATION
                                                                   : MIGRATION_SOURCE;
        if (verdict(s, c, role) == CALL_DO)
                return 1;
        if (verdict(s, c, role) == CALL_NOOP)
                return 0;
        list_states(c, role, needs, sizeof(needs));
        if (!needs[0])
                return error_setf(reterr, -EBADFD, "%s is not a call of the %s (migration is %s)",
                                  call_names[c], migration_role_name(role), fsm_name(&m->fsm));
        return error_setf(reterr, -EBADFD, "%s: migration is %s, needs %s", call_names[c],
                          fsm_name(&m->fsm), needs);
}
