/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F01 F02 F03 F04 F05 F06 F07 F08 F09 F10 F11 F12 F13 F14 F15 F16 F94: every rule of a check,
 * on facts as hosts tell them. A row changes some facts of a pair that fits, and says which rules
 * find something then; no other may. What is unknown must be called that. And facts from a hostile
 * peer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/check-rules.h"
#include "hostdev/libvirt/domain-look.h"

static const char source_facts[] =
        "{'session':{'state':'idle'},"
        "'host':{'name':'h1','uuid':'u1','arch':'x86_64','qemu':7002000,'libvirt':9000000},"
        "'domain':{'state':'running','job':'none','type':'qemu','machine':'pc-q35-7.2',"
        "'memory_mib':256,'huge_page_kib':0,'block_jobs':0,'snapshots':0,'devices':[],"
        "'agent':true},'image':{'kernel':'k','initrd':'i'},"
        "'envelopes':[{'kind':'vm','min':1,'current':2}],'network':{'kind':'namespace'},"
        "'interfaces':[{'name':'eth0','mac':'02:00:00:00:00:01','mtu':1500}],"
        "'disks':[{'slot':1,'path':'/s/a.raw','plan':'copy','size':4096,'allocated':1024},"
        "{'slot':2,'path':'/s/b.raw','plan':'shared','cache':'none','seen':true,'size':9},"
        "{'slot':3,'path':'/s/c.raw','plan':'same','size':9}]}";
static const char destination_facts[] =
        "{'session':{'state':'idle'},"
        "'host':{'name':'h2','uuid':'u2','arch':'x86_64','qemu':7002000,'libvirt':9000000,"
        "'available_mib':1024,'knows_machine':true,'has_kvm':true},"
        "'image':{'kernel':'k','initrd':'i'},'envelopes':[{'kind':'vm','min':1,'current':3}],"
        "'network':{'namespace':'/run/netns/x'},"
        "'interfaces':[{'name':'eth0','mac':'02:00:00:00:00:09','mtu':1500}],"
        "'layers':{'missing':0,'bytes':0,'free':99999},"
        "'disks':[{'slot':1,'there':'/d/a.raw','filesystem':'f','free':8192,'exists':false},"
        "{'slot':2,'there':'/s/b.raw','exists':true,'seen':true},"
        "{'slot':3,'there':'/s/c.raw','exists':true}]}";

/* Old text -> new text, in the facts above with ' for ". side: s, d. */
typedef struct Change {
        char side;
        const char *old, *new;
} Change;

typedef struct Row {
        const char *name;
        Change changes[3];
        const char *fires;   /* "code code": exactly these */
        const char *unknown; /* this is one of those that are not known */
        const char
                *options; /* "name=value", "unsafe", "virtual"; "forecast", and then one of these */
} Row;

#define KVM                                                                                        \
        { 's', "'type':'qemu'", "'type':'kvm'" }
#define GONE(side, text)                                                                           \
        { side, text, "'x':0" }

#define LOAD(text)                                                                                 \
        { 's', "'interfaces'", "'load':{'used':104857600," text "},'interfaces'" }
#define QUIET LOAD("'short_ms':1000,'short_bytes':0,'long_ms':2000,'long_bytes':0")
#define BUSY  LOAD("'short_ms':1000,'short_bytes':90000000,'long_ms':2000,'long_bytes':180000000")

