/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Makes the n-th allocation from now (1: the next one) fail, and only that one; 0: none. The
 * program that links this has malloc and its kin replaced; under sanitizers, which have their own,
 * nothing ever fails and fail_malloc_works() says so. */
void fail_malloc_at(unsigned n);
bool fail_malloc_fired(void); /* since the last fail_malloc_at() */
bool fail_malloc_works(void);
size_t fail_malloc_live(void); /* pieces that are allocated now: for leaks on the way out */
