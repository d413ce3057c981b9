/* SPDX-License-Identifier: Apache-2.0 */
/* What two shims hand to each other as bytes: the export envelope and the handoff. Golden bytes of
 * version 1; damaged ones; messages that parse but lie, each with the error that names the lie; no
 * memory at any point.
 *
 * With two arguments it writes the golden files into the first directory and inputs of the fuzz
 * target into the second (hack/gen-golden-state).
 * rows: H1 H5 F62 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/internal.h"
#include "lib/envelope.h"
#include "migration.pb-c.h"
#include "shim/migrate/handoff.h"
#include "tests/fakes/fail-malloc.h"

typedef Podferry__State__V1__Migration Export;

typedef enum Kind {
        KIND_EXPORT,
        KIND_HANDOFF,
        _KIND_MAX,
} Kind;

static Buf made[_KIND_MAX];

static int open_export(const void *p, size_t n, Error *reterr) {
        MigrationExport *e = calloc(1, sizeof(*e)); /* 17 KiB of facts */
        int r;

        if (!e)
                return error_oom(reterr);
        r = migration_export_open(p, n, e, reterr);
        if (r == 0)
                migration_export_done(e);
        free(e);
        return r;
}

static int open_handoff(const void *p, size_t n, Error *reterr) {
        _cleanup_(handoff_freep) Handoff *h = NULL;
        int r;

        r = handoff_open(p, n, &h, reterr);
        assert_true((r == 0) == (h != NULL));
        return r;
}

static const struct {
        const char *name, *url;
        const ProtobufCMessageDescriptor *descriptor;
        int (*open)(const void *p, size_t n, Error *reterr);
} kinds[_KIND_MAX] = {
        [KIND_EXPORT] = { "migration-1", "type.podferry.org/podferry.state.v1.Migration",
                          &podferry__state__v1__migration__descriptor, open_export },
        [KIND_HANDOFF] = { "handoff-1", "type.podferry.org/podferry.state.v1.Handoff",
                           &podferry__state__v1__handoff__descriptor, open_handoff },
};

static int make_export(Buf *ret) {
        MigrationExport *e = calloc(1, sizeof(*e));
        int r;

        if (!e)
                return -ENOMEM;
        *e = (MigrationExport){ .session = "m1",
                                .pod = "p1",
                                .epoch = 3,
                                .facts = { .host_uuid = "c0ffee00-0000-4000-8000-000000000001",
                                           .hostname = "h1",
                                           .version = "0.1.0",
                                           .hypervisor = "QEMU 7.2.17, libvirt 9.0.0",
                                           .arch = "x86_64",
                                           .machine = "pc-q35-7.2",
                                           .domain_type = "qemu",
                                           .cpu_xml = "<cpu/>",
                                           .memory_mib = 256 },
                                .tree.n_pods = 1 };
        r = buf_printf(&e->tree.vm, "vm bytes");
        if (r >= 0)
                r = buf_printf(&e->tree.pods[0], "pod bytes");
        if (r >= 0)
                r = migration_export_seal(e, ret, NULL);
        migration_export_done(e);
        free(e);
        return r;
}

/* Not in order: sealing sorts. */
static int make_handoff(Buf *ret) {
        static char pod[] = "p1", c1[] = "c1", c2[] = "c2", none[] = "", shell[] = "shell";
        static uint8_t link[] = "checkpoint", in[] = { 5, 0, 0 }, out[] = { 0, 0, 0, 0 };
        HandoffExit exits[] = { PODFERRY__STATE__V1__HANDOFF_EXIT__INIT,
                                PODFERRY__STATE__V1__HANDOFF_EXIT__INIT,
                                PODFERRY__STATE__V1__HANDOFF_EXIT__INIT };
        HandoffStdio stdio[] = { PODFERRY__STATE__V1__HANDOFF_STDIO__INIT,
                                 PODFERRY__STATE__V1__HANDOFF_STDIO__INIT };
        HandoffExit *exit_list[] = { &exits[1], &exits[0] };
        HandoffStdio *stdio_list[] = { &stdio[1], &stdio[0] };
        Handoff h = PODFERRY__STATE__V1__HANDOFF__INIT;

        for (size_t i = 0; i < ELEMENTSOF(exits); i++) {
                exits[i].guest_id = i == 1 ? c2 : c1;
                exits[i].exec_id = i == 1 ? none : shell;
                exits[i].code = (uint32_t)(i + 7);
                exits[i].exited_at_ns = 1700000000000000000U + i;
        }
        stdio[0].guest_id = c1;
        stdio[0].exec_id = shell;
        stdio[0].log_start = 100;
        stdio[0].log_end = 4096;
        stdio[0].stdin_taken = 12;
        stdio[0].stdin_closed = true;
        stdio[0].exit = &exits[2];
        stdio[1].guest_id = c2;
        stdio[1].exec_id = none;
        stdio[1].out_ended = stdio[1].err_ended = true;
        h.pod_id = pod;
        h.epoch = 3;
        h.link = (ProtobufCBinaryData){ sizeof(link) - 1, link };
        h.next_call_id = 42;
        h.calls_in = (ProtobufCBinaryData){ sizeof(in), in };
        h.calls_out = (ProtobufCBinaryData){ sizeof(out), out };
        h.n_stdio = ELEMENTSOF(stdio_list);
        h.stdio = stdio_list;
        h.n_exits = ELEMENTSOF(exit_list);
        h.exits = exit_list;
        return handoff_seal(&h, ret, NULL);
}

