//! Arguments of `boot`.

use clap::Args;

/// Arguments of `boot`.
#[derive(Debug, Args)]
#[command(after_help = "\
On the kernel's command line, bpftrust=off has it enforce nothing and bpftrust=audit refuse nothing; \
the last one counts. A policy with `sealed = true` under [boot] takes neither, and enforces sealed.

What enforces already stays as it is.

Exit status: 0 done, 1 nothing is enforced because the command line says so, 2 could not be done.")]
pub struct BootArgs {
    /// Be in an initramfs: mount what is needed, say everything to the kernel's log
    #[arg(long)]
    pub initramfs: bool,
}
