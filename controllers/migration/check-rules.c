/* SPDX-License-Identifier: Apache-2.0 */
/* The rules, one function each, and the table of them. Each compares facts and says what it found
 * on which host; none looks at the world. */
#include <string.h>

#include "controllers/migration/check-rules.h"

#define VERSION(v)  (unsigned)((v) / 1000000), (unsigned)((v) / 1000 % 1000), (unsigned)((v) % 1000)
#define VERSION_FMT "%u.%u.%u"

static CheckVerdict libvirt_asked(const CheckInput *in) {
        const CheckFacts *hosts[] = { in->source, in->destination };
        CheckVerdict v = CHECK_RULE_PASSES;

        for (size_t i = 0; i < ELEMENTSOF(hosts); i++)
                if (hosts[i] && hosts[i]->trouble[0])
                        v = check_found(in, hosts[i], "%.300s", hosts[i]->trouble);
        return v;
}

static CheckVerdict same_host(const CheckInput *in) {
        const char *a = in->source->uuid, *b = in->destination->uuid;

        if (!a[0] || !b[0])
                return CHECK_RULE_UNKNOWN;
        return is(a, b) ? check_found(in, in->destination,
                                      "the destination is the source: both are host %.40s", a)
                        : CHECK_RULE_PASSES;
}

static CheckVerdict session_idle(const CheckInput *in) {
        const CheckFacts *hosts[] = { in->source, in->destination };
        CheckVerdict v = CHECK_RULE_PASSES;

        for (size_t i = 0; i < ELEMENTSOF(hosts); i++) {
                if (!hosts[i])
                        continue;
                if (!hosts[i]->session_state[0])
                        v = v == CHECK_RULE_PASSES ? CHECK_RULE_UNKNOWN : v;
                else if (!is(hosts[i]->session_state, "idle"))
                        v = check_found(in, hosts[i],
                                        "a migration of this pod is under way there (%.40s)",
                                        hosts[i]->session_state);
        }
        return v;
}

static CheckVerdict power_state(const CheckInput *in) {
        const char *s = in->source->state;

        if (!s[0])
                return CHECK_RULE_UNKNOWN;
        if (is(s, "running") || is(s, "paused"))
                return CHECK_RULE_PASSES;
        return check_found(in, in->source, "the pod does not run: its domain is \"%.40s\"", s);
}

static CheckVerdict power_paused(const CheckInput *in) {
        if (!in->source->state[0])
                return CHECK_RULE_UNKNOWN;
        return is(in->source->state, "paused")
                       ? check_found(in, in->source, "the pod's domain is paused")
                       : CHECK_RULE_PASSES;
}

static CheckVerdict no_job(const CheckInput *in) {
        if (in->source->job[0] && !is(in->source->job, "none"))
                return check_found(in, in->source, "libvirt has a job on the domain: %.60s",
                                   in->source->job);
        return in->source->job[0] ? CHECK_RULE_PASSES : CHECK_RULE_UNKNOWN;
}

static CheckVerdict no_block_job(const CheckInput *in) {
        uint64_t n = in->source->block_jobs;

        if (UNKNOWN(n))
                return CHECK_RULE_UNKNOWN;
        return n > 0 ? check_found(in, in->source, "%llu disks have a block job (backup, copy)",
                                   ULL(n))
                     : CHECK_RULE_PASSES;
}

static CheckVerdict no_snapshots(const CheckInput *in) {
        uint64_t n = in->source->snapshots;

        if (UNKNOWN(n))
                return CHECK_RULE_UNKNOWN;
        return n > 0 ? check_found(in, in->source, "the domain has %llu snapshots", ULL(n))
                     : CHECK_RULE_PASSES;
}

static CheckVerdict envelopes(const CheckInput *in) {
        const CheckFacts *s = in->source, *d = in->destination;
        CheckVerdict v = CHECK_RULE_PASSES;

        if (s->n_envelopes == 0 || d->n_envelopes == 0)
                return CHECK_RULE_UNKNOWN;
        for (size_t i = 0; i < s->n_envelopes; i++) {
                const CheckEnvelope *w = &s->envelopes[i], *r = NULL;

                for (size_t k = 0; k < d->n_envelopes; k++)
                        if (is(d->envelopes[k].kind, w->kind))
                                r = &d->envelopes[k];
                if (!r)
                        v = check_found(in, d, "it does not know saved state of kind %.32s",
                                        w->kind);
                else if (UNKNOWN(w->current) || UNKNOWN(r->min) || UNKNOWN(r->current))
                        v = v == CHECK_RULE_PASSES ? CHECK_RULE_UNKNOWN : v;
                else if (w->current < r->min || w->current > r->current)
                        v = check_found(in, d,
                                        "saved state of kind %.32s: the source writes version "
                                        "%llu, it reads %llu to %llu",
                                        w->kind, ULL(w->current), ULL(r->min), ULL(r->current));
        }
        return v;
}

