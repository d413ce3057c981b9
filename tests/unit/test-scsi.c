/* SPDX-License-Identifier: Apache-2.0 */
/* Disks: each row is a script of calls, the answers they get, and what the host and the guest saw.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fail-malloc.h"
#include "tests/fakes/fake-host.h"

/* Scripts, one letter and where shown a digit:
 *   rD reserve disk D (0..7; the k-th reserve makes handle k, from 0)   pD its partition 1
 *   xD reserve disk D with another size                                 yD ... other mount options
 *   mK map handle K     uK unmap handle K
 *   P plug  U unplug  M mount  N unmount: refused from now on;  . all work at once again
 *   L all answer later;  f the oldest succeeds;  F the oldest fails
 *   z freeze  t thaw  g the VM is gone
 * Answers: 0 done, 1 later, else a letter per code; "<k:c>" the completion of call k. */
typedef struct Row {
        const char *name, *script, *answers, *trace;
} Row;

static const Row rows[] = {
        { "map plugs and mounts", "r0m0", "00", "plug 0;mount 0:0;" },
        { "map twice is a no-op", "r0m0m0", "000", "plug 0;mount 0:0;" },
        { "map of nothing", "m0", "E", "" },
        { "unmap of nothing", "u0", "E", "" },
        { "unmap of a reservation only", "r0u0", "00", "" },
        { "unmap undoes all", "r0m0u0", "000", "plug 0;mount 0:0;unmount 0 last;unplug 0;" },
        { "unmap twice", "r0m0u0u0", "000E", "plug 0;mount 0:0;unmount 0 last;unplug 0;" },
        { "shared disk plugs once", "r0r0m0m1", "0000", "plug 0;mount 0:0;" },
        { "first holder leaves", "r0r0m0m1u0", "00000", "plug 0;mount 0:0;" },
        { "last holder takes it down", "r0r0m0m1u0u1", "000000",
          "plug 0;mount 0:0;unmount 0 last;unplug 0;" },
        { "two partitions of one disk", "r0p0m0m1", "0000", "plug 0;mount 0:0;mount 0:1;" },
        { "one partition goes, the disk stays", "r0p0m0m1u0", "00000",
          "plug 0;mount 0:0;mount 0:1;unmount 0;" },
        { "both partitions go", "r0p0m0m1u0u1", "000000",
          "plug 0;mount 0:0;mount 0:1;unmount 0;unmount 0 last;unplug 0;" },
        { "same path, other configuration", "r0x0", "0X", "" },
        { "same partition, other options", "r0y0", "0X", "" },
        { "other disks get other slots", "r0r1r2m2m1", "00000",
          "plug 2;mount 2:0;plug 1;mount 1:0;" },
        { "a freed slot is used again", "r0r1u0r2m2", "00000", "plug 0;mount 0:0;" },
        { "plug refused", "r0Pm0", "0I", "plug 0;" },
        { "no map after a refused plug", "r0Pm0.m0", "0ID", "plug 0;" },
        { "a failed disk is still held", "r0Pm0.r0", "0IB", "plug 0;" },
        { "refused plug: unmap frees the slot", "r0Pm0.u0r1m1", "0I000",
          "plug 0;plug 0;mount 0:0;" },
        { "refused plug, two holders drain", "r0r0Pm0m1.u0u1r1m2", "00ID0000",
          "plug 0;plug 0;mount 0:0;" },
        { "mount refused", "r0Mm0", "0I", "plug 0;mount 0:0;" },
        { "mount refused: unmap unplugs", "r0Mm0.u0", "0I0", "plug 0;mount 0:0;unplug 0;" },
        { "unmount refused can be retried", "r0m0Nu0.u0", "00I0",
          "plug 0;mount 0:0;unmount 0 last;unmount 0 last;unplug 0;" },
        { "unplug refused can be retried", "r0m0Uu0.u0", "00I0",
          "plug 0;mount 0:0;unmount 0 last;unplug 0;unplug 0;" },
        { "after a refused unplug the disk can be had again", "r0m0Uu0.r0m1u0u1", "00I0000",
          "plug 0;mount 0:0;unmount 0 last;unplug 0;mount 0:0;unmount 0 last;unplug 0;" },
        { "later: plug, then mount", "r0Lm0ff", "01<1:0>", "plug 0;mount 0:0;" },
        { "later: plug fails", "r0Lm0F", "01<1:I>", "plug 0;" },
        { "later: mount fails", "r0Lm0fF", "01<1:I>", "plug 0;mount 0:0;" },
        { "later: second call waits for the first", "r0r0Lm0m1ff", "0011<2:0><3:0>",
          "plug 0;mount 0:0;" },
        { "later: the second hears of the failure", "r0r0Lm0m1F", "0011<2:I><3:D>", "plug 0;" },
        { "later: two disks side by side", "r0r1Lm0m1ffff", "0011<2:0><3:0>",
          "plug 0;plug 1;mount 0:0;mount 1:0;" },
        { "later: unmap waits for the map", "r0Lm0u0ffff", "011<1:0><2:0>",
          "plug 0;mount 0:0;unmount 0 last;unplug 0;" },
        { "later: unmap of a map that fails", "r0Lm0u0F", "011<1:I><2:0>", "plug 0;" },
        { "later: a shared holder leaves at once", "r0r0Lm0u1ff", "0010<2:0>",
          "plug 0;mount 0:0;" },
        { "later: the handle goes while its map waits", "r0r0Lm0m1u1ff", "00110<3:C><2:0>",
          "plug 0;mount 0:0;" },
        { "later: unmount fails, retry", "r0m0Lu0Fu0ff", "001<2:I>1<3:0>",
          "plug 0;mount 0:0;unmount 0 last;unmount 0 last;unplug 0;" },
        { "later: reserved anew while it is unmounted", "r0m0Lu0r0fm1f", "0010<2:0>1<4:0>",
          "plug 0;mount 0:0;unmount 0 last;mount 0:0;" },
        { "later: reserved anew while it is unplugged", "r0m0Lu0fr0fm1ff", "0010<2:0>1<4:0>",
          "plug 0;mount 0:0;unmount 0 last;unplug 0;plug 0;mount 0:0;" },
        { "frozen: nothing goes", "r0m0zr1m0u0", "00DDD", "plug 0;mount 0:0;" },
        { "thawed: all goes", "r0m0ztr1m1u0", "00000",
          "plug 0;mount 0:0;plug 1;mount 1:0;unmount 0 last;unplug 0;" },
        { "no freeze while a call is in flight", "r0Lm0z", "01B", "plug 0;" },
        { "no freeze with a failed disk", "r0Pm0z", "0ID", "plug 0;" },
        { "no freeze with a failed mount", "r0Mm0z", "0ID", "plug 0;mount 0:0;" },
        { "gone: unmap only forgets", "r0m0gu0", "000", "plug 0;mount 0:0;" },
        { "gone: no map, no reserve", "r0r1gm1r2", "00DD", "" },
        { "gone while plugging: late completion is safe", "r0Lm0gfu0", "01<1:D>0", "plug 0;" },
        { "gone while unplugging", "r0m0Lu0gf", "001<2:0>", "plug 0;mount 0:0;unmount 0 last;" },
};

