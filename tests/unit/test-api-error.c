/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "shim/api-error.h"

static const struct {
        int code;
        const char *name;
} rows[] = {
        { -EINVAL, "InvalidArgument" },
        { -ENOENT, "NotFound" },
        { -EEXIST, "AlreadyExists" },
        { -EBADFD, "FailedPrecondition" },
        { -EPROTONOSUPPORT, "FailedPrecondition" },
        { -EBUSY, "Unavailable" },
        { -ENOSPC, "ResourceExhausted" },
        { -EOPNOTSUPP, "Unimplemented" },
        { -ETIMEDOUT, "DeadlineExceeded" },
        { -ECANCELED, "Canceled" },
        { -EBADMSG, "DataLoss" },
        { -EIO, "Internal" },
        { -ENOMEM, "Internal" },
        { -12345, "Internal" },
};

static void test_names(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const char *name = api_error_name(rows[i].code);

                assert_memory_equal(name, API_ERROR_PREFIX, strlen(API_ERROR_PREFIX));
                assert_string_equal(name + strlen(API_ERROR_PREFIX), rows[i].name);
                assert_string_equal(api_error_name(api_error_code(name)),
                                    name); /* there and back */
        }
        assert_int_equal(api_error_code("org.podferry.Error.NotFound"), -ENOENT);
        assert_int_equal(api_error_code("org.podferry.Error.FailedPrecondition"), -EBADFD);
        assert_int_equal(api_error_code("org.freedesktop.DBus.Error.Failed"), -EIO);
        assert_int_equal(api_error_code(NULL), -EIO);
}

static void test_texts(void **state) {
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
        Error err = ERROR_INIT;

        assert_int_equal(error_setf(&err, -ENOENT, "no such boat"), -ENOENT);
        assert_int_equal(api_error_set(&e, -ENOENT, &err), -ENOENT);
        assert_string_equal(e.name, "org.podferry.Error.NotFound");
        assert_string_equal(e.message, "no such boat");
        sd_bus_error_free(&e);
        assert_int_equal(api_error_set(&e, -EBUSY, NULL), -EBUSY);
        assert_true(strlen(e.message) > 0);
        sd_bus_error_free(&e);
        assert_int_equal(api_error_setf(&e, -EINVAL, "%d legs", 3), -EINVAL);
        assert_string_equal(e.message, "3 legs");
        assert_int_equal(api_error_set(NULL, -EIO, NULL), -EIO);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_texts),
        };

        return cmocka_run_group_tests_name("api-error", tests, NULL, NULL);
}
