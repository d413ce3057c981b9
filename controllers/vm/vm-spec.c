/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM is made of: checked and copied. Pure functions. */
#include <ctype.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "controllers/vm/vm-internal.h"

#define NAME_LEN_MAX      128U
#define CMDLINE_LEN_MAX   2047U /* the kernel's own limit */
#define SOCKET_PATH_MAX   107U
#define SESSION_ID_LENGTH 16U

static int name_check(const char *what, const char *name, bool may_be_empty, Error *reterr) {
        int r;

        r = text_check(what, name, NAME_LEN_MAX, reterr);
        if (r < 0)
                return r;
        if (!name[0] && !may_be_empty)
                return error_setf(reterr, -EINVAL, "%s is empty", what);
        return 0;
}

static int domain_name_check(const char *name, Error *reterr) {
        int r;

        r = name_check("domain_name", name, false, reterr);
        if (r < 0)
                return r;
        for (const char *p = name; *p; p++)
                if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
                        return error_setf(reterr, -EINVAL,
                                          "domain_name \"%s\" may hold letters, digits, '.', '_' "
                                          "and '-' only",
                                          name);
        return 0;
}

static int uuid_check(const char *uuid, Error *reterr) {
        bool good = uuid && strlen(uuid) == 36;

        for (size_t i = 0; good && i < 36; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                good = dash ? uuid[i] == '-'
                            : isdigit((unsigned char)uuid[i]) || (uuid[i] >= 'a' && uuid[i] <= 'f');
        }
        if (!good)
                return error_setf(reterr, -EINVAL,
                                  "uuid \"%.40s\" is not a UUID in lower case with dashes",
                                  uuid ?: "");
        return 0;
}

static int file_check(const char *path_name, const char *digest_name, const VmFile *f,
                      Error *reterr) {
        int r;

        r = path_check(path_name, f->path, reterr);
        return r < 0 ? r : digest_check_or_empty(digest_name, f->digest, reterr);
}

static int numbers_check(const VmSpec *s, Error *reterr) {
        if (s->memory_mib == 0 || s->memory_mib > VM_MEMORY_MIB_MAX)
                return error_setf(reterr, -EINVAL, "memory_mib is %llu, 1 to %u allowed",
                                  (unsigned long long)s->memory_mib, VM_MEMORY_MIB_MAX);
        if (s->vcpus == 0 || s->vcpus > VM_VCPUS_MAX)
                return error_setf(reterr, -EINVAL, "vcpus is %u, 1 to %u allowed", s->vcpus,
                                  VM_VCPUS_MAX);
        if ((unsigned)s->domain_type >= _VM_DOMAIN_TYPE_MAX)
                return error_setf(reterr, -EINVAL, "domain_type %d is unknown",
                                  (int)s->domain_type);
        if (s->n_scsi_controllers > SCSI_CONTROLLERS_MAX)
                return error_setf(reterr, -EINVAL, "n_scsi_controllers is %u, at most %u allowed",
                                  s->n_scsi_controllers, SCSI_CONTROLLERS_MAX);
        return 0;
}

int vm_spec_check(const VmSpec *s, Error *reterr) {
        int r;

        r = id_check("pod_id", s->pod_id, reterr);
        if (r == 0)
                r = domain_name_check(s->domain_name, reterr);
        if (r == 0)
                r = uuid_check(s->uuid, reterr);
        if (r == 0)
                r = numbers_check(s, reterr);
        if (r == 0)
                r = name_check("machine", s->machine, false, reterr);
        if (r == 0)
                r = name_check("cpu", s->cpu, true, reterr);
        if (r == 0)
                r = file_check("kernel path", "kernel digest", &s->kernel, reterr);
        if (r == 0)
                r = file_check("initrd path", "initrd digest", &s->initrd, reterr);
        if (r == 0)
                r = text_check("cmdline", s->cmdline, CMDLINE_LEN_MAX, reterr);
        if (r == 0)
                r = path_check("link_path", s->link_path, reterr);
        if (r == 0)
                r = path_check_or_empty("console_path", s->console_path, reterr);
        if (r < 0)
                return r;
        if (strlen(s->link_path) > SOCKET_PATH_MAX)
                return error_setf(reterr, -EINVAL,
                                  "link_path is %zu bytes long, at most %u allowed",
                                  strlen(s->link_path), SOCKET_PATH_MAX);
        return 0;
}

static int copy_string(const char *from, const char **to) {
        *to = strdup(from ?: "");
        return *to ? 0 : -ENOMEM;
}

int vm_spec_copy(const VmSpec *from, VmSpec *to) {
        int r = 0;

        *to = *from;
        r |= copy_string(from->pod_id, &to->pod_id);
        r |= copy_string(from->domain_name, &to->domain_name);
        r |= copy_string(from->uuid, &to->uuid);
        r |= copy_string(from->machine, &to->machine);
        r |= copy_string(from->cpu, &to->cpu);
        r |= copy_string(from->kernel.path, &to->kernel.path);
        r |= copy_string(from->kernel.digest, &to->kernel.digest);
        r |= copy_string(from->initrd.path, &to->initrd.path);
        r |= copy_string(from->initrd.digest, &to->initrd.digest);
        r |= copy_string(from->cmdline, &to->cmdline);
        r |= copy_string(from->link_path, &to->link_path);
        r |= copy_string(from->console_path, &to->console_path);
        return r ? -ENOMEM : 0;
}

/* The strings of a copy are ours; the type is shared with callers who keep constant ones. */
static void free_string(const char *s) {
        union {
                const char *given;
                char *ours;
        } u = { .given = s };

        free(u.ours);
}

void vm_spec_done(VmSpec *s) {
        free_string(s->pod_id);
        free_string(s->domain_name);
        free_string(s->uuid);
        free_string(s->machine);
        free_string(s->cpu);
        free_string(s->kernel.path);
        free_string(s->kernel.digest);
        free_string(s->initrd.path);
        free_string(s->initrd.digest);
        free_string(s->cmdline);
        free_string(s->link_path);
        free_string(s->console_path);
        *s = (VmSpec){};
}

int vm_link_check(const VmLink *link, Error *reterr) {
        bool zero = true;

        for (size_t i = 0; i < SESSION_ID_LENGTH; i++)
                zero = zero && link->session_id[i] == 0;
        if (zero)
                return error_setf(reterr, -EINVAL, "link: session_id is all zero");
        if (link->epoch == 0)
                return error_setf(reterr, -EINVAL, "link: epoch is 0");
        if (link->next_call_id == 0)
                return error_setf(reterr, -EINVAL, "link: next_call_id is 0");
        if (link->next_channel == 0)
                return error_setf(reterr, -EINVAL, "link: next_channel is 0");
        return 0;
}
