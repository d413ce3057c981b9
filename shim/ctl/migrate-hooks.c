/* SPDX-License-Identifier: Apache-2.0 */
/* When which hooks run, and what their failure means. Each host runs its own; the other host is
 * only told which event it is. */
#include "shim/ctl/migrate-hooks.h"

#include <stdio.h>
#include <string.h>

#include "shim/ctl/hook-link.h"
#include "shim/ctl/values.h"

int mover_hooks_give(MoverHooks *h, const char *text, Error *reterr) {
        size_t n = strcspn(text, "=");
        _cleanup_free_ char *name = strndup(text, n);
        char **words = NULL;
        HookEvent e;
        int r;

        if (!name)
                return error_oom(reterr);
        e = hook_event_from_name(name);
        if (!text[n] || e == _HOOK_EVENT_INVALID)
                return error_setf(reterr, -EINVAL,
                                  "\"%.60s\": EVENT=COMMAND is expected, with pre-source, "
                                  "post-source or on-failure",
                                  text);
        if (hook_event_is_target(e))
                return error_setf(reterr, -EINVAL,
                                  "%s hooks run on the other host, which takes them from its own "
                                  "configuration only: what runs there as root is its "
                                  "administrator's to say",
                                  name);
        r = value_words(text + n + 1, &words, reterr);
        return r < 0 ? r : hooks_add(&h->given, e, words, reterr);
}

void mover_hooks_done(MoverHooks *h) {
        hooks_done(&h->given);
}

/* -- what there is -- */

static const char *own_name(Mover *m) {
        if (!m->hooks.here_name[0])
                (void)gethostname(m->hooks.here_name, sizeof(m->hooks.here_name) - 1);
        return m->hooks.here_name;
}

void mover_hooks_learn(MoverHooks *h, json_object *facts, const char *host) {
        json_object *events = json_get(facts, "events");
        json_object *problems = json_get_array(facts, "problems"), *p;

        (void)snprintf(h->there_name, sizeof(h->there_name), "%.63s", host);
        text_clean(h->there_name);
        for (int e = 0; e < _HOOK_EVENT_MAX; e++)
                h->there[e] = json_get_number(events, hook_event_name((HookEvent)e)) > 0;
        h->n_problems = 0;
        for (JSON_EACH(i, problems, p)) {
                if (!json_object_is_type(p, json_type_string) || h->n_problems >= HOOK_PROBLEMS_MAX)
                        continue;
                (void)snprintf(h->problems[h->n_problems], HOOK_PROBLEM_MAX, "%s",
                               json_object_get_string(p));
                text_clean(h->problems[h->n_problems++]);
        }
}

/* All of this host's that count for a move away from it. */
static int list_own(const Mover *m, Hooks *ret, Error *reterr) {
        int r = 0;

        for (int e = 0; r == 0 && e < _HOOK_EVENT_MAX; e++) {
                if (hook_event_is_target((HookEvent)e))
                        continue;
                r = hooks_append(ret, &m->hooks.given, (HookEvent)e, reterr);
                if (r == 0)
                        r = hooks_append(ret, &m->ctl->config.hooks, (HookEvent)e, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "hooks of %s",
                                            hook_event_name((HookEvent)e));
        }
        return r;
}

static bool has_own(const Mover *m, HookEvent e) {
        return m->hooks.given.events[e].n > 0 || m->ctl->config.hooks.events[e].n > 0;
}

static bool has_any(const Mover *m) {
        for (int e = 0; e < _HOOK_EVENT_MAX; e++)
                if (m->hooks.there[e] ||
                    (!hook_event_is_target((HookEvent)e) && has_own(m, (HookEvent)e)))
                        return true;
        return false;
}

/* -- before -- */

static int own_problems(Mover *m, json_object **ret, Error *reterr) {
        _cleanup_hooks_ Hooks own = {};
        int r = list_own(m, &own, reterr);

        if (r < 0)
                return r;
        *ret = hooks_facts(&own, false);
        return *ret ? 0 : error_oom(reterr);
}

