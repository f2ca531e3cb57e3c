//! The command line's definition: what `--help`, the man pages and the shell
//! completions are made from. No behaviour here.

mod boot;
mod objects;
mod policy;
mod program;
mod recorded;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use boot::*;
pub use objects::*;
pub use policy::*;
pub use program::*;
pub use recorded::*;

/// Where `verify` looks for certificates unless told otherwise.
pub const CERTIFICATE_DIRECTORY: &str = "/etc/bpftrust/certificates";

/// Where packages put signatures of files that they, or others, install.
pub const SIGNATURES: &str = "/usr/lib/bpftrust/signatures";

/// Only signed programs may use bpf()
#[derive(Debug, Parser)]
#[command(
    name = "bpftrust",
    version,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 done or yes, 1 no, 2 could not tell or could not be done."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// One verb, with its arguments.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a key and a self-signed certificate
    Keygen(KeygenArgs),
    /// Print the fs-verity digest of files
    Digest(DigestArgs),
    /// Sign executables or libraries, or everything of that kind in a directory
    Sign(SignArgs),
    /// Put signatures that were made elsewhere on files
    Install(InstallArgs),
    /// Ask whether the signature of a file is good
    Verify(VerifyArgs),
    /// Show what a signature says, without judging it
    Inspect(InspectArgs),
    /// Ask whether this host can enforce, and what the promise rests on
    Check(CheckArgs),
    /// Show what a file would be trusted for under a policy, and why
    Explain(ExplainArgs),
    /// Check, show or change what is enforced
    Policy(PolicyArgs),
    /// Lift the seal of a guard for a time, with the word of a policy key
    Permit(PermitArgs),
    /// Start refusing bpf() to everybody who is not signed
    Enforce(EnforceArgs),
    /// Start at boot, as the policy and the kernel's command line say
    Boot(BootArgs),
    /// Stop enforcing
    Release(ReleaseArgs),
    /// Show what is enforced now, who is trusted, and which BPF tokens exist
    Status(StatusArgs),
    /// Write the guard in numbers, for Prometheus
    Metrics(MetricsArgs),
    /// Show who was allowed or refused, and why
    Events(EventsArgs),
    /// Write grants, a policy and the commands to sign, from what was recorded
    Propose(ProposeArgs),
    /// Ask what enforcing a policy would refuse of what was recorded
    Replay(ReplayArgs),
    /// Show who uses BPF here, for what, and what enforcing would break
    Report(ReportArgs),
    /// Show BPF objects and whose they are, or take their pins away
    Objects(ObjectsArgs),
    /// Sign BPF programs for kernels that verify them, and load such
    Program(ProgramArgs),
    /// Start a loader on a signed script
    #[command(subcommand)]
    Script(ScriptVerb),
    /// Execute a signed loader that has no privileges, under a BPF token
    Run(RunArgs),
    /// Try on a test machine whether what bpftrust promises holds
    Attack(AttackArgs),
    /// Write man pages and shell completions
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// Arguments of `keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Directory for key.pem and certificate.pem; made if missing, nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Kind of key
    ///
    /// RSA works on every kernel that has fs-verity; P-256 and P-384 need its
    /// `ecdsa` module and make smaller signatures.
    #[arg(long, value_enum, default_value_t = KeyAlgorithm::Rsa4096)]
    pub algorithm: KeyAlgorithm,
    /// Common name in the certificate, to tell keys apart
    #[arg(long, value_name = "NAME", default_value = "bpftrust signing key")]
    pub name: String,
    /// Days until the certificate expires
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub days: u32,
    /// Encrypt the private key; asks for a passphrase unless --passphrase-file gives it
    #[arg(long)]
    pub encrypt: bool,
    /// File whose first line is the passphrase
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    pub passphrase_file: Option<PathBuf>,
}

/// Kinds of key that `keygen` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyAlgorithm {
    /// RSA, 2048 bits
    #[value(name = "rsa-2048")]
    Rsa2048,
    /// RSA, 3072 bits
    #[value(name = "rsa-3072")]
    Rsa3072,
    /// RSA, 4096 bits
    #[value(name = "rsa-4096")]
    Rsa4096,
    /// ECDSA on NIST P-256
    P256,
    /// ECDSA on NIST P-384
    P384,
}

/// Arguments of `digest`.
#[derive(Debug, Args)]
pub struct DigestArgs {
    /// Hash function of the Merkle tree
    #[arg(long, value_enum, default_value_t = Hash::Sha256)]
    pub hash: Hash,
    /// Bytes per block: a power of two from 1024 to 65536
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub block_size: u32,
    /// Salt, at most 32 bytes in hexadecimal
    #[arg(long, value_name = "HEX", default_value = "")]
    pub salt: String,
    /// Print one line of JSON per file
    #[arg(long)]
    pub json: bool,
    /// Files to measure
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Hash functions of fs-verity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hash {
    /// SHA-256, what every signature of bpftrust uses
    Sha256,
    /// SHA-512
    Sha512,
}

/// The key of what signs.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Private key: PEM, RSA 2048, 3072 or 4096 or ECDSA P-256 or P-384
    #[arg(long, value_name = "KEY.pem")]
    pub key: PathBuf,
    /// Certificate of that key
    #[arg(long, value_name = "CERT.pem")]
    pub certificate: PathBuf,
    /// File whose first line is the passphrase of the key
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Accept a certificate that may issue others (CA:TRUE)
    #[arg(long)]
    pub allow_issuer: bool,
}

