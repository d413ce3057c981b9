/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/magic.h"

#include <string.h>

#include "lib/cleanup.h"

typedef struct Magic {
        const char *name;
        size_t offset, n;
        const char *bytes;
} Magic;

/* clang-format off */
static const Magic filesystems[] = {
        { "erofs",    1024, 4, "\xe2\xe1\xf5\xe0" },
        { "squashfs", 0,    4, "hsqs" },
        { "ext4",     1080, 2, "\x53\xef" },
        { "xfs",      0,    4, "XFSB" },
};

static const Magic foreign_disks[] = {
        { "vmdk",      0,    4, "KDMV" },
        { "vmdk",      0,    4, "COWD" },
        { "vmdk",      0,   21, "# Disk DescriptorFile" },
        { "vdi",       0x40, 4, "\x7f\x10\xda\xbe" },
        { "vhdx",      0,    8, "vhdxfile" },
        { "vpc",       0,    8, "conectix" },
        { "qed",       0,    4, "QED\0" },
        { "parallels", 0,   16, "WithoutFreeSpace" },
        { "parallels", 0,   16, "WithouFreSpacExt" },
};

static const Magic archives[] = {
        { "tar",   257, 5, "ustar" },
        { "gzip",  0,   2, "\x1f\x8b" },
        { "xz",    0,   6, "\xfd" "7zXZ\0" },
        { "zstd",  0,   4, "\x28\xb5\x2f\xfd" },
        { "bzip2", 0,   3, "BZh" },
};
/* clang-format on */

static const char *look(const Magic *t, size_t n_t, const uint8_t *p, size_t n) {
        for (size_t i = 0; i < n_t; i++)
                if (n >= t[i].offset + t[i].n && memcmp(p + t[i].offset, t[i].bytes, t[i].n) == 0)
                        return t[i].name;
        return NULL;
}

const char *magic_filesystem(const uint8_t *p, size_t n) {
        return look(filesystems, ELEMENTSOF(filesystems), p, n);
}

const char *magic_foreign_disk(const uint8_t *p, size_t n) {
        return look(foreign_disks, ELEMENTSOF(foreign_disks), p, n);
}

const char *magic_archive(const uint8_t *p, size_t n) {
        return look(archives, ELEMENTSOF(archives), p, n);
}
