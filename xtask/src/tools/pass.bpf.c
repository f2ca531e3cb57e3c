// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What `cargo xtask tools` has bpftool load: a socket filter that takes every packet.
__attribute__((section("socket"), used)) int pass(void *packet)
{
	return 0xffff;
}

__attribute__((section("license"), used)) char terms[] = "GPL";
