/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/hooks.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "controllers/checks.h"
#include "lib/duration.h"

static const struct {
        const char *name;
        bool target, abort;
} events[_HOOK_EVENT_MAX] = {
        [HOOK_PRE_SOURCE] = { "pre-source", false, true },
        [HOOK_PRE_TARGET] = { "pre-target", true, true },
        [HOOK_POST_TARGET] = { "post-target", true, false },
        [HOOK_POST_SOURCE] = { "post-source", false, false },
        [HOOK_ON_FAILURE] = { "on-failure", false, false },
};

const char *hook_event_name(HookEvent e) {
        return events[e].name;
}

HookEvent hook_event_from_name(const char *name) {
        for (int i = 0; i < _HOOK_EVENT_MAX; i++)
                if (strcmp(events[i].name, name) == 0)
                        return (HookEvent)i;
        return _HOOK_EVENT_INVALID;
}

bool hook_event_is_target(HookEvent e) {
        return events[e].target;
}

bool hook_event_may_abort(HookEvent e) {
        return events[e].abort;
}

static void hook_done(Hook *h) {
        (void)strv_free(h->run);
        *h = (Hook){};
}

void hooks_done(Hooks *h) {
        for (size_t e = 0; e < ELEMENTSOF(h->events); e++) {
                for (size_t i = 0; i < h->events[e].n; i++)
                        hook_done(&h->events[e].hooks[i]);
                free(h->events[e].hooks);
        }
        *h = (Hooks){};
}

bool hooks_any(const Hooks *h) {
        for (size_t e = 0; e < ELEMENTSOF(h->events); e++)
                if (h->events[e].n > 0)
                        return true;
        return false;
}

static Hook hook_default(HookEvent e) {
        return (Hook){ .timeout_ms = HOOK_TIMEOUT_MS,
                       .delay_ms = HOOK_DELAY_MS,
                       .ignore = !hook_event_may_abort(e) };
}

/* Takes over what h holds, in every case. */
static int append(HookList *l, Hook *h, Error *reterr) {
        Hook *more;
        int r = 0;

        if (l->n >= HOOKS_MAX)
                r = error_setf(reterr, -EINVAL, "more than %u hooks", HOOKS_MAX);
        more = r == 0 ? reallocarray(l->hooks, l->n + 1, sizeof(*more)) : NULL;
        if (r == 0 && !more)
                r = error_oom(reterr);
        if (r < 0) {
                hook_done(h);
                return r;
        }
        l->hooks = more;
        l->hooks[l->n++] = *h;
        *h = (Hook){};
        return 0;
}

/* -- reading -- */

static int check_words(char *const *words, Error *reterr) {
        size_t n = strv_len((const char *const *)words);
        int r;

        if (n == 0 || n > HOOK_WORDS_MAX)
                return error_setf(reterr, -EINVAL, "run: a program and at most %u arguments",
                                  HOOK_WORDS_MAX - 1);
        r = path_check("run: the program", words[0], reterr);
        for (size_t i = 1; r == 0 && i < n; i++)
                r = text_check("run: an argument", words[i], TEXT_LEN_MAX, reterr);
        return r;
}

static const char *text_of(json_object *v) {
        const char *text =
                json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;

        return text && strlen(text) == (size_t)json_object_get_string_len(v) ? text : NULL;
}

static int take_run(Hook *h, HookEvent e, json_object *v, Error *reterr) {
        size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;

        if (n == 0 || n > HOOK_WORDS_MAX)
                return check_words(NULL, reterr);
        h->run = calloc(n + 1, sizeof(*h->run));
        if (!h->run)
                return error_oom(reterr);
        for (size_t i = 0; i < n; i++) {
                const char *text = text_of(json_object_array_get_idx(v, i));

                if (!text)
                        return error_setf(reterr, -EINVAL, "run: a list of texts");
                h->run[i] = strdup(text);
                if (!h->run[i])
                        return error_oom(reterr);
        }
        return check_words(h->run, reterr);
}