/* clang-format off */
static const Row rows[] = {
        { "a pair that fits", {}, "", "" },
        { "F04 no libvirt there", { { 'd', "'uuid':'u2'", "'uuid':'u2','trouble':'down'" } }, "hypervisor-unreachable" },
        { "F04 no libvirt here", { { 's', "'uuid':'u1'", "'uuid':'u1','trouble':'down'" } }, "hypervisor-unreachable" },
        { "F13 to itself", { { 'd', "'uuid':'u2'", "'uuid':'u1'" } }, "same-host" },
        { "F13 no UUID there", { GONE('d', "'uuid':'u2'") }, "", "same-host" },
        { "F12 a session here", { { 's', "'idle'", "'transferring'" } }, "session-unfinished" },
        { "F12 a session there", { { 'd', "'idle'", "'imported'" } }, "session-unfinished" },
        { "F12 none is told", { GONE('d', "'state':'idle'") }, "", "session-unfinished" },
        { "F11 paused", { { 's', "'running'", "'paused'" } }, "pod-paused" },
        { "F11 shut off", { { 's', "'running'", "'shutoff'" } }, "pod-not-running" },
        { "F11 crashed", { { 's', "'running'", "'crashed'" } }, "pod-not-running" },
        { "F11 no domain", { { 's', "'running'", "'none'" } }, "pod-not-running" },
        { "F11 no state", { GONE('s', "'state':'running'") }, "", "pod-not-running" },
        { "F14 a job", { { 's', "'job':'none'", "'job':'backup'" } }, "job-running" },
        { "F14 no word of jobs", { GONE('s', "'job':'none'") }, "", "job-running" },
        { "F14 a block job", { { 's', "'block_jobs':0", "'block_jobs':1" } }, "block-job" },
        { "F14 no word of block jobs", { GONE('s', "'block_jobs':0") }, "", "block-job" },
        { "F14 snapshots", { { 's', "'snapshots':0", "'snapshots':2" } }, "snapshots" },
        { "F14 no word of snapshots", { GONE('s', "'snapshots':0") }, "", "snapshots" },
        { "F94 the peer is too old", { { 'd', "'current':3", "'current':1" } }, "envelope-version" },
        { "F94 the peer is too new", { { 'd', "'min':1", "'min':3" } }, "envelope-version" },
        { "F94 just read", { { 'd', "'current':3", "'current':2" } }, "" },
        { "F94 a kind it has not", { { 'd', "'kind':'vm'", "'kind':'vn'" } }, "envelope-version" },
        { "F94 no versions", { GONE('d', "'kind':'vm','min':1,'current':3") }, "envelope-version" },
        { "F01 a silent agent", { { 's', "'agent':true", "'agent':false" } }, "agent-silent" },
        { "F01 F11 a paused pod's agent", { { 's', "'running'", "'paused'" }, { 's', "'agent':true", "'agent':false" } }, "pod-paused" },
        { "F01 no word of the agent", { GONE('s', "'agent':true") }, "", "agent-silent" },
        { "F03 another architecture", { { 'd', "x86_64", "riscv64" } }, "architecture" },
        { "F03 no architecture", { GONE('d', "'arch':'x86_64'") }, "", "architecture" },
        { "F03 KVM, which is not there", { KVM, { 'd', "'has_kvm':true", "'has_kvm':false" } }, "kvm-missing", "cpu" },
        { "F03 KVM, and the CPU fits", { KVM, { 'd', "'has_kvm':true", "'has_kvm':true,'fits_cpu':true" } }, "" },
        { "F03 KVM, and it does not", { KVM, { 'd', "'has_kvm':true", "'has_kvm':true,'fits_cpu':false" } }, "cpu" },
        { "F03 KVM, and nobody compared", { KVM }, "", "cpu" },
        { "F03 TCG: no CPU matters", { { 'd', "'has_kvm':true", "'fits_cpu':false" } }, "" },
        { "F04 no such machine", { { 'd', "'knows_machine':true", "'knows_machine':false" } }, "machine-type" },
        { "F04 nobody asked for the machine", { GONE('d', "'knows_machine':true") }, "", "machine-type" },
        { "F04 an older QEMU", { { 'd', "7002000", "7001000" } }, "hypervisor-older" },
        { "F04 a newer QEMU", { { 'd', "7002000", "8000000" } }, "" },
        { "F04 no version", { GONE('d', "'qemu':7002000") }, "", "hypervisor-older" },
        { "F04 an older libvirt", { { 'd', "9000000", "8000000" } }, "libvirt-older" },
        { "F04 no libvirt version", { GONE('d', "'libvirt':9000000") }, "", "libvirt-older" },
        { "F04 no image", { { 'd', "'kernel':'k'", "'error':'none'" } }, "guest-image" },
        { "F04 another image", { { 'd', "'kernel':'k'", "'kernel':'j'" } }, "guest-image-differs" },
        { "F08 too little memory", { { 'd', "1024", "255" } }, "memory" },
        { "F08 just enough", { { 'd', "1024", "256" } }, "" },
        { "F08 no word of memory", { GONE('d', "'available_mib':1024") }, "", "memory" },
        { "F08 huge pages: too few", { { 's', "'huge_page_kib':0", "'huge_page_kib':2048" }, { 'd', "'available_mib'", "'huge_pages_free':127,'available_mib'" } }, "huge-pages" },
        { "F08 huge pages: enough", { { 's', "'huge_page_kib':0", "'huge_page_kib':2048" }, { 'd', "'available_mib'", "'huge_pages_free':128,'available_mib'" } }, "" },
        { "F08 huge pages: not known", { { 's', "'huge_page_kib':0", "'huge_page_kib':2048" } }, "", "huge-pages" },
        { "F07 allocated fits, all of it not", { { 'd', "8192", "4095" } }, "disk-space-full" },
        { "F07 all of it is asked for", { { 'd', "8192", "4095" } }, "disk-space-virtual", "", "virtual" },
        { "F07 not even what is allocated", { { 'd', "8192", "1023" } }, "disk-space disk-space-full" },
        { "F07 no word of space", { { 'd', "'free':8192,'exists':false", "'exists':false" } }, "", "disk-space" },
        { "F07 two disks on one file system", { { 's', "'plan':'same'", "'plan':'copy','allocated':7169" }, { 'd', "'/s/c.raw','exists':true", "'/d/c','filesystem':'f','free':8192,'exists':false" } }, "disk-space" },
        { "F07 two disks on two", { { 's', "'plan':'same'", "'plan':'copy','allocated':7169" }, { 'd', "'/s/c.raw','exists':true", "'/d/c','filesystem':'g','free':8192,'exists':false" } }, "" },
        { "F06 the options contradict a disk", { { 's', "'plan':'shared'", "'why':'no'" } }, "storage-options" },
        { "F05 the source's token is not there", { { 'd', "'seen':true", "'seen':false" } }, "storage-not-shared" },
        { "F05 the destination's is not here", { { 's', "'seen':true", "'seen':false" } }, "storage-not-shared" },
        { "F05 no token can be made", { { 's', "'seen':true", "'why':'no WWID'" } }, "storage-not-shared" },
        { "F05 nobody has looked", { GONE('s', "'seen':true") }, "", "storage-not-shared" },
        { "F06 copied onto itself", { { 'd', "'/d/a.raw'", "'/d/a.raw','seen':true" }, { 'd', "'exists':false", "'exists':true" } }, "storage-is-shared" },
        { "F06 another name in the same directory", { { 'd', "'/d/a.raw'", "'/s/z.raw','seen':true" } }, "" },
        { "F06 in the way", { { 'd', "'exists':false", "'exists':true" } }, "disk-exists" },
        { "F06 nobody has looked", { GONE('d', "'exists':false") }, "", "disk-exists" },
        { "F06 the same, and not there", { { 'd', "'/s/c.raw','exists':true", "'/s/c.raw','exists':false" } }, "disk-missing" },
        { "F15 a cache between", { { 's', "'cache':'none'", "'cache':'writeback'" } }, "cache-unsafe" },
        { "F15 directsync", { { 's', "'cache':'none'", "'cache':'directsync'" } }, "" },
        { "F15 no word of caches", { GONE('s', "'cache':'none'") }, "", "cache-unsafe" },
        { "F09 an assigned device", { { 's', "'devices':[]", "'devices':['hostdev-pci']" } }, "device" },
        { "F09 a mediated device", { { 's', "'devices':[]", "'devices':['hostdev-mdev']" } }, "device" },
        { "F09 a shared directory", { { 's', "'devices':[]", "'devices':['filesystem']" } }, "device" },
        { "F09 a TPM", { { 's', "'devices':[]", "'devices':['tpm']" } }, "device" },
        { "F09 encrypted memory", { { 's', "'devices':[]", "'devices':['launch-security']" } }, "device" },
        { "F09 vDPA", { { 's', "'devices':[]", "'devices':['interface-vdpa']" } }, "device" },
        { "F09 reservations", { { 's', "'devices':[]", "'devices':['reservations']" } }, "device" },
        { "F09 what is emulated", { { 's', "'devices':[]", "'devices':['rng']" } }, "" },
        { "F10 no namespace named", { { 'd', "'namespace':'/run/netns/x'", "'x':0" } }, "network-option" },
        { "F10 a namespace for none", { { 's', "'kind':'namespace'", "'kind':'user'" } }, "network-option" },
        { "F10 no network told", { GONE('s', "'kind':'namespace'") }, "", "network-option" },
        { "F10 it is not there", { { 'd', "'/run/netns/x'", "'/run/netns/x','error':'gone'" } }, "namespace" },
        { "F10 no such interface", { { 'd', "'eth0'", "'eth1'" } }, "interface-missing" },
        { "F10 its MAC is another's", { { 'd', "'interfaces':[", "'interfaces':[{'name':'eth7','mac':'02:00:00:00:00:01'}," } }, "mac-clash" },
        { "F10 its MAC is another's, and left behind", { { 'd', "'interfaces':[", "'interfaces':[{'name':'eth7','mac':'02:00:00:00:00:01'}," }, { 'd', "'namespace'", "'mode':'rebind','namespace'" } }, "" },
        { "F10 a smaller MTU, which it takes over", { { 'd', "'mtu':1500", "'mtu':1499" }, { 'd', "'namespace'", "'mode':'rebind','namespace'" } }, "" },
        { "F10 its MAC is its own", { { 'd', "00:09", "00:01" } }, "" },
        { "F10 a smaller MTU", { { 'd', "'mtu':1500", "'mtu':1499" } }, "mtu-smaller" },
        { "F10 no MTU", { GONE('d', "'mtu':1500") }, "", "mtu-smaller" },
        { "F10 a transport that answers", { { 's', "'network'", "'transport':{'reached':true},'network'" } }, "", "", "transport=libvirt+tcp://h2" },
        { "F10 one that does not", { { 's', "'network'", "'transport':{'reached':false,'error':'no'},'network'" } }, "transport-unreachable", "", "transport=libvirt+tcp://h2" },
        { "F10 one that nobody called", {}, "", "transport-unreachable", "transport=libvirt+tcp://h2" },
        { "F07 layers to send", { { 'd', "'missing':0,'bytes':0", "'missing':2,'bytes':99" } }, "layers-missing" },
        { "F07 layers that do not fit", { { 'd', "'missing':0,'bytes':0", "'missing':2,'bytes':100000" } }, "layers-missing layers-space" },
        { "F07 no word of layers", { GONE('d', "'missing':0") }, "", "layers-missing" },
        { "F16 it converges", { QUIET }, "forecast", "", "forecast" },
        { "F16 memory in use is not known: all of it", { { 's', "'interfaces'", "'load':{'short_ms':1000,'short_bytes':0},'interfaces'" } }, "forecast", "", "forecast" },
        { "F16 nobody asked for one", { QUIET }, "" },
        { "F16 it would be given up", { BUSY }, "forecast-abort", "", "forecast" },
        { "F16 it would be forced", { BUSY }, "forecast-pause", "", "forecast timeout_action=force-complete" },
        { "F16 to post-copy", { BUSY }, "forecast-post-copy", "", "forecast timeout_action=force-complete handover=fast post_copy=true" },
        { "F16 and without a limit", { BUSY }, "forecast-endless", "", "forecast timeout_per_gib=0" },
        { "F16 nothing was looked at", {}, "forecast-unknown", "forecast", "forecast" },
        { "F16 nor could be", { LOAD("'error':'no QEMU'") }, "forecast-unknown", "forecast", "forecast" },
        { "F16 memory goes another way", { QUIET, { 's', "'network'", "'transport':{'reached':true},'network'" } }, "forecast-unknown", "forecast", "forecast transport=libvirt+tcp://127.0.0.1" },
        { "F16 the link is not known", { QUIET }, "forecast-unknown", "forecast", "forecast nolink" },
        { "F15 overridden", { { 's', "'cache':'none'", "'cache':'writeback'" } }, "cache-unsafe", "", "unsafe" },
        { "F04 overridden", { { 'd', "7002000", "7001000" } }, "hypervisor-older", "", "unsafe" },
        { "F13 never overridden", { { 'd', "'uuid':'u2'", "'uuid':'u1'" } }, "same-host", "", "unsafe" },
        { "F01 all at once", { { 'd', "'uuid':'u2'", "'uuid':'u1'" }, { 'd', "1024", "1" }, { 's', "'running'", "'crashed'" } }, "same-host pod-not-running memory" },
};
/* clang-format on */

