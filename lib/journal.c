/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's file. Bytes: journal-record.c. One writer (flock), any number of readers. Any
 * thread, one at a time. */
#include "lib/journal.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/journal-record.h"
#include "lib/log.h"

#define FILE_MAX (64U << 20)

struct Journal {
        int fd;
        char *path;
        off_t size; /* of whole records */
        JournalRecord last;
        Buf payload; /* of the last */
        Buf handoff; /* of the READY of the last one's session */
        bool torn, broken;
};

static const char *const kind_names[_JOURNAL_KIND_MAX] = {
        [JOURNAL_NONE] = "none",       [JOURNAL_PREPARED] = "prepared",
        [JOURNAL_FENCING] = "fencing", [JOURNAL_RELEASED] = "released",
        [JOURNAL_KEPT] = "kept",       [JOURNAL_READY] = "ready",
        [JOURNAL_REFUSED] = "refused", [JOURNAL_OWNED] = "owned",
        [JOURNAL_RUNNING] = "running", [JOURNAL_LOST] = "lost",
        [JOURNAL_DONE] = "done",
};

const char *journal_kind_name(JournalKind k) {
        return (unsigned)k < _JOURNAL_KIND_MAX ? kind_names[k] : NULL;
}

bool journal_kind_is_destinations(JournalKind k) {
        switch (k) {
        case JOURNAL_READY:
        case JOURNAL_REFUSED:
        case JOURNAL_OWNED:
        case JOURNAL_RUNNING:
                return true;
        case JOURNAL_NONE:
        case JOURNAL_PREPARED:
        case JOURNAL_FENCING:
        case JOURNAL_RELEASED:
        case JOURNAL_KEPT:
        case JOURNAL_LOST:
        case JOURNAL_DONE:
        case _JOURNAL_KIND_MAX:
                break;
        }
        return false;
}

static int read_all(int fd, const char *path, Buf *ret, Error *reterr) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        if (!S_ISREG(st.st_mode))
                return error_setf(reterr, -EINVAL, "%s: not a regular file", path);
        if (st.st_size > (off_t)FILE_MAX)
                return error_setf(reterr, -EBADMSG, "%s: %lld bytes, too many for a journal", path,
                                  (long long)st.st_size);
        if (buf_reserve(ret, (size_t)st.st_size + 1) < 0)
                return error_oom(reterr);
        while (ret->len < (size_t)st.st_size) {
                ssize_t n = pread(fd, ret->data + ret->len, (size_t)st.st_size - ret->len,
                                  (off_t)ret->len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "%s: %m", path);
                if (n == 0)
                        break;
                ret->len += (size_t)n;
        }
        return 0;
}

/* Visits the records of b; *ret_end is where the last whole one ends. */
static int walk(const Buf *b, const char *path, JournalVisitor visit, void *userdata,
                size_t *ret_end, bool *ret_torn, Error *reterr) {
        JournalRecord last = { .kind = JOURNAL_NONE };
        size_t at = 0;

        *ret_torn = false;
        for (;;) {
                JournalRecord r;
                size_t len = 0;
                int e;

                e = journal_record_parse(b->data + at, b->len - at, &r, &len, reterr);
                if (e < 0)
                        return error_prefix(reterr, e, "%s: at byte %zu", path, at);
                if (e == JOURNAL_PARSE_RECORD && r.epoch < last.epoch)
                        return error_setf(reterr, -EBADMSG, "%s: at byte %zu: epoch falls", path,
                                          at);
                *ret_end = at;
                *ret_torn = e == JOURNAL_PARSE_TORN;
                if (e != JOURNAL_PARSE_RECORD)
                        return 0;
                e = visit(userdata, &r, reterr);
                if (e < 0)
                        return e;
                last = r;
                at += len;
        }
}

/* READY's payload is needed until its session is over. */
static int keep_handoff(Journal *j, const JournalRecord *r) {
        if (r->kind == JOURNAL_OWNED && strcmp(r->session, j->last.session) == 0)
                return 0;
        j->handoff.len = 0;
        return r->kind == JOURNAL_READY ? buf_append(&j->handoff, r->payload, r->payload_len) : 0;
}