static int take_time(json_object *v, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
                     Error *reterr) {
        const char *text = text_of(v);
        int r;

        if (!text)
                return error_setf(reterr, -EINVAL, "%s: a text, as in \"30s\"", key);
        r = duration_parse(text, ret, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s", key);
        return *ret >= min && *ret <= max
                       ? 0
                       : error_setf(reterr, -EINVAL, "%s: %s: from %llums to %llus", key, text,
                                    (unsigned long long)min, (unsigned long long)max / 1000);
}

static int take_timeout(Hook *h, HookEvent e, json_object *v, Error *reterr) {
        return take_time(v, "timeout", 1, HOOK_TIMEOUT_MS_MAX, &h->timeout_ms, reterr);
}

static int take_delay(Hook *h, HookEvent e, json_object *v, Error *reterr) {
        return take_time(v, "retry_delay", 0, HOOK_DELAY_MS_MAX, &h->delay_ms, reterr);
}

static int take_retries(Hook *h, HookEvent e, json_object *v, Error *reterr) {
        int64_t n = json_object_get_int64(v);

        if (!json_object_is_type(v, json_type_int) || n < 0 || n > HOOK_RETRIES_MAX)
                return error_setf(reterr, -EINVAL, "retries: a number from 0 to %u",
                                  HOOK_RETRIES_MAX);
        h->retries = (uint32_t)n;
        return 0;
}

static int take_policy(Hook *h, HookEvent e, json_object *v, Error *reterr) {
        const char *text = text_of(v) ?: "";

        h->ignore = strcmp(text, "ignore") == 0;
        if (!h->ignore && strcmp(text, "abort") != 0)
                return error_setf(reterr, -EINVAL, "on_failure: abort or ignore");
        if (h->ignore || hook_event_may_abort(e))
                return 0;
        return error_setf(reterr, -EINVAL,
                          "on_failure: nothing is left to abort then: ignore, or leave it out");
}

static const struct {
        const char *name;
        int (*take)(Hook *h, HookEvent e, json_object *v, Error *reterr);
} keys[] = {
        { "run", take_run },           { "timeout", take_timeout },   { "retries", take_retries },
        { "retry_delay", take_delay }, { "on_failure", take_policy },
};

static int parse_hook(HookEvent e, json_object *o, Hook *h, Error *reterr) {
        *h = hook_default(e);
        if (!json_object_is_type(o, json_type_object))
                return error_setf(reterr, -EINVAL, "an object with \"run\" is expected");
        json_object_object_foreach(o, name, value) {
                int r = -ENOENT;

                for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                        if (strcmp(keys[i].name, name) == 0)
                                r = keys[i].take(h, e, value, reterr);
                if (r == -ENOENT)
                        return error_setf(reterr, -EINVAL, "unknown key '%.60s'", name);
                if (r < 0)
                        return r;
        }
        return h->run ? 0 : error_setf(reterr, -EINVAL, "\"run\" is missing");
}

static int parse_event(Hooks *h, HookEvent e, json_object *list, Error *reterr) {
        const char *name = hook_event_name(e);

        if (!json_object_is_type(list, json_type_array))
                return error_setf(reterr, -EINVAL, "%s: a list of hooks is expected", name);
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                Hook hook;
                int r = parse_hook(e, json_object_array_get_idx(list, i), &hook, reterr);

                if (r < 0) {
                        hook_done(&hook);
                        return error_prefix(reterr, r, "%s[%zu]", name, i);
                }
                r = append(&h->events[e], &hook, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "%s", name);
        }
        return 0;
}

