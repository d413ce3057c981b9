/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of a cold move and its receiver: what was cut off, damaged, too large, or leads out of
 * the pod's directories is refused, and leaves nothing.
 * rows: F01 F53 F57 F58 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/directory.h"
#include "shim/ctl/cold-check.h"
#include "shim/ctl/cold-receive.h"
#include "shim/ctl/json.h"
#include "shim/rundir.h"

static char *top, *state_dir, *run_dir, *state; /* <top>/lib, <top>/run, <top>/lib/pods/q */
static Ctl ctl;

static int set_up(void **unused) {
        const char *tmp = getenv("TMPDIR") ?: "/tmp";

        if (asprintf(&top, "%s/cold.XXXXXX", tmp) < 0 || !mkdtemp(top) ||
            asprintf(&state_dir, "%s/lib", top) < 0 || asprintf(&run_dir, "%s/run", top) < 0 ||
            asprintf(&state, "%s/pods/q", state_dir) < 0)
                return -1;
        ctl = (Ctl){ .config = { .run_dir = run_dir,
                                 .state_dir = state_dir,
                                 .backing_dir = (char[]){ "" } } };
        return 0;
}

static int tear_down(void **unused) {
        directory_remove(top);
        free(top);
        free(state_dir);
        free(run_dir);
        free(state);
        return 0;
}

static bool is_there(const char *dir, const char *name) {
        _cleanup_free_ char *path = NULL;

        assert_true(asprintf(&path, "%s/%s", dir, name) > 0);
        return access(path, F_OK) == 0;
}

/* -- a stream in memory -- */

typedef struct Memory {
        Buf in, out;
        size_t at;
} Memory;

static int read_memory(void *userdata, void *p, size_t n, Error *reterr) {
        Memory *m = userdata;

        if (m->at == m->in.len)
                return error_setf(reterr, -ENODATA, "the end");
        if (m->in.len - m->at < n)
                return error_setf(reterr, -ECONNRESET, "cut off");
        memcpy(p, m->in.data + m->at, n);
        m->at += n;
        return 0;
}

static int write_memory(void *userdata, const void *p, size_t n, Error *reterr) {
        Memory *m = userdata;

        return buf_append(&m->out, p, n) < 0 ? error_oom(reterr) : 0;
}

static ColdPipe pipe_of(Memory *m) {
        return (ColdPipe){ read_memory, write_memory, m };
}

static void memory_done(Memory *m) {
        buf_done(&m->in);
        buf_done(&m->out);
}
#define _cleanup_memory_ _cleanup_(memory_done)

/* What was written is what is read next. */
static void turn(Memory *m) {
        buf_done(&m->in);
        m->in = m->out;
        m->out = (Buf){};
        m->at = 0;
}

#define FILE_SIZE (2U << 20)

static int make_file(const char *name) {
        _cleanup_free_ char *path = NULL;
        int fd;

        assert_true(asprintf(&path, "%s/%s", top, name) > 0);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        return fd;
}

/* Data, a hole, zeroes that were written, data up to the end. */
static int make_source(void) {
        static uint8_t zeroes[256 << 10];
        int fd = make_file("source");

        assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
        assert_int_equal(pwrite(fd, "begin", 5, 0), 5);
        assert_int_equal(pwrite(fd, zeroes, sizeof(zeroes), 1 << 20), sizeof(zeroes));
        assert_int_equal(pwrite(fd, "end", 3, FILE_SIZE - 3), 3);
        return fd;
}

static bool same_content(int a, int b) {
        static uint8_t x[FILE_SIZE], y[FILE_SIZE];
        struct stat st;

        return fstat(b, &st) == 0 && st.st_size == FILE_SIZE &&
               pread(a, x, sizeof(x), 0) == FILE_SIZE && pread(b, y, sizeof(y), 0) == FILE_SIZE &&
               memcmp(x, y, FILE_SIZE) == 0;
}

static int receive(Memory *m, int fd, uint64_t min, uint64_t max) {
        ColdPipe pipe = pipe_of(m);

        return cold_receive_file(&pipe, fd, "copy", 7, min, max, NULL);
}

static void send_source(Memory *m, int fd) {
        ColdPipe pipe = pipe_of(m);

        assert_int_equal(cold_send_file(&pipe, fd, "source", 7, FILE_SIZE, NULL, NULL, NULL), 0);
        turn(m);
}

