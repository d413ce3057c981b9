/* SPDX-License-Identifier: Apache-2.0 */
/* Disks and mounts as values: their configuration checked, compared and copied, their two state
 * machines. Nothing here calls the host or the guest. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/scsi/scsi-internal.h"

/* clang-format off */
#define TO(s) (1U << SCSI_DISK_##s)
static const FsmRow disk_rows[_SCSI_DISK_STATE_MAX] = {
        [SCSI_DISK_RESERVED]  = { "reserved",  TO(ATTACHING) | TO(GONE),    FSM_FIRST },
        [SCSI_DISK_ATTACHING] = { "attaching", TO(ATTACHED) | TO(FAILED),   FSM_WAITING },
        [SCSI_DISK_ATTACHED]  = { "attached",  TO(DETACHING) | TO(GONE),    FSM_FIRST },
        [SCSI_DISK_DETACHING] = { "detaching", TO(RESERVED) | TO(ATTACHED), FSM_WAITING },
        [SCSI_DISK_FAILED]    = { "failed",    TO(GONE),                    0 },
        [SCSI_DISK_GONE]      = { "gone",      0,                           FSM_FINAL },
};
#undef TO
#define TO(s) (1U << SCSI_MOUNT_##s)
static const FsmRow mount_rows[_SCSI_MOUNT_STATE_MAX] = {
        [SCSI_MOUNT_RESERVED]   = { "reserved",   TO(MOUNTING) | TO(GONE),    FSM_FIRST },
        [SCSI_MOUNT_MOUNTING]   = { "mounting",   TO(MOUNTED) | TO(FAILED),   FSM_WAITING },
        [SCSI_MOUNT_MOUNTED]    = { "mounted",    TO(UNMOUNTING) | TO(GONE),  FSM_FIRST },
        [SCSI_MOUNT_UNMOUNTING] = { "unmounting", TO(RESERVED) | TO(MOUNTED), FSM_WAITING },
        [SCSI_MOUNT_FAILED]     = { "failed",     TO(GONE),                   0 },
        [SCSI_MOUNT_GONE]       = { "gone",       0,                          FSM_FINAL },
};
#undef TO
/* clang-format on */
const FsmTable scsi_disk_fsm = { "scsi-disk", disk_rows, _SCSI_DISK_STATE_MAX };
const FsmTable scsi_mount_fsm = { "scsi-mount", mount_rows, _SCSI_MOUNT_STATE_MAX };

int scsi_disk_config_check(const ScsiDiskConfig *d, Error *reterr) {
        int r;

        r = path_check("disk path", d->host_path, reterr);
        if (r < 0)
                return r;
        if (strcmp(d->host_path, "/") == 0)
                return error_setf(reterr, -EINVAL, "disk path is the root directory");
        if ((unsigned)d->kind >= _SCSI_DISK_KIND_MAX)
                return error_setf(reterr, -EINVAL, "disk %s: kind %d is unknown", d->host_path,
                                  (int)d->kind);
        if ((unsigned)d->mode >= _SCSI_STORAGE_MODE_MAX)
                return error_setf(reterr, -EINVAL, "disk %s: storage mode %d is unknown",
                                  d->host_path, (int)d->mode);
        if (!d->format || (strcmp(d->format, "raw") != 0 && strcmp(d->format, "qcow2") != 0))
                return error_setf(reterr, -EINVAL,
                                  "disk %s: format \"%.20s\" is neither raw nor qcow2",
                                  d->host_path, d->format ?: "");
        r = digest_check_or_empty("disk digest", d->digest, reterr);
        if (r < 0)
                return r;
        if (d->virtual_size == 0 || d->virtual_size > INT64_MAX)
                return error_setf(reterr, -EINVAL, "disk %s: size is %llu", d->host_path,
                                  (unsigned long long)d->virtual_size);
        if (d->kind == SCSI_DISK_LAYER && !d->read_only)
                return error_setf(reterr, -EINVAL, "layer %s is not read-only", d->host_path);
        if (d->kind == SCSI_DISK_SCRATCH && d->read_only)
                return error_setf(reterr, -EINVAL, "scratch %s is read-only", d->host_path);
        if (d->mode == SCSI_STORAGE_SAME && !d->read_only)
                return error_setf(reterr, -EINVAL, "disk %s: mode \"same\" is for a read-only disk",
                                  d->host_path);
        if (d->kind == SCSI_DISK_LAYER && d->mode == SCSI_STORAGE_SAME &&
            (!d->digest || !d->digest[0]))
                return error_setf(reterr, -EINVAL, "layer %s has no digest", d->host_path);
        return 0;
}

static bool filesystem_name_is_valid(const char *s) {
        size_t n = strlen(s);

        for (size_t i = 0; i < n; i++)
                if (!islower((unsigned char)s[i]) && !isdigit((unsigned char)s[i]) && s[i] != '_')
                        return false;
        return n > 0 && n <= 32;
}

