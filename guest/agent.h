/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/container.h"
#include "guest/crun.h"
#include "guest/port.h"
#include "guest/loop.h"
#include "guest/oom.h"
#include "guest/power.h"
#include "guest/reaper.h"
#include "guest/rpc.h"
#include "guest/stream.h"
#include "guest/worker.h"

/* Everything the agent has; one per process. All of it lives on the main thread, but for what
 * guest/worker.h says of jobs. */
struct Agent {
        Loop loop;
        Reaper reaper;
        Port port;
        Rpc rpc;
        Streams streams;
        Worker worker;
        CrunRunner crun;
        Containers containers;
        Oom oom;
        Power power;
};