static void test_file(void **unused) {
        _cleanup_close_ int from = make_source(), to = make_file("copy");
        _cleanup_memory_ Memory m = {};
        struct stat st;

        send_source(&m, from);
        assert_true(m.in.len < 300000); /* neither holes nor zeroes */
        assert_int_equal(receive(&m, to, FILE_SIZE, FILE_SIZE), 0);
        assert_true(same_content(from, to));
        assert_true(fstat(to, &st) == 0 && st.st_blocks * 512 < 300000);
}

static void test_empty_file(void **unused) {
        _cleanup_close_ int from = make_file("source"), to = make_file("copy");
        _cleanup_memory_ Memory m = {};
        ColdPipe pipe = pipe_of(&m);
        struct stat st;

        assert_int_equal(cold_send_file(&pipe, from, "source", 7, 0, NULL, NULL, NULL), 0);
        turn(&m);
        assert_int_equal(receive(&m, to, 0, 10), 0);
        assert_true(fstat(to, &st) == 0 && st.st_size == 0);
}

static void test_truncated(void **unused) {
        _cleanup_close_ int from = make_file("source");
        _cleanup_memory_ Memory m = {};
        ColdPipe pipe = pipe_of(&m);
        size_t n;

        assert_int_equal(pwrite(from, "some bytes", 10, 0), 10);
        assert_int_equal(cold_send_file(&pipe, from, "source", 7, 10, NULL, NULL, NULL), 0);
        turn(&m);
        n = m.in.len;
        for (size_t k = 0; k < n; k++) {
                _cleanup_close_ int to = make_file("copy");

                m.in.len = k;
                m.at = 0;
                assert_true(receive(&m, to, 10, 10) < 0);
        }
}

static void test_damaged(void **unused) {
        _cleanup_close_ int from = make_file("source");
        _cleanup_memory_ Memory m = {};
        ColdPipe pipe = pipe_of(&m);

        assert_int_equal(pwrite(from, "some bytes", 10, 0), 10);
        assert_int_equal(cold_send_file(&pipe, from, "source", 7, 10, NULL, NULL, NULL), 0);
        turn(&m);
        for (size_t k = 0; k < m.in.len; k++)
                for (unsigned bit = 0; bit < 8; bit++) {
                        _cleanup_close_ int to = make_file("copy");

                        m.in.data[k] ^= (uint8_t)(1U << bit);
                        m.at = 0;
                        if (receive(&m, to, 10, 10) == 0)
                                fail_msg("byte %zu, bit %u", k, bit);
                        m.in.data[k] ^= (uint8_t)(1U << bit);
                }
}

static void put(Memory *m, ColdType type, uint64_t number, const void *p, size_t n) {
        ColdPipe pipe = pipe_of(m);

        assert_int_equal(cold_put(&pipe, &(ColdFrame){ type, (uint32_t)n, number }, p, NULL), 0);
}

/* What no sender of ours says. */
static void test_odd_files(void **unused) {
        static const uint8_t ten[8] = { 10 };
        static const struct {
                uint64_t which, first, second;
                size_t n;
        } rows[] = {
                { 8, 0, 0, 0 },          /* another file */
                { 7, 11, 0, 1 },         /* behind the end */
                { 7, 9, 0, 2 },          /* over it */
                { 7, UINT64_MAX, 0, 1 }, /* around */
                { 7, 5, 4, 2 },          /* backwards */
                { 7, 0, 0, 2 },          /* twice */
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_close_ int to = make_file("copy");
                _cleanup_memory_ Memory m = {};

                put(&m, COLD_FILE, rows[i].which, ten, sizeof(ten));
                if (rows[i].n > 0) {
                        put(&m, COLD_DATA, rows[i].first, "ab", rows[i].n);
                        put(&m, COLD_DATA, rows[i].second, "ab", rows[i].n);
                }
                turn(&m);
                assert_int_equal(receive(&m, to, 10, 10), -EBADMSG);
        }
}

static void test_sizes(void **unused) {
        static const uint8_t ten[8] = { 10 };
        _cleanup_close_ int to = make_file("copy");
        _cleanup_memory_ Memory m = {};

        put(&m, COLD_FILE, 7, ten, sizeof(ten));
        turn(&m);
        assert_int_equal(receive(&m, to, 11, 20), -EBADMSG);
        m.at = 0;
        assert_int_equal(receive(&m, to, 1, 9), -EBADMSG);
}

