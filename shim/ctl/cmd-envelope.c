/* SPDX-License-Identifier: Apache-2.0 */
/* podferry envelope decode: any saved state as JSON, by the descriptors that protobuf-c generated.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/image/files.h"
#include "lib/envelope.h"
#include "lib/message.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/decode.h"
#include "shim/ctl/json.h"

static const Option options[] = {
        { 1, 0, "json", NULL, "on one line, for programs" },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_decode = {
        .name = "envelope decode",
        .operands = "FILE",
        .summary = "Print a saved state (an envelope) as JSON",
        .text = "FILE may be - for stdin. Envelopes in it are opened as well. Bytes that are no\n"
                "text are printed in hexadecimal.",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "files",
        .run = self_run,
};

static int read_all(const char *name, Buf *ret, Error *reterr) {
        _cleanup_close_ int opened = -EBADF;
        uint8_t chunk[65536];
        int fd = STDIN_FILENO;

        if (strcmp(name, "-") != 0) {
                fd = opened = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
                if (fd < 0)
                        return error_setf(reterr, -errno, "%s: %m", name);
        }
        for (;;) {
                ssize_t n = read(fd, chunk, sizeof(chunk));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "%s: %m", name);
                if (n == 0)
                        return 0;
                if (ret->len + (size_t)n > 2 * (size_t)ENVELOPE_MAX)
                        return error_setf(reterr, -EFBIG, "%s: too large for an envelope", name);
                if (buf_append(ret, chunk, (size_t)n) < 0)
                        return error_oom(reterr);
        }
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_buf_ Buf b = {};
        Error e = ERROR_INIT;
        bool json = false;
        int r, n, status;
        char **operands;

        if (!ctl_simple(self, argc, argv, 1, 1, &json, &operands, &n, &status))
                return status;
        r = read_all(operands[0], &b, &e);
        if (r == 0) {
                r = decode_envelope(b.data, b.len, &o, &e);
                if (r < 0)
                        r = error_prefix(&e, r, "%s", operands[0]);
        }
        if (r < 0)
                return ctl_fail(r, &e, "envelope decode");
        json_print(o, !json);
        return CTL_OK;
}
