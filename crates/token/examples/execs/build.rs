//! Builds the BPF object and its skeleton.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "src/execs.bpf.c";

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    println!("cargo:rerun-if-changed={SOURCE}");
    SkeletonBuilder::new()
        .source(SOURCE)
        .clang("clang-19")
        .clang_args(["-mcpu=v3", "-Wall", "-Wextra", "-Werror"])
        .build_and_generate(out.join("execs.skel.rs"))
        .with_context(|| format!("building {SOURCE}"))
}