static void test_headers(void **unused) {
        static const struct {
                uint8_t header[COLD_HEADER];
                int r;
        } rows[] = {
                { { 'J', 0, 0, 0, 2 }, 0 },
                { { 'J', 0, 0, 0, 1 }, -EBADMSG },
                { { 'J', 0, 0, 0, 0, 0, 0x80, 2 }, 0 },
                { { 'J', 0, 0, 0, 1, 0, 0x80, 2 }, -EBADMSG },
                { { 'J', 1, 0, 0, 2 }, -EBADMSG },
                { { 'D', 0, 0, 0, 0 }, -EBADMSG },
                { { 'D', 0, 0, 0, 0, 0, 2 }, 0 },
                { { 'D', 0, 0, 0, 1, 0, 2 }, -EBADMSG },
                { { 'F', 0, 0, 0, 7 }, -EBADMSG },
                { { 'E', 0, 0, 0, 65 }, -EBADMSG },
                { { 'X', 0, 0, 0, 8 }, -EBADMSG },
                { { 0 }, -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                ColdFrame f;

                if (cold_frame_parse(rows[i].header, &f, NULL) != rows[i].r)
                        fail_msg("row %zu", i);
        }
}

/* -- the receiver -- */

#define SCRATCH 65536U
#define SPEC(volume)                                                                               \
        "{\\\"config\\\":{},\\\"disks\\\":[{\\\"role\\\":\\\"scratch\\\",\\\"path\\\":\\\"/s\\\"," \
        "\\\"size\\\":65536,\\\"mode\\\":\\\"copy\\\"}" volume "]}"
#define DEFINITION(id, spec)                                                                       \
        "\"definition\":{\"memory_mib\":64,\"vcpus\":1,\"network\":\"none\","                      \
        "\"publish\":\"\",\"containers\":[{\"id\":\"" id "\",\"made\":1,\"spec\":\"" spec "\"}]}"
#define DISK "{\"plan\":\"copy\",\"there\":\"/s\",\"bytes\":65536,\"data\":4096}"
#define OFFER(disks)                                                                               \
        "{\"do\":\"offer\",\"pod\":\"p\"," DEFINITION("c", SPEC("")) ",\"disks\":[" disks "]}"

static void ask(Memory *m, const char *text) {
        put(m, COLD_JSON, 0, text, strlen(text));
}

/* Takes what was put, in one connection of the session. */
static int converse(Memory *m, const char *session) {
        ColdPipe pipe = pipe_of(m);
        Error e = ERROR_INIT;

        turn(m);
        return cold_receive(&ctl, "q", session, &pipe, &e);
}

static OfflineState record(void) {
        _cleanup_record_ OfflineRecord r = {};

        assert_int_equal(offline_read(state, OFFLINE_INCOMING, &r, NULL), 0);
        return r.state;
}

static void put_content(Memory *m, uint64_t which, size_t size) {
        _cleanup_close_ int fd = make_file("content");
        ColdPipe pipe = pipe_of(m);

        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(pwrite(fd, "data", 4, 0), 4);
        assert_int_equal(cold_send_file(&pipe, fd, "content", which, size, NULL, NULL, NULL), 0);
}

static void put_whole(Memory *m) {
        ask(m, "{\"do\":\"hello\"}");
        ask(m, OFFER(DISK));
        ask(m, "{\"do\":\"files\",\"logs\":[\"c.log\"]}");
        put_content(m, 0, SCRATCH);
        put_content(m, 1, 5000);
}

static void test_whole(void **unused) {
        _cleanup_memory_ Memory m = {}, again = {};

        put_whole(&m);
        ask(&m, "{\"do\":\"seal\"}");
        assert_int_equal(converse(&m, "m1"), 0);
        assert_int_equal(record(), OFFLINE_READY); /* it stays, and cannot be started */
        assert_true(is_there(state, "scratch-c.raw.incomplete"));
        assert_true(is_there(state, "logs/c.log"));
        assert_false(definition_is_there(state));
        assert_int_equal(offline_check(state_dir, "q", NULL), -EBADFD);

        ask(&again, "{\"do\":\"commit\"}");
        ask(&again, "{\"do\":\"commit\"}");
        assert_int_equal(converse(&again, "m1"), 0);
        assert_int_equal(record(), OFFLINE_OWNED);
        assert_true(definition_is_there(state));
        assert_false(is_there(state, "scratch-c.raw.incomplete"));
        assert_int_equal(offline_check(state_dir, "q", NULL), 0);
}

/* Wherever the connection ends: half of it leaves nothing. */
static void test_cut_off(void **unused) {
        _cleanup_memory_ Memory whole = {};
        _cleanup_buf_ Buf all = {};

        put_whole(&whole);
        for (size_t k = 0; k < whole.out.len; k += k < 1200 ? 1 : 97) {
                _cleanup_memory_ Memory m = {};

                assert_int_equal(buf_append(&m.out, whole.out.data, k), 0);
                (void)converse(&m, "m1");
                if (access(state, F_OK) == 0)
                        fail_msg("cut at %zu: something is left", k);
        }
}

typedef struct Refused {
        const char *name, *request;
} Refused;

static const Refused refused[] = {
        { "no request", "{}" },
        { "an unknown one", "{\"do\":\"format\"}" },
        { "no object", "[1]" },
        { "files of nothing", "{\"do\":\"files\"}" },
        { "seal of nothing", "{\"do\":\"seal\"}" },
        { "commit of nothing", "{\"do\":\"commit\"}" },
        { "return of nothing", "{\"do\":\"return\"}" },
        { "no definition", "{\"do\":\"offer\",\"pod\":\"p\",\"disks\":[]}" },
        { "more disks", OFFER(DISK "," DISK) },
        { "fewer disks", OFFER("") },
        { "another plan", OFFER("{\"plan\":\"shared\",\"bytes\":65536}") },
        { "a size below 0", OFFER("{\"plan\":\"copy\",\"bytes\":-1}") },
        { "a size of 0", OFFER("{\"plan\":\"copy\",\"bytes\":0}") },
        { "a size above all", OFFER("{\"plan\":\"copy\",\"bytes\":9223372036854775807}") },
        { "more than there is room for",
          OFFER("{\"plan\":\"copy\",\"bytes\":65536,\"data\":4611686018427387904}") },
        { "a container that leads out", "{\"do\":\"offer\",\"pod\":\"p\"," DEFINITION(
                                                "../c", SPEC("")) ",\"disks\":[" DISK "]}" },
        { "a pod that leads out", "{\"do\":\"offer\",\"pod\":\"../p\"," DEFINITION(
                                          "c", SPEC("")) ",\"disks\":[" DISK "]}" },
        { "a specification that is none",
          "{\"do\":\"offer\",\"pod\":\"p\"," DEFINITION("c", "[]") ",\"disks\":[]}" },
        { "a layer without a digest",
          "{\"do\":\"offer\",\"pod\":\"p\"," DEFINITION(
                  "c",
                  SPEC(",{\\\"role\\\":\\\"layer\\\","
                       "\\\"path\\\":\\\"/l\\\",\\\"digest\\\":\\\"../x\\\",\\\"read_only\\\":true}")) ",\"disks\":[" DISK
                                                                                                       ",{\"plan\":\"layer\"}]}" },
        { "a volume that is nowhere",
          "{\"do\":\"offer\",\"pod\":\"p\"," DEFINITION(
                  "c",
                  SPEC(",{\\\"role\\\":\\\"volume\\\","
                       "\\\"path\\\":\\\"/v\\\"}")) ",\"disks\":[" DISK
                                                    ",{\"plan\":\"copy\",\"there\":\"v/../../x\",\"bytes\":512}]}" },
        { "a namespace that is not there",
          "{\"do\":\"offer\",\"pod\":\"p\",\"definition\":{\"network\":\"ns:/nonexistent/ns\","
          "\"publish\":\"\",\"containers\":[]},\"disks\":[]}" },
        { "a network of another kind",
          "{\"do\":\"offer\",\"pod\":\"p\",\"definition\":{\"network\":\"../ns\","
          "\"publish\":\"\",\"containers\":[]},\"disks\":[]}" },
};

static void test_refused(void **param) {
        const Refused *row = *param;
        _cleanup_memory_ Memory m = {};

        ask(&m, row->request);
        ask(&m, "{\"do\":\"hello\"}"); /* a refusal ends it: this is not answered */
        assert_true(converse(&m, "m1") < 0);
        assert_non_null(memmem(m.out.data, m.out.len, "\"error\":", 8));
        assert_null(memmem(m.out.data, m.out.len, "\"host\":", 7));
        assert_int_equal(access(state, F_OK), -1);
}

/* -- podferry check: the same request, as a question -- */

#define CHECK(definition, disks)                                                                   \
        "{\"do\":\"check\",\"pod\":\"p\"," definition ",\"disks\":[" disks "]}"
#define ELSEWHERE(id, spec)                                                                        \
        "\"definition\":{\"memory_mib\":64,\"vcpus\":1,\"network\":\"ns:/nonexistent/ns\","        \
        "\"publish\":\"\",\"containers\":[{\"id\":\"" id "\",\"made\":1,\"spec\":\"" spec "\"}]}"
#define VOLUME(path) ",{\\\"role\\\":\\\"volume\\\",\\\"path\\\":\\\"" path "\\\"}"
#define HUGE_DISK                                                                                  \
        "{\"plan\":\"copy\",\"there\":\"/s\",\"bytes\":65536,\"data\":4611686018427387904}"
#define PLACE(there) "{\"plan\":\"copy\",\"there\":\"" there "\",\"bytes\":512,\"data\":1}"

typedef struct Question {
        const char *name, *request;
        const char *codes[4]; /* exactly these */
} Question;

/* clang-format off */
static const Question questions[] = {
        { "it fits", CHECK(DEFINITION("c", SPEC("")), DISK), {} },
        { "no room, and no namespace", CHECK(ELSEWHERE("c", SPEC("")), HUGE_DISK), { "namespace", "disk-space" } },
        { "a file in the way", CHECK(DEFINITION("c", SPEC(VOLUME("/etc/passwd"))), DISK "," PLACE("/etc/passwd")), { "disk-exists" } },
        { "no such directory", CHECK(DEFINITION("c", SPEC(VOLUME("/v"))), DISK "," PLACE("/nonexistent/v")), { "disk-place" } },
        { "two disks become one", CHECK(DEFINITION("c", SPEC(VOLUME("/a") VOLUME("/b"))), DISK "," PLACE("/tmp/pf-none") "," PLACE("/tmp/pf-none")), { "disk-exists" } },
        { "all of it at once", CHECK(ELSEWHERE("c", SPEC(VOLUME("/a") VOLUME("/b"))), HUGE_DISK "," PLACE("/etc/passwd") "," PLACE("/nonexistent/v")), { "namespace", "disk-space", "disk-exists", "disk-place" } },
};
/* clang-format on */

static size_t count_in(const Memory *m, const char *text) {
        const char *at = (const char *)m->out.data, *end = at + m->out.len;
        size_t n = 0;

        while ((at = memmem(at, (size_t)(end - at), text, strlen(text)))) {
                at += strlen(text);
                n++;
        }
        return n;
}

static void expect_codes(const Memory *m, const char *const *codes) {
        size_t n = 0;

        for (; n < ELEMENTSOF(questions[0].codes) && codes[n]; n++) {
                char word[64];

                (void)snprintf(word, sizeof(word), "\"code\":\"%s\"", codes[n]);
                if (count_in(m, word) != 1)
                        fail_msg("%s: %.*s", word, (int)m->out.len, (const char *)m->out.data);
                assert_non_null(cold_rule(codes[n]));
        }
        assert_int_equal(count_in(m, "\"code\":"), n);
        assert_int_equal(count_in(m, "\"findings\":"), 1);
}

static void test_question(void **param) {
        const Question *row = *param;
        _cleanup_memory_ Memory m = {};

        ask(&m, row->request);
        assert_int_equal(converse(&m, "m1"), 0);
        expect_codes(&m, row->codes);
        if (access(state, F_OK) == 0)
                fail_msg("something is left");
}

/* A pod of that name is here; and what the same session left half is in nobody's way. */
static void test_question_exists(void **unused) {
        static const char *const exists[] = { "pod-exists", NULL, NULL, NULL }, *const none[4] = {};
        _cleanup_memory_ Memory m = {}, again = {}, other = {};

        put_whole(&m);
        ask(&m, "{\"do\":\"seal\"}");
        assert_int_equal(converse(&m, "m1"), 0);
        ask(&again, questions[0].request);
        assert_int_equal(converse(&again, "m1"), 0);
        expect_codes(&again, none);
        assert_int_equal(record(), OFFLINE_READY);
        ask(&other, questions[0].request);
        assert_int_equal(converse(&other, "m2"), 0);
        assert_true(count_in(&other, "\"code\":\"pod-exists\"") > 0);
        assert_int_equal(record(), OFFLINE_READY);
        {
                _cleanup_memory_ Memory commit = {}, last = {};

                ask(&commit, "{\"do\":\"commit\"}");
                assert_int_equal(converse(&commit, "m1"), 0);
                ask(&last, questions[0].request);
                assert_int_equal(converse(&last, "m1"), 0);
                expect_codes(&last, exists);
        }
}

/* What an offer is refused for as no offer at all, a question is, too. */
static void test_question_refused(void **unused) {
        for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                const char *at = strstr(refused[i].request, "\"offer\"");
                _cleanup_free_ char *text = NULL;
                _cleanup_memory_ Memory m = {};

                if (!at)
                        continue;
                assert_true(asprintf(&text, "%.*s\"check\"%s", (int)(at - refused[i].request),
                                     refused[i].request, at + strlen("\"offer\"")) > 0);
                ask(&m, text);
                if (converse(&m, "m1") == 0 && count_in(&m, "\"code\":") == 0 &&
                    strcmp(refused[i].name, "a size of 0") != 0 &&
                    strcmp(refused[i].name, "a pod that leads out") != 0)
                        fail_msg("%s: nothing is found", refused[i].name);
                if (access(state, F_OK) == 0)
                        fail_msg("%s: something is left", refused[i].name);
        }
}

