/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/copies.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/image/files.h"
#include "lib/cleanup.h"
#include "shim/ctl/json.h"
#include "shim/ctl/lock-files.h"

#define GENERATION      ".copies"
#define GENERATION_MAX  (1U << 20) /* bytes of it */
#define PARTY           ".copy-"
#define PARTY_LEN       (sizeof(PARTY) - 1)
#define PARTY_FORMAT    PARTY "%s"
#define PARTY_NAME_SIZE (PARTY_LEN + ID_MAX + 1)

/* -- the generation on disk -- */

/* {"generation": N, "up": BOOL, "set": [POD...], "with": [NAME...]} */
static bool is_generation(json_object *g) {
        int64_t n = json_get_number(g, "generation");

        return n > 0 && n <= UINT32_MAX && json_get_array(g, "set") && json_get_array(g, "with");
}

/* An empty object: there is none, or no longer one that can be read, which is nobody's then. */
static int read_generation(int dir_fd, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *g = NULL;
        _cleanup_buf_ Buf text = {};
        int r = files_read(dir_fd, GENERATION, GENERATION_MAX, &text, NULL);

        if (r == 0)
                r = json_read((const char *)text.data, text.len, &g, NULL);
        if (r != -ENOMEM && !(r == 0 && is_generation(g))) {
                (void)json_object_put(g);
                g = json_object_new_object();
        }
        if (r == -ENOMEM || !g)
                return error_oom(reterr);
        *ret = TAKE(g);
        return 0;
}

static int write_generation(int dir_fd, json_object *g, Error *reterr) {
        const char *text = json_object_to_json_string_ext(g, JSON_C_TO_STRING_PLAIN);

        return text ? files_write(dir_fd, GENERATION, text, strlen(text), reterr)
                    : error_oom(reterr);
}

static bool has_word(json_object *g, const char *key, const char *word) {
        json_object *list = json_get_array(g, key), *v;

        for (JSON_EACH(i, list, v))
                if (json_object_is_type(v, json_type_string) &&
                    strcmp(json_object_get_string(v), word) == 0)
                        return true;
        return false;
}

static bool belongs(json_object *g, const char *pod, const char *set) {
        return has_word(g, "set", pod) || (set[0] && has_word(g, "with", set));
}

static int add_word(json_object *g, const char *key, const char *word) {
        if (!word[0] || has_word(g, key, word))
                return 0;
        return json_append(json_get_array(g, key), json_object_new_string(word));
}

static int add_party(json_object *g, const char *pod, const char *set) {
        return add_word(g, "set", pod) < 0 || add_word(g, "with", set) < 0 ? -ENOMEM : 0;
}

/* -- who takes part -- */

/* "" also if it cannot be read: then it belongs by its pod. */
static void read_set(int dir_fd, const char *name, char ret[static ID_MAX + 1]) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, ret, ID_MAX);

        ret[n > 0 ? n : 0] = '\0';
        if (id_check("set", ret, NULL) < 0)
                ret[0] = '\0';
}

/* < 0: no memory; 1: enough. */
typedef int (*OnParty)(void *userdata, const char *pod, const char *set);

/* Each that is alive. 1: on_party() had enough. */
static int for_each_party(int dir_fd, OnParty on_party, void *userdata, Error *reterr) {
        _cleanup_close_ int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int r = 0;

        if (!d)
                return error_setf(reterr, -errno, "run directory: %m");
        TAKE_FD(fd);
        while (r == 0 && (errno = 0, e = readdir(d))) {
                const char *pod = e->d_name + PARTY_LEN;
                char set[ID_MAX + 1];

                if (strncmp(e->d_name, PARTY, PARTY_LEN) != 0 || id_check("pod", pod, NULL) < 0)
                        continue;
                r = lock_file_is_taken(dir_fd, e->d_name, reterr);
                if (r <= 0)
                        continue;
                read_set(dir_fd, e->d_name, set);
                r = on_party(userdata, pod, set);
                if (r < 0)
                        r = error_oom(reterr);
        }
        if (r == 0 && errno != 0)
                r = error_setf(reterr, -errno, "run directory: %m");
        (void)closedir(d);
        return r;
}

int copy_enter(const char *run_dir, const char *pod, const char *set, Copy *ret, Error *reterr) {
        _cleanup_copy_ Copy c = COPY_INIT;
        char name[PARTY_NAME_SIZE];
        int r;

        r = id_check("pod name", pod, reterr);
        if (r == 0 && set[0])
                r = id_check("set of copies", set, reterr);
        if (r == 0)
                r = lock_files_open(run_dir, &c.dir_fd, reterr);
        if (r == 0)
                r = lock_files_begin(c.dir_fd, reterr);
        if (r < 0)
                return r;
        (void)snprintf(c.pod, sizeof(c.pod), "%s", pod);
        (void)snprintf(c.set, sizeof(c.set), "%s", set);
        (void)snprintf(name, sizeof(name), PARTY_FORMAT, pod);
        r = lock_file_is_taken(c.dir_fd, name, reterr);
        if (r > 0)
                r = error_setf(reterr, -EBUSY, "pod %s is being copied to this host already", pod);
        if (r == 0)
                r = lock_file_take(c.dir_fd, name, &c.fd, reterr);
        if (r == 0) {
                r = files_write_all(c.fd, set, strlen(set));
                if (r < 0)
                        (void)error_setf(reterr, r, "%s: %s", name, strerrordesc_np(-r));
        }
        lock_files_end(c.dir_fd);
        if (r < 0)
                return r;
        *ret = c;
        c = COPY_INIT;
        return 0;
}

/* -- whose turn it is -- */

typedef struct Search {
        const Copy *self;
        json_object *generation;
        CopiesAhead *ahead;
} Search;

