/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What a file is, by its first bytes. */
#define MAGIC_BYTES 4096U /* as many as are there, up to this */

/* "erofs", "squashfs", "ext4", "xfs"; NULL if it is none of them. Static. */
const char *magic_filesystem(const uint8_t *p, size_t n);
/* "vmdk", "vdi", "vhdx", "qed", "vpc", "parallels": disk formats that are not used here. Static. */
const char *magic_foreign_disk(const uint8_t *p, size_t n);
/* "tar", "gzip", "xz", "zstd", "bzip2"; NULL if it is none of them. Static. */
const char *magic_archive(const uint8_t *p, size_t n);