static void test_golden(void **state) {
        Kind k = (Kind)(uintptr_t)*state;
        uint8_t bytes[4096];
        char path[4096];
        size_t n;
        FILE *f;

        (void)snprintf(path, sizeof(path), WIRE_DIR "/%s.bin", kinds[k].name);
        f = fopen(path, "re");
        assert_non_null(f);
        n = fread(bytes, 1, sizeof(bytes), f);
        (void)fclose(f);
        assert_int_equal(n, made[k].len);
        assert_memory_equal(bytes, made[k].data, n);
        assert_int_equal(kinds[k].open(bytes, n, NULL), 0);
}

/* No prefix loads; a changed bit loads or is refused. */
static void test_damage(void **state) {
        Kind k = (Kind)(uintptr_t)*state;
        _cleanup_buf_ Buf copy = {};
        unsigned refused = 0;

        for (size_t n = 0; n < made[k].len; n++) {
                copy.len = 0; /* in a block of this size, so that a sanitizer sees the end */
                buf_done(&copy);
                assert_int_equal(buf_append(&copy, made[k].data, n), 0);
                assert_true(kinds[k].open(copy.data, n, NULL) < 0);
        }
        buf_done(&copy);
        assert_int_equal(buf_append(&copy, made[k].data, made[k].len), 0);
        for (size_t i = 0; i < copy.len; i++)
                for (unsigned bit = 0; bit < 9; bit++) {
                        uint8_t flip = bit < 8 ? (uint8_t)(1U << bit) : 0xff;

                        copy.data[i] ^= flip;
                        refused += kinds[k].open(copy.data, copy.len, NULL) < 0;
                        copy.data[i] ^= flip;
                }
        assert_true(refused > copy.len); /* most of them are noticed */
        assert_int_equal(kinds[k].open(copy.data, copy.len, NULL), 0);
}

static void seal(Kind k, uint32_t version, const ProtobufCMessage *m, Buf *ret) {
        EnvelopeType type = { .kind = kinds[k].name,
                              .type_url = kinds[k].url,
                              .version = version,
                              .min_version = version,
                              .descriptor = kinds[k].descriptor };

        assert_int_equal(envelope_seal(&type, m, ret, NULL), 0);
}

static void test_outer(void **state) {
        Kind k = (Kind)(uintptr_t)*state;
        _cleanup_buf_ Buf b = {}, payload = {};
        _cleanup_free_ char *url = NULL;
        Error e = ERROR_INIT;
        ProtobufCMessage *m;
        uint32_t version;

        assert_int_equal(kinds[k].open(made[!k].data, made[!k].len, &e), -EINVAL);
        assert_non_null(strstr(e.text, "type_url"));
        assert_int_equal(envelope_peek(made[k].data, made[k].len, &url, &version, &payload, &e), 0);
        assert_string_equal(url, kinds[k].url);
        m = protobuf_c_message_unpack(kinds[k].descriptor, NULL, payload.len, payload.data);
        assert_non_null(m);
        seal(k, 2, m, &b);
        assert_int_equal(kinds[k].open(b.data, b.len, &e), -EPROTONOSUPPORT);
        protobuf_c_message_free_unpacked(m, NULL);
        b.len = 0;
        assert_int_equal(buf_append(&b, made[k].data, made[k].len), 0);
        assert_int_equal(buf_append(&b, "\xff\xff", 2), 0);
        assert_int_equal(kinds[k].open(b.data, b.len, &e), -EBADMSG);
}

/* One change to the message of a golden envelope, and what the refusal says. */
static char long_text[300];
static ProtobufCBinaryData many_pods[MIGRATION_PODS_MAX + 1];

