/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/bus.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "controllers/ids.h"
#include "lib/clock.h"
#include "shim/api-error.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"

void bus_flush_closep(sd_bus **bus) {
        *bus = sd_bus_flush_close_unref(*bus);
}

int pod_connect_socket(const char *run_dir, const char *pod, int *ret_fd, Error *reterr) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        int n, r;

        r = id_check("pod name", pod, reterr);
        if (r < 0)
                return r;
        n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/bus.sock", run_dir, pod);
        if (n < 0 || (size_t)n >= sizeof(address.sun_path))
                return error_setf(reterr, -ENAMETOOLONG, "%s/%s: the path is too long for a socket",
                                  run_dir, pod);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_setf(reterr, -errno, "socket: %m");
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
                address.sun_path[n - (int)strlen("/bus.sock")] = '\0';
                if (errno == ENOENT && access(address.sun_path, F_OK) < 0)
                        return error_setf(reterr, -ENOENT,
                                          "no such pod runs on this host; podferry ps shows all "
                                          "that are here, stopped ones too");
                if (errno == ENOENT || errno == ECONNREFUSED)
                        return error_setf(reterr, -ECONNREFUSED,
                                          "its shim does not run; podferry adopt %s takes it up "
                                          "again, podferry rm --force %s removes it",
                                          pod, pod);
                return error_setf(reterr, -errno, "%s: %m", address.sun_path);
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int start_bus(int in_fd, int out_fd, bool with_fds, sd_bus **ret) {
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r < 0) {
                (void)close_fd(in_fd);
                if (out_fd != in_fd)
                        (void)close_fd(out_fd);
                return r;
        }
        r = sd_bus_set_fd(bus, in_fd, out_fd);
        if (r >= 0)
                r = sd_bus_set_trusted(bus, 1);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, with_fds);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE(bus);
        return 0;
}

int pod_connect(const char *run_dir, const char *pod, sd_bus **ret, Error *reterr) {
        int fd, r;

        r = pod_connect_socket(run_dir, pod, &fd, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s", pod);
        r = start_bus(fd, fd, true, ret);
        return r < 0 ? error_setf(reterr, r, "%s: cannot speak to its shim: %s", pod,
                                  strerrordesc_np(-r))
                     : 0;
}

int pod_connect_fds(int in_fd, int out_fd, sd_bus **ret, Error *reterr) {
        int r = start_bus(in_fd, out_fd, false, ret);

        return r < 0 ? error_setf(reterr, r, "cannot speak to the other shim: %s",
                                  strerrordesc_np(-r))
                     : 0;
}

bool pod_has_gone(int r) {
        return r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE;
}

int pod_error(const sd_bus_error *e, int r, Error *reterr) {
        int code;

        if (!e || !sd_bus_error_is_set(e)) {
                if (pod_has_gone(r))
                        return error_setf(reterr, r, "the shim has gone away");
                return error_setf(reterr, r, "%s", strerrordesc_np(-r));
        }
        if (strncmp(e->name, API_ERROR_PREFIX, strlen(API_ERROR_PREFIX)) == 0)
                code = api_error_code(e->name);
        else
                code = -sd_bus_error_get_errno(e);
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) || code == -ETIMEDOUT)
                return error_setf(reterr, -ETIMEDOUT, "%s",
                                  e->message && *e->message ? e->message
                                                            : "the shim does not answer in time");
        if (code >= 0)
                code = -EIO;
        return error_setf(reterr, code, "%s",
                          e->message && *e->message ? e->message : strerrordesc_np(-code));
}

int pod_send(sd_bus *bus, sd_bus_message *m, uint64_t deadline, sd_bus_message **ret,
             Error *reterr) {
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_call(bus, m, deadline, &e, &reply);
        if (r < 0)
                return pod_error(&e, r, reterr);
        if (ret)
                *ret = TAKE(reply);
        return 0;
}

int pod_call(sd_bus *bus, uint64_t deadline, sd_bus_message **ret, Error *reterr, const char *path,
             const char *interface, const char *member, const char *types, ...) {
        _cleanup_message_ sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NULL, path, interface, member);
        if (r >= 0 && *types) {
                va_start(ap, types);
                r = sd_bus_message_appendv(m, types, ap);
                va_end(ap);
        }
        if (r < 0)
                return error_setf(reterr, r, "%s: %s", member, strerrordesc_np(-r));
        return pod_send(bus, m, deadline, ret, reterr);
}

int pod_get_string(sd_bus *bus, const char *path, const char *interface, const char *property,
                   char **ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *s;
        int r;

        r = pod_call(bus, CALL_DEADLINE, &reply, reterr, path, "org.freedesktop.DBus.Properties",
                     "Get", "ss", interface, property);
        if (r < 0)
                return r;
        if (sd_bus_message_enter_container(reply, 'v', "s") < 0 ||
            sd_bus_message_read(reply, "s", &s) < 0)
                return error_setf(reterr, -EBADMSG, "property %s is no string", property);
        *ret = strdup(s);
        return *ret ? 0 : error_oom(reterr);
}

