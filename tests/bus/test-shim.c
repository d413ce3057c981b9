/* SPDX-License-Identifier: Apache-2.0 */
/* The real shim in a directory of its own, without libvirt: every object, every method with
 * arguments that are wrong, and clients that mean harm.
 * rows: H16 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>
#include <systemd/sd-bus.h>

#include "lib/cleanup.h"

#define ROOT "/org/podferry/Shim1"
#define FACE "org.podferry.Shim1"
#define OURS "org.podferry.Error."

static char directory[] = "/tmp/podferry-bus-XXXXXX";
static char run_dir[64], state_dir[64], socket_path[96];
static sd_bus *bus;

static char *text(const char *s) {
        union {
                const char *in;
                char *out;
        } u = { .in = s };

        return u.out; /* posix_spawn does not write to it */
}

static int run_shim(const char *const *more) {
        char *args[12] = { text(SHIM), text("--pod"),       text("p"), text("--run-dir"),
                           run_dir,    text("--state-dir"), state_dir };
        posix_spawn_file_actions_t actions;
        int status;
        pid_t pid;

        for (size_t i = 0; more && more[i]; i++)
                args[7 + i] = text(more[i]);
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        assert_int_equal(posix_spawn(&pid, SHIM, &actions, NULL, args, environ), 0);
        (void)posix_spawn_file_actions_destroy(&actions);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static int dial(void) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", socket_path);
        assert_true(fd >= 0);
        if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
                (void)close(fd);
                return -1;
        }
        return fd;
}

static sd_bus *open_bus(void) {
        char address[128];
        sd_bus *b = NULL;

        (void)snprintf(address, sizeof(address), "unix:path=%s", socket_path);
        assert_true(sd_bus_new(&b) >= 0);
        assert_true(sd_bus_set_address(b, address) >= 0);
        assert_true(sd_bus_start(b) >= 0);
        return b;
}

typedef struct Row {
        const char *object, *interface, *member;
        const char
                *types; /* as a signature; D: a dictionary with one entry of the type in `kind` */
        const char *texts[4];
        uint64_t numbers[3];
        char kind;
        const char *error; /* NULL: succeeds */
} Row;

#define VM    "/vm", FACE ".Vm"
#define POD   "/pod", FACE ".Pod"
#define ONE   "/container/c1", FACE ".Container"
#define MOVE  "/migration", FACE ".Migration"
#define INVAL OURS "InvalidArgument"
#define STATE OURS "FailedPrecondition"
#define NOOBJ "org.freedesktop.DBus.Error.UnknownObject"
#define ARGS  "org.freedesktop.DBus.Error.InvalidArgs"

/* clang-format off */
static const Row rows[] = {
        { "", FACE, "Ping", "", .error = NULL },
        { "", FACE, "Ping", "s", { "x" }, .error = ARGS },
        { "", FACE, "Dump", "", .error = NULL },
        { "", FACE, "NoSuch", "", .error = "org.freedesktop.DBus.Error.UnknownMethod" },
        { VM, "Start", "s", { "x" }, .error = ARGS },
        { VM, "Start", "D", { "memory" }, { 512 }, 'u', INVAL },
        { VM, "Start", "D", { "memory_mib" }, { 1 }, 'u', INVAL },
        { VM, "Start", "D", { "memory_mib" }, { UINT64_MAX }, 't', INVAL },
        { VM, "Start", "D", { "vcpus" }, { 0 }, 'u', INVAL },
        { VM, "Start", "D", { "vcpus", "two" }, {}, 's', INVAL },
        { VM, "Start", "D", { "vcpus" }, { 1 }, 'u', OURS "NotFound" }, /* no guest image */
        { VM, "Stop", "u", {}, { 0 }, .error = NULL },
        { VM, "Run", "s", { "ls" }, .error = ARGS },
        { POD, "CreateContainer", "ss", { "c1", "{}" }, .error = STATE },
        { POD, "CreateContainer", "ss", { "../../x", "{}" }, .error = INVAL },
        { POD, "CreateContainer", "ss", { "", "" }, .error = INVAL },
        { POD, "CreateContainer", "s", { "c1" }, .error = ARGS },
        { POD, "Stop", "u", {}, { 0 }, .error = NULL },
        { ONE, "Start", "", .error = NOOBJ },
        { ONE, "Kill", "sub", { "" }, { 9, 0 }, .error = NOOBJ },
        { ONE, "Wait", "s", { "" }, .error = NOOBJ },
        { "/container/c1/process/init", FACE ".Process", "Ping", "", .error = NOOBJ },
        { "/scsi", FACE ".Scsi", "Dump", "", .error = STATE },
        { "/network", FACE ".Network", "Dump", "", .error = STATE },
        { "/plan9", FACE ".Plan9", "Dump", "", .error = STATE },
        { "/vpci", FACE ".Vpci", "Dump", "", .error = STATE },
        { MOVE, "Patch", "ssss", { "s1", "c1", "", "{}" }, .error = INVAL },
        { MOVE, "Finalize", "ss", { "s1", "resume" }, .error = INVAL },
        { MOVE, "Finalize", "ss", { "s1", "maybe" }, .error = INVAL },
        { MOVE, "Cancel", "s", { "s1" }, .error = NULL }, /* there is nothing to stop */
        { MOVE, "SetBandwidth", "st", { "s1" }, { 1 }, .error = INVAL },
        { MOVE, "Cancel", "u", {}, { 1 }, .error = ARGS },
};
/* clang-format on */

