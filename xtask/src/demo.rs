//! `cargo xtask demo`: the main job on real loaders, in a microVM.

use crate::vm;
use anyhow::Result;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// The kernel's series
    #[arg(long, value_name = "SERIES", default_value = "6.18")]
    kernel: String,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    vm::run(&vm::Arguments {
        kernel: vec![arguments.kernel.clone()],
        exec: Some("bpftrust-guest demo".to_owned()),
        timeout: vm::TIMEOUT,
        ..vm::Arguments::default()
    })
}
