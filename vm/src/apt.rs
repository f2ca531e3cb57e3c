//! Debian packages, by the machine's own apt with a private state directory.
//!
//! The suites that hold the kernels are read from the mirror that this machine
//! already uses, whatever it is; its system-wide apt state is not touched. Apt
//! itself checks signatures, with the keys of `debian-archive-keyring`.

use crate::cache::Cache;
use crate::tool;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where the package `debian-archive-keyring` keeps Debian's keys.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// How long lists of packages are taken to hold.
const LISTS_HOLD: Duration = Duration::from_secs(3600);

/// Apt with a private state directory.
#[derive(Debug)]
pub struct Apt {
    dir: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Sets up the private state `name` for `suites`; reads the lists of packages if
    /// what was read is old, of other suites or nothing, or if `refresh`.
    pub fn open(cache: &Cache, name: &str, suites: &[&str], refresh: bool) -> Result<Self> {
        let dir = cache.path(name);
        let apt = Self {
            config: dir.join("apt.conf"),
            dir,
        };
        let sources = sources(&mirror()?, keyring()?, suites);
        let stamp = apt.dir.join("read-from");
        let unchanged = fs::read_to_string(&stamp).is_ok_and(|read| read == sources);
        if unchanged && is_recent(&stamp) && !refresh {
            return Ok(apt);
        }
        apt.write_state(&sources)?;
        eprintln!("reading the lists of packages of {}", suites.join(", "));
        tool::output(apt.command("apt-get").args(["update", "--error-on=any"]))
            .context("cannot read the lists of Debian packages")?;
        fs::write(&stamp, sources).with_context(|| format!("cannot write {}", stamp.display()))?;
        Ok(apt)
    }

    /// The names of all packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = tool::text(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads exactly `packages` into `dir`.
    pub fn download(&self, packages: &[String], dir: &Path) -> Result<()> {
        eprintln!("downloading {}", packages.join(", "));
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        tool::output(
            self.command("apt-get")
                .current_dir(dir)
                .arg("download")
                .args(packages),
        )
        .with_context(|| format!("cannot download {}", packages.join(", ")))?;
        Ok(())
    }

    /// Downloads `packages` of `suite` and all that they depend on into `dir`.
    pub fn download_with_dependencies(
        &self,
        suite: &str,
        packages: &[&str],
        dir: &Path,
    ) -> Result<()> {
        eprintln!("downloading the guest's packages from {suite}");
        fs::create_dir_all(dir.join("partial"))
            .with_context(|| format!("cannot make {}", dir.join("partial").display()))?;
        tool::output(
            self.command("apt-get")
                .arg("-o")
                .arg(format!("Dir::Cache::archives={}", dir.display()))
                .arg(format!("--target-release={suite}"))
                .args(["--yes", "--no-install-recommends", "--download-only"])
                .arg("install")
                .args(packages),
        )
        .with_context(|| format!("cannot download the guest's packages from {suite}"))?;
        Ok(())
    }

    fn write_state(&self, sources: &str) -> Result<()> {
        let dir = self.dir.display();
        // The machine's own configuration is read first, so its proxies and
        // mirrors' settings hold; only what would touch its state is replaced.
        let config = format!(
            "Dir::State \"{dir}/state\";\n\
             Dir::State::status \"{dir}/status\";\n\
             Dir::Cache \"{dir}/cache\";\n\
             Dir::Etc::SourceList \"{dir}/sources.list\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\n\
             Dir::Etc::Preferences \"/dev/null\";\n\
             Dir::Etc::PreferencesParts \"/dev/null\";\n\
             // A cache in a home directory is not readable by user _apt.\n\
             APT::Sandbox::User \"root\";\n\
             // dpkg's own lock is for root, and nothing is installed.\n\
             Debug::NoLocking \"true\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n"
        );
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = self.dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        for (name, content) in [
            ("apt.conf", config.as_str()),
            ("sources.list", sources),
            // An empty status: every dependency is resolved, not only those
            // that this machine lacks.
            ("status", ""),
        ] {
            let path = self.dir.join(name);
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(&self.config).arg("-q");
        command
    }
}

/// Whether lists of packages read when `stamp` was written still hold: the
/// archive removes packages soon after newer ones are there.
fn is_recent(stamp: &Path) -> bool {
    fs::metadata(stamp)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < LISTS_HOLD))
}