static char *apply(const char *text, const Row *row, char side) {
        char *now = strdup(text);

        for (size_t i = 0; i < ELEMENTSOF(row->changes) && row->changes[i].old; i++) {
                const Change *c = &row->changes[i];
                char *at, *new;

                if (c->side != side)
                        continue;
                at = strstr(now, c->old);
                assert_non_null(at);
                assert_true(asprintf(&new, "%.*s%s%s", (int)(at - now), now, c->new,
                                     at + strlen(c->old)) > 0);
                free(now);
                now = new;
        }
        for (char *p = now; *p; p++)
                *p = *p == '\'' ? '"' : *p;
        return now;
}

/* Words with blanks between them. */
static void set_options(const Row *row, MigrationOptions *o, CheckWishes *w) {
        char copy[160], *save = NULL;

        migration_options_init(o);
        *w = (CheckWishes){ .options = o, .link = 50U << 20, .link_error = "" };
        (void)snprintf(copy, sizeof(copy), "%s", row->options ?: "");
        for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
                char *equals = strchr(word, '=');

                w->unsafe = w->unsafe || strcmp(word, "unsafe") == 0;
                w->virtual_size = w->virtual_size || strcmp(word, "virtual") == 0;
                w->forecast = w->forecast || strcmp(word, "forecast") == 0;
                if (strcmp(word, "nolink") == 0)
                        w->link_error = "too slow";
                if (!equals)
                        continue;
                *equals = '\0';
                assert_int_equal(migration_options_set(o, word, equals + 1, NULL), 0);
        }
}

