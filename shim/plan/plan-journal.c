/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of a run. lib/journal is the pods' own, with its fixed records; this one carries
 * objects, and people may read it with a pager. */
#include "shim/plan/plan-journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/crc32c.h"
#include "shim/ctl/json.h"
#include "shim/plan/plan-store.h"

#define FILE_MAX    (64U << 20)
#define PREFIX_SIZE 9U /* "1a2b3c4d " */

typedef struct FileJournal {
        PlanJournal base;
        int fd, dir_fd;
        char *name;
        off_t size; /* of whole records */
        bool broken;
} FileJournal;

int plan_record_encode(json_object *record, Buf *b) {
        const char *text = json_object_to_json_string_ext(
                record, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (!text)
                return -ENOMEM;
        return buf_printf(b, "%08x %s\n", crc32c(0, text, strlen(text)), text);
}

/* One line without its newline. */
static bool parse_line(const char *line, size_t n, json_object **ret) {
        char sum[PREFIX_SIZE] = "", *end;

        if (n <= PREFIX_SIZE || line[PREFIX_SIZE - 1] != ' ')
                return false;
        memcpy(sum, line, PREFIX_SIZE - 1);
        if (strspn(sum, "0123456789abcdef") != PREFIX_SIZE - 1 ||
            strtoul(sum, &end, 16) != crc32c(0, line + PREFIX_SIZE, n - PREFIX_SIZE))
                return false;
        return json_read(line + PREFIX_SIZE, n - PREFIX_SIZE, ret, NULL) == 0;
}

/* A whole record anywhere behind the first byte means that what is in front is no torn end; also
 * one whose beginning is in the same line, because a newline may be what is damaged. */
static bool more_follows(const char *p, size_t n) {
        for (size_t i = 1; i + PREFIX_SIZE < n; i++) {
                json_object *o = NULL;
                const char *end;

                if (p[i + PREFIX_SIZE - 1] != ' ')
                        continue;
                end = memchr(p + i, '\n', n - i);
                if (!end)
                        return false;
                if (parse_line(p + i, (size_t)(end - p) - i, &o)) {
                        (void)json_object_put(o);
                        return true;
                }
        }
        return false;
}

int plan_record_walk(const char *name, const Buf *b, PlanVisitor visit, void *userdata,
                     size_t *ret_end, bool *ret_torn, uint64_t *ret_next, Error *reterr) {
        const char *text = (const char *)b->data;
        size_t at = 0;

        *ret_next = 0;
        *ret_torn = false;
        for (;;) {
                const char *end = at < b->len ? memchr(text + at, '\n', b->len - at) : NULL;
                _cleanup_json_ json_object *o = NULL;
                int r;

                *ret_end = at;
                if (at == b->len)
                        return 0;
                if (!end || !parse_line(text + at, (size_t)(end - text) - at, &o)) {
                        if (more_follows(text + at, b->len - at))
                                return error_setf(reterr, -EBADMSG,
                                                  "%s: record %llu, at byte %zu, is damaged", name,
                                                  (unsigned long long)*ret_next, at);
                        *ret_torn = true;
                        return 0;
                }
                if (json_get_number(o, "n") != (int64_t)*ret_next)
                        return error_setf(reterr, -EBADMSG, "%s: record %lld where %llu should be",
                                          name, (long long)json_get_number(o, "n"),
                                          (unsigned long long)*ret_next);
                r = visit ? visit(userdata, o, reterr) : 0;
                if (r < 0)
                        return error_prefix(reterr, r, "%s: record %llu", name,
                                            (unsigned long long)*ret_next);
                (*ret_next)++;
                at = (size_t)(end + 1 - text);
        }
}

/* The whole file, from a descriptor. */
static int read_fd(int fd, const char *name, Buf *ret, Error *reterr) {
        struct stat st;
        ssize_t n;

        if (fstat(fd, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", name);
        if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX)
                return error_setf(reterr, -EBADMSG, "%s: no journal, or too long for one", name);
        if (buf_reserve(ret, (size_t)st.st_size + 1) < 0)
                return error_oom(reterr);
        n = files_read_start(fd, ret->data, (size_t)st.st_size);
        if (n < 0)
                return error_setf(reterr, (int)n, "%s: %s", name, strerrordesc_np((int)-n));
        ret->len = (size_t)n;
        return 0;
}

static int cut(FileJournal *j) {
        return ftruncate(j->fd, j->size) < 0 || fsync(j->fd) < 0 ? -errno : 0;
}

static FileJournal *file_journal_free(FileJournal *j) {
        (void)close_fd(j->fd);
        free(j->name);
        free(j);
        return NULL;
}
DEFINE_CLEANUP(FileJournal *, file_journal_free);

static PlanJournal *free_base(PlanJournal *j) {
        (void)file_journal_free((FileJournal *)(void *)j);
        return NULL;
}

static int write_out(FileJournal *j, const Buf *b) {
        size_t done = 0;

        while (done < b->len) {
                ssize_t n = pwrite(j->fd, b->data + done, b->len - done, j->size + (off_t)done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                done += (size_t)n;
        }
        return fdatasync(j->fd) < 0 ? -errno : 0;
}

static int append(PlanJournal *base, uint64_t n, const Buf *line, Error *reterr) {
        FileJournal *j = (FileJournal *)(void *)base;
        int r;

        (void)n;
        if (j->broken)
                return error_setf(reterr, -EIO,
                                  "%s: an earlier write failed and could not be undone", j->name);
        if (j->size + (off_t)line->len > (off_t)FILE_MAX)
                return error_setf(reterr, -ENOSPC, "%s: full", j->name);
        r = write_out(j, line);
        if (r < 0) { /* nobody knows what is on disk, unless the cut succeeds */
                j->broken = cut(j) < 0;
                return error_setf(reterr, r, "%s: %s", j->name, strerrordesc_np(-r));
        }
        j->size += (off_t)line->len;
        return 0;
}

static const PlanJournalOps file_journal = { .append = append, .free = free_base };

int plan_journal_open(int dir_fd, const char *name, PlanVisitor visit, void *userdata,
                      PlanJournal **ret, Error *reterr) {
        _cleanup_(file_journal_freep) FileJournal *j = calloc(1, sizeof(*j));
        _cleanup_buf_ Buf b = {};
        size_t end = 0;
        bool torn;
        int r;

        if (!j)
                return error_oom(reterr);
        j->base.ops = &file_journal;
        j->dir_fd = dir_fd;
        j->name = strdup(name);
        j->fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (!j->name)
                return error_oom(reterr);
        if (j->fd < 0)
                return error_setf(reterr, -errno, "%s: %m", name);
        if (fcntl(j->fd, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK }) < 0)
                return error_setf(reterr, errno == EAGAIN ? -EBUSY : -errno,
                                  "%s: another podferry runs this plan", name);
        r = read_fd(j->fd, name, &b, reterr);
        if (r == 0)
                r = plan_record_walk(name, &b, visit, userdata, &end, &torn, &j->base.next, reterr);
        if (r < 0)
                return r;
        j->size = (off_t)end;
        if (torn && (r = cut(j)) < 0)
                return error_setf(reterr, r, "%s: cutting a torn record off: %s", name,
                                  strerrordesc_np(-r));
        if (fsync(dir_fd) < 0)
                return error_setf(reterr, -errno, "directory of %s: %m", name);
        *ret = &TAKE(j)->base;
        return 0;
}

int plan_journal_read(int dir_fd, const char *name, PlanVisitor visit, void *userdata,
                      bool *ret_torn, bool *ret_busy, Error *reterr) {
        struct flock test = { .l_type =
                                      F_WRLCK }; /* a test takes nothing, and so disturbs nobody */
        _cleanup_close_ int fd = -EBADF;
        _cleanup_buf_ Buf b = {};
        uint64_t next;
        size_t end;
        bool torn;
        int r;

        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", name);
        if (ret_busy)
                *ret_busy = fcntl(fd, F_OFD_GETLK, &test) == 0 && test.l_type != F_UNLCK;
        r = read_fd(fd, name, &b, reterr);
        if (r == 0)
                r = plan_record_walk(name, &b, visit, userdata, &end, &torn, &next, reterr);
        if (r == 0 && ret_torn)
                *ret_torn = torn;
        return r;
}
