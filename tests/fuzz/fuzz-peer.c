/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a peer that says what it likes, whenever it likes, to either side of a migration.
 *
 * First byte: which side hears them (bit 0), and how far the migration is by then. The rest are
 * steps: a length byte below 0xf0 and a message of so many bytes; or one of the world's own events,
 * so that words fall between any two of them. What this side does on its own (journal in the wrong
 * order, a fence without FENCING, words before their time) is checked by the fake: those findings
 * name a rule that no word of a peer may make it break. */
#include <stdlib.h>
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"
#include "tests/fakes/fake-migration.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_ours_to_keep(const char *broken) {
        /* A peer that lies about itself can have two run: the protocol trusts that much. What it
         * can not have is a journal out of order, or a fence or release that nobody may do. */
        static const char *const rules[] = { "fence without FENCING", "RELEASED while the guest",
                                             "KEPT for a guest", "the source runs after RELEASED",
                                             "the destination runs without OWNED" };

        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                if (strncmp(broken, rules[i], strlen(rules[i])) == 0)
                        return true;
        return false;
}

static void step(FakeWorld *w, FakeSide *s, uint8_t what) {
        switch (what & 7) {
        case 0:
                (void)fake_libvirt(w, 0);
                break;
        case 1:
                (void)fake_libvirt(w, 1);
                break;
        case 2:
                (void)fake_timer(s, MIGRATION_TIMER_REPEAT);
                break;
        case 3:
                for (unsigned i = 0; i < s->n_jobs; i++) /* libvirt's call ends in its own time */
                        if (fake_complete(s, i))
                                break;
                break;
        case 4: /* what the real peer said goes nowhere, or comes */
                fake_lose(s, 0);
                break;
        case 5:
                (void)fake_deliver(s, 0);
                break;
        case 6:
                (void)fake_timer(s, MIGRATION_TIMER_HANDOVER);
                break;
        default:
                (void)migration_cancel(s->m, "m1", NULL);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FakeWorld *w = calloc(1, sizeof(*w));
        MigrationOptions o;
        FakeSide *s;

        if (!w || size == 0) {
                free(w);
                return 0;
        }
        log_set_max_level(LOG_EMERG);
        migration_options_init(&o);
        o.handover = (MigrationHandover)((data[0] >> 4) % _MIGRATION_HANDOVER_MAX);
        fake_world_init(w);
        s = &w->side[data[0] & 1];
        if ((data[0] & 2 ? fake_until_transferring(w, &o) : true) && (data[0] & 4))
                while (w->lv != FAKE_FINISHED && fake_libvirt(w, 0))
                        ;
        for (size_t at = 1; at < size;) {
                size_t n = data[at++];

                if (n >= 0xf0) {
                        step(w, s, (uint8_t)n);
                        continue;
                }
                n = MIN_OF(n, size - at);
                migration_on_peer(s->m, data + at, n);
                at += n;
        }
        if (o.handover != MIGRATION_HANDOVER_FAST && is_ours_to_keep(w->broken))
                abort();
        fake_world_done(w);
        free(w);
        return 0;
}
