//! Arguments of `objects`.

use clap::{Args, Subcommand};

/// Arguments of `objects`.
#[derive(Debug, Args)]
pub struct ObjectsArgs {
    /// What to do
    #[command(subcommand)]
    pub verb: ObjectsVerb,
}

/// What to do with objects.
#[derive(Debug, Subcommand)]
pub enum ObjectsVerb {
    /// Show all programs, maps and links, and whose they are
    List(ObjectsListArgs),
    /// Take away the pins of an owner's objects
    ///
    /// With its last pin and descriptor an object goes, and what it is attached to
    /// by a link. Descriptors are held by processes: those of this owner that run
    /// are named.
    Evict(ObjectsEvictArgs),
}

/// Arguments of `objects list`.
#[derive(Debug, Args)]
pub struct ObjectsListArgs {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `objects evict`.
#[derive(Debug, Args)]
pub struct ObjectsEvictArgs {
    /// Publisher, as the policy names him, and loader name
    #[arg(value_name = "PUBLISHER[/LOADER]")]
    pub owner: String,
}