static void test_rules(void **unused) {
        _cleanup_free_ char *page = calloc(1, 65536);
        FILE *f = fopen(GOLDEN_DIR "/../../docs/check.md", "re");

        assert_non_null(f);
        assert_true(fread(page, 1, 65535, f) > 0);
        (void)fclose(f);
        for (size_t i = 0; i < cold_rules_n; i++) {
                char line[120];

                (void)snprintf(line, sizeof(line), "| `%s` | %s | %s", cold_rules[i].code,
                               cold_rules[i].row, cold_rules[i].severity);
                if (!strstr(page, line))
                        fail_msg("docs/check.md lacks: %s", line);
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(cold_rules[k].code, cold_rules[i].code);
        }
}

/* The report: another host's words are cleaned, and a code that is not known blocks. */
static void test_report(void **unused) {
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *list;

        assert_int_equal(json_add(o, "findings", json_object_new_array()), 0);
        list = json_get_array(o, "findings");
        assert_int_equal(cold_finding(o, "layers-missing", true, "h2", "two"), 0);
        assert_int_equal(cold_report_end(o, true), 0);
        assert_true(json_object_get_boolean(json_get(o, "ok")));
        assert_int_equal(json_object_array_length(json_get_array(o, "unknown")), 0);
        assert_int_equal(json_object_array_length(json_get_array(o, "passed")), cold_rules_n - 1);
        assert_int_equal(cold_finding(o, "from\x1b[2Jthe-future", true, "h\n2", "x\x1b"), 0);
        assert_int_equal(cold_report_end(o, false), 0);
        assert_false(json_object_get_boolean(json_get(o, "ok")));
        assert_true(json_object_array_length(json_get_array(o, "unknown")) > 5);
        assert_null(strchr(json_get_text(json_object_array_get_idx(list, 1), "text"), 0x1b));
        assert_null(strchr(json_get_text(json_object_array_get_idx(list, 1), "code"), 0x1b));
        assert_null(strchr(json_get_text(json_object_array_get_idx(list, 1), "host"), '\n'));
}

