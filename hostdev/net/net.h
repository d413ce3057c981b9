/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hostdev/net/wiring.h"
#include "lib/net-message.h"

/* The host's end of a pod's network.
 *
 * The namespace is somebody else's; we read it, and join its interface to the tap of QEMU, in one
 * of two ways:
 *
 *      redirect  wire (eth0 in the namespace)  <- tc redirect, both ways ->  tap  <->  QEMU
 *      macvtap   wire  <- macvtap, in mode passthru ->  QEMU
 *
 * A tap is made by libvirt in its own namespace, which hands QEMU the open file; a macvtap is made
 * there by net_make(), and libvirt opens it. Then either is moved into the pod's namespace, where
 * that file goes on working. So no bridge and no further address. A tap goes with its QEMU, whoever
 * ends that; a macvtap stays, closed, until net_unmake(), net_uncut() or the namespace's end.
 *
 * Only net_make() is told which way: to all others the device's kind says it.
 *
 * From net_cut() on the namespace's own stack answers nothing that comes in by the wire, and with
 * redirect sees nothing of it. net_gate() opens or closes the way to the guest, and nothing else:
 * closed, a frame ends at the tap or at the wire.
 *
 * Everything blocks, for as long as the kernel works at it: not for the loop's thread. No call
 * leaves its thread in another namespace: a netlink socket belongs to the one it was made in, and
 * that is done by a thread that ends at once. A NetNs is used by one thread at a time. */
typedef struct NetNs NetNs;

/* The namespace at this path (/run/netns/x, /proc/<pid>/ns/net); NULL: the caller's own. -ENOENT:
 * it is gone; -EINVAL: what is there is no network namespace. */
int netns_open(const char *path, NetNs **ret, Error *reterr);
NetNs *netns_free(NetNs *ns);
DEFINE_CLEANUP(NetNs *, netns_free);

/* Ethernet interfaces other than taps and bridges, by index, with what is configured on them, and
 * the names of hosts. -ENOENT: there is none; -EEXIST: two have one MAC address; -EOPNOTSUPP: a
 * route that cannot be described. Slots are numbered from 0; device_mac is mac. */
int net_read(NetNs *ns, NetFacts **ret, Error *reterr);
/* What resolv.conf says: the namespace's own (/etc/netns/<name>) or the host's. */
int net_read_names(const char *namespace_path, NetNames **ret, Error *reterr);

/* -EEXIST: somebody else has this interface's MAC address on the bridge of the host that it leads
 * to. What cannot be known (it leads to none, or not from `host`) is no failure. Sends nothing. */
int net_check_alone(NetNs *ns, NetNs *host, const NetInterface *i, Error *reterr);

/* `host` is the namespace where libvirt is. */

/* Before QEMU: what libvirt does not make of this way is there, closed, and then the wire cut. One
 * of the same name is replaced. -EOPNOTSUPP: this kernel cannot, or /dev does not show it; -EBUSY:
 * something else is on the wire; -ENOENT; -ENOSPC: more addresses than can be remembered. */
int net_make(NetNs *ns, NetNs *host, NetWiring w, const char *wire, const char *tap, Error *reterr);
/* Undoes net_make(), with its cut; nothing was made: nothing is done. */
int net_unmake(NetNs *ns, NetNs *host, const char *wire, const char *tap, Error *reterr);
/* Idempotent. -ENOENT: no such interface. */
int net_cut(NetNs *ns, NetNs *host, const char *wire, const char *tap, Error *reterr);
/* Everything as it was, as far as it can be; what is gone already is no failure. */
int net_uncut(NetNs *ns, NetNs *host, const NetInterface *wire, const char *tap, Error *reterr);
/* Fetches the tap from `host` if it is not in ns yet, and prepares both ends; the gate stays as it
 * is (closed at first). -ENOENT: no tap, no wire. Idempotent. */
int net_join(NetNs *ns, NetNs *host, const char *wire, const char *tap, Error *reterr);
int net_gate(NetNs *ns, const char *wire, const char *tap, bool open, Error *reterr);
/* Tells the switches on the way, as QEMU does after a migration (a RARP frame), that this MAC is
 * behind the wire now. Best effort: they learn it from the guest's first frame too. */
void net_tell_switches(NetNs *ns, const NetInterface *wire);

/* Whether this port could be listened at, where the caller is. -EBUSY: it is in use; -EINVAL: the
 * address is none of this host's; -EACCES. Any thread. */
int net_port_check(const uint8_t address[4], uint16_t port, bool udp, Error *reterr);

typedef struct NetStatistics {
        uint64_t rx_bytes, rx_packets, rx_dropped, tx_bytes, tx_packets,
                tx_dropped; /* the guest's */
} NetStatistics;
int net_statistics(NetNs *ns, const char *tap, NetStatistics *ret, Error *reterr);
