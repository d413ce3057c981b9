/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: what is appended is read again; a torn end is cut off, at every byte; damage in the
 * middle is an error; the order of records is the model's.
 *
 * rows: F81 B2 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lib/journal-record.h"
#include "lib/log.h"

static char folder[] = "/tmp/podferry-journal-XXXXXX";
static char path[sizeof(folder) + 16];

static JournalRecord record(JournalKind kind, uint64_t epoch, const char *session) {
        JournalRecord r = { .kind = kind, .epoch = epoch, .pod = "p1", .peer = "h2" };

        (void)snprintf(r.session, sizeof(r.session), "%s", session);
        return r;
}

static int fresh(void **state) {
        (void)unlink(path);
        return 0;
}

static void append(Journal *j, JournalKind kind, uint64_t epoch, const char *payload) {
        JournalRecord r = record(kind, epoch, "m1");
        Error e = ERROR_INIT;

        r.payload = payload;
        r.payload_len = strlen(payload);
        if (journal_append(j, &r, &e) < 0)
                fail_msg("%s", e.text);
}

static int count(void *userdata, const JournalRecord *r, Error *reterr) {
        ++*(unsigned *)userdata;
        return 0;
}

static void three_records(void) {
        Journal *j;

        assert_int_equal(journal_open(path, &j, NULL), 0);
        append(j, JOURNAL_READY, 2, "the handoff");
        append(j, JOURNAL_OWNED, 2, "");
        append(j, JOURNAL_RUNNING, 2, "");
        journal_free(j);
}

static void test_append(void **state) {
        Journal *j, *other;
        size_t n;

        assert_int_equal(journal_open(path, &j, NULL), 0);
        assert_int_equal(journal_last(j)->kind, JOURNAL_NONE);
        assert_int_equal(journal_open(path, &other, NULL), -EBUSY);
        append(j, JOURNAL_READY, 2, "the handoff");
        append(j, JOURNAL_OWNED, 2, "");
        assert_memory_equal(journal_handoff(j, &n), "the handoff", 11);
        journal_free(j);
        assert_int_equal(journal_open(path, &j, NULL), 0);
        assert_false(journal_was_torn(j));
        assert_int_equal(journal_last(j)->kind, JOURNAL_OWNED);
        assert_int_equal(journal_last(j)->epoch, 2);
        assert_string_equal(journal_last(j)->session, "m1");
        assert_string_equal(journal_last(j)->pod, "p1");
        assert_string_equal(journal_last(j)->peer, "h2");
        assert_true(journal_last(j)->at_ns > 0);
        assert_memory_equal(journal_handoff(j, &n), "the handoff", 11);
        assert_int_equal(n, 11);
        append(j, JOURNAL_RUNNING, 2, "");
        assert_null(journal_handoff(j, &n));
        journal_free(j);
}

static void test_refused(void **state) {
        JournalRecord r = record(JOURNAL_PREPARED, 3, "m1");
        struct stat before, after;
        unsigned seen = 0;
        Journal *j;

        three_records();
        assert_int_equal(stat(path, &before), 0);
        assert_int_equal(journal_open(path, &j, NULL), 0);
        r.epoch = 1;
        assert_int_equal(journal_append(j, &r, NULL), -EINVAL);
        r.epoch = 3;
        r.kind = JOURNAL_NONE;
        assert_int_equal(journal_append(j, &r, NULL), -EINVAL);
        r.kind = _JOURNAL_KIND_MAX;
        assert_int_equal(journal_append(j, &r, NULL), -EINVAL);
        r.kind = JOURNAL_PREPARED;
        memset(r.session, 'x', sizeof(r.session));
        assert_int_equal(journal_append(j, &r, NULL), -EINVAL);
        r.session[3] = '\0';
        r.payload_len = JOURNAL_PAYLOAD_MAX + 1;
        assert_int_equal(journal_append(j, &r, NULL), -EINVAL);
        journal_free(j);
        assert_int_equal(stat(path, &after), 0);
        assert_int_equal(before.st_size, after.st_size);
        assert_int_equal(journal_read(path, count, &seen, NULL, NULL), 0);
        assert_int_equal(seen, 3);
        assert_int_equal(after.st_mode & 0777, 0600);
}

