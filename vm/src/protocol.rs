//! What host and guest tell each other.
//!
//! The host puts a [`Job`] into the initramfs. The guest answers on one channel
//! that also carries the job's own output: [`Record`]s are lines that begin
//! with a mark only this run knows, everything else is output.

use anyhow::{Context, Result, bail};

/// Where the job lies in the initramfs.
pub const JOB_PATH: &str = "job";
/// Where it lies for who serves it under another PID 1; its directory is a tmpfs.
pub const SERVED_JOB_PATH: &str = "/run/bpftrust-job";
/// The unit that serves it there.
pub const SERVICE: &str = "bpftrust-guest.service";
/// The directory of the initramfs that is copied over the guest's disk.
pub const FILES_DIR: &str = "files";
/// The guest's end of the channel.
pub const CHANNEL: &str = "/dev/vport0p1";

/// The variable by which a job that reports learns its nonce.
pub const NONCE_VARIABLE: &str = "BPFTRUST_TEST_NONCE";

/// How a failure's message begins if the test could not even run.
pub const SETUP_FAILED: &str = "the setup of its group failed";

/// What a guest is started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Marks this run's records.
    pub nonce: String,
    /// Whether the command reports too; it learns the nonce by its environment.
    pub reports: bool,
    /// What becomes PID 1; none if the harness stays.
    pub init: Option<String>,
    /// The harness's command that runs before that is executed.
    pub early: Option<String>,
    /// The name of the guest's [`System`](crate::system::System).
    pub system: String,
    /// The program to run as root and its arguments.
    pub command: Vec<String>,
}

impl Job {
    /// The job as a file.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "nonce {}\nreports {}\nsystem {}\n",
            self.nonce, self.reports, self.system
        );
        for (key, word) in [("init", &self.init), ("early", &self.early)] {
            if let Some(word) = word {
                text += &format!("{key} {}\n", escape(word));
            }
        }
        for word in &self.command {
            text += &format!("word {}\n", escape(word));
        }
        text
    }

    /// Reads a job back.
    pub fn parse(text: &str) -> Result<Self> {
        let mut job = Self {
            nonce: String::new(),
            reports: false,
            init: None,
            early: None,
            system: String::new(),
            command: Vec::new(),
        };
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("nonce", nonce)) => job.nonce = nonce.to_owned(),
                Some(("reports", reports)) => job.reports = reports == "true",
                Some(("early", early)) => job.early = Some(unescape(early)),
                Some(("system", system)) => job.system = system.to_owned(),
                Some(("init", init)) => job.init = Some(unescape(init)),
                Some(("word", word)) => job.command.push(unescape(word)),
                _ => bail!("the job has a line that is not understood: {line:?}"),
            }
        }
        if job.nonce.is_empty() || job.command.is_empty() {
            bail!("the job lacks its nonce or its command");
        }
        Ok(job)
    }
}

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected, or its fixture could not be made.
    Failed,
    /// This kernel lacks what the test needs.
    LeftOut,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Passed, Self::Failed, Self::LeftOut];

    /// The outcome in a word, for people and for the channel.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::LeftOut => "left-out",
        }
    }
}

/// One thing that the guest reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// PID 1 runs on the disk, the job is about to start.
    Started,
    /// How many tests there will be results of.
    Selected(usize),
    /// A test has ended.
    Result {
        /// `group::test`.
        name: String,
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        millis: u64,
        /// Why, unless it passed.
        message: String,
    },
    /// The job has ended with this status (128 and more: by a signal).
    Exit(i32),
}

impl Record {
    /// The record as one line, with the mark that begins it.
    pub fn to_line(&self, nonce: &str) -> String {
        let body = match self {
            Self::Started => "started".to_owned(),
            Self::Selected(count) => format!("selected\t{count}"),
            Self::Result {
                name,
                outcome,
                millis,
                message,
            } => format!(
                "result\t{}\t{}\t{millis}\t{}",
                escape(name),
                outcome.word(),
                escape(message)
            ),
            Self::Exit(status) => format!("exit\t{status}"),
        };
        format!("{}{body}\n", mark(nonce))
    }