static bool has_word(const char *words, const char *word) {
        size_t n = strlen(word);

        for (const char *p = words; (p = strstr(p, word)); p += n)
                if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
                        return true;
        return false;
}

static size_t count_words(const char *words) {
        size_t n = words[0] != '\0';

        for (; *words; words++)
                n += *words == ' ';
        return n;
}

static void test_row(void **state) {
        const Row *row = *state;
        _cleanup_free_ char *s_text = apply(source_facts, row, 's');
        _cleanup_free_ char *d_text = apply(destination_facts, row, 'd');
        _cleanup_(check_facts_freep) CheckFacts *s = NULL, *d = NULL;
        _cleanup_(check_report_freep) CheckReport *report = NULL, *again = NULL;
        json_object *a, *b;
        MigrationOptions o;
        CheckWishes w;

        set_options(row, &o, &w);
        assert_int_equal(check_facts_read(s_text, &s, NULL), 0);
        assert_int_equal(check_facts_read(d_text, &d, NULL), 0);
        assert_int_equal(check_decide(s, d, &w, &report, NULL), 0);
        for (size_t i = 0; i < report->n_findings; i++) {
                const CheckFinding *f = &report->findings[i];

                if (!has_word(row->fires, f->code))
                        fail_msg("%s: %s", f->code, f->text);
                assert_true(f->text[0] && f->mend[0] && f->row[0]);
                assert_true(i == 0 || f->severity <= report->findings[i - 1].severity);
                if (w.unsafe)
                        assert_int_equal(f->overridden, strcmp(f->code, "same-host") != 0);
        }
        assert_int_equal(report->n_findings, count_words(row->fires));
        for (size_t i = 0; i < check_n_rules(); i++) {
                if (row->unknown && row->unknown[0] &&
                    strcmp(check_rule_code(i), row->unknown) == 0)
                        assert_int_equal(report->verdicts[i], CHECK_RULE_UNKNOWN);
                assert_int_equal(report->verdicts[i] == CHECK_RULE_FIRES,
                                 has_word(row->fires, check_rule_code(i)));
        }
        assert_int_equal(report->forecast.state == CHECK_FORECAST_MADE,
                         w.forecast && !has_word(row->fires, "forecast-unknown"));
        /* Check and migrate ask the same function: the same facts, the same answer, to the letter.
         */
        assert_int_equal(check_decide(s, d, &w, &again, NULL), 0);
        a = check_report_json(report);
        b = check_report_json(again);
        assert_string_equal(json_object_to_json_string(a), json_object_to_json_string(b));
        json_object_put(a);
        json_object_put(b);
}

