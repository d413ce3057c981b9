/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>

#include "lib/buf.h"
#include "shim/ctl/options.h"
#include "shim/ctl/remote.h"
#include "shim/ctl/values.h"
#include "shim/ctl/volume.h"

static const Option options[] = {
        { 1, 'a', "all", NULL, "" },
        { 2, 'n', "name", "NAME", "" },
};

static const Command plain = { .name = "x", .options = options, .n_options = 2 };
static const Command wrapping = {
        .name = "x", .options = options, .n_options = 2, .operands_end_options = true
};

typedef struct Row {
        const char *name;
        const Command *command;
        const char *line;   /* words */
        const char *expect; /* "a", "n=V", "h", "!" for an error, "|" and then the operands */
} Row;

static const Row rows[] = {
        { "nothing", &plain, "", "|" },
        { "operands between options", &plain, "p -a q --name=v", "a n=v |p q" },
        { "value in the next word", &plain, "--name v -n w", "n=v n=w |" },
        { "value in the same word", &plain, "-nv -anw", "n=v a n=w |" },
        { "double dash", &plain, "-a -- -n p", "a |-n p" },
        { "dash is an operand", &plain, "-", "|-" },
        { "another's options stay", &wrapping, "-a cmd -n x --all", "a |cmd -n x --all" },
        { "unknown long", &plain, "--nope", "!" },
        { "unknown letter", &plain, "-an=1 -z", "a n==1 !" },
        { "abbreviations are none", &plain, "--nam v", "!" },
        { "value missing", &plain, "--name", "!" },
        { "value unwanted", &plain, "--all=1", "!" },
        { "help", &plain, "-a --help", "a h |" },
};

/* What is wrong with a value is said of the option that it belongs to. */
static void test_took(void **state) {
        char *line[] = { (char[]){ "-a" }, (char[]){ "--name=v" }, NULL };
        Error e = ERROR_INIT;
        OptionParser p;

        option_parser_init(&p, &plain, 2, line);
        assert_int_equal(option_next(&p, &e), 1);
        assert_int_equal(option_took(&p, 0, &e), 0);
        assert_int_equal(option_next(&p, &e), 2);
        assert_int_equal(option_took(&p, error_setf(&e, -EINVAL, "\"v\" is no size"), &e), -EINVAL);
        assert_string_equal(e.text, "--name: \"v\" is no size");
}

static void test_row(void **state) {
        const Row *row = *state;
        _cleanup_(words_freep) char **words = NULL;
        _cleanup_buf_ Buf seen = {};
        OptionParser p;
        char **operands, *line[16] = {};
        int id, n;

        /* The parser moves operands over options that it has read: it works on a copy. */
        if (*row->line)
                assert_int_equal(value_words(row->line, &words, NULL), 0);
        assert_in_range(words_count(words), 0, ELEMENTSOF(line) - 1);
        for (size_t i = 0; i < words_count(words); i++)
                line[i] = words[i];
        option_parser_init(&p, row->command, (int)words_count(words), line);
        while ((id = option_next(&p, NULL)) > 0)
                assert_int_equal(id == 2   ? buf_printf(&seen, "n=%s ", p.value)
                                 : id == 1 ? buf_printf(&seen, "a ")
                                           : buf_printf(&seen, "h "),
                                 0);
        if (id < 0)
                assert_int_equal(buf_printf(&seen, "!"), 0);
        else {
                operands = option_operands(&p, &n);
                assert_int_equal(buf_printf(&seen, "|"), 0);
                for (int i = 0; i < n; i++)
                        assert_int_equal(buf_printf(&seen, "%s%s", i > 0 ? " " : "", operands[i]),
                                         0);
        }
        assert_int_equal(buf_append(&seen, "", 1), 0);
        assert_string_equal((const char *)seen.data, row->expect);
}

static void test_sizes(void **state) {
        uint64_t n;

        assert_int_equal(value_size("512M", &n, NULL), 0);
        assert_int_equal(n, 512U << 20);
        assert_int_equal(value_size("2GiB", &n, NULL), 0);
        assert_int_equal(n, 2ULL << 30);
        assert_int_equal(value_size("7", &n, NULL), 0);
        assert_int_equal(n, 7);
        for (const char *const *bad =
                     (const char *const[]){ "", "M", "-1", "1X", "1MM", "1.5G",
                                            "99999999999999999999", "18446744073709551615K", NULL };
             *bad; bad++)
                assert_int_equal(value_size(*bad, &n, NULL), -EINVAL);
        assert_int_equal(value_duration("500ms", &n, NULL), 0);
        assert_int_equal(n, 500);
        assert_int_equal(value_duration("2m", &n, NULL), 0);
        assert_int_equal(n, 120000);
        assert_int_equal(value_duration("2 m", &n, NULL), -EINVAL);
}

static void test_names(void **state) {
        _cleanup_free_ char *pod = NULL, *container = NULL;
        uint32_t number, uid, gid;

        assert_int_equal(value_signal("sigterm", &number, NULL), 0);
        assert_int_equal(number, SIGTERM);
        assert_int_equal(value_signal("9", &number, NULL), 0);
        assert_int_equal(value_signal("0", &number, NULL), -EINVAL);
        assert_int_equal(value_signal("NOPE", &number, NULL), -EINVAL);
        assert_int_equal(value_user("10:20", &uid, &gid, NULL), 0);
        assert_int_equal(uid * 100 + gid, 1020);
        assert_int_equal(value_user("root", &uid, &gid, NULL), -EINVAL);
        assert_int_equal(value_target("p/c", &pod, &container, NULL), 0);
        assert_string_equal(container, "c");
        assert_int_equal(value_target("../x", &pod, &container, NULL), -EINVAL);
        assert_int_equal(value_target("p/", &pod, &container, NULL), -EINVAL);
}

