//! Running processes, by name.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::{Root, Unknown};

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its thread group, in the pid namespace of `/proc`.
    pub pid: u32,
    /// The name that it gave itself: any bytes but NUL, at most 15.
    pub comm: OsString,
}

/// The processes whose `comm` or whose executable's file name is `name`.
///
/// # Errors
/// [`Unknown`] if `/proc` can't be listed. A process that ends meanwhile is none.
pub fn named(root: &Root, name: &OsStr) -> Result<Vec<Process>, Unknown> {
    let failed = |error: std::io::Error| Unknown::new("/proc", &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(root.path("/proc")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(mut comm) = fs::read(entry.path().join("comm")) else {
            continue;
        };
        if comm.last() == Some(&b'\n') {
            comm.pop();
        }
        let executable = fs::read_link(entry.path().join("exe")).ok();
        if comm == name.as_bytes() || executable.is_some_and(|path| path.file_name() == Some(name))
        {
            found.push(Process {
                pid,
                comm: OsString::from_vec(comm),
            });
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_process_is_found_by_its_own_name_and_by_its_executable() {
        let directory = tempfile::tempdir().unwrap();
        for (pid, comm, executable) in
            [("7", "agent\n", "/opt/loader"), ("9", "sh\n", "/bin/agent")]
        {
            let path = directory.path().join("proc").join(pid);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("comm"), comm).unwrap();
            symlink(executable, path.join("exe")).unwrap();
        }
        let root = Root::at(directory.path());
        let pids = |name: &str| -> Vec<_> {
            named(&root, name.as_ref())
                .unwrap()
                .iter()
                .map(|process| process.pid)
                .collect()
        };
        assert_eq!(pids("agent"), [7, 9]);
        assert_eq!(pids("loader"), [7]);
        assert_eq!(pids("nothing"), [0; 0]);
    }
}
