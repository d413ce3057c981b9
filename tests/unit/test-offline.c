/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a pod that moves while it does not run: who may start it, what is refused of what is
 * found on the disk, and that each step can be repeated after a crash in it.
 * rows: F53 F57 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "hostdev/image/disk.h"
#include "lib/cleanup.h"
#include "lib/directory.h"
#include "lib/journal.h"
#include "shim/definition.h"
#include "shim/offline.h"
#include "shim/rundir.h"

static char *top, *state, *run; /* <top>/pods/p, <top>/run */

static int set_up(void **unused) {
        const char *tmp = getenv("TMPDIR") ?: "/tmp";

        if (asprintf(&top, "%s/offline.XXXXXX", tmp) < 0 || !mkdtemp(top) ||
            asprintf(&state, "%s/pods/p", top) < 0 || asprintf(&run, "%s/run", top) < 0)
                return -1;
        return directory_make(state, 0711, NULL) < 0 || directory_make(run, 0700, NULL) < 0 ? -1
                                                                                            : 0;
}

static int tear_down(void **unused) {
        directory_remove(top);
        free(top);
        free(state);
        free(run);
        return 0;
}

static char *at(const char *dir, const char *name) {
        static char path[4096];

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        return path;
}

static bool is_there(const char *name) {
        return access(at(state, name), F_OK) == 0;
}

static void write_file(const char *path, const void *p, size_t n) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, p, n), n);
}

static size_t read_file(const char *path, char *text, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

        assert_true(n >= 0);
        text[n] = '\0';
        return (size_t)n;
}

static OfflineRole role_of(OfflineState s) {
        return s == OFFLINE_OFFERED || s == OFFLINE_GIVEN ? OFFLINE_OUTGOING : OFFLINE_INCOMING;
}

static int put(OfflineState s, char **files) {
        OfflineRecord r = { .state = s, .session = "m1", .pod = "p", .name = "q", .files = files };

        if (role_of(s) == OFFLINE_OUTGOING)
                (void)snprintf(r.peer, sizeof(r.peer), "exec:env \"A=b c\" x");
        return offline_write(state, role_of(s), &r, NULL);
}

static OfflineState get(OfflineRole role) {
        _cleanup_record_ OfflineRecord r = {};

        assert_int_equal(offline_read(state, role, &r, NULL), 0);
        return r.state;
}

/* -- records -- */

static void test_round_trip(void **unused) {
        char *files[] = { (char[]){ "/a" }, (char[]){ "/b c/d" }, NULL };
        _cleanup_record_ OfflineRecord in = {}, out = {};
        OfflineRecord given = { .state = OFFLINE_GIVEN,
                                .session = "m1",
                                .pod = "p",
                                .name = "q",
                                .peer = "ssh://h",
                                .start = true };

        assert_int_equal(get(OFFLINE_INCOMING), OFFLINE_NONE);
        assert_int_equal(put(OFFLINE_FILLING, files), 0);
        assert_int_equal(offline_read(state, OFFLINE_INCOMING, &in, NULL), 0);
        assert_int_equal(in.state, OFFLINE_FILLING);
        assert_string_equal(in.session, "m1");
        assert_string_equal(in.name, "q");
        assert_string_equal(in.files[0], "/a");
        assert_string_equal(in.files[1], "/b c/d");
        assert_null(in.files[2]);
        assert_false(in.start);
        assert_int_equal(put(OFFLINE_OFFERED, NULL), 0);
        assert_int_equal(offline_write(state, OFFLINE_OUTGOING, &given, NULL), 0);
        assert_int_equal(offline_read(state, OFFLINE_OUTGOING, &out, NULL), 0);
        assert_string_equal(out.peer, "ssh://h");
        assert_true(out.start);
}

