/* SPDX-License-Identifier: Apache-2.0 */
/* The store of plans, as a table of keys. */
#include "shim/config-plans.h"

#include <stddef.h>
#include <string.h>

#include "lib/cleanup.h"

#define PREFIX_MAX   128U
#define ENDPOINT_MAX 256U

typedef struct Key {
        const char *name;
        enum json_type type;
        size_t offset;
        uint32_t min, max; /* of a number */
        bool file;         /* a text: an absolute path */
} Key;

#define AT(field) offsetof(PlansConfig, field)
static const Key keys[] = {
        { "store", json_type_string, 0 },
        { "endpoints", json_type_array, AT(endpoints) },
        { "prefix", json_type_string, AT(prefix) },
        { "ca", json_type_string, AT(ca), .file = true },
        { "cert", json_type_string, AT(cert), .file = true },
        { "key", json_type_string, AT(key), .file = true },
        { "allow_plaintext", json_type_boolean, AT(allow_plaintext) },
        { "ttl", json_type_int, AT(ttl_s), .min = 3, .max = 600 },
        { "wait", json_type_int, AT(wait_s), .min = 1, .max = 86400 },
};
#undef AT

PlansConfig *plans_config_free(PlansConfig *c) {
        if (!c)
                return NULL;
        for (unsigned i = 0; i < c->n_endpoints; i++)
                free(c->endpoints[i]);
        free(c->prefix);
        free(c->ca);
        free(c->cert);
        free(c->key);
        free(c);
        return NULL;
}

/* Nobody but this host hears it. */
static bool is_loopback(const char *host, size_t n) {
        return (n == 9 && strncmp(host, "localhost", n) == 0) ||
               (n > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= n) ||
               (n == 5 && strncmp(host, "[::1]", n) == 0);
}

static const char *text_of(json_object *v) {
        const char *text =
                json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;

        return text && *text && strlen(text) == (size_t)json_object_get_string_len(v) ? text : NULL;
}

/* http(s)://HOST[:PORT], and nothing that a URL may have besides. */
static int check_endpoint(const PlansConfig *c, const char *file, const char *url, Error *reterr) {
        bool tls = strncmp(url, "https://", 8) == 0;
        const char *host = url + (tls ? 8 : 7), *port;
        size_t n;

        if ((!tls && strncmp(url, "http://", 7) != 0) || strlen(url) > ENDPOINT_MAX)
                return error_setf(reterr, -EINVAL,
                                  "%s: plans: endpoint \"%.80s\" must be http://HOST[:PORT] or "
                                  "https://HOST[:PORT]",
                                  file, url);
        n = host[0] == '[' ? strcspn(host, "]") + (strchr(host, ']') != NULL)
                           : strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789.-");
        port = host + n;
        if (n == 0 ||
            (host[0] == '[' && 1 + strspn(host + 1, "0123456789abcdefABCDEF:.") + 1 != n) ||
            (*port && (*port != ':' || !port[1] || port[1 + strspn(port + 1, "0123456789")] ||
                       strlen(port) > 6)))
                return error_setf(reterr, -EINVAL,
                                  "%s: plans: endpoint \"%.80s\": a host and perhaps a port are "
                                  "expected, nothing else",
                                  file, url);
        if (tls || c->allow_plaintext || is_loopback(host, n))
                return 0;
        return error_setf(reterr, -EINVAL,
                          "%s: plans: endpoint %.80s would let the network read and change plans; "
                          "take https://, or allow_plaintext",
                          file, url);
}

static int take_endpoints(PlansConfig *c, const char *file, json_object *v, Error *reterr) {
        size_t n = json_object_array_length(v);

        if (n < 1 || n > PLANS_ENDPOINTS_MAX)
                return error_setf(reterr, -EINVAL, "%s: plans: endpoints: 1 to %u are expected",
                                  file, PLANS_ENDPOINTS_MAX);
        for (size_t i = 0; i < n; i++) {
                const char *url = text_of(json_object_array_get_idx(v, i));

                if (!url)
                        return error_setf(reterr, -EINVAL, "%s: plans: endpoints must be texts",
                                          file);
                c->endpoints[i] = strdup(url);
                if (!c->endpoints[i])
                        return error_oom(reterr);
                c->n_endpoints++;
        }
        return 0;
}

