/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim reads back from its disk after a crash, with any bytes in it. First byte: 0 the
 * journal, else the state file; then, for the latter, two files of half the rest each. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/journal.h"
#include "lib/log.h"
#include "shim/state-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/podferry-fuzz-disk.XXXXXX";
static const char *const names[] = { "journal", "state.0", "state.1" };

static void path_of(const char *name, char *ret, size_t n) {
        (void)snprintf(ret, n, "%s/%s", dir, name);
}

static void remove_dir(void) {
        char path[64];

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                path_of(names[i], path, sizeof(path));
                (void)unlink(path);
        }
        (void)rmdir(dir);
}

static void put(const char *name, const uint8_t *p, size_t n) {
        _cleanup_close_ int fd = -EBADF;
        char path[64];

        path_of(name, path, sizeof(path));
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, p, n) != (ssize_t)n)
                abort();
}

static int count(void *userdata, const JournalRecord *r, Error *reterr) {
        size_t *n = userdata;

        *n += r->payload_len;
        return r->payload_len > JOURNAL_PAYLOAD_MAX ? -EINVAL : 0;
}

/* Whatever loads can be appended to, and then loads again. */
static void fuzz_journal(const uint8_t *p, size_t n) {
        JournalRecord next = { .kind = JOURNAL_PREPARED, .session = "m1", .pod = "p1" };
        _cleanup_(journal_freep) Journal *j = NULL;
        size_t payload = 0, len;
        char path[64];
        bool torn;

        put("journal", p, n);
        path_of("journal", path, sizeof(path));
        (void)journal_read(path, count, &payload, &torn, NULL);
        if (journal_open(path, &j, NULL) < 0)
                return;
        (void)journal_handoff(j, &len);
        next.epoch = journal_last(j)->epoch;
        if (journal_append(j, &next, NULL) < 0)
                return;
        j = journal_free(j);
        if (journal_open(path, &j, NULL) < 0 || journal_last(j)->kind != JOURNAL_PREPARED ||
            journal_was_torn(j))
                abort();
}

static void fuzz_state(const uint8_t *p, size_t n) {
        _cleanup_(state_file_done) StateFile f = STATE_FILE_INIT, again = STATE_FILE_INIT;
        char path[64], word[] = "word";
        struct iovec iov = { word, 4 };
        _cleanup_buf_ Buf b = {};

        put("state.0", p, n / 2);
        put("state.1", p + n / 2, n - n / 2);
        path_of("state", path, sizeof(path));
        if (state_file_init(&f, path, NULL) < 0 || state_file_init(&again, path, NULL) < 0)
                abort();
        (void)state_file_read(&f, &b, NULL);
        if (state_file_write(&f, &iov, 1, NULL) < 0)
                return;
        b.len = 0;
        if (state_file_read(&again, &b, NULL) < 0 || b.len != 4)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static bool made;

        if (!made) {
                made = true;
                if (!mkdtemp(dir))
                        abort();
                (void)atexit(remove_dir);
                log_set_max_level(LOG_EMERG);
        }
        if (size == 0)
                return 0;
        if (data[0] == 0)
                fuzz_journal(data + 1, size - 1);
        else
                fuzz_state(data + 1, size - 1);
        return 0;
}
