/* SPDX-License-Identifier: Apache-2.0 */
/* One table of all options: parsing, printing and help come from it. */
#include "controllers/migration/options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"

typedef enum Kind {
        KIND_NUMBER,
        KIND_COUNT, /* uint32_t */
        KIND_FLAG,
        KIND_WORD, /* an enum */
        KIND_URI,
} Kind;

typedef struct Row {
        const char *name;
        Kind kind;
        size_t offset;
        uint64_t first, max;      /* default and largest, of numbers, flags and words */
        const char *const *words; /* NULL-terminated */
        const char *help;
} Row;

static const char *const handover_words[] = { "shims", "runtime", "fast", NULL };
static const char *const action_words[] = { "abort", "force-complete", NULL };
static const char *const storage_words[] = { "auto", "shared", "copy", NULL };
static const char *const cutover_words[] = { "auto", "hold", NULL };
static const char *const stall_words[] = { "advise", "abort", "force-complete", NULL };
static const char *const compression_words[] = { "", "zstd", "zlib", "xbzrle", NULL };

#define MS_MAX       (30ULL * 24 * 3600 * 1000)
#define DOWNTIME_MAX 2000000ULL /* QEMU's */
#define FIELD(f)     offsetof(MigrationOptions, f)
#define WORDS(w)     ELEMENTSOF(w) - 2, w

