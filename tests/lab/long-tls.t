#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libvirt's own transport, encrypted: the two libvirtd know each other by certificates of an authority that they share, and
# memory and disks go by TLS, too.
# shellcheck disable=SC2034,SC2154
. "$(dirname "$0")/lib.sh"
begin
pki=/etc/libvirt/pki

# authority DIR: a certificate authority.
authority() {
        mkdir -p "$1"
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=authority" -keyout "$1/key.pem" -out "$1/cacert.pem" 2>"$work/openssl"
}

# certify DIR NAME ADDRESS: NAME-cert.pem and NAME-key.pem for a host, for both sides of a connection.
certify() {
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$1/$2-key.pem" -out "$work/request.pem" 2>"$work/openssl" &&
                openssl x509 -req -in "$work/request.pem" -CA "$1/cacert.pem" -CAkey "$1/key.pem" -CAcreateserial -days 2 \
                        -extfile <(echo "subjectAltName=DNS:$2,IP:$3" && echo "extendedKeyUsage=serverAuth,clientAuth") \
                        -out "$1/$2-cert.pem" 2>"$work/openssl"
}

# equip HOST DIR: its libvirtd has the certificate of DIR, and listens for TLS.
equip() {
        local host=$1 from=$2 name

        on "$host" mkdir -p $pki
        for name in server client; do
                on "$host" cp "$from/$host-cert.pem" $pki/${name}cert.pem && on "$host" cp "$from/$host-key.pem" $pki/${name}key.pem
        done
        on "$host" cp "$from/cacert.pem" $pki/
        # the names that libvirt has for ca-cert, server-cert ... in one directory, for a server and for QEMU
        for name in ca server client; do
                on "$host" cp $pki/${name}cert.pem "$pki/$name-cert.pem"
                [ $name = ca ] || on "$host" cp $pki/${name}key.pem "$pki/$name-key.pem"
        done
        "$lab" libvirtd "$host" restart
        until_ok 30 on "$host" virsh -q -c qemu:///system list
}

for h in h1 h2; do
        on $h cp /etc/libvirt/libvirtd.conf /etc/libvirt/libvirtd.conf.plain
        on $h cp /etc/libvirt/qemu.conf /etc/libvirt/qemu.conf.plain
        on $h sh -c "sed -i 's/^listen_tls.*/listen_tls = 1/' /etc/libvirt/libvirtd.conf
                printf '%s\n' 'ca_file = \"$pki/cacert.pem\"' 'cert_file = \"$pki/servercert.pem\"' 'key_file = \"$pki/serverkey.pem\"' >>/etc/libvirt/libvirtd.conf
                printf '%s\n' 'migrate_tls_x509_cert_dir = \"$pki\"' 'migrate_tls_x509_verify = 1' >>/etc/libvirt/qemu.conf"
done
authority "$work/ca" && certify "$work/ca" h1 10.213.0.1 && certify "$work/ca" h2 10.213.0.2
ok "certificates" || diag "$(cat "$work/openssl")"
equip h1 "$work/ca" && equip h2 "$work/ca"
ok "two libvirtd that listen for TLS"
way="libvirt+tls://10.213.0.2/system?pkipath=$pki"

run h1 t-t /bin/probe count 10 >/dev/null
pf h1 run --pod t-t --container memory --rootfs "$rootfs" --detach -- /bin/probe memory 32 50
ok "a pod"

pf h1 check t-t --to "$(to h2)" --transport "$way" >"$work/out" 2>&1
ok "check finds nothing in the way" F10 F30 || diag "$(cat "$work/out")"
move h1 t-t --transport "$way" --migrate-uri tcp://10.213.0.2 --cutover hold >"$work/out" 2>&1 &
mover=$!
until_ok 20 eval 'on h1 virsh -q -c qemu:///system qemu-monitor-command podferry-t-t "{\"execute\":\"query-migrate-parameters\"}" | grep -q "\"tls-creds\":\"objlibvirt_migrate_tls0\""'
ok "QEMU encrypts" F30 || diag "$(cat "$work/out")"
pf h1 migration cutover t-t 2>/dev/null # it may have gone by itself
wait $mover
ok "it moves" F30 || diag "$(cat "$work/out")"
n=$(pf h2 logs t-t/main | tail -n 1 | cut -d' ' -f2)
until_ok 30 eval "pf h2 logs t-t/main | grep -q '^count $((n + 50)) '"
is "$(pf h2 logs t-t/main | awk '$1 == "count" { n++; if ($2 != n && !bad) bad = n } END { print bad ? "hole at " bad : "whole" }')" whole "it goes on, and its output is whole" B1
is "$(pf h2 logs t-t/memory | grep -c BAD)" 0 "its memory is as it was"
move h2 t-t >"$work/out" 2>&1
ok "and back, over the shims' transport"

# A host with a certificate that the other one does not trust.
authority "$work/other" && certify "$work/other" h1 10.213.0.1
equip h1 "$work/other"
move h1 t-t --transport "$way" --migrate-uri tcp://10.213.0.2 >"$work/out" 2>&1
is $? 125 "a certificate of another authority is refused" F30
like "$(cat "$work/out")" '(certificate|issuer).*' "libvirt's reason is told" F30
until_ok 30 eval "pf h1 logs t-t/main | tail -n 1 | grep -q '^count'"
is "$(on h1 virsh -q -c qemu:///system domstate podferry-t-t)" running "the pod runs on where it was" F84

pf h1 rm --force t-t
for h in h1 h2; do
        on $h sh -c "rm -rf $pki && mv /etc/libvirt/libvirtd.conf.plain /etc/libvirt/libvirtd.conf && mv /etc/libvirt/qemu.conf.plain /etc/libvirt/qemu.conf"
        "$lab" libvirtd $h restart
done
finish