int hooks_parse(Hooks *h, json_object *o, Error *reterr) {
        if (!json_object_is_type(o, json_type_object))
                return error_setf(reterr, -EINVAL, "an object with events is expected");
        json_object_object_foreach(o, name, list) {
                HookEvent e = hook_event_from_name(name);
                int r;

                if (e == _HOOK_EVENT_INVALID)
                        return error_setf(reterr, -EINVAL,
                                          "there is no event '%.60s': pre-source, pre-target, "
                                          "post-target, post-source or on-failure",
                                          name);
                r = parse_event(h, e, list, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int hooks_add(Hooks *h, HookEvent e, char **words, Error *reterr) {
        Hook hook = hook_default(e);
        int r = check_words(words, reterr);

        hook.run = words;
        if (r < 0) {
                hook_done(&hook);
                return r;
        }
        return append(&h->events[e], &hook, reterr);
}

int hooks_append(Hooks *h, const Hooks *from, HookEvent e, Error *reterr) {
        const HookList *l = &from->events[e];

        for (size_t i = 0; i < l->n; i++) {
                Hook copy = l->hooks[i];
                int r;

                copy.run = NULL;
                r = strv_copy((const char *const *)l->hooks[i].run, &copy.run);
                r = r < 0 ? error_oom(reterr) : append(&h->events[e], &copy, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* -- writing -- */

static json_object *time_json(uint64_t ms) {
        char text[32];

        (void)snprintf(text, sizeof(text), "%llums", (unsigned long long)ms);
        return json_object_new_string(text);
}

/* Takes the value, also NULL. */
static bool add(json_object *o, const char *key, json_object *v) {
        if (v && json_object_object_add(o, key, v) == 0)
                return true;
        (void)json_object_put(v);
        return false;
}

static bool push(json_object *list, json_object *v) {
        if (v && json_object_array_add(list, v) == 0)
                return true;
        (void)json_object_put(v);
        return false;
}

static json_object *hook_json(const Hook *h) {
        json_object *o = json_object_new_object(), *run = json_object_new_array();
        bool good = o && run;

        for (size_t i = 0; good && h->run[i]; i++)
                good = push(run, json_object_new_string(h->run[i]));
        if (o && add(o, "run", run) && good && add(o, "timeout", time_json(h->timeout_ms)) &&
            add(o, "retries", json_object_new_int64(h->retries)) &&
            add(o, "retry_delay", time_json(h->delay_ms)) &&
            add(o, "on_failure", json_object_new_string(h->ignore ? "ignore" : "abort")))
                return o;
        if (!o)
                (void)json_object_put(run);
        (void)json_object_put(o);
        return NULL;
}

json_object *hooks_json(const Hook *list, size_t n) {
        json_object *o = json_object_new_array();

        for (size_t i = 0; o && i < n; i++)
                if (!push(o, hook_json(&list[i]))) {
                        (void)json_object_put(o);
                        return NULL;
                }
        return o;
}

/* -- can they run? -- */

/* Whoever may write there could put another program in its place. */
static int check_owner(const char *path, const struct stat *st, Error *reterr) {
        if (geteuid() != 0)
                return 0;
        if (st->st_uid != 0)
                return error_setf(
                        reterr, -EACCES,
                        "%.200s: it belongs to user %u, and root is to run it: chown root", path,
                        st->st_uid);
        if ((st->st_mode & 022) && !(S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX)))
                return error_setf(reterr, -EACCES,
                                  "%.200s: others than root may write to it: chmod go-w", path);
        return 0;
}

static int check_way(char *path, Error *reterr) {
        for (char *slash = strrchr(path, '/'); slash; slash = strrchr(path, '/')) {
                struct stat st;
                int r;

                slash[slash == path ? 1 : 0] = '\0';
                if (stat(path, &st) < 0)
                        return error_setf(reterr, -errno, "%.200s: %m", path);
                r = check_owner(path, &st, reterr);
                if (r < 0 || slash == path)
                        return r;
        }
        return 0;
}

int hook_check(const Hook *h, Error *reterr) {
        _cleanup_free_ char *real = realpath(h->run[0], NULL);
        struct stat st;
        int r;

        if (!real || stat(real, &st) < 0)
                return error_setf(reterr, -errno, "%.200s: %m", h->run[0]);
        if (!S_ISREG(st.st_mode))
                return error_setf(reterr, -EINVAL, "%.200s: it is no file", h->run[0]);
        if (!(st.st_mode & 0111) || access(real, X_OK) < 0)
                return error_setf(reterr, -EACCES, "%.200s: it is not executable: chmod +x",
                                  h->run[0]);
        r = check_owner(real, &st, reterr);
        return r < 0 ? r : check_way(real, reterr);
}

static bool put_problem(json_object *problems, HookEvent e, size_t i, const Hook *h) {
        char text[HOOK_PROBLEM_MAX];
        Error why = ERROR_INIT;
        int r = hook_check(h, &why);

        if (r == 0 || json_object_array_length(problems) >= HOOK_PROBLEMS_MAX)
                return true;
        (void)snprintf(text, sizeof(text), "hook %s[%zu]: %.260s", hook_event_name(e), i,
                       error_text(&why, r));
        text_clean(text);
        return push(problems, json_object_new_string(text));
}

json_object *hooks_facts(const Hooks *h, bool target) {
        json_object *o = json_object_new_object(), *problems = json_object_new_array();
        json_object *counts = json_object_new_object();
        bool good = o && problems && counts;

        for (int e = 0; good && e < _HOOK_EVENT_MAX; e++) {
                const HookList *l = &h->events[e];

                if ((hook_event_is_target((HookEvent)e) != target && e != HOOK_ON_FAILURE) ||
                    l->n == 0)
                        continue;
                good = add(counts, events[e].name, json_object_new_int64((int64_t)l->n));
                for (size_t i = 0; good && i < l->n; i++)
                        good = put_problem(problems, (HookEvent)e, i, &l->hooks[i]);
        }
        if (good && add(o, "events", json_object_get(counts)) &&
            add(o, "problems", json_object_get(problems))) {
                (void)json_object_put(counts);
                (void)json_object_put(problems);
                return o;
        }
        (void)json_object_put(counts);
        (void)json_object_put(problems);
        (void)json_object_put(o);
        return NULL;
}
