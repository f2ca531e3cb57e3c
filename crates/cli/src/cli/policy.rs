//! Arguments of `policy` and `permit`.

use std::path::PathBuf;

use bpftrust_signature::Nonce;
use clap::{Args, Subcommand};

use super::KeyArgs;

/// Arguments of `policy`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: PolicyVerb,
}

/// What `policy` does.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Ask whether a file is a policy that `enforce` would take
    Check(PolicyCheckArgs),
    /// Show what a policy means, with everything that it leaves unsaid
    Show(PolicyShowArgs),
    /// Let a policy take the place of the one that is enforced, at once
    Apply(PolicyApplyArgs),
    /// Put a policy and its certificates into one file, to be signed
    Compile(PolicyCompileArgs),
    /// Sign a policy with a policy key, for sealed guards
    Sign(PolicySignArgs),
}

/// Arguments of `policy compile`.
#[derive(Debug, Args)]
pub struct PolicyCompileArgs {
    /// File to write: the same bytes for the same policy
    #[arg(long, value_name = "OUT")]
    pub out: PathBuf,
    /// Policy file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `policy sign`.
#[derive(Debug, Args)]
pub struct PolicySignArgs {
    /// The key that signs.
    #[command(flatten)]
    pub key: KeyArgs,
    /// File to write; default FILE itself, if it is compiled
    #[arg(long, value_name = "OUT")]
    pub out: Option<PathBuf>,
    /// Policy file, or what `policy compile` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `permit`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub struct PermitArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: PermitVerb,
}

/// What `permit` does.
#[derive(Debug, Subcommand)]
pub enum PermitVerb {
    /// Sign a permit, where the policy key is
    Make(PermitMakeArgs),
    /// Hand a permit to the guard of this machine
    Use(PermitUseArgs),
}

/// Arguments of `permit make`.
#[derive(Debug, Args)]
#[command(after_help = "\
`bpftrust status` on the machine shows nonce and boot time. The permit works on that machine, once, \
until its time has passed or the machine is started again.")]
pub struct PermitMakeArgs {
    /// The key that signs.
    #[command(flatten)]
    pub key: KeyArgs,
    /// What the guard is called until its next permit
    #[arg(long, value_name = "HEX")]
    pub nonce: Nonce,
    /// Seconds since the machine was started, from which the minutes count
    #[arg(long, value_name = "SECONDS")]
    pub boot_time: u64,
    /// How long the seal may be lifted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub minutes: u32,
    /// File to write
    #[arg(long, value_name = "PERMIT")]
    pub out: PathBuf,
}

/// Arguments of `permit use`.
#[derive(Debug, Args)]
pub struct PermitUseArgs {
    /// What `permit make` wrote
    #[arg(value_name = "PERMIT")]
    pub file: PathBuf,
}

/// Arguments of `policy apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Processes that the policy refuses lose their trust, and get it back only when they are executed \
again. The others go on, with the rights that the policy leaves them.")]
pub struct PolicyApplyArgs {
    /// The guard audits, whatever the policy says
    #[arg(long)]
    pub audit: bool,
    /// Policy file, in TOML or compiled; default /etc/bpftrust/policy.toml
    #[arg(value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

/// Arguments of `policy check`.
#[derive(Debug, Args)]
pub struct PolicyCheckArgs {
    /// Policy file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `policy show`.
#[derive(Debug, Args)]
pub struct PolicyShowArgs {
    /// Policy file; default /etc/bpftrust/policy.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