static int find(Mover *m, const char *side, const char *host, const char *text, Error *reterr) {
        return mover_add_finding(m, "hook-unusable", "F74", side, host, text,
                                 "mend it there (podferry hooks shows them), or --no-hooks",
                                 reterr);
}

int mover_hooks_find(Mover *m, bool there, Error *reterr) {
        _cleanup_json_ json_object *own = NULL;
        json_object *list, *p;
        int r = m->hooks.none ? 0 : own_problems(m, &own, reterr);

        list = json_get_array(own, "problems");
        for (JSON_EACH(i, list, p))
                if (r == 0)
                        r = find(m, "source", own_name(m), json_object_get_string(p), reterr);
        for (size_t i = 0; r == 0 && there && !m->hooks.none && i < m->hooks.n_problems; i++)
                r = find(m, "destination", m->hooks.there_name, m->hooks.problems[i], reterr);
        return r;
}

int mover_hooks_check(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *own = NULL;
        json_object *list, *p;
        _cleanup_buf_ Buf text = {};
        size_t n = 0;
        int r = m->hooks.none ? 0 : own_problems(m, &own, reterr);

        if (r < 0)
                return r;
        list = json_get_array(own, "problems");
        for (JSON_EACH(i, list, p))
                if (buf_printf(&text, "%ssource: %s", n++ > 0 ? "; " : "",
                               json_object_get_string(p)) < 0)
                        return error_oom(reterr);
        for (size_t i = 0; !m->hooks.none && i < m->hooks.n_problems; i++)
                if (buf_printf(&text, "%sdestination: %s", n++ > 0 ? "; " : "",
                               m->hooks.problems[i]) < 0)
                        return error_oom(reterr);
        return n == 0 ? 0 : error_setf(reterr, -EBADFD, "%s", (const char *)text.data);
}

static int run(Mover *m, HookCall call, Error *reterr) {
        bool there = call.there ? m->hooks.there[call.event] : has_own(m, call.event);

        if (m->hooks.none || !there)
                return 0;
        (void)own_name(m);
        show_step(&m->show, hook_event_name(call.event), NULL);
        return hook_link_run(m, &call, reterr);
}

int mover_hooks_pre_source(Mover *m, Error *reterr) {
        m->hooks.begun = true;
        if (m->hooks.none && has_any(m))
                show_note(&m->show, "no hooks are run on either host (--no-hooks)");
        return run(m, (HookCall){ .event = HOOK_PRE_SOURCE }, reterr);
}

int mover_hooks_pre_target(Mover *m, Error *reterr) {
        m->hooks.begun_there = true;
        return run(m, (HookCall){ .event = HOOK_PRE_TARGET, .there = true }, reterr);
}

/* -- after -- */

static void run_and_tell(Mover *m, HookCall call, const char *after) {
        Error why = ERROR_INIT;
        char text[600];
        int r = run(m, call, &why);

        if (r == 0)
                return;
        (void)snprintf(text, sizeof(text), "warning: %s: %s%s", hook_event_name(call.event),
                       error_text(&why, r), after);
        show_trouble(&m->show, text);
}

void mover_hooks_after_move(Mover *m) {
        static const char after[] = "; the pod has moved all the same";

        run_and_tell(m, (HookCall){ .event = HOOK_POST_TARGET, .there = true }, after);
        run_and_tell(m, (HookCall){ .event = HOOK_POST_SOURCE }, after);
}

void mover_hooks_after_failure(Mover *m, const char *step, const char *why) {
        HookCall call = { .event = HOOK_ON_FAILURE,
                          .step = step,
                          .error = why,
                          .outcome = m->hooks.outcome ?: "rolled-back" };
        char text[600];

        if (!m->hooks.begun || m->hooks.none ||
            !(has_own(m, HOOK_ON_FAILURE) ||
              (m->hooks.begun_there && m->hooks.there[HOOK_ON_FAILURE])))
                return;
        (void)snprintf(text, sizeof(text), "%s: %s", step, why); /* hooks may take their time */
        show_note(&m->show, text);
        run_and_tell(m, call, "");
        call.there = true;
        if (m->hooks.begun_there)
                run_and_tell(m, call, "");
}