/* Logs of no container of the pod, and paths. */
static void test_log_names(void **unused) {
        static const char *const names[] = { "d.log",   "../c.log", "c.log/../../x", "c",
                                             "c.log.2", "",         "/etc/x.log",    "c.logx" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_memory_ Memory m = {};
                _cleanup_free_ char *files = NULL;

                assert_true(asprintf(&files, "{\"do\":\"files\",\"logs\":[\"%s\"]}", names[i]) > 0);
                ask(&m, OFFER(DISK));
                ask(&m, files);
                put_content(&m, 0, SCRATCH);
                put_content(&m, 1, 10);
                if (converse(&m, "m1") != -EBADMSG)
                        fail_msg("\"%s\" is taken", names[i]);
                assert_int_equal(access(state, F_OK), -1);
        }
}

/* Another session's copy, whole or half, is not ours to replace or to commit. */
static void test_other_session(void **unused) {
        static const char *const what[] = { "commit", "discard", "return" };
        _cleanup_memory_ Memory m = {};

        put_whole(&m);
        ask(&m, "{\"do\":\"seal\"}");
        assert_int_equal(converse(&m, "m1"), 0);
        for (size_t i = 0; i < ELEMENTSOF(what); i++) {
                _cleanup_memory_ Memory other = {};
                char text[64];

                (void)snprintf(text, sizeof(text), "{\"do\":\"%s\"}", what[i]);
                ask(&other, text);
                assert_int_equal(converse(&other, "m2"), -EBUSY);
                assert_int_equal(record(), OFFLINE_READY);
        }
        {
                _cleanup_memory_ Memory other = {};

                ask(&other, OFFER(DISK));
                assert_int_equal(converse(&other, "m2"), -EBUSY);
                assert_int_equal(record(), OFFLINE_READY);
        }
}