static int take_text(PlansConfig *c, const char *file, const Key *k, json_object *v,
                     Error *reterr) {
        char **at = (char **)(void *)((char *)c + k->offset);
        const char *text = text_of(v);

        if (!text || (k->file && text[0] != '/'))
                return error_setf(reterr, -EINVAL, "%s: plans: %s must be %s", file, k->name,
                                  k->file ? "an absolute path" : "a text");
        *at = strdup(text);
        return *at ? 0 : error_oom(reterr);
}

static int take_number(PlansConfig *c, const char *file, const Key *k, json_object *v,
                       Error *reterr) {
        int64_t n = json_object_get_int64(v);

        if (n < k->min || n > k->max)
                return error_setf(reterr, -EINVAL, "%s: plans: %s must be from %u to %u s", file,
                                  k->name, k->min, k->max);
        *(uint32_t *)(void *)((char *)c + k->offset) = (uint32_t)n;
        return 0;
}

static int take(PlansConfig *c, const char *file, const Key *k, json_object *v, Error *reterr) {
        if (!json_object_is_type(v, k->type))
                return error_setf(reterr, -EINVAL, "%s: plans: %s must be of type %s", file,
                                  k->name, json_type_to_name(k->type));
        if (k->offset == 0 && k->type == json_type_string) /* "store", which was looked at */
                return 0;
        return k->type == json_type_array    ? take_endpoints(c, file, v, reterr)
               : k->type == json_type_string ? take_text(c, file, k, v, reterr)
               : k->type == json_type_int    ? take_number(c, file, k, v, reterr)
                                             : (c->allow_plaintext = json_object_get_boolean(v), 0);
}

static int check_prefix(const PlansConfig *c, const char *file, Error *reterr) {
        size_t n = strlen(c->prefix);

        if (c->prefix[0] == '/' && n > 1 && n <= PREFIX_MAX && c->prefix[n - 1] != '/' &&
            !strstr(c->prefix, "//") &&
            strspn(c->prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              "/._-") == n)
                return 0;
        return error_setf(reterr, -EINVAL,
                          "%s: plans: prefix \"%.80s\" must be like /podferry: letters, digits and "
                          "/._-, at most %u",
                          file, c->prefix, PREFIX_MAX);
}

static int check(const PlansConfig *c, const char *file, Error *reterr) {
        int r = check_prefix(c, file, reterr);

        if (r == 0 && c->n_endpoints == 0)
                return error_setf(reterr, -EINVAL, "%s: plans: endpoints are missing", file);
        if (r == 0 && !c->cert != !c->key)
                return error_setf(reterr, -EINVAL, "%s: plans: cert and key go together", file);
        for (unsigned i = 0; r == 0 && i < c->n_endpoints; i++)
                r = check_endpoint(c, file, c->endpoints[i], reterr);
        return r;
}

static const Key *find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(keys[i].name, name) == 0)
                        return &keys[i];
        return NULL;
}

int plans_config_read(const char *file, json_object *v, PlansConfig **ret, Error *reterr) {
        _cleanup_(plans_config_freep) PlansConfig *c = calloc(1, sizeof(*c));
        json_object *store = NULL;
        int r;

        *ret = NULL;
        if (!json_object_is_type(v, json_type_object))
                return error_setf(reterr, -EINVAL, "%s: plans must be an object", file);
        (void)json_object_object_get_ex(v, "store", &store);
        if (!text_of(store) ||
            (strcmp(text_of(store), "files") != 0 && strcmp(text_of(store), "etcd") != 0))
                return error_setf(reterr, -EINVAL, "%s: plans: store must be files or etcd", file);
        if (!c)
                return error_oom(reterr);
        c->ttl_s = 20;
        c->wait_s = 300;
        json_object_object_foreach(v, name, value) {
                const Key *k = find(name);

                if (!k)
                        return error_setf(reterr, -EINVAL, "%s: plans: unknown key '%s'", file,
                                          name);
                if ((r = take(c, file, k, value, reterr)) < 0)
                        return r;
        }
        if (strcmp(text_of(store), "files") == 0)
                return 0;
        if (!c->prefix && !(c->prefix = strdup("/podferry")))
                return error_oom(reterr);
        r = check(c, file, reterr);
        if (r == 0)
                *ret = TAKE(c);
        return r;
}
