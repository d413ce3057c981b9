/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "hostdev/fence.h"
#include "hostdev/qemu-process.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/doctor.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/definition.h"
#include "shim/migrate/migrate.h"
#include "shim/offline.h"
#include "shim/state-file.h"

#define PREFIX         "podferry-"
#define LIBVIRT_MS     5000U
#define SHIM_USEC      SECONDS(3)
#define LOG_TAIL       (32U << 10)
#define LINE_MAX_BYTES 400U

typedef struct Look {
        const Doctor *doctor;
        const char *pod;
        char *run, *state; /* directories */
        char *domain;      /* libvirt's name */
        json_object *facts, *dump;
        const char *side; /* of a session that is under way */
        JournalRecord last;
} Look;

static void look_done(Look *l) {
        free(l->run);
        free(l->state);
        free(l->domain);
        (void)json_object_put(l->facts);
        (void)json_object_put(l->dump);
}

void doctor_survey(Doctor *d) {
        free(TAKE(d->survey));
        d->trouble = ERROR_INIT;
        (void)virt_survey(d->ctl->config.libvirt_uri, PREFIX, LIBVIRT_MS, &d->survey, &d->trouble);
        text_clean(d->trouble.text);
}

/* -- facts, one by one; out of memory is seen at the end -- */

static json_object *part(const Look *l, const char *name) {
        json_object *o = json_get(l->facts, name);

        if (o)
                return o;
        o = json_object_new_object();
        return json_add(l->facts, name, o) < 0 ? NULL : o;
}

static int put_text(const Look *l, const char *name, const char *key, const char *value) {
        char text[LINE_MAX_BYTES + 1];

        (void)snprintf(text, sizeof(text), "%s", value);
        text_clean(text);
        return json_add_string(part(l, name), key, text);
}

static int put_number(const Look *l, const char *name, const char *key, uint64_t value) {
        return json_add(part(l, name), key, json_object_new_uint64(value));
}

static int put_answer(const Look *l, const char *name, const char *key, bool value) {
        return json_add(part(l, name), key, json_object_new_boolean(value));
}

/* -- the shim -- */

/* Or it is another process by now. */
static bool is_shim(pid_t pid, const char *pod) {
        char text[ID_MAX + 1];

        return pid > 0 && process_argument(pid, "--pod", text, sizeof(text), NULL) == 0 &&
               strcmp(text, pod) == 0;
}

static pid_t read_pid(const Look *l) {
        char path[4096], text[32];
        uint64_t pid;

        if ((size_t)snprintf(path, sizeof(path), "%s/pid", l->run) >= sizeof(path) ||
            file_read(path, text, sizeof(text)) <= 0)
                return 0;
        text[strcspn(text, "\n")] = '\0';
        return value_number(text, 2, INT32_MAX, &pid, NULL) == 0 ? (pid_t)pid : 0;
}

static int tell_shim(Look *l) {
        json_object *tree = json_get(l->dump, "tree"), *session = json_get(l->dump, "migration");
        int r = 0;

        l->side = json_get_text(session, "side");
        if (tree)
                r = put_answer(l, "pod", "agent",
                               json_object_get_boolean(json_get(json_get(l->dump, "link"), "up")));
        if (r < 0 || (r = put_text(l, "pod", "state", json_get_text(tree, "state"))) < 0 ||
            (r = put_text(l, "pod", "end_reason", json_get_text(tree, "end_reason"))) < 0 ||
            (r = put_text(l, "session", "state", json_get_text(session, "state"))) < 0 ||
            (r = put_text(l, "session", "side", l->side)) < 0 ||
            (r = put_text(l, "session", "driver", json_get_text(session, "driver"))) < 0 ||
            (r = put_text(l, "session", "error", json_get_text(session, "error"))) < 0)
                return r;
        return 0;
}