/* The next attempt of the same one replaces it; and one that gives up discards it. */
static void test_same_session(void **unused) {
        _cleanup_memory_ Memory m = {}, again = {}, last = {};

        put_whole(&m);
        ask(&m, "{\"do\":\"seal\"}");
        assert_int_equal(converse(&m, "m1"), 0);
        put_whole(&again);
        ask(&again, "{\"do\":\"seal\"}");
        assert_int_equal(converse(&again, "m1"), 0);
        assert_int_equal(record(), OFFLINE_READY);
        ask(&last, "{\"do\":\"discard\"}");
        ask(&last, "{\"do\":\"discard\"}");
        assert_int_equal(converse(&last, "m1"), 0);
        assert_int_equal(access(state, F_OK), -1);
}

static void test_return(void **unused) {
        _cleanup_memory_ Memory m = {}, late = {}, last = {};

        put_whole(&m);
        ask(&m, "{\"do\":\"seal\"}");
        ask(&m, "{\"do\":\"commit\"}");
        ask(&m, "{\"do\":\"return\"}");
        ask(&m, "{\"do\":\"return\"}");
        assert_int_equal(converse(&m, "m1"), 0);
        assert_int_equal(record(), OFFLINE_RETURNED);
        assert_false(definition_is_there(state));
        assert_false(is_there(state, "scratch-c.raw"));
        ask(&late, "{\"do\":\"commit\"}");
        assert_int_equal(converse(&late, "m1"), -EBADFD);
        ask(&last, "{\"do\":\"discard\"}");
        assert_int_equal(converse(&last, "m1"), 0);
        assert_int_equal(access(state, F_OK), -1);
}

