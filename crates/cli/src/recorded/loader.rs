//! What the events say of one executable: who ran it, what its calls take, and what
//! became of them.

use std::collections::{BTreeMap, BTreeSet};

use bpftrust_guard::Vocabulary;
use bpftrust_signature::Rights;

use super::Line;

/// An executable, with the digest that it had; without one it had no fs-verity then.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// Its path, as the process saw it, escaped.
    pub executable: String,
    /// Its digest.
    pub digest: Option<String>,
    /// All that its calls take, whether it had it or not.
    pub takes: Rights,
    /// What libbpf asks for to see whether the kernel has it, and goes on without.
    pub tried: Rights,
    /// How many refusals, real or only said, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Whether one of these was real: then what came after it is not known.
    pub was_denied: bool,
    /// What it did with trust.
    pub was_trusted: bool,
    /// The names of its threads, escaped.
    pub comms: BTreeSet<String>,
    /// The last parts of its cgroups' paths, escaped: units.
    pub cgroups: BTreeSet<String>,
    /// Real users.
    pub users: BTreeSet<u32>,
    /// Processes.
    pub processes: BTreeSet<u32>,
    /// Who signed it, as the policy called him when it was recorded.
    pub publishers: BTreeSet<String>,
    /// Files whose code cost it its trust, escaped, each with the reason.
    pub files: BTreeSet<(String, String)>,
    /// What an exec of it was refused for that no grant changes: `traced` and the like.
    pub circumstances: BTreeSet<String>,
    /// It makes BPF tokens.
    pub makes_tokens: bool,
    /// It reached for objects of others.
    pub reaches: bool,
    /// It ran signed scripts, whose grants count beside its own.
    pub runs_scripts: bool,
    /// When it was first and last seen, RFC 3339.
    pub first: String,
    pub last: String,
}

/// Reasons that are about how a file was executed.
const CIRCUMSTANCES: [&str; 4] = ["traced", "filtered", "kernel-started", "unsigned-script"];

impl Loader {
    /// By executable and digest, in this order.
    pub fn all(lines: &[Line]) -> Vec<Self> {
        let mut loaders = BTreeMap::<_, Self>::new();
        for line in lines {
            if !is_of_a_loader(line) {
                continue;
            }
            let key = (line.executable.clone(), line.digest.clone());
            let loader = loaders.entry(key).or_insert_with(|| Self {
                executable: line.executable.clone(),
                digest: line.digest.clone(),
                first: line.time.clone(),
                ..Self::default()
            });
            loader.add(line);
        }
        let mut loaders: Vec<_> = loaders.into_values().collect();
        for loader in &mut loaders {
            loader.conclude();
        }
        loaders
    }

    fn add(&mut self, line: &Line) {
        self.last.clone_from(&line.time);
        self.comms.insert(line.comm.clone());
        self.cgroups.extend(line.cgroup.clone());
        self.users.insert(line.uid);
        self.processes.insert(line.pid);
        self.publishers.extend(line.publisher.clone());
        self.runs_scripts |= line.script_digest.is_some();
        if line.is_refusal() {
            *self.refusals.entry(line.reason.clone()).or_default() += 1;
            self.was_denied |= line.outcome == "denied";
        } else {
            self.was_trusted = true;
        }
        match line.action.as_str() {
            "exec" if CIRCUMSTANCES.contains(&&*line.reason) => {
                self.circumstances.insert(line.reason.clone());
            }
            "taint" if line.reason == "writable-code" => {
                insert(&mut self.takes, Vocabulary::Abilities, "own-code");
            }
            "taint" => {
                let file = line.file.clone().unwrap_or_default();
                self.files.insert((line.reason.clone(), file));
            }
            "bpf" => self.add_call(line),
            _ => self.takes = self.takes.union(&line.takes),
        }
        // Of who has no trust it is not known what is his own.
        self.reaches |= line.reason == "not-owner";
    }