static CheckVerdict agent(const CheckInput *in) {
        if (is(in->source->state, "paused")) /* nobody in it can answer */
                return CHECK_RULE_NOT_NEEDED;
        if (in->source->agent == CHECK_NO)
                return check_found(in, in->source, "the agent in the guest does not answer");
        return in->source->agent == CHECK_YES ? CHECK_RULE_PASSES : CHECK_RULE_UNKNOWN;
}

static CheckVerdict architecture(const CheckInput *in) {
        const char *a = in->source->arch, *b = in->destination->arch;

        if (!a[0] || !b[0])
                return CHECK_RULE_UNKNOWN;
        return is(a, b) ? CHECK_RULE_PASSES
                        : check_found(in, in->destination,
                                      "the pod needs a %.32s host, this one is %.32s", a, b);
}

static CheckVerdict kvm(const CheckInput *in) {
        if (!in->source->type[0])
                return CHECK_RULE_UNKNOWN;
        if (!is(in->source->type, "kvm"))
                return CHECK_RULE_NOT_NEEDED;
        if (in->destination->has_kvm == CHECK_NO)
                return check_found(in, in->destination,
                                   "the pod runs with KVM, which the libvirt of this host does "
                                   "not offer");
        return in->destination->has_kvm == CHECK_YES ? CHECK_RULE_PASSES : CHECK_RULE_UNKNOWN;
}

/* An emulated CPU is the same everywhere. */
static CheckVerdict cpu(const CheckInput *in) {
        if (!in->source->type[0])
                return CHECK_RULE_UNKNOWN;
        if (!is(in->source->type, "kvm"))
                return CHECK_RULE_NOT_NEEDED;
        if (in->destination->fits_cpu == CHECK_NO)
                return check_found(in, in->destination,
                                   "its CPU cannot be that of the guest: %.250s",
                                   in->destination->cpu_text);
        return in->destination->fits_cpu == CHECK_YES ? CHECK_RULE_PASSES : CHECK_RULE_UNKNOWN;
}

static CheckVerdict machine(const CheckInput *in) {
        if (in->destination->knows_machine == CHECK_NO)
                return check_found(in, in->destination,
                                   "its QEMU does not know the guest's machine type %.60s",
                                   in->source->machine);
        return in->destination->knows_machine == CHECK_YES ? CHECK_RULE_PASSES : CHECK_RULE_UNKNOWN;
}

static CheckVerdict older(const CheckInput *in, const char *what, uint64_t here, uint64_t there) {
        if (UNKNOWN(here) || UNKNOWN(there))
                return CHECK_RULE_UNKNOWN;
        if (there >= here)
                return CHECK_RULE_PASSES;
        return check_found(in, in->destination,
                           "its %s is older: " VERSION_FMT " there, " VERSION_FMT " at the source",
                           what, VERSION(there), VERSION(here));
}

static CheckVerdict hypervisor(const CheckInput *in) {
        return older(in, "QEMU", in->source->qemu, in->destination->qemu);
}

static CheckVerdict libvirt_version(const CheckInput *in) {
        return older(in, "libvirt", in->source->libvirt, in->destination->libvirt);
}

static CheckVerdict image_there(const CheckInput *in) {
        return in->destination->image_error[0]
                       ? check_found(in, in->destination,
                                     "the guest image is not on this host: %.250s",
                                     in->destination->image_error)
                       : CHECK_RULE_PASSES;
}

/* A running guest brings its kernel along in its memory, so another image is no obstacle: if it
 * were, no host could get a new one before all pods of its neighbours had ended. */
static CheckVerdict image_same(const CheckInput *in) {
        const CheckFacts *s = in->source, *d = in->destination;

        if (!s->kernel[0] || !d->kernel[0])
                return CHECK_RULE_UNKNOWN;
        return is(s->kernel, d->kernel) && is(s->initrd, d->initrd)
                       ? CHECK_RULE_PASSES
                       : check_found(in, d,
                                     "the guest image of this host is another one; the pod keeps "
                                     "the kernel and agent that it was started with");
}