static void append(sd_bus_message *m, const Row *row) {
        size_t text = 0, number = 0;

        for (const char *t = row->types; *t; t++)
                switch (*t) {
                case 's':
                        assert_true(sd_bus_message_append(m, "s", row->texts[text++]) >= 0);
                        break;
                case 'u':
                case 'b':
                        assert_true(sd_bus_message_append(m, *t == 'u' ? "u" : "b",
                                                          (uint32_t)row->numbers[number++]) >= 0);
                        break;
                case 't':
                        assert_true(sd_bus_message_append(m, "t", row->numbers[number++]) >= 0);
                        break;
                default:
                        if (row->kind == 's')
                                assert_true(sd_bus_message_append(m, "a{sv}", 1, row->texts[0], "s",
                                                                  row->texts[1]) >= 0);
                        else if (row->kind == 'u')
                                assert_true(sd_bus_message_append(m, "a{sv}", 1, row->texts[0], "u",
                                                                  (uint32_t)row->numbers[0]) >= 0);
                        else
                                assert_true(sd_bus_message_append(m, "a{sv}", 1, row->texts[0], "t",
                                                                  row->numbers[0]) >= 0);
                }
}

static void ping(void) {
        assert_true(sd_bus_call_method(bus, NULL, ROOT, FACE, "Ping", NULL, NULL, "") >= 0);
}

static char *dump(void) {
        sd_bus_message *reply = NULL;
        const char *text;
        char *copy;

        assert_true(sd_bus_call_method(bus, NULL, ROOT, FACE, "Dump", NULL, &reply, "") >= 0);
        assert_true(sd_bus_message_read(reply, "s", &text) >= 0);
        copy = strdup(text);
        sd_bus_message_unref(reply);
        return copy;
}

static void test_calls(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
                sd_bus_message *m = NULL, *reply = NULL;
                char *before = dump(), *after, path[128];
                int r;

                (void)snprintf(path, sizeof(path), ROOT "%s", rows[i].object);
                assert_true(sd_bus_message_new_method_call(bus, &m, NULL, path, rows[i].interface,
                                                           rows[i].member) >= 0);
                append(m, &rows[i]);
                r = sd_bus_call(bus, m, 10 * 1000 * 1000, &e, &reply);
                if (rows[i].error ? !e.name || strcmp(e.name, rows[i].error) != 0 : r < 0)
                        fail_msg("row %zu %s.%s: %s: %s, not %s", i, rows[i].interface,
                                 rows[i].member, e.name ?: "no error", e.message ?: "",
                                 rows[i].error ?: "success");
                if (rows[i].error)
                        assert_true(e.message && e.message[0]);
                after = dump();
                assert_string_equal(before, after);
                sd_bus_message_unref(m);
                sd_bus_message_unref(reply);
                free(before);
                free(after);
        }
}

