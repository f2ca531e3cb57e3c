#!/bin/bash
# Puts bpftrust into the initramfs, and the policy with all that it names as one file.

policy=/etc/bpftrust/policy.toml

check() {
	[ -e "$policy" ] && require_binaries bpftrust
}

depends() {
	:
}

installkernel() {
	# Keys on NIST's curves take it.
	hostonly='' instmods -s ecdsa_generic
}

install() {
	inst_multiple bpftrust
	mkdir -p "${initdir:?}/etc/bpftrust"
	# A policy that is none must not keep a host from an initramfs: this says what is
	# wrong with it, and so does the next boot.
	if ! bpftrust policy compile --out "$initdir$policy" "$policy" >/dev/null; then
		dwarn "bpftrust: no policy in this initramfs, so nothing is enforced from it"
	fi
	inst_hook pre-pivot 50 "${moddir:?}/bpftrust-boot.sh"
}