typedef struct Script {
        FakeHost host;
        Scsi *scsi;
        uint64_t handles[8];
        size_t n_handles, n_calls;
        char answers[256];
        struct {
                struct Script *script;
                size_t call;
        } jobs[64];
} Script;

static char letter(int r) {
        static const struct {
                int code;
                char letter;
        } letters[] = { { 0, '0' },          { 1, '1' },       { -EIO, 'I' },    { -EBADFD, 'D' },
                        { -ENOENT, 'E' },    { -EEXIST, 'X' }, { -ENOSPC, 'S' }, { -EBUSY, 'B' },
                        { -ECANCELED, 'C' }, { -EINVAL, 'V' } };

        for (size_t i = 0; i < ELEMENTSOF(letters); i++)
                if (letters[i].code == r)
                        return letters[i].letter;
        return '?';
}

static void say(Script *s, const char *text) {
        (void)strncat(s->answers, text, sizeof(s->answers) - strlen(s->answers) - 1);
}

static void completed(void *userdata, int r, const void *result, const Error *err) {
        typeof(&((Script *)NULL)->jobs[0]) job = userdata;
        char text[32];

        (void)snprintf(text, sizeof(text), "<%zu:%c>", job->call, letter(r));
        say(job->script, text);
}

static int reserve(Script *s, unsigned disk, uint32_t partition, uint64_t size,
                   const char *const *options) {
        ScsiMountConfig mount = { .partition = partition,
                                  .filesystem = "ext4",
                                  .options = options };
        char path[32];
        ScsiDiskConfig config = { .host_path = path,
                                  .kind = SCSI_DISK_VOLUME,
                                  .mode = SCSI_STORAGE_SHARED,
                                  .format = "raw",
                                  .digest = "",
                                  .virtual_size = size };

        (void)snprintf(path, sizeof(path), "/disk/%u.raw", disk);
        return scsi_reserve(s->scsi, &config, &mount, &s->handles[s->n_handles], NULL);
}

