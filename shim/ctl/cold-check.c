/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/cold-check.h"

#include <stdio.h>
#include <string.h>

#include "lib/net-message.h"
#include "shim/ctl/json.h"

/* clang-format off */
const ColdRule cold_rules[] = {
        { "session-unfinished", "F12", "blocks",
          "wait for it, or give the command that began it again: it goes on", false },
        { "given-away", "F12", "advises",
          "nothing: podferry migrate to that host sees it to its end", false },
        { "cold-option", "F41", "blocks", "leave it out, or move the pod live", false },
        { "definition", "F01", "blocks",
          "see podferry inspect POD: how it was made is not on disk, or damaged", false },
        { "storage-options", "F06", "blocks", "see --storage in podferry migrate --help", false },
        { "network-option", "F10", "blocks",
          "--net ns:PATH names the namespace there; leave it away for a pod without one", false },
        { "disk-backed", "F18", "blocks",
          "move it live, or make it one image with qemu-img rebase -b ''", false },
        { "disk-unreadable", "F06", "blocks", "see to that file on this host", false },
        { "storage-not-shared", "F05", "blocks",
          "mount the same storage on both hosts, or use --storage copy", true },
        { "pod-exists", "F01", "blocks",
          "give it another name there with --name, or remove that one", true },
        { "namespace", "F10", "blocks",
          "make the namespace there, with the pod's interfaces in it", true },
        { "disk-exists", "F06", "blocks",
          "remove it if nobody needs it, or choose another place with --disk", true },
        { "disk-space", "F07", "blocks",
          "free space there, or choose another place with --disk", true },
        { "disk-place", "F06", "blocks",
          "make its directory there, or choose another place with --disk", true },
        { "disk-missing", "F06", "blocks", "put it there first, or share it", true },
        { "layers-missing", "F07", "advises",
          "nothing; to save the time, copy the image there before", true },
        { "copies-wait", "F56", "advises",
          "nothing: it waits as it is until those are done; --copies now does not wait", true },
        { "destination-unreachable", "F10", "blocks",
          "see that --to works: podferry must be there and start", true },
};
/* clang-format on */
const size_t cold_rules_n = ELEMENTSOF(cold_rules);

const ColdRule *cold_rule(const char *code) {
        for (size_t i = 0; i < cold_rules_n; i++)
                if (strcmp(cold_rules[i].code, code) == 0)
                        return &cold_rules[i];
        return NULL;
}

int cold_note(json_object *list, const char *code, const char *text) {
        _cleanup_json_ json_object *o = json_object_new_object();

        return !o || json_add_string(o, "code", code) < 0 || json_add_string(o, "text", text) < 0 ||
                               json_append(list, TAKE(o)) < 0
                       ? -ENOMEM
                       : 0;
}

/* One that this version does not know blocks: the other host would end the move for it. */
int cold_finding(json_object *report, const char *code, bool there, const char *host,
                 const char *text) {
        _cleanup_json_ json_object *f = json_object_new_object();
        const ColdRule *rule = cold_rule(code);
        char words[400], name[72], what[40];

        (void)snprintf(words, sizeof(words), "%s", text);
        (void)snprintf(name, sizeof(name), "%s", host);
        (void)snprintf(what, sizeof(what), "%s", code);
        text_clean(words);
        text_clean(name);
        text_clean(what);
        if (!f || json_add_string(f, "code", what) < 0 ||
            json_add_string(f, "row", rule ? rule->row : "") < 0 ||
            json_add_string(f, "severity", rule ? rule->severity : "blocks") < 0 ||
            json_add(f, "overridden", json_object_new_boolean(false)) < 0 ||
            json_add_string(f, "side", there ? "destination" : "source") < 0 ||
            json_add_string(f, "host", name) < 0 || json_add_string(f, "text", words) < 0 ||
            json_add_string(f, "mend", rule ? rule->mend : "see the text") < 0)
                return -ENOMEM;
        return json_append(json_get_array(report, "findings"), TAKE(f));
}

static bool has_found(json_object *findings, const char *code) {
        json_object *f;

        for (JSON_EACH(i, findings, f))
                if (strcmp(json_get_text(f, "code"), code) == 0)
                        return true;
        return false;
}

static bool blocks(json_object *findings) {
        json_object *f;

        for (JSON_EACH(i, findings, f))
                if (strcmp(json_get_text(f, "severity"), "blocks") == 0)
                        return true;
        return false;
}

int cold_report_end(json_object *report, bool answered) {
        json_object *findings = json_get_array(report, "findings");
        json_object *passed = json_object_new_array(), *unknown = json_object_new_array();

        if (json_add(report, "passed", passed) < 0) {
                (void)json_object_put(unknown);
                return -ENOMEM;
        }
        if (json_add(report, "unknown", unknown) < 0 ||
            json_add(report, "not_needed", json_object_new_array()) < 0 ||
            json_add(report, "ok", json_object_new_boolean(!blocks(findings))) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < cold_rules_n; i++) {
                const ColdRule *rule = &cold_rules[i];

                if (!has_found(findings, rule->code) &&
                    json_append(rule->there && !answered ? unknown : passed,
                                json_object_new_string(rule->code)) < 0)
                        return -ENOMEM;
        }
        return 0;
}
