/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F16: how much of a mapping holds anything and is written to, looked at from outside: of
 * this very process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "hostdev/qemu-memory.h"
#include "lib/cleanup.h"

#define PAGE 4096U
#define SIZE (37U << 20) /* like no other mapping here */

static void *apart; /* its neighbours are not accessible, so that no other mapping joins it */

static int make(void **state) {
        apart = mmap(NULL, SIZE + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (apart == MAP_FAILED)
                return -1;
        *state = (uint8_t *)apart + PAGE;
        return mprotect(*state, SIZE, PROT_READ | PROT_WRITE);
}

static int drop(void **state) {
        return munmap(apart, SIZE + 2 * PAGE);
}

static QemuMemory *look(uint64_t size) {
        QemuMemory *m = NULL;
        Error e = ERROR_INIT;

        if (qemu_memory_new(getpid(), size, &m, &e) < 0)
                fail_msg("%s", e.text);
        return m;
}

/* In 1/64 of the mapping. */
static unsigned share(uint64_t bytes) {
        return (unsigned)((bytes * 64 + SIZE / 2) / SIZE);
}

static unsigned used(void) {
        _cleanup_(qemu_memory_freep) QemuMemory *m = look(SIZE);

        return share(qemu_memory_used(m));
}

static void test_used(void **state) {
        uint8_t *p = *state;

        assert_int_equal(used(), 0);
        memset(p, 0, SIZE / 2); /* touched, and zero */
        assert_int_equal(used(), 0);
        for (size_t i = 0; i < SIZE / 4; i += PAGE)
                p[i + PAGE - 1] = 1;
        assert_in_range(used(), 15, 17);
        memset(p, 1, SIZE);
        assert_int_equal(used(), 64);
}

static void test_written(void **state) {
        _cleanup_(qemu_memory_freep) QemuMemory *m = NULL;
        uint8_t *p = *state;

        memset(p, 1, SIZE / 2);
        m = look(SIZE);
        assert_in_range(qemu_memory_grain(m), SIZE / 4096, SIZE / 4096 + PAGE);
        assert_int_equal(qemu_memory_written(m), 0);
        for (size_t i = 0; i < SIZE / 4; i += PAGE)
                p[i + 7]++;
        assert_in_range(share(qemu_memory_written(m)), 15, 17);
        for (size_t i = 0; i < SIZE / 4; i += PAGE)
                p[i + 7]--; /* it was written to all the same */
        assert_in_range(share(qemu_memory_written(m)), 15, 17);
        for (size_t i = SIZE / 2; i < SIZE; i += PAGE)
                p[i] = 1; /* pages that were not there before */
        assert_in_range(share(qemu_memory_written(m)), 46, 50);
        assert_in_range(share(qemu_memory_used(m)), 31, 33);
}

/* A look makes no page: neither of those that were never touched, nor twice. */
static void test_harmless(void **state) {
        static unsigned char there[SIZE / PAGE];
        _cleanup_(qemu_memory_freep) QemuMemory *m = look(SIZE);
        size_t n = 0;

        assert_int_equal(qemu_memory_written(m), 0);
        assert_int_equal(mincore(*state, SIZE, there), 0);
        for (size_t i = 0; i < ELEMENTSOF(there); i++)
                n += there[i] & 1U;
        assert_int_equal(n, 0);
}

/* QEMU's memory may be a little larger than the guest's; never more than that is used. */
static void test_slack(void **state) {
        _cleanup_(qemu_memory_freep) QemuMemory *m = NULL;

        memset(*state, 1, SIZE);
        m = look(SIZE - 2 * PAGE);
        assert_int_equal(qemu_memory_used(m), SIZE - 2 * PAGE);
}

static void test_none(void **state) {
        QemuMemory *m = NULL;
        Error e = ERROR_INIT;

        assert_int_equal(qemu_memory_new(getpid(), SIZE + PAGE, &m, &e), -ENOENT);
        assert_non_null(strstr(e.text, "no mapping"));
        assert_int_equal(qemu_memory_new(0x7fffffff, SIZE, &m, &e), -ENOENT);
        assert_null(m);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_used, make, drop),
                cmocka_unit_test_setup_teardown(test_written, make, drop),
                cmocka_unit_test_setup_teardown(test_harmless, make, drop),
                cmocka_unit_test_setup_teardown(test_slack, make, drop),
                cmocka_unit_test_setup_teardown(test_none, make, drop),
        };

        return cmocka_run_group_tests_name("qemu-memory", tests, NULL, NULL);
}
