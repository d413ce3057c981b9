/* SPDX-License-Identifier: Apache-2.0 */
/* The rules about disks and image layers. */
#include <string.h>

#include "controllers/migration/check-rules.h"

/* What of the pod is to go onto one file system, and what is free there. */
static CheckVerdict space(const CheckInput *in, bool whole) {
        const CheckFacts *s = in->source, *d = in->destination;
        CheckVerdict v = CHECK_RULE_PASSES;
        bool any = false;

        for (size_t i = 0; i < d->n_disks; i++) {
                const CheckDisk *first = &d->disks[i];
                uint64_t sum = 0, disks = 0;
                bool done = false;

                for (size_t k = 0; k < d->n_disks; k++) {
                        const CheckDisk *from = check_facts_disk(s, d->disks[k].slot);
                        uint64_t needs;

                        if (!is(d->disks[k].filesystem, first->filesystem) || !from ||
                            !is(from->plan, "copy"))
                                continue;
                        done = done || k < i;
                        needs = whole ? from->size : from->allocated;
                        if (UNKNOWN(needs))
                                return CHECK_RULE_UNKNOWN;
                        any = true;
                        sum = sum + needs < sum ? UINT64_MAX - 1 : sum + needs;
                        disks++;
                }
                if (done || disks == 0)
                        continue;
                if (UNKNOWN(first->free))
                        return CHECK_RULE_UNKNOWN;
                if (sum > first->free)
                        v = check_found(in, d,
                                        "%llu disks need %llu MiB of space for %.100s and what "
                                        "goes beside it%s, %llu MiB are free",
                                        ULL(disks), MIB(sum), first->there,
                                        whole ? " when they are full" : "", MIB(first->free));
        }
        return any ? v : CHECK_RULE_NOT_NEEDED;
}

CheckVerdict check_space_allocated(const CheckInput *in) {
        return space(in, false);
}

/* Both ask the same; which one counts is the caller's wish. */
CheckVerdict check_space_virtual(const CheckInput *in) {
        return in->wishes->virtual_size ? CHECK_RULE_NOT_NEEDED : space(in, true);
}

CheckVerdict check_space_virtual_blocks(const CheckInput *in) {
        return in->wishes->virtual_size ? space(in, true) : CHECK_RULE_NOT_NEEDED;
}

CheckVerdict check_storage_options(const CheckInput *in) {
        CheckVerdict v = CHECK_RULE_PASSES;

        for (size_t i = 0; i < in->source->n_disks; i++)
                if (!in->source->disks[i].plan[0])
                        v = check_found(in, in->source, "%.300s",
                                        in->source->disks[i].why[0] ? in->source->disks[i].why
                                                                    : in->source->disks[i].path);
        return v;
}

