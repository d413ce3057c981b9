/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "hostdev/net/net.h"

/* Traffic control, as much as a redirection needs. What a kernel has differs: each of these tries
 * what there is, in turn. Negative errnos, no texts. All are idempotent. */
int tc_add_ingress(NetNs *ns, int index);
int tc_remove_ingress(NetNs *ns, int index, bool *ret_was_there); /* with all filters */
int tc_add_redirect(NetNs *ns, int from, int to, uint16_t preference);
int tc_add_drop(NetNs *ns, int index, uint16_t preference);
int tc_remove_filter(NetNs *ns, int index, uint16_t preference);