static int look_at_shim(Look *l) {
        DiagnoseShim state = DIAGNOSE_SHIM_ANSWERS;
        Error e = ERROR_INIT;
        pid_t pid;
        int r;

        r = pod_dump_within(l->doctor->ctl->config.run_dir, l->pod, SHIM_USEC, &l->dump, &e);
        if (pod_has_gone(r)) { /* it ended just then */
                e = ERROR_INIT;
                r = pod_dump_within(l->doctor->ctl->config.run_dir, l->pod, SHIM_USEC, &l->dump,
                                    &e);
        }
        pid = read_pid(l);
        if (r == -ENOENT)
                state = DIAGNOSE_SHIM_NONE;
        else if (r == -ECONNREFUSED) /* or it does not listen yet, or not any more */
                state = is_shim(pid, l->pod) ? DIAGNOSE_SHIM_SILENT : DIAGNOSE_SHIM_DEAD;
        else if (r < 0)
                state = DIAGNOSE_SHIM_SILENT;
        r = put_text(l, "shim", "state", diagnose_shim_name(state));
        if (r == 0 && pid > 0)
                r = put_number(l, "shim", "pid", (uint64_t)pid);
        if (r == 0 && state == DIAGNOSE_SHIM_SILENT)
                r = put_text(l, "shim", "error", error_text(&e, -ETIMEDOUT));
        return r == 0 && state == DIAGNOSE_SHIM_ANSWERS ? tell_shim(l) : r;
}

/* -- the journal, and what else is kept -- */

