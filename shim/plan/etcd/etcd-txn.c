/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, values, transactions and leases, in the words of the gateway: bytes are base64, numbers of
 * 64 bits are texts, and what is zero or false is left out. */
#include <inttypes.h>
#include <limits.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <string.h>

#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd.h"

#define PAGE      128U /* keys */
#define PAGES_MAX 4096U

/* -- bytes -- */

static json_object *encode(const void *p, size_t n) {
        size_t size = BASE64_ENCODE_RAW_LENGTH(n);
        _cleanup_free_ char *text = malloc(size + 1);

        if (!text || size > INT_MAX)
                return NULL;
        base64_encode_raw(text, n, p);
        return json_object_new_string_len(text, (int)size);
}

/* A NUL behind it, not counted. */
static int decode(json_object *o, const char *name, Buf *ret) {
        json_object *v = json_get(o, name);
        size_t n = v && json_object_is_type(v, json_type_string)
                           ? (size_t)json_object_get_string_len(v)
                           : 0;
        struct base64_decode_ctx ctx;
        size_t done;

        ret->len = 0;
        if (buf_reserve(ret, BASE64_DECODE_LENGTH(n) + 1) < 0)
                return -ENOMEM;
        ret->data[0] = '\0';
        if (!v)
                return 0;
        done = BASE64_DECODE_LENGTH(n);
        base64_decode_init(&ctx);
        if (!json_object_is_type(v, json_type_string) ||
            !base64_decode_update(&ctx, &done, ret->data, n, json_object_get_string(v)) ||
            !base64_decode_final(&ctx))
                return -EBADMSG;
        ret->len = done;
        ret->data[done] = '\0';
        return 0;
}

void etcd_value_done(EtcdValue *v) {
        buf_done(&v->data);
        v->there = false;
}

bool etcd_value_is(const EtcdValue *v, const char *text) {
        return v->there && v->data.len == strlen(text) &&
               memcmp(v->data.data, text, v->data.len) == 0;
}

int etcd_key_of(json_object *kv, Buf *ret) {
        int r = decode(kv, "key", ret);

        return r == 0 && strlen((const char *)ret->data) != ret->len ? -EBADMSG : r;
}

static int add_number(json_object *o, const char *key, int64_t n) {
        char text[24];

        (void)snprintf(text, sizeof(text), "%" PRId64, n);
        return json_add_string(o, key, text);
}

/* {"key": ..., "range_end": ...}; everything below a prefix that ends with a slash. */
static json_object *range_of(const void *from, size_t n, const char *prefix) {
        _cleanup_json_ json_object *o = json_object_new_object();
        size_t m = prefix ? strlen(prefix) : 0;
        char end[512];

        if (!o || json_add(o, "key", encode(from, n)) < 0 || m >= sizeof(end))
                return NULL;
        if (!prefix)
                return TAKE(o);
        memcpy(end, prefix, m);
        end[m - 1]++; /* the byte after a slash */
        return json_add(o, "range_end", encode(end, m)) < 0 ? NULL : TAKE(o);
}

/* -- transactions -- */

void etcd_txn_init(EtcdTxn *t) {
        *t = (EtcdTxn){ .compare = json_object_new_array(),
                        .success = json_object_new_array(),
                        .failure = json_object_new_array() };
        t->failed = !t->compare || !t->success || !t->failure;
}

void etcd_txn_done(EtcdTxn *t) {
        (void)json_object_put(t->compare);
        (void)json_object_put(t->success);
        (void)json_object_put(t->failure);
        *t = (EtcdTxn){};
}

static void compare(EtcdTxn *t, const char *key, const char *target, const char *result,
                    json_object *is) {
        _cleanup_json_ json_object *o = range_of(key, strlen(key), NULL), *value = is;
        bool version = strcmp(target, "VERSION") == 0;

        if (t->failed || !o || json_add_string(o, "target", target) < 0 ||
            json_add_string(o, "result", result) < 0 ||
            json_add(o, version ? "version" : "value", TAKE(value)) < 0 ||
            json_append(t->compare, TAKE(o)) < 0)
                t->failed = true;
}

void etcd_if_value(EtcdTxn *t, const char *key, const char *value) {
        compare(t, key, "VALUE", "EQUAL", encode(value, strlen(value)));
}

void etcd_if_absent(EtcdTxn *t, const char *key) {
        compare(t, key, "VERSION", "EQUAL", json_object_new_string("0"));
}

void etcd_if_there(EtcdTxn *t, const char *key) {
        compare(t, key, "VERSION", "GREATER", json_object_new_string("0"));
}