static int call(Script *s, char what, unsigned digit) {
        static const char *const options[] = { "noatime", NULL };
        size_t i = s->n_calls++;
        uint64_t handle = digit < s->n_handles ? s->handles[digit] : 999;
        int r;

        s->jobs[i].script = s;
        s->jobs[i].call = i;
        if (what == 'm')
                return scsi_map(s->scsi, handle, completed, &s->jobs[i], NULL);
        if (what == 'u')
                return scsi_unmap(s->scsi, handle, completed, &s->jobs[i], NULL);
        r = reserve(s, digit, what == 'p', what == 'x' ? 2 << 20 : 1 << 20,
                    what == 'y' ? options : NULL);
        if (r == 0)
                s->n_handles++;
        return r;
}

static void set_mode(Script *s, char c) {
        static const char ops[] = {
                [FAKE_PLUG] = 'P', [FAKE_UNPLUG] = 'U', [FAKE_MOUNT] = 'M', [FAKE_UNMOUNT] = 'N'
        };

        for (size_t i = 0; i < ELEMENTSOF(ops); i++)
                if (c == '.')
                        s->host.mode[i] = FAKE_NOW;
                else if (c == 'L')
                        s->host.mode[i] = FAKE_LATER;
                else if (c == ops[i])
                        s->host.mode[i] = FAKE_REFUSE;
}

static void run(Script *s, const char *script) {
        for (; *script; script++) {
                Controller *c = scsi_controller(s->scsi);
                int r = 2;

                if (strchr("rpxymu", *script)) {
                        r = call(s, *script, (unsigned)(script[1] - '0'));
                        script++;
                } else if (*script == 'z') {
                        r = controller_freeze(c, NULL);
                        r = r == 0 ? 2 : r;
                } else if (*script == 't')
                        controller_thaw(c);
                else if (*script == 'g')
                        scsi_lost(s->scsi);
                else if (*script == 'f' || *script == 'F')
                        assert_true(fake_fire(&s->host, *script == 'f' ? 0 : -EIO));
                else
                        set_mode(s, *script);
                if (r != 2)
                        say(s, (char[]){ letter(r), '\0' });
        }
}

static void test_row(void **state) {
        const Row *row = *state;
        Script *s;

        s = calloc(1, sizeof(*s));
        assert_non_null(s);
        assert_int_equal(scsi_new(NULL, 1, &s->scsi, NULL), 0);
        fake_host_init(&s->host, s->scsi);
        scsi_bind(s->scsi, &fake_scsi_ops, &s->host);
        run(s, row->script);
        assert_string_equal(s->answers, row->answers);
        assert_string_equal(s->host.trace, row->trace);
        fake_fire_all(&s->host, -EPIPE);
        scsi_free(s->scsi);
        free(s);
}

static void test_tables(void **state) {
        assert_int_equal(fsm_check(&scsi_fsm, NULL), 0);
        assert_int_equal(fsm_check(&scsi_disk_fsm, NULL), 0);
        assert_int_equal(fsm_check(&scsi_mount_fsm, NULL), 0);
}

static void test_no_slots(void **state) {
        _cleanup_(scsi_freep) Scsi *s = NULL;
        ScsiMountConfig mount = { .filesystem = "ext4" };
        Error e = ERROR_INIT;
        uint64_t handle;

        assert_int_equal(scsi_new(NULL, 5, &s, &e), -EINVAL);
        assert_int_equal(scsi_new(NULL, 2, &s, &e), 0);
        for (unsigned i = 0; i < 2 * SCSI_TARGETS + 1; i++) {
                char path[32];
                ScsiDiskConfig d = { path, SCSI_DISK_VOLUME, SCSI_STORAGE_COPY, false, "raw", "",
                                     512 };

                (void)snprintf(path, sizeof(path), "/d/%u", i);
                assert_int_equal(scsi_reserve(s, &d, &mount, &handle, &e),
                                 i < 2 * SCSI_TARGETS ? 0 : -ENOSPC);
        }
        assert_non_null(strstr(e.text, "no free slot"));
        assert_string_equal(scsi_guest_path(s, 65), "/run/mounts/scsi/1_0_0");
        assert_null(scsi_guest_path(s, 1000));
        assert_int_equal(scsi_map(s, 1, NULL, NULL, &e), -EBADFD); /* not bound */
}