static int dump(sd_bus *bus, uint64_t deadline, json_object **ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *text;
        int r;

        r = pod_call(bus, deadline, &reply, reterr, BUS_ROOT, BUS_INTERFACE, "Dump", "");
        if (r < 0)
                return r;
        if (sd_bus_message_read(reply, "s", &text) < 0)
                return error_setf(reterr, -EBADMSG, "Dump returned no text");
        return json_read(text, strlen(text), ret, reterr);
}

int pod_dump(sd_bus *bus, json_object **ret, Error *reterr) {
        return dump(bus, CALL_DEADLINE, ret, reterr);
}

/* The pod's containers, by the property Containers. */
static int list_containers(sd_bus *bus, char ***ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = pod_call(bus, CALL_DEADLINE, &reply, reterr, BUS_POD, "org.freedesktop.DBus.Properties",
                     "Get", "ss", BUS_INTERFACE ".Pod", "Containers");
        if (r < 0)
                return r;
        if (sd_bus_message_enter_container(reply, 'v', "as") < 0 ||
            sd_bus_message_read_strv(reply, ret) < 0)
                return error_setf(reterr, -EBADMSG, "property Containers is no list");
        return 0;
}

static int choose_container(char **ids, const char *pod, const char *container, const char **ret,
                            Error *reterr) {
        _cleanup_buf_ Buf names = {};
        size_t n = words_count(ids);

        for (size_t i = 0; container && i < n; i++)
                if (strcmp(ids[i], container) == 0) {
                        *ret = ids[i];
                        return 0;
                }
        if (!container && n == 1) {
                *ret = ids[0];
                return 0;
        }
        for (size_t i = 0; i < n; i++)
                if (buf_printf(&names, "%s%s", i > 0 ? ", " : "", ids[i]) < 0)
                        return error_oom(reterr);
        if (n == 0)
                return error_setf(reterr, -ENOENT, "%s: there is no container in it", pod);
        if (container)
                return error_setf(reterr, -ENOENT, "%s: no container %s in it; there is: %s", pod,
                                  container, (const char *)names.data);
        return error_setf(reterr, -EINVAL,
                          "%s: it has several containers; say %s/NAME, NAME is one "
                          "of: %s",
                          pod, pod, (const char *)names.data);
}

int pod_find_container(sd_bus *bus, const char *pod, const char *container, char **ret_path,
                       char **ret_id, Error *reterr) {
        _cleanup_(words_freep) char **ids = NULL;
        _cleanup_free_ char *path = NULL, *id = NULL;
        const char *chosen = NULL;
        int r;

        r = list_containers(bus, &ids, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s", pod);
        r = choose_container(ids, pod, container, &chosen, reterr);
        if (r < 0)
                return r;
        path = bus_container_path(chosen);
        id = strdup(chosen);
        if (!path || !id)
                return error_oom(reterr);
        *ret_path = TAKE(path);
        if (ret_id)
                *ret_id = TAKE(id);
        return 0;
}

int pod_dump_of(const char *run_dir, const char *pod, json_object **ret, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = pod_connect(run_dir, pod, &bus, reterr);
        if (r < 0)
                return r;
        r = pod_dump(bus, ret, reterr);
        return r < 0 ? error_prefix(reterr, r, "%s", pod) : 0;
}

static uint64_t remaining(uint64_t end) {
        uint64_t now = clock_us();

        return now < end ? end - now : 1; /* 0 would be the default */
}

/* A call's own deadline counts only from when the two ends know each other. */
static int wait_ready(sd_bus *bus, uint64_t end, Error *reterr) {
        for (;;) {
                int r = sd_bus_is_ready(bus);

                if (r > 0)
                        return 0;
                if (r == 0)
                        r = sd_bus_process(bus, NULL);
                if (r == 0 && clock_us() >= end)
                        return error_setf(reterr, -ETIMEDOUT, "the shim does not answer in time");
                if (r == 0)
                        r = sd_bus_wait(bus, remaining(end));
                if (r < 0)
                        return pod_error(NULL, r, reterr);
        }
}

int pod_dump_within(const char *run_dir, const char *pod, uint64_t usec, json_object **ret,
                    Error *reterr) {
        /* not flushed: that would wait, too */
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        uint64_t end = clock_us() + usec;
        int r;

        r = pod_connect(run_dir, pod, &bus, reterr);
        if (r == 0)
                r = wait_ready(bus, end, reterr);
        return r < 0 ? r : dump(bus, remaining(end), ret, reterr);
}