static CheckVerdict memory(const CheckInput *in) {
        uint64_t needs = in->source->memory_mib, has = in->destination->available_mib;

        if (UNKNOWN(needs) || UNKNOWN(has))
                return CHECK_RULE_UNKNOWN;
        return needs > has ? check_found(in, in->destination,
                                         "the pod needs %llu MiB of memory, this host has %llu MiB "
                                         "free",
                                         ULL(needs), ULL(has))
                           : CHECK_RULE_PASSES;
}

static CheckVerdict huge_pages(const CheckInput *in) {
        uint64_t size = in->source->huge_page_kib, needs;

        if (UNKNOWN(size) || UNKNOWN(in->source->memory_mib))
                return CHECK_RULE_UNKNOWN;
        if (size == 0)
                return CHECK_RULE_NOT_NEEDED;
        if (UNKNOWN(in->destination->huge_pages_free) ||
            in->source->memory_mib > UINT64_MAX / 1024U)
                return CHECK_RULE_UNKNOWN;
        needs = (in->source->memory_mib * 1024U + size - 1) / size;
        return needs > in->destination->huge_pages_free
                       ? check_found(in, in->destination,
                                     "the pod needs %llu huge pages of %llu KiB, this host has "
                                     "%llu free",
                                     ULL(needs), ULL(size), ULL(in->destination->huge_pages_free))
                       : CHECK_RULE_PASSES;
}

/* Of the devices that orchestrators refuse, what becomes of each here. What is in no row is
 * emulated, and migrates. */
static const struct {
        const char *device, *why;
} refused_devices[] = {
        { "hostdev-pci", "an assigned PCI device" },
        { "hostdev-usb", "an assigned USB device" },
        { "hostdev-scsi", "an assigned SCSI device" },
        { "hostdev-mdev", "a mediated device" },
        { "interface-hostdev", "an assigned network function (SR-IOV)" },
        { "interface-vdpa", "a vDPA interface" },
        { "filesystem", "a shared directory" },
        { "tpm", "a virtual TPM, whose state is on this host" },
        { "shmem", "memory shared with processes of this host" },
        { "nvdimm", "a persistent memory device" },
        { "launch-security", "encrypted memory (SEV, TDX)" },
        { "reservations", "persistent SCSI reservations" },
        { "redirdev", "a redirected USB device" },
        { "vhost-user", "a device in another process of this host" },
};

static CheckVerdict devices(const CheckInput *in) {
        CheckVerdict v = CHECK_RULE_PASSES;

        if (!in->source->state[0])
                return CHECK_RULE_UNKNOWN;
        for (size_t i = 0; i < in->source->n_devices; i++)
                for (size_t k = 0; k < ELEMENTSOF(refused_devices); k++)
                        if (is(in->source->devices[i], refused_devices[k].device))
                                v = check_found(in, in->source, "the pod has %s",
                                                refused_devices[k].why);
        return v;
}

/* -- the network -- */

static bool moves_by_namespace(const CheckInput *in) {
        return is(in->source->network, "namespace");
}

static CheckVerdict network_named(const CheckInput *in) {
        bool named = in->destination->namespace[0];

        if (!in->source->network[0])
                return CHECK_RULE_UNKNOWN;
        if (moves_by_namespace(in) && !named)
                return check_found(in, in->destination,
                                   "the pod's network is a namespace: name the one on this host");
        if (!moves_by_namespace(in) && named)
                return check_found(in, in->destination,
                                   "the pod's network is \"%.20s\": it takes no namespace",
                                   in->source->network);
        return CHECK_RULE_PASSES;
}

static CheckVerdict namespace_there(const CheckInput *in) {
        if (!in->destination->namespace[0])
                return CHECK_RULE_NOT_NEEDED;
        return in->destination->namespace_error[0] ? check_found(in, in->destination, "%.300s",
                                                                 in->destination->namespace_error)
                                                   : CHECK_RULE_PASSES;
}

static const CheckInterface *find_interface(const CheckFacts *f, const char *name) {
        for (size_t i = 0; i < f->n_interfaces; i++)
                if (is(f->interfaces[i].name, name))
                        return &f->interfaces[i];
        return NULL;
}

static bool sees_interfaces(const CheckInput *in) {
        return moves_by_namespace(in) && in->destination->namespace[0] &&
               !in->destination->namespace_error[0];
}

static CheckVerdict interface_names(const CheckInput *in) {
        CheckVerdict v = CHECK_RULE_PASSES;

        if (!sees_interfaces(in))
                return CHECK_RULE_NOT_NEEDED;
        for (size_t i = 0; i < in->source->n_interfaces; i++)
                if (!find_interface(in->destination, in->source->interfaces[i].name))
                        v = check_found(in, in->destination,
                                        "%.100s: it has no interface %.20s, which the pod has",
                                        in->destination->namespace, in->source->interfaces[i].name);
        return v;
}