static void add(EtcdTxn *t, json_object *list, const char *what, json_object *o) {
        _cleanup_json_ json_object *op = json_object_new_object(), *request = o;

        if (t->failed || !op || json_add(op, what, TAKE(request)) < 0 ||
            json_append(list, TAKE(op)) < 0)
                t->failed = true;
}

void etcd_put(EtcdTxn *t, const char *key, const void *p, size_t n, int64_t lease) {
        _cleanup_json_ json_object *o = range_of(key, strlen(key), NULL);

        if (!o || json_add(o, "value", encode(p, n)) < 0 ||
            (lease != 0 && add_number(o, "lease", lease) < 0))
                t->failed = true;
        else
                add(t, t->success, "request_put", TAKE(o));
}

void etcd_delete(EtcdTxn *t, const char *key) {
        add(t, t->success, "request_delete_range", range_of(key, strlen(key), NULL));
}

void etcd_delete_below(EtcdTxn *t, const char *prefix) {
        add(t, t->success, "request_delete_range", range_of(prefix, strlen(prefix), prefix));
}

void etcd_else_get(EtcdTxn *t, const char *key) {
        add(t, t->failure, "request_range", range_of(key, strlen(key), NULL));
}

static int take_value(json_object *kv, EtcdValue *ret) {
        int r = decode(kv, "value", &ret->data);

        ret->there = r == 0;
        ret->lease = json_get_number(kv, "lease");
        return r;
}

static int nonsense(const Etcd *e, int r, Error *reterr) {
        return r == -ENOMEM ? error_oom(reterr)
                            : error_setf(reterr, -EBADMSG, "etcd %s: its answer makes no sense",
                                         etcd_endpoint(e));
}