static void test_every_rule_has_rows(void **state) {
        for (size_t i = 0; i < check_n_rules(); i++) {
                bool fires = false;

                for (size_t k = 0; k < ELEMENTSOF(rows); k++)
                        fires = fires || has_word(rows[k].fires, check_rule_code(i));
                if (!fires)
                        fail_msg("no row in which %s fires", check_rule_code(i));
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(check_rule_code(i), check_rule_code(k));
        }
}

/* The page for people has each rule, with its severity. */
static void test_every_rule_is_documented(void **state) {
        _cleanup_free_ char *page = calloc(1, 65536);
        FILE *f = fopen(GOLDEN_DIR "/../../docs/check.md", "re");

        assert_non_null(f);
        assert_true(fread(page, 1, 65535, f) > 0);
        (void)fclose(f);
        for (size_t i = 0; i < check_rules_n; i++) {
                const CheckRule *r = &check_rules[i];
                char line[160];

                (void)snprintf(line, sizeof(line), "| `%s` | %s | %s%s |", r->code, r->row,
                               check_severity_name(r->severity),
                               r->overridable ? ", `--unsafe`" : "");
                if (!strstr(page, line))
                        fail_msg("docs/check.md lacks: %s", line);
        }
}

static void test_one_side_alone(void **state) {
        static const Row none = {};
        _cleanup_free_ char *text = apply(source_facts, &none, 's');
        _cleanup_(check_facts_freep) CheckFacts *s = NULL;
        _cleanup_(check_report_freep) CheckReport *report = NULL;
        MigrationOptions o;
        CheckWishes w;

        set_options(&none, &o, &w);
        assert_int_equal(check_facts_read(text, &s, NULL), 0);
        assert_int_equal(check_decide(s, NULL, &w, &report, NULL), 0);
        assert_int_equal(report->n_findings, 0);
        assert_int_equal(report->verdicts[1], CHECK_RULE_UNKNOWN); /* same-host */
}

