/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/plan/etcd/etcd-curl.h"

#include <dlfcn.h>
#include <stdbool.h>

static int load_symbols(void *library, Curl *table, Error *reterr) {
        const struct {
                const char *name;
                void *slot;
        } symbols[] = {
#define CURL_SYMBOL(f) { #f, &table->f },
                CURL_FUNCTIONS(CURL_SYMBOL)
#undef CURL_SYMBOL
        };

        for (size_t i = 0; i < ELEMENTSOF(symbols); i++) {
                void *f = dlsym(library, symbols[i].name);

                if (!f)
                        return error_setf(reterr, -EOPNOTSUPP, "libcurl has no %s: too old",
                                          symbols[i].name);
                *(void **)symbols[i].slot = f;
        }
        return 0;
}

/* Never unloaded: the TLS libraries behind it do not like that. */
int curl_load(const Curl **ret, Error *reterr) {
        static const char *const names[] = { "libcurl.so.4", "libcurl-gnutls.so.4" };
        static Curl table;
        static bool loaded;
        void *library = NULL;
        int r;

        for (size_t i = 0; !loaded && !library && i < ELEMENTSOF(names); i++)
                library = dlopen(names[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
        if (!loaded && !library)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "plans in etcd need libcurl (package libcurl4): %s", dlerror());
        if (!loaded) {
                r = load_symbols(library, &table, reterr);
                if (r < 0)
                        return r;
                if (table.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                        return error_setf(reterr, -EIO, "libcurl cannot be initialised");
                loaded = true;
        }
        *ret = &table;
        return 0;
}