#define LIES(X)                                                                                    \
        X("export: session", EXPORT, Export, m->session = "a/b", "session")                        \
        X("export: no session", EXPORT, Export, m->session = "", "session")                        \
        X("export: pod", EXPORT, Export, m->pod = "../p", "pod")                                   \
        X("export: long pod", EXPORT, Export, m->pod = long_text, "pod")                           \
        X("export: epoch 0", EXPORT, Export, m->epoch = 0, "epoch")                                \
        X("export: epoch that wraps", EXPORT, Export, m->epoch = UINT64_MAX, "epoch")              \
        X("export: no facts", EXPORT, Export, m->facts = NULL, "facts")                            \
        X("export: long host name", EXPORT, Export, m->facts->hostname = long_text, "hostname")    \
        X("export: long uuid", EXPORT, Export, m->facts->host_uuid = long_text, "host_uuid")       \
        X("export: no vm", EXPORT, Export, m->vm.len = 0, "vm: missing")                           \
        X("export: empty pod", EXPORT, Export, m->pods[0].len = 0, "pods[0]")                      \
        X("export: many pods", EXPORT, Export, m->pods = many_pods;                                \
          m->n_pods = ELEMENTSOF(many_pods), "17 of them")                                         \
        X("handoff: pod", HANDOFF, Handoff, m->pod_id = "a/b", "pod_id")                           \
        X("handoff: epoch", HANDOFF, Handoff, m->epoch = UINT64_MAX, "epoch")                      \
        X("handoff: no link", HANDOFF, Handoff, m->link.len = 0, "link")                           \
        X("handoff: call id 0", HANDOFF, Handoff, m->next_call_id = 0, "next_call_id")             \
        X("handoff: call id that wraps", HANDOFF, Handoff, m->next_call_id = UINT64_MAX,           \
          "next_call_id")                                                                          \
        X("handoff: guest id", HANDOFF, Handoff, m->stdio[0]->guest_id = "../x", "guest_id")       \
        X("handoff: no guest id", HANDOFF, Handoff, m->stdio[0]->guest_id = "", "guest_id")        \
        X("handoff: exec id", HANDOFF, Handoff, m->stdio[0]->exec_id = "a b", "exec_id")           \
        X("handoff: log ends before it starts", HANDOFF, Handoff, m->stdio[0]->log_start = 5000,   \
          "log from 5000 to 4096")                                                                 \
        X("handoff: huge log", HANDOFF, Handoff, m->stdio[0]->log_end = UINT64_MAX, "log from")    \
        X("handoff: huge stdin", HANDOFF, Handoff, m->stdio[0]->stdin_taken = UINT64_MAX,          \
          "stdin_taken")                                                                           \
        X("handoff: one process twice", HANDOFF, Handoff, m->stdio[1] = m->stdio[0], "twice")      \
        X("handoff: not sorted", HANDOFF, Handoff, m->stdio[1]->guest_id = "a", "not sorted")      \
        X("handoff: kept exit code", HANDOFF, Handoff, m->stdio[0]->exit->code = 256, "code 256")  \
        X("handoff: exit of another", HANDOFF, Handoff, m->stdio[0]->exit->exec_id = "other",      \
          "another process")                                                                       \
        X("handoff: exit code", HANDOFF, Handoff, m->exits[1]->code = UINT32_MAX, "exit code")     \
        X("handoff: exit twice", HANDOFF, Handoff, m->exits[1] = m->exits[0], "twice")             \
        X("handoff: exit of nobody", HANDOFF, Handoff, m->exits[0]->guest_id = "", "guest_id")

typedef struct Lie {
        const char *name, *says;
        Kind kind;
} Lie;

#define LIE_ROW(n, k, type, statement, s) { .name = n, .says = s, .kind = KIND_##k },
static const Lie lies[] = { LIES(LIE_ROW) };

static void tell(const char *name, void *message) {
#define LIE_TELL(n, k, type, statement, s)                                                         \
        if (strcmp(name, n) == 0) {                                                                \
                type *m = message;                                                                 \
                statement;                                                                         \
        }
        LIES(LIE_TELL)
}

/* Messages are unpacked into an arena, so that a lie may put anything anywhere in them. */
static _Alignas(16) uint8_t arena[1 << 14];
static size_t arena_used;

static void *arena_alloc(void *data, size_t size) {
        void *p = arena + arena_used;

        arena_used += (size + 15) & ~(size_t)15;
        return arena_used <= sizeof(arena) ? p : NULL;
}