/// Arguments of `sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
In a directory, every regular file of the kind is signed: with --kind loader the ELF executables \
that somebody may execute, with --kind library the ELF shared objects, with --bare both, with \
--script what ends in .bt and what names bpftrace or bpftrust-script in a first line with #!. \
Symbolic links inside it are not followed.

With --with-libraries, the dynamic linker, the libraries that a file needs, and theirs, are signed \
first, and those in /etc/ld.so.preload. They are found in the files, without running any; one that is \
signed by the same key already is left as it is. What a program opens itself (dlopen, and so the \
modules of NSS, PAM and iconv) is signed if a note in the file names it, as systemd's do; else it \
is in no table: sign it with --kind library.

A file is signed wholly or stays as it was: the signature is stored first, where it means nothing \
yet, and enabling fs-verity makes it count.")]
pub struct SignArgs {
    /// The key that signs.
    #[command(flatten)]
    pub key: KeyArgs,
    /// What the files are: inside what is signed, so that one never passes as the other
    #[arg(long, value_enum, default_value_t = SignKind::Loader)]
    pub kind: SignKind,
    /// Sign scripts, the same as --kind script
    #[arg(long, conflicts_with_all = ["kind", "bare", "with_libraries"])]
    pub script: bool,
    /// Sign scripts that bring in other files, which nobody signs
    #[arg(long)]
    pub allow_includes: bool,
    /// What the loaders or scripts may do, and under which name; default is what the policy
    /// says, or what the script's loader may
    #[arg(long, value_name = "FILE.toml", conflicts_with = "bare")]
    pub grant: Option<PathBuf>,
    /// Sign the digest alone, as `fsverity sign` does
    #[arg(long, conflicts_with = "kind")]
    pub bare: bool,
    /// Also sign, as libraries, what the dynamic linker maps for the files
    #[arg(long, conflicts_with_all = ["bare", "detached"])]
    pub with_libraries: bool,
    /// Write the signature to a file and leave the signed file alone
    #[arg(long)]
    pub detached: bool,
    /// Where detached signatures go: a directory, or for one FILE a file name; default beside each FILE
    #[arg(long, value_name = "PATH", requires = "detached")]
    pub out: Option<PathBuf>,
    /// Put detached signatures into DIR as `install --tree` wants them, for a package
    #[arg(long, value_name = "DIR", requires = "detached", conflicts_with_all = ["out", "bare"])]
    pub tree: Option<PathBuf>,
    /// Where the root of the host is that the FILEs are for; default /
    #[arg(long, value_name = "DIR", requires = "tree")]
    pub root: Option<PathBuf>,
    /// Files and directories to sign
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Kinds of file that `sign` signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignKind {
    /// An executable that calls bpf()
    Loader,
    /// A shared object that a loader maps
    Library,
    /// What a loader is started on, by bpftrust-script
    Script,
}

/// What is done with scripts.
#[derive(Debug, Subcommand)]
pub enum ScriptVerb {
    /// Start the loader that a script's first line names on it, by bpftrust-script
    Run(ScriptRunArgs),
}

/// Arguments of `script run`.
#[derive(Debug, Args)]
pub struct ScriptRunArgs {
    /// The signed script
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its parameters, if its signature grants it some
    #[arg(
        value_name = "PARAMETER",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub parameters: Vec<OsString>,
}

/// Arguments of `install`.
#[derive(Debug, Args)]
#[command(after_help = "\
A signature is what `sign --detached` or `fsverity sign` wrote. The latter does not say which key \
made it: --certificate does, and the signature is checked against it before the file is touched.

With --tree, the directory has for /usr/sbin/tool a directory usr/sbin/tool, and in it signatures \
of any number of versions, *.bpftrust-sig, as `sign --detached --tree` writes them. The one that \
fits what the file holds now is put on it, of several that of the highest version. Done twice, it \
changes nothing. No file is touched unless a certificate of this host says that the signature is \
good; a good one by another key stays; no symbolic link is followed.

Exit status: 0 done; 1 with --tree: nothing fits a file, or it can't be checked; 2 could not be done.")]
pub struct InstallArgs {
    /// Signature of the one FILE; default FILE.bpftrust-sig
    #[arg(long, value_name = "SIGNATURE")]
    pub signature: Option<PathBuf>,
    /// Put on whatever files it is for what fits of a directory of signatures; default
    /// /usr/lib/bpftrust/signatures
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = SIGNATURES,
        conflicts_with = "signature"
    )]
    pub tree: Option<PathBuf>,
    /// Certificates to check the signature against; may be given more than once
    ///
    /// Without it, /etc/bpftrust/certificates/*.pem, and a signature by none of their keys is
    /// installed unchecked (with --tree, not at all).
    #[arg(long = "certificate", value_name = "CERT.pem")]
    pub certificates: Vec<PathBuf>,
    /// Accept a certificate that may issue others (CA:TRUE)
    #[arg(long)]
    pub allow_issuer: bool,
    /// Files that the signatures are for; with --tree default all
    #[arg(required_unless_present = "tree", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Certificates to trust, may be given more than once; default /etc/bpftrust/certificates/*.pem
    #[arg(long = "certificate", value_name = "CERT.pem")]
    pub certificates: Vec<PathBuf>,
    /// Check this detached signature of the one FILE instead of what is on the file; needs no fs-verity
    #[arg(long, value_name = "SIGNATURE")]
    pub signature: Option<PathBuf>,
    /// Accept a certificate that may issue others (CA:TRUE)
    #[arg(long)]
    pub allow_issuer: bool,
    /// Print one line of JSON per file
    #[arg(long)]
    pub json: bool,
    /// Files to verify
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Print one line of JSON per file
    #[arg(long)]
    pub json: bool,
    /// Signed files or detached signatures
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Paths whose file systems should hold signed files
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is executed. What only an exec shows, such as a debugger or a seccomp filter, is not looked \
at. Of a signed script it says the most that it may do: whether its loader and bpftrust-script are \
signed for that, and what they may do, say their own answers.

