/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-event.h>

#include "lib/buf.h"
#include "shim/config-plans.h"
#include "shim/plan/etcd/etcd-curl.h"

/* A client of etcd v3 by its JSON gateway: requests that wait for their answer, at most a few
 * seconds, and a watch in an event loop. Whatever it says is checked, and has a limit of size.
 *
 * -EAGAIN: not reached, no answer in time, or no leader: it may have been done or not, and may be
 * tried again. -ESTALE: the revision was compacted. -ENOENT: no such lease. -ENOSPC: its database
 * is full. -EACCES: it or we are not who we should be. -EBADMSG: what answered makes no sense.
 * -EIO: it refused for another reason, which is in the text. */
typedef struct Etcd Etcd;

int etcd_new(const PlansConfig *config, Etcd **ret, Error *reterr); /* config is borrowed */
Etcd *etcd_free(Etcd *e);
DEFINE_CLEANUP(Etcd *, etcd_free);
/* POST to /v3/<path>; takes the request; NULL is -ENOMEM. *ret is an object. */
int etcd_call(Etcd *e, const char *path, json_object *request, json_object **ret, Error *reterr);
const char *etcd_endpoint(const Etcd *e); /* the one that is spoken to now */
const Curl *etcd_curl(const Etcd *e);
/* What every request has: address, certificates, limits of protocol. `body` is borrowed for as long
 * as the handle is used, which the caller frees. */
int etcd_prepare(Etcd *e, const char *path, const char *body, CURL **ret, Error *reterr);

/* -- etcd-txn.c: keys and values -- */

typedef struct EtcdValue {
        bool there;
        Buf data; /* with a NUL behind it that is not counted */
        int64_t lease;
} EtcdValue;
void etcd_value_done(EtcdValue *v);
#define _cleanup_value_ _cleanup_(etcd_value_done)
bool etcd_value_is(const EtcdValue *v, const char *text);

/* One transaction. Failures of memory are kept until it is committed. */
typedef struct EtcdTxn {
        json_object *compare, *success, *failure;
        bool failed;
} EtcdTxn;
void etcd_txn_init(EtcdTxn *t);
void etcd_txn_done(EtcdTxn *t);
#define _cleanup_txn_ _cleanup_(etcd_txn_done)
void etcd_if_value(EtcdTxn *t, const char *key, const char *value);
void etcd_if_absent(EtcdTxn *t, const char *key);
void etcd_if_there(EtcdTxn *t, const char *key);
void etcd_put(EtcdTxn *t, const char *key, const void *p, size_t n, int64_t lease);
void etcd_delete(EtcdTxn *t, const char *key);
void etcd_delete_below(EtcdTxn *t, const char *prefix); /* ends with a slash */
void etcd_else_get(EtcdTxn *t, const char *key);
/* 1: done; 0: a comparison failed, and the values that were asked for then are in ret[0..n-1]. */
int etcd_commit(Etcd *e, EtcdTxn *t, EtcdValue ret[], size_t n, Error *reterr);

int etcd_get(Etcd *e, const char *key, EtcdValue *ret, Error *reterr);
/* Everything below a prefix that ends with a slash, in order, of one revision. The name is what
 * comes after the prefix. -ESTALE: begin anew. */
typedef int (*EtcdVisitor)(void *userdata, const char *name, const Buf *value, Error *reterr);
int etcd_each(Etcd *e, const char *prefix, bool only_names, EtcdVisitor visit, void *userdata,
              Error *reterr);

int etcd_grant(Etcd *e, uint32_t ttl_s, int64_t *ret_lease, Error *reterr);
int etcd_keep_alive(Etcd *e, int64_t lease, Error *reterr); /* -ENOENT: it has ended */
int etcd_revoke(Etcd *e, int64_t lease, Error *reterr);

/* For the watch: {"create_request": ...} of what is below a prefix. NULL: out of memory. */
json_object *etcd_watch_request(const char *prefix, const char *filter);
/* Of an event's "kv"; -EBADMSG, -ENOMEM. */
int etcd_key_of(json_object *kv, Buf *ret);

/* -- etcd-watch.c -- */

/* Keys that are removed below `gone`, and those that are written below `put`. key NULL: something
 * may have been missed (it begins, or began anew). */
typedef void (*EtcdNews)(void *userdata, const char *key);
typedef struct EtcdWatch EtcdWatch;
int etcd_watch_new(Etcd *e, sd_event *event, const char *gone, const char *put, EtcdNews news,
                   void *userdata, EtcdWatch **ret, Error *reterr);
EtcdWatch *etcd_watch_free(EtcdWatch *w);
