/* SPDX-License-Identifier: Apache-2.0 */
/* What goes on in the world of the two hosts: libvirt, the link between them, time, crashes. */
#include "tests/fakes/fake-migration-internal.h"

#include <stdlib.h>
#include <string.h>

#include "controllers/migration/internal.h"
#include "lib/cleanup.h"

static void side_new(FakeSide *s) {
        const JournalRecord *last = s->n_journal ? &s->journal[s->n_journal - 1] : NULL;

        s->m = NULL;
        if (migration_new("p1", last, &fake_migration_ops, s, &s->m, NULL) < 0)
                fake_broken(s->w, "migration_new failed");
}

void fake_world_init(FakeWorld *w) {
        *w = (FakeWorld){ .s = MIGRATION_AT_RUNNING, .d = MIGRATION_AT_NONE, .now_ns = 1000 };
        for (int r = 0; r < 2; r++) {
                w->side[r].w = w;
                w->side[r].role = (MigrationRole)r;
                side_new(&w->side[r]);
        }
}

/* As a process dies: its operations in flight go with it. */
static void side_drop(FakeSide *s) {
        s->n_jobs = 0;
        memset(s->timer, 0, sizeof(s->timer));
}

void fake_world_done(FakeWorld *w) {
        for (int r = 0; r < 2; r++) {
                FakeSide *s = &w->side[r];

                for (unsigned i = 0; i < s->n_in; i++)
                        free(s->in[i].data);
                side_drop(s);
                migration_abandon(s->m);
                free(s->handoff);
        }
}

bool fake_until_transport(FakeWorld *w, const MigrationOptions *o) {
        Migration *s = w->side[MIGRATION_SOURCE].m, *d = w->side[MIGRATION_DESTINATION].m;
        _cleanup_buf_ Buf b = {};
        Error e = ERROR_INIT;

        if (migration_export(s, "m1", &b, &e) < 0 ||
            migration_import(d, "m1", "", b.data, b.len, &e) < 0 ||
            migration_prepare(d, "m1", NULL, NULL, &e) < 0 ||
            migration_register_socket(s, "m1", &e) < 0 ||
            migration_register_socket(d, "m1", &e) < 0) {
                fake_broken(w, e.text);
                return false;
        }
        return true;
}

void fake_link(FakeWorld *w, bool up) {
        for (int r = 0; r < 2; r++)
                migration_on_transport(w->side[r].m, up, NULL);
}

bool fake_until_transferring(FakeWorld *w, const MigrationOptions *o) {
        Error e = ERROR_INIT;

        if (!fake_until_transport(w, o))
                return false;
        if (migration_transfer(w->side[MIGRATION_DESTINATION].m, "m1", o, &e) < 0 ||
            migration_transfer(w->side[MIGRATION_SOURCE].m, "m1", o, &e) < 0) {
                fake_broken(w, e.text);
                return false;
        }
        migration_on_transport(w->side[MIGRATION_DESTINATION].m, true, NULL);
        migration_on_transport(w->side[MIGRATION_SOURCE].m, true, NULL);
        return true;
}

static bool libvirt_fails(FakeWorld *w, bool resumes) {
        FakeSide *s = &w->side[MIGRATION_SOURCE], *d = &w->side[MIGRATION_DESTINATION];

        w->lv = FAKE_FAILED;
        if (w->s == MIGRATION_AT_PAUSED && resumes) {
                fake_source_runs(w);
                fake_tell(s, MIGRATION_DOMAIN_RUNNING);
        }
        if (w->d == MIGRATION_AT_INCOMING) {
                w->d = MIGRATION_AT_NONE;
                fake_tell(d, MIGRATION_DOMAIN_GONE);
        }
        return true;
}

bool fake_libvirt(FakeWorld *w, int what) {
        FakeSide *s = &w->side[MIGRATION_SOURCE], *d = &w->side[MIGRATION_DESTINATION];

        if (w->lv != FAKE_COPY && w->lv != FAKE_SWITCH && w->lv != FAKE_FINISHED)
                return false;
        if (what)
                return libvirt_fails(w, what == 1);
        switch ((int)w->lv) {
        case FAKE_COPY:
                if (w->abort_wanted || w->s != MIGRATION_AT_RUNNING)
                        return libvirt_fails(w, true);
                w->s = MIGRATION_AT_PAUSED;
                w->stood = true;
                w->lv = FAKE_SWITCH;
                fake_tell(s, MIGRATION_DOMAIN_BLACKOUT);
                break;
        case FAKE_SWITCH:
                if (w->d != MIGRATION_AT_INCOMING)
                        return libvirt_fails(w, true);
                w->d = MIGRATION_AT_PAUSED;
                w->lv = FAKE_FINISHED;
                fake_tell(d, MIGRATION_DOMAIN_COMPLETE);
                break;
        case FAKE_FINISHED:
                if (w->abort_wanted && w->heeds_abort)
                        return libvirt_fails(w, true);
                w->lv = FAKE_OK;
                if (w->s == MIGRATION_AT_PAUSED) {
                        w->s = MIGRATION_AT_NONE;
                        fake_tell(s, MIGRATION_DOMAIN_GONE);
                }
                break;
        default:
                break;
        }
        return true;
}