    /// Reads the body of a line, without mark and newline.
    pub fn parse(body: &str) -> Result<Self> {
        let fields: Vec<&str> = body.split('\t').collect();
        let number = |text: &str| -> Result<u64> {
            text.parse()
                .with_context(|| format!("the guest reported {body:?}, with a bad number"))
        };
        Ok(match fields[..] {
            ["started"] => Self::Started,
            ["selected", count] => Self::Selected(number(count)? as usize),
            ["result", name, outcome, millis, message] => Self::Result {
                name: unescape(name),
                outcome: Outcome::ALL
                    .into_iter()
                    .find(|known| known.word() == outcome)
                    .with_context(|| format!("the guest reported an unknown outcome: {body:?}"))?,
                millis: number(millis)?,
                message: unescape(message),
            },
            ["exit", status] => Self::Exit(number(status)? as i32),
            _ => bail!("the guest reported something that is not understood: {body:?}"),
        })
    }
}

/// What the channel carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// Bytes that the job printed.
    Output(Vec<u8>),
    /// The body of a record.
    Record(String),
}

/// Tells records from output in a stream that arrives in pieces.
#[derive(Debug)]
pub struct Splitter {
    mark: Vec<u8>,
    pending: Vec<u8>,
}

impl Splitter {
    /// A splitter for the run marked with `nonce`.
    pub fn new(nonce: &str) -> Self {
        Self {
            mark: mark(nonce).into_bytes(),
            pending: Vec::new(),
        }
    }

    /// Takes the next piece, returns what is complete by now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Item> {
        self.pending.extend_from_slice(piece);
        let mut items = Vec::new();
        loop {
            let Some(start) = find(&self.pending, &self.mark) else {
                // Keep back what may be the beginning of a mark.
                let keep = (1..self.mark.len())
                    .rev()
                    .find(|&n| self.pending.ends_with(&self.mark[..n]))
                    .unwrap_or(0);
                let rest = self.pending.split_off(self.pending.len() - keep);
                let output = std::mem::replace(&mut self.pending, rest);
                if !output.is_empty() {
                    items.push(Item::Output(output));
                }
                return items;
            };
            if start > 0 {
                let rest = self.pending.split_off(start);
                items.push(Item::Output(std::mem::replace(&mut self.pending, rest)));
            }
            let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') else {
                return items;
            };
            let rest = self.pending.split_off(end + 1);
            let line = std::mem::replace(&mut self.pending, rest);
            let body = String::from_utf8_lossy(&line[self.mark.len()..end]).into_owned();
            items.push(Item::Record(body));
        }
    }
}

/// What begins a record: a control character that text does not contain, and
/// the nonce.
fn mark(nonce: &str) -> String {
    format!("\x1e{nonce} ")
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Puts text on one line without tabs.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\t', "\\t")
        .replace('\r', "\\r")
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_its_file() {
        let job = Job {
            nonce: "abc".into(),
            reports: true,
            init: Some("/sbin/init".into()),
            early: Some("audit".into()),
            system: "bare".into(),
            command: vec!["/bin/sh".into(), "-c".into(), "a\\nb\n\tc \\".into()],
        };
        assert_eq!(Job::parse(&job.to_text()).unwrap(), job);
        assert!(Job::parse("nonce x\n").is_err());
        assert!(Job::parse("what is this\n").is_err());
    }

    #[test]
    fn records_survive_the_channel_in_any_pieces() {
        let records = [
            Record::Started,
            Record::Selected(2),
            Record::Result {
                name: "a::b".into(),
                outcome: Outcome::Failed,
                millis: 12,
                message: "one\ntwo\tthree\\n".into(),
            },
            Record::Exit(137),
        ];
        let mut stream = b"before ".to_vec();
        for record in &records {
            stream.extend_from_slice(record.to_line("42").as_bytes());
            stream.extend_from_slice(b"between\n");
        }
        for size in [1, 2, 7, stream.len()] {
            let mut splitter = Splitter::new("42");
            let mut output = Vec::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(size) {
                for item in splitter.push(piece) {
                    match item {
                        Item::Output(bytes) => output.extend(bytes),
                        Item::Record(body) => seen.push(Record::parse(&body).unwrap()),
                    }
                }
            }
            assert_eq!(seen, records);
            assert_eq!(output, b"before between\nbetween\nbetween\nbetween\n");
        }
    }

    #[test]
    fn a_record_of_another_run_is_only_output() {
        let line = Record::Exit(0).to_line("other");
        let items = Splitter::new("mine").push(line.as_bytes());
        assert!(matches!(items[..], [Item::Output(_)]));
    }

    #[test]
    fn garbage_is_refused() {
        for body in [
            "",
            "exit",
            "exit\tx",
            "result\ta\tgood\t1\t",
            "selected\t-1",
        ] {
            assert!(Record::parse(body).is_err(), "{body:?}");
        }
    }
}
