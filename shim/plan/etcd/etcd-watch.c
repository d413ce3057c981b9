/* SPDX-License-Identifier: Apache-2.0 */
/* One stream of news in an event loop. It never asks for what was: when it begins, and each time it
 * begins anew, it says that anything may have happened, and who listens looks. So no revision is
 * kept, and none can be compacted away from under it. */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd.h"

#define LINE_MAX_SIZE (4U << 20)
#define SOCKETS_MAX   8U
#define ANEW_MS       500U
#define ANEW_MAX_MS   10000U

typedef struct Socket {
        int fd;
        sd_event_source *source; /* NULL: free */
} Socket;

struct EtcdWatch {
        Etcd *etcd;
        const Curl *curl;
        sd_event *event;
        char *body;
        EtcdNews news;
        void *userdata;
        CURLM *multi;
        CURL *handle; /* NULL: it waits until it begins anew */
        Socket sockets[SOCKETS_MAX];
        sd_event_source *timer, *anew;
        Buf line;
        unsigned created, tries;
};

/* -- what it says -- */

static int take_events(EtcdWatch *w, json_object *events) {
        json_object *event;

        for (JSON_EACH(i, events, event)) {
                _cleanup_buf_ Buf key = {};

                if (etcd_key_of(json_get(event, "kv"), &key) < 0)
                        return -EBADMSG;
                w->news(w->userdata, (const char *)key.data);
        }
        return 0;
}

static int take_line(EtcdWatch *w, const char *text, size_t n) {
        _cleanup_json_ json_object *o = NULL;
        json_object *result;

        if (json_read(text, n, &o, NULL) < 0)
                return -EBADMSG;
        result = json_get(o, "result");
        if (!result || json_object_get_boolean(json_get(result, "canceled")))
                return -EBADMSG; /* an error, or it was cancelled: anew */
        if (json_object_get_boolean(json_get(result, "created")) && ++w->created == 2) {
                w->tries = 0;
                w->news(w->userdata, NULL);
        }
        return take_events(w, json_get_array(result, "events"));
}

/* Anything but its length ends the stream, which then begins anew. */
static size_t on_data(char *p, size_t size, size_t n, void *userdata) {
        EtcdWatch *w = userdata;
        const char *end;

        n *= size;
        if (w->line.len + n > LINE_MAX_SIZE || buf_append(&w->line, p, n) < 0)
                return 0;
        while ((end = memchr(w->line.data, '\n', w->line.len))) {
                size_t k = (size_t)(end - (const char *)w->line.data);

                if (k > 0 && take_line(w, (const char *)w->line.data, k) < 0)
                        return 0;
                buf_consume(&w->line, k + 1);
        }
        return n;
}

/* -- beginning, and anew -- */

static void let_go(EtcdWatch *w) {
        if (!w->handle)
                return;
        (void)w->curl->curl_multi_remove_handle(w->multi, w->handle);
        w->curl->curl_easy_cleanup(w->handle);
        w->handle = NULL;
}

static void later(EtcdWatch *w) {
        uint64_t ms = ANEW_MS;

        let_go(w);
        for (unsigned i = 0; i < w->tries && ms < ANEW_MAX_MS; i++)
                ms *= 2;
        w->tries++;
        if (sd_event_source_set_time(w->anew, clock_us() + MIN_OF(ms, ANEW_MAX_MS) * 1000U) < 0 ||
            sd_event_source_set_enabled(w->anew, SD_EVENT_ONESHOT) < 0)
                (void)sd_event_exit(w->event, -EIO);
}

static int begin(EtcdWatch *w, Error *reterr) {
        int r = etcd_prepare(w->etcd, "watch", w->body, &w->handle, reterr);

        if (r < 0)
                return r;
        w->line.len = 0;
        w->created = 0;
        if (w->curl->curl_easy_setopt(w->handle, CURLOPT_WRITEFUNCTION, on_data) != CURLE_OK ||
            w->curl->curl_easy_setopt(w->handle, CURLOPT_WRITEDATA, w) != CURLE_OK ||
            w->curl->curl_easy_setopt(w->handle, CURLOPT_FAILONERROR, 1L) != CURLE_OK ||
            w->curl->curl_multi_add_handle(w->multi, w->handle) != CURLM_OK) {
                w->curl->curl_easy_cleanup(w->handle);
                w->handle = NULL;
                return error_oom(reterr);
        }
        return 0;
}

/* A stream has no end but a failure. */
static void look_for_end(EtcdWatch *w) {
        int left;

        for (CURLMsg *m; (m = w->curl->curl_multi_info_read(w->multi, &left));)
                if (m->msg == CURLMSG_DONE && m->easy_handle == w->handle) {
                        later(w);
                        return;
                }
}