/* Whatever a peer says: it is refused by name, or it is a fact. */
static const struct {
        const char *text;
        int r;
        const char *error;
} hostile[] = {
        { "", -EBADMSG, "not a JSON object" },
        { "[]", -EBADMSG, "not a JSON object" },
        { "{", -EBADMSG, "not a JSON object" },
        { "{} x", -EBADMSG, "not a JSON object" },
        { "{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}", -EBADMSG, "not a JSON object" },
        { "{}", 0, NULL },
        { "{\"future\":{\"x\":[1,2]}}", 0, NULL },
        { "{\"host\":3}", -EINVAL, "host is not an object" },
        { "{\"host\":{\"uuid\":3}}", -EINVAL, "uuid is not a text" },
        { "{\"host\":{\"name\":\"a\\u0000b\"}}", -EINVAL, "NUL" },
        { "{\"host\":{\"name\":\"a\\u001b[2Jb\"}}", -EINVAL, "name" },
        { "{\"host\":{\"available_mib\":-1}}", -EINVAL, "below 0" },
        { "{\"host\":{\"available_mib\":\"1\"}}", -EINVAL, "not a number" },
        { "{\"host\":{\"has_kvm\":1}}", -EINVAL, "true or false" },
        { "{\"disks\":{}}", -EINVAL, "not a list" },
        { "{\"load\":7}", -EINVAL, "load is not an object" },
        { "{\"load\":{\"used\":-7}}", -EINVAL, "below 0" },
        { "{\"load\":{\"short_bytes\":18446744073709551615}}", 0, NULL },
        { "{\"disks\":[3]}", -EINVAL, "not objects" },
        { "{\"disks\":[{\"path\":[]}]}", -EINVAL, "path is not a text" },
        { "{\"interfaces\":[{},{},{},{},{},{},{},{},{}]}", -EINVAL, "at most 8" },
        { "{\"domain\":{\"devices\":[1]}}", -EINVAL, "devices" },
        { "{\"domain\":{\"devices\":\"all\"}}", -EINVAL, "devices" },
};