static void test_introspection(void **state) {
        static const struct {
                const char *path, *has;
        } objects[] = {
                { "", "name=\"Shutdown\"" },     { "/vm", "name=\"StateChanged\"" },
                { "/pod", "CreateContainer" },   { "/scsi", "name=\"Dump\"" },
                { "/network", "name=\"Dump\"" }, { "/plan9", "name=\"Dump\"" },
                { "/vpci", "name=\"Dump\"" },    { "/migration", "RegisterSocket" },
        };

        for (size_t i = 0; i < ELEMENTSOF(objects); i++) {
                sd_bus_message *reply = NULL;
                const char *xml;
                char path[128];

                (void)snprintf(path, sizeof(path), ROOT "%s", objects[i].path);
                assert_true(sd_bus_call_method(bus, NULL, path,
                                               "org.freedesktop.DBus.Introspectable", "Introspect",
                                               NULL, &reply, "") >= 0);
                assert_true(sd_bus_message_read(reply, "s", &xml) >= 0);
                assert_non_null(strstr(xml, objects[i].has));
                sd_bus_message_unref(reply);
        }
}

static void test_properties(void **state) {
        _cleanup_free_ char *pod = NULL, *vm = NULL, *move = NULL, *where = NULL;
        int stopping = -1, starting = -1;

        assert_true(sd_bus_get_property_string(bus, NULL, ROOT, FACE, "PodId", NULL, &pod) >= 0);
        assert_string_equal(pod, "p");
        assert_true(sd_bus_get_property_string(bus, NULL, ROOT, FACE, "RunDir", NULL, &where) >= 0);
        assert_memory_equal(where, run_dir, strlen(run_dir));
        assert_true(sd_bus_get_property_string(bus, NULL, ROOT "/vm", FACE ".Vm", "State", NULL,
                                               &vm) >= 0);
        assert_string_equal(vm, "not-created");
        assert_true(sd_bus_get_property_string(bus, NULL, ROOT "/migration", FACE ".Migration",
                                               "State", NULL, &move) >= 0);
        assert_true(strcasecmp(move, "idle") == 0);
        assert_true(sd_bus_get_property_trivial(bus, NULL, ROOT "/pod", FACE ".Pod", "Stopping",
                                                NULL, 'b', &stopping) >= 0);
        assert_int_equal(stopping, 0);
        assert_true(sd_bus_get_property_trivial(bus, NULL, ROOT "/pod", FACE ".Pod", "Starting",
                                                NULL, 'b', &starting) >= 0);
        assert_int_equal(starting, 0);
}

/* One shim per pod: a second one says so and leaves the first alone. */
static void test_second_shim(void **state) {
        int status = run_shim(NULL);

        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        ping();
}

static void test_bad_options(void **state) {
        static const char *const lists[][3] = {
                { "--no-such-option" },
                { "--run-dir", "relative" },
                { "--config", "/nonexistent" },
                { "--pod", "../x" },
                { "argument" },
        };

        for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
                int status = run_shim(lists[i]);

                assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        }
        ping();
}

static void test_garbage(void **state) {
#define BYTES(text)                                                                                \
        { text, sizeof(text) - 1 }
        static const struct {
                const char *p;
                size_t n;
        } greetings[] = {
                BYTES("GET / HTTP/1.1\r\n\r\n"),
                BYTES("\0AUTH ANONYMOUS\r\nBEGIN\r\n"),
                BYTES("\0AUTH EXTERNAL 31323334\r\nBEGIN\r\n"),
                BYTES("\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
                      "l\1\0\1\xff\xff\xff\xff\1\0\0\0\xff\xff\xff\xff"),
        };
#undef BYTES

        for (size_t i = 0; i < ELEMENTSOF(greetings); i++) {
                int fd = dial();

                assert_true(fd >= 0);
                assert_true(send(fd, greetings[i].p, greetings[i].n, MSG_NOSIGNAL) > 0);
                ping();
                (void)close(fd);
                ping();
        }
        for (unsigned seed = 1; seed < 60; seed++) { /* after a proper greeting */
                static const char hello[] =
                        "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
                char noise[600];
                int fd = dial();

                srandom(seed);
                for (size_t i = 0; i < sizeof(noise); i++)
                        noise[i] = (char)random();
                if (seed % 2)
                        memcpy(noise, "l\1\0\1", 4);
                (void)send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
                (void)send(fd, noise, sizeof(noise), MSG_NOSIGNAL);
                if (seed % 3)
                        ping();
                (void)close(fd);
        }
        ping();
}

/* -- every method that introspection names, with values that nobody should send -- */

static char long_text[300000], deep[20001];
static const char *const hostile_texts[] = { "",   long_text, "../../etc/passwd", "\x1b[31m\n%s%n",
                                             "{}", deep,      "{\"disks\":" };
