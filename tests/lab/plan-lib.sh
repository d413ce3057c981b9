# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For lab tests of plans. Sourced after lib.sh.

# What the plans keep on both hosts is this test's own.
forget() {
        local h

        for h in h1 h2; do
                on $h sh -c 'rm -rf /var/lib/podferry/plans'
        done
}

# Where the pods t-p1 ... are, as in "h1 h2 h2"; with a host twice or none, so.
where() {
        local p h found line=''

        for p in "$@"; do
                found=''
                for h in h1 h2; do
                        on $h virsh -q -c qemu:///system domstate "podferry-$p" 2>/dev/null | grep -q running &&
                                found="$found$h"
                done
                line="$line ${found:-none}"
        done
        echo "${line# }"
}

# The counter's lines, from 1, none missing and none twice, and it goes on.
whole() {
        pf "$1" logs "$2" | awk '$1 == "count" { n++; if ($2 != n && !bad) bad = n } END { print (bad ? "hole at " bad : n ? "whole" : "nothing") }'
}
