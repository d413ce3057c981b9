/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "agent.pb-c.h"
#include "lib/net-message.h"

/* Short names for the messages of proto/guest/v1/agent.proto. */
typedef Podferry__Guest__V1__ToGuest ToGuest;
typedef Podferry__Guest__V1__FromGuest FromGuest;
typedef Podferry__Guest__V1__InfoReply InfoReply;
typedef Podferry__Guest__V1__ScsiAddress ScsiAddress;
typedef Podferry__Guest__V1__MountRequest MountRequest;
typedef Podferry__Guest__V1__UnmountRequest UnmountRequest;
typedef Podferry__Guest__V1__OverlayRequest OverlayRequest;
typedef Podferry__Guest__V1__Stdio StdioSpec;
typedef Podferry__Guest__V1__CreateRequest CreateRequest;
typedef Podferry__Guest__V1__CreateReply CreateReply;
typedef Podferry__Guest__V1__ExecRequest ExecRequest;
typedef Podferry__Guest__V1__KillRequest KillRequest;
typedef Podferry__Guest__V1__DeleteRequest DeleteRequest;
typedef Podferry__Guest__V1__WaitRequest WaitRequest;
typedef Podferry__Guest__V1__Exit ExitReply;
typedef Podferry__Guest__V1__ResizeRequest ResizeRequest;
typedef Podferry__Guest__V1__ProcessState ProcessState;
typedef Podferry__Guest__V1__StateReply StateReply;
typedef Podferry__Guest__V1__BindRequest BindRequest;
typedef Podferry__Guest__V1__UnbindRequest UnbindRequest;
typedef Podferry__Guest__V1__UpdateRequest UpdateRequest;
typedef Podferry__Guest__V1__PsReply PsReply;
typedef Podferry__Guest__V1__RunRequest RunRequest;
typedef Podferry__Guest__V1__RunReply RunReply;
typedef Podferry__Guest__V1__OomEvent OomEvent;
typedef Podferry__Guest__V1__NetworkRequest NetworkRequest;

/* Enumerators: TO_GUEST(MOUNT), FROM_GUEST(OOM). */
#define TO_GUEST(name)   PODFERRY__GUEST__V1__TO_GUEST__BODY_##name
#define FROM_GUEST(name) PODFERRY__GUEST__V1__FROM_GUEST__BODY_##name
#define FROM_GUEST_INIT  PODFERRY__GUEST__V1__FROM_GUEST__INIT