static void arena_free(void *data, void *p) {
}

static void test_lie(void **state) {
        ProtobufCAllocator allocator = { arena_alloc, arena_free, NULL };
        const Lie *lie = *state;
        _cleanup_buf_ Buf payload = {}, b = {};
        _cleanup_free_ char *url = NULL;
        Error e = ERROR_INIT;
        ProtobufCMessage *m;
        uint32_t version;
        int r;

        arena_used = 0;
        memset(long_text, 'x', sizeof(long_text) - 1);
        assert_int_equal(envelope_peek(made[lie->kind].data, made[lie->kind].len, &url, &version,
                                       &payload, &e),
                         0);
        m = protobuf_c_message_unpack(kinds[lie->kind].descriptor, &allocator, payload.len,
                                      payload.data);
        assert_non_null(m);
        tell(lie->name, m);
        seal(lie->kind, 1, m, &b);
        r = kinds[lie->kind].open(b.data, b.len, &e);
        if (!strstr(e.text, lie->says))
                fail_msg("refused with %d \"%s\", which does not say \"%s\"", r, e.text, lie->says);
        assert_int_equal(r, -EINVAL);
}

/* Whatever allocation fails: refused, and nothing is left. */
static void test_no_memory(void **state) {
        Kind k = (Kind)(uintptr_t)*state;
        unsigned n = 0;
        int r = -ENOMEM;

        if (!fail_malloc_works())
                skip();
        while (r != 0) {
                size_t before = fail_malloc_live();

                fail_malloc_at(++n);
                r = kinds[k].open(made[k].data, made[k].len, NULL);
                fail_malloc_at(0);
                assert_int_equal(fail_malloc_live(), before);
        }
        assert_true(n > 5);
        for (r = -ENOMEM, n = 0; r != 0;) {
                size_t before = fail_malloc_live();
                Buf b = {};

                fail_malloc_at(++n);
                r = k == KIND_EXPORT ? make_export(&b) : make_handoff(&b);
                fail_malloc_at(0);
                buf_done(&b);
                assert_int_equal(fail_malloc_live(), before);
        }
}

static int write_file(const char *dir, const char *name, const Buf *b) {
        char path[4096];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "we");
        if (!f || fwrite(b->data, 1, b->len, f) != b->len) {
                perror(path);
                return 1;
        }
        return fclose(f) == 0 ? 0 : 1;
}

/* The inputs of fuzz-handoff: the kind, then the bytes. */
static int write_goldens(const char *wire, const char *corpus) {
        for (Kind k = 0; k < _KIND_MAX; k++) {
                _cleanup_buf_ Buf input = {};
                uint8_t first = (uint8_t)k;
                char name[64];

                (void)snprintf(name, sizeof(name), "%s.bin", kinds[k].name);
                if (write_file(wire, name, &made[k]) != 0 || buf_append(&input, &first, 1) < 0 ||
                    buf_append(&input, made[k].data, made[k].len) < 0 ||
                    write_file(corpus, kinds[k].name, &input) != 0)
                        return 1;
        }
        return 0;
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                CMUnitTestFunction run;
        } all[] = { { "golden", test_golden },
                    { "damage", test_damage },
                    { "outer", test_outer },
                    { "no memory", test_no_memory } };
        static struct CMUnitTest tests[ELEMENTSOF(all) * _KIND_MAX + ELEMENTSOF(lies)];
        static char names[ELEMENTSOF(all) * _KIND_MAX][64];
        size_t n = 0;

        if (make_export(&made[KIND_EXPORT]) < 0 || make_handoff(&made[KIND_HANDOFF]) < 0)
                return 1;
        if (argc == 3)
                return write_goldens(argv[1], argv[2]);
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                for (Kind k = 0; k < _KIND_MAX; k++, n++) {
                        (void)snprintf(names[n], sizeof(names[n]), "%s: %s", all[i].name,
                                       kinds[k].name);
                        tests[n] = (struct CMUnitTest){ .name = names[n],
                                                        .test_func = all[i].run,
                                                        .initial_state = (void *)(uintptr_t)k };
                }
        for (size_t i = 0; i < ELEMENTSOF(lies); i++)
                tests[n++] = (struct CMUnitTest){ .name = lies[i].name,
                                                  .test_func = test_lie,
                                                  .initial_state = (void *)(uintptr_t)&lies[i] };
        n = (size_t)_cmocka_run_group_tests("handover-wire", tests, n, NULL, NULL);
        for (Kind k = 0; k < _KIND_MAX; k++)
                buf_done(&made[k]);
        return (int)n;
}