static const uint64_t hostile_numbers[] = { 0, UINT64_MAX, 1, UINT32_MAX, INT64_MAX };

static int append_dictionary(sd_bus_message *m, unsigned turn) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");
        unsigned n = turn == 0 ? 0 : turn == 1 ? 3000 : 1;

        for (unsigned i = 0; r >= 0 && i < n; i++)
                r = turn == 2   ? sd_bus_message_append(m, "{sv}", "", "av", 1, "s", deep)
                    : turn == 3 ? sd_bus_message_append(m, "{sv}", "handover", "t", UINT64_MAX)
                    : turn == 4 ? sd_bus_message_append(m, "{sv}", "vcpus", "s", long_text)
                                : sd_bus_message_append(m, "{sv}",
                                                        turn == 1 ? "x" : hostile_texts[turn], "s",
                                                        "x");
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static void append_hostile(sd_bus_message *m, const char *type, unsigned turn) {
        uint64_t number = hostile_numbers[turn % ELEMENTSOF(hostile_numbers)];
        _cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        const char *t = hostile_texts[turn];
        int r, n = (int)number;

        if (strcmp(type, "s") == 0)
                r = sd_bus_message_append_basic(m, 's', t);
        else if (strcmp(type, "t") == 0 || strcmp(type, "x") == 0 || strcmp(type, "u") == 0 ||
                 strcmp(type, "i") == 0 || strcmp(type, "q") == 0)
                r = sd_bus_message_append_basic(m, type[0], &number); /* the low bytes */
        else if (strcmp(type, "b") == 0)
                r = sd_bus_message_append(m, "b", n & 1);
        else if (strcmp(type, "h") == 0)
                r = sd_bus_message_append(m, "h", fd);
        else if (strcmp(type, "ay") == 0)
                r = sd_bus_message_append_array(m, 'y', t, strlen(t));
        else if (strcmp(type, "as") == 0)
                r = sd_bus_message_append(m, "as", 2, t, "");
        else if (strcmp(type, "a{ss}") == 0)
                r = sd_bus_message_append(m, "a{ss}", 2, t, "x", t, "");
        else if (strcmp(type, "a{sv}") == 0)
                r = append_dictionary(m, turn);
        else
                fail_msg("no hostile values for type %s", type);
        assert_true(r >= 0);
}

/* The value of an attribute of the tag that starts at xml. */
static const char *attribute(const char *xml, const char *name, char *ret, size_t n) {
        const char *end = strchr(xml, '>'), *at;
        char key[32];

        ret[0] = '\0';
        (void)snprintf(key, sizeof(key), " %s=\"", name);
        at = strstr(xml, key);
        if (at && at < end)
                (void)snprintf(ret, n, "%.*s", (int)strcspn(at + strlen(key), "\""),
                               at + strlen(key));
        return ret;
}

static void call_hostile(const char *path, const char *interface, const char *member,
                         const char *xml, unsigned turn) {
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
        const char *end = strstr(xml, "</method>"), *tag_end = strchr(xml, '>');
        sd_bus_message *m = NULL, *reply = NULL;
        char type[32], direction[8];

        assert_true(sd_bus_message_new_method_call(bus, &m, NULL, path, interface, member) >= 0);
        if (tag_end[-1] != '/') /* it has arguments */
                for (const char *arg = strstr(xml, "<arg "); arg && arg < end;
                     arg = strstr(arg + 1, "<arg "))
                        if (strcmp(attribute(arg, "direction", direction, sizeof(direction)),
                                   "in") == 0)
                                append_hostile(m, attribute(arg, "type", type, sizeof(type)), turn);
        (void)sd_bus_call(bus, m, 20 * 1000 * 1000, &e, &reply);
        if (e.name && (strcmp(e.name, SD_BUS_ERROR_NO_REPLY) == 0 ||
                       strcmp(e.name, SD_BUS_ERROR_TIMEOUT) == 0 ||
                       strcmp(e.name, SD_BUS_ERROR_DISCONNECTED) == 0))
                fail_msg("%s %s.%s, turn %u: %s", path, interface, member, turn, e.name);
        if (!reply && !(e.message && e.message[0] && !strchr(e.message, '\x1b')))
                fail_msg("%s %s.%s, turn %u: \"%s\"", path, interface, member, turn, e.message);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        ping();
}