/* What is there becomes what: by the table, and by no other way. */
static void test_order(void **unused) {
        static const struct {
                OfflineState from, to;
        } legal[] = {
                { OFFLINE_NONE, OFFLINE_OFFERED },    { OFFLINE_OFFERED, OFFLINE_OFFERED },
                { OFFLINE_OFFERED, OFFLINE_GIVEN },   { OFFLINE_GIVEN, OFFLINE_GIVEN },
                { OFFLINE_GIVEN, OFFLINE_OFFERED },   { OFFLINE_NONE, OFFLINE_FILLING },
                { OFFLINE_FILLING, OFFLINE_FILLING }, { OFFLINE_FILLING, OFFLINE_READY },
                { OFFLINE_READY, OFFLINE_READY },     { OFFLINE_READY, OFFLINE_OWNED },
                { OFFLINE_READY, OFFLINE_RETURNED },  { OFFLINE_OWNED, OFFLINE_OWNED },
                { OFFLINE_OWNED, OFFLINE_RETURNED },  { OFFLINE_RETURNED, OFFLINE_RETURNED },
                { OFFLINE_OFFERED, OFFLINE_NONE },    { OFFLINE_GIVEN, OFFLINE_NONE },
                { OFFLINE_FILLING, OFFLINE_NONE },    { OFFLINE_READY, OFFLINE_NONE },
                { OFFLINE_RETURNED, OFFLINE_NONE },   { OFFLINE_NONE, OFFLINE_NONE },
        };

        for (OfflineState from = 0; from < _OFFLINE_STATE_MAX; from++)
                for (OfflineState to = 0; to < _OFFLINE_STATE_MAX; to++) {
                        bool wanted = false;

                        for (size_t i = 0; i < ELEMENTSOF(legal); i++)
                                wanted = wanted || (legal[i].from == from && legal[i].to == to);
                        if (offline_may_follow(from, to) != wanted)
                                fail_msg("%s to %s", offline_state_name(from),
                                         offline_state_name(to));
                }
        assert_int_equal(put(OFFLINE_GIVEN, NULL), -EBADFD); /* never offered */
        assert_int_equal(put(OFFLINE_OWNED, NULL), -EBADFD);
        assert_int_equal(get(OFFLINE_OUTGOING), OFFLINE_NONE);
}

/* Every beginning of it, and every byte that is another one, is refused, or says what may be said.
 */
static void test_damage(void **unused) {
        char *files[] = { (char[]){ "/a" }, NULL }, whole[1024], cut[1024];
        _cleanup_free_ char *path = strdup(at(state, "incoming"));
        size_t n;

        assert_int_equal(put(OFFLINE_FILLING, files), 0);
        n = read_file(path, whole, sizeof(whole));
        for (size_t k = 0; k < n; k++) {
                _cleanup_record_ OfflineRecord r = {};

                write_file(path, whole, k);
                assert_int_equal(offline_read(state, OFFLINE_INCOMING, &r, NULL), -EBADMSG);
                assert_int_equal(offline_check(top, "p", NULL), -EBADMSG);
        }
        for (size_t k = 0; k < n; k++)
                for (unsigned v = 0; v < 256; v++) {
                        _cleanup_record_ OfflineRecord r = {};
                        int ret;

                        memcpy(cut, whole, n);
                        cut[k] = (char)v;
                        write_file(path, cut, n);
                        ret = offline_read(state, OFFLINE_INCOMING, &r, NULL);
                        assert_true(ret == 0 || ret == -EBADMSG);
                        if (ret == 0) {
                                assert_int_equal(r.state, OFFLINE_FILLING);
                                assert_true(!r.files || r.files[0][0] == '/');
                        }
                }
}

static void test_hostile(void **unused) {
        static const char *const texts[] = {
                "",
                "end\n",
                "state filling\nend\n",
                "state filling\nsession a\npod p\nname p\n",           /* no end */
                "state filling\nsession a\npod p\nname p\nend\nend\n", /* more than that */
                "state given\nsession a\npod p\nname p\nend\n",        /* of the other role */
                "state none\nsession a\npod p\nname p\nend\n",
                "state filling\nsession ../a\npod p\nname p\nend\n",
                "state filling\nsession a\npod p\nname a/b\nend\n",
                "state filling\nsession a\npod p\nname p\nfile ../x\nend\n",
                "state filling\nsession a\npod p\nname p\nfile /a/../x\nend\n",
                "state filling\nsession a\npod p\nname p\nother x\nend\n",
                "state filling\nsession a\npod p\nname p\nthen stop\nend\n",
        };
        _cleanup_free_ char *path = strdup(at(state, "incoming"));

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_record_ OfflineRecord r = {};

                write_file(path, texts[i], strlen(texts[i]));
                if (offline_read(state, OFFLINE_INCOMING, &r, NULL) != -EBADMSG)
                        fail_msg("taken: %s", texts[i]);
        }
}

/* -- who may start it -- */