/* clang-format off */
static const Row rows[] = {
        { "handover", KIND_WORD, FIELD(handover), 0, WORDS(handover_words),
          "who decides that the destination runs: the two shims, the runtime, or libvirt by itself" },
        { "storage", KIND_WORD, FIELD(storage), 0, WORDS(storage_words),
          "what happens to writable disks: as each disk says, all shared, all copied" },
        { "completion_timeout", KIND_NUMBER, FIELD(timeout_ms), 0, MS_MAX, NULL,
          "milliseconds for the whole transfer, 0: by its size" },
        { "timeout_per_gib", KIND_NUMBER, FIELD(timeout_per_gib_ms), 300000, MS_MAX, NULL,
          "milliseconds for each GiB of memory and copied disk, 0: no limit" },
        { "timeout_action", KIND_WORD, FIELD(timeout_action), 0, WORDS(action_words),
          "what to do then" },
        { "pause_timeout", KIND_NUMBER, FIELD(pause_timeout_ms), 60000, MS_MAX, NULL,
          "milliseconds that a pod paused to complete may stand before it is rolled back" },
        { "abort_timeout", KIND_NUMBER, FIELD(abort_timeout_ms), 30000, MS_MAX, NULL,
          "milliseconds after which an abort without effect is reported, 0: never" },
        { "progress_timeout", KIND_NUMBER, FIELD(progress_timeout_ms), 150000, MS_MAX, NULL,
          "milliseconds without a byte moved after which to give up, 0: never" },
        { "stall_action", KIND_WORD, FIELD(stall_action), 0, WORDS(stall_words),
          "what to do, beside a warning, when the rest does not get less" },
        { "stall_window", KIND_NUMBER, FIELD(stall_window_ms), 40000, MS_MAX, NULL,
          "milliseconds in which it must get less by 4 %, 0: not looked at" },
        { "transport_timeout", KIND_NUMBER, FIELD(transport_timeout_ms), 600000, MS_MAX, NULL,
          "milliseconds to wait for a transport" },
        { "handover_timeout", KIND_NUMBER, FIELD(handover_timeout_ms), 10000, MS_MAX, NULL,
          "milliseconds in the blackout to wait for the destination before rolling back" },
        { "finalize_timeout", KIND_NUMBER, FIELD(finalize_timeout_ms), 30000, MS_MAX, NULL,
          "milliseconds in the blackout to wait for Finalize, with handover=runtime" },
        { "max_downtime", KIND_NUMBER, FIELD(max_downtime_ms), 500, DOWNTIME_MAX, NULL,
          "milliseconds of blackout to allow at most, 0: the hypervisor's own, without a ramp" },
        { "downtime_start", KIND_NUMBER, FIELD(downtime_start_ms), 50, DOWNTIME_MAX, NULL,
          "milliseconds of blackout to allow at first, 0: max_downtime at once" },
        { "downtime_iteration", KIND_COUNT, FIELD(downtime_iteration), 3, 1000, NULL,
          "iteration of memory from which more is allowed" },
        { "downtime_cooldown", KIND_NUMBER, FIELD(downtime_cooldown_ms), 10000, MS_MAX, NULL,
          "milliseconds between two steps of it" },
        { "cutover", KIND_WORD, FIELD(cutover), 0, WORDS(cutover_words),
          "when the pod goes over: as soon as it can, or held until told" },
        { "cutover_at", KIND_NUMBER, FIELD(cutover_at), 0, 1ULL << 40, NULL,
          "seconds since 1970 until which it is held, 0: no time" },
        { "bandwidth", KIND_NUMBER, FIELD(bandwidth), 0, 1ULL << 50, NULL,
          "bytes a second, 0: no limit" },
        { "bandwidth_postcopy", KIND_NUMBER, FIELD(bandwidth_postcopy), 0, 1ULL << 50, NULL,
          "bytes a second once it is post-copy, 0: no limit" },
        { "connections", KIND_COUNT, FIELD(connections), 0, 64, NULL,
          "parallel connections for memory, 0: one stream" },
        { "compression", KIND_WORD, FIELD(compression), 0, WORDS(compression_words),
          "how memory is compressed on the way: \"xbzrle\" sends what changed in a page; others are refused" },
        { "compression_cache", KIND_NUMBER, FIELD(compression_cache), 0, 1ULL << 40, NULL,
          "bytes of xbzrle's cache, 0: the hypervisor's own size" },
        { "auto_converge_initial", KIND_COUNT, FIELD(auto_converge_initial), 0, 99, NULL,
          "percent by which the guest is slowed down at first, 0: the hypervisor's" },
        { "auto_converge_increment", KIND_COUNT, FIELD(auto_converge_increment), 0, 99, NULL,
          "percent by which it is slowed down more each time, 0: the hypervisor's" },
        { "auto_converge", KIND_FLAG, FIELD(auto_converge), 0, 1, NULL,
          "slow the guest down when it writes faster than the link" },
        { "post_copy", KIND_FLAG, FIELD(postcopy), 0, 1, NULL,
          "post-copy is allowed" },
        { "verify", KIND_FLAG, FIELD(verify), 0, 1, NULL,
          "compare checksums of copied disks: refused, the guest would stand still while both read them" },
        { "keep_source_disks", KIND_FLAG, FIELD(keep_source_disks), 0, 1, NULL,
          "leave the copied scratch disks at the source" },
        { "remove_source_volumes", KIND_FLAG, FIELD(remove_source_volumes), 0, 1, NULL,
          "remove copied volumes at the source once the pod has moved" },
        { "abort_on_error", KIND_FLAG, FIELD(abort_on_error), 1, 1, NULL,
          "an I/O error of a disk ends the transfer" },
        { "synchronous_writes", KIND_FLAG, FIELD(synchronous_writes), 0, 1, NULL,
          "a write to a copied disk is done when both hosts have it: so their copy always converges" },
        { "allow_plaintext", KIND_FLAG, FIELD(allow_plaintext), 0, 1, NULL,
          "with transport: memory may cross the network without encryption" },
        { "transport", KIND_URI, FIELD(transport), 0, 0, NULL,
          "libvirt's URI of the peer, empty: over the registered socket" },
        { "migrate_uri", KIND_URI, FIELD(migrate_uri), 0, 0, NULL,
          "with transport: where QEMU listens there, empty: libvirt chooses" },
};
/* clang-format on */

static void put(MigrationOptions *o, const Row *row, uint64_t v) {
        char *at = (char *)o + row->offset;
        uint32_t v32 = (uint32_t)v;
        bool flag = v != 0;

        switch (row->kind) {
        case KIND_NUMBER:
                memcpy(at, &v, sizeof(v));
                break;
        case KIND_COUNT:
        case KIND_WORD:
                memcpy(at, &v32, sizeof(v32));
                break;
        case KIND_FLAG:
                memcpy(at, &flag, sizeof(flag));
                break;
        case KIND_URI:
                *at = '\0';
                break;
        }
}

