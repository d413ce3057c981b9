/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/handlers.h"

/* clang-format off */
const RpcRow rpc_rows[] = {
        { TO_GUEST(INFO),           handle_info },
        { TO_GUEST(MOUNT),          handle_mount },
        { TO_GUEST(UNMOUNT),        handle_unmount },
        { TO_GUEST(OVERLAY),        handle_overlay },
        { TO_GUEST(REMOVE_OVERLAY), handle_remove_overlay },
        { TO_GUEST(BIND),           handle_bind },
        { TO_GUEST(UNBIND),         handle_unbind },
        { TO_GUEST(CREATE),         handle_create },
        { TO_GUEST(START),          handle_start },
        { TO_GUEST(EXEC),           handle_exec },
        { TO_GUEST(KILL),           handle_kill },
        { TO_GUEST(DELETE),         handle_delete },
        { TO_GUEST(WAIT),           handle_wait },
        { TO_GUEST(RESIZE),         handle_resize },
        { TO_GUEST(STATE),          handle_state },
        { TO_GUEST(UPDATE),         handle_update },
        { TO_GUEST(PS),             handle_ps },
        { TO_GUEST(CLOCK),          handle_clock },
        { TO_GUEST(POWER_OFF),      handle_power_off },
        { TO_GUEST(RUN),            handle_run },
        { TO_GUEST(NETWORK),        handle_network },
};
/* clang-format on */
const size_t rpc_n_rows = ELEMENTSOF(rpc_rows);
