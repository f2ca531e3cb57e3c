#!/bin/sh
# A little of everything that Debian's tools look at, over and over, until killed.
exec > /dev/null 2>&1
busybox ip link set lo up
mkdir -p mounted
round=0
while :; do
    round=$((round + 1))
    dd if=/dev/vda of=/dev/null bs=4096 count=16 skip=$((round * 16)) iflag=direct
    echo "$round" > written
    cat written
    mv written moved
    stat moved
    stat -f moved
    rm moved
    dd if=/dev/zero of=synced bs=4096 count=64 conv=fsync
    cat synced
    rm synced
    sync
    mount -t tmpfs none mounted
    umount mounted
    sleep 5 &
    kill $!
    sh -c 'kill -SEGV $$'
    setpriv --reuid 1000 --regid 1000 --clear-groups true
    getent ahosts localhost
    busybox nc -l -p 7000 -e busybox cat &
    busybox usleep 100000
    echo hello | busybox nc -w 1 127.0.0.1 7000
    kill $!
    # The tools need the machine, too.
    sleep 2
done