_Static_assert(sizeof(MigrationHandover) == sizeof(uint32_t), "words are stored as 32 bits");

void migration_options_init(MigrationOptions *o) {
        memset(o, 0, sizeof(*o));
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                put(o, &rows[i], rows[i].first);
}

_Static_assert(ELEMENTSOF(rows) <= MIGRATION_OPTIONS_MAX, "each row has its origin");

static const char *const origin_names[_MIGRATION_ORIGIN_MAX] = {
        [MIGRATION_BY_DEFAULT] = "default",
        [MIGRATION_BY_CONFIGURATION] = "configuration",
        [MIGRATION_BY_ANNOTATION] = "annotation",
        [MIGRATION_BY_CALL] = "call",
};

const char *migration_origin_name(MigrationOrigin o) {
        return (unsigned)o < _MIGRATION_ORIGIN_MAX ? origin_names[o] : NULL;
}

MigrationOrigin migration_options_origin(const MigrationOptions *o, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (strcmp(rows[i].name, name) == 0)
                        return (MigrationOrigin)o->origin[i];
        return MIGRATION_BY_DEFAULT;
}

static size_t size_of(const Row *row) {
        switch (row->kind) {
        case KIND_NUMBER:
                return sizeof(uint64_t);
        case KIND_COUNT:
        case KIND_WORD:
                return sizeof(uint32_t);
        case KIND_FLAG:
                return sizeof(bool);
        case KIND_URI:
                break;
        }
        return MIGRATION_URI_MAX;
}

void migration_options_lay_under(MigrationOptions *o, const MigrationOptions *below) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (o->origin[i] >= below->origin[i])
                        continue;
                memcpy((char *)o + rows[i].offset, (const char *)below + rows[i].offset,
                       size_of(&rows[i]));
                o->origin[i] = below->origin[i];
        }
}

static int parse_number(const Row *row, const char *value, uint64_t *ret, Error *reterr) {
        uint64_t v = 0;
        const char *p = value;

        for (; *p >= '0' && *p <= '9' && v <= row->max; p++)
                v = v * 10 + (uint64_t)(*p - '0');
        if (p == value || *p || v > row->max)
                return error_setf(reterr, -EINVAL,
                                  "option %s: \"%.60s\" is not a number from 0 to %llu", row->name,
                                  value, (unsigned long long)row->max);
        *ret = v;
        return 0;
}

static int parse_flag(const Row *row, const char *value, uint64_t *ret, Error *reterr) {
        if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
                return error_setf(reterr, -EINVAL, "option %s: \"%.60s\" is neither true nor false",
                                  row->name, value);
        *ret = value[0] == 't';
        return 0;
}

static int parse_word(const Row *row, const char *value, uint64_t *ret, Error *reterr) {
        char known[128] = "";
        size_t used = 0;

        for (uint64_t i = 0; row->words[i]; i++) {
                if (strcmp(row->words[i], value) == 0) {
                        *ret = i;
                        return 0;
                }
                used += (size_t)snprintf(known + used, sizeof(known) - used, "%s\"%s\"",
                                         i ? ", " : "", row->words[i]);
        }
        return error_setf(reterr, -EINVAL, "option %s: \"%.60s\" is none of %s", row->name, value,
                          known);
}

static int parse_uri(const Row *row, const char *value, MigrationOptions *o, Error *reterr) {
        size_t n = strlen(value);

        if (n >= MIGRATION_URI_MAX)
                return error_setf(reterr, -EINVAL, "option %s: %zu characters, at most %u",
                                  row->name, n, MIGRATION_URI_MAX - 1);
        for (size_t i = 0; i < n; i++)
                if (value[i] <= ' ' || value[i] > '~')
                        return error_setf(reterr, -EINVAL, "option %s: not a URI", row->name);
        memcpy((char *)o + row->offset, value, n + 1);
        return 0;
}

