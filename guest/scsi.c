/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/scsi.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "guest/files.h"
#include "guest/uevent.h"

/* Only as a bound: both happen within milliseconds, or not at all. */
enum {
        CONTROLLER_TIMEOUT_MS = 5000,
        PROBE_TIMEOUT_MS = 10000,
};

typedef struct Search {
        const ScsiAddress *disk;
        unsigned host;
        char name[64];
} Search;

static int compare(const void *a, const void *b) {
        unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

        return x < y ? -1 : x > y;
}

/* The kernel's number of the n-th virtio-scsi controller: they are numbered as they are found. */
static int find_host(void *userdata, Error *reterr) {
        Search *s = userdata;
        unsigned hosts[64];
        size_t n = 0;
        DIR *dir = opendir("/sys/class/scsi_host");

        if (!dir)
                return errno == ENOENT ? 0 : error_setf(reterr, -errno, "cannot list hosts: %m");
        for (struct dirent *e; n < ELEMENTSOF(hosts) && (e = readdir(dir));) {
                char path[300], driver[32];

                if (sscanf(e->d_name, "host%u", &hosts[n]) != 1)
                        continue;
                (void)snprintf(path, sizeof(path), "/sys/class/scsi_host/%s/proc_name", e->d_name);
                if (file_read_line(path, driver, sizeof(driver), NULL) == 0 &&
                    strcmp(driver, "virtio_scsi") == 0)
                        n++;
        }
        (void)closedir(dir);
        qsort(hosts, n, sizeof(hosts[0]), compare);
        if (s->disk->controller >= n)
                return 0;
        s->host = hosts[s->disk->controller];
        return 1;
}

static void device_path(const Search *s, const char *attribute, char *ret, size_t size) {
        (void)snprintf(ret, size, "/sys/class/scsi_device/%u:0:%u:%u/device%s", s->host,
                       s->disk->target, s->disk->lun, attribute);
}

/* The node appears a little before the disk can be opened; the kernel tells of it after. */
static int can_open(const char *name, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        char node[128];

        (void)snprintf(node, sizeof(node), "/dev/%s", name);
        fd = open(node, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                return 1;
        if (errno == ENOENT || errno == ENXIO)
                return 0;
        return error_setf(reterr, -errno, "cannot open %s: %m", node);
}

/* The one entry of .../device/block is the disk's name. */
static int find_block(void *userdata, Error *reterr) {
        Search *s = userdata;
        char path[256];
        DIR *dir;

        s->name[0] = '\0';
        device_path(s, "/block", path, sizeof(path));
        dir = opendir(path);
        if (!dir)
                return errno == ENOENT ? 0 : error_setf(reterr, -errno, "cannot list %s: %m", path);
        for (struct dirent *e; (e = readdir(dir));)
                if (e->d_name[0] != '.' && strlen(e->d_name) < 32) {
                        if (s->disk->partition == 0)
                                (void)snprintf(s->name, sizeof(s->name), "%.31s", e->d_name);
                        else
                                (void)snprintf(s->name, sizeof(s->name), "%.31s%u", e->d_name,
                                               s->disk->partition);
                }
        (void)closedir(dir);
        return s->name[0] == '\0' ? 0 : can_open(s->name, reterr);
}

int scsi_find(const ScsiAddress *disk, char *ret_name, size_t size, Error *reterr) {
        Search s = { .disk = disk };
        char path[256], what[64];
        int r;

        r = uevent_wait(find_host, &s, CONTROLLER_TIMEOUT_MS, reterr);
        if (r == -ETIMEDOUT)
                return error_setf(reterr, -ENOENT, "the guest has no SCSI controller %u",
                                  disk->controller);
        if (r < 0)
                return r;
        device_path(&s, "", path, sizeof(path));
        if (access(path, F_OK) < 0) {
                char scan[64];

                (void)snprintf(scan, sizeof(scan), "/sys/class/scsi_host/host%u/scan", s.host);
                (void)snprintf(what, sizeof(what), "0 %u %u", disk->target, disk->lun);
                r = file_write_string(scan, what, reterr);
                if (r < 0)
                        return r;
                if (access(path, F_OK) < 0)
                        return error_setf(reterr, -ENOENT, "there is no disk %u on controller %u",
                                          disk->target, disk->controller);
        }
        r = uevent_wait(find_block, &s, PROBE_TIMEOUT_MS, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "disk %u on controller %u partition %u",
                                    disk->target, disk->controller, disk->partition);
        (void)snprintf(ret_name, size, "%s", s.name);
        return 0;
}

int scsi_remove(const ScsiAddress *disk, Error *reterr) {
        Search s = { .disk = disk };
        char path[256];
        int r;

        r = find_host(&s, reterr);
        if (r <= 0)
                return r;
        device_path(&s, "/delete", path, sizeof(path));
        r = file_write_string(path, "1", reterr);
        return r == -ENOENT || r == -ENODEV ? 0 : r;
}
