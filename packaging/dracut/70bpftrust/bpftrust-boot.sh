#!/bin/sh
# Sourced: has bpftrust start before the real root's init is executed, and the boot go
# on whatever comes of it.

# busybox's switch_root, a word of its shell, leaves /sys where nobody reaches it, and the
# pins with it; systemd's and util-linux's move it.
case ${DRACUT_SYSTEMD:+/}$(command -v switch_root) in
/*)
	/usr/bin/bpftrust boot --initramfs || :
	;;
*)
	echo "<3>bpftrust: not started from this image: busybox's switch_root would lose the" \
		"pins; leave busybox out of it, too" >/dev/kmsg
	;;
esac
