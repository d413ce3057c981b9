/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "hostdev/image/digest.h"
#include "hostdev/image/disk.h"
#include "hostdev/image/files.h"
#include "hostdev/image/layer.h"
#include "lib/magic.h"

typedef struct Place {
        char base[64];
        char state[96], root[96], file[96];
} Place;

static int set_up(void **state) {
        Place *p = calloc(1, sizeof(*p));

        if (!p)
                return -1;
        (void)strcpy(p->base, "/tmp/podferry-test-layer-XXXXXX");
        if (!mkdtemp(p->base)) {
                free(p);
                return -1;
        }
        (void)sprintf(p->state, "%s/state", p->base);
        (void)sprintf(p->root, "%s/root", p->base);
        (void)sprintf(p->file, "%s/file", p->base);
        *state = p;
        return mkdir(p->root, 0755);
}

static int tear_down(void **state) {
        Place *p = *state;
        int r = files_remove_tree(AT_FDCWD, p->base);

        free(p);
        return r;
}

static void put(const char *directory, const char *name, const void *p, size_t n) {
        int fd = openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int out;

        assert_true(fd >= 0);
        out = openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(out >= 0);
        assert_int_equal(files_write_all(out, p, n), 0);
        (void)close(out);
        (void)close(fd);
}

static void fill_root(const Place *p) {
        char path[160];

        put(p->root, "hello", "hello\n", 6);
        (void)sprintf(path, "%s/sub", p->root);
        assert_int_equal(mkdir(path, 0750), 0);
        put(path, "deep", "deep\n", 5);
        (void)sprintf(path, "%s/link", p->root);
        assert_int_equal(symlink("/etc/passwd", path), 0);
}

/* Entries of a directory of the cache, of one kind. */
static unsigned count(const Place *p, const char *sub, const char *suffix) {
        char path[160];
        unsigned n = 0;
        DIR *d;

        (void)sprintf(path, "%s/layers%s", p->state, sub);
        d = opendir(path);
        if (!d)
                return 0;
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
                size_t k = strlen(e->d_name), s = strlen(suffix);

                n += e->d_name[0] != '.' && k >= s && strcmp(e->d_name + k - s, suffix) == 0;
        }
        (void)closedir(d);
        return n;
}

static void assert_nothing_left(const Place *p) {
        assert_int_equal(count(p, "", ".erofs"), 0);
        assert_int_equal(count(p, "/tmp", ""), 0);
        assert_int_equal(count(p, "/lock", ""), 0);
        assert_int_equal(count(p, "/index", ""), 0);
}

