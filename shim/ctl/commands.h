/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/options.h"

/* Every command, one file each (cmd-<name>.c); the table is in main.c. */
extern const Command command_run, command_ps, command_exec, command_attach, command_logs,
        command_kill, command_stop, command_rm, command_migrate, command_inspect, command_decode,
        command_receive, command_version, command_completion, command_adopt, command_volume,
        command_net, command_relay, command_check, command_migration, command_plan_check,
        command_plan_run, command_plan_status, command_plan_cancel, command_plan_resume,
        command_plan_rollback, command_plan_archive, command_drain, command_start, command_doctor,
        command_hooks;
