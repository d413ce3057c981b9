/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/offline.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "controllers/checks.h"
#include "controllers/migration/decide.h"
#include "controllers/migration/options.h"
#include "hostdev/image/disk.h"
#include "lib/directory.h"
#include "lib/journal.h"

#define RECORD_MAX ((size_t)OFFLINE_FILES_MAX * (PATH_LEN_MAX + 8U) + 4096U)
#define STAGING    "incoming.d"
#define DEFINITION "definition"

static const char *const state_names[_OFFLINE_STATE_MAX] = {
        [OFFLINE_NONE] = "none",         [OFFLINE_OFFERED] = "offered", [OFFLINE_GIVEN] = "given",
        [OFFLINE_FILLING] = "filling",   [OFFLINE_READY] = "ready",     [OFFLINE_OWNED] = "owned",
        [OFFLINE_RETURNED] = "returned",
};

static const char *const role_names[_OFFLINE_ROLE_MAX] = {
        [OFFLINE_OUTGOING] = "outgoing",
        [OFFLINE_INCOMING] = "incoming",
};

const char *offline_state_name(OfflineState s) {
        return state_names[s];
}

#define TO(s) (1U << OFFLINE_##s)

/* The order on one host, by the state that is there. A source that has given the pod away gets it
 * back only through "returned" of the other one. */
static const unsigned successors[_OFFLINE_STATE_MAX] = {
        [OFFLINE_NONE] = TO(NONE) | TO(OFFERED) | TO(FILLING),
        [OFFLINE_OFFERED] = TO(NONE) | TO(OFFERED) | TO(GIVEN),
        [OFFLINE_GIVEN] = TO(NONE) | TO(GIVEN) | TO(OFFERED),
        [OFFLINE_FILLING] = TO(NONE) | TO(FILLING) | TO(READY),
        [OFFLINE_READY] = TO(NONE) | TO(READY) | TO(OWNED) | TO(RETURNED),
        [OFFLINE_OWNED] = TO(OWNED) | TO(RETURNED),
        [OFFLINE_RETURNED] = TO(NONE) | TO(RETURNED),
};

bool offline_may_follow(OfflineState from, OfflineState to) {
        return successors[from] & (1U << to);
}

void offline_record_done(OfflineRecord *r) {
        for (char **f = r->files; f && *f; f++)
                free(*f);
        free(r->files);
        *r = (OfflineRecord){};
}

/* -- the record: a line for each field, "end" last -- */

static int add_file(OfflineRecord *r, size_t *n, const char *path) {
        char **grown;

        if (*n >= OFFLINE_FILES_MAX || path_check("file", path, NULL) < 0)
                return -EBADMSG;
        grown = reallocarray(r->files, *n + 2, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        r->files = grown;
        grown[*n] = strdup(path);
        if (!grown[*n])
                return -ENOMEM;
        grown[++*n] = NULL;
        return 0;
}

static int take_id(char to[static ID_MAX + 1], const char *value) {
        if (id_check("id", value, NULL) < 0)
                return -EBADMSG;
        (void)stpcpy(to, value);
        return 0;
}

static int take_line(OfflineRecord *r, size_t *n_files, char *line) {
        char *value = strchr(line, ' ');

        if (!value)
                return -EBADMSG;
        *value++ = '\0';
        if (strcmp(line, "session") == 0)
                return take_id(r->session, value);
        if (strcmp(line, "pod") == 0)
                return take_id(r->pod, value);
        if (strcmp(line, "name") == 0)
                return take_id(r->name, value);
        if (strcmp(line, "then") == 0) {
                r->start = strcmp(value, "start") == 0;
                return r->start ? 0 : -EBADMSG;
        }
        if (strcmp(line, "file") == 0)
                return add_file(r, n_files, value);
        if (strcmp(line, "peer") == 0 && text_check("peer", value, OFFLINE_PEER_MAX, NULL) == 0) {
                (void)stpcpy(r->peer, value);
                return 0;
        }
        for (OfflineState s = OFFLINE_OFFERED; strcmp(line, "state") == 0 && s < _OFFLINE_STATE_MAX;
             s++)
                if (strcmp(state_names[s], value) == 0) {
                        r->state = s;
                        return 0;
                }
        return -EBADMSG;
}

static bool belongs_to(OfflineRole role, OfflineState s) {
        return s == OFFLINE_NONE ||
               (s == OFFLINE_OFFERED || s == OFFLINE_GIVEN) == (role == OFFLINE_OUTGOING);
}

/* `text` is cut up. */
static int parse(OfflineRecord *r, OfflineRole role, char *text) {
        size_t n = 0;

        for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
                int k;

                *end = '\0';
                if (strcmp(line, "end") == 0)
                        return end[1] == '\0' && r->state != OFFLINE_NONE && r->session[0] &&
                                               r->pod[0] && r->name[0] && belongs_to(role, r->state)
                                       ? 0
                                       : -EBADMSG;
                k = take_line(r, &n, line);
                if (k < 0)
                        return k;
        }
        return -EBADMSG;
}

