/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "tests/fakes/fake-migration.h"

void fake_broken(FakeWorld *w, const char *what); /* the first one counts */
void fake_trace(FakeSide *s, const char *what, const char *detail);
/* The source's guest runs (again), which it must not everywhere. */
void fake_source_runs(FakeWorld *w);
void fake_tell(FakeSide *s, MigrationDomainEvent e); /* of libvirt, if its events arrive */