/// The addresses that this machine's apt reads Debian from.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    archive: String,
    /// Kernels get their fixes here first; not every machine has it configured.
    security: Option<String>,
}

fn mirror() -> Result<Mirror> {
    let targets = tool::text(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))
    .context("cannot ask apt which mirror this machine uses")?;
    choose_mirror(&targets)
}

/// Chooses the mirrors out of lines `URI RELEASE COMPONENT`.
fn choose_mirror(targets: &str) -> Result<Mirror> {
    let mut archive = None;
    let mut security = None;
    for target in targets.lines() {
        let mut words = target.split(' ');
        let (Some(uri), Some(release), Some("main")) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if release.ends_with("-security") {
            security.get_or_insert(uri.to_owned());
        } else if DEBIAN.contains(&release) {
            archive.get_or_insert(uri.to_owned());
        }
    }
    match archive {
        Some(archive) => Ok(Mirror { archive, security }),
        None => bail!(
            "apt on this machine is not configured for Debian's archive, which the test \
             machine's kernels come from; run on Debian with one of {} in its sources",
            DEBIAN.join(", ")
        ),
    }
}

/// Names by which an entry of apt's sources may name Debian's main archive.
const DEBIAN: &[&str] = &[
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

fn keyring() -> Result<&'static str> {
    match KEYRINGS.iter().find(|path| Path::new(path).exists()) {
        Some(path) => Ok(path),
        None => bail!(
            "Debian's keys are not at {}; try `apt-get install debian-archive-keyring`",
            KEYRINGS[0]
        ),
    }
}

fn sources(mirror: &Mirror, keyring: &str, suites: &[&str]) -> String {
    let mut sources = String::new();
    for suite in suites {
        sources += &format!(
            "deb [signed-by={keyring}] {} {suite} main\n",
            mirror.archive
        );
        // Backports and sid have no suite of their own for security fixes.
        let has_security = *suite != "sid" && !suite.contains('-');
        if let (Some(security), true) = (&mirror.security, has_security) {
            sources += &format!("deb [signed-by={keyring}] {security} {suite}-security main\n");
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_mirror_is_found() {
        let mirror = choose_mirror(
            "http://mirror.test/contrib/ trixie contrib\n\
             http://other.test/node/ nodistro main\n\
             http://mirror.test/debian-security/ trixie-security main\n\
             http://mirror.test/debian/ trixie main\n\
             http://mirror.test/late/ sid main\n",
        )
        .unwrap();
        assert_eq!(mirror.archive, "http://mirror.test/debian/");
        assert_eq!(
            mirror.security.as_deref(),
            Some("http://mirror.test/debian-security/")
        );
    }

    #[test]
    fn another_distribution_is_told_so() {
        let error = choose_mirror("http://mirror.test/ubuntu/ noble main\n").unwrap_err();
        assert!(error.to_string().contains("trixie"), "{error}");
    }

    #[test]
    fn security_is_asked_only_for_suites_that_have_it() {
        let mirror = Mirror {
            archive: "http://a/".into(),
            security: Some("http://s/".into()),
        };
        let text = sources(&mirror, "/keys", &["trixie", "trixie-backports", "sid"]);
        assert_eq!(
            text,
            "deb [signed-by=/keys] http://a/ trixie main\n\
             deb [signed-by=/keys] http://s/ trixie-security main\n\
             deb [signed-by=/keys] http://a/ trixie-backports main\n\
             deb [signed-by=/keys] http://a/ sid main\n"
        );
    }
}