static void test_check(void **unused) {
        static const struct {
                OfflineState s;
                int r;
        } rows[] = {
                { OFFLINE_OFFERED, 0 },        { OFFLINE_GIVEN, -EBADFD }, { OFFLINE_OFFERED, 0 },
                { OFFLINE_FILLING, -EBADFD },  { OFFLINE_READY, -EBADFD }, { OFFLINE_OWNED, 0 },
                { OFFLINE_RETURNED, -EBADFD },
        };

        assert_int_equal(offline_check(top, "nobody", NULL), 0);
        assert_int_equal(offline_check(top, "p", NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Error e = ERROR_INIT;

                assert_int_equal(put(rows[i].s, NULL), 0);
                assert_int_equal(offline_check(top, "p", &e), rows[i].r);
                assert_int_equal(offline_admit(top, "p", NULL), rows[i].r);
                if (rows[i].s == OFFLINE_GIVEN)
                        assert_non_null(strstr(e.text, "exec:env \"A=b c\" x"));
        }
        assert_int_equal(offline_check(top, "../p", NULL), -EINVAL);
}

static void test_lock(void **unused) {
        OfflineLock a = OFFLINE_LOCK_INIT, b = OFFLINE_LOCK_INIT;

        assert_int_equal(offline_lock(top, "p", &a, NULL), 0);
        assert_int_equal(offline_lock(top, "p", &b, NULL), -EBUSY);
        assert_int_equal(offline_admit(top, "p", NULL), -EBUSY);
        assert_int_equal(offline_admit(top, "other", NULL), 0);
        offline_unlock(&a);
        assert_int_equal(offline_admit(top, "p", NULL), 0);
        assert_int_equal(offline_lock(top, "p", &b, NULL), 0);
        offline_unlock(&b);
        offline_unlock(&b);
}

/* -- destination -- */

static char disk[4096];
static char *disks[] = { disk, NULL };

/* All of it as it is when it was sealed. */
static void make_ready(void) {
        _cleanup_free_ char *staging = offline_staging(state), *logs = NULL;
        Definition d = { .memory_mib = 64,
                         .network = (char[]){ "none" },
                         .publish = (char[]){ "" } };

        (void)snprintf(disk, sizeof(disk), "%s/disk", top);
        assert_int_equal(put(OFFLINE_FILLING, disks), 0);
        assert_int_equal(
                disk_make_destination(disk, "raw", 4096, 0, &(DiskOwner){ "q", "m1" }, NULL), 0);
        assert_int_equal(definition_begin(staging, &d, NULL), 0);
        logs = strdup(at(state, "logs"));
        assert_int_equal(directory_make(logs, 0700, NULL), 0);
        write_file(at(logs, "c.log"), "x\n", 2);
        assert_int_equal(put(OFFLINE_READY, disks), 0);
}

static bool is_marked(void) {
        DiskInfo info;

        assert_int_equal(disk_probe(disk, false, &info, NULL), 0);
        return info.incomplete;
}

static void test_commit(void **unused) {
        make_ready();
        assert_false(definition_is_there(state));
        assert_true(is_marked());
        assert_int_equal(offline_commit(state, NULL), 0);
        assert_int_equal(get(OFFLINE_INCOMING), OFFLINE_OWNED);
        assert_true(definition_is_there(state));
        assert_false(is_marked());
        assert_false(is_there("incoming.d"));
        assert_int_equal(offline_commit(state, NULL), 0);
        assert_int_equal(offline_discard(state, false, NULL), -EBADFD); /* it is ours now */
        assert_true(definition_is_there(state));
}

/* A crash behind each of its steps: again, it comes to the same. */
static void test_commit_again(void **unused) {
        make_ready();
        assert_int_equal(put(OFFLINE_OWNED, disks), 0);
        assert_false(definition_is_there(state));
        assert_int_equal(disk_commit(disk, NULL), 0);
        assert_int_equal(offline_commit(state, NULL), 0);
        assert_true(definition_is_there(state));
        assert_false(is_there("incoming.d"));
}

static void test_commit_too_early(void **unused) {
        assert_int_equal(offline_commit(state, NULL), -EBADFD);
        assert_int_equal(put(OFFLINE_FILLING, disks), 0);
        assert_int_equal(offline_commit(state, NULL), -EBADFD);
}

static void test_discard(void **unused) {
        make_ready();
        assert_int_equal(offline_discard(state, false, NULL), 0);
        assert_int_equal(access(state, F_OK), -1); /* all of it */
        assert_int_equal(access(disk, F_OK), -1);
        assert_int_equal(offline_discard(state, false, NULL), 0);
}

/* Killed while the first record was written. */
static void test_discard_nothing(void **unused) {
        write_file(at(state, ".incoming.123"), "sta", 3);
        assert_int_equal(offline_discard(state, false, NULL), 0);
        assert_int_equal(access(state, F_OK), -1);
}

/* A file that is not ours, where half a copy was to go. */
static void test_discard_others(void **unused) {
        (void)snprintf(disk, sizeof(disk), "%s/disk", top);
        write_file(disk, "mine", 4);
        assert_int_equal(put(OFFLINE_FILLING, disks), 0);
        assert_int_equal(offline_discard(state, false, NULL), 0);
        assert_int_equal(access(disk, F_OK), 0);
}

static void test_return(void **unused) {
        make_ready();
        assert_int_equal(offline_commit(state, NULL), 0);
        assert_int_equal(offline_discard(state, true, NULL), 0);
        assert_int_equal(get(OFFLINE_INCOMING), OFFLINE_RETURNED);
        assert_false(definition_is_there(state));
        assert_int_equal(access(disk, F_OK), -1);
        assert_int_equal(offline_admit(top, "p", NULL), -EBADFD);
        assert_int_equal(offline_discard(state, true, NULL), 0);
        assert_int_equal(offline_commit(state, NULL), -EBADFD);
        assert_int_equal(offline_discard(state, false, NULL), 0);
        assert_int_equal(access(state, F_OK), -1);
}

/* -- logs -- */

static void test_logs(void **unused) {
        _cleanup_free_ char *logs = strdup(at(run, "logs")), *execs = strdup(at(logs, "c"));
        bool any = true;
        char text[16];

        assert_int_equal(offline_take_logs(run, state, &any, NULL), 0);
        assert_false(any);
        assert_int_equal(offline_keep_logs(run, state, NULL), 0);
        assert_int_equal(directory_make(execs, 0700, NULL), 0);
        write_file(at(logs, "c.log"), "new\n", 4);
        write_file(at(logs, "c.log.1"), "old\n", 4);
        write_file(at(execs, "e.log"), "exec\n", 5);
        assert_int_equal(offline_keep_logs(run, state, NULL), 0);
        assert_false(is_there("logs/c"));
        directory_remove(logs);
        assert_int_equal(offline_keep_logs(run, state, NULL), 0); /* never started: they stay */
        assert_int_equal(offline_take_logs(run, state, &any, NULL), 0);
        assert_true(any);
        assert_int_equal(read_file(at(logs, "c.log"), text, sizeof(text)), 4);
        assert_string_equal(text, "new\n");
        assert_int_equal(read_file(at(logs, "c.log.1"), text, sizeof(text)), 4);
        assert_false(is_there("logs"));
}

/* A live hand-over that was cut off, and then the host booted anew. */
static void test_journal(void **unused) {
        static const struct {
                JournalKind kind;
                int want;
        } rows[] = { { JOURNAL_PREPARED, 0 },
                     { JOURNAL_FENCING, -EBADFD },
                     { JOURNAL_RELEASED, -EBADFD },
                     { JOURNAL_DONE, -EBADFD } };
        _cleanup_(journal_freep) Journal *j = NULL;
        Error e = ERROR_INIT;

        assert_int_equal(offline_check_journal(state, "p", NULL), 0);
        assert_int_equal(journal_open(at(state, "journal"), &j, NULL), 0);
        assert_int_equal(offline_check_journal(state, "p", NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const JournalRecord r = {
                        .kind = rows[i].kind, .epoch = 1, .session = "s", .pod = "p"
                };

                assert_int_equal(journal_append(j, &r, NULL), 0);
                assert_int_equal(offline_check_journal(state, "p", &e), rows[i].want);
        }
        assert_non_null(strstr(e.text, "the other host may have it"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_round_trip),
                T(test_order),
                T(test_damage),
                T(test_hostile),
                T(test_check),
                T(test_lock),
                T(test_commit),
                T(test_commit_again),
                T(test_commit_too_early),
                T(test_discard),
                T(test_discard_nothing),
                T(test_discard_others),
                T(test_return),
                T(test_logs),
                T(test_journal),
        };

        return cmocka_run_group_tests_name("offline", tests, NULL, NULL);
}
