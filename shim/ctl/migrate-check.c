/* SPDX-License-Identifier: Apache-2.0 */
/* The check: each side's facts go to the other one, and the source, which then knows both, answers.
 * podferry migrate begins with it, podferry check ends with it. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/migrate.h"
#include "shim/ctl/values.h"

/* link: for a forecast; NULL: none is wanted. */
static int ask(Mover *m, Side *side, json_object *facts, json_object *link, json_object **ret,
               Error *reterr) {
        bool source = side == &m->source;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_json_ json_object *disks = NULL;
        const char *more[16] = {}, *text;
        size_t n = 0;
        int r = source ? 0 : mover_map_disks(m, &disks, reterr);

        if (r < 0)
                return r;
        more[n++] = "unsafe";
        more[n++] = m->unsafe ? "true" : "false";
        more[n++] = "disk_space";
        more[n++] = m->virtual_size ? "virtual" : "allocated";
        if (facts) {
                more[n++] = "facts";
                more[n++] = json_object_to_json_string_ext(facts, JSON_C_TO_STRING_PLAIN);
        }
        if (link) {
                more[n++] = "forecast";
                more[n++] = json_object_to_json_string_ext(link, JSON_C_TO_STRING_PLAIN);
        }
        if (!source) {
                more[n++] = "disks";
                more[n++] = json_object_to_json_string_ext(json_get(disks, "disks"),
                                                           JSON_C_TO_STRING_PLAIN);
        }
        if (!source && m->network) {
                more[n++] = "namespace";
                more[n++] = m->network;
                more[n++] = "network_mode";
                more[n++] = m->network_mode ?: "keep";
        }
        r = mover_call_options(m, side, WORK_DEADLINE, "Check", more, &reply, reterr);
        if (r < 0)
                return r;
        if (sd_bus_message_read(reply, "s", &text) < 0)
                return error_setf(reterr, -EBADMSG, "%s: an answer that is no text", side->name);
        r = json_read(text, strlen(text), ret, reterr);
        return r < 0 ? error_prefix(reterr, r, "%s", side->name) : 0;
}

int mover_check_source(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *check = NULL;
        int r = ask(m, &m->source, NULL, NULL, &check, reterr);

        if (r < 0)
                return r;
        m->facts = json_object_get(json_get(check, "facts"));
        m->rules = json_object_get(json_get(m->facts, "options"));
        m->report = TAKE(check);
        return 0;
}

/* {"link": ...} as Check takes it. A link that cannot be measured is no failure of the check. */
static int measure(Mover *m, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *link = json_object_new_object();
        Error why = ERROR_INIT;
        LinkSpeed speed;
        int r;

        if (!o || json_add(o, "link", link) < 0)
                return error_oom(reterr);
        r = mover_measure_link(m, &speed, &why);
        if (r == -ECANCELED || (r < 0 && mover_interrupted(m, NULL) < 0))
                return error_setf(reterr, r, "%s", error_text(&why, r));
        if (r < 0)
                why.text[200] = '\0';
        if ((r == 0 && json_add(link, "bps", json_object_new_uint64(speed.bps)) < 0) ||
            (r < 0 && json_add_string(link, "error", error_text(&why, r)) < 0) ||
            json_add(link, "connect_ms", json_object_new_uint64(m->connect_ms)) < 0)
                return error_oom(reterr);
        *ret = TAKE(o);
        return 0;
}

int mover_check_both(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *there = NULL, *check = NULL, *link = NULL;
        json_object *there_facts;
        int r = ask(m, &m->destination, m->facts, NULL, &there, reterr);

        if (r == 0 && m->forecast)
                r = measure(m, &link, reterr);
        if (r == 0)
                r = ask(m, &m->source, json_get(there, "facts"), link, &check, reterr);
        if (r < 0)
                return r;
        (void)json_object_put(m->report);
        m->report = TAKE(check);
        there_facts = json_get(there, "facts");
        mover_hooks_learn(&m->hooks, json_get(there_facts, "hooks"),
                          json_get_text(json_get(there_facts, "host"), "name"));
        return mover_hooks_find(m, true, reterr);
}

static bool has_severity(json_object *f, const char *severity) {
        return strcmp(json_get_text(f, "severity"), severity) == 0;
}

unsigned mover_count(const Mover *m, const char *severity) {
        json_object *list = json_get_array(m->report, "findings"), *f;
        unsigned n = 0;

        for (JSON_EACH(i, list, f))
                n += has_severity(f, severity);
        return n;
}

/* The first that blocks; with more of them all are told as notes before. */
static int refuse(Mover *m, Error *reterr) {
        json_object *list = json_get_array(m->report, "findings"), *f, *first = NULL;
        unsigned n = mover_count(m, "blocks");
        char text[700];

        for (JSON_EACH(i, list, f)) {
                if (!has_severity(f, "blocks"))
                        continue;
                first = first ?: f;
                (void)snprintf(text, sizeof(text), "%s: %.300s (%.40s): %.200s",
                               json_get_text(f, "side"), json_get_text(f, "text"),
                               json_get_text(f, "code"), json_get_text(f, "mend"));
                if (n > 1)
                        show_note(&m->show, text);
        }
        if (!first)
                return error_setf(reterr, -EBADFD, "the check says no, and does not say why");
        if (n > 1)
                return error_setf(reterr, -EBADFD,
                                  "%u things are in the way, see above; the first: %s: %.250s", n,
                                  json_get_text(first, "side"), json_get_text(first, "text"));
        return error_setf(reterr, -EBADFD, "%.500s", text);
}

