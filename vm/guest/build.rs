//! Builds the BPF object that tests sign.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/sample.bpf.c";

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    println!("cargo:rerun-if-changed={SOURCE}");
    SkeletonBuilder::new()
        .source(SOURCE)
        .obj(out.join("sample.bpf.o"))
        .clang("clang-19")
        .clang_args(["-mcpu=v3", "-Wall", "-Wextra", "-Werror"])
        .build()
        .with_context(|| format!("building {SOURCE}"))
}