static int set_row(MigrationOptions *o, const Row *row, const char *value, Error *reterr) {
        uint64_t v = 0;
        int r;

        if (row->kind == KIND_URI)
                return parse_uri(row, value, o, reterr);
        if (row->kind == KIND_WORD)
                r = parse_word(row, value, &v, reterr);
        else if (row->kind == KIND_FLAG)
                r = parse_flag(row, value, &v, reterr);
        else
                r = parse_number(row, value, &v, reterr);
        if (r == 0)
                put(o, row, v);
        return r;
}

int migration_options_set_by(MigrationOptions *o, MigrationOrigin by, const char *name,
                             const char *value, Error *reterr) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int r;

                if (strcmp(rows[i].name, name) != 0)
                        continue;
                r = set_row(o, &rows[i], value, reterr);
                if (r == 0)
                        o->origin[i] = (uint8_t)by;
                return r;
        }
        return error_setf(reterr, -EINVAL, "there is no option \"%.60s\"", name);
}

int migration_options_set(MigrationOptions *o, const char *name, const char *value, Error *reterr) {
        return migration_options_set_by(o, MIGRATION_BY_CALL, name, value, reterr);
}

/* libvirt+tcp://HOST: nobody but this host hears it. */
static bool is_loopback(const char *uri) {
        const char *host = strstr(uri, "://");
        size_t n;

        if (!host)
                return false;
        host += 3;
        n = strcspn(host, host[0] == '[' ? "]/" : ":/?");
        return (n == 9 && strncmp(host, "localhost", n) == 0) ||
               (n > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n) ||
               (n == 4 && strncmp(host, "[::1", n) == 0);
}

int migration_options_libvirt_uri(const MigrationOptions *o, char *to, size_t size, Error *reterr) {
        static const char ours[] = "libvirt+", system[] = "/system";
        const char *t = o->transport, *host = strstr(t, "://"), *path, *query;
        int n;

        host = host ? host + 3 : "";
        path = host + strcspn(host, "/?");
        query = path + strcspn(path, "?");
        if (strncmp(t, ours, strlen(ours)) != 0 || path == host)
                return error_setf(reterr, -EINVAL,
                                  "option transport: \"%.100s\": libvirt+tls://HOST or "
                                  "libvirt+tcp://HOST is expected",
                                  t);
        if (query - path > 1 && ((size_t)(query - path) != strlen(system) ||
                                 strncmp(path, system, strlen(system)) != 0))
                return error_setf(reterr, -EINVAL,
                                  "option transport: \"%.100s\": of the libvirt over there it is "
                                  "/system that has the pod",
                                  t);
        n = snprintf(to, size, "qemu%.*s%s%s", (int)(path - t) - (int)strlen("libvirt"),
                     t + strlen("libvirt"), system, query);
        return n >= 0 && (size_t)n < size
                       ? 0
                       : error_setf(reterr, -EINVAL, "option transport: it is too long");
}

/* What crosses the network beside the socket of the session. */
static int check_transport(const MigrationOptions *o, Error *reterr) {
        static const char tls[] = "libvirt+tls://";
        char uri[MIGRATION_URI_MAX + 16];
        int r;

        if (o->migrate_uri[0] && !o->transport[0])
                return error_setf(reterr, -EINVAL, "option migrate_uri needs option transport");
        r = o->transport[0] ? migration_options_libvirt_uri(o, uri, sizeof(uri), reterr) : 0;
        if (r < 0)
                return r;
        if (!o->transport[0] || strncmp(o->transport, tls, strlen(tls)) == 0 ||
            o->allow_plaintext || is_loopback(o->transport))
                return 0;
        return error_setf(reterr, -EINVAL,
                          "option transport: %.100s would send the pod's memory over the network "
                          "without encryption; take libvirt+tls://, or allow_plaintext",
                          o->transport);
}

static int check_compression(const MigrationOptions *o, Error *reterr) {
        if (o->compression != MIGRATION_COMPRESSION_NONE &&
            o->compression != MIGRATION_COMPRESSION_XBZRLE)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "option compression: \"%s\" is not to be had of libvirt 9.0",
                                  compression_words[o->compression]);
        if (o->compression_cache > 0 && o->compression != MIGRATION_COMPRESSION_XBZRLE)
                return error_setf(reterr, -EINVAL,
                                  "option compression_cache needs compression=xbzrle");
        return 0;
}