Exit status: 0 all would be trusted, 1 one would not, 2 could not tell.")]
pub struct ExplainArgs {
    /// Policy file; default /etc/bpftrust/policy.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Judge this detached signature of the one FILE instead of what is on the file; needs no fs-verity
    #[arg(long, value_name = "SIGNATURE")]
    pub signature: Option<PathBuf>,
    /// Print one line of JSON per file
    #[arg(long)]
    pub json: bool,
    /// Executables and scripts
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// User that the loader runs as, by name or number
    #[arg(long, default_value = "nobody", value_name = "USER")]
    pub user: String,
    /// Number the user 0 in the loader's namespace, for loaders that insist on root
    ///
    /// Outside of it they are the user all the same, and hold no more.
    #[arg(long)]
    pub as_root: bool,
    /// Delegate what this grant says, not what the loader's signature and the policy allow
    #[arg(long, value_name = "GRANT")]
    pub grant_from: Option<PathBuf>,
    /// Policy file; default /etc/bpftrust/policy.toml
    #[arg(long, value_name = "FILE", conflicts_with = "grant_from")]
    pub policy: Option<PathBuf>,
    /// The loader, by its path or looked for in PATH, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "LOADER")]
    pub command: Vec<OsString>,
}

/// Arguments of `enforce`.
#[derive(Debug, Args)]
pub struct EnforceArgs {
    /// Refuse nothing, report what would be refused, whatever the policy says
    #[arg(long)]
    pub audit: bool,
    /// Policy file; default /etc/bpftrust/policy.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Until reboot, nothing in user space ends or weakens it
    ///
    /// Only what a policy key signed changes the policy, or lifts the seal for a time. A
    /// process called bpftrust-anchor stays and holds links and keyrings besides the pins.
    #[arg(long, conflicts_with_all = ["audit", "adopt"])]
    pub seal: bool,
    /// Be the process that stays
    #[arg(long, hide = true, requires = "seal")]
    pub anchor: bool,
    /// Let mounts move until PID 1 leaves the initramfs
    #[arg(long, hide = true, requires = "seal")]
    pub early: bool,
    /// Trust the running processes of this name without evidence; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub adopt: Vec<String>,
}

/// Arguments of `release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `attack`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each attack must first succeed with enforcement off, else it proves nothing. Then a policy of the \
attacks' own is enforced, and each must be refused, with the reason in the history of events, while \
the same is allowed to the loader that may.

Runs as root, on a machine that says that it is for testing (the file /etc/bpftrust/test-machine) \
and enforces nothing: attacks change settings of the kernel and take BPF objects, keys and mounts \
away. The attacks are a program of their own, bpftrust-attack, beside this one or in PATH.

Exit status: 0 all are held or known not to be, 1 one is open, 2 could not tell.")]
pub struct AttackArgs {
    /// Show the attacks instead of running them
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where the attacks' own files go; its file system needs fs-verity
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub dir: PathBuf,
    /// Numbers of attacks, such as 11.ptrace, or of all of a kind, such as 11; default all
    #[arg(value_name = "NUMBER")]
    pub numbers: Vec<String>,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Directory for the files; made if missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}
