# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the lab tests share. A test sources this, prints TAP, and ends with `finish`. hack/test gives it
# PODFERRY_BUILD (meson's build directory), PODFERRY_GUEST_DIR (the guest image) and PODFERRY_LAB, with the
# lab up; started by hand it takes build/test, makes what is missing and uses a lab of its own.
#
# A pod of a test is named t-...; whatever is left of one at the end is removed and counted as a leak.
set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PODFERRY_BUILD=${PODFERRY_BUILD:-$top/build/test}
export PODFERRY_GUEST_DIR=${PODFERRY_GUEST_DIR:-$PODFERRY_BUILD/image}
export PODFERRY_LAB=${PODFERRY_LAB:-podferry-test}
lab=$top/hack/lab
podferry=$PODFERRY_BUILD/shim/podferry
export PATH=$PODFERRY_BUILD/shim:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/podferry-lab.XXXXXX")
n_tests=0 n_failed=0 cleaned=''

diag() {
        sed 's/^/# /' <<<"$*"
}

# ok DESCRIPTION [ROW...]: the status of the command before it is the result.
ok() {
        local status=$? what=$1

        shift
        n_tests=$((n_tests + 1))
        [ $# -eq 0 ] || echo "# rows: $*"
        if [ $status -eq 0 ]; then
                echo "ok $n_tests - $what"
        else
                n_failed=$((n_failed + 1))
                echo "not ok $n_tests - $what"
        fi
        return $status
}

# is GOT WANTED DESCRIPTION [ROW...]
is() {
        local got=$1 wanted=$2

        shift 2
        [ "$got" = "$wanted" ]
        ok "$@" && return
        diag "got:    $got" $'\n'"wanted: $wanted"
        return 1 # the test may have more to say
}

# like GOT REGEX DESCRIPTION [ROW...]
like() {
        local got=$1 wanted=$2

        shift 2
        [[ $got =~ $wanted ]]
        ok "$@" && return
        diag "got:         $got" $'\n'"should match: $wanted"
        return 1
}

skip() {
        n_tests=$((n_tests + 1))
        echo "ok $n_tests - $1 # SKIP $2"
}

skip_all() {
        echo "1..0 # SKIP $1"
        exit 0
}

bail() {
        echo "Bail out! $*"
        exit 1
}

on() {
        "$lab" enter "$@"
}

# pf HOST ARGUMENT...: the CLI there. What hangs is ended after 100 s (status 124).
pf() {
        local host=$1

        shift
        timeout -k 2 100 "$lab" enter "$host" "$podferry" "$@"
}

other() {
        [ "$1" = h1 ] && echo h2 || echo h1
}

# How the CLI on one host reaches the other.
to() {
        echo "exec:$lab enter $1"
}

# move FROM POD [OPTION...]: migrates to the other host.
move() {
        local from=$1 pod=$2

        shift 2
        pf "$from" migrate "$pod" --to "$(to "$(other "$from")")" "$@"
}

# way_through COMMAND: makes the command "$work/way", a way to h2 on which the transport's bytes go through COMMAND first.
way_through() {
        cat >"$work/way" <<END
#!/bin/sh
case " \$* " in
*" --transport "*) $1 | "$lab" enter h2 "\$@" ;;
*) exec "$lab" enter h2 "\$@" ;;
esac
END
        chmod +x "$work/way"
}

# until_ok SECONDS COMMAND...: for what nothing else tells. Polls every 20 ms.
until_ok() {
        local end=$((SECONDS + $1))

        shift
        until "$@" >/dev/null 2>&1; do
                [ $SECONDS -lt $end ] || return 1
                sleep 0.02
        done
}