static int count_ahead(void *userdata, const char *pod, const char *set) {
        Search *s = userdata;

        if (strcmp(pod, s->self->pod) == 0 || !belongs(s->generation, pod, set))
                return 0;
        if (s->ahead->n < COPIES_TOLD_MAX)
                (void)snprintf(s->ahead->pods[s->ahead->n], sizeof(s->ahead->pods[0]), "%s", pod);
        s->ahead->n++;
        return 0;
}

static int add_waiting(void *userdata, const char *pod, const char *set) {
        return add_party(userdata, pod, set);
}

/* The one before has ended: all who are there now. */
static int open_next(const Copy *c, json_object **g, Error *reterr) {
        uint64_t number = (uint64_t)json_get_number(*g, "generation");
        int r;

        (void)json_object_put(*g);
        *g = json_object_new_object();
        if (!*g ||
            json_add(*g, "generation", json_object_new_uint64(number % UINT32_MAX + 1)) < 0 ||
            json_add(*g, "up", json_object_new_boolean(false)) < 0 ||
            json_add(*g, "set", json_object_new_array()) < 0 ||
            json_add(*g, "with", json_object_new_array()) < 0)
                return error_oom(reterr);
        r = for_each_party(c->dir_fd, add_waiting, *g, reterr);
        return r < 0 ? r : write_generation(c->dir_fd, *g, reterr);
}

/* Those of the generation that are left, but for this one. */
static int look_ahead(const Copy *c, json_object *g, CopiesAhead *ret, Error *reterr) {
        Search s = { c, g, ret };

        *ret = (CopiesAhead){ .generation = (unsigned)json_get_number(g, "generation") };
        return for_each_party(c->dir_fd, count_ahead, &s, reterr);
}

static bool is_up(json_object *g) {
        return json_object_get_boolean(json_get(g, "up"));
}

/* What of a copy that was killed is still in it is this one's, which goes on in its place. */
static int find_turn(Copy *c, json_object **g, CopiesAhead *ret, Error *reterr) {
        int r;

        if (belongs(*g, c->pod, c->set))
                return 0;
        r = look_ahead(c, *g, ret, reterr);
        if (r < 0)
                return r;
        if (ret->n == 0)
                return open_next(c, g, reterr);
        if (is_up(*g))
                return -EAGAIN;
        if (add_party(*g, c->pod, c->set) < 0)
                return error_oom(reterr);
        return write_generation(c->dir_fd, *g, reterr);
}

int copy_try(Copy *c, CopiesAhead *ret, Error *reterr) {
        _cleanup_json_ json_object *g = NULL;
        int r = lock_files_begin(c->dir_fd, reterr);

        if (r < 0)
                return r;
        r = read_generation(c->dir_fd, &g, reterr);
        if (r == 0)
                r = find_turn(c, &g, ret, reterr);
        if (r == 0)
                c->generation = (unsigned)json_get_number(g, "generation");
        lock_files_end(c->dir_fd);
        return r;
}

int copies_look(const char *run_dir, const char *pod, CopiesAhead *ret, Error *reterr) {
        _cleanup_json_ json_object *g = NULL;
        _cleanup_copy_ Copy c = COPY_INIT;
        int r;

        *ret = (CopiesAhead){};
        (void)snprintf(c.pod, sizeof(c.pod), "%s", pod);
        r = lock_files_open(run_dir, &c.dir_fd, reterr);
        if (r == 0)
                r = lock_files_begin(c.dir_fd, reterr);
        if (r < 0)
                return r;
        r = read_generation(c.dir_fd, &g, reterr);
        if (r == 0 && is_up(g) && !belongs(g, pod, ""))
                r = look_ahead(&c, g, ret, reterr);
        lock_files_end(c.dir_fd);
        return r;
}

int copy_begin(const Copy *c, Error *reterr) {
        _cleanup_json_ json_object *g = NULL;
        int r;

        if (c->fd < 0)
                return 0;
        r = lock_files_begin(c->dir_fd, reterr);
        if (r < 0)
                return r;
        r = read_generation(c->dir_fd, &g, reterr);
        if (r == 0 && is_generation(g) && !is_up(g)) {
                r = json_add(g, "up", json_object_new_boolean(true)) < 0
                            ? error_oom(reterr)
                            : write_generation(c->dir_fd, g, reterr);
        }
        lock_files_end(c->dir_fd);
        return r;
}

static int found_one(void *userdata, const char *pod, const char *set) {
        return 1;
}

/* Out of the set, too: another copy of this pod is a new one. */
static void drop_from_set(const Copy *c) {
        _cleanup_json_ json_object *g = NULL;
        json_object *set, *v;

        if (read_generation(c->dir_fd, &g, NULL) < 0 || !(set = json_get_array(g, "set")))
                return;
        for (JSON_EACH(i, set, v))
                if (json_object_is_type(v, json_type_string) &&
                    strcmp(json_object_get_string(v), c->pod) == 0) {
                        (void)json_object_array_del_idx(set, i, 1);
                        (void)write_generation(c->dir_fd, g, NULL);
                        return;
                }
}

void copy_leave(Copy *c) {
        char name[PARTY_NAME_SIZE];

        if (c->fd >= 0 && lock_files_begin(c->dir_fd, NULL) == 0) {
                (void)snprintf(name, sizeof(name), PARTY_FORMAT, c->pod);
                lock_file_leave(c->dir_fd, name, &c->fd);
                if (for_each_party(c->dir_fd, found_one, NULL, NULL) == 0)
                        (void)unlinkat(c->dir_fd, GENERATION, 0); /* the last one */
                else
                        drop_from_set(c);
                lock_files_end(c->dir_fd);
        }
        (void)close_fd(c->fd);
        (void)close_fd(c->dir_fd);
        *c = COPY_INIT;
}