static int look_at_journal(Look *l) {
        _cleanup_free_ char *path = NULL;
        Error e = ERROR_INIT;
        int r;

        if (asprintf(&path, "%s/journal", l->state) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = journal_read_last(path, &l->last, &e);
        if (r < 0)
                r = put_text(l, "journal", "error", error_text(&e, r));
        if (r < 0 || (r = put_text(l, "journal", "record", journal_kind_name(l->last.kind))) < 0 ||
            (r = put_number(l, "journal", "mode", l->last.mode)) < 0 ||
            (r = put_number(l, "journal", "epoch", l->last.epoch)) < 0)
                return r;
        return put_text(l, "journal", "session", l->last.session);
}

/* What a shim could go on from: sound, or not there. What is there and unsound is neither. */
static int look_at_saved(Look *l) {
        StateFile f __attribute__((cleanup(state_file_done))) = STATE_FILE_INIT;
        _cleanup_free_ char *path = NULL;
        _cleanup_buf_ Buf bytes = {};
        int r, n_there = 0;

        if (asprintf(&path, "%s/state.0", l->run) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        for (char slot = '0'; slot <= '1'; slot++) {
                path[strlen(path) - 1] = slot;
                n_there += access(path, F_OK) == 0 || errno != ENOENT;
        }
        if (n_there == 0)
                return put_answer(l, "pod", "saved", false);
        path[strlen(path) - 2] = '\0';
        r = state_file_init(&f, path, NULL);
        if (r == 0)
                r = state_file_read(&f, &bytes, NULL);
        return r == 0 ? put_answer(l, "pod", "saved", true) : r == -ENOMEM ? r : 0;
}

static int look_at_record(Look *l, OfflineRole role, const char *key) {
        _cleanup_record_ OfflineRecord record = {};
        int r = offline_read(l->state, role, &record, NULL);

        if (r == -ENOENT)
                return 0;
        return put_text(l, "pod", key, r < 0 ? "damaged" : offline_state_name(record.state));
}

static int look_at_files(Look *l) {
        static const char mark[] = ".incomplete";
        DIR *d = opendir(l->state);
        uint64_t n = 0, n_marks = 0;
        int r;

        for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
                size_t k = strlen(e->d_name);

                n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
                n_marks += k >= sizeof(mark) && strcmp(e->d_name + k - strlen(mark), mark) == 0;
        }
        if (d)
                (void)closedir(d);
        r = put_answer(l, "pod", "files", n > 0);
        if (r == 0)
                r = put_answer(l, "pod", "defined", definition_is_there(l->state));
        if (r == 0)
                r = put_number(l, "pod", "incomplete", n_marks);
        if (r == 0)
                r = look_at_record(l, OFFLINE_OUTGOING, "outgoing");
        return r < 0 ? r : look_at_record(l, OFFLINE_INCOMING, "incoming");
}

/* -- the machine -- */

/* "Paused, migration" is a copy that is not complete, or a guest that is about to be gone: which,
 * the journal says. One that has none yet receives. */
static MigrationRole role_of(const Look *l) {
        bool destination = l->side && *l->side ? strcmp(l->side, "destination") == 0
                                               : l->last.kind == JOURNAL_NONE ||
                                                         journal_kind_is_destinations(l->last.kind);

        return destination ? MIGRATION_DESTINATION : MIGRATION_SOURCE;
}

static int look_at_domain(Look *l) {
        const Doctor *d = l->doctor;
        const VirtSurveyed *v = d->survey ? virt_survey_find(d->survey, l->domain) : NULL;
        MigrationDomainState state = d->survey ? MIGRATION_AT_NONE : MIGRATION_AT_UNKNOWN;
        int r = 0;

        if (v)
                state = migrate_domain_state(
                        &(VirtDomain){ .state = v->state, .reason = v->reason }, role_of(l));
        if (!d->survey)
                r = put_text(l, "libvirt", "error", error_text(&d->trouble, -EBUSY));
        if (r == 0)
                r = put_text(l, "domain", "state", migration_domain_state_name(state));
        if (r < 0 || !v)
                return r;
        if ((r = put_text(l, "domain", "reason", virt_reason_name(v->reason))) < 0 ||
            (r = put_text(l, "domain", "uuid", v->uuid)) < 0 ||
            (r = put_text(l, "domain", "control", virt_control_name(v->control))) < 0)
                return r;
        return v->job_known ? put_answer(l, "domain", "job", v->job) : 0;
}

/* Every thread of it stands, or one was seen to run. */
static DiagnoseQemu see_process(pid_t pid, const char *uuid) {
        _cleanup_(fence_freep) Fence *f = NULL;
        _cleanup_(sd_event_unrefp) sd_event *loop = NULL;
        int r;

        if (sd_event_new(&loop) < 0)
                return DIAGNOSE_QEMU_UNKNOWN;
        r = fence_open(loop, pid, uuid, NULL, NULL, &f, NULL);
        if (r < 0)
                return r == -ENOENT ? DIAGNOSE_QEMU_NONE : DIAGNOSE_QEMU_UNKNOWN;
        r = fence_stands(f);
        if (r == 0 && fence_is_dead(f))
                return DIAGNOSE_QEMU_NONE;
        return r > 0 ? DIAGNOSE_QEMU_STOPPED : r == 0 ? DIAGNOSE_QEMU_RUNS : DIAGNOSE_QEMU_UNKNOWN;
}

static int look_at_qemu(Look *l) {
        DiagnoseQemu process = DIAGNOSE_QEMU_UNKNOWN;
        char uuid[VIRT_UUID_SIZE];
        pid_t pid = 0;
        int r;

        r = virt_qemu_find(l->domain, &pid, uuid, NULL);
        if (r == 0)
                process = see_process(pid, uuid);
        else if (r == -ENOENT)
                process = DIAGNOSE_QEMU_NONE;
        r = put_text(l, "qemu", "process", diagnose_qemu_name(process));
        if (r == 0 && pid > 0)
                r = put_number(l, "qemu", "pid", (uint64_t)pid);
        return r;
}

/* -- its log: the last warnings and errors -- */

static bool is_trouble(const char *line) {
        static const char *const levels[] = { " warning: ", " error: ", " crit: ", " alert: ",
                                              " emerg: " };

        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (strstr(line, levels[i]))
                        return true;
        return false;
}

static int add_line(json_object *list, const char *line) {
        _cleanup_json_ json_object *o = json_object_new_object();
        char text[LINE_MAX_BYTES + 1];

        (void)snprintf(text, sizeof(text), "%s", line);
        text_clean(text);
        return !o || json_add_string(o, "text", text) < 0 ? -ENOMEM : json_append(list, TAKE(o));
}

static int look_at_log(Look *l) {
        const char *last[DIAGNOSE_LOG_LINES] = {};
        json_object *list = json_object_new_array();
        char path[4096], tail[LOG_TAIL + 1], *save = NULL;
        _cleanup_close_ int fd = -EBADF;
        ssize_t n = 0;
        off_t size;
        int r = json_add(l->facts, "log", list);

        if (r < 0 || (size_t)snprintf(path, sizeof(path), "%s/shim.log", l->run) >= sizeof(path))
                return r;
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
        if (size > 0)
                n = pread(fd, tail, LOG_TAIL, size > (off_t)LOG_TAIL ? size - (off_t)LOG_TAIL : 0);
        tail[MAX_OF(n, (ssize_t)0)] = '\0';
        for (char *s = strtok_r(tail, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
                if (is_trouble(s)) {
                        memmove(last, last + 1, sizeof(last) - sizeof(*last));
                        last[DIAGNOSE_LOG_LINES - 1] = s;
                }
        for (size_t i = 0; r == 0 && i < DIAGNOSE_LOG_LINES; i++)
                if (last[i])
                        r = add_line(list, last[i]);
        return r;
}

/* -- all of it -- */

static int look_init(Look *l, Error *reterr) {
        const Config *c = &l->doctor->ctl->config;
        int r = id_check("pod name", l->pod, reterr);

        if (r < 0)
                return r;
        if (asprintf(&l->run, "%s/%s", c->run_dir, l->pod) < 0)
                l->run = NULL;
        if (asprintf(&l->state, "%s/pods/%s", c->state_dir, l->pod) < 0)
                l->state = NULL;
        if (asprintf(&l->domain, PREFIX "%s", l->pod) < 0)
                l->domain = NULL;
        l->facts = json_object_new_object();
        return l->run && l->state && l->domain && l->facts ? 0 : error_oom(reterr);
}

int doctor_look(const Doctor *d, const char *pod, char **ret, Error *reterr) {
        _cleanup_(look_done) Look l = { .doctor = d, .pod = pod };
        char host[72] = "";
        int r;

        r = look_init(&l, reterr);
        if (r < 0)
                return r;
        (void)gethostname(host, sizeof(host) - 1);
        if (put_text(&l, "host", "name", host) < 0 ||
            put_text(&l, "host", "podferry", PODFERRY_VERSION) < 0 ||
            put_text(&l, "pod", "name", pod) < 0 || look_at_shim(&l) < 0 ||
            look_at_journal(&l) < 0 || look_at_saved(&l) < 0 || look_at_files(&l) < 0 ||
            look_at_domain(&l) < 0 || look_at_qemu(&l) < 0 || look_at_log(&l) < 0)
                return error_oom(reterr);
        *ret = strdup(json_object_to_json_string_ext(
                              l.facts, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                              ?: "");
        return *ret ? 0 : error_oom(reterr);
}

/* -- who there is -- */

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_machines(const Doctor *d, char ***names) {
        for (size_t i = 0; d->survey && i < d->survey->n; i++) {
                const char *name = d->survey->domains[i].name + strlen(PREFIX);

                if (id_check("pod", name, NULL) == 0 && words_add(names, name) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int doctor_pods(const Doctor *d, char ***ret, Error *reterr) {
        _cleanup_(words_freep) char **all = NULL, **known = NULL;
        size_t n = 0;
        int r;

        r = pods_list(d->ctl, &all, reterr);
        if (r == 0)
                r = pods_list_known(d->ctl, &known, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; known[i]; i++)
                if (words_add(&all, known[i]) < 0)
                        return error_oom(reterr);
        if (add_machines(d, &all) < 0)
                return error_oom(reterr);
        qsort(all, words_count(all), sizeof(*all), compare);
        for (size_t i = 0; all[i]; i++) {
                if (n > 0 && strcmp(all[n - 1], all[i]) == 0)
                        free(all[i]);
                else
                        all[n++] = all[i];
        }
        all[n] = NULL;
        *ret = TAKE(all);
        return 0;
}
