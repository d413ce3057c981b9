/* SPDX-License-Identifier: Apache-2.0 */
/* The fence on processes that are made to look like a QEMU: spinning, sleeping, many threads. The
 * witness is a shared counter that every thread of the victim raises as long as it runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "hostdev/fence.h"

#define UUID      "11111111-2222-4333-8444-555555555555"
#define N_THREADS 24

static bool done_called;
static int done_result;
static unsigned n_exited;

static void *spin(void *counter) {
        for (;;)
                (*(volatile uint64_t *)counter)++;
        return NULL;
}

static void *nap(void *unused) {
        for (;;)
                (void)pause();
        return NULL;
}

/* The victim: argv is as QEMU's. Its counter page is fd 3. */
static int victim(int n_spin, int n_nap) {
        uint64_t *counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
        pthread_t t;

        if (counters == MAP_FAILED)
                return 1;
        for (int i = 1; i < n_spin; i++)
                if (pthread_create(&t, NULL, spin, &counters[i]) != 0 ||
                    pthread_setname_np(t, "CPU 0/TCG") != 0)
                        return 1;
        for (int i = 0; i < n_nap; i++)
                if (pthread_create(&t, NULL, nap, NULL) != 0 ||
                    pthread_setname_np(t, "CPU 1/KVM") != 0)
                        return 1;
        counters[511] = 1; /* all is up */
        if (n_spin > 0)
                spin(&counters[0]);
        nap(NULL);
        return 0;
}

typedef struct Rig {
        sd_event *loop;
        pid_t pid;
        int fd;
        volatile uint64_t *counters;
} Rig;

/* How many threads of the victim sleep. */
static int count_asleep(pid_t pid) {
        char path[64], line[128];
        struct dirent *de;
        int n = 0;
        DIR *tasks;

        (void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
        tasks = opendir(path);
        assert_non_null(tasks);
        while ((de = readdir(tasks))) {
                FILE *f;

                (void)snprintf(path, sizeof(path), "/proc/%d/task/%.20s/stat", pid, de->d_name);
                f = fopen(path, "re");
                if (!f)
                        continue; /* . and .. */
                if (fgets(line, sizeof(line), f))
                        n += strstr(line, ") S ") != NULL;
                (void)fclose(f);
        }
        (void)closedir(tasks);
        return n;
}

/* A thread that is only on its way to its nap has not stood still: all are asleep on return. */
static void rig_up(Rig *rig, const char *n_spin, const char *n_nap) {
        *rig = (Rig){ .fd = memfd_create("counters", 0) };
        assert_true(rig->fd >= 0);
        assert_int_equal(ftruncate(rig->fd, 4096), 0);
        rig->counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, rig->fd, 0);
        assert_ptr_not_equal((void *)(uintptr_t)rig->counters, MAP_FAILED);
        assert_int_equal(sd_event_new(&rig->loop), 0);
        rig->pid = fork();
        assert_true(rig->pid >= 0);
        if (rig->pid == 0) {
                (void)dup2(rig->fd, 3);
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves no spinner */
                (void)execl("/proc/self/exe", "victim", "victim", n_spin, n_nap, "-uuid", UUID,
                            NULL);
                _exit(1);
        }
        while (rig->counters[511] == 0 || count_asleep(rig->pid) < atoi(n_nap))
                assert_int_equal(waitpid(rig->pid, NULL, WNOHANG), 0);
        done_called = false;
        n_exited = 0;
}

static void rig_down(Rig *rig) {
        (void)kill(rig->pid, SIGKILL);
        (void)waitpid(rig->pid, NULL, 0);
        (void)munmap((void *)(uintptr_t)rig->counters, 4096);
        (void)close(rig->fd);
        sd_event_unref(rig->loop);
}

static void on_done(void *userdata, int r, const void *result, const Error *err) {
        done_called = true;
        done_result = r;
}

static void on_exited(void *userdata) {
        n_exited++;
}

static uint64_t sum(const Rig *rig) {
        uint64_t n = 0;

        for (size_t i = 0; i < N_THREADS; i++)
                n += rig->counters[i];
        return n;
}

static void kill_and_check(Rig *rig) {
        _cleanup_(fence_freep) Fence *f = NULL;
        uint64_t before;
        int r;

        assert_int_equal(fence_open(rig->loop, rig->pid, UUID, on_exited, NULL, &f, NULL), 0);
        assert_false(fence_is_dead(f));
        r = fence_kill(f, on_done, NULL, NULL);
        assert_true(r == 0 || r == 1);
        if (r == 1)
                assert_int_equal(fence_kill(f, on_done, NULL, NULL), -EBUSY);
        while (r == 1 && !done_called)
                assert_true(sd_event_run(rig->loop, UINT64_MAX) >= 0);
        assert_true(r == 0 || done_result == 0);
        before = sum(rig);
        assert_true(fence_is_dead(f));
        assert_int_equal(fence_kill(f, on_done, NULL, NULL), 0);
        while (n_exited == 0)
                assert_true(sd_event_run(rig->loop, UINT64_MAX) >= 0);
        assert_true(sum(rig) == before); /* nothing ran after the fence said so */
        assert_int_equal(n_exited, 1);
}

