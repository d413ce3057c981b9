/* SPDX-License-Identifier: Apache-2.0 */
/* resolv.conf, the part of it that everybody means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostdev/net/net.h"

enum { FILE_LINES_MAX = 1000 };

static int add_word(char ***list, size_t *n, const char *word) {
        char **more;

        if (*n >= NET_NAMES_MAX)
                return 0;
        more = reallocarray(*list, *n + 1, sizeof(char *));
        if (!more)
                return -ENOMEM;
        *list = more;
        more[*n] = strdup(word);
        return more[*n] ? (int)((*n)++, 0) : -ENOMEM;
}

static void forget_words(char **list, size_t *n) {
        while (*n > 0)
                free(list[--*n]);
}

static int take_line(NetNames *names, char *line) {
        char *save = NULL, *key = strtok_r(line, " \t\r\n", &save), *word;
        int r = 0;

        if (!key || key[0] == '#' || key[0] == ';')
                return 0;
        if (strcmp(key, "search") == 0 || strcmp(key, "domain") == 0) /* the last one counts */
                forget_words(names->searches, &names->n_searches);
        while (r == 0 && (word = strtok_r(NULL, " \t\r\n", &save))) {
                if (strcmp(key, "nameserver") == 0)
                        r = add_word(&names->servers, &names->n_servers, word);
                else if (strcmp(key, "search") == 0 || strcmp(key, "domain") == 0)
                        r = add_word(&names->searches, &names->n_searches, word);
                else if (strcmp(key, "options") == 0)
                        r = add_word(&names->options, &names->n_options, word);
        }
        return r;
}

/* A host's resolver on its own loopback cannot be reached from a pod. */
static bool is_loopback(const char *server) {
        return strncmp(server, "127.", 4) == 0 || strcmp(server, "::1") == 0;
}

static void drop_loopback(NetNames *names) {
        size_t kept = 0;

        for (size_t i = 0; i < names->n_servers; i++)
                if (is_loopback(names->servers[i]))
                        free(names->servers[i]);
                else
                        names->servers[kept++] = names->servers[i];
        names->n_servers = kept;
}

static int parse(FILE *f, NetNames *names) {
        char *line = NULL;
        size_t size = 0;
        int r = 0;

        for (unsigned n = 0; r == 0 && n < FILE_LINES_MAX && getline(&line, &size, f) >= 0; n++)
                r = take_line(names, line);
        free(line);
        return r;
}

int net_read_names(const char *namespace_path, NetNames **ret, Error *reterr) {
        const char *name = strrchr(namespace_path, '/');
        NetNames *names = malloc(sizeof(*names));
        char path[300];
        FILE *f;
        int r = 0;

        if (!names)
                return error_oom(reterr);
        *names = (NetNames)PODFERRY__NET__V1__NAMES__INIT;
        (void)snprintf(path, sizeof(path), "/etc/netns/%.200s/resolv.conf",
                       name ? name + 1 : namespace_path);
        f = fopen(path, "re");
        if (!f)
                f = fopen("/etc/resolv.conf", "re");
        if (f) {
                r = parse(f, names);
                (void)fclose(f);
        }
        drop_loopback(names);
        if (r == 0 && net_names_check(names, NULL) < 0)
                r = error_setf(reterr, -EINVAL, "resolv.conf of %s: a line that is none",
                               namespace_path);
        else if (r < 0)
                r = error_oom(reterr);
        if (r < 0) {
                (void)net_names_free(names);
                return r;
        }
        *ret = names;
        return 0;
}