/* A volume goes to another file while it stays plugged. */
static void test_move(void **state) {
        ScsiDiskConfig d = { "/d/a", SCSI_DISK_VOLUME, SCSI_STORAGE_COPY, false, "raw", "", 512 };
        ScsiMountConfig mount = { .filesystem = "ext4" },
                        ro = { .filesystem = "ext4", .read_only = true };
        _cleanup_(scsi_freep) Scsi *s = NULL;
        FakeHost *h = calloc(1, sizeof(*h));
        uint64_t a, b, other, again;
        ScsiDiskInfo info;
        Error e;

        assert_non_null(h);
        assert_int_equal(scsi_new(NULL, 1, &s, NULL), 0);
        fake_host_init(h, s);
        scsi_bind(s, &fake_scsi_ops, h);
        assert_int_equal(scsi_reserve(s, &d, &mount, &a, NULL), 0);
        assert_int_equal(scsi_reserve(s, &d, &mount, &b, NULL), 0);
        assert_int_equal(scsi_move_begin(s, a, "/d/new", &e), -EBADFD); /* not plugged */
        assert_int_equal(scsi_map(s, a, NULL, NULL, NULL), 0);
        d = (ScsiDiskConfig){ "/d/ro", SCSI_DISK_VOLUME, SCSI_STORAGE_SAME, true, "raw", "", 512 };
        assert_int_equal(scsi_reserve(s, &d, &ro, &other, NULL), 0);
        assert_int_equal(scsi_map(s, other, NULL, NULL, NULL), 0);
        assert_int_equal(scsi_move_begin(s, other, "/d/new", &e), -EINVAL);
        assert_non_null(strstr(e.text, "read-only"));
        d.host_path = "/d/scratch";
        d.kind = SCSI_DISK_SCRATCH;
        d.mode = SCSI_STORAGE_COPY;
        d.read_only = false;
        assert_int_equal(scsi_reserve(s, &d, &mount, &other, NULL), 0);
        assert_int_equal(scsi_move_begin(s, other, "/d/new", &e), -EINVAL);
        assert_non_null(strstr(e.text, "scratch"));
        assert_int_equal(scsi_move_begin(s, 99, "/d/new", &e), -ENOENT);
        assert_int_equal(scsi_move_begin(s, a, "d/new", &e), -EINVAL);
        assert_int_equal(scsi_move_begin(s, a, "/d/ro", &e), -EEXIST);
        assert_false(scsi_is_moving(s, a));

        assert_int_equal(scsi_move_begin(s, a, "/d/new", &e), 0);
        assert_true(scsi_is_moving(s, a) && scsi_is_moving(s, b) && !scsi_is_moving(s, other));
        assert_int_equal(scsi_move_begin(s, b, "/d/other", &e), -EBUSY);
        d = (ScsiDiskConfig){ "/d/a", SCSI_DISK_VOLUME, SCSI_STORAGE_COPY, false, "raw", "", 512 };
        assert_int_equal(scsi_reserve(s, &d, &mount, &again, &e), -EBUSY);
        assert_int_equal(scsi_unmap(s, b, NULL, NULL, &e), -EBUSY);
        assert_int_equal(scsi_move_end(s, a, NULL), 0);
        assert_int_equal(scsi_disk_of(s, a, &info), 0);
        assert_string_equal(info.config.host_path, "/d/a");

        assert_int_equal(scsi_move_begin(s, b, "/d/new", &e), 0);
        assert_int_equal(scsi_move_end(s, b, "/d/new"), 0);
        assert_int_equal(scsi_disk_of(s, a, &info), 0);
        assert_string_equal(info.config.host_path, "/d/new");
        d.host_path = "/d/new";
        assert_int_equal(scsi_reserve(s, &d, &mount, &again, &e), 0); /* the same disk */
        assert_int_equal(scsi_unmap(s, again, NULL, NULL, NULL), 0);
        assert_int_equal(scsi_unmap(s, b, NULL, NULL, NULL), 0);
        assert_int_equal(scsi_move_begin(s, a, "/d/a", &e), 0);
        scsi_lost(s);
        assert_int_equal(scsi_unmap(s, a, NULL, NULL, NULL), 0); /* nothing is left to wait for */
        assert_int_equal(scsi_move_end(s, a, NULL), 0);
        assert_string_equal(h->trace, "plug 0;mount 0:0;plug 1;mount 1:0;");
        free(h);
}

