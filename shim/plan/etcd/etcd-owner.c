/* SPDX-License-Identifier: Apache-2.0 */
/* Who drives a plan. */
#include <stdio.h>
#include <string.h>

#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd-store.h"

void etcd_owner_describe(const EtcdValue *v, char *ret, size_t size) {
        _cleanup_json_ json_object *o = NULL;

        ret[0] = '\0';
        if (!v->there)
                return;
        if (json_read((const char *)v->data.data, v->data.len, &o, NULL) < 0)
                (void)snprintf(ret, size, "somebody who does not say who");
        else
                (void)snprintf(ret, size, "podferry (pid %lld) on %.64s",
                               (long long)json_get_number(o, "pid"), json_get_text(o, "node"));
        text_clean(ret);
}

static int make_owner(EtcdStore *e) {
        _cleanup_json_ json_object *o = json_object_new_object();
        const char *node = plan_store_node(), *text;
        char host[72];

        (void)snprintf(host, sizeof(host), "%.*s", (int)strcspn(node, " "), node);
        if (!o || json_add_string(o, "id", e->id) < 0 || json_add_string(o, "node", host) < 0 ||
            json_add(o, "pid", json_object_new_int(getpid())) < 0 ||
            !(text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)))
                return -ENOMEM;
        (void)snprintf(e->owner, sizeof(e->owner), "%s", text);
        return 0;
}

static int refused(const EtcdStore *e, const EtcdValue *owner, Error *reterr) {
        char who[160];

        etcd_owner_describe(owner, who, sizeof(who));
        return error_setf(reterr, -EBUSY,
                          "plan %s: %s runs it; if that is dead, it is free within %u s",
                          e->store->name, who, e->config->ttl_s);
}

/* One try with a lease that we have. 0: it is ours. */
static int take(EtcdStore *e, bool again, Error *reterr) {
        char owner[ETCD_KEY_MAX], term[ETCD_KEY_MAX];
        EtcdValue v[2] = {};
        _cleanup_txn_ EtcdTxn t;
        int r;

        etcd_store_plan_key(e, owner, "owner");
        etcd_store_plan_key(e, term, "term");
        etcd_txn_init(&t);
        etcd_if_absent(&t, owner);
        if (again)
                etcd_if_value(&t, term, e->id);
        etcd_put(&t, owner, e->owner, strlen(e->owner), e->lease);
        etcd_put(&t, term, e->id, strlen(e->id), 0);
        etcd_else_get(&t, owner);
        etcd_else_get(&t, term);
        r = etcd_commit(e->etcd, &t, v, ELEMENTSOF(v), reterr);
        if (r == 1)
                r = 0;
        else if (r == 0 && etcd_value_is(&v[0], e->owner)) /* an earlier try got through */
                e->lease = v[0].lease;
        else if (r == 0 && v[0].there)
                r = refused(e, &v[0], reterr);
        else if (r == 0)
                r = error_setf(reterr, -EBUSY,
                               "plan %s: our lease ended, and another podferry ran it since",
                               e->store->name);
        for (size_t i = 0; i < ELEMENTSOF(v); i++)
                etcd_value_done(&v[i]);
        return r;
}

int etcd_own(EtcdStore *e, bool again, Error *reterr) {
        int64_t lease = 0;
        int r;

        if (!e->owner[0] && make_owner(e) < 0)
                return error_oom(reterr);
        r = etcd_grant(e->etcd, e->config->ttl_s, &lease, reterr);
        if (r < 0)
                return r;
        e->lease = lease;
        r = take(e, again, reterr);
        if (r < 0 && r != -EAGAIN) {
                (void)etcd_revoke(e->etcd, lease, NULL);
                e->lease = 0;
        }
        return r;
}

/* The lease takes the owner with it; if it cannot be told, it ends by itself. */
void etcd_disown(EtcdStore *e) {
        if (e->lease != 0)
                (void)etcd_revoke(e->etcd, e->lease, NULL);
        e->lease = 0;
        e->owner[0] = '\0';
}

int etcd_commit_owned(EtcdStore *e, EtcdMake make, const void *userdata, EtcdValue ret[], size_t n,
                      Error *reterr) {
        char owner[ETCD_KEY_MAX];

        etcd_store_plan_key(e, owner, "owner");
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_txn_ EtcdTxn t;
                int r;

                etcd_txn_init(&t);
                etcd_if_value(&t, owner, e->owner);
                etcd_else_get(&t, owner);
                make(e, &t, userdata);
                r = etcd_commit(e->etcd, &t, ret, n, reterr);
                if (r != 0 || etcd_value_is(&ret[0], e->owner))
                        return r;
                if (ret[0].there)
                        return refused(e, &ret[0], reterr);
                r = etcd_own(e, true, reterr);
                if (r < 0)
                        return r;
        }
        return error_setf(reterr, -EAGAIN, "etcd %s: the lease ends before it is used",
                          etcd_endpoint(e->etcd));
}
