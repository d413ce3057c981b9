/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#define CURL_DISABLE_TYPECHECK /* its macros know the functions by name, not in a table */
#include <curl/curl.h>

#include "lib/error.h"

/* libcurl, opened when etcd is first spoken to: linked, it and the libraries that it needs would be
 * a part of every start of the command line. Functions under their own names:
 * c->curl_easy_init(). */
#define CURL_FUNCTIONS(X)                                                                          \
        X(curl_global_init)                                                                        \
        X(curl_slist_append)                                                                       \
        X(curl_slist_free_all)                                                                     \
        X(curl_easy_init)                                                                          \
        X(curl_easy_setopt)                                                                        \
        X(curl_easy_getinfo)                                                                       \
        X(curl_easy_perform)                                                                       \
        X(curl_easy_strerror)                                                                      \
        X(curl_easy_cleanup)                                                                       \
        X(curl_multi_init)                                                                         \
        X(curl_multi_setopt)                                                                       \
        X(curl_multi_add_handle)                                                                   \
        X(curl_multi_remove_handle)                                                                \
        X(curl_multi_socket_action)                                                                \
        X(curl_multi_info_read)                                                                    \
        X(curl_multi_cleanup)

typedef struct Curl {
#define CURL_MEMBER(f) __typeof__(&f) f;
        CURL_FUNCTIONS(CURL_MEMBER)
#undef CURL_MEMBER
} Curl;

/* Opens it on the first call; main thread only. -EOPNOTSUPP: not installed, or too old. */
int curl_load(const Curl **ret, Error *reterr);
