/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F76 F10 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/network/network.h"
#include "tests/fakes/fake-network.h"

/* Published ports: what can be said, what cannot, and how they travel. */
typedef struct Row {
        const char *text, *expect; /* as it reads again; or "!" and a part of the refusal */
} Row;

static const Row rows[] = {
        { "8080:80", "0.0.0.0:8080:80/tcp" },
        { "1:65535/tcp", "0.0.0.0:1:65535/tcp" },
        { "53:53/udp", "0.0.0.0:53:53/udp" },
        { "127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp" },
        { "0.0.0.0:08080:80/udp", "0.0.0.0:8080:80/udp" },
        { "", "!the port of the pod is missing" },
        { "80", "!the port of the pod is missing" },
        { "80:", "!a port of the pod is" },
        { ":80", "!a port of the host is" },
        { "0:80", "!a port of the host is" },
        { "80:0", "!a port of the pod is" },
        { "65536:80", "!a port of the host is" },
        { "80:99999", "!a port of the pod is" },
        { "80:000080", "!a port of the pod is" },
        { "+8:80", "!a port of the host is" },
        { "8 0:80", "!a port of the host is" },
        { " 80:80", "!a port of the host is" },
        { "80:80 ", "!a port of the pod is" },
        { "80:80/sctp", "!udp or tcp" },
        { "80:80/", "!udp or tcp" },
        { "80:80/udp/tcp", "!udp or tcp" },
        { "8000-8010:80", "!a range" },
        { "80:80-90", "!a range" },
        { "::1:80:80", "!IPv4 addresses only" },
        { "[::1]:80:80", "!IPv4 addresses only" },
        { "host:80:80", "!no IPv4 address" },
        { "1.2.3:80:80", "!no IPv4 address" },
        { "1.2.3.4.5.6.7.8.9:80:80", "!no IPv4 address" },
        { "1.2.3.4,hostfwd=x:80:80", "!no IPv4 address" },
        { "1.2.3.4:1:80:80", "!no IPv4 address" },
};

static void test_row(void **state) {
        const Row *row = *state;
        char text[NETWORK_PORT_TEXT];
        NetworkPort p = { .host = 7 };
        Error e = ERROR_INIT;
        int r = network_port_parse(row->text, &p, &e);

        if (row->expect[0] == '!') {
                assert_int_equal(r, -EINVAL);
                assert_non_null(strstr(e.text, row->expect + 1));
                assert_int_equal(p.host, 7);
        } else {
                assert_int_equal(r, 0);
                assert_string_equal(network_port_text(&p, text), row->expect);
        }
}

static int check_two(const char *a, const char *b) {
        NetworkPort p[2];

        assert_int_equal(network_port_parse(a, &p[0], NULL), 0);
        assert_int_equal(network_port_parse(b, &p[1], NULL), 0);
        return network_ports_check(p, 2, NULL);
}

static void test_together(void **state) {
        static NetworkPort many[NETWORK_PORTS_MAX + 1];

        assert_int_equal(check_two("80:80", "81:80"), 0);
        assert_int_equal(check_two("80:80", "80:80/udp"), 0);
        assert_int_equal(check_two("10.0.0.1:80:80", "10.0.0.2:80:80"), 0);
        assert_int_equal(check_two("80:80", "80:81"), -EEXIST);
        assert_int_equal(check_two("80:80", "10.0.0.1:80:81"), -EEXIST);
        assert_int_equal(check_two("10.0.0.1:80:80", "0.0.0.0:80:81"), -EEXIST);
        for (size_t i = 0; i < ELEMENTSOF(many); i++)
                many[i] = (NetworkPort){ .host = (uint16_t)(i + 1), .pod = 1 };
        assert_int_equal(network_ports_check(many, NETWORK_PORTS_MAX, NULL), 0);
        assert_int_equal(network_ports_check(many, ELEMENTSOF(many), NULL), -ENOSPC);
        many[3].pod = 0;
        assert_int_equal(network_ports_check(many, 5, NULL), -EINVAL);
}

/* With a network of kind user only; and they are the same ones at the destination. */
static void test_travel(void **state) {
        NetworkPort ports[] = { { .address = { 127, 0, 0, 1 }, .host = 8080, .pod = 80 },
                                { .host = 53, .pod = 5353, .udp = true } };
        NetFacts *facts = fake_network_facts(1, 5);
        _cleanup_(network_freep) Network *n = NULL;
        _cleanup_buf_ Buf saved = {};
        const NetworkPort *there;
        Error e = ERROR_INIT;
        size_t count;

        assert_int_equal(network_new(NULL, &n, NULL), 0);
        assert_int_equal(network_plan(n, NETWORK_NAMESPACE, "/n", facts, NULL), 0);
        assert_int_equal(network_publish(n, ports, 2, &e), -EINVAL);
        assert_non_null(strstr(e.text, "with the network \"user\" only"));
        (void)network_ports(n, &count);
        assert_int_equal(count, 0);
        assert_int_equal(network_plan(n, NETWORK_USER, "", facts, NULL), 0);
        assert_int_equal(network_publish(n, ports, 2, &e), 0);
        assert_int_equal(controller_freeze(network_controller(n), NULL), 0);
        assert_int_equal(network_publish(n, ports, 1, NULL), -EBADFD);
        assert_int_equal(network_save(n, &saved, NULL), 0);
        n = network_free(n);
        assert_int_equal(network_import(NULL, saved.data, saved.len, &n, NULL), 0);
        there = network_ports(n, &count);
        assert_int_equal(count, 2);
        assert_memory_equal(there, ports, sizeof(ports));
        (void)net_facts_free(facts);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 2] = { cmocka_unit_test(test_together),
                                                          cmocka_unit_test(test_travel) };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[i + 2] = (struct CMUnitTest){ .name = rows[i].text[0] ? rows[i].text : "none",
                                                    .test_func = test_row,
                                                    .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests_name("network-ports", tests, NULL, NULL);
}