static int keep_last(void *userdata, const JournalRecord *r, Error *reterr) {
        Journal *j = userdata;

        if (keep_handoff(j, r) < 0)
                return error_oom(reterr);
        j->payload.len = 0;
        if (buf_append(&j->payload, r->payload, r->payload_len) < 0)
                return error_oom(reterr);
        j->last = *r;
        j->last.payload = j->payload.data;
        return 0;
}

/* A new file is only there after a crash if its directory is on disk too. */
static int sync_directory(const char *path, Error *reterr) {
        _cleanup_free_ char *copy = strdup(path);
        _cleanup_close_ int fd = -EBADF;

        if (!copy)
                return error_oom(reterr);
        fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return error_setf(reterr, -errno, "directory of %s: %m", path);
        return 0;
}

static int cut(Journal *j, Error *reterr) {
        if (ftruncate(j->fd, j->size) < 0 || fsync(j->fd) < 0)
                return error_setf(reterr, -errno, "%s: cutting: %m", j->path);
        return 0;
}

static int load(Journal *j, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        size_t end = 0;
        int r;

        if (flock(j->fd, LOCK_EX | LOCK_NB) < 0)
                return error_setf(reterr, errno == EWOULDBLOCK ? -EBUSY : -errno,
                                  "%s: in use by another process", j->path);
        r = read_all(j->fd, j->path, &b, reterr);
        if (r < 0)
                return r;
        r = walk(&b, j->path, keep_last, j, &end, &j->torn, reterr);
        if (r < 0)
                return r;
        j->size = (off_t)end;
        if (j->torn) {
                log_warning("%s: the last record is torn, cut off at byte %zu", j->path, end);
                r = cut(j, reterr);
                if (r < 0)
                        return r;
        }
        return sync_directory(j->path, reterr);
}