/* -ENOENT passes up: the pod is not known here at all. */
static int open_state(const char *state, int *ret, Error *reterr) {
        *ret = open(state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *ret < 0 ? error_setf(reterr, -errno, "%s: %m", state) : 0;
}

int offline_read(const char *state, OfflineRole role, OfflineRecord *ret, Error *reterr) {
        _cleanup_record_ OfflineRecord record = {};
        _cleanup_close_ int dir = -EBADF;
        _cleanup_buf_ Buf text = {};
        int r;

        *ret = (OfflineRecord){};
        r = open_state(state, &dir, reterr);
        if (r == 0 && faccessat(dir, role_names[role], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                r = -errno;
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = files_read(dir, role_names[role], RECORD_MAX, &text, reterr);
        if (r < 0)
                return r;
        r = strlen((char *)text.data) == text.len ? parse(&record, role, (char *)text.data)
                                                  : -EBADMSG;
        if (r < 0)
                return error_setf(reterr, r, "%s/%s is not what was written there", state,
                                  role_names[role]);
        *ret = record;
        record = (OfflineRecord){};
        return 0;
}

/* What one that was killed while it wrote a record has left beside it. True: there was some. */
static bool remove_halves(int dir, OfflineRole role) {
        int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3);
        DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
        const char *name = role_names[role];
        bool any = false;

        if (!list) {
                (void)close_fd(copy);
                return false;
        }
        rewinddir(list);
        for (struct dirent *e = readdir(list); e; e = readdir(list))
                if (e->d_name[0] == '.' && strncmp(e->d_name + 1, name, strlen(name)) == 0 &&
                    e->d_name[1 + strlen(name)] == '.')
                        any = unlinkat(dir, e->d_name, 0) == 0 || any;
        (void)closedir(list);
        return any;
}

static int remove_record(const char *state, int dir, OfflineRole role, Error *reterr) {
        (void)remove_halves(dir, role);
        if (unlinkat(dir, role_names[role], 0) < 0 && errno != ENOENT)
                return error_setf(reterr, -errno, "%s/%s: %m", state, role_names[role]);
        return fsync(dir) < 0 ? error_setf(reterr, -errno, "%s: %m", state) : 0;
}

int offline_write(const char *state, OfflineRole role, const OfflineRecord *r, Error *reterr) {
        _cleanup_record_ OfflineRecord old = {};
        _cleanup_close_ int dir = -EBADF;
        _cleanup_buf_ Buf b = {};
        int k;

        k = offline_read(state, role, &old, reterr);
        if (k < 0)
                return k;
        if (!belongs_to(role, r->state) || !offline_may_follow(old.state, r->state))
                return error_setf(reterr, -EBADFD, "%s/%s: \"%s\" cannot become \"%s\"", state,
                                  role_names[role], state_names[old.state], state_names[r->state]);
        k = open_state(state, &dir, reterr);
        if (k < 0)
                return k;
        if (r->state == OFFLINE_NONE)
                return remove_record(state, dir, role, reterr);
        k = buf_printf(&b, "state %s\nsession %s\npod %s\nname %s\n", state_names[r->state],
                       r->session, r->pod, r->name);
        if (k == 0 && r->peer[0])
                k = buf_printf(&b, "peer %s\n", r->peer);
        if (k == 0 && r->start)
                k = buf_printf(&b, "then start\n");
        for (char **f = r->files; k == 0 && f && *f; f++)
                k = buf_printf(&b, "file %s\n", *f);
        if (k == 0)
                k = buf_printf(&b, "end\n");
        return k < 0 ? error_oom(reterr)
                     : files_write(dir, role_names[role], b.data, b.len, reterr);
}

/* -- who may start it -- */

static int state_path(const char *state_dir, const char *pod, char **ret, Error *reterr) {
        int r = id_check("pod name", pod, reterr);

        if (r == 0 && asprintf(ret, "%s/pods/%s", state_dir, pod) < 0) {
                *ret = NULL;
                r = error_oom(reterr);
        }
        return r;
}

int offline_check(const char *state_dir, const char *pod, Error *reterr) {
        _cleanup_record_ OfflineRecord in = {}, out = {};
        _cleanup_free_ char *state = NULL;
        int r;

        r = state_path(state_dir, pod, &state, reterr);
        if (r == 0)
                r = offline_read(state, OFFLINE_OUTGOING, &out, reterr);
        if (r == 0)
                r = offline_read(state, OFFLINE_INCOMING, &in, reterr);
        if (r < 0)
                return r;
        if (out.state == OFFLINE_GIVEN)
                return error_setf(reterr, -EBADFD,
                                  "pod %s was given to the host %s as %s and may run there: "
                                  "podferry migrate %s, with --to and the same host, sees that to "
                                  "its end",
                                  pod, out.peer, out.name, pod);
        if (in.state == OFFLINE_FILLING || in.state == OFFLINE_READY ||
            in.state == OFFLINE_RETURNED)
                return error_setf(reterr, -EBADFD,
                                  "pod %s comes from another host and is not this host's (%s): "
                                  "podferry migrate there goes on, or podferry rm --force %s here "
                                  "drops what came",
                                  pod, state_names[in.state], pod);
        return 0;
}

int offline_check_journal(const char *state, const char *pod, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        JournalRecord last = {};
        int r;

        if (asprintf(&path, "%s/journal", state) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        r = journal_read_last(path, &last, reterr);
        if (r < 0 || migration_may_start(last.kind, last.mode == MIGRATION_HANDOVER_FAST))
                return r;
        return error_setf(reterr, -EBADFD,
                          "the journal of pod %s ends in a hand-over (%s), so the other host may "
                          "have it: see there. If it surely has it not: podferry rm --force there, "
                          "then remove %s; podferry doctor %s says more",
                          pod, journal_kind_name(last.kind), path, pod);
}

int offline_lock(const char *state_dir, const char *pod, OfflineLock *ret, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int dir = -EBADF;
        char name[ID_MAX + 2];
        int r;

        r = id_check("pod name", pod, reterr);
        if (r < 0)
                return r;
        if (asprintf(&path, "%s/pods", state_dir) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        r = files_open_directory(path, &dir, reterr);
        if (r < 0)
                return r;
        (void)snprintf(name, sizeof(name), ".%s", pod);
        r = files_lock(dir, name, true, &ret->lock, reterr);
        if (r == -EAGAIN)
                return error_setf(reterr, -EBUSY, "pod %s is being moved, or started, just now",
                                  pod);
        if (r == 0)
                ret->lock.dir_fd = ret->dir_fd = TAKE_FD(dir);
        return r;
}

void offline_unlock(OfflineLock *l) {
        files_unlock(&l->lock);
        l->dir_fd = close_fd(l->dir_fd);
}

int offline_admit(const char *state_dir, const char *pod, Error *reterr) {
        _cleanup_offline_lock_ OfflineLock lock = OFFLINE_LOCK_INIT;
        int r = offline_lock(state_dir, pod, &lock, reterr);

        return r < 0 ? r : offline_check(state_dir, pod, reterr);
}

/* -- destination -- */

char *offline_staging(const char *state) {
        char *path;

        return asprintf(&path, "%s/" STAGING, state) < 0 ? NULL : path;
}

static int remove_tree(const char *state, int dir, const char *name, Error *reterr) {
        int r = files_remove_tree(dir, name);

        return r < 0 ? error_setf(reterr, r, "%s/%s: %s", state, name, strerrordesc_np(-r)) : 0;
}

static int publish_definition(const char *state, int dir, Error *reterr) {
        /* Of a move long ago, when the pod left: it says nothing of this one. */
        if (unlinkat(dir, "journal", 0) < 0 && errno != ENOENT)
                return error_setf(reterr, -errno, "%s/journal: %m", state);
        if (renameat(dir, STAGING "/" DEFINITION, dir, DEFINITION) < 0 && errno != ENOENT)
                return error_setf(reterr, -errno, "%s/" DEFINITION ": %m", state);
        if (faccessat(dir, DEFINITION, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return error_setf(reterr, -errno, "%s/" DEFINITION ": %m", state);
        if (fsync(dir) < 0)
                return error_setf(reterr, -errno, "%s: %m", state);
        return remove_tree(state, dir, STAGING, reterr);
}

int offline_commit(const char *state, Error *reterr) {
        _cleanup_record_ OfflineRecord in = {};
        _cleanup_close_ int dir = -EBADF;
        int r;

        r = offline_read(state, OFFLINE_INCOMING, &in, reterr);
        if (r == 0)
                r = open_state(state, &dir, reterr);
        if (r < 0)
                return r;
        if (in.state == OFFLINE_OWNED && faccessat(dir, STAGING, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return 0; /* all of it was done before; disks may be others by now */
        in.state = OFFLINE_OWNED;
        r = offline_write(state, OFFLINE_INCOMING, &in, reterr);
        for (char **f = in.files; r == 0 && f && *f; f++)
                r = disk_commit(*f, reterr);
        return r < 0 ? r : publish_definition(state, dir, reterr);
}

/* A file that this session made, with or without its mark. */
static int remove_disk(const char *path, const char *pod, Error *reterr) {
        int r = disk_discard(path, pod, reterr);

        if (r == 0 && unlink(path) < 0 && errno != ENOENT)
                r = error_setf(reterr, -errno, "cannot remove %s: %m", path);
        return r;
}

int offline_discard(const char *state, bool returned, Error *reterr) {
        _cleanup_record_ OfflineRecord in = {};
        _cleanup_close_ int dir = -EBADF;
        bool whole;
        int r;

        r = offline_read(state, OFFLINE_INCOMING, &in, reterr);
        if (r < 0)
                return r;
        r = open_state(state, &dir, reterr);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (in.state == OFFLINE_NONE) {
                if (remove_halves(dir, OFFLINE_INCOMING))
                        (void)rmdir(state);
                return 0;
        }
        whole = in.state == OFFLINE_OWNED || in.state == OFFLINE_RETURNED;
        if (in.state == OFFLINE_OWNED && !returned)
                return error_setf(reterr, -EBADFD, "%s: the pod is this host's", state);
        if (returned) {
                in.state = OFFLINE_RETURNED;
                r = offline_write(state, OFFLINE_INCOMING, &in, reterr);
        }
        /* Of half a copy only what has its mark: before the mark nothing of it is there. */
        for (char **f = in.files; r == 0 && f && *f; f++)
                r = whole ? remove_disk(*f, in.name, reterr) : disk_discard(*f, in.name, reterr);
        if (r == 0 && whole)
                r = remove_tree(state, dir, DEFINITION, reterr);
        if (r == 0)
                r = remove_tree(state, dir, STAGING, reterr);
        if (r == 0)
                r = remove_tree(state, dir, "logs", reterr);
        if (r < 0 || returned)
                return r;
        r = remove_record(state, dir, OFFLINE_INCOMING, reterr);
        if (r == 0)
                (void)rmdir(state); /* unless something else is in it */
        return r;
}
