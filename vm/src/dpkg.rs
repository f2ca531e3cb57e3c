//! dpkg's database of a tree whose packages were unpacked without dpkg, so that dpkg and
//! apt take it from there.

use crate::tool;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Registers the packages in `debs` as installed in `root`, with their lists of files.
/// Their maintainers' scripts and triggers are left out: nothing runs them there.
pub fn register(debs: &Path, root: &Path) -> Result<()> {
    let database = root.join("var/lib/dpkg");
    for directory in ["info", "updates", "triggers", "alternatives", "parts"] {
        fs::create_dir_all(database.join(directory))
            .with_context(|| format!("cannot make {directory} in {}", database.display()))?;
    }
    // The form in which names of lists have the architecture (dpkg's lib/dpkg/db-fsys-load.c).
    fs::write(database.join("info/format"), "1\n").context("cannot write dpkg's format")?;
    let mut status = String::new();
    let entries = fs::read_dir(debs).with_context(|| format!("cannot list {}", debs.display()))?;
    for entry in entries {
        let deb = entry?.path();
        if deb.extension().is_some_and(|extension| extension == "deb") {
            let (paragraph, list) =
                installed(&deb).with_context(|| format!("cannot register {}", deb.display()))?;
            let path = database.join("info").join(format!("{}.list", list.name));
            fs::write(&path, list.files)
                .with_context(|| format!("cannot write {}", path.display()))?;
            status += &paragraph;
        }
    }
    fs::write(database.join("status"), status).context("cannot write dpkg's status")
}

/// The files of a package.
struct List {
    /// As dpkg names it: with the architecture where several can be installed.
    name: String,
    /// A path a line.
    files: String,
}

/// A package's paragraph in dpkg's status, and its files.
fn installed(deb: &Path) -> Result<(String, List)> {
    let control = tool::text(Command::new("dpkg-deb").arg("--field").arg(deb))?;
    let field = |name: &str| {
        let mut lines = control.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let package = field("Package").context("it has no name")?;
    let name = match (field("Multi-Arch"), field("Architecture")) {
        (Some("same"), Some(architecture)) => format!("{package}:{architecture}"),
        _ => package.to_owned(),
    };
    let rest = control.trim_end();
    let paragraph = format!("Status: install ok installed\n{rest}\n\n");
    let listed = tool::text(Command::new("dpkg-deb").arg("--contents").arg(deb))?;
    Ok((
        paragraph,
        List {
            name,
            files: listed.lines().filter_map(path_of).collect(),
        },
    ))
}

/// The path in a line of `dpkg-deb --contents`, as dpkg's lists have it, with its end
/// of line: mode, owner, size, date, time, path and, of a link, where it leads.
fn path_of(line: &str) -> Option<String> {
    let path = &line[line.find(" ./")? + 2..];
    let path = path.split(" -> ").next()?.split(" link to ").next()?;
    match path.trim_end_matches('/') {
        "" => Some("/.\n".to_owned()),
        path => Some(format!("{path}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_dpkgs_lists() {
        for (line, expected) in [
            ("drwxr-xr-x root/root 0 2025-03-01 10:00 ./", "/.\n"),
            ("drwxr-xr-x root/root 0 2025-03-01 10:00 ./usr/", "/usr\n"),
            (
                "-rwxr-xr-x root/root 9 2025-03-01 10:00 ./usr/a b",
                "/usr/a b\n",
            ),
            (
                "lrwxrwxrwx root/root 0 2025-03-01 10:00 ./usr/sh -> ./dash",
                "/usr/sh\n",
            ),
        ] {
            assert_eq!(path_of(line).unwrap(), expected);
        }
        assert_eq!(path_of("nothing"), None);
    }
}
