#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One host: what a user does with a pod that stays where it is.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
begin

out=$(pf h1 run --rm --name t-echo --rootfs "$rootfs" -- /bin/sh -c 'echo to stdout; echo to stderr >&2; exit 7' 2>"$work/err")
is "$?" 7 "run passes the container's exit status on"
is "$out" "to stdout" "stdout is stdout"
is "$(grep -v '^podferry: ' "$work/err")" "to stderr" "stderr is stderr"
like "$(pf h1 ps --json)" '^$' "a pod run with --rm is gone when its command ends"

is "$(echo "a line" | pf h1 run --rm --name t-cat --rootfs "$rootfs" --interactive -- /bin/cat)" "a line" "stdin reaches the container, and its end too"
is "$(pf h1 run --rm --name t-env --rootfs "$rootfs" --env A='x y' --env B= -- /bin/sh -c 'echo "$A|$B|$PATH"' | cut -d'|' -f1,2)" "x y|" "--env"
is "$(pf h1 run --rm --name t-res --rootfs "$rootfs" --memory 160M --cpus 1 -- /bin/sh -c 'n=$(sed -n "s/MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo); [ $n -gt 100000 ] && [ $n -lt 165000 ] && grep -c ^processor /proc/cpuinfo')" 1 "--memory and --cpus size the virtual machine"

# The root as it comes: a tar archive, and images of every kind that the guest knows, under names that say nothing.
tar -C "$rootfs" -czf "$work/root1" . && mkfs.erofs --quiet "$work/root2" "$rootfs" >/dev/null 2>&1 &&
        mksquashfs "$rootfs" "$work/root3" -quiet -no-progress -comp zstd >/dev/null &&
        truncate -s 64M "$work/root4" && mkfs.ext4 -q -F -d "$rootfs" "$work/root4" || bail "images could not be made"
for i in 1:tar 2:erofs 3:squashfs 4:ext4; do
        is "$(pf h1 run --rm --name t-img --rootfs "$work/root${i%:*}" -- /bin/cat /etc/image)" "a file of the image" "--rootfs takes ${i#*:}"
done

mkdir "$work/bare" && cp -a "$rootfs/bin" "$work/bare" || bail "a root without mount points"
truncate -s 32M "$work/in" && mkfs.ext4 -q -F "$work/in" || bail "mkfs.ext4"
is "$(pf h1 run --rm --name t-ro --rootfs "$work/bare" --read-only --net user --volume "$work/in:/srv/in" -- /bin/sh -c \
        'touch /bin/x /srv/x 2>/dev/null; ls /bin/x /srv/x 2>/dev/null; cat /proc/1/comm; touch /srv/in/x && ls /srv/in/x; cat /etc/resolv.conf >/dev/null && echo names')" \
        $'sh\n/srv/in/x\nnames' "--read-only: a root of one layer, without mount points, has all that is mounted, and cannot be written"

run h1 t-a /bin/probe count 50
ok "run --detach" || diag "$(cat "$work/err")"
like "$(pf h1 ps)" 't-a.*running' "ps shows it running"
pf h1 ps --json | jq -e . >/dev/null
ok "ps --json is JSON" H16
until_ok 20 eval 'pf h1 logs t-a | grep -q "^count 3 "'
ok "logs shows what it says"
is "$(pf h1 exec t-a /bin/sh -c 'echo in; exit 5'; echo $?)" $'in\n5' "exec: output and exit status" H8
is "$(echo words | pf h1 exec --interactive t-a /bin/cat)" "words" "exec: stdin"
is "$(pf h1 exec t-a /bin/nosuch >/dev/null 2>&1; echo $?)" 127 "exec of what is not there is 127"
is "$(pf h1 exec t-a /etc/image >/dev/null 2>&1; echo $?)" 126 "exec of what cannot be run is 126"
is "$(pf h1 exec --env Z=1 t-a /bin/sh -c 'echo $Z')" 1 "exec --env"
is "$(script -qec "$lab enter h1 $podferry exec --tty t-a /bin/sh -c 'tty >/dev/null && echo is a tty'" /dev/null </dev/null | tr -d '\r')" "is a tty" "exec --tty" H17
is "$(pf h1 exec t-a /bin/cat /etc/image)" "a file of the image" "the image is the container's root"
pf h1 exec t-a /bin/sh -c 'echo kept >/tmp/x && sync' && is "$(pf h1 exec t-a /bin/cat /tmp/x)" kept "the root is writable"
like "$(pf h1 inspect t-a | tr '\n' '|')" 'Pod t-a\|.*machine +running: 256 MiB, 1 CPU.*Container main: running.*init +running +[0-9]+ no .*DISK .*layer +ro +.* attached' "inspect is a page for people"
pf h1 inspect --json t-a | jq -e . >/dev/null
ok "inspect is JSON"

pf h1 run --pod t-a --container second --rootfs "$rootfs" --detach -- /bin/sh -c 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done'
ok "a second container joins the pod" H8
is "$(pf h1 exec t-a/second /bin/sh -c 'test -e /tmp/x; echo $?')" 1 "with a writable layer of its own"
is "$(on h1 virsh -q -c qemu:///system list --name | grep -c podferry-t-a)" 1 "both in one virtual machine"
until_ok 20 eval 'pf h1 logs t-a/second | grep -q ready'
pf h1 kill --signal TERM t-a/second
ok "kill" H17
until_ok 20 eval 'pf h1 ps --json | grep -q stopped'
ok "and it has stopped"
pf h1 rm t-a/second
ok "rm of a stopped container"
like "$(pf h1 ps)" 't-a.*running' "the other one runs on"

truncate -s 32M "$work/volume" && mkfs.ext4 -q -F "$work/volume" || bail "mkfs.ext4"
pf h1 run --rm --name t-v --rootfs "$rootfs" --volume "$work/volume:/mnt" -- /bin/sh -c 'echo data >/mnt/file && sync'
ok "a volume can be written" H7
is "$(pf h1 run --rm --name t-v --rootfs "$rootfs" --volume "$work/volume:/mnt:ro" -- /bin/sh -c 'cat /mnt/file; touch /mnt/no 2>/dev/null || echo read-only')" $'data\nread-only' "it keeps what was written, and :ro is read-only"

pf h1 stop t-a
ok "stop"
until_ok 20 eval '! pf h1 ps | grep -q running'
pf h1 rm t-a 2>/dev/null || pf h1 rm --force t-a
ok "rm"
is "$(pf h1 logs t-a >/dev/null 2>"$work/err"; echo $?)" 125 "what is gone is an error of podferry's own (125)"
like "$(cat "$work/err")" 't-a' "that names it"
finish
