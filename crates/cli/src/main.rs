//! `bpftrust`: code signing for BPF on Linux.

mod output;

fn main() {}
