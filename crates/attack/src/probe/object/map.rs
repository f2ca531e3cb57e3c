//! Maps, one of each type.

use super::bpf::{self, Attributes};
use super::btf;
use super::token::Offer;
use std::io;
use std::os::fd::OwnedFd;

/// How little of a type of map the kernel makes.
#[derive(Clone, Copy)]
pub struct Shape {
    /// As libbpf says it, but for what has other flags.
    name: &'static str,
    /// `enum bpf_map_type`
    number: u32,
    /// Bytes.
    key: u32,
    /// Bytes.
    value: u32,
    entries: u32,
    flags: u32,
    /// Key and value have BTF.
    typed: bool,
}

/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`
const MMAPABLE: u32 = 1 << 10;
const PAGE: u32 = 4096;

const fn shape(name: &'static str, number: u32, key: u32, value: u32, entries: u32) -> Shape {
    Shape {
        name,
        number,
        key,
        value,
        entries,
        flags: 0,
        typed: false,
    }
}

const fn with_flags(flags: u32, shape: Shape) -> Shape {
    Shape { flags, ..shape }
}

const fn storage(name: &'static str, number: u32) -> Shape {
    Shape {
        typed: true,
        flags: NO_PREALLOC,
        ..shape(name, number, 4, 4, 0)
    }
}

const SHAPES: &[Shape] = &[
    shape("hash", 1, 4, 4, 1),
    shape("array", 2, 4, 4, 1),
    with_flags(MMAPABLE, shape("mmapable_array", 2, 4, 8, 1)),
    Shape {
        typed: true,
        ..shape("array_typed", 2, 4, 4, 1)
    },
    shape("prog_array", 3, 4, 4, 1),
    shape("perf_event_array", 4, 4, 4, 1),
    shape("percpu_hash", 5, 4, 4, 1),
    shape("percpu_array", 6, 4, 4, 1),
    shape("stack_trace", 7, 4, 8, 1),
    shape("cgroup_array", 8, 4, 4, 1),
    shape("lru_hash", 9, 4, 4, 1),
    shape("lru_percpu_hash", 10, 4, 4, 1),
    with_flags(NO_PREALLOC, shape("lpm_trie", 11, 8, 4, 1)),
    // These two need an inner map.
    shape("array_of_maps", 12, 4, 4, 1),
    shape("hash_of_maps", 13, 4, 4, 1),
    shape("devmap", 14, 4, 4, 1),
    shape("sockmap", 15, 4, 4, 1),
    shape("cpumap", 16, 4, 4, 1),
    shape("xskmap", 17, 4, 4, 1),
    shape("sockhash", 18, 4, 4, 1),
    shape("cgroup_storage", 19, 8, 4, 0),
    shape("reuseport_sockarray", 20, 4, 4, 1),
    shape("percpu_cgroup_storage", 21, 8, 4, 0),
    shape("queue", 22, 0, 4, 1),
    shape("stack", 23, 0, 4, 1),
    storage("sk_storage", 24),
    shape("devmap_hash", 25, 4, 4, 1),
    shape("ringbuf", 27, 0, 0, PAGE),
    storage("inode_storage", 28),
    storage("task_storage", 29),
    shape("bloom_filter", 30, 0, 4, 1),
    shape("user_ringbuf", 31, 0, 0, PAGE),
    storage("cgrp_storage", 32),
    with_flags(MMAPABLE, shape("arena", 33, 0, 0, 1)),
    shape("insn_array", 34, 4, 16, 1),
    // New in 7.3; libbpf 1.7 has no name for it.
    with_flags(NO_PREALLOC, shape("rhash", 35, 4, 4, 1)),
];

/// The shape of that name.
pub fn shape_of(name: &str) -> Option<Shape> {
    SHAPES.iter().find(|shape| shape.name == name).copied()
}

/// An array of one value of that many bytes.
pub fn array(value: u32) -> io::Result<OwnedFd> {
    make(shape("array", 2, 4, value, 1))
}

/// The same, for the program alone whose instructions have this SHA-256.
pub fn exclusive_array(value: u32, program: &[u8; 32]) -> io::Result<OwnedFd> {
    let attributes = Attributes::new().input(80, program).word(88, 32);
    make_with(shape("array", 2, 4, value, 1), attributes)
}

/// Makes a map.
pub fn make(shape: Shape) -> io::Result<OwnedFd> {
    make_with(shape, Attributes::new())
}

/// Makes a map that has this name in the kernel.
pub fn make_named(shape: Shape, name: &str) -> io::Result<OwnedFd> {
    make_with(shape, Attributes::new().text(28, name))
}

/// Makes a map of maps that are like `inner`.
pub fn make_outer(outer: Shape, inner: &OwnedFd) -> io::Result<OwnedFd> {
    make_with(outer, Attributes::new().file(20, inner))
}

fn make_with(shape: Shape, attributes: Attributes<'_>) -> io::Result<OwnedFd> {
    let offer = Offer::now()?;
    let attributes = attributes
        .word(0, shape.number)
        .word(4, shape.key)
        .word(8, shape.value)
        .word(12, shape.entries);
    let mut attributes = offer.with(attributes, (16, shape.flags), 76);
    let types = shape.typed.then(load_types).transpose()?;
    if let Some(types) = &types {
        attributes = attributes.file(48, types).word(52, 1).word(56, 1);
    }
    bpf::open(bpf::MAP_CREATE, &mut attributes)
}

/// Makes a map for a congestion control of TCP, which nothing fills.
///
/// The kernel allocates the map before it asks the hook (map_create), so all
/// that it looks at there must be right: the structure and its size.
pub fn make_struct_ops() -> io::Result<OwnedFd> {
    let value = btf::find(btf::Kind::Struct, "bpf_struct_ops_tcp_congestion_ops")?;
    let types = load_types()?;
    let attributes = Attributes::new().file(48, &types).word(60, value.id);
    make_with(shape("struct_ops", 26, 4, value.size, 1), attributes)
}

/// BTF with one type, 1: `int`.
pub fn load_types() -> io::Result<OwnedFd> {
    const STRINGS: &[u8] = b"\0int\0";
    let words: [u32; 10] = [
        // Header: magic, version and flags; its size; where the types are and
        // how long; where the strings are and how long.
        0x0001_eb9f,
        24,
        0,
        16,
        16,
        5,
        // The name's offset; kind INT; 4 bytes; signed, 32 bits.
        1,
        1 << 24,
        4,
        1 << 24 | 32,
    ];
    let mut types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    types.extend(STRINGS);
    let size = types.len() as u32;
    let offer = Offer::now()?;
    let attributes = Attributes::new().input(0, &types).word(16, size);
    bpf::open(bpf::BTF_LOAD, &mut offer.with(attributes, (32, 0), 36))
}
