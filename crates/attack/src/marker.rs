//! Attacks run only on a machine that says that it is there for that.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Root makes it on a machine that may be attacked.
pub const MARKER: &str = "/etc/bpftrust/test-machine";

/// Refuses to go on where root has not said that this is a test machine.
pub fn require() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the attacker is root: run it with uid 0"
    );
    check(Path::new(MARKER))
}

fn check(marker: &Path) -> Result<()> {
    let name = marker.display();
    let metadata = match fs::symlink_metadata(marker) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "this machine does not say that it is for testing. Attacks change settings of the \
             kernel, take BPF objects and mounts away and enforce a policy of their own: run \
             them where nothing is lost. If that is here: mkdir -p /etc/bpftrust && touch {name}"
        ),
        metadata => metadata.with_context(|| format!("looking at {name}"))?,
    };
    ensure!(
        metadata.is_file() && metadata.uid() == 0 && metadata.mode() & 0o022 == 0,
        "{name} is not a file that only root can have made; remove it and type: touch {name}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_nothing_unless_root_made_the_file() {
        let absent = check(Path::new("/nonexistent/marker")).unwrap_err();
        assert!(absent.to_string().contains("touch /nonexistent/marker"));
        // A directory, and a link.
        assert!(check(Path::new("/usr")).is_err());
        assert!(check(Path::new("/proc/self/exe")).is_err());
        assert!(check(Path::new("/etc/passwd")).is_ok());
    }
}