static unsigned attack(const char *path, const char *xml) {
        char interface[80] = "", member[80];
        unsigned n = 0;

        for (const char *tag = strchr(xml, '<'); tag; tag = strchr(tag + 1, '<')) {
                if (strncmp(tag, "<interface ", 11) == 0)
                        (void)attribute(tag, "name", interface, sizeof(interface));
                if (strncmp(tag, "<method ", 8) != 0 || strncmp(interface, FACE, strlen(FACE)) != 0)
                        continue;
                (void)attribute(tag, "name", member, sizeof(member));
                if (strcmp(member, "Shutdown") == 0)
                        continue;
                for (unsigned turn = 0; turn < ELEMENTSOF(hostile_texts); turn++)
                        call_hostile(path, interface, member, tag, turn);
                n++;
        }
        return n;
}

static void test_hostile(void **state) {
        static const char *const objects[] = { "",         "/vm",    "/pod",  "/scsi",
                                               "/network", "/plan9", "/vpci", "/migration" };
        _cleanup_free_ char *vm = NULL;
        unsigned n = 0;

        memset(long_text, 'A', sizeof(long_text) - 1);
        memset(deep, '[', sizeof(deep) - 1);
        for (size_t i = 0; i < ELEMENTSOF(objects); i++) {
                sd_bus_message *reply = NULL;
                const char *xml;
                char path[128];

                (void)snprintf(path, sizeof(path), ROOT "%s", objects[i]);
                assert_true(sd_bus_call_method(bus, NULL, path,
                                               "org.freedesktop.DBus.Introspectable", "Introspect",
                                               NULL, &reply, "") >= 0);
                assert_true(sd_bus_message_read(reply, "s", &xml) >= 0);
                n += attack(path, xml);
                sd_bus_message_unref(reply);
        }
        assert_true(n > 25);
        assert_true(sd_bus_get_property_string(bus, NULL, ROOT "/vm", FACE ".Vm", "State", NULL,
                                               &vm) >= 0);
        assert_string_equal(vm, "not-created");
}

/* More than it takes: those beyond are turned away, those that are there go on, and when they leave
 * there is room again. */
static void test_many(void **state) {
        int fds[80];

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = dial();
        ping();
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                if (fds[i] >= 0)
                        (void)close(fds[i]);
        ping();
        for (unsigned i = 0; i < 100; i++) {
                sd_bus *b = open_bus();

                if (sd_bus_call_method(b, NULL, ROOT, FACE, "Ping", NULL, NULL, "") < 0)
                        fail_msg("no room after %u", i);
                sd_bus_close_unref(b);
        }
}

static int start(void **state) {
        if (!mkdtemp(directory))
                return -1;
        (void)snprintf(run_dir, sizeof(run_dir), "%s/run", directory);
        (void)snprintf(state_dir, sizeof(state_dir), "%s/lib", directory);
        (void)snprintf(socket_path, sizeof(socket_path), "%s/p/bus.sock", run_dir);
        (void)setenv("PODFERRY_GUEST_DIR", directory, 1);
        (void)unsetenv("PODFERRY_CONFIG");
        if (run_shim(NULL) != 0)
                return -1;
        bus = open_bus();
        return 0;
}

/* Shutdown leaves nothing. */
static void test_shutdown(void **state) {
        char path[96];

        assert_true(sd_bus_call_method(bus, NULL, ROOT, FACE, "Shutdown", NULL, NULL, "") >= 0);
        while (sd_bus_wait(bus, 5 * 1000 * 1000) > 0 && sd_bus_process(bus, NULL) >= 0)
                ; /* until it hangs up */
        (void)snprintf(path, sizeof(path), "%s/p", run_dir);
        assert_int_equal(access(path, F_OK), -1);
        (void)snprintf(path, sizeof(path), "%s/pods/p", state_dir);
        assert_int_equal(access(path, F_OK), -1);
}

static int stop(void **state) {
        char command[128];

        sd_bus_close_unref(bus);
        (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
        return system(command);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_calls),       cmocka_unit_test(test_introspection),
                cmocka_unit_test(test_properties),  cmocka_unit_test(test_second_shim),
                cmocka_unit_test(test_bad_options), cmocka_unit_test(test_garbage),
                cmocka_unit_test(test_hostile),     cmocka_unit_test(test_many),
                cmocka_unit_test(test_shutdown),
        };

        return cmocka_run_group_tests_name("bus", tests, start, stop);
}
