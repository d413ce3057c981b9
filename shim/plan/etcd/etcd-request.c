/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd.h"

#define CALL_MS    5000U /* all endpoints together */
#define CONNECT_MS 2000U
#define ANSWER_MAX (16U << 20)

struct Etcd {
        const PlansConfig *config;
        const Curl *curl;
        struct curl_slist *headers;
        CURL *handle; /* kept, and its connection with it */
        unsigned at;  /* of the endpoints */
        char why[CURL_ERROR_SIZE];
        Buf answer;
        bool too_long;
};

Etcd *etcd_free(Etcd *e) {
        if (!e)
                return NULL;
        if (e->handle)
                e->curl->curl_easy_cleanup(e->handle);
        if (e->headers)
                e->curl->curl_slist_free_all(e->headers);
        buf_done(&e->answer);
        free(e);
        return NULL;
}

int etcd_new(const PlansConfig *config, Etcd **ret, Error *reterr) {
        static const char *const headers[] = { "Content-Type: application/json", "Expect:" };
        _cleanup_(etcd_freep) Etcd *e = calloc(1, sizeof(*e));
        int r;

        if (!e)
                return error_oom(reterr);
        e->config = config;
        r = curl_load(&e->curl, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(headers); i++) {
                struct curl_slist *more = e->curl->curl_slist_append(e->headers, headers[i]);

                if (!more)
                        return error_oom(reterr);
                e->headers = more;
        }
        *ret = TAKE(e);
        return 0;
}

const char *etcd_endpoint(const Etcd *e) {
        return e->config->endpoints[e->at];
}

const Curl *etcd_curl(const Etcd *e) {
        return e->curl;
}

/* -- set up -- */

static CURLcode set_url(const Etcd *e, CURL *h, const char *path) {
        char url[400];

        (void)snprintf(url, sizeof(url), "%s/v3/%s", etcd_endpoint(e), path);
        return e->curl->curl_easy_setopt(h, CURLOPT_URL, url);
}

static CURLcode set_files(const Etcd *e, CURL *h) {
        const PlansConfig *c = e->config;
        const struct {
                CURLoption option;
                const char *file;
        } files[] = { { CURLOPT_CAINFO, c->ca },
                      { CURLOPT_SSLCERT, c->cert },
                      { CURLOPT_SSLKEY, c->key } };
        CURLcode r = CURLE_OK;

        for (size_t i = 0; r == CURLE_OK && i < ELEMENTSOF(files); i++)
                if (files[i].file)
                        r = e->curl->curl_easy_setopt(h, files[i].option, files[i].file);
        return r;
}