static const char *last_part(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* Proved, not believed: each host has seen what the other wrote beside the disk. */
CheckVerdict check_shared(const CheckInput *in) {
        CheckVerdict v = CHECK_RULE_NOT_NEEDED;

        for (size_t i = 0; i < in->source->n_disks; i++) {
                const CheckDisk *s = &in->source->disks[i];
                const CheckDisk *d = check_facts_disk(in->destination, s->slot);

                if (!is(s->plan, "shared"))
                        continue;
                if (s->why[0])
                        v = check_found(in, in->source, "%.100s: %.250s", s->path, s->why);
                else if (d && d->seen == CHECK_NO)
                        v = check_found(in, in->destination, "%.100s: %.250s", d->there,
                                        d->why[0] ? d->why : "the hosts do not share it");
                else if (d && d->why[0])
                        v = check_found(in, in->destination, "%.100s: %.250s", d->there, d->why);
                else if (s->seen == CHECK_NO)
                        v = check_found(in, in->source,
                                        "%.200s: the hosts do not share it: what the destination "
                                        "wrote beside it is not here",
                                        s->path);
                else if (v != CHECK_RULE_FIRES)
                        v = !d || d->seen == CHECK_UNKNOWN || s->seen == CHECK_UNKNOWN ||
                                            v == CHECK_RULE_UNKNOWN
                                    ? CHECK_RULE_UNKNOWN
                                    : CHECK_RULE_PASSES;
        }
        return v;
}

static bool is_same_file(const CheckDisk *s, const CheckDisk *d) {
        return d->exists == CHECK_YES && d->seen == CHECK_YES &&
               is(last_part(s->path), last_part(d->there));
}

/* Disks of one plan, with what the destination says of each. */
static CheckVerdict each_planned(const CheckInput *in, const char *plan,
                                 CheckVerdict (*ask)(const CheckInput *, const CheckDisk *,
                                                     const CheckDisk *)) {
        CheckVerdict v = CHECK_RULE_NOT_NEEDED;

        for (size_t i = 0; i < in->source->n_disks; i++) {
                const CheckDisk *s = &in->source->disks[i], *d;
                CheckVerdict one;

                if (!is(s->plan, plan))
                        continue;
                d = check_facts_disk(in->destination, s->slot);
                one = !d || d->exists == CHECK_UNKNOWN ? CHECK_RULE_UNKNOWN : ask(in, s, d);
                if (v == CHECK_RULE_NOT_NEEDED || one == CHECK_RULE_FIRES ||
                    (one == CHECK_RULE_UNKNOWN && v == CHECK_RULE_PASSES))
                        v = one;
        }
        return v;
}

static CheckVerdict ask_onto_itself(const CheckInput *in, const CheckDisk *s, const CheckDisk *d) {
        return is_same_file(s, d)
                       ? check_found(in, in->destination,
                                     "%.250s is there already: both hosts share it, so it would "
                                     "be copied onto itself",
                                     d->there)
                       : CHECK_RULE_PASSES;
}

CheckVerdict check_onto_itself(const CheckInput *in) {
        return each_planned(in, "copy", ask_onto_itself);
}

static CheckVerdict ask_in_the_way(const CheckInput *in, const CheckDisk *s, const CheckDisk *d) {
        return d->exists == CHECK_YES && !is_same_file(s, d)
                       ? check_found(in, in->destination, "%.300s is there already", d->there)
                       : CHECK_RULE_PASSES;
}

CheckVerdict check_in_the_way(const CheckInput *in) {
        return each_planned(in, "copy", ask_in_the_way);
}

static CheckVerdict ask_missing(const CheckInput *in, const CheckDisk *s, const CheckDisk *d) {
        return d->exists == CHECK_NO
                       ? check_found(in, in->destination,
                                     "%.250s: not on this host; it is read-only and not copied",
                                     d->there)
                       : CHECK_RULE_PASSES;
}

CheckVerdict check_missing(const CheckInput *in) {
        return each_planned(in, "same", ask_missing);
}

/* Written through one host's page cache, a file is not what the other host reads. */
CheckVerdict check_cache(const CheckInput *in) {
        CheckVerdict v = CHECK_RULE_NOT_NEEDED;

        for (size_t i = 0; i < in->source->n_disks; i++) {
                const CheckDisk *d = &in->source->disks[i];

                if (!is(d->plan, "shared"))
                        continue;
                if (!d->cache[0])
                        v = v == CHECK_RULE_FIRES ? v : CHECK_RULE_UNKNOWN;
                else if (!is(d->cache, "none") && !is(d->cache, "directsync"))
                        v = check_found(in, in->source,
                                        "%.200s: a shared disk with cache mode %.32s", d->path,
                                        d->cache);
                else if (v == CHECK_RULE_NOT_NEEDED)
                        v = CHECK_RULE_PASSES;
        }
        return v;
}

/* -- image layers -- */

CheckVerdict check_layers(const CheckInput *in) {
        const CheckFacts *d = in->destination;

        if (UNKNOWN(d->layers_missing) || UNKNOWN(d->layers_bytes))
                return CHECK_RULE_UNKNOWN;
        return d->layers_missing > 0
                       ? check_found(in, d,
                                     "%llu image layers are not there: %llu MiB will be sent",
                                     ULL(d->layers_missing), MIB(d->layers_bytes))
                       : CHECK_RULE_PASSES;
}

CheckVerdict check_layers_space(const CheckInput *in) {
        const CheckFacts *d = in->destination;

        if (UNKNOWN(d->layers_bytes) || (d->layers_bytes > 0 && UNKNOWN(d->layers_free)))
                return CHECK_RULE_UNKNOWN;
        return d->layers_bytes > 0 && d->layers_bytes > d->layers_free
                       ? check_found(in, d,
                                     "image layers need %llu MiB of space, %llu MiB are free",
                                     MIB(d->layers_bytes), MIB(d->layers_free))
                       : CHECK_RULE_PASSES;
}
