//! Who uses BPF now: the processes that hold descriptors of BPF objects.
//!
//! Not seen: who calls `bpf()` only now and then and holds nothing at the
//! moment, who holds a map only through a mapping, and objects that live without
//! a process (pinned, or attached to a cgroup or a network device).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::{Root, Unknown};

/// What was found in `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Users {
    /// Processes that hold BPF objects, by pid.
    pub processes: Vec<User>,
    /// How many processes wouldn't show us their descriptors.
    pub hidden: usize,
}

/// One process and the BPF objects that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Its process ID, in the pid namespace of `/proc`.
    pub pid: u32,
    /// The name that it gave itself: any bytes but NUL, at most 15.
    pub comm: OsString,
    /// The file it was executed from, with ` (deleted)` behind it if that is
    /// gone. The process can have changed this: for display only.
    pub executable: Option<PathBuf>,
    /// The systemd unit that it runs in.
    pub unit: Option<Unit>,
    /// Programs by descriptor.
    pub programs: BTreeSet<Program>,
    /// Maps by descriptor.
    pub maps: BTreeSet<Map>,
    /// Links by descriptor.
    pub links: BTreeSet<Link>,
    /// Descriptors of other kinds (BTF, tokens, iterators), and of those whose
    /// details the kernel wouldn't show.
    pub others: usize,
}

/// A program (`kernel/bpf/syscall.c:bpf_prog_show_fdinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// `prog_id`.
    pub id: u32,
    /// `prog_type`: a value of `enum bpf_prog_type`.
    pub kind: u32,
}

/// A map (`kernel/bpf/syscall.c:bpf_map_show_fdinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Map {
    /// `map_id`.
    pub id: u32,
    /// `map_type`: a value of `enum bpf_map_type`.
    pub kind: u32,
}

/// A link (`kernel/bpf/syscall.c:bpf_link_show_fdinfo`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// `link_id`.
    pub id: u32,
    /// `link_type`: the kernel's word for it.
    pub kind: String,
    /// `prog_id`: the program that it attaches.
    pub program: Option<u32>,
}

/// A systemd unit, from the name of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name: `name.service` or `name.scope`.
    pub name: String,
    /// It belongs to a user's service manager, not to the system's.
    pub of_user: bool,
}

impl Users {
    /// Looks at every process.
    ///
    /// # Errors
    /// [`Unknown`] if there is no `/proc`. Processes that end meanwhile are left
    /// out, those of other users are counted in [`Users::hidden`].
    pub fn probe(root: &Root) -> Result<Self, Unknown> {
        let wrong = |error: io::Error| Unknown::new("/proc", &error);
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(root.path("/proc")).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        pids.sort_unstable();
        let mut users = Self::default();
        for pid in pids {
            match User::probe(&root.path(format!("/proc/{pid}")), pid) {
                Ok(user) => users.processes.extend(user),
                Err(error) if is_gone(&error) => (),
                Err(_) => users.hidden += 1,
            }
        }
        Ok(users)
    }

    /// How many different programs, maps and links all of them hold.
    pub fn totals(&self) -> (usize, usize, usize) {
        fn distinct(ids: impl Iterator<Item = u32>) -> usize {
            ids.collect::<BTreeSet<_>>().len()
        }
        let all = || self.processes.iter();
        (
            distinct(all().flat_map(|user| user.programs.iter().map(|program| program.id))),
            distinct(all().flat_map(|user| user.maps.iter().map(|map| map.id))),
            distinct(all().flat_map(|user| user.links.iter().map(|link| link.id))),
        )
    }
}

impl User {
    /// What the process under `directory` holds; `None` if nothing of BPF.
    fn probe(directory: &Path, pid: u32) -> io::Result<Option<Self>> {
        let mut user = Self {
            pid,
            comm: OsString::new(),
            executable: None,
            unit: None,
            programs: BTreeSet::new(),
            maps: BTreeSet::new(),
            links: BTreeSet::new(),
            others: 0,
        };
        let mut holds = false;
        for entry in std::fs::read_dir(directory.join("fd"))? {
            let entry = entry?;
            // A descriptor may be closed while we look.
            let Ok(target) = std::fs::read_link(entry.path()) else {
                continue;
            };
            let Some(kind) = Kind::of(&target) else {
                continue;
            };
            holds = true;
            let info = std::fs::read(directory.join("fdinfo").join(entry.file_name()));
            user.add(kind, &String::from_utf8_lossy(&info.unwrap_or_default()));
        }
        if !holds {
            return Ok(None);
        }
        let mut comm = std::fs::read(directory.join("comm")).unwrap_or_default();
        comm.truncate(comm.trim_ascii_end().len());
        user.comm = OsString::from_vec(comm);
        user.executable = std::fs::read_link(directory.join("exe")).ok();
        user.unit = std::fs::read_to_string(directory.join("cgroup"))
            .ok()
            .and_then(|text| Unit::parse(&text));
        Ok(Some(user))
    }

