/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over files, without libFuzzer: the committed corpus as a unit test. Arguments
 * are files and directories. Also tries every input cut short and with each of some bytes changed,
 * cheaply and always the same way. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_file(const char *path, Buf *b) {
        FILE *f = fopen(path, "rbe");
        uint8_t chunk[4096];
        size_t n;
        int r = 0;

        if (!f)
                return -errno;
        while (r == 0 && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
                r = buf_append(b, chunk, n);
        if (r == 0 && ferror(f))
                r = -EIO;
        (void)fclose(f);
        return r;
}

static int run_file(const char *path) {
        _cleanup_buf_ Buf b = {};
        int r = read_file(path, &b);

        if (r < 0)
                return r;
        (void)LLVMFuzzerTestOneInput(b.data, b.len);
        for (size_t i = 0; i < b.len; i += 1 + b.len / 16) {
                (void)LLVMFuzzerTestOneInput(b.data, i);
                b.data[i] ^= 0x55;
                (void)LLVMFuzzerTestOneInput(b.data, b.len);
                b.data[i] ^= 0x55;
        }
        return 0;
}

static int run_dir(const char *path, unsigned *n) {
        DIR *d = opendir(path);
        struct dirent *e;
        int r = 0;

        if (!d)
                return -errno;
        while (r >= 0 && (e = readdir(d))) {
                char file[4096];

                if (e->d_name[0] == '.')
                        continue;
                if (snprintf(file, sizeof(file), "%s/%s", path, e->d_name) >= (int)sizeof(file))
                        r = -ENAMETOOLONG;
                else
                        r = run_file(file);
                *n += r >= 0;
        }
        (void)closedir(d);
        return r;
}

int main(int argc, char **argv) {
        unsigned n = 0;

        for (int i = 1; i < argc; i++) {
                struct stat st;
                int r = stat(argv[i], &st) < 0 ? -errno : 0;

                if (r == 0 && S_ISDIR(st.st_mode))
                        r = run_dir(argv[i], &n);
                else if (r == 0) {
                        r = run_file(argv[i]);
                        n++;
                }
                if (r < 0) {
                        (void)fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                        return 1;
                }
        }
        (void)printf("%u inputs replayed\n", n);
        return n > 0 ? 0 : 1;
}