static int take_values(json_object *list, EtcdValue ret[], size_t n) {
        if (!list || json_object_array_length(list) != n)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++) {
                json_object *range = json_get(json_object_array_get_idx(list, i), "response_range");
                json_object *kvs = json_get_array(range, "kvs");
                size_t k = kvs ? json_object_array_length(kvs) : 0;
                int r = 0;

                if (!range || k > 1)
                        return -EBADMSG;
                if (k == 1)
                        r = take_value(json_object_array_get_idx(kvs, 0), &ret[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int etcd_commit(Etcd *e, EtcdTxn *t, EtcdValue ret[], size_t n, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object(), *answer = NULL;
        size_t wanted = t->failed ? 0 : json_object_array_length(t->success);
        json_object *list;
        int r;

        if (t->failed || !o || json_add(o, "compare", json_object_get(t->compare)) < 0 ||
            json_add(o, "success", json_object_get(t->success)) < 0 ||
            json_add(o, "failure", json_object_get(t->failure)) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < n; i++)
                etcd_value_done(&ret[i]);
        r = etcd_call(e, "kv/txn", TAKE(o), &answer, reterr);
        if (r < 0)
                return r;
        list = json_get_array(answer, "responses");
        if (json_object_get_boolean(json_get(answer, "succeeded")))
                return (list ? json_object_array_length(list) : 0) == wanted
                               ? 1
                               : nonsense(e, -EBADMSG, reterr);
        if (!json_get(answer, "header")) /* or any object would be a "no" */
                return nonsense(e, -EBADMSG, reterr);
        r = n > 0 ? take_values(list, ret, n) : 0;
        return r < 0 ? nonsense(e, r, reterr) : 0;
}

/* -- reading -- */

static int range(Etcd *e, json_object *request, json_object **ret, Error *reterr) {
        int r = etcd_call(e, "kv/range", request, ret, reterr);

        return r == 0 && !json_get(*ret, "header") ? nonsense(e, -EBADMSG, reterr) : r;
}

int etcd_get(Etcd *e, const char *key, EtcdValue *ret, Error *reterr) {
        _cleanup_json_ json_object *answer = NULL;
        json_object *kvs;
        int r;

        etcd_value_done(ret);
        r = range(e, range_of(key, strlen(key), NULL), &answer, reterr);
        if (r < 0)
                return r;
        kvs = json_get_array(answer, "kvs");
        if (kvs && json_object_array_length(kvs) > 1)
                return nonsense(e, -EBADMSG, reterr);
        if (kvs && json_object_array_length(kvs) == 1)
                r = take_value(json_object_array_get_idx(kvs, 0), ret);
        return r < 0 ? nonsense(e, r, reterr) : 0;
}

/* One page; the last key of it stays in *from, with a NUL behind that counts: the next one begins
 * there. */
static int read_page(Etcd *e, const char *prefix, bool only_names, int64_t *revision, Buf *from,
                     EtcdVisitor visit, void *userdata, bool *ret_more, Error *reterr) {
        _cleanup_json_ json_object *o = range_of(from->data, from->len, prefix), *answer = NULL;
        size_t n = strlen(prefix);
        _cleanup_value_ EtcdValue v = {};
        json_object *kv;
        int r;

        if (!o || add_number(o, "limit", PAGE) < 0 ||
            (*revision > 0 && add_number(o, "revision", *revision) < 0) ||
            (only_names && json_add(o, "keys_only", json_object_new_boolean(true)) < 0))
                return error_oom(reterr);
        r = range(e, TAKE(o), &answer, reterr);
        if (r < 0)
                return r;
        if (*revision == 0)
                *revision = json_get_number(json_get(answer, "header"), "revision");
        *ret_more = json_object_get_boolean(json_get(answer, "more"));
        for (JSON_EACH(i, json_get_array(answer, "kvs"), kv)) {
                _cleanup_buf_ Buf key = {};

                if ((r = etcd_key_of(kv, &key)) < 0 || (r = take_value(kv, &v)) < 0)
                        return nonsense(e, r, reterr);
                /* In order, and below the prefix: so that this ends. */
                if (key.len < n || memcmp(key.data, prefix, n) != 0 ||
                    strcmp((const char *)key.data, (const char *)from->data) < 0)
                        return nonsense(e, -EBADMSG, reterr);
                r = visit(userdata, (const char *)key.data + n, &v.data, reterr);
                if (r < 0)
                        return r;
                from->len = 0;
                if (buf_append(from, key.data, key.len + 1) < 0)
                        return error_oom(reterr);
        }
        return 0;
}

int etcd_each(Etcd *e, const char *prefix, bool only_names, EtcdVisitor visit, void *userdata,
              Error *reterr) {
        _cleanup_buf_ Buf from = {};
        int64_t revision = 0;
        bool more = true;
        int r = 0;

        if (buf_append(&from, prefix, strlen(prefix) + 1) < 0)
                return error_oom(reterr);
        from.len--;
        for (unsigned i = 0; r == 0 && more; i++) {
                if (i >= PAGES_MAX)
                        return nonsense(e, -EBADMSG, reterr);
                r = read_page(e, prefix, only_names, &revision, &from, visit, userdata, &more,
                              reterr);
        }
        return r;
}

/* -- leases -- */

static int lease_call(Etcd *e, const char *path, const char *key, int64_t n, int64_t *ret_ttl,
                      int64_t *ret_id, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object(), *answer = NULL;
        json_object *result;
        int r;

        if (!o || add_number(o, key, n) < 0)
                return error_oom(reterr);
        r = etcd_call(e, path, TAKE(o), &answer, reterr);
        if (r < 0)
                return r;
        result = json_get(answer, "result") ?: answer; /* of a stream, which keepalive is */
        if (!json_get(result, "header"))
                return nonsense(e, -EBADMSG, reterr);
        *ret_ttl = json_get_number(result, "TTL");
        *ret_id = json_get_number(result, "ID");
        return 0;
}

int etcd_grant(Etcd *e, uint32_t ttl_s, int64_t *ret_lease, Error *reterr) {
        int64_t ttl = 0, id = 0;
        int r = lease_call(e, "lease/grant", "TTL", ttl_s, &ttl, &id, reterr);

        if (r == 0 && (id == 0 || ttl <= 0))
                return nonsense(e, -EBADMSG, reterr);
        *ret_lease = id;
        return r;
}

int etcd_keep_alive(Etcd *e, int64_t lease, Error *reterr) {
        int64_t ttl = 0, id = 0;
        int r = lease_call(e, "lease/keepalive", "ID", lease, &ttl, &id, reterr);

        return r < 0 || ttl > 0 ? r
                                : error_setf(reterr, -ENOENT, "etcd %s: the lease has ended",
                                             etcd_endpoint(e));
}

int etcd_revoke(Etcd *e, int64_t lease, Error *reterr) {
        int64_t ttl, id;

        return lease_call(e, "lease/revoke", "ID", lease, &ttl, &id, reterr);
}

json_object *etcd_watch_request(const char *prefix, const char *filter) {
        _cleanup_json_ json_object *o = json_object_new_object(), *filters = NULL, *range = NULL;

        filters = json_object_new_array();
        range = range_of(prefix, strlen(prefix), prefix);
        if (!o || !filters || !range || json_append(filters, json_object_new_string(filter)) < 0 ||
            json_add(range, "filters", TAKE(filters)) < 0 ||
            json_add(o, "create_request", TAKE(range)) < 0)
                return NULL;
        return TAKE(o);
}