    /// The gate asks for the ability with the command. A refusal that asks for nothing
    /// came after it, when the kernel was about to make a token.
    fn add_call(&mut self, line: &Line) {
        let command = line.command.as_deref().unwrap_or_default();
        let mut takes = line.takes;
        insert(&mut takes, Vocabulary::Commands, command);
        let delegate = Vocabulary::Abilities.number(DELEGATE);
        let is_gate =
            delegate.is_some_and(|number| takes.abilities.contains(number)) || !line.is_refusal();
        if command == TOKEN_CREATE && is_gate {
            self.tried = self.tried.union(&takes);
        } else {
            if command == TOKEN_CREATE {
                insert(&mut takes, Vocabulary::Abilities, DELEGATE);
                self.makes_tokens = true;
            }
            self.takes = self.takes.union(&takes);
        }
        if GETS_BY_ID.contains(&command) {
            insert(&mut self.takes, Vocabulary::Abilities, INSPECT);
        }
    }

    /// What follows from all events together.
    fn conclude(&mut self) {
        self.tried = self.tried.difference(&self.takes);
        let has = |kind: Vocabulary, word: &str| {
            let number = kind.number(word);
            number.is_some_and(|number| kind.contains(&self.takes, number))
        };
        // Who lists objects and takes what it finds looks at those of others.
        let lists = ["prog", "map"].iter().any(|what| {
            has(Vocabulary::Commands, &format!("{what}-get-next-id"))
                && has(Vocabulary::Commands, &format!("{what}-get-fd-by-id"))
        });
        // A link of a freplace program has the number of another attach type, which
        // nobody is asked for who loads no cgroup_skb (bpf/attach.h, is_freplace).
        let is_freplace =
            has(Vocabulary::Programs, "ext") && !has(Vocabulary::Programs, "cgroup_skb");
        if lists {
            insert(&mut self.takes, Vocabulary::Abilities, INSPECT);
        }
        if is_freplace {
            let mut links = Rights::NONE;
            insert(&mut links, Vocabulary::Attaches, "cgroup_inet_ingress");
            self.takes = self.takes.difference(&links);
        }
    }

    /// The same executable, of which more is known: its events with another digest.
    pub fn merge(&mut self, other: Self) {
        self.takes = self.takes.union(&other.takes);
        self.tried = self.tried.union(&other.tried);
        for (reason, count) in other.refusals {
            *self.refusals.entry(reason).or_default() += count;
        }
        self.was_denied |= other.was_denied;
        self.was_trusted |= other.was_trusted;
        self.comms.extend(other.comms);
        self.cgroups.extend(other.cgroups);
        self.users.extend(other.users);
        self.processes.extend(other.processes);
        self.publishers.extend(other.publishers);
        self.files.extend(other.files);
        self.circumstances.extend(other.circumstances);
        self.makes_tokens |= other.makes_tokens;
        self.reaches |= other.reaches;
        self.runs_scripts |= other.runs_scripts;
        self.first = self.first.clone().min(other.first);
        self.last = self.last.clone().max(other.last);
        self.digest = self.digest.take().or(other.digest);
        self.conclude();
    }

    /// How many refusals there were.
    pub fn refused(&self) -> u64 {
        self.refusals.values().sum()
    }
}

const DELEGATE: &str = "delegate";
const INSPECT: &str = "inspect";
const TOKEN_CREATE: &str = "token-create";

/// Commands that take the ability `inspect`, also for what is one's own.
const GETS_BY_ID: [&str; 2] = ["link-get-fd-by-id", "btf-get-fd-by-id"];

/// Is it what `enforce` asks the kernel, to see that it is refused?
pub fn is_enforces_own(executable: &[u8], command: Option<&str>) -> bool {
    executable.ends_with(b"/bpftrust") && command == Some("prog-get-next-id")
}

/// Not those who reach for others, for a seal or for bpftrust itself.
fn is_of_a_loader(line: &Line) -> bool {
    let is_own = is_enforces_own(line.executable.as_bytes(), line.command.as_deref());
    let acts = matches!(
        line.action.as_str(),
        "exec" | "bpf" | "taint" | "attach" | "object"
    );
    acts && !is_own && !line.executable.is_empty()
}

/// Adds what is called so, or has this number.
fn insert(rights: &mut Rights, kind: Vocabulary, word: &str) {
    let number = kind.number(word).or_else(|| word.parse().ok());
    if let Some(number) = number {
        kind.insert(rights, number);
    }
}