int journal_open(const char *path, Journal **ret, Error *reterr) {
        _cleanup_(journal_freep) Journal *j = NULL;
        int r;

        j = calloc(1, sizeof(*j));
        if (!j)
                return error_oom(reterr);
        j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (j->fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        j->path = strdup(path);
        if (!j->path)
                return error_oom(reterr);
        r = load(j, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(j);
        return 0;
}

Journal *journal_free(Journal *j) {
        if (!j)
                return NULL;
        j->fd = close_fd(j->fd);
        buf_done(&j->payload);
        buf_done(&j->handoff);
        free(j->path);
        free(j);
        return NULL;
}

static int write_at_end(Journal *j, const Buf *b, Error *reterr) {
        size_t done = 0;

        while (done < b->len) {
                ssize_t n = pwrite(j->fd, b->data + done, b->len - done, j->size + (off_t)done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "%s: %m", j->path);
                done += (size_t)n;
        }
        if (fdatasync(j->fd) < 0)
                return error_setf(reterr, -errno, "%s: sync: %m", j->path);
        return 0;
}

static uint64_t clock_now(void) {
        struct timespec t = {};

        (void)clock_gettime(CLOCK_REALTIME, &t);
        return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

int journal_append(Journal *j, const JournalRecord *record, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        JournalRecord rec = *record;
        int r;

        if (j->broken)
                return error_setf(reterr, -EIO,
                                  "%s: an earlier write failed and could not be undone", j->path);
        if (rec.epoch < j->last.epoch)
                return error_setf(reterr, -EINVAL, "%s: epoch %llu after %llu", j->path,
                                  (unsigned long long)rec.epoch, (unsigned long long)j->last.epoch);
        rec.at_ns = clock_now();
        r = journal_record_encode(&rec, &b, reterr);
        if (r < 0)
                return r;
        if (j->size + (off_t)b.len > (off_t)FILE_MAX)
                return error_setf(reterr, -ENOSPC, "%s: full", j->path);
        /* What will be kept of it must fit before it is written: afterwards nothing may fail. */
        if (buf_reserve(&j->payload, rec.payload_len) < 0 ||
            buf_reserve(&j->handoff, rec.payload_len) < 0)
                return error_oom(reterr);
        r = write_at_end(j, &b, reterr);
        if (r < 0) {
                /* After a failed sync nobody knows what is on disk: only a cut that succeeds does.
                 */
                j->broken = cut(j, NULL) < 0;
                return r;
        }
        j->size += (off_t)b.len;
        return keep_last(j, &rec, reterr);
}

const JournalRecord *journal_last(const Journal *j) {
        return &j->last;
}

const void *journal_handoff(const Journal *j, size_t *ret_len) {
        *ret_len = j->handoff.len;
        return j->handoff.len ? j->handoff.data : NULL;
}

bool journal_was_torn(const Journal *j) {
        return j->torn;
}

int journal_read(const char *path, JournalVisitor visit, void *userdata, bool *ret_torn,
                 Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_buf_ Buf b = {};
        bool torn;
        size_t end;
        int r;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        r = read_all(fd, path, &b, reterr);
        if (r < 0)
                return r;
        r = walk(&b, path, visit, userdata, &end, &torn, reterr);
        if (r == 0 && ret_torn)
                *ret_torn = torn;
        return r;
}

static int keep_copy(void *userdata, const JournalRecord *r, Error *reterr) {
        JournalRecord *last = userdata;

        *last = *r;
        last->payload = NULL; /* of a buffer that goes */
        last->payload_len = 0;
        return 0;
}

int journal_read_last(const char *path, JournalRecord *ret, Error *reterr) {
        JournalRecord last = {};
        Error e = ERROR_INIT;
        int r = journal_read(path, keep_copy, &last, NULL, &e);

        *ret = (JournalRecord){};
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_setf(reterr, r, "%s", error_text(&e, r));
        *ret = last;
        return 0;
}

/* What may follow what on one host. Within a session both records are of the same session and
 * epoch; a new one begins after those that end one. */
#define AFTER(k) (1U << JOURNAL_##k)
static const uint32_t follows[_JOURNAL_KIND_MAX] = {
        [JOURNAL_PREPARED] = AFTER(FENCING) | AFTER(KEPT) | AFTER(LOST),
        [JOURNAL_FENCING] = AFTER(RELEASED) | AFTER(KEPT),
        [JOURNAL_RELEASED] = AFTER(DONE) | AFTER(LOST),
        [JOURNAL_READY] = AFTER(OWNED) | AFTER(REFUSED),
        [JOURNAL_OWNED] = AFTER(RUNNING) | AFTER(REFUSED),
};
#define BEGINNERS (AFTER(PREPARED) | AFTER(READY) | AFTER(REFUSED))
#define ENDERS                                                                                     \
        (AFTER(NONE) | AFTER(KEPT) | AFTER(REFUSED) | AFTER(RUNNING) | AFTER(LOST) | AFTER(DONE))

int journal_check_order(const JournalRecord *last, const JournalRecord *next, Error *reterr) {
        bool same = last->kind != JOURNAL_NONE && strcmp(last->session, next->session) == 0;

        if (next->epoch < last->epoch)
                return error_setf(reterr, -EINVAL, "epoch %llu after %llu",
                                  (unsigned long long)next->epoch, (unsigned long long)last->epoch);
        if (same && next->epoch == last->epoch && follows[last->kind] & (1U << next->kind))
                return 0;
        if (!same && (1U << last->kind) & ENDERS && (1U << next->kind) & BEGINNERS) {
                /* A guest that was lost or given away comes back with a higher epoch only. */
                bool gone = last->kind == JOURNAL_DONE || last->kind == JOURNAL_LOST;

                if (!gone || next->epoch > last->epoch)
                        return 0;
        }
        return error_setf(reterr, -EINVAL,
                          "%s (session %s, epoch %llu) after %s (session %s, epoch %llu)",
                          kind_names[next->kind], next->session, (unsigned long long)next->epoch,
                          kind_names[last->kind], last->session, (unsigned long long)last->epoch);
}
