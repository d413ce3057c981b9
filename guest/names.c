/* SPDX-License-Identifier: Apache-2.0 */
/* Host name and DNS. The two files are written in place, never replaced: containers have them
 * mounted, and see what a move to another network changes. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>

#include "guest/network.h"
#include "guest/spec.h"
#include "lib/buf.h"

static int write_in_place(const char *path, const Buf *b, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        size_t at = 0;

        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        while (at < b->len) {
                ssize_t n = write(fd, b->data + at, b->len - at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "%s: %m", path);
                at += (size_t)n;
        }
        if (ftruncate(fd, (off_t)b->len) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        return 0;
}

static int put_words(Buf *b, const char *key, char *const *words, size_t n, bool a_line_each) {
        int r = 0;

        if (n == 0)
                return 0;
        if (!a_line_each)
                r = buf_printf(b, "%s", key);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = a_line_each ? buf_printf(b, "%s %s\n", key, words[i])
                                : buf_printf(b, " %s", words[i]);
        return r < 0 || a_line_each ? r : buf_printf(b, "\n");
}

static int write_resolv(const NetNames *n, Error *reterr) {
        _cleanup_buf_ Buf b = {};

        if (put_words(&b, "nameserver", n->servers, n->n_servers, true) < 0 ||
            put_words(&b, "search", n->searches, n->n_searches, false) < 0 ||
            put_words(&b, "options", n->options, n->n_options, false) < 0)
                return error_oom(reterr);
        return write_in_place(NAMES_RESOLV, &b, reterr);
}

static int write_hosts(const NetworkRequest *q, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        char text[INET6_ADDRSTRLEN];

        if (buf_printf(&b, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n") < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < q->n_interfaces; i++)
                for (size_t k = 0; k < q->interfaces[i]->n_addresses; k++) {
                        const ProtobufCBinaryData *a = &q->interfaces[i]->addresses[k]->address;

                        if (net_is_link_local(a) || !inet_ntop(a->len == 4 ? AF_INET : AF_INET6,
                                                               a->data, text, sizeof(text)))
                                continue;
                        if (buf_printf(&b, "%s %s\n", text, q->host_name) < 0)
                                return error_oom(reterr);
                }
        return write_in_place(NAMES_HOSTS, &b, reterr);
}

int names_apply(const NetworkRequest *q, Error *reterr) {
        int r = 0;

        if (q->host_name[0]) {
                if (sethostname(q->host_name, strlen(q->host_name)) < 0)
                        return error_setf(reterr, -errno, "host name: %m");
                r = write_hosts(q, reterr);
        }
        if (r == 0 && q->names)
                r = write_resolv(q->names, reterr);
        return r;
}

int names_share(Buf *config, Error *reterr) {
        static const char *const files[] = { NAMES_RESOLV, NAMES_HOSTS };
        const char *there[ELEMENTSOF(files)];
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                if (access(files[i], F_OK) == 0)
                        there[n++] = files[i];
        return n == 0 ? 0 : spec_share_files(config, there, n, reterr);
}