int mover_heed_check(Mover *m, Error *reterr) {
        json_object *list = json_get_array(m->report, "findings"), *f;
        char text[500];

        if (!json_object_get_boolean(json_get(m->report, "ok")))
                return refuse(m, reterr);
        for (JSON_EACH(i, list, f)) {
                if (!has_severity(f, "warns"))
                        continue;
                (void)snprintf(text, sizeof(text), "%s: %.300s", json_get_text(f, "side"),
                               json_get_text(f, "text"));
                show_note(&m->show, text);
        }
        return 0;
}

int mover_add_finding(Mover *m, const char *code, const char *row, const char *side,
                      const char *host, const char *text, const char *mend, Error *reterr) {
        json_object *list = json_get_array(m->report, "findings");
        _cleanup_json_ json_object *f = json_object_new_object();

        if (!list || !f || json_add_string(f, "code", code) < 0 ||
            json_add_string(f, "row", row) < 0 || json_add_string(f, "severity", "blocks") < 0 ||
            json_add(f, "overridden", json_object_new_boolean(false)) < 0 ||
            json_add_string(f, "side", side) < 0 || json_add_string(f, "host", host) < 0 ||
            json_add_string(f, "text", text) < 0 || json_add_string(f, "mend", mend) < 0 ||
            json_append(list, TAKE(f)) < 0 ||
            json_add(m->report, "ok", json_object_new_boolean(false)) < 0)
                return error_oom(reterr);
        return 0;
}

static int check_failed(Mover *m, int r, const Error *err, Error *reterr) {
        bool exists = r == -EEXIST;
        char text[400];

        (void)snprintf(text, sizeof(text), "%.390s", error_text(err, r));
        return mover_add_finding(
                m, exists ? "pod-exists" : "destination-unreachable", exists ? "F01" : "F10",
                "destination", m->remote.name, text,
                exists ? "give it another name there with --name, or remove that one"
                       : "see that --to works: podferry must be there and start",
                reterr);
}

/* -- podferry check -- */

static void print_list(json_object *list, const char *severity) {
        json_object *f;

        for (JSON_EACH(i, list, f)) {
                if (!has_severity(f, severity))
                        continue;
                (void)printf("%-8s %-11s %-22s %s%s\n", severity, json_get_text(f, "side"),
                             json_get_text(f, "code"), json_get_text(f, "text"),
                             json_object_get_boolean(json_get(f, "overridden")) ? " (overridden)"
                                                                                : "");
                (void)printf("%-43s %s\n", "", json_get_text(f, "mend"));
        }
}

static void print_codes(const Mover *m, const char *key, const char *title) {
        json_object *list = json_get_array(m->report, key), *code;

        if (!list || json_object_array_length(list) == 0)
                return;
        (void)printf("%s:", title);
        for (JSON_EACH(i, list, code))
                (void)printf(" %s", json_object_get_string(code));
        (void)printf("\n");
}

void mover_print_check(const Mover *m, bool json) {
        json_object *list = json_get_array(m->report, "findings");

        if (json) {
                json_print(m->report, false);
                return;
        }
        print_list(list, "blocks");
        print_list(list, "warns");
        print_list(list, "advises");
        print_codes(m, "unknown", "not known");
        (void)printf("%s %s%s to %s: %u block, %u warn, %u advise\n", m->pod,
                     json_object_get_boolean(json_get(m->report, "ok")) ? "can move"
                                                                        : "cannot move",
                     strcmp(json_get_text(m->report, "type"), "cold") == 0 ? " cold" : "",
                     m->remote.name, mover_count(m, "blocks"), mover_count(m, "warns"),
                     mover_count(m, "advises"));
}

int mover_check_only(Mover *m, Error *reterr) {
        const Itinerary *way = NULL;
        uint64_t begin = clock_ms();
        Error e = ERROR_INIT;
        int r, k;

        if (m->time_limit_ms > 0)
                m->end_ms = clock_ms() + m->time_limit_ms;
        r = mover_choose(m, &way, reterr);
        if (r < 0)
                return r;
        m->journey.itinerary = way; /* whose options are meant */
        if (strcmp(way->type, "live") != 0)
                return mover_check_cold(m, reterr);
        r = mover_connect_source(m, reterr);
        if (r < 0)
                return r;
        k = mover_start_destination(m, &e); /* works while this host is asked */
        r = mover_check_source(m, reterr);
        if (r < 0)
                return r;
        r = k < 0 ? k : mover_connect_destination(m, &e);
        m->connect_ms = clock_ms() - begin;
        if (r == 0)
                return mover_check_both(m, reterr);
        if (r == -ECANCELED || (r == -ETIMEDOUT && mover_interrupted(m, NULL) < 0))
                return error_setf(reterr, r, "%s", error_text(&e, r));
        k = mover_hooks_find(m, false, reterr);
        return k < 0 ? k : check_failed(m, r, &e, reterr);
}