    fn add(&mut self, kind: Kind, info: &str) {
        let text = |name| field(info, name);
        let number = |name| text(name)?.parse().ok();
        let added = match kind {
            Kind::Program => number("prog_id").map(|id| {
                let kind = number("prog_type").unwrap_or(0);
                self.programs.insert(Program { id, kind });
            }),
            Kind::Map => number("map_id").map(|id| {
                let kind = number("map_type").unwrap_or(0);
                self.maps.insert(Map { id, kind });
            }),
            Kind::Link => number("link_id").map(|id| {
                self.links.insert(Link {
                    id,
                    kind: text("link_type").unwrap_or_default().to_owned(),
                    program: number("prog_id"),
                });
            }),
            Kind::Other => None,
        };
        if added.is_none() {
            self.others += 1;
        }
    }

    /// What to type to execute this process anew, where that is known. PID 1 keeps what
    /// it holds over its exec, and so gets no trust by one: it can be adopted.
    pub fn restart(&self) -> Option<String> {
        if self.pid == 1 {
            let name = self.comm.display();
            return Some(format!("bpftrust release; bpftrust enforce --adopt {name}"));
        }
        let unit = self.unit.as_ref()?;
        if !unit.name.ends_with(".service") {
            return None;
        }
        let manager = if unit.of_user {
            "systemctl --user"
        } else {
            "systemctl"
        };
        Some(format!("{manager} restart {}", unit.name))
    }
}

/// Who it is and what it holds, on one line. Names are as the process chose
/// them: escape the whole before it reaches a terminal.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}", self.comm.display(), self.pid)?;
        if let Some(unit) = &self.unit {
            write!(f, ", {}", unit.name)?;
        }
        if let Some(executable) = &self.executable {
            write!(f, ", {}", executable.display())?;
        }
        f.write_str("):")?;
        let counts = [
            (self.programs.len(), "program"),
            (self.maps.len(), "map"),
            (self.links.len(), "link"),
            (self.others, "other"),
        ];
        let mut separator = " ";
        for (count, name) in counts.into_iter().filter(|(count, _)| *count > 0) {
            let plural = if count == 1 { "" } else { "s" };
            write!(f, "{separator}{count} {name}{plural}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Unit {
    /// The unit in the text of `/proc/PID/cgroup`: lines of hierarchy,
    /// controllers and path. systemd owns the path that has no controller
    /// (cgroup v2), or that of `name=systemd` (v1).
    fn parse(text: &str) -> Option<Self> {
        text.lines()
            .filter_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let controllers = fields.next()?;
                let path = fields.next()?;
                matches!(controllers, "" | "name=systemd").then_some(path)
            })
            .find_map(Self::of_cgroup)
    }

    /// A service may make cgroups of its own below that of its unit, and a
    /// user's manager is itself a service: the innermost name counts.
    fn of_cgroup(path: &str) -> Option<Self> {
        let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
        let mut units = path.split('/').filter(is_unit).rev();
        let name = units.next()?.to_owned();
        let of_user = units.any(|outer| outer.starts_with("user@"));
        Some(Self { name, of_user })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Program,
    Map,
    Link,
    Other,
}

impl Kind {
    /// By the name that the kernel gives the descriptor's anonymous inode; what
    /// a real file is called can't be mistaken for it, its path begins with `/`.
    fn of(target: &Path) -> Option<Self> {
        let name = target.as_os_str().as_bytes().strip_prefix(b"anon_inode:")?;
        match name {
            b"bpf-prog" => Some(Self::Program),
            b"bpf-map" => Some(Self::Map),
            // Older and newer name.
            b"bpf_link" | b"bpf-link" => Some(Self::Link),
            b"btf" | b"bpf-token" | b"bpf_iter" => Some(Self::Other),
            _ => None,
        }
    }
}

/// The value of `name:` in the text of an fdinfo file.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| (key == name).then_some(value.trim()))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_the_innermost_of_its_cgroup() {
        for (text, expected) in [
            (
                "0::/system.slice/agent.service\n",
                Some(("agent.service", false)),
            ),
            (
                "0::/system.slice/agent.service/worker\n",
                Some(("agent.service", false)),
            ),
            ("0::/init.scope\n", Some(("init.scope", false))),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service\n",
                Some(("a.service", true)),
            ),
            (
                "5:cpu:/other.service\n1:name=systemd:/system.slice/v1.service\n0::/\n",
                Some(("v1.service", false)),
            ),
            ("0::/\n", None),
            ("12:pids:/docker/ab.scope\n", None),
            ("garbage", None),
        ] {
            let unit = Unit::parse(text);
            let found = unit.as_ref().map(|unit| (unit.name.as_str(), unit.of_user));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn descriptors_are_told_apart_by_their_inode() {
        for (target, known) in [
            ("anon_inode:bpf-prog", true),
            ("anon_inode:bpf_link", true),
            ("anon_inode:bpf-token", true),
            ("anon_inode:[eventfd]", false),
            ("/tmp/anon_inode:bpf-prog", false),
            ("socket:[1]", false),
        ] {
            assert_eq!(Kind::of(Path::new(target)).is_some(), known, "{target}");
        }
    }
}