/* What QEMU cannot do at once. */
static int check_connections(const MigrationOptions *o, Error *reterr) {
        if (o->connections == 0)
                return 0;
        if (o->compression == MIGRATION_COMPRESSION_XBZRLE)
                return error_setf(reterr, -EINVAL,
                                  "options connections and compression=xbzrle exclude each other: "
                                  "on parallel connections nothing is compressed");
        if (o->postcopy)
                return error_setf(reterr, -EINVAL,
                                  "options connections and post_copy exclude each other: QEMU has "
                                  "no post-copy over parallel connections");
        return 0;
}

static int check_convergence(const MigrationOptions *o, Error *reterr) {
        if (o->max_downtime_ms > 0 && o->downtime_start_ms > o->max_downtime_ms &&
            migration_options_origin(o, "downtime_start") != MIGRATION_BY_DEFAULT)
                return error_setf(reterr, -EINVAL,
                                  "option downtime_start: %llu ms is above max_downtime, %llu ms",
                                  (unsigned long long)o->downtime_start_ms,
                                  (unsigned long long)o->max_downtime_ms);
        if ((o->auto_converge_initial > 0 || o->auto_converge_increment > 0) && !o->auto_converge)
                return error_setf(reterr, -EINVAL,
                                  "options auto_converge_initial and auto_converge_increment need "
                                  "auto_converge");
        if (o->bandwidth_postcopy > 0 && !o->postcopy)
                return error_setf(reterr, -EINVAL, "option bandwidth_postcopy needs post_copy");
        return 0;
}

int migration_options_check(const MigrationOptions *o, Error *reterr) {
        int r;

        r = check_transport(o, reterr);
        if (r == 0)
                r = check_compression(o, reterr);
        if (r == 0)
                r = check_connections(o, reterr);
        if (r == 0)
                r = check_convergence(o, reterr);
        if (r < 0)
                return r;
        if (o->keep_source_disks && o->remove_source_volumes)
                return error_setf(reterr, -EINVAL,
                                  "options keep_source_disks and remove_source_volumes contradict "
                                  "each other");
        if (o->verify)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "option verify is not supported: copied disks could only be "
                                  "compared in the blackout, for as long as both hosts read them");
        if (o->transport[0] && o->handover == MIGRATION_HANDOVER_FAST && !o->postcopy)
                return error_setf(reterr, -EINVAL,
                                  "option handover=fast needs the shims' own transport: over "
                                  "another, nothing keeps libvirt from letting both copies run");
        if (o->postcopy && o->handover != MIGRATION_HANDOVER_FAST)
                return error_setf(reterr, -EINVAL,
                                  "option post_copy needs handover=fast: there the destination "
                                  "runs first by nature");
        return 0;
}

static void print(const MigrationOptions *o, const Row *row, char *p, size_t n) {
        const char *at = (const char *)o + row->offset;
        uint64_t v;
        uint32_t v32;

        memcpy(&v32, at, sizeof(v32));
        switch (row->kind) {
        case KIND_NUMBER:
                memcpy(&v, at, sizeof(v));
                (void)snprintf(p, n, "%llu", (unsigned long long)v);
                break;
        case KIND_COUNT:
                (void)snprintf(p, n, "%u", v32);
                break;
        case KIND_FLAG:
                (void)snprintf(p, n, "%s", *at ? "true" : "false");
                break;
        case KIND_WORD:
                (void)snprintf(p, n, "%s", v32 <= row->max ? row->words[v32] : "?");
                break;
        case KIND_URI:
                (void)snprintf(p, n, "%s", at);
                break;
        }
}

int migration_options_each(const MigrationOptions *o, MigrationOptionVisitor visit,
                           void *userdata) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char value[MIGRATION_URI_MAX];
                int r;

                print(o, &rows[i], value, sizeof(value));
                r = visit(userdata, rows[i].name, value, rows[i].help);
                if (r != 0)
                        return r;
        }
        return 0;
}