static void test_kill(void **state) {
        static const char *const rows[][2] = {
                { "1", "0" }, { "0", "1" }, { "8", "8" }, { "0", "500" }, { "24", "100" }
        };

        for (int i = 0; i < 20; i++) {
                const char *const *row = rows[(size_t)i % ELEMENTSOF(rows)];
                Rig rig;

                rig_up(&rig, row[0], row[1]);
                kill_and_check(&rig);
                rig_down(&rig);
        }
}

/* Freezers and debuggers stop processes; a stopped one dies of SIGKILL all the same. */
static void test_stopped(void **state) {
        Rig rig;

        rig_up(&rig, "2", "2");
        assert_int_equal(kill(rig.pid, SIGSTOP), 0);
        kill_and_check(&rig);
        rig_down(&rig);
}

static void test_dead_already(void **state) {
        _cleanup_(fence_freep) Fence *f = NULL;
        Rig rig;

        rig_up(&rig, "0", "1");
        assert_int_equal(fence_open(rig.loop, rig.pid, UUID, on_exited, NULL, &f, NULL), 0);
        assert_int_equal(kill(rig.pid, SIGKILL), 0);
        while (n_exited == 0)
                assert_true(sd_event_run(rig.loop, UINT64_MAX) >= 0);
        assert_true(fence_is_dead(f));
        assert_int_equal(fence_kill(f, on_done, NULL, NULL), 0);
        rig_down(&rig);
}

/* Reaped, and its number may belong to another process by now. */
static void test_reaped(void **state) {
        _cleanup_(fence_freep) Fence *f = NULL;
        Rig rig;

        rig_up(&rig, "0", "1");
        assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
        assert_int_equal(kill(rig.pid, SIGKILL), 0);
        assert_int_equal(waitpid(rig.pid, NULL, 0), rig.pid);
        assert_true(fence_is_dead(f));
        assert_int_equal(fence_kill(f, on_done, NULL, NULL), 0);
        rig.pid = fork(); /* for rig_down() */
        if (rig.pid == 0)
                _exit(0);
        rig_down(&rig);
}

static void test_others_are_refused(void **state) {
        Fence *f = NULL;
        Error e = ERROR_INIT;
        Rig rig;

        rig_up(&rig, "0", "1");
        assert_int_equal(fence_open(rig.loop, rig.pid, "11111111-2222-4333-8444-555555555556", NULL,
                                    NULL, &f, &e),
                         -ENOENT);
        assert_non_null(strstr(e.text, "is not the QEMU of domain"));
        assert_int_equal(fence_open(rig.loop, getpid(), UUID, NULL, NULL, &f, NULL), -ENOENT);
        assert_int_equal(fence_open(rig.loop, 1, UUID, NULL, NULL, &f, NULL), -ENOENT);
        assert_null(f);
        rig_down(&rig);
}

static int stop(Rig *rig, Fence *f) {
        Error e = ERROR_INIT;
        int r;

        done_called = false;
        r = fence_stop(f, on_done, NULL, &e);
        if (r == 1)
                assert_int_equal(fence_stop(f, on_done, NULL, NULL), -EBUSY);
        while (r == 1 && !done_called)
                assert_true(sd_event_run(rig->loop, UINT64_MAX) >= 0);
        return done_called ? done_result : r;
}

static void wait_for_progress(const Rig *rig, uint64_t n) {
        uint64_t before = sum(rig);

        while (sum(rig) < before + n)
                assert_int_equal(waitpid(rig->pid, NULL, WNOHANG), 0);
}

/* vCPUs that stand still are found to: stopped, nothing moves; killed from there. */
static void test_fence_of_a_quiet_guest(void **state) {
        for (int i = 0; i < 10; i++) {
                _cleanup_(fence_freep) Fence *f = NULL;
                uint64_t before;
                Rig rig;
                int r;

                rig_up(&rig, "1", "8"); /* the first thread spins, and is no vCPU */
                assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
                assert_int_equal(fence_mark(f, NULL), 0);
                wait_for_progress(&rig, 1000000);
                assert_int_equal(stop(&rig, f), 0);
                assert_false(fence_is_dead(f));
                before = sum(&rig);
                assert_int_equal(stop(&rig, f), 0); /* again: the same */
                done_called = false;
                r = fence_kill(f, on_done, NULL, NULL);
                while (r == 1 && !done_called)
                        assert_true(sd_event_run(rig.loop, UINT64_MAX) >= 0);
                assert_true(r == 0 || (r == 1 && done_result == 0));
                assert_true(fence_is_dead(f));
                assert_true(sum(&rig) == before);
                assert_int_equal(stop(&rig, f), 0); /* the dead stand still */
                rig_down(&rig);
        }
}