/* A pod of that name is here: it stays as it is. */
static void test_name_taken(void **unused) {
        Definition d = { .network = (char[]){ "none" }, .publish = (char[]){ "" } };
        _cleanup_free_ char *run = NULL;
        _cleanup_memory_ Memory m = {}, other = {};

        assert_int_equal(directory_make(state, 0711, NULL), 0);
        assert_int_equal(definition_begin(state, &d, NULL), 0);
        ask(&m, OFFER(DISK));
        assert_int_equal(converse(&m, "m1"), -EEXIST);
        assert_true(definition_is_there(state));
        definition_remove(state);
        assert_true(asprintf(&run, "%s/q", run_dir) > 0);
        assert_int_equal(directory_make(run, 0700, NULL), 0);
        ask(&other, OFFER(DISK));
        assert_int_equal(converse(&other, "m1"), -EEXIST);
}

/* -- the plan -- */

static int plan_of(const char *disks, MigrationStorage wish, ColdPlan *p) {
        char spec[2048];

        (void)snprintf(spec, sizeof(spec), "{\"config\":{},\"disks\":[%s]}", disks);
        *p = (ColdPlan){};
        p->definition.containers = calloc(1, sizeof(DefinitionContainer));
        p->definition.n_containers = 1;
        p->definition.containers[0].id = strdup("c");
        p->definition.containers[0].spec = strdup(spec);
        return cold_plan_make(p, wish, NULL);
}