typedef struct BadRow {
        const char *name;
        ScsiDiskConfig disk;
        ScsiMountConfig mount;
        const char *says;
} BadRow;

#define DISK(...)                                                                                  \
        {                                                                                          \
                .host_path = "/d", .kind = SCSI_DISK_VOLUME, .format = "raw",                      \
                .mode = SCSI_STORAGE_COPY, .virtual_size = 512, __VA_ARGS__                        \
        }
#define MOUNT(...)                                                                                 \
        { .filesystem = "ext4", __VA_ARGS__ }
/* Each row overrides one field of a good configuration. */
#pragma GCC diagnostic ignored "-Woverride-init"
static const char *const comma[] = { "a,b", NULL }, *const empty[] = { "", NULL };

static const BadRow bad_rows[] = {
        { "empty path", DISK(.host_path = ""), MOUNT(), "disk path is empty" },
        { "relative path", DISK(.host_path = "d"), MOUNT(), "not absolute" },
        { "dots", DISK(.host_path = "/a/../b"), MOUNT(), "not normalised" },
        { "double slash", DISK(.host_path = "/a//b"), MOUNT(), "not normalised" },
        { "slash at the end", DISK(.host_path = "/a/"), MOUNT(), "not normalised" },
        { "root", DISK(.host_path = "/"), MOUNT(), "root directory" },
        { "newline in the path", DISK(.host_path = "/a\nb"), MOUNT(), "control character" },
        { "kind", DISK(.kind = 77), MOUNT(), "kind 77" },
        { "mode", DISK(.mode = -1), MOUNT(), "mode -1" },
        { "format", DISK(.format = "vmdk"), MOUNT(), "vmdk" },
        { "no format", DISK(.format = NULL), MOUNT(), "format" },
        { "digest", DISK(.digest = "sha256:abc"), MOUNT(), "64 hex digits" },
        { "upper-case digest", DISK(.digest = FAKE_DIGEST("A")), MOUNT(), "64 hex digits" },
        { "no size", DISK(.virtual_size = 0), MOUNT(), "size is 0" },
        { "huge size", DISK(.virtual_size = UINT64_MAX), MOUNT(), "size is" },
        { "writable layer", DISK(.kind = SCSI_DISK_LAYER), MOUNT(), "not read-only" },
        { "read-only scratch", DISK(.kind = SCSI_DISK_SCRATCH, .read_only = true),
          MOUNT(.read_only = true), "is read-only" },
        { "same but written", DISK(.mode = SCSI_STORAGE_SAME), MOUNT(), "is for a read-only disk" },
        { "layer without digest",
          DISK(.kind = SCSI_DISK_LAYER, .mode = SCSI_STORAGE_SAME, .read_only = true),
          MOUNT(.read_only = true), "no digest" },
        { "writable mount of a read-only disk", DISK(.read_only = true), MOUNT(), "read-only" },
        { "partition", DISK(), MOUNT(.partition = 1000), "partition 1000" },
        { "filesystem", DISK(), MOUNT(.filesystem = "ext4;rm"), "filesystem" },
        { "no filesystem", DISK(), MOUNT(.filesystem = ""), "filesystem" },
        { "block device with a filesystem", DISK(), MOUNT(.block_device = true), "block device" },
        { "option with a comma", DISK(), MOUNT(.options = comma), "comma" },
        { "empty option", DISK(), MOUNT(.options = empty), "empty" },
};

static void test_bad(void **state) {
        const BadRow *row = *state;
        _cleanup_(scsi_freep) Scsi *s = NULL;
        Error e = ERROR_INIT;
        uint64_t handle = 77;

        assert_int_equal(scsi_new(NULL, 1, &s, NULL), 0);
        assert_int_equal(scsi_reserve(s, &row->disk, &row->mount, &handle, &e), -EINVAL);
        assert_non_null(strstr(e.text, row->says));
        assert_int_equal(handle, 77);
        assert_int_equal(scsi_check(&row->disk, &row->mount, NULL), -EINVAL);
}