static int on_anew(sd_event_source *s, uint64_t usec, void *userdata) {
        EtcdWatch *w = userdata;

        (void)s, (void)usec;
        if (begin(w, NULL) < 0)
                later(w);
        return 0;
}

/* -- libcurl in the loop -- */

static void act(EtcdWatch *w, curl_socket_t fd, int events) {
        int running;

        if (w->curl->curl_multi_socket_action(w->multi, fd, events, &running) != CURLM_OK)
                later(w);
        else
                look_for_end(w);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        (void)s;
        act(userdata, fd,
            (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                    (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
        return 0;
}

static Socket *find_socket(EtcdWatch *w, int fd) {
        Socket *vacant = NULL;

        for (size_t i = 0; i < SOCKETS_MAX; i++) {
                if (w->sockets[i].source && w->sockets[i].fd == fd)
                        return &w->sockets[i];
                if (!w->sockets[i].source && !vacant)
                        vacant = &w->sockets[i];
        }
        return vacant;
}

static int on_socket(CURL *h, curl_socket_t fd, int what, void *userdata, void *own) {
        uint32_t events =
                (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);
        EtcdWatch *w = userdata;
        Socket *s = find_socket(w, fd);

        (void)h, (void)own;
        if (!s)
                return -1;
        if (what == CURL_POLL_REMOVE) {
                s->source = sd_event_source_disable_unref(s->source);
                return 0;
        }
        s->fd = fd;
        if (s->source)
                return sd_event_source_set_io_events(s->source, events) < 0 ? -1 : 0;
        return sd_event_add_io(w->event, &s->source, fd, events, on_io, w) < 0 ? -1 : 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        (void)s, (void)usec;
        act(userdata, CURL_SOCKET_TIMEOUT, 0);
        return 0;
}

static int on_timeout(CURLM *m, long ms, void *userdata) {
        EtcdWatch *w = userdata;

        (void)m;
        if (ms < 0)
                return sd_event_source_set_enabled(w->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        return sd_event_source_set_time(w->timer, clock_us() + (uint64_t)ms * 1000U) < 0 ||
                               sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT) < 0
                       ? -1
                       : 0;
}

/* -- its life -- */

EtcdWatch *etcd_watch_free(EtcdWatch *w) {
        if (!w)
                return NULL;
        let_go(w);
        if (w->multi)
                (void)w->curl->curl_multi_cleanup(w->multi);
        for (size_t i = 0; i < SOCKETS_MAX; i++)
                (void)sd_event_source_disable_unref(w->sockets[i].source);
        (void)sd_event_source_disable_unref(w->timer);
        (void)sd_event_source_disable_unref(w->anew);
        buf_done(&w->line);
        free(w->body);
        free(w);
        return NULL;
}
DEFINE_CLEANUP(EtcdWatch *, etcd_watch_free);

/* Both in one stream: the gateway takes several requests one after the other. */
static char *make_body(const char *gone, const char *put) {
        _cleanup_json_ json_object *a = etcd_watch_request(gone, "NOPUT");
        _cleanup_json_ json_object *b = etcd_watch_request(put, "NODELETE");
        const char *x = a ? json_object_to_json_string(a) : NULL;
        const char *y = b ? json_object_to_json_string(b) : NULL;
        char *body = NULL;

        if (!x || !y || asprintf(&body, "%s%s", x, y) < 0)
                return NULL;
        return body;
}

static int set_up(EtcdWatch *w) {
        const Curl *c = w->curl;
        int r;

        if ((r = sd_event_add_time(w->event, &w->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer,
                                   w)) < 0 ||
            (r = sd_event_add_time(w->event, &w->anew, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_anew,
                                   w)) < 0 ||
            (r = sd_event_source_set_enabled(w->timer, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_source_set_enabled(w->anew, SD_EVENT_OFF)) < 0)
                return r;
        w->multi = c->curl_multi_init();
        if (!w->multi ||
            c->curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
            c->curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w) != CURLM_OK ||
            c->curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, on_timeout) != CURLM_OK ||
            c->curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w) != CURLM_OK)
                return -ENOMEM;
        return 0;
}

int etcd_watch_new(Etcd *e, sd_event *event, const char *gone, const char *put, EtcdNews news,
                   void *userdata, EtcdWatch **ret, Error *reterr) {
        _cleanup_(etcd_watch_freep) EtcdWatch *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return error_oom(reterr);
        w->etcd = e;
        w->curl = etcd_curl(e);
        w->event = event;
        w->news = news;
        w->userdata = userdata;
        w->body = make_body(gone, put);
        if (!w->body)
                return error_oom(reterr);
        r = set_up(w);
        if (r < 0)
                return error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
        r = begin(w, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(w);
        return 0;
}
