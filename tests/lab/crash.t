#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A shim is killed at the moments of a hand-over that differ most; at all of them: long-crash.t.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
. "$(dirname "$0")/crash-lib.sh"

run h1 t-x /bin/probe count 10 >/dev/null
ok "a pod"
crash prepared h1
crash stopped h1
crash released h2
crash ready h2
crash owned h1 both
crash stopped h1 --handover fast
crash ready h2 --handover fast
pf h1 rm --force t-x
finish