int etcd_prepare(Etcd *e, const char *path, const char *body, CURL **ret, Error *reterr) {
        const Curl *c = e->curl;
        CURL *h = c->curl_easy_init();
        CURLcode r;

        if (!h)
                return error_oom(reterr);
        /* No proxy of the environment, no redirection: etcd is what the configuration says. */
        if ((r = set_url(e, h, path)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https")) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_PROXY, "")) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, 10L)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, 5L)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_HTTPHEADER, e->headers)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_POST, 1L)) != CURLE_OK ||
            (r = c->curl_easy_setopt(h, CURLOPT_POSTFIELDS, body)) != CURLE_OK ||
            (r = set_files(e, h)) != CURLE_OK) {
                c->curl_easy_cleanup(h);
                return error_setf(reterr, -EOPNOTSUPP, "libcurl: %s", c->curl_easy_strerror(r));
        }
        *ret = h;
        return 0;
}

static size_t on_data(char *p, size_t size, size_t n, void *userdata) {
        Etcd *e = userdata;

        n *= size;
        e->too_long = e->answer.len + n > ANSWER_MAX;
        return e->too_long || buf_append(&e->answer, p, n) < 0 ? 0 : n;
}

static int make_handle(Etcd *e, const char *path, Error *reterr) {
        const Curl *c = e->curl;
        int r;

        if (e->handle)
                return 0;
        r = etcd_prepare(e, path, "", &e->handle, reterr);
        if (r == 0 && (c->curl_easy_setopt(e->handle, CURLOPT_ERRORBUFFER, e->why) != CURLE_OK ||
                       c->curl_easy_setopt(e->handle, CURLOPT_WRITEFUNCTION, on_data) != CURLE_OK ||
                       c->curl_easy_setopt(e->handle, CURLOPT_WRITEDATA, e) != CURLE_OK))
                r = error_oom(reterr);
        return r;
}

/* -- the answer -- */

/* gRPC's codes, as the gateway passes them on. */
static int code_of(int64_t theirs, const char *text) {
        static const struct {
                int theirs, ours;
        } codes[] = {
                { 1, -EAGAIN }, { 4, -EAGAIN },  { 10, -EAGAIN }, { 14, -EAGAIN }, { 5, -ENOENT },
                { 7, -EACCES }, { 16, -EACCES }, { 8, -ENOSPC },  { 3, -EINVAL },
        };

        if (theirs == 11) /* out of range */
                return strstr(text, "compacted") ? -ESTALE : -EIO;
        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (codes[i].theirs == theirs)
                        return codes[i].ours;
        return -EIO;
}

static int refused(const Etcd *e, long status, json_object *answer, Error *reterr) {
        char text[200];
        int r = answer && json_get(answer, "code")
                        ? code_of(json_get_number(answer, "code"), json_get_text(answer, "error"))
                : status >= 500 ? -EAGAIN /* a proxy, or an etcd that ends */
                                : -EBADMSG;

        (void)snprintf(text, sizeof(text), "%s", json_get_text(answer, "error"));
        text_clean(text);
        return error_setf(reterr, r, "etcd %s: HTTP %ld%s%s", etcd_endpoint(e), status,
                          *text ? ": " : ", and no reason that etcd would give", text);
}

static int take_answer(Etcd *e, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = NULL;
        Error why = ERROR_INIT;
        long status = 0;
        int r;

        (void)e->curl->curl_easy_getinfo(e->handle, CURLINFO_RESPONSE_CODE, &status);
        r = json_read((const char *)e->answer.data, e->answer.len, &o, &why);
        if (r == -ENOMEM)
                return error_oom(reterr);
        if (r == 0 && !json_object_is_type(o, json_type_object))
                r = error_setf(&why, -EBADMSG, "no object");
        if (status != 200)
                return refused(e, status, r == 0 ? o : NULL, reterr);
        if (r < 0)
                return error_setf(reterr, -EBADMSG, "etcd %s: its answer makes no sense: %s",
                                  etcd_endpoint(e), error_text(&why, r));
        *ret = TAKE(o);
        return 0;
}

static int failed(const Etcd *e, CURLcode c, Error *reterr) {
        char text[CURL_ERROR_SIZE];
        int r = -EAGAIN;

        (void)snprintf(text, sizeof(text), "%s",
                       e->why[0] ? e->why : e->curl->curl_easy_strerror(c));
        text_clean(text);
        if (c == CURLE_WRITE_ERROR && e->too_long)
                return error_setf(reterr, -EBADMSG, "etcd %s: its answer is larger than %u bytes",
                                  etcd_endpoint(e), ANSWER_MAX);
        if (c == CURLE_OUT_OF_MEMORY || c == CURLE_WRITE_ERROR)
                return error_oom(reterr);
        if (c == CURLE_PEER_FAILED_VERIFICATION || c == CURLE_SSL_CERTPROBLEM ||
            c == CURLE_SSL_CACERT_BADFILE)
                r = -EACCES;
        else if (c == CURLE_WEIRD_SERVER_REPLY || c == CURLE_UNSUPPORTED_PROTOCOL)
                r = -EBADMSG;
        return error_setf(reterr, r, "etcd %s: %.300s", etcd_endpoint(e), text);
}

static int call_once(Etcd *e, const char *path, const char *body, uint64_t left_ms,
                     json_object **ret, Error *reterr) {
        const Curl *c = e->curl;
        CURLcode r;

        e->answer.len = 0;
        e->too_long = false;
        e->why[0] = '\0';
        if ((r = set_url(e, e->handle, path)) != CURLE_OK ||
            (r = c->curl_easy_setopt(e->handle, CURLOPT_POSTFIELDSIZE, (long)strlen(body))) !=
                    CURLE_OK ||
            (r = c->curl_easy_setopt(e->handle, CURLOPT_POSTFIELDS, body)) != CURLE_OK ||
            (r = c->curl_easy_setopt(e->handle, CURLOPT_TIMEOUT_MS, (long)left_ms)) != CURLE_OK)
                return failed(e, r, reterr);
        r = c->curl_easy_perform(e->handle);
        return r == CURLE_OK ? take_answer(e, ret, reterr) : failed(e, r, reterr);
}

/* Every endpoint has its turn, beginning with the one that answered last. */
int etcd_call(Etcd *e, const char *path, json_object *request, json_object **ret, Error *reterr) {
        uint64_t end = clock_ms() + CALL_MS, now;
        _cleanup_json_ json_object *o = request;
        const char *body = o ? json_object_to_json_string_ext(
                                       o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                             : NULL;
        int r;

        if (!body)
                return error_oom(reterr);
        r = make_handle(e, path, reterr);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < e->config->n_endpoints && (now = clock_ms()) < end; i++) {
                r = call_once(e, path, body, end - now, ret, reterr);
                if (r != -EAGAIN)
                        return r;
                e->at = (e->at + 1) % e->config->n_endpoints;
        }
        return r;
}