static void test_plan(void **unused) {
        _cleanup_(cold_plan_done) ColdPlan p = {};

        assert_int_equal(plan_of("{\"role\":\"scratch\",\"path\":\"/s\"},"
                                 "{\"role\":\"volume\",\"path\":\"/v\",\"mode\":\"copy\"},"
                                 "{\"role\":\"volume\",\"path\":\"/v\",\"mode\":\"copy\"},"
                                 "{\"role\":\"volume\",\"path\":\"/w\",\"mode\":\"shared\"},"
                                 "{\"role\":\"volume\",\"path\":\"/r\",\"read_only\":true}",
                                 MIGRATION_STORAGE_AUTO, &p),
                         0);
        assert_int_equal(p.n_disks, 5);
        assert_true(cold_is_copy(&p.disks[0]));
        assert_true(cold_is_copy(&p.disks[1]));
        assert_false(cold_is_copy(&p.disks[2])); /* the same file */
        assert_int_equal(p.disks[2].same_as, 1);
        assert_int_equal(p.disks[3].plan, STORAGE_PLAN_SHARED);
        assert_int_equal(p.disks[4].plan, STORAGE_PLAN_SAME);
        for (size_t i = 0; i < p.n_disks; i++)
                assert_true(asprintf(&p.disks[i].there, "/there%zu", i) > 0);
        assert_int_equal(cold_plan_adapt(&p, NULL), 0);
        assert_non_null(strstr(p.definition.containers[0].spec, "\"/there0\""));
        assert_null(strstr(p.definition.containers[0].spec, "\"/there2\""));
        assert_null(strstr(p.definition.containers[0].spec, "\"/v\""));
}

static void test_plan_refused(void **unused) {
        static const struct {
                const char *disks;
                MigrationStorage wish;
        } rows[] = {
                { "{\"role\":\"volume\",\"path\":\"v\"}", MIGRATION_STORAGE_AUTO },
                { "{\"role\":\"volume\",\"path\":\"/a/../v\"}", MIGRATION_STORAGE_AUTO },
                { "{\"role\":\"volume\",\"path\":\"/v\",\"mode\":\"same\"}",
                  MIGRATION_STORAGE_AUTO },
                { "{\"role\":\"volume\",\"path\":\"/v\",\"mode\":\"shared\"}",
                  MIGRATION_STORAGE_COPY },
                { "{\"role\":\"volume\",\"path\":\"/v\",\"format\":\"vmdk\"}",
                  MIGRATION_STORAGE_AUTO },
                { "{\"role\":\"disk\",\"path\":\"/v\"}", MIGRATION_STORAGE_AUTO },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(cold_plan_done) ColdPlan p = {};

                if (plan_of(rows[i].disks, rows[i].wish, &p) >= 0)
                        fail_msg("row %zu", i);
        }
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest fixed[] = {
                T(test_file),         T(test_empty_file),      T(test_truncated),
                T(test_damaged),      T(test_odd_files),       T(test_sizes),
                T(test_headers),      T(test_whole),           T(test_cut_off),
                T(test_log_names),    T(test_other_session),   T(test_same_session),
                T(test_return),       T(test_name_taken),      T(test_plan),
                T(test_plan_refused), T(test_question_exists), T(test_question_refused),
                T(test_rules),        T(test_report),
        };
        struct CMUnitTest tests[ELEMENTSOF(fixed) + ELEMENTSOF(refused) + ELEMENTSOF(questions)];

        memcpy(tests, fixed, sizeof(fixed));
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                tests[ELEMENTSOF(fixed) + i] =
                        (struct CMUnitTest){ .name = refused[i].name,
                                             .test_func = test_refused,
                                             .setup_func = set_up,
                                             .teardown_func = tear_down,
                                             .initial_state = (void *)(uintptr_t)&refused[i] };
        for (size_t i = 0; i < ELEMENTSOF(questions); i++)
                tests[ELEMENTSOF(fixed) + ELEMENTSOF(refused) + i] =
                        (struct CMUnitTest){ .name = questions[i].name,
                                             .test_func = test_question,
                                             .setup_func = set_up,
                                             .teardown_func = tear_down,
                                             .initial_state = (void *)(uintptr_t)&questions[i] };
        return cmocka_run_group_tests_name("cold", tests, NULL, NULL);
}