/* One that ran since the mark is let go on; a new mark forgets what was before it. */
static void test_fence_of_a_guest_that_ran(void **state) {
        _cleanup_(fence_freep) Fence *f = NULL;
        uint64_t before;
        Rig rig;

        rig_up(&rig, "2", "4");
        assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
        assert_int_equal(fence_mark(f, NULL), 0);
        before = rig.counters[1];
        while (rig.counters[1] < before + 50000000)
                assert_int_equal(waitpid(rig.pid, NULL, WNOHANG), 0);
        assert_int_equal(stop(&rig, f), -EALREADY);
        wait_for_progress(&rig, 1000); /* it runs on */
        assert_int_equal(stop(&rig, f), -EALREADY);
        wait_for_progress(&rig, 1000);
        rig_down(&rig);
}

/* Without a mark it is stopped all the same, and goes on when told, or when the fence is freed. */
static void test_stop_and_continue(void **state) {
        Fence *f = NULL;
        uint64_t before;
        Rig rig;

        rig_up(&rig, "4", "0");
        assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
        for (int i = 0; i < 20; i++) {
                assert_int_equal(stop(&rig, f), 0);
                before = sum(&rig);
                (void)sched_yield();
                assert_true(sum(&rig) == before);
                fence_continue(f);
                wait_for_progress(&rig, 1000);
        }
        assert_int_equal(stop(&rig, f), 0);
        f = fence_free(f);
        wait_for_progress(&rig, 1000);
        rig_down(&rig);
}

/* A process that stopped it is gone: another one lets it go on, or kills it. */
static void test_inherited_stop(void **state) {
        Fence *f = NULL;
        uint64_t before;
        Rig rig;

        rig_up(&rig, "2", "0");
        for (int i = 0; i < 3; i++) {
                assert_int_equal(kill(rig.pid, SIGSTOP), 0);
                assert_int_equal(waitpid(rig.pid, NULL, WUNTRACED), rig.pid);
                assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
                before = sum(&rig);
                fence_continue(f); /* not ours to let go on */
                assert_int_equal(stop(&rig, f), 0);
                assert_true(sum(&rig) == before);
                f = fence_free(f);
                wait_for_progress(&rig, 1000);
                assert_int_equal(kill(rig.pid, SIGSTOP), 0);
                assert_int_equal(waitpid(rig.pid, NULL, WUNTRACED), rig.pid);
                assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
                fence_inherit_stop(f);
                fence_continue(f);
                wait_for_progress(&rig, 1000);
                f = fence_free(f);
        }
        rig_down(&rig);
}

/* One that is kept stands until it is let go, whoever frees the fence; another fence finds it so.
 */
static void test_keep(void **state) {
        _cleanup_(fence_freep) Fence *f = NULL;
        uint64_t before;
        Rig rig;

        rig_up(&rig, "2", "0");
        assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
        assert_int_equal(fence_stands(f), 0);
        assert_int_equal(stop(&rig, f), 0);
        assert_int_equal(fence_stands(f), 1);
        fence_keep(f);
        f = fence_free(f);
        before = sum(&rig);
        assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
        assert_int_equal(fence_stands(f), 1);
        fence_inherit_stop(f);
        fence_keep(f);
        assert_true(sum(&rig) == before);
        fence_continue(f);
        wait_for_progress(&rig, 1000);
        assert_int_equal(fence_stands(f), 0);
        assert_int_equal(stop(&rig, f), 0);
        f = fence_free(f); /* it was let go: the next stop is an ordinary one */
        wait_for_progress(&rig, 1000);
        rig_down(&rig);
}

static void test_mark_needs_vcpus(void **state) {
        _cleanup_(fence_freep) Fence *f = NULL;
        Rig rig;

        rig_up(&rig, "1", "0");
        assert_int_equal(fence_open(rig.loop, rig.pid, UUID, NULL, NULL, &f, NULL), 0);
        assert_int_equal(fence_mark(f, NULL), -ENOENT);
        rig_down(&rig);
        assert_int_equal(fence_mark(f, NULL), -ENOENT);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kill),
                cmocka_unit_test(test_fence_of_a_quiet_guest),
                cmocka_unit_test(test_fence_of_a_guest_that_ran),
                cmocka_unit_test(test_inherited_stop),
                cmocka_unit_test(test_keep),
                cmocka_unit_test(test_stop_and_continue),
                cmocka_unit_test(test_mark_needs_vcpus),
                cmocka_unit_test(test_stopped),
                cmocka_unit_test(test_dead_already),
                cmocka_unit_test(test_reaped),
                cmocka_unit_test(test_others_are_refused),
        };

        if (argc > 3 && strcmp(argv[1], "victim") == 0)
                return victim(atoi(argv[2]), atoi(argv[3]));
        return cmocka_run_group_tests_name("fence", tests, NULL, NULL);
}