/* The pod brings its MAC addresses: none of another interface in its new namespace may be one. */
static CheckVerdict mac_clash(const CheckInput *in) {
        const CheckFacts *d = in->destination;
        CheckVerdict v = CHECK_RULE_PASSES;

        if (!sees_interfaces(in) || is(in->destination->network_mode, "rebind"))
                return CHECK_RULE_NOT_NEEDED;
        for (size_t i = 0; i < in->source->n_interfaces; i++)
                for (size_t k = 0; k < d->n_interfaces; k++) {
                        const CheckInterface *s = &in->source->interfaces[i];

                        if (s->mac[0] && is(s->mac, d->interfaces[k].mac) &&
                            !is(s->name, d->interfaces[k].name))
                                v = check_found(in, d,
                                                "%.100s: the pod's MAC address %.20s (%.20s) is in "
                                                "use there, by %.20s",
                                                d->namespace, s->mac, s->name,
                                                d->interfaces[k].name);
                }
        return v;
}

static CheckVerdict mtu(const CheckInput *in) {
        CheckVerdict v = CHECK_RULE_PASSES;

        if (!sees_interfaces(in) || is(in->destination->network_mode, "rebind"))
                return CHECK_RULE_NOT_NEEDED;
        for (size_t i = 0; i < in->source->n_interfaces; i++) {
                const CheckInterface *s = &in->source->interfaces[i];
                const CheckInterface *d = find_interface(in->destination, s->name);

                if (!d)
                        continue;
                if (UNKNOWN(s->mtu) || UNKNOWN(d->mtu))
                        v = v == CHECK_RULE_FIRES ? v : CHECK_RULE_UNKNOWN;
                else if (d->mtu < s->mtu)
                        v = check_found(in, in->destination,
                                        "%.20s has an MTU of %llu, the pod uses %llu", s->name,
                                        ULL(d->mtu), ULL(s->mtu));
        }
        return v;
}

static CheckVerdict transport(const CheckInput *in) {
        if (!in->wishes->options->transport[0])
                return CHECK_RULE_NOT_NEEDED;
        if (in->source->transport == CHECK_NO)
                return check_found(in, in->source, "%.150s cannot be reached: %.200s",
                                   in->wishes->options->transport, in->source->transport_error);
        return in->source->transport == CHECK_YES ? CHECK_RULE_PASSES : CHECK_RULE_UNKNOWN;
}

#define BLOCKS  CHECK_BLOCKS
#define WARNS   CHECK_WARNS
#define ADVISES CHECK_ADVISES
#define S       CHECK_NEEDS_SOURCE
#define D       CHECK_NEEDS_DESTINATION
#define BOTH    CHECK_NEEDS_BOTH