/* A frozen Scsi with a layer, a scratch, a shared volume of two partitions and a reserved one. */
static void make_frozen(Script *s) {
        static const char *const options[] = { "noatime", "discard", NULL };
        ScsiDiskConfig layer = { .host_path = "/layers/0000000000000000000000000000000000000000000"
                                              "000000000000000000000.erofs",
                                 .kind = SCSI_DISK_LAYER,
                                 .mode = SCSI_STORAGE_SAME,
                                 .read_only = true,
                                 .format = "raw",
                                 .digest = FAKE_DIGEST("0"),
                                 .virtual_size = 4096 };
        ScsiMountConfig erofs = { .filesystem = "erofs", .read_only = true };

        assert_int_equal(scsi_new(NULL, 2, &s->scsi, NULL), 0);
        fake_host_init(&s->host, s->scsi);
        scsi_bind(s->scsi, &fake_scsi_ops, &s->host);
        assert_int_equal(scsi_reserve(s->scsi, &layer, &erofs, &s->handles[0], NULL), 0);
        assert_int_equal(scsi_reserve(s->scsi, &layer, &erofs, &s->handles[1], NULL), 0);
        s->n_handles = 2;
        run(s, "m0m1r1r2");
        assert_int_equal(reserve(s, 1, 3, 1 << 20, options), 0);
        s->n_handles++;
        run(s, "m2m4u3r5m5");
        assert_null(strpbrk(s->answers, "1VDEXSBCI?"));
        assert_int_equal(controller_freeze(scsi_controller(s->scsi), NULL), 0);
}

static void test_round_trip(void **state) {
        _cleanup_(scsi_freep) Scsi *t = NULL;
        _cleanup_buf_ Buf first = {}, second = {};
        Script s = {};
        Error e = ERROR_INIT;
        ScsiDiskInfo info;

        make_frozen(&s);
        assert_int_equal(scsi_save(s.scsi, &first, &e), 0);
        assert_int_equal(scsi_import(NULL, first.data, first.len, &t, &e), 0);
        assert_int_equal(scsi_state(t), SCSI_DESTINATION_MIGRATING);
        assert_int_equal(scsi_save(t, &second, &e), -EBADFD);
        assert_int_equal(scsi_resume(t, &fake_scsi_ops, &s.host, &e), -EBADFD);
        assert_non_null(strstr(e.text, "was not given a path of this host"));
        assert_int_equal(scsi_check_claims(t, &e), -EINVAL);
        for (size_t i = 0; i < s.n_handles; i++) {
                if (!scsi_has_reservation(s.scsi, s.handles[i])) {
                        assert_int_equal(scsi_claim(t, s.handles[i], &e), -EINVAL);
                        continue;
                }
                assert_int_equal(scsi_claim(t, s.handles[i], &e), 0);
                assert_int_equal(scsi_claim(t, s.handles[i], &e), -EINVAL);
                assert_int_equal(scsi_disk_of(s.scsi, s.handles[i], &info), 0);
                /* The same path, or the bytes would differ. */
                assert_int_equal(scsi_patch(t, s.handles[i], info.config.host_path, &e), 0);
                assert_string_equal(scsi_guest_path(t, s.handles[i]),
                                    scsi_guest_path(s.scsi, s.handles[i]));
                assert_int_equal(scsi_is_mapped(t, s.handles[i]),
                                 scsi_is_mapped(s.scsi, s.handles[i]));
        }
        assert_int_equal(scsi_check_claims(t, &e), 0);
        assert_int_equal(scsi_resume(t, &fake_scsi_ops, &s.host, &e), 0);
        assert_int_equal(controller_freeze(scsi_controller(t), &e), 0);
        assert_int_equal(scsi_save(t, &second, &e), 0);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.data, second.data, first.len);
        /* New handles never repeat old ones. */
        controller_thaw(scsi_controller(t));
        scsi_free(s.scsi);
        s.scsi = t;
        s.n_handles = 0;
        run(&s, "r7");
        assert_true(s.handles[0] > 5);
}