static void write_file(const uint8_t *p, size_t n) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, p, n), (ssize_t)n);
        (void)close(fd);
}

static size_t read_file(uint8_t *p, size_t max) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        assert_true(fd >= 0);
        n = read(fd, p, max);
        assert_true(n > 0);
        (void)close(fd);
        return (size_t)n;
}

/* Cut at every byte: what was whole is there, the rest is gone, and the journal goes on. */
static void test_torn(void **state) {
        uint8_t whole[1024];
        size_t n, ends[4] = {};
        unsigned records = 0;

        three_records();
        n = read_file(whole, sizeof(whole));
        for (size_t at = 0; at < n;) {
                JournalRecord r;
                size_t len;

                assert_int_equal(journal_record_parse(whole + at, n - at, &r, &len, NULL),
                                 JOURNAL_PARSE_RECORD);
                at += len;
                ends[++records] = at;
        }
        assert_int_equal(records, 3);
        for (size_t cut = 0; cut <= n; cut++) {
                unsigned want = 0, seen = 0;
                Journal *j;
                bool torn;

                for (unsigned i = 1; i <= records; i++)
                        want += ends[i] <= cut;
                write_file(whole, cut);
                assert_int_equal(journal_read(path, count, &seen, &torn, NULL), 0);
                assert_int_equal(seen, want);
                assert_int_equal(torn, cut != ends[want]);
                assert_int_equal(journal_open(path, &j, NULL), 0);
                assert_int_equal(journal_was_torn(j), torn);
                append(j, JOURNAL_REFUSED, 2, "");
                journal_free(j);
                seen = 0;
                assert_int_equal(journal_read(path, count, &seen, &torn, NULL), 0);
                assert_int_equal(seen, want + 1);
                assert_false(torn);
        }
}

/* The last record never written, but the file grown: zeros, or rubbish of its length. */
static void test_grown(void **state) {
        uint8_t whole[1024] = {};
        unsigned seen = 0;
        bool torn;
        size_t n;

        three_records();
        n = read_file(whole, sizeof(whole));
        memset(whole + n, 0, 100);
        write_file(whole, n + 100);
        assert_int_equal(journal_read(path, count, &seen, &torn, NULL), 0);
        assert_int_equal(seen, 3);
        assert_true(torn);
}

/* Every bit of every record but the last: an error, and nothing is changed. */
static void test_damage(void **state) {
        uint8_t whole[1024];
        JournalRecord r;
        size_t n, first;

        three_records();
        n = read_file(whole, sizeof(whole));
        assert_int_equal(journal_record_parse(whole, n, &r, &first, NULL), JOURNAL_PARSE_RECORD);
        for (size_t i = 0; i < first; i++) {
                for (unsigned bit = 0; bit < 8; bit++) {
                        uint8_t after[1024];
                        Error e = ERROR_INIT;
                        Journal *j;

                        whole[i] ^= (uint8_t)(1U << bit);
                        write_file(whole, n);
                        assert_int_equal(journal_open(path, &j, &e), -EBADMSG);
                        assert_non_null(strstr(e.text, "at byte 0"));
                        assert_int_equal(read_file(after, sizeof(after)), n);
                        assert_memory_equal(whole, after, n);
                        whole[i] ^= (uint8_t)(1U << bit);
                }
        }
}

