//! What `explain` says of scripts.

use anyhow::anyhow;
use bpftrust_guard::Entitlement;
use bpftrust_script::{LAUNCHER, brought_in, loader_of};
use bpftrust_signature::{Grant, ScriptRights};
use serde_json::{Map, Value, json};

use crate::advice::advised;
use crate::script_file;
use crate::target::Target;

/// A script that the kernel side would let a loader be started on.
pub struct Script {
    /// The most that it may do: what its loader may not, it may not either.
    pub entitlement: Entitlement,
    loader: String,
    brings_in: Vec<usize>,
    rights: ScriptRights,
}

impl Script {
    /// # Errors
    /// If it is none that the launcher would start a loader on.
    pub fn new(
        target: &Target,
        entitlement: Entitlement,
        grant: Option<&Grant>,
    ) -> anyhow::Result<Self> {
        let content = script_file::content(target)?;
        let loader = loader_of(&content).map_err(|problem| {
            advised(
                anyhow!(problem).context(format!(
                    "it is signed as script, and {LAUNCHER} takes it not"
                )),
                "mend it, and sign what that makes with: bpftrust sign --script",
            )
        })?;
        Ok(Self {
            entitlement,
            loader: loader.to_owned(),
            brings_in: brought_in(&content),
            rights: grant.map_or(ScriptRights::empty(), |grant| grant.script),
        })
    }

    /// What lines beside those of rights say, and what each is about.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let has = |right| {
            if self.rights.contains(right) {
                "yes"
            } else {
                "no"
            }
        };
        let loader = &self.loader;
        let mut lines = vec![
            ("parameters", has(ScriptRights::PARAMETERS).to_owned()),
            ("unsafe", has(ScriptRights::UNSAFE).to_owned()),
            (
                "takes",
                format!(
                    "{LAUNCHER}, signed as loader with the ability launch-scripts, and {loader}, \
                     with programs = \"script\": the rights of {loader}, and who signed {LAUNCHER}, \
                     limit it further"
                ),
            ),
        ];
        if !self.brings_in.is_empty() {
            let numbers: Vec<_> = self.brings_in.iter().map(usize::to_string).collect();
            lines.push((
                "brings in",
                format!("what nobody signs (line {})", numbers.join(", ")),
            ));
        }
        lines
    }

    /// The same for programs.
    pub fn to_json(&self) -> Map<String, Value> {
        let rights: Vec<_> = self.rights.names().collect();
        [
            ("script", json!(rights)),
            ("loader", json!(self.loader)),
            ("brings_in", json!(self.brings_in)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
    }
}
