/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/libvirt/library.h"

#include <dlfcn.h>
#include <pthread.h>

#define LIBRARY "libvirt.so.0"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static Libvirt table;
static int load_result;
static Error load_error;

/* By default libvirt prints every error to stderr; ours travel in the results. */
static void no_print(void *userdata, virErrorPtr error) {
}

static int load_symbols(void *library) {
        const struct {
                const char *name;
                void *slot;
        } symbols[] = {
#define LIBVIRT_SYMBOL(f) { #f, &table.f },
                LIBVIRT_FUNCTIONS(LIBVIRT_SYMBOL)
#undef LIBVIRT_SYMBOL
        };

        for (size_t i = 0; i < ELEMENTSOF(symbols); i++) {
                void *f = dlsym(library, symbols[i].name);

                if (!f)
                        return error_setf(&load_error, -EOPNOTSUPP, "%s has no %s: too old",
                                          LIBRARY, symbols[i].name);
                *(void **)symbols[i].slot = f;
        }
        return 0;
}

/* The event loop must be registered before the first connection is opened. */
static void load_once(void) {
        void *library = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

        if (!library) {
                load_result = error_setf(&load_error, -EOPNOTSUPP, "libvirt is not installed: %s",
                                         dlerror());
                return;
        }
        load_result = load_symbols(library);
        if (load_result < 0)
                return;
        if (table.virInitialize() < 0 || table.virEventRegisterDefaultImpl() < 0)
                load_result = error_setf(&load_error, -EIO, "libvirt cannot be initialised");
        else
                table.virSetErrorFunc(NULL, no_print);
}

int libvirt_load(const Libvirt **ret, Error *reterr) {
        if (pthread_once(&once, load_once) != 0)
                return error_setf(reterr, -EIO, "libvirt cannot be loaded");
        if (load_result < 0)
                return error_setf(reterr, load_result, "%s", load_error.text);
        *ret = &table;
        return 0;
}

static int code_of(int libvirt_code) {
        static const struct {
                int theirs, ours;
        } codes[] = {
                { VIR_ERR_NO_DOMAIN, -ENOENT },
                { VIR_ERR_DEVICE_MISSING, -ENOENT },
                { VIR_ERR_DOM_EXIST, -EEXIST },
                { VIR_ERR_OPERATION_INVALID, -EBADFD },
                { VIR_ERR_OPERATION_TIMEOUT, -ETIMEDOUT },
                { VIR_ERR_OPERATION_ABORTED, -ECANCELED },
                { VIR_ERR_NO_SUPPORT, -EOPNOTSUPP },
                { VIR_ERR_OPERATION_UNSUPPORTED, -EOPNOTSUPP },
                { VIR_ERR_ARGUMENT_UNSUPPORTED, -EOPNOTSUPP },
                { VIR_ERR_CONFIG_UNSUPPORTED, -EOPNOTSUPP },
                { VIR_ERR_INVALID_ARG, -EINVAL },
                { VIR_ERR_XML_ERROR, -EINVAL },
                { VIR_ERR_XML_DETAIL, -EINVAL },
                { VIR_ERR_CPU_INCOMPATIBLE, -EINVAL },
                { VIR_ERR_MIGRATE_UNSAFE, -EINVAL },
                { VIR_ERR_NO_MEMORY, -ENOMEM },
                { VIR_ERR_NO_CONNECT, -EBUSY },
                { VIR_ERR_AUTH_FAILED, -EACCES },
                { VIR_ERR_ACCESS_DENIED, -EACCES },
        };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (codes[i].theirs == libvirt_code)
                        return codes[i].ours;
        return -EIO;
}

int libvirt_error(const Libvirt *lv, Error *reterr) {
        virErrorPtr e = lv->virGetLastError();
        int r;

        if (!e || e->code == VIR_ERR_OK)
                return error_setf(reterr, -EIO, "libvirt failed and did not say why");
        r = error_setf(reterr, code_of(e->code), "%s", e->message ?: "libvirt gave no message");
        lv->virResetLastError();
        return r;
}
