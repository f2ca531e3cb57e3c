//! `cargo xtask bench`: what bpftrust costs, in instructions of guests.
//!
//! - [`columns`]: what is compared
//! - [`compared`]: what the columns that are not bpftrust need of the host
//! - [`mod@run`]: the guests
//! - [`found`]: what they said
//! - [`document`]: tables, plots, `docs/cost.md`
//! - [`boots`]: how boots differ
//! - [`goals`]: what figures are held to
//! - [`code`]: how the kernel calls a hook
//! - [`table`], [`plot`]: how they look

mod boots;
mod code;
mod columns;
mod compared;
mod document;
mod found;
mod goals;
mod plot;
mod run;
pub mod table;

use anyhow::Result;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Run only these rows; repeatable (all of them, if absent)
    #[arg(long, value_name = "NAME")]
    rows: Vec<String>,

    /// The kernel's series, such as 6.18; repeatable (all of them, if absent)
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,

    /// Run only these columns, such as nothing, audit, enforce; repeatable (all, if absent)
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,

    /// Loops of each row
    #[arg(long, value_name = "N", default_value_t = 5)]
    loops: u32,

    /// Boot each guest so many times, to see how boots differ
    #[arg(long, value_name = "N", default_value_t = 1)]
    boots: u32,

    /// Run one of so many rounds, to see whether all works
    #[arg(long, value_name = "N", default_value_t = 1)]
    share: u32,

    /// Also count what each of bpftrust's programs takes, in the column enforce
    #[arg(long)]
    programs: bool,

    /// Run nothing: write tables and document from what was last found
    #[arg(long, conflicts_with_all = ["kernel", "rows", "column"])]
    write: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !arguments.write {
        run::run(arguments)?;
    }
    document::write()?;
    Ok(ExitCode::SUCCESS)
}