static void test_patch(void **state) {
        _cleanup_(scsi_freep) Scsi *t = NULL;
        _cleanup_buf_ Buf b = {};
        Script s = {};
        Error e = ERROR_INIT;

        make_frozen(&s);
        assert_int_equal(scsi_patch(s.scsi, s.handles[0], "/x", &e), -EBADFD);
        assert_int_equal(scsi_save(s.scsi, &b, &e), 0);
        assert_int_equal(scsi_import(NULL, b.data, b.len, &t, &e), 0);
        assert_int_equal(scsi_patch(t, 999, "/x", &e), -ENOENT);
        assert_int_equal(scsi_patch(t, s.handles[0], "x", &e), -EINVAL);
        assert_int_equal(scsi_patch(t, s.handles[0], "/x", &e), 0);
        assert_int_equal(scsi_patch(t, s.handles[0], "/z", &e), 0);       /* changed its mind */
        assert_int_equal(scsi_patch(t, s.handles[1], "/y", &e), -EINVAL); /* the same disk */
        assert_int_equal(scsi_patch(t, s.handles[1], "/z", &e), 0);
        assert_int_equal(scsi_patch(t, s.handles[2], "/z", &e), -EEXIST);
        assert_int_equal(scsi_abort_migrated(t, &e), 0);
        assert_int_equal(scsi_abort_migrated(t, &e), 0);
        assert_int_equal(scsi_state(t), SCSI_GONE);
        assert_int_equal(scsi_resume(t, NULL, NULL, &e), 0);
        assert_int_equal(scsi_unmap(t, s.handles[0], NULL, NULL, &e), 0);
        assert_int_equal(scsi_resume(s.scsi, NULL, NULL, &e), 0); /* the source thaws */
        assert_int_equal(scsi_resume(s.scsi, NULL, NULL, &e), 0);
        assert_int_equal(scsi_state(s.scsi), SCSI_ACTIVE);
        scsi_free(s.scsi);
}

/* Every allocation fails once; whatever call it hits is refused and changes nothing. */
static void test_no_memory(void **state) {
        _cleanup_buf_ Buf b = {};
        Script s = {};
        int r = -ENOMEM;

        if (!fail_malloc_works())
                skip();
        make_frozen(&s);
        for (unsigned n = 1; r != 0; n++) {
                fail_malloc_at(n);
                r = scsi_save(s.scsi, &b, NULL);
                fail_malloc_at(0);
                assert_true(r == 0 || r == -ENOMEM);
        }
        r = -ENOMEM;
        for (unsigned n = 1; r != 0; n++) {
                Scsi *t = NULL;

                fail_malloc_at(n);
                r = scsi_import(NULL, b.data, b.len, &t, NULL);
                fail_malloc_at(0);
                assert_true(r == 0 ? !!t : !t);
                scsi_free(t);
        }
        controller_thaw(scsi_controller(s.scsi));
        s.n_handles = 7;
        for (unsigned n = 1, failed = 1; failed; n++) {
                size_t before = strlen(s.host.trace);

                fail_malloc_at(n);
                r = reserve(&s, 6, 0, 1 << 20, NULL);
                fail_malloc_at(0);
                failed = r != 0;
                assert_true(r == 0 || r == -ENOMEM);
                assert_int_equal(strlen(s.host.trace), before);
        }
        fail_malloc_at(1);
        assert_int_equal(scsi_map(s.scsi, s.handles[7], NULL, NULL, NULL), -ENOMEM);
        fail_malloc_at(0);
        assert_int_equal(scsi_map(s.scsi, s.handles[7], NULL, NULL, NULL), 0);
        scsi_free(s.scsi);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + ELEMENTSOF(bad_rows) + 8];
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[n++] = (struct CMUnitTest){ .name = rows[i].name,
                                                  .test_func = test_row,
                                                  .initial_state = (void *)(uintptr_t)&rows[i] };
        for (size_t i = 0; i < ELEMENTSOF(bad_rows); i++)
                tests[n++] =
                        (struct CMUnitTest){ .name = bad_rows[i].name,
                                             .test_func = test_bad,
                                             .initial_state = (void *)(uintptr_t)&bad_rows[i] };
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_tables);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_no_slots);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_move);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_round_trip);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_patch);
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_no_memory);
        return _cmocka_run_group_tests("scsi", tests, n, NULL, NULL);
}