static void test_volumes(void **state) {
        static const char *const bad[] = {
                "/dev/null",
                "/dev/null:data",
                "/dev/null:/a/../b",
                "/dev/null:/",
                "/dev/null:/a:rx",
                "/dev/null:/a:same",
                "/dev/null:/a:ro:copy",
                "/dev/null:/a:shared:copy",
                "/dev/null:/a:ro:rw",
                "/dev/null:/a:rw:ro",
                "/dev/null:/a:part=1:part=2",
                "/dev/null:/a:part=0",
                "/dev/null:/a:part=129",
                "/dev/null:/a:format=vmdk",
                "/dev/null:/a:format=raw:format=qcow2",
        };
        VolumeValue v;
        Error e;

        assert_int_equal(volume_parse("/dev/null:/data:ro:dev", &v, NULL), 0);
        assert_true(v.read_only && v.block_device);
        assert_string_equal(v.mode, "same");
        assert_string_equal(v.format, "");
        assert_string_equal(v.destination, "/data");
        volume_value_done(&v);
        assert_int_equal(volume_parse("/dev/null:/data:shared:part=3:format=raw", &v, NULL), 0);
        assert_string_equal(v.mode, "shared");
        assert_string_equal(v.format, "raw");
        assert_int_equal(v.partition, 3);
        volume_value_done(&v);
        assert_int_equal(volume_parse("/dev/null:/data", &v, NULL), 0);
        assert_string_equal(v.mode, "copy");
        volume_value_done(&v);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(volume_parse(bad[i], &v, &e), -EINVAL);
                assert_non_null(strstr(e.text, "/dev/null"));
        }
        assert_int_equal(volume_parse("/nowhere/x:/a", &v, NULL), -ENOENT);
}

static void test_words(void **state) {
        _cleanup_(words_freep) char **words = NULL, **again = NULL;
        _cleanup_free_ char *quoted = NULL;

        assert_int_equal(value_words(" a 'b c' \"d\\\"e\" f\\ g '' ", &words, NULL), 0);
        assert_int_equal(words_count(words), 5);
        assert_string_equal(words[1], "b c");
        assert_string_equal(words[2], "d\"e");
        assert_string_equal(words[3], "f g");
        assert_string_equal(words[4], "");
        assert_int_equal(value_words("'a", &again, NULL), -EINVAL);
        assert_int_equal(value_words("  ", &again, NULL), -EINVAL);
        quoted = word_quote("it's $HOME `x`");
        assert_int_equal(value_words(quoted, &again, NULL), 0);
        assert_string_equal(again[0], "it's $HOME `x`");
}

static void test_text(void **state) {
        assert_true(text_is_utf8("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x9a\xa2"));
        assert_false(text_is_utf8("\xff"));
        assert_false(text_is_utf8("\xc0\xaf"));     /* overlong */
        assert_false(text_is_utf8("\xed\xa0\x80")); /* surrogate */
        assert_false(text_is_utf8("\xe2\x82"));     /* cut off */
}

static void test_remote(void **state) {
        char dash_i[] = "-i", key[] = "my key";
        char *more[] = { dash_i, key, NULL };
        Remote r = {};

        assert_int_equal(remote_parse("exec:hack/lab enter h2", "pf", NULL, &r, NULL), 0);
        assert_int_equal(words_count(r.prefix), 3);
        assert_string_equal(r.program, "pf");
        remote_done(&r);
        assert_int_equal(remote_parse("ssh://root@h:2222", NULL, NULL, &r, NULL), 0);
        assert_string_equal(r.prefix[words_count(r.prefix) - 1], "root@h");
        assert_string_equal(r.prefix[words_count(r.prefix) - 2], "--");
        assert_string_equal(r.program, "podferry");
        remote_done(&r);
        assert_int_equal(remote_parse("ssh://-oProxyCommand=x", NULL, NULL, &r, NULL), -EINVAL);
        assert_int_equal(remote_parse("ssh://", NULL, NULL, &r, NULL), -EINVAL);
        assert_int_equal(remote_parse("ssh://a;b", NULL, NULL, &r, NULL), -EINVAL);
        assert_int_equal(remote_parse("ssh://h", "/opt/podferry", more, &r, NULL), 0);
        assert_string_equal(r.prefix[1], "-i");
        assert_string_equal(r.prefix[2], "my key");
        assert_string_equal(r.prefix[4], "-o");
        assert_string_equal(r.program, "/opt/podferry");
        remote_done(&r);
        assert_int_equal(remote_parse("exec:sh", NULL, more, &r, NULL), -EINVAL);
        assert_int_equal(remote_parse("h2", NULL, NULL, &r, NULL), -EINVAL);
        assert_int_equal(remote_parse("exec:", NULL, NULL, &r, NULL), -EINVAL);
}

int main(void) {
        struct CMUnitTest tests[7 + ELEMENTSOF(rows)] = {
                cmocka_unit_test(test_sizes),   cmocka_unit_test(test_names),
                cmocka_unit_test(test_volumes), cmocka_unit_test(test_words),
                cmocka_unit_test(test_text),    cmocka_unit_test(test_remote),
                cmocka_unit_test(test_took),
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                union {
                        const void *in;
                        void *out;
                } row = { .in = &rows[i] };

                tests[7 + i] = (struct CMUnitTest){ .name = rows[i].name,
                                                    .test_func = test_row,
                                                    .initial_state = row.out };
        }
        return cmocka_run_group_tests_name("cli-parse", tests, NULL, NULL);
}
