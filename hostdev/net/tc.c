/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/net/tc.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

#define INGRESS_HANDLE TC_H_MAKE(TC_H_INGRESS, 0)

/* NULL: out of memory. */
static struct nl_msg *tc_request(int type, int flags, int index, uint32_t handle, uint32_t parent,
                                 uint32_t info, const char *kind) {
        struct tcmsg h = { .tcm_family = AF_UNSPEC,
                           .tcm_ifindex = index,
                           .tcm_handle = handle,
                           .tcm_parent = parent,
                           .tcm_info = info };
        struct nl_msg *m = net_request(type, flags, &h, sizeof(h));

        if (m && kind && nla_put_string(m, TCA_KIND, kind) < 0) {
                nlmsg_free(m);
                m = NULL;
        }
        return m;
}

static struct nl_msg *filter_request(int type, int flags, int index, uint16_t preference,
                                     uint32_t handle, const char *kind) {
        return tc_request(type, flags, index, handle, INGRESS_HANDLE,
                          TC_H_MAKE((uint32_t)preference << 16, htons(ETH_P_ALL)), kind);
}

int tc_add_ingress(NetNs *ns, int index) {
        int r;

        r = net_do(ns, tc_request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index, INGRESS_HANDLE,
                                  TC_H_INGRESS, 0, "ingress"));
        return r == -EEXIST ? 0 : r;
}

static int gone_is_fine(int r) {
        return r == -ENOENT || r == -EINVAL || r == -ENODEV ? 0 : r;
}

int tc_remove_ingress(NetNs *ns, int index, bool *ret_was_there) {
        int r = net_do(ns,
                       tc_request(RTM_DELQDISC, 0, index, INGRESS_HANDLE, TC_H_INGRESS, 0, NULL));

        *ret_was_there = r == 0;
        return gone_is_fine(r);
}

int tc_remove_filter(NetNs *ns, int index, uint16_t preference) {
        return gone_is_fine(
                net_do(ns, filter_request(RTM_DELTFILTER, 0, index, preference, 0, NULL)));
}

/* One action of a list: kind and parameters. */
typedef struct Action {
        const char *kind;
        int attribute;
        const void *parameters;
        size_t n;
} Action;

static int put_action(struct nl_msg *m, int attribute, const Action *a) {
        struct nlattr *list = nla_nest_start(m, attribute), *first, *options;

        first = list ? nla_nest_start(m, 1) : NULL;
        if (!first || nla_put_string(m, TCA_ACT_KIND, a->kind) < 0)
                return -ENOMEM;
        options = nla_nest_start(m, TCA_ACT_OPTIONS);
        if (!options || nla_put(m, a->attribute, (int)a->n, a->parameters) < 0)
                return -ENOMEM;
        (void)nla_nest_end(m, options);
        (void)nla_nest_end(m, first);
        (void)nla_nest_end(m, list);
        return 0;
}

/* One key with an empty mask matches everything. */
static int put_u32(struct nl_msg *m, const Action *a) {
        struct {
                struct tc_u32_sel sel;
                struct tc_u32_key key;
        } all = { .sel = { .flags = TC_U32_TERMINAL, .nkeys = 1 } };

        if (nla_put(m, TCA_U32_SEL, sizeof(all), &all) < 0)
                return -ENOMEM;
        return put_action(m, TCA_U32_ACT, a);
}

static int put_matchall(struct nl_msg *m, const Action *a) {
        return put_action(m, TCA_MATCHALL_ACT, a);
}

/* A program of one instruction, whose result is what happens to the frame. */
static int put_bpf(struct nl_msg *m, const Action *a) {
        struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, TC_ACT_SHOT);

        if (nla_put_u16(m, TCA_BPF_OPS_LEN, 1) < 0 ||
            nla_put(m, TCA_BPF_OPS, sizeof(drop), &drop) < 0 ||
            nla_put_u32(m, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT) < 0)
                return -ENOMEM;
        return 0;
}

typedef struct Way {
        const char *kind;
        int (*put)(struct nl_msg *m, const Action *a);
        uint32_t handle; /* by which a second one is known for the same; 0: it makes its own */
} Way;

/* The first way that this kernel has. */
static int add_filter(NetNs *ns, int index, uint16_t preference, const Way *ways, size_t n,
                      const Action *a) {
        int r = -EOPNOTSUPP;

        for (size_t i = 0; i < n; i++) {
                struct nl_msg *m = filter_request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, index,
                                                  preference, ways[i].handle, ways[i].kind);
                struct nlattr *options = m ? nla_nest_start(m, TCA_OPTIONS) : NULL;

                if (!options || ways[i].put(m, a) < 0) {
                        nlmsg_free(m);
                        return -ENOMEM;
                }
                (void)nla_nest_end(m, options);
                r = net_do(ns, m);
                if (r != -ENOENT && r != -EOPNOTSUPP)
                        break;
        }
        return r;
}

int tc_add_redirect(NetNs *ns, int from, int to, uint16_t preference) {
        static const Way ways[] = { { "u32", put_u32, 0 }, { "matchall", put_matchall, 0 } };
        struct tc_mirred p = { .action = TC_ACT_STOLEN,
                               .eaction = TCA_EGRESS_REDIR,
                               .ifindex = (uint32_t)to };
        Action a = { "mirred", TCA_MIRRED_PARMS, &p, sizeof(p) };

        int r = tc_remove_filter(ns, from, preference);

        return r < 0 ? r : add_filter(ns, from, preference, ways, ELEMENTSOF(ways), &a);
}

/* One that is there stays: at no instant is there none. */
int tc_add_drop(NetNs *ns, int index, uint16_t preference) {
        static const Way ways[] = { { "bpf", put_bpf, 1 },
                                    { "matchall", put_matchall, 1 },
                                    { "u32", put_u32, 0 } };
        struct tc_gact p = { .action = TC_ACT_SHOT };
        Action a = { "gact", TCA_GACT_PARMS, &p, sizeof(p) };

        int r = add_filter(ns, index, preference, ways, ELEMENTSOF(ways), &a);

        return r == -EEXIST ? 0 : r;
}