static void test_hostile(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(hostile); i++) {
                _cleanup_(check_facts_freep) CheckFacts *f = NULL;
                Error e = ERROR_INIT;

                assert_int_equal(check_facts_read(hostile[i].text, &f, &e), hostile[i].r);
                if (hostile[i].error && !strstr(e.text, hostile[i].error))
                        fail_msg("%s: %s", hostile[i].text, e.text);
        }
}

static void test_long(void **state) {
        _cleanup_(check_facts_freep) CheckFacts *f = NULL;
        _cleanup_free_ char *text = malloc(CHECK_FACTS_MAX + 16);

        memset(text, ' ', CHECK_FACTS_MAX + 8);
        text[0] = '{', text[CHECK_FACTS_MAX + 7] = '}', text[CHECK_FACTS_MAX + 8] = '\0';
        assert_int_equal(check_facts_read(text, &f, NULL), -EINVAL);
}

/* Every prefix and every flipped byte of true facts loads or is refused. */
static void test_flips(void **state) {
        static const Row none = {};
        _cleanup_free_ char *text = apply(destination_facts, &none, 'd');
        size_t n = strlen(text);

        for (size_t i = 0; i < n; i++) {
                char was = text[i];

                for (int k = 0; k < 2; k++) {
                        _cleanup_(check_facts_freep) CheckFacts *f = NULL;

                        text[i] = (char)(k ? was ^ 0x20 : 0);
                        (void)check_facts_read(text, &f, NULL);
                }
                text[i] = was;
        }
}

static void add_name(void *userdata, const char *name) {
        char *to = userdata;

        (void)snprintf(to + strlen(to), 128 - strlen(to), "%s ", name);
}

static void test_domain_xml(void **state) {
        static const char xml[] =
                "<domain><memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages>"
                "</memoryBacking><devices><disk type='file' device='disk'>"
                "<driver name='qemu' type='raw' cache='none'/><source file='/a&amp;&apos;&lt;b&amp;lt;'/>"
                "<mirror type='file' job='copy' ready='yes'><format type='raw'/>"
                "<source file='/new'/></mirror><target dev='sda' bus='scsi'/></disk>"
                "<disk type='block'><driver name='qemu'/><source dev='/dev/x' index='1'/><target dev='sdb'/></disk>"
                "<hostdev mode='subsystem' type='pci'/><interface type='ethernet'/>"
                "<filesystem type='mount'/><tpmx/></devices></domain>";
        char names[128] = "", cache[DOMAIN_LOOK_SIZE];
        DomainLookDisk disk;

        domain_look_targets(xml, add_name, names);
        assert_string_equal(names, "sda sdb ");
        domain_look_cache(xml, "sda", cache);
        assert_string_equal(cache, "none");
        domain_look_cache(xml, "sdb", cache);
        assert_string_equal(cache, "");
        domain_look_disk(xml, "sda", &disk);
        assert_string_equal(disk.source, "/a&'<b&lt;");
        assert_true(disk.copying && disk.ready && !disk.ending);
        domain_look_disk(xml, "sdb", &disk);
        assert_string_equal(disk.source, "/dev/x");
        assert_false(disk.copying || disk.ready || disk.ending);
        domain_look_disk(xml, "sdc", &disk);
        assert_string_equal(disk.source, "");
        names[0] = '\0';
        domain_look_devices(xml, add_name, names);
        assert_string_equal(names, "hostdev-pci filesystem ");
        assert_int_equal(domain_look_huge_page_kib(xml), 1024 * 1024);
        assert_int_equal(domain_look_huge_page_kib("<domain/>"), 0);
        domain_look_devices("<disk", add_name, names);
        domain_look_devices("<disk ><driver", add_name, names);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 7] = {
                { .name = "every rule has a row in which it fires",
                  .test_func = test_every_rule_has_rows },
                { .name = "every rule is in docs/check.md",
                  .test_func = test_every_rule_is_documented },
                { .name = "one side alone", .test_func = test_one_side_alone },
                { .name = "hostile facts", .test_func = test_hostile },
                { .name = "facts without end", .test_func = test_long },
                { .name = "cut and flipped facts", .test_func = test_flips },
                { .name = "what a domain's XML says", .test_func = test_domain_xml },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[7 + i] = (struct CMUnitTest){ .name = rows[i].name,
                                                    .test_func = test_row,
                                                    .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
