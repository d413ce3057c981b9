/* SPDX-License-Identifier: Apache-2.0 */
/* Checks the journals of real runs against the protocol of docs/model/handover.pml.
 *
 *      journal-check [-v] FILE...
 *
 * Each file is the journal of one host. Alone, its records must come in the model's order.
 * Together, for each session that has records in two of them: the source released before the
 * destination owned, nobody owned what was kept, READY came before FENCING, and one host at most
 * may run the pod at each epoch. Hosts on one machine share a clock, which orders records of
 * different files; -s says that they do not. Exit status 1 and a line per fault. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/journal.h"

#define RECORDS_MAX 65536U

typedef struct Entry {
        JournalRecord r;
        const char *file;
        size_t line;
} Entry;

typedef struct Check {
        Entry *entries;
        size_t n;
        const char *file;
        size_t line;
        JournalRecord last;
        unsigned faults;
        bool verbose, no_clock;
} Check;

static void fault(Check *c, const Entry *e, const char *what) {
        c->faults++;
        printf("%s: record %zu (%s, session %s, epoch %llu): %s\n", e->file, e->line,
               journal_kind_name(e->r.kind), e->r.session, (unsigned long long)e->r.epoch, what);
}

static int visit(void *userdata, const JournalRecord *r, Error *reterr) {
        Check *c = userdata;
        Error e = ERROR_INIT;
        Entry *entry;

        if (c->n == RECORDS_MAX)
                return error_setf(reterr, -ENOSPC, "more than %u records", RECORDS_MAX);
        entry = &c->entries[c->n++];
        *entry = (Entry){ *r, c->file, ++c->line };
        entry->r.payload = NULL;
        if (c->verbose)
                printf("%s %zu: %s session %s epoch %llu at %llu ns, %zu bytes\n", c->file, c->line,
                       journal_kind_name(r->kind), r->session, (unsigned long long)r->epoch,
                       (unsigned long long)r->at_ns, r->payload_len);
        if (journal_check_order(&c->last, r, &e) < 0)
                fault(c, entry, e.text);
        c->last = *r;
        return 0;
}

/* The record of this kind in the same session, on this side of the move or the other. */
static const Entry *find(const Check *c, const char *session, JournalKind kind) {
        for (size_t i = 0; i < c->n; i++)
                if (c->entries[i].r.kind == kind && strcmp(c->entries[i].r.session, session) == 0)
                        return &c->entries[i];
        return NULL;
}

/* b may not stand without a, nor before it. */
static void needs(Check *c, const Entry *b, JournalKind kind, uint64_t epoch) {
        const Entry *a = find(c, b->r.session, kind);
        char text[128];

        (void)snprintf(text, sizeof(text), "needs %s of epoch %llu at the other side, before it",
                       journal_kind_name(kind), (unsigned long long)epoch);
        if (!a || a->r.epoch != epoch || (!c->no_clock && a->r.at_ns > b->r.at_ns))
                fault(c, b, text);
}

static void excludes(Check *c, const Entry *b, JournalKind kind) {
        char text[128];

        (void)snprintf(text, sizeof(text), "and %s in the same session", journal_kind_name(kind));
        if (find(c, b->r.session, kind))
                fault(c, b, text);
}

static void check_together(Check *c) {
        for (size_t i = 0; i < c->n; i++) {
                const Entry *e = &c->entries[i];

                if (e->r.mode == 2) { /* handover=fast: libvirt lets it run, RUNNING decides */
                        if (e->r.kind == JOURNAL_FENCING || e->r.kind == JOURNAL_DONE)
                                needs(c, e, JOURNAL_RUNNING, e->r.epoch + 1);
                        if (e->r.kind == JOURNAL_KEPT) {
                                excludes(c, e, JOURNAL_RUNNING);
                                excludes(c, e, JOURNAL_RELEASED);
                        }
                        continue;
                }
                if (e->r.kind == JOURNAL_FENCING)
                        needs(c, e, JOURNAL_READY, e->r.epoch + 1);
                if (e->r.kind == JOURNAL_OWNED)
                        needs(c, e, JOURNAL_RELEASED, e->r.epoch - 1);
                if (e->r.kind == JOURNAL_DONE)
                        needs(c, e, JOURNAL_RUNNING, e->r.epoch + 1);
                if (e->r.kind == JOURNAL_KEPT) {
                        excludes(c, e, JOURNAL_OWNED);
                        excludes(c, e, JOURNAL_RELEASED);
                }
                for (size_t k = 0; k < i; k++)
                        if (c->entries[k].r.kind == JOURNAL_OWNED && e->r.kind == JOURNAL_OWNED &&
                            c->entries[k].r.epoch == e->r.epoch &&
                            strcmp(c->entries[k].r.pod, e->r.pod) == 0)
                                fault(c, e, "an epoch that another record owns too");
        }
}

static int check_files(Check *c, char **files, int n) {
        for (int i = 0; i < n; i++) {
                Error e = ERROR_INIT;
                bool torn = false;
                int r;

                c->file = files[i];
                c->line = 0;
                c->last = (JournalRecord){ .kind = JOURNAL_NONE };
                r = journal_read(files[i], visit, c, &torn, &e);
                if (r < 0) {
                        printf("%s\n", error_text(&e, r));
                        c->faults++;
                }
                if (torn)
                        printf("%s: the last record is torn (a crash)\n", files[i]);
        }
        if (n > 1)
                check_together(c);
        return c->faults ? 1 : 0;
}

int main(int argc, char **argv) {
        Check c = {};
        int r, opt;

        while ((opt = getopt(argc, argv, "vs")) != -1) {
                if (opt == 'v')
                        c.verbose = true;
                else if (opt == 's')
                        c.no_clock = true;
                else
                        return 2;
        }
        if (optind == argc) {
                (void)fprintf(stderr, "usage: journal-check [-v] [-s] FILE...\n");
                return 2;
        }
        c.entries = calloc(RECORDS_MAX, sizeof(*c.entries));
        if (!c.entries)
                return 2;
        r = check_files(&c, argv + optind, argc - optind);
        printf("%zu records in %d journals, %u faults\n", c.n, argc - optind, c.faults);
        free(c.entries);
        return r;
}
