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
static const char *const compression_words[] = { "", "zstd", "zlib", "xbzrle", NULL };

#define MS_MAX   (30ULL * 24 * 3600 * 1000)
#define FIELD(f) offsetof(MigrationOptions, f)
#define WORDS(w) ELEMENTSOF(w) - 2, w

/* clang-format off */
static const Row rows[] = {
        { "handover", KIND_WORD, FIELD(handover), 0, WORDS(handover_words),
          "who decides that the destination runs: the two shims, the runtime, or libvirt by itself" },
        { "storage", KIND_WORD, FIELD(storage), 0, WORDS(storage_words),
          "what happens to writable disks: as each disk says, all shared, all copied" },
        { "completion_timeout", KIND_NUMBER, FIELD(timeout_ms), 0, MS_MAX, NULL,
          "milliseconds for the whole transfer, 0: none" },
        { "timeout_per_gib", KIND_NUMBER, FIELD(timeout_per_gib_ms), 0, MS_MAX, NULL,
          "milliseconds for each GiB of memory and disk, added to it" },
        { "timeout_action", KIND_WORD, FIELD(timeout_action), 0, WORDS(action_words),
          "what to do then" },
        { "progress_timeout", KIND_NUMBER, FIELD(progress_timeout_ms), 0, MS_MAX, NULL,
          "milliseconds without a byte moved after which to give up, 0: never" },
        { "transport_timeout", KIND_NUMBER, FIELD(transport_timeout_ms), 600000, MS_MAX, NULL,
          "milliseconds to wait for a transport" },
        { "handover_timeout", KIND_NUMBER, FIELD(handover_timeout_ms), 10000, MS_MAX, NULL,
          "milliseconds in the blackout to wait for the destination before rolling back" },
        { "finalize_timeout", KIND_NUMBER, FIELD(finalize_timeout_ms), 30000, MS_MAX, NULL,
          "milliseconds in the blackout to wait for Finalize, with handover=runtime" },
        { "max_downtime", KIND_NUMBER, FIELD(max_downtime_ms), 0, 3600000, NULL,
          "milliseconds of blackout to aim at, 0: the hypervisor's own" },
        { "bandwidth", KIND_NUMBER, FIELD(bandwidth), 0, 1ULL << 50, NULL,
          "bytes a second, 0: no limit" },
        { "connections", KIND_COUNT, FIELD(connections), 0, 255, NULL,
          "parallel connections for memory, 0: one stream" },
        { "compression", KIND_WORD, FIELD(compression), 0, WORDS(compression_words),
          "how memory is compressed on the way, empty: not" },
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

int migration_options_set(MigrationOptions *o, const char *name, const char *value, Error *reterr) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const Row *row = &rows[i];
                uint64_t v = 0;
                int r;

                if (strcmp(row->name, name) != 0)
                        continue;
                if (row->kind == KIND_URI)
                        return parse_uri(row, value, o, reterr);
                if (row->kind == KIND_WORD)
                        r = parse_word(row, value, &v, reterr);
                else if (row->kind == KIND_FLAG)
                        r = parse_flag(row, value, &v, reterr);
                else
                        r = parse_number(row, value, &v, reterr);
                if (r < 0)
                        return r;
                put(o, row, v);
                return 0;
        }
        return error_setf(reterr, -EINVAL, "there is no option \"%.60s\"", name);
}

int migration_options_check(const MigrationOptions *o, Error *reterr) {
        if (o->migrate_uri[0] && !o->transport[0])
                return error_setf(reterr, -EINVAL, "option migrate_uri needs option transport");
        if (o->keep_source_disks && o->remove_source_volumes)
                return error_setf(reterr, -EINVAL,
                                  "options keep_source_disks and remove_source_volumes contradict "
                                  "each other");
        if (o->verify)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "option verify is not supported: copied disks could only be "
                                  "compared in the blackout, for as long as both hosts read them");
        if (o->postcopy && o->connections > 0)
                return error_setf(reterr, -EINVAL,
                                  "options post_copy and connections exclude each other");
        if (o->connections > 0 && o->compression == MIGRATION_COMPRESSION_XBZRLE)
                return error_setf(reterr, -EINVAL,
                                  "options connections and compression=xbzrle exclude each other");
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
