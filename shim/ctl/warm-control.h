/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* Words for the driver of a warm move, while it copies ahead: datagrams to a socket in the pod's
 * run directory, which none but the pod's owner may enter. No shim has a part in it. */
typedef enum WarmWord {
        WARM_CUTOVER,
        WARM_CANCEL,
        _WARM_WORD_MAX,
} WarmWord;

/* At the driver, which alone moves the pod (its lock): the caller owns *ret_fd. */
int warm_control_open(const char *run_dir, const char *pod, int *ret_fd, Error *reterr);
/* A WarmWord, or -EAGAIN: there is none (more). Never waits; what is no word is dropped. */
int warm_control_read(int fd);
/* Returns -EBADF. */
int warm_control_close(const char *run_dir, const char *pod, int fd);
/* -ENOENT: nobody copies this pod ahead. */
int warm_control_tell(const char *run_dir, const char *pod, WarmWord word, Error *reterr);
