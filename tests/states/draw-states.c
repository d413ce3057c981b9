/* SPDX-License-Identifier: Apache-2.0 */
/* Renders every state machine of the controllers, and of plans, as a page for docs/states, or
 * checks the pages that are there.
 *
 *      draw-states DIR            writes DIR/<kind>.md and DIR/README.md
 *      draw-states --check DIR    1 if a page differs from its table */
#include <stdio.h>
#include <string.h>

#include "controllers/migration/change.h"
#include "controllers/migration/migration.h"
#include "controllers/pod/pod.h"
#include "controllers/vm/vm.h"
#include "lib/buf.h"
#include "shim/plan/plan-engine.h"

static const FsmTable *const tables[] = {
        &vm_fsm,         &pod_fsm,       &container_fsm,
        &process_fsm,    &network_fsm,   &network_interface_fsm,
        &scsi_fsm,       &scsi_disk_fsm, &scsi_mount_fsm,
        &plan9_fsm,      &vpci_fsm,      &migration_fsm,
        &plan_entry_fsm, &change_fsm,
};

static int add_name(Buf *b, const char *name) {
        char id[64];

        (void)snprintf(id, sizeof(id), "%s", name);
        for (char *p = id; *p; p++)
                if (*p == '-')
                        *p = '_';
        return buf_printf(b, "%s", id);
}

static int draw_move(Buf *b, const char *from, const char *to) {
        int r;

        r = buf_printf(b, "    ");
        if (r == 0)
                r = from ? add_name(b, from) : buf_printf(b, "[*]");
        if (r == 0)
                r = buf_printf(b, " --> ");
        if (r == 0)
                r = to ? add_name(b, to) : buf_printf(b, "[*]");
        return r < 0 ? r : buf_printf(b, "\n");
}

static int draw_picture(Buf *b, const FsmTable *t) {
        int r;

        r = buf_printf(b, "```mermaid\nstateDiagram-v2\n");
        for (int i = 0; r == 0 && i < t->n_rows; i++) {
                r = buf_printf(b, "    state \"%s\" as ", t->rows[i].name);
                if (r == 0)
                        r = add_name(b, t->rows[i].name);
                if (r == 0)
                        r = buf_printf(b, "\n");
        }
        for (int i = 0; r == 0 && i < t->n_rows; i++) {
                const FsmRow *row = &t->rows[i];

                if (row->flags & FSM_FIRST)
                        r = draw_move(b, NULL, row->name);
                for (int j = 0; r == 0 && j < t->n_rows; j++)
                        if (row->next & (1U << j))
                                r = draw_move(b, row->name, t->rows[j].name);
                if (r == 0 && (row->flags & FSM_FINAL))
                        r = draw_move(b, row->name, NULL);
        }
        return r < 0 ? r : buf_printf(b, "```\n");
}

static int draw_table(Buf *b, const FsmTable *t) {
        static const struct {
                unsigned flag;
                const char *text;
        } flags[] = { { FSM_FIRST, "first" },
                      { FSM_FINAL, "final" },
                      { FSM_WAITING, "a job is in flight" },
                      { FSM_FROZEN, "held still by a migration" } };
        int r;

        r = buf_printf(b, "| state | what it is | may become |\n| --- | --- | --- |\n");
        for (int i = 0; r == 0 && i < t->n_rows; i++) {
                const FsmRow *row = &t->rows[i];
                const char *comma = "";

                r = buf_printf(b, "| %s | ", row->name);
                for (size_t f = 0; r == 0 && f < ELEMENTSOF(flags); f++)
                        if (row->flags & flags[f].flag) {
                                r = buf_printf(b, "%s%s", comma, flags[f].text);
                                comma = ", ";
                        }
                if (r == 0)
                        r = buf_printf(b, " | ");
                comma = "";
                for (int j = 0; r == 0 && j < t->n_rows; j++)
                        if (row->next & (1U << j)) {
                                r = buf_printf(b, "%s%s", comma, t->rows[j].name);
                                comma = ", ";
                        }
                if (r == 0)
                        r = buf_printf(b, " |\n");
        }
        return r;
}

static int draw_page(Buf *b, const FsmTable *t) {
        int r;

        r = buf_printf(b,
                       "# States: %s\n\nGenerated from the table in the code by "
                       "`hack/draw-states`; do not edit.\n\n",
                       t->kind);
        if (r == 0)
                r = draw_picture(b, t);
        if (r == 0)
                r = buf_printf(b, "\n");
        return r < 0 ? r : draw_table(b, t);
}

static int draw_index(Buf *b) {
        int r;

        r = buf_printf(b, "# States\n\nThe state machines of the controllers, generated from their "
                          "tables by `hack/draw-states`; do not edit.\n\n");
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(tables); i++)
                r = buf_printf(b, "* [%s](%s.md)\n", tables[i]->kind, tables[i]->kind);
        return r;
}

static int write_page(const char *path, const Buf *b) {
        FILE *f;

        f = fopen(path, "we");
        if (!f) {
                perror(path);
                return 1;
        }
        if (fwrite(b->data, 1, b->len, f) != b->len) {
                perror(path);
                (void)fclose(f);
                return 1;
        }
        return fclose(f) == 0 ? 0 : 1;
}

static int check_page(const char *path, const Buf *b) {
        char buffer[4096];
        size_t at = 0, n;
        bool same = true;
        FILE *f;

        f = fopen(path, "re");
        while (f && same && (n = fread(buffer, 1, sizeof(buffer), f)) > 0) {
                same = at + n <= b->len && memcmp(b->data + at, buffer, n) == 0;
                at += n;
        }
        same = same && f && at == b->len;
        if (f)
                (void)fclose(f);
        if (!same)
                (void)fprintf(stderr, "%s differs from its table: run hack/draw-states\n", path);
        return same ? 0 : 1;
}

int main(int argc, char **argv) {
        bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
        const char *dir = argc > 1 ? argv[argc - 1] : "";
        int failed = 0;

        if (argc != (check ? 3 : 2)) {
                (void)fprintf(stderr, "usage: draw-states [--check] DIR\n");
                return 2;
        }
        for (size_t i = 0; i <= ELEMENTSOF(tables); i++) {
                _cleanup_buf_ Buf b = {};
                char path[4096];
                int r;

                r = i < ELEMENTSOF(tables) ? draw_page(&b, tables[i]) : draw_index(&b);
                if (r < 0)
                        return 1;
                (void)snprintf(path, sizeof(path), "%s/%s.md", dir,
                               i < ELEMENTSOF(tables) ? tables[i]->kind : "README");
                failed |= check ? check_page(path, &b) : write_page(path, &b);
        }
        return failed;
}
