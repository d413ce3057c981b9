/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/facts.h"
#include "controllers/migration/forecast.h"
#include "controllers/migration/options.h"

/* May this pod move to that host? Every rule at once, as a pure function of what both hosts say of
 * themselves: podferry check, podferry migrate and a D-Bus client that calls Check get the same
 * answer from the same facts. docs/check.md has the rules as a table.
 *
 * Facts are JSON ("facts" of Check's result). Also our own go through check_facts_read(), so that
 * what the rules see has passed one bounded, typed reader, and a peer of another version cannot
 * make them see anything else. What is not there is unknown: a rule that needs it says so. */
#define CHECK_FACTS_MAX      (1U << 20)
#define CHECK_DISKS_MAX      256U
#define CHECK_INTERFACES_MAX 8U
#define CHECK_ENVELOPES_MAX  32U
#define CHECK_DEVICES_MAX    64U

/* One writable or read-only disk that is no image layer. The source says what it is and whether it
 * sees the destination's token; the destination what it finds at `there`. */
typedef struct CheckDisk {
        uint64_t slot;
        const char *path;  /* at the source */
        const char *there; /* destination */
        const char *plan;  /* "copy", "shared", "same"; "": contradicts the options, see why */
        const char *why;   /* why no token could be made, or the options contradict each other */
        const char *cache; /* of QEMU, in the domain XML */
        const char *token, *filesystem;
        uint64_t size, allocated, free; /* bytes; free: on the file system of `there` */
        uint64_t data;                  /* of a forecast: what of it is not zero */
        CheckAnswer exists;             /* destination: something is at `there` */
        CheckAnswer seen;               /* the other side's token is beside it */
} CheckDisk;

typedef struct CheckInterface {
        const char *name, *mac;
        uint64_t mtu;
} CheckInterface;

typedef struct CheckEnvelope {
        const char *kind;
        uint64_t min, current;
} CheckEnvelope;

/* Strings are borrowed from the document that it holds; "" and CHECK_NUMBER_UNKNOWN: not known. */
typedef struct CheckFacts {
        json_object *document;
        const char *host, *uuid, *arch; /* name, libvirt's UUID of the host */
        const char *trouble;            /* libvirt could not be asked: why */
        uint64_t qemu, libvirt;         /* 7002000 is 7.2.0 */
        const char *session_state;      /* "idle", or of a migration that is under way */
        const char *kernel, *initrd;    /* digests of the guest image */
        CheckEnvelope envelopes[CHECK_ENVELOPES_MAX];
        size_t n_envelopes;

        /* source */
        const char *state, *job, *type, *machine; /* of the domain */
        uint64_t memory_mib, huge_page_kib, block_jobs, snapshots;
        const char *devices[CHECK_DEVICES_MAX];
        size_t n_devices;
        CheckAnswer agent; /* of the guest: it answers */
        const char *network, *transport_error;
        CheckAnswer transport; /* of option transport: a connection to it can be made */
        uint64_t layers_size;
        /* of a forecast: bytes of memory in use; for how many one page that was looked at stands;
         * distinct bytes written within a time */
        uint64_t memory_used, grain, short_ms, short_bytes, long_ms, long_bytes;
        uint64_t far_ms, far_bytes;
        const char *load_error; /* why it could not be looked at */

        /* destination */
        uint64_t available_mib, huge_pages_free; /* of the size that the source asks for */
        CheckAnswer knows_machine, has_kvm, fits_cpu;
        const char *cpu_text, *image_error, *namespace, *namespace_error;
        const char *network_mode; /* "rebind": MAC addresses and MTUs are those of the namespace */
        uint64_t layers_missing, layers_bytes, layers_free;

        CheckDisk *disks;
        size_t n_disks;
        CheckInterface interfaces[CHECK_INTERFACES_MAX];
        size_t n_interfaces;
} CheckFacts;

/* -EBADMSG: no JSON object, or too deep; -EINVAL names what is of a wrong type or out of bounds. */
int check_facts_read(const char *text, CheckFacts **ret, Error *reterr);
CheckFacts *check_facts_free(CheckFacts *f);
DEFINE_CLEANUP(CheckFacts *, check_facts_free);
const CheckDisk *check_facts_disk(const CheckFacts *f, uint64_t slot); /* NULL */

typedef enum CheckSeverity {
        CHECK_ADVISES,
        CHECK_WARNS,
        CHECK_BLOCKS,
        _CHECK_SEVERITY_MAX,
} CheckSeverity;
const char *check_severity_name(CheckSeverity s); /* "advises", "warns", "blocks" */

/* What was asked for beside the options of the transfer. */
typedef struct CheckWishes {
        const MigrationOptions *options;
        bool unsafe;               /* what a rule lets be overridden only warns */
        bool virtual_size;         /* disks must fit with all that may be written to them */
        bool forecast;             /* make one, of the source's facts and this link */
        uint64_t link, connect_ms; /* bytes a second; to start something on the other host */
        const char *link_error;    /* it could not be measured: why; "" */
} CheckWishes;

/* Beside the findings that tell it. */
typedef struct CheckForecast {
        enum {
                CHECK_FORECAST_NONE, /* nobody asked */
                CHECK_FORECAST_MADE,
                CHECK_FORECAST_FAILED, /* see error */
        } state;
        ForecastLoad load;
        Forecast made;
        char error[256];
} CheckForecast;

typedef struct CheckFinding {
        const char *code, *row, *mend; /* static */
        CheckSeverity severity;
        bool overridden;
        const char *side; /* "source", "destination" */
        char host[72], text[400];
} CheckFinding;

#define CHECK_FINDINGS_MAX 128U

typedef enum CheckVerdict {
        CHECK_RULE_UNKNOWN, /* what it needs is not known (yet) */
        CHECK_RULE_NOT_NEEDED,
        CHECK_RULE_PASSES,
        CHECK_RULE_FIRES,
} CheckVerdict;

typedef struct CheckReport {
        CheckFinding findings[CHECK_FINDINGS_MAX]; /* by severity, those that block first */
        size_t n_findings;
        bool more;         /* there were too many */
        uint8_t *verdicts; /* CheckVerdict of each rule, in the order of check_rule_code() */
        CheckForecast forecast;
} CheckReport;

/* Every rule. source or destination may be NULL: not known yet. -ENOMEM only. */
int check_decide(const CheckFacts *source, const CheckFacts *destination, const CheckWishes *w,
                 CheckReport **ret, Error *reterr);
CheckReport *check_report_free(CheckReport *r);
DEFINE_CLEANUP(CheckReport *, check_report_free);
bool check_report_blocks(const CheckReport *r);
/* {"ok", "findings": [{"code", "row", "severity", "overridden", "side", "host", "text",
 *  "mend"}],
 *  "passed", "unknown", "not_needed": [code, ...], and if one was made "forecast"}; the caller owns
 * it; NULL: out of memory. */
json_object *check_report_json(const CheckReport *r);

size_t check_n_rules(void);
const char *check_rule_code(size_t i);