static void test_digest(void **state) {
        char hex[DIGEST_HEX_SIZE];
        Digest d;

        digest_init(&d);
        digest_add(&d, "abc", 3);
        digest_hex(&d, hex);
        assert_string_equal(hex,
                            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_int_equal(layer_digest_check("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a"
                                            "9cb410ff61f20015ad",
                                            NULL),
                         0);
        assert_int_equal(layer_digest_check("sha256:../../etc/passwd", NULL), -EINVAL);
        assert_int_equal(layer_digest_check("sha512:00", NULL), -EINVAL);
        assert_int_equal(layer_digest_check("", NULL), -EINVAL);
}

static void test_directory(void **state) {
        _cleanup_layer_ Layer a = LAYER_INIT, b = LAYER_INIT, c = LAYER_INIT;
        const Place *p = *state;
        Error e = ERROR_INIT;
        struct stat before, after;
        char again[200];

        fill_root(p);
        if (layer_make(p->state, p->root, &a, &e) < 0)
                fail_msg("%s", e.text);
        assert_string_equal(a.filesystem, "erofs");
        assert_int_equal(layer_verify(a.path, a.digest, NULL), 0);
        assert_int_equal(stat(a.path, &before), 0);
        assert_int_equal(before.st_mode & 07777, 0444);

        /* unchanged: not made again; changed: another layer */
        assert_int_equal(layer_make(p->state, p->root, &b, NULL), 0);
        assert_string_equal(a.digest, b.digest);
        assert_int_equal(stat(b.path, &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        put(p->root, "hello", "hallo\n", 6);
        assert_int_equal(layer_make(p->state, p->root, &c, NULL), 0);
        assert_string_not_equal(a.digest, c.digest);
        assert_int_equal(count(p, "", ".erofs"), 2);
        assert_int_equal(count(p, "/tmp", ""), 0);
        assert_int_equal(count(p, "/lock", ""), 0);

        /* the same tree elsewhere, in another cache: the same bytes */
        layer_done(&b);
        put(p->root, "hello", "hello\n", 6);
        (void)sprintf(again, "%s/state2", p->base);
        assert_int_equal(layer_make(again, p->root, &b, NULL), 0);
        assert_string_equal(a.digest, b.digest);
}

static void test_race(void **state) {
        const Place *p = *state;
        pid_t pids[4];

        fill_root(p);
        for (unsigned i = 0; i < ELEMENTSOF(pids); i++) {
                pids[i] = fork();
                assert_true(pids[i] >= 0);
                if (pids[i] == 0) {
                        Layer l;

                        _exit(layer_make(p->state, p->root, &l, NULL) == 0 ? 0 : 1);
                }
        }
        for (unsigned i = 0; i < ELEMENTSOF(pids); i++) {
                int status;

                assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
                assert_int_equal(status, 0);
        }
        assert_int_equal(count(p, "", ".erofs"), 1);
        assert_int_equal(count(p, "/tmp", ""), 0);
        assert_int_equal(count(p, "/lock", ""), 0);
}

/* A process that died in the middle leaves things in tmp; the next one removes them. */
static void test_stale(void **state) {
        _cleanup_layer_ Layer l = LAYER_INIT;
        const Place *p = *state;
        char path[320];

        fill_root(p);
        (void)sprintf(path, "mkdir -p %s/layers/tmp/dead/root && chmod 000 %s/layers/tmp/dead/root",
                      p->state, p->state);
        assert_int_equal(system(path), 0);
        assert_int_equal(layer_make(p->state, p->root, &l, NULL), 0);
        assert_int_equal(count(p, "/tmp", ""), 0);
}

typedef struct TarRow {
        const char *name;
        const char *member;
        char type; /* as in the header: 0 file, 2 symlink, 3 character device, 5 directory */
        const char *target;
        const char *second; /* a file, through what came first */
        int code;
        unsigned layers;
} TarRow;

static const TarRow tar_rows[] = {
        { "plain file", "a", '0', "", "b", 0, 1 },
        { "absolute name stays inside", "/tmp/podferry-test-escape", '0', "", "b", 0, 1 },
        { "dot dot is refused", "../podferry-test-escape", '0', "", "b", -EIO, 0 },
        { "dot dot in the middle is refused", "a/../../podferry-test-escape", '0', "", "b", -EIO,
          0 },
        { "file through a link that leads out", "d", '2', "/tmp", "d/podferry-test-escape", -EIO,
          0 },
        { "file through a relative link", "d", '2', "../../../../..", "d/tmp/podferry-test-escape",
          -EIO, 0 },
        { "device node is dropped", "null", '3', "", "b", 0, 1 },
        { "root of any mode stays private", "./", '5', "", "b", 0, 1 },
};

static void tar_header(char *h, const char *name, char type, const char *target, size_t size) {
        unsigned sum = 0;

        memset(h, 0, 512);
        (void)snprintf(h, 100, "%s", name);
        (void)sprintf(h + 100, "%07o", type == '5' ? 0777 : 0644);
        (void)sprintf(h + 108, "%07o", 0);
        (void)sprintf(h + 116, "%07o", 0);
        (void)sprintf(h + 124, "%011zo", size);
        (void)sprintf(h + 136, "%011o", 0);
        memset(h + 148, ' ', 8);
        h[156] = type;
        (void)snprintf(h + 157, 100, "%s", target);
        memcpy(h + 257, "ustar\00000", 8);
        (void)sprintf(h + 329, "%07o", 1);
        (void)sprintf(h + 337, "%07o", 3);
        for (unsigned i = 0; i < 512; i++)
                sum += (unsigned char)h[i];
        (void)sprintf(h + 148, "%06o", sum);
}

static void test_tar(void **state) {
        Place *p = NULL;
        const TarRow *row = *state;
        _cleanup_layer_ Layer l = LAYER_INIT;
        char tar[512 * 5] = {};
        Error e = ERROR_INIT;
        void *place;
        int r;

        assert_int_equal(set_up(&place), 0);
        p = place;
        tar_header(tar, row->member, row->type, row->target, 0);
        tar_header(tar + 512, row->second, '0', "", 3);
        memcpy(tar + 1024, "hi\n", 3);
        put(p->base, "file", tar, sizeof(tar));
        r = layer_make(p->state, p->file, &l, &e);
        if (r != row->code)
                print_message("%d %s\n", r, e.text);
        assert_int_equal(access("/tmp/podferry-test-escape", F_OK), -1);
        assert_int_equal(r, row->code);
        /* tar's last line says only that there was one before it. */
        assert_null(strstr(e.text, "previous errors"));
        if (strstr(row->member, ".."))
                assert_non_null(strstr(e.text, "contains '..'"));
        assert_int_equal(count(p, "", ".erofs"), row->layers);
        assert_int_equal(count(p, "/tmp", ""), 0);
        assert_int_equal(count(p, "/lock", ""), 0);
        assert_int_equal(tear_down(&place), 0);
}

static void test_bad_sources(void **state) {
        const Place *p = *state;
        char path[200];
        Error e = ERROR_INIT;
        Layer l;

        assert_int_equal(layer_make(p->state, p->file, &l, &e), -ENOENT);
        put(p->base, "file", "just text", 9);
        assert_int_equal(layer_make(p->state, p->file, &l, &e), -EINVAL);
        assert_non_null(strstr(e.text, "neither a directory, nor a tar archive"));
        put(p->base, "file", "", 0);
        assert_int_equal(layer_make(p->state, p->file, &l, &e), -EINVAL);
        put(p->base, "file", "\x1f\x8bnot really", 12);
        assert_int_equal(layer_make(p->state, p->file, &l, &e), -EIO);
        assert_non_null(strstr(e.text, "cannot unpack"));
        (void)sprintf(path, "%s/fifo", p->base);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(layer_make(p->state, path, &l, &e), -EINVAL);
        assert_nothing_left(p);
}

static void test_image(void **state) {
        _cleanup_layer_ Layer made = LAYER_INIT, used = LAYER_INIT;
        const Place *p = *state;
        char other[128];

        fill_root(p);
        assert_int_equal(layer_make(p->state, p->root, &made, NULL), 0);
        (void)sprintf(other, "%s/other", p->base);
        assert_int_equal(layer_make(other, made.path, &used, NULL), 0);
        assert_string_equal(used.path, made.path); /* where it is, not a copy */
        assert_string_equal(used.digest, made.digest);
        assert_int_equal(used.size, made.size);
}

static void test_receive(void **state) {
        _cleanup_layer_ Layer made = LAYER_INIT, got = LAYER_INIT;
        _cleanup_close_ int fd = -EBADF;
        Place *p = *state;
        char other[128];
        Error e = ERROR_INIT;

        fill_root(p);
        assert_int_equal(layer_make(p->state, p->root, &made, NULL), 0);
        (void)sprintf(other, "%s/other", p->base);
        (void)strcpy(p->state, other);
        fd = open(made.path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(layer_find(other, made.digest, &got, NULL), -ENOENT);

        assert_int_equal(layer_receive(other, made.digest, made.size - 1, fd, &got, &e), -EBADMSG);
        assert_int_equal(lseek(fd, 4096, SEEK_SET), 4096);
        assert_int_equal(layer_receive(other, made.digest, made.size, fd, &got, &e), -EBADMSG);
        assert_int_equal(lseek(fd, 4096, SEEK_SET), 4096);
        assert_int_equal(layer_receive(other, made.digest, made.size - 4096, fd, &got, &e),
                         -EBADMSG);
        assert_non_null(strstr(e.text, "what arrived is"));
        assert_nothing_left(p);

        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(layer_receive(other, made.digest, made.size, fd, &got, &e), 0);
        assert_string_equal(got.digest, made.digest);
        layer_done(&got);
        assert_int_equal(layer_find(other, made.digest, &got, NULL), 0);
        assert_int_equal(layer_verify(got.path, made.digest, NULL), 0);
        layer_done(&got);
        assert_int_equal(layer_receive(other, made.digest, made.size, -EBADF, &got, &e), 0);
}

static void test_scratch(void **state) {
        const Place *p = *state;
        DiskInfo info;
        Error e = ERROR_INIT;
        struct stat st;

        assert_int_equal(disk_make_scratch(p->file, 1000, &e), -EINVAL);
        if (disk_make_scratch(p->file, 64U << 20, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(disk_make_scratch(p->file, 64U << 20, &e), -EEXIST);
        assert_int_equal(disk_probe(p->file, true, &info, &e), 0);
        assert_string_equal(info.format, "raw");
        assert_string_equal(info.filesystem, "ext4");
        assert_int_equal(info.virtual_size, 64U << 20);
        assert_false(info.incomplete);
        assert_int_equal(stat(p->file, &st), 0);
        assert_true((uint64_t)st.st_blocks * 512 < info.virtual_size / 4); /* sparse */
}

static void test_destination(void **state) {
        const Place *p = *state;
        DiskInfo info;
        DiskOwner own = { "web", "m1" }, other = { "db", "m1" };
        Error e = ERROR_INIT;

        for (unsigned i = 0; i < 2; i++) { /* the second replaces an attempt that failed */
                own.session = i ? "m2" : "m1";
                assert_int_equal(disk_make_destination(p->file, "raw", 1U << 20, 0, &own, &e), 0);
                assert_int_equal(disk_probe(p->file, true, &info, &e), 0);
                assert_true(info.incomplete);
        }
        /* one file is not the copy of two disks, nor of another pod's */
        assert_int_equal(disk_make_destination(p->file, "raw", 1U << 20, 0, &own, &e), -EEXIST);
        assert_int_equal(disk_make_destination(p->file, "raw", 1U << 20, 0, &other, &e), -EBUSY);
        assert_non_null(strstr(e.text, "half a copy for the pod web"));
        assert_int_equal(disk_discard(p->file, "db", &e), 0);
        assert_int_equal(access(p->file, F_OK), 0);
        assert_int_equal(disk_discard(p->file, "web", &e), 0);
        assert_int_equal(access(p->file, F_OK), -1);
        assert_int_equal(disk_discard(p->file, "web", &e), 0);

        assert_int_equal(disk_make_destination(p->file, "qcow2", 1U << 20, 0, &own, &e), 0);
        assert_int_equal(disk_commit(p->file, &e), 0);
        assert_int_equal(disk_commit(p->file, &e), 0);
        assert_int_equal(disk_probe(p->file, true, &info, &e), 0);
        assert_string_equal(info.format, "qcow2");
        assert_int_equal(info.virtual_size, 1U << 20);
        assert_false(info.incomplete);
        assert_int_equal(disk_discard(p->file, "web", &e), 0); /* complete: not ours to remove */
        assert_int_equal(access(p->file, F_OK), 0);
        assert_int_equal(disk_make_destination(p->file, "raw", 1U << 20, 0, &own, &e), -EEXIST);
        assert_int_equal(disk_make_destination("/tmp/x", "vmdk", 1U << 20, 0, &own, &e), -EINVAL);
        (void)unlink(p->file);
        assert_int_equal(disk_make_destination(p->file, "raw", 1U << 20, UINT64_MAX, &own, &e),
                         -ENOSPC);
        assert_int_equal(access(p->file, F_OK), -1);
}

static void test_probe(void **state) {
        const Place *p = *state;
        char text[512];
        DiskInfo info;
        Error e = ERROR_INIT;

        assert_int_equal(disk_probe(p->file, false, &info, &e), -ENOENT);
        assert_int_equal(disk_probe(p->root, false, &info, &e), -EINVAL);
        put(p->base, "file", "", 0);
        assert_int_equal(disk_probe(p->file, false, &info, &e), -EINVAL);
        put(p->base, "file", text, 511);
        assert_int_equal(disk_probe(p->file, false, &info, &e), -EINVAL);
        put(p->base, "file", "QFI\xfb", 4);
        assert_int_equal(disk_probe(p->file, false, &info, &e), -EINVAL);
}

#define PLACE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        struct CMUnitTest tests[16 + ELEMENTSOF(tar_rows)] = {
                cmocka_unit_test(test_digest), PLACE_TEST(test_directory),
                PLACE_TEST(test_race),         PLACE_TEST(test_stale),
                PLACE_TEST(test_bad_sources),  PLACE_TEST(test_image),
                PLACE_TEST(test_receive),      PLACE_TEST(test_scratch),
                PLACE_TEST(test_destination),  PLACE_TEST(test_probe),
        };
        size_t n = 10;

        for (size_t i = 0; i < ELEMENTSOF(tar_rows); i++) {
                union {
                        const void *in;
                        void *out;
                } row = { .in = &tar_rows[i] };

                tests[n++] = (struct CMUnitTest){ .name = tar_rows[i].name,
                                                  .test_func = test_tar,
                                                  .initial_state = row.out };
        }
        return _cmocka_run_group_tests("layer", tests, n, NULL, NULL);
}