# The root file system of the containers: the probe, and busybox for its shell.
make_rootfs() {
        local r=$PODFERRY_BUILD/rootfs

        (
                flock 9
                if [ ! -e "$r/bin/netprobe" ] || [ "$top/tests/lab/probe.c" -nt "$r/bin/probe" ] ||
                        [ "$top/tests/lab/netprobe.c" -nt "$r/bin/netprobe" ]; then
                        rm -rf "$r" "$r.new"
                        mkdir -p "$r.new"/{bin,dev,etc,proc,sys,tmp,mnt}
                        musl-gcc -static -O2 -D_GNU_SOURCE -o "$r.new/bin/probe" "$top/tests/lab/probe.c" || exit 1
                        musl-gcc -static -O2 -D_GNU_SOURCE -o "$r.new/bin/netprobe" "$top/tests/lab/netprobe.c" || exit 1
                        cp /bin/busybox "$r.new/bin/busybox" || exit 1
                        for c in sh cat echo sleep ls stat dd kill ps true false id env stty test wc head tail printf \
                                sha256sum seq mount ip ping nslookup df date touch rm sync hostname tty od cut nice; do
                                ln -s busybox "$r.new/bin/$c"
                        done
                        echo root:x:0:0:root:/root:/bin/sh >"$r.new/etc/passwd"
                        echo "a file of the image" >"$r.new/etc/image"
                        mv "$r.new" "$r"
                fi
        ) 9>"$PODFERRY_BUILD/rootfs.lock" || bail "no root file system"
        rootfs=$r
}

# run HOST POD COMMAND...: a detached pod with one container.
run() {
        local host=$1 pod=$2

        shift 2
        pf "$host" run --rootfs "$rootfs" --name "$pod" --detach -- "$@"
}

# Everything that a pod may leave: one line each. The same before and after a test means no leak.
leftovers() {
        local h

        for h in h1 h2; do
                on $h sh -c '
                        ls -d /run/podferry/* /var/lib/podferry/pods/* 2>/dev/null
                        virsh -q -c qemu:///system list --all --name | sed "/^$/d;s/^/domain /"
                        ip -o link | sed "s/^[0-9]*: \([^:@]*\).*/link \1/"
                        grep -cv " /run/netns" /proc/self/mountinfo | sed "s/^/mounts /"
                        ls /sys/fs/cgroup 2>/dev/null | grep -i podferry | sed "s/^/cgroup /"
                ' | sed "s/^/$h: /"
        done
        ip netns list 2>/dev/null | grep "^$PODFERRY_LAB-" | sed 's/ .*//;s/^/netns /' | sort
        lab_processes
        find "$PODFERRY_GUEST_DIR" -newer "$work/begin" -type f 2>/dev/null | sed 's/^/image changed: /'
}

# Processes of the lab that are not libvirtd's own, by name.
lab_processes() {
        local h ns p

        for h in h1 h2; do
                ns=$(on $h readlink /proc/self/ns/net)
                for p in $(find /proc/[0-9]*/ns/net -maxdepth 0 -lname "$ns" 2>/dev/null | cut -d/ -f3); do
                        tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | cut -c1-80 | sed "s/^/$h: process /;s/$/\n/"
                done
        done | grep -v '^$' | sort | uniq -c
}

begin() {
        [ "$(id -u)" = 0 ] || skip_all "needs root"
        [ -x "$podferry" ] || skip_all "$podferry is not built"
        "$lab" status >/dev/null 2>&1 || "$lab" up || bail "no lab"
        make_rootfs
        touch "$work/begin"
        trap clean EXIT
        trap 'exit 130' INT TERM
        remove_pods
        leftovers >"$work/before"
}

# Ends every pod of the lab, whatever state it is in.
remove_pods() {
        local h

        for h in h1 h2; do
                on $h sh -c '
                        for d in /run/podferry/t-*; do
                                [ -d "$d" ] || continue
                                timeout 20 "$0" rm --force "${d##*/}"
                        done
                        for d in /run/podferry/t-*; do
                                [ -e "$d" ] || continue
                                pid=$(cat "$d/pid" 2>/dev/null) && kill -9 "$pid"
                                virsh -q -c qemu:///system destroy "podferry-${d##*/}"
                                rm -rf "$d" "/var/lib/podferry/pods/${d##*/}"
                        done
                        rm -rf /run/podferry/.migrate-* /var/lib/podferry/pods/t-* # those without a shim' "$podferry" >/dev/null 2>&1
        done
}

clean() {
        [ -z "$cleaned" ] || return
        cleaned=yes
        remove_pods
        rm -rf "$work"
}

# A shim and a QEMU that were told to go need a moment to be gone.
settled() {
        leftovers >"$work/after"
        cmp -s "$work/before" "$work/after"
}

# The last test of a file: nothing is left. Then the plan.
finish() {
        until_ok 30 settled
        ok "nothing is left on either host" H4 F85 || {
                diag "$(diff "$work/before" "$work/after" | grep '^[<>]' | head -n 30)"
        }
        clean
        echo "1..$n_tests"
        [ $n_failed -eq 0 ]
        exit
}