void fake_copy_dies(FakeWorld *w) {
        w->reason = true;
        w->d = MIGRATION_AT_NONE;
        fake_tell(&w->side[MIGRATION_DESTINATION], MIGRATION_DOMAIN_GONE);
}

void fake_lose(FakeSide *s, unsigned i) {
        if (i >= s->n_in)
                return;
        free(s->in[i].data);
        s->n_in--;
        memmove(&s->in[i], &s->in[i + 1], (s->n_in - i) * sizeof(s->in[0]));
}

void fake_repeat(FakeSide *s, unsigned i) {
        if (i < s->n_in)
                (void)fake_migration_ops.send(&s->w->side[!s->role], s->in[i].data, s->in[i].len);
}

bool fake_deliver(FakeSide *s, unsigned i) {
        FakeWord word;

        if (i >= s->n_in)
                return false;
        word = s->in[i];
        s->n_in--;
        memmove(&s->in[i], &s->in[i + 1], (s->n_in - i) * sizeof(s->in[0]));
        fake_trace(s, "hears", "");
        migration_on_peer(s->m, word.data, word.len);
        free(word.data);
        return true;
}

bool fake_timer(FakeSide *s, MigrationTimer t) {
        if (!s->timer[t])
                return false;
        s->timer[t] = 0;
        fake_trace(s, "timer", "");
        migration_on_timer(s->m, t);
        return true;
}

void fake_keep(FakeSide *s) {
        s->unkept = false;
        migration_look_again(s->m);
}

void fake_crash(FakeSide *s) {
        JournalRecord last = { .kind = JOURNAL_NONE };
        char session[sizeof(last.session)];
        bool receiving =
                s->role == MIGRATION_DESTINATION && migration_is_active(s->m) && s->n_journal == 0;

        fake_trace(s, "CRASH", "");
        memcpy(session, "m1", 3);
        side_drop(s);
        migration_abandon(s->m);
        s->link_frozen = s->frozen = s->unkept = false;
        side_new(s);
        if (s->n_journal) {
                last = s->journal[s->n_journal - 1];
        } else if (receiving) {
                last.epoch = 2;
                memcpy(last.session, "m1", 3);
                memcpy(last.pod, "p1", 3);
        } else {
                return;
        }
        s->tree = s->role == MIGRATION_DESTINATION;
        /* Refused if its session is over; what the other side asks is answered all the same. */
        (void)migration_adopt(s->m, &last, false, s->handoff, s->handoff_len, NULL);
        if (migration_reconnect(s->m, session, NULL) < 0)
                fake_broken(s->w, "no transport after a crash");
        migration_on_transport(s->m, true, NULL);
}

static bool settled(const FakeSide *s) {
        MigrationState st = migration_state(s->m);

        return (st == MIGRATION_TRANSFERRED || st == MIGRATION_CANCELLED ||
                st == MIGRATION_FAILED || st == MIGRATION_IDLE || st == MIGRATION_FINALIZED) &&
               s->n_jobs == 0;
}

bool fake_settled(const FakeWorld *w) {
        return settled(&w->side[0]) && settled(&w->side[1]) && w->lv != FAKE_COPY &&
               w->lv != FAKE_SWITCH && w->lv != FAKE_FINISHED;
}

void fake_check(FakeWorld *w) {
        if (w->s == MIGRATION_AT_RUNNING && w->d == MIGRATION_AT_RUNNING)
                fake_broken(w, "two running");
}

/* Time goes on to the timer that is due first. */
static bool first_timer(FakeWorld *w) {
        uint64_t *a = &w->side[0].timer[MIGRATION_TIMER_REPEAT];
        uint64_t *b = &w->side[1].timer[MIGRATION_TIMER_REPEAT];
        FakeSide *s = *a && (!*b || *a <= *b) ? &w->side[0] : &w->side[1];
        uint64_t *other = s == &w->side[0] ? b : a;
        uint64_t ms = s->timer[MIGRATION_TIMER_REPEAT];

        if (*other)
                *other = *other > ms ? *other - ms : 1;
        return fake_timer(s, MIGRATION_TIMER_REPEAT);
}

static bool step(FakeWorld *w) {
        for (int r = 0; r < 2; r++)
                for (unsigned i = 0; i < w->side[r].n_jobs; i++)
                        if (fake_complete(&w->side[r], i))
                                return true;
        for (int r = 0; r < 2; r++)
                if (fake_deliver(&w->side[r], 0))
                        return true;
        if (fake_libvirt(w, 0))
                return true;
        return first_timer(w);
}

bool fake_run(FakeWorld *w, unsigned steps) {
        while (steps-- > 0 && !w->broken[0]) {
                bool quiet = w->side[0].n_in == 0 && w->side[1].n_in == 0;

                if (fake_settled(w) && quiet)
                        return true;
                if (!step(w))
                        break;
                fake_check(w);
        }
        return fake_settled(w) && !w->broken[0];
}