/* clang-format off */
const CheckRule check_rules[] = {
        { "hypervisor-unreachable", "F04", BLOCKS, false, 0, libvirt_asked,
          "start libvirtd there, and see that podferry may use it" },
        { "same-host", "F13", BLOCKS, false, BOTH, same_host,
          "name another host; two hosts with one UUID need host_uuid in libvirtd.conf" },
        { "session-unfinished", "F12", BLOCKS, false, 0, session_idle,
          "wait for it, or end it with podferry adopt POD --to HOST" },
        { "pod-not-running", "F11", BLOCKS, false, S, power_state,
          "see podferry inspect POD; only a pod that runs moves live" },
        { "pod-paused", "F11", BLOCKS, false, S, power_paused,
          "resume it first: virsh resume podferry-POD" },
        { "job-running", "F14", BLOCKS, false, S, no_job,
          "wait until it is over, or abort it with virsh domjobabort" },
        { "block-job", "F14", BLOCKS, false, S, no_block_job,
          "wait until the backup or copy is over" },
        { "snapshots", "F14", BLOCKS, false, S, no_snapshots,
          "remove them with virsh snapshot-delete --metadata" },
        { "envelope-version", "F94", BLOCKS, false, BOTH, envelopes,
          "bring podferry there to the source's version" },
        { "agent-silent", "F01", WARNS, false, S, agent,
          "the pod moves with its memory as it is, but see podferry inspect POD" },
        { "architecture", "F03", BLOCKS, false, BOTH, architecture,
          "choose a host of the same architecture" },
        { "kvm-missing", "F03", BLOCKS, false, BOTH, kvm,
          "choose a host with KVM" },
        { "cpu", "F03", BLOCKS, false, BOTH, cpu,
          "choose a host whose CPU has all features that the source has" },
        { "machine-type", "F04", BLOCKS, false, BOTH, machine,
          "install a QEMU there that has it: the source's version, or newer" },
        { "hypervisor-older", "F04", BLOCKS, true, BOTH, hypervisor,
          "update QEMU there, or override with --unsafe" },
        { "libvirt-older", "F04", WARNS, false, BOTH, libvirt_version,
          "update libvirt there" },
        { "guest-image", "F04", BLOCKS, false, D, image_there,
          "make it there with hack/image" },
        { "guest-image-differs", "F04", WARNS, false, BOTH, image_same,
          "nothing; the next pod started there has the other image" },
        { "memory", "F08", BLOCKS, false, BOTH, memory,
          "free memory there, or choose another host" },
        { "huge-pages", "F08", BLOCKS, false, BOTH, huge_pages,
          "reserve huge pages there (vm.nr_hugepages)" },
        { "disk-space", "F07", BLOCKS, false, BOTH, check_space_allocated,
          "free space there, or choose another place with --disk" },
        { "disk-space-full", "F07", WARNS, false, BOTH, check_space_virtual,
          "see that there is space before the disks fill; --disk-space virtual asks for it now" },
        { "disk-space-virtual", "F07", BLOCKS, false, BOTH, check_space_virtual_blocks,
          "free space there, or allow over-commitment with --disk-space allocated" },
        { "storage-options", "F06", BLOCKS, false, S, check_storage_options,
          "see --storage in podferry migrate --help" },
        { "storage-not-shared", "F05", BLOCKS, false, BOTH, check_shared,
          "mount the same storage on both hosts, or use --storage copy" },
        { "storage-is-shared", "F06", BLOCKS, false, BOTH, check_onto_itself,
          "use --storage shared" },
        { "disk-exists", "F06", BLOCKS, false, BOTH, check_in_the_way,
          "remove it if nobody needs it, or choose another place with --disk" },
        { "disk-missing", "F06", BLOCKS, false, BOTH, check_missing,
          "put it there first, or share it" },
        { "cache-unsafe", "F15", BLOCKS, true, S, check_cache,
          "start the pod anew with cache=none, or override with --unsafe" },
        { "device", "F09", BLOCKS, false, S, devices,
          "take the device away from the pod first" },
        { "network-option", "F10", BLOCKS, false, BOTH, network_named,
          "--net ns:PATH names the namespace there; leave it away for a pod without one" },
        { "namespace", "F10", BLOCKS, false, BOTH, namespace_there,
          "make the namespace there, with the pod's interfaces in it" },
        { "interface-missing", "F10", BLOCKS, false, BOTH, interface_names,
          "make an interface of that name there" },
        { "mac-clash", "F10", BLOCKS, false, BOTH, mac_clash,
          "give that interface another MAC address" },
        { "mtu-smaller", "F10", WARNS, false, BOTH, mtu,
          "raise the MTU there: bigger packets of the pod will be lost" },
        { "transport-unreachable", "F10", BLOCKS, false, S, transport,
          "see that libvirtd listens there and no firewall is between, or leave --transport away" },
        { "layers-space", "F07", BLOCKS, false, D, check_layers_space,
          "free space below podferry's state directory there" },
        { "layers-missing", "F07", ADVISES, false, D, check_layers,
          "nothing; to save the time, copy the image there before" },
        { "forecast", "F16", ADVISES, false, S, check_forecast_converges,
          "nothing; docs/check.md says how good a forecast is" },
        { "forecast-abort", "F16", WARNS, false, S, check_forecast_aborts,
          "--auto-converge slows it down; more --max-downtime, or --timeout-action force-complete" },
        { "forecast-pause", "F16", WARNS, false, S, check_forecast_pauses,
          "--auto-converge slows it down before; or move it when it has less to do" },
        { "forecast-post-copy", "F16", WARNS, false, S, check_forecast_post_copy,
          "--auto-converge slows it down before; a host or link that fails then loses the pod" },
        { "forecast-endless", "F16", WARNS, false, S, check_forecast_endless,
          "give it a limit: --completion-timeout, --timeout-per-gib" },
        { "forecast-unknown", "F16", ADVISES, false, S, check_forecast_fails,
          "nothing; the pod can be moved without one" },
};
/* clang-format on */
const size_t check_rules_n = ELEMENTSOF(check_rules);