int scsi_mount_config_check(const ScsiMountConfig *m, const ScsiDiskConfig *d, Error *reterr) {
        size_t n = strv_len(m->options);
        int r;

        if (m->partition > SCSI_PARTITION_MAX)
                return error_setf(reterr, -EINVAL, "disk %s: partition %u, at most %u",
                                  d->host_path, m->partition, SCSI_PARTITION_MAX);
        if (m->block_device && m->filesystem && m->filesystem[0])
                return error_setf(reterr, -EINVAL, "disk %s: a block device has no filesystem",
                                  d->host_path);
        if (!m->block_device && (!m->filesystem || !filesystem_name_is_valid(m->filesystem)))
                return error_setf(reterr, -EINVAL,
                                  "disk %s: filesystem \"%.40s\" is not a filesystem's name",
                                  d->host_path, m->filesystem ?: "");
        if (d->read_only && !m->read_only)
                return error_setf(reterr, -EINVAL,
                                  "disk %s is read-only and cannot be mounted to be written",
                                  d->host_path);
        if (n > SCSI_OPTIONS_MAX)
                return error_setf(reterr, -EINVAL, "disk %s: %zu mount options, at most %u",
                                  d->host_path, n, SCSI_OPTIONS_MAX);
        for (size_t i = 0; i < n; i++) {
                r = text_check("mount option", m->options[i], SCSI_OPTION_LEN_MAX, reterr);
                if (r < 0)
                        return r;
                if (!m->options[i][0] || strchr(m->options[i], ','))
                        return error_setf(reterr, -EINVAL,
                                          "disk %s: mount option %zu is empty or has a comma",
                                          d->host_path, i);
        }
        return 0;
}

bool scsi_disk_config_equal(const ScsiDiskConfig *a, const ScsiDiskConfig *b) {
        return a->kind == b->kind && a->mode == b->mode && a->read_only == b->read_only &&
               a->virtual_size == b->virtual_size && strcmp(a->host_path, b->host_path) == 0 &&
               strcmp(a->format, b->format) == 0 && strcmp(a->digest ?: "", b->digest ?: "") == 0;
}

bool scsi_mount_config_equal(const ScsiMountConfig *a, const ScsiMountConfig *b) {
        return a->partition == b->partition && a->read_only == b->read_only &&
               a->block_device == b->block_device &&
               strcmp(a->filesystem ?: "", b->filesystem ?: "") == 0 &&
               strv_same_set(a->options, b->options);
}

static ScsiMount *mount_free(ScsiMount *m) {
        if (!m)
                return NULL;
        free(m->filesystem);
        strv_free(m->options);
        free(m);
        return NULL;
}
DEFINE_CLEANUP(ScsiMount *, mount_free);

ScsiDisk *scsi_disk_free(ScsiDisk *d) {
        if (!d)
                return NULL;
        for (ScsiMount *m = d->mounts, *next; m; m = next) {
                next = m->next;
                mount_free(m);
        }
        free(d->host_path);
        free(d->format);
        free(d->digest);
        free(d);
        return NULL;
}

int scsi_disk_new(const ScsiDiskConfig *config, uint32_t slot, ScsiDiskState state,
                  ScsiDisk **ret) {
        _cleanup_(scsi_disk_freep) ScsiDisk *d = NULL;

        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->host_path = strdup(config->host_path);
        d->format = strdup(config->format);
        d->digest = strdup(config->digest ?: "");
        if (!d->host_path || !d->format || !d->digest)
                return -ENOMEM;
        d->config = *config;
        d->config.host_path = d->host_path;
        d->config.format = d->format;
        d->config.digest = d->digest;
        d->slot = slot;
        d->fsm = FSM_INIT(&scsi_disk_fsm, (int)state, d->host_path);
        *ret = TAKE(d);
        return 0;
}

int scsi_disk_set_path(ScsiDisk *d, const char *host_path) {
        char *copy;

        copy = strdup(host_path);
        if (!copy)
                return -ENOMEM;
        free(d->host_path);
        d->host_path = copy;
        d->config.host_path = copy;
        d->fsm.id = copy;
        return 0;
}

int scsi_disk_add_mount(ScsiDisk *d, const ScsiMountConfig *config, ScsiMountState state,
                        ScsiMount **ret) {
        _cleanup_(mount_freep) ScsiMount *m = NULL;
        ScsiMount **at = &d->mounts;

        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        m->filesystem = strdup(config->filesystem ?: "");
        if (!m->filesystem || strv_copy(config->options, &m->options) < 0)
                return -ENOMEM;
        strv_sort(m->options);
        m->config = *config;
        m->config.filesystem = m->filesystem;
        m->config.options = (const char *const *)m->options;
        (void)snprintf(m->guest_path, sizeof(m->guest_path), "/run/mounts/scsi/%u_%u_%u",
                       d->slot / SCSI_TARGETS, d->slot % SCSI_TARGETS, config->partition);
        m->fsm = FSM_INIT(&scsi_mount_fsm, (int)state, m->guest_path);
        while (*at && (*at)->config.partition < config->partition)
                at = &(*at)->next;
        m->next = *at;
        *at = m;
        *ret = TAKE(m);
        return 0;
}

ScsiMount *scsi_disk_find_mount(const ScsiDisk *d, uint32_t partition) {
        for (ScsiMount *m = d->mounts; m; m = m->next)
                if (m->config.partition == partition)
                        return m;
        return NULL;
}

void scsi_disk_remove_mount(ScsiDisk *d, ScsiMount *m) {
        ScsiMount **at = &d->mounts;

        while (*at != m)
                at = &(*at)->next;
        *at = m->next;
        mount_free(m);
}
