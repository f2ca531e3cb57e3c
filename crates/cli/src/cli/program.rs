//! Arguments of `program`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::KeyArgs;

/// Arguments of `program`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub struct ProgramArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ProgramVerb,
}

/// What `program` does.
#[derive(Debug, Subcommand)]
pub enum ProgramVerb {
    /// Make a signed light skeleton of a BPF object, which kernels verify when it is loaded
    ///
    /// Needs no privilege, and asks nothing of the kernel that it runs on.
    Sign(ProgramSignArgs),
    /// Show what is in a signed light skeleton, which kernels take it, and who signed it
    Inspect(ProgramInspectArgs),
    /// Have the kernel verify a signed light skeleton and load what is in it
    Load(ProgramLoadArgs),
}

/// Kernels that a light skeleton is signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignFor {
    /// Linux 6.18 and later before 7.3: instructions are signed
    #[value(name = "6.18")]
    Linux618,
    /// Linux 7.3 and later: instructions and metadata are signed
    #[value(name = "7.3")]
    Linux73,
    /// Each in its own form
    Both,
}

/// Arguments of `program sign`.
#[derive(Debug, Args)]
pub struct ProgramSignArgs {
    /// The key that signs.
    #[command(flatten)]
    pub key: KeyArgs,
    /// Kernels that are to verify it
    #[arg(long = "for", value_enum, value_name = "KERNEL", default_value_t = SignFor::Both)]
    pub kernels: SignFor,
    /// File to write, wholly or not at all
    #[arg(short, long, value_name = "OUT")]
    pub out: PathBuf,
    /// BPF object, as a compiler or `bpftool gen object` makes it
    #[arg(value_name = "OBJECT")]
    pub object: PathBuf,
}

/// Arguments of `program inspect`.
#[derive(Debug, Args)]
pub struct ProgramInspectArgs {
    /// Certificates to verify with, may be given more than once; without one nothing is verified
    #[arg(long = "certificate", value_name = "CERT.pem")]
    pub certificates: Vec<PathBuf>,
    /// Accept a certificate that may issue others (CA:TRUE)
    #[arg(long)]
    pub allow_issuer: bool,
    /// Print one line of JSON per file
    #[arg(long)]
    pub json: bool,
    /// What `program sign` wrote
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Arguments of `program load`.
#[derive(Debug, Args)]
pub struct ProgramLoadArgs {
    /// Directory of a bpffs to pin programs and maps in; without it they end with this command
    #[arg(long, value_name = "DIR")]
    pub pin: Option<PathBuf>,
    /// Directory of a bpffs that delegates, whose token all is loaded by; default: under
    /// bpftrust run that of it, else none
    #[arg(long, value_name = "PATH")]
    pub token: Option<PathBuf>,
    /// Serial of the keyring that is to verify it; default: that of its key in the policy in force
    #[arg(long, value_name = "SERIAL", allow_negative_numbers = true)]
    pub keyring: Option<i32>,
    /// What `program sign` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
