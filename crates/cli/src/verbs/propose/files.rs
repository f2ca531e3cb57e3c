//! The files of a proposal.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bpftrust_guard::Vocabulary;
use bpftrust_signature::{Name, Rights};

use super::{Proposal, Proposed, remarks};
use crate::advice::quoted;
use crate::output::counted;
use crate::rights::{end_as_json, require, short};

const TO_STRING: &str = "writing to a string can't fail";

/// In the order in which they are to be read.
const LISTS: [Vocabulary; 5] = [
    Vocabulary::Commands,
    Vocabulary::Programs,
    Vocabulary::Attaches,
    Vocabulary::Maps,
    Vocabulary::Abilities,
];

/// Every file, by its path in the proposal.
pub(super) fn all(
    proposal: &Proposal,
    publisher: &Name,
    key: &Path,
    certificate: &[u8],
) -> Vec<(PathBuf, Vec<u8>)> {
    let certificate_file = format!("certificates/{publisher}.pem");
    let mut files = vec![
        (
            "sign.sh".into(),
            script(proposal, key, &certificate_file).into_bytes(),
        ),
        (
            "policy.toml".into(),
            policy(proposal, publisher).into_bytes(),
        ),
        (certificate_file.into(), certificate.to_vec()),
    ];
    for proposed in &proposal.loaders {
        let text = grant(proposed, proposal.lost);
        files.push((proposed.file.clone(), text.into_bytes()));
    }
    files
}

fn grant(proposed: &Proposed, lost: u64) -> String {
    let Proposed {
        loader, now, grant, ..
    } = proposed;
    let mut text = format!("# Proposed by bpftrust for {}\n", loader.executable);
    let mut remark = |line: String| writeln!(text, "# {line}").expect(TO_STRING);
    if let Some(package) = &now.package {
        remark(format!("of package {} {}", package.name, package.version));
    }
    remark(now.digest.clone());
    remark(format!(
        "seen from {} to {}: {}, {}{}",
        loader.first,
        loader.last,
        counted(loader.processes.len(), "process"),
        counted(loader.users.len(), "user"),
        match &loader.cgroups {
            cgroups if cgroups.is_empty() => String::new(),
            cgroups => format!(", in {}", joined(cgroups)),
        }
    ));
    if loader.tried != Rights::NONE {
        remark(format!(
            "left out, for it only tries whether the kernel has it: {}",
            short(&loader.tried)
        ));
    }
    if lost > 0 {
        remark(format!(
            "{lost} events were lost: it may take more than this"
        ));
    }
    for line in remarks(loader) {
        remark(line);
    }
    writeln!(text, "name = \"{}\"", grant.name).expect(TO_STRING);
    writeln!(text, "version = {}", grant.version).expect(TO_STRING);
    if let Some(end) = end_as_json(grant) {
        writeln!(text, "not-after = {end}").expect(TO_STRING);
    }
    for kind in LISTS {
        if !kind.numbers(&grant.rights).is_empty() {
            writeln!(text, "{}", list(kind, &grant.rights)).expect(TO_STRING);
        }
    }
    if !grant.requires.is_empty() {
        writeln!(text, "require = {:?}", require(grant.requires)).expect(TO_STRING);
    }
    text
}

/// `maps = ["hash", "array"]`: names, and numbers where there is none.
fn list(kind: Vocabulary, rights: &Rights) -> String {
    let numbers = kind.numbers(rights).into_iter();
    let entries: Vec<_> = numbers
        .map(|number| match kind.name(number) {
            Some(name) => format!("\"{name}\""),
            None => number.to_string(),
        })
        .collect();
    format!("{} = [{}]", kind.label(), entries.join(", "))
}

/// The commands that sign, each after a look at whether the file is still the one.
fn script(proposal: &Proposal, key: &Path, certificate: &str) -> String {
    let mut text = format!(
        "#!/bin/sh\n\
         # Proposed by bpftrust: signs {}, with the grants beside it. Read them first.\n\
         set -eu\n\
         cd \"$(dirname \"$0\")\"\n\n\
         # FILE DIGEST\n\
         require() {{\n\
         \t[ \"$(bpftrust digest \"$1\")\" = \"$2 $1\" ] && return\n\
         \techo \"$1 is not what was proposed: type 'bpftrust propose' again\" >&2\n\
         \texit 1\n\
         }}\n\n",
        counted(proposal.loaders.len(), "loader")
    );
    for Proposed { now, .. } in &proposal.loaders {
        writeln!(text, "require {} {}", quoted(&now.path), now.digest).expect(TO_STRING);
    }
    text.push('\n');
    for Proposed { now, file, .. } in &proposal.loaders {
        writeln!(
            text,
            "bpftrust sign --with-libraries --key {} --certificate {certificate} --grant {} {}",
            quoted(key),
            quoted(file),
            quoted(&now.path)
        )
        .expect(TO_STRING);
    }
    text
}

fn policy(proposal: &Proposal, publisher: &Name) -> String {
    let mut rights = Rights::NONE;
    let mut names = BTreeSet::new();
    for proposed in &proposal.loaders {
        rights = rights.union(&proposed.grant.rights);
        names.insert(&proposed.grant.name);
    }
    for (name, had) in &proposal.trusted {
        rights = rights.union(had);
        names.extend(name);
    }
    let mut text = format!(
        "# Proposed by bpftrust. It trusts {publisher} for the loaders that were seen, and lets\n\
         # nobody do more than they all together. A publisher of the policy before is not here.\n\
         mode = \"enforce\"\n\
         libraries = \"signed\"\n\n\
         [ceiling]\n"
    );
    for kind in LISTS {
        writeln!(text, "{}", list(kind, &rights)).expect(TO_STRING);
    }
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    writeln!(
        text,
        "\n[publisher.{publisher}]\ncertificates = [\"{publisher}.pem\"]\nloaders = [{}]",
        names.join(", ")
    )
    .expect(TO_STRING);
    text
}

fn joined(texts: &BTreeSet<String>) -> String {
    texts
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}