static void test_order(void **state) {
        static const struct {
                JournalKind a;
                uint64_t epoch_a;
                const char *session_a;
                JournalKind b;
                uint64_t epoch_b;
                const char *session_b;
                int want;
        } rows[] = {
                { JOURNAL_NONE, 0, "", JOURNAL_PREPARED, 1, "m1", 0 },
                { JOURNAL_NONE, 0, "", JOURNAL_READY, 2, "m1", 0 },
                { JOURNAL_NONE, 0, "", JOURNAL_REFUSED, 2, "m1", 0 },
                { JOURNAL_NONE, 0, "", JOURNAL_OWNED, 2, "m1", -EINVAL },
                { JOURNAL_NONE, 0, "", JOURNAL_RELEASED, 2, "m1", -EINVAL },
                { JOURNAL_PREPARED, 1, "m1", JOURNAL_FENCING, 1, "m1", 0 },
                { JOURNAL_PREPARED, 1, "m1", JOURNAL_KEPT, 1, "m1", 0 },
                { JOURNAL_PREPARED, 1, "m1", JOURNAL_RELEASED, 1, "m1", -EINVAL },
                { JOURNAL_PREPARED, 1, "m1", JOURNAL_PREPARED, 1, "m2", -EINVAL },
                { JOURNAL_FENCING, 1, "m1", JOURNAL_RELEASED, 1, "m1", 0 },
                { JOURNAL_FENCING, 1, "m1", JOURNAL_KEPT, 1, "m1", 0 },
                { JOURNAL_RELEASED, 1, "m1", JOURNAL_KEPT, 1, "m1", -EINVAL },
                { JOURNAL_RELEASED, 1, "m1", JOURNAL_DONE, 1, "m1", 0 },
                { JOURNAL_KEPT, 1, "m1", JOURNAL_PREPARED, 1, "m2", 0 },
                { JOURNAL_KEPT, 1, "m1", JOURNAL_FENCING, 1, "m1", -EINVAL },
                { JOURNAL_DONE, 1, "m1", JOURNAL_PREPARED, 1, "m2", -EINVAL },
                { JOURNAL_DONE, 1, "m1", JOURNAL_READY, 3, "m2", 0 },
                { JOURNAL_READY, 2, "m1", JOURNAL_OWNED, 2, "m1", 0 },
                { JOURNAL_READY, 2, "m1", JOURNAL_OWNED, 2, "m2", -EINVAL },
                { JOURNAL_READY, 2, "m1", JOURNAL_OWNED, 3, "m1", -EINVAL },
                { JOURNAL_READY, 2, "m1", JOURNAL_REFUSED, 2, "m1", 0 },
                { JOURNAL_REFUSED, 2, "m1", JOURNAL_OWNED, 2, "m1", -EINVAL },
                { JOURNAL_REFUSED, 2, "m1", JOURNAL_READY, 2, "m2", 0 },
                { JOURNAL_OWNED, 2, "m1", JOURNAL_RUNNING, 2, "m1", 0 },
                { JOURNAL_RUNNING, 2, "m1", JOURNAL_PREPARED, 2, "m2", 0 },
                { JOURNAL_RUNNING, 2, "m1", JOURNAL_PREPARED, 1, "m2", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                JournalRecord a = record(rows[i].a, rows[i].epoch_a, rows[i].session_a);
                JournalRecord b = record(rows[i].b, rows[i].epoch_b, rows[i].session_b);

                if (journal_check_order(&a, &b, NULL) != rows[i].want)
                        fail_msg("row %zu: %s after %s", i, journal_kind_name(b.kind),
                                 journal_kind_name(a.kind));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_append, fresh),
                cmocka_unit_test_setup(test_refused, fresh),
                cmocka_unit_test_setup(test_torn, fresh),
                cmocka_unit_test_setup(test_grown, fresh),
                cmocka_unit_test_setup(test_damage, fresh),
                cmocka_unit_test(test_order),
        };
        int r;

        log_set_max_level(LOG_EMERG);
        if (!mkdtemp(folder))
                return 1;
        (void)snprintf(path, sizeof(path), "%s/journal", folder);
        r = cmocka_run_group_tests_name("journal", tests, NULL, NULL);
        (void)unlink(path);
        (void)rmdir(folder);
        return r;
}
