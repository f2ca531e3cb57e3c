//! The place where attacks happen: a directory of their own, programs that end
//! in time, and the guard that is put to the test.

use crate::arguments::Arguments;
use crate::loaders;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long an attacker's process may take, and the tool.
pub const PATIENCE: Duration = Duration::from_secs(20);
const TOOL_PATIENCE: Duration = Duration::from_secs(120);

/// Where victims pin what others reach for.
pub const PIN: &str = "/sys/fs/bpf/bpftrust-attack";

/// Whether an attempt had the effect that it is for, and what it said last.
#[derive(Debug)]
pub struct Said {
    pub worked: bool,
    pub text: String,
}

/// What a program that has ended left.
#[derive(Debug)]
pub struct Output {
    /// `None`: it was killed, as it took too long.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    fn success(self, what: &str) -> Result<String> {
        let good = self.status.is_some_and(|status| status.success());
        ensure!(good, "{what} failed: {}{}", self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// Did it crash, or not end?
    pub fn broke_down(&self) -> bool {
        /// The exit status of Rust's panics.
        const PANIC: i32 = 101;
        self.status
            .is_none_or(|status| status.signal().is_some() || status.code() == Some(PANIC))
    }

    /// Of a probe: what its last action came to.
    pub fn said(&self) -> Said {
        let last = self.stdout.lines().last();
        let worked = self.status.is_some() && last.is_some_and(|line| line.ends_with(": ok"));
        // What failed first tells more than what could not be done then.
        let failed = self.stdout.lines().find(|line| {
            line.rsplit_once(": ")
                .is_some_and(|(_, answer)| answer.starts_with('E'))
        });
        let line = if worked { last } else { failed.or(last) };
        let text = match (self.status, line) {
            (None, _) => format!("did not end within {} s", PATIENCE.as_secs()),
            (Some(_), Some(line)) => line.to_owned(),
            (Some(status), None) => format!("said nothing: {status} {}", self.stderr.trim()),
        };
        Said { worked, text }
    }
}

/// Where attacks happen.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    bpftrust: PathBuf,
    runs: Cell<usize>,
    /// What stands for what in actions.
    words: Vec<(&'static str, String)>,
    enforces: bool,
}

impl Lab {
    /// Makes the lab, with everything that attacks share. Nothing is enforced.
    pub fn make(arguments: &Arguments) -> Result<Self> {
        let name = format!("attack.{}", std::process::id());
        let dir = arguments.dir.join(name);
        let text = dir.to_str().context("--dir: not UTF-8")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        ensure!(
            text.chars().all(plain),
            "--dir: a path of letters, digits, '.', '_' and '-' is needed"
        );
        fs::create_dir(&dir).with_context(|| format!("making {text}; choose with --dir"))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("setting the mode of {text}"))?;
        let mut lab = Self {
            words: vec![("@", text.to_owned())],
            dir,
            bpftrust: arguments.bpftrust.clone(),
            runs: Cell::new(0),
            enforces: false,
        };
        lab.require_no_guard()?;
        lab.words.extend(loaders::make(&lab)?);
        Ok(lab)
    }

    /// Another policy is somebody's, and is left alone.
    fn require_no_guard(&self) -> Result<()> {
        let said = self.tool(&["status", "--json"])?.stdout;
        let status: Value = serde_json::from_str(&said)
            .with_context(|| format!("`{} status --json` said: {said}", self.bpftrust.display()))?;
        ensure!(
            status["mode"] == "off",
            "this machine enforces a policy already, and the attacks need their own; if it may \
             go: bpftrust release"
        );
        Ok(())
    }

    /// A path in the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn enforces(&self) -> bool {
        self.enforces
    }

    /// The words of `actions`, with what stands for something in its place.
    pub fn fill(&self, actions: &str, victim: Option<&Victim>) -> Vec<String> {
        let mut text = actions.to_owned();
        for (word, value) in &self.words {
            text = text.replace(word, value);
        }
        if let Some(victim) = victim {
            for word in ["pid", "id", "inherit"] {
                if let Some(value) = victim.says(word) {
                    text = text.replace(&format!("%{word}"), &value);
                }
            }
        }
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Runs a program of the lab as a probe, to its end.
    pub fn act(&self, program: &str, actions: &str, victim: Option<&Victim>) -> Result<Said> {
        let mut command = self.probe(program, actions, victim);
        Ok(self.run(&mut command, PATIENCE)?.said())
    }

    /// A program of the lab that is about to run these actions.
    pub fn probe(&self, program: &str, actions: &str, victim: Option<&Victim>) -> Command {
        let mut command = Command::new(self.path(program));
        command.arg("act").args(self.fill(actions, victim));
        command.current_dir(&self.dir);
        command
    }

    /// Runs a command to its end or that of `patience`.
    pub fn run(&self, command: &mut Command, patience: Duration) -> Result<Output> {
        let (child, [out, err]) = self.spawn(command)?;
        let mut group = Group(child);
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        let status = loop {
            let status = group.0.try_wait().context("waiting for a program")?;
            if status.is_some() || Instant::now() > deadline {
                break status;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        let output = Output {
            status,
            stdout: read(&out),
            stderr: read(&err),
        };
        if status.is_some() {
            for file in [out, err] {
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
        Ok(output)
    }

    fn spawn(&self, command: &mut Command) -> Result<(Child, [PathBuf; 2])> {
        self.runs.set(self.runs.get() + 1);
        let names = ["out", "err"].map(|end| self.path(&format!("{}.{end}", self.runs.get())));
        let mut files = Vec::new();
        for name in &names {
            files.push(File::create(name).with_context(|| format!("making {}", name.display()))?);
        }
        let (Some(err), Some(out)) = (files.pop(), files.pop()) else {
            bail!("no files for the output");
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        Ok((child, names))
    }

    /// Starts a program of the lab in the background and waits until it has done
    /// these actions.
    pub fn victim(&self, program: &str, actions: &str) -> Result<Victim> {
        self.background(program, actions, "until @/never")
    }

    /// The same, and it goes on with `then`.
    pub fn background(&self, program: &str, first: &str, then: &str) -> Result<Victim> {
        let actions = format!("{first} say ready {then}");
        let (child, [out, _]) = self.spawn(&mut self.probe(program, &actions, None))?;
        let victim = Victim {
            group: Group(child),
            out,
        };
        let said = victim.wait_until(|said| said.lines().any(|line| line == "ready"))?;
        let first = said.lines().take_while(|line| *line != "ready");
        let refused = first.into_iter().find(|line| {
            line.rsplit_once(": ")
                .is_some_and(|(_, answer)| answer.starts_with('E'))
        });
        match refused {
            Some(line) => bail!("the victim can't begin: {line}"),
            None => Ok(victim),
        }
    }

    /// Runs bpftrust itself.
    pub fn tool(&self, words: &[&str]) -> Result<Output> {
        self.run(Command::new(&self.bpftrust).args(words), TOOL_PATIENCE)
    }

    /// The same, which must succeed; returns what it prints.
    pub fn tool_must(&self, words: &[&str]) -> Result<String> {
        let line = format!("`bpftrust {}`", words.join(" "));
        self.tool(words)?.success(&line)
    }

    /// Runs bpftrust as somebody without privileges.
    pub fn tool_of_nobody(&self, words: &[&str]) -> Result<Output> {
        const NOBODY: u32 = 65534;
        let mut command = Command::new(&self.bpftrust);
        self.run(command.args(words).uid(NOBODY).gid(NOBODY), TOOL_PATIENCE)
    }

    /// Enforcement begins, with the lab's policy.
    pub fn enforce(&mut self) -> Result<()> {
        let policy = self.path(loaders::POLICY);
        let policy = policy.to_str().context("a path of ASCII")?;
        self.tool_must(&["enforce", "--seal", "--policy", policy])?;
        self.enforces = true;
        Ok(())
    }

    /// It ends, if there is any.
    pub fn release(&mut self) -> Result<()> {
        self.lift_seal()?;
        self.tool(&["release"])?;
        self.enforces = false;
        Ok(())
    }

    /// Breaks the glass with the lab's policy key, if there is a seal.
    fn lift_seal(&self) -> Result<()> {
        let said = self.tool(&["status", "--json"])?.stdout;
        let status: Value = serde_json::from_str(&said).unwrap_or_default();
        let seal = &status["seal"];
        let (Some(nonce), Some(time)) = (seal["nonce"].as_str(), seal["boot_time"].as_u64()) else {
            return Ok(());
        };
        let part = |name| {
            let path = self.path(&format!("{}/{name}", loaders::GOVERNOR));
            path.display().to_string()
        };
        let (private, certificate) = (part("key.pem"), part("certificate.pem"));
        let permit = self.path("permit").display().to_string();
        let time = time.to_string();
        let place = ["--nonce", nonce, "--boot-time", &time, "--minutes", "5"];
        let key = ["--key", &private, "--certificate", &certificate];
        let words = [&["permit", "make"], &place[..], &key, &["--out", &permit]];
        self.tool_must(&words.concat())?;
        let used = self.tool_must(&["permit", "use", &permit]);
        fs::remove_file(&permit).context("removing a permit")?;
        used.map(drop)
    }

    /// All that the history of this enforcement still has.
    pub fn events(&self) -> Result<Vec<Value>> {
        let lines = self.tool_must(&["events", "--json"])?;
        let parse = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("reading the event {line}"))
        };
        lines.lines().map(parse).collect()
    }

    /// Enforces anew, if the policy does not refuse any more, or does not know
    /// that it does.
    pub fn be_whole(&mut self) -> Result<()> {
        let status = self.tool(&["status"])?.status;
        let answer = self.act(loaders::UNSIGNED, crate::attack::CALL, None)?;
        if status.is_some_and(|status| status.success()) && !answer.worked {
            return Ok(());
        }
        self.release()?;
        self.wait_until_open()?;
        self.enforce().context("enforcing again after an attack")
    }

    /// The kernel lets go of links that nothing holds some time later, and of each
    /// hook's on its own.
    fn wait_until_open(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for call in [crate::attack::CALL, "map array", "load socket_filter"] {
            while !self.act(loaders::UNSIGNED, call, None)?.worked {
                ensure!(
                    Instant::now() < deadline,
                    "bpf() is still refused after an attack that took the policy down: {call}"
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What can't be undone now is told by `bpftrust status` and left to root.
        if self.enforces {
            let _ = self.release();
        }
        let _ = fs::remove_file(PIN);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A process and all that it made; they end with it.
#[derive(Debug)]
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Process groups that are empty by now are no failure.
        if let Some(group) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// A process that others reach for.
#[derive(Debug)]
pub struct Victim {
    group: Group,
    out: PathBuf,
}

impl Victim {
    /// What it says that `word` is.
    fn says(&self, word: &str) -> Option<String> {
        let said = read(&self.out);
        let value = said
            .lines()
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(": "))?;
        Some(value.to_owned())
    }

    fn wait_until(&self, done: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = read(&self.out);
            if done(&said) {
                return Ok(said);
            }
            ensure!(Instant::now() < deadline, "it is not ready: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<Said> {
        let deadline = Instant::now() + PATIENCE;
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            status = self.group.0.try_wait().context("waiting for a process")?;
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = Output {
            status,
            stdout: read(&self.out),
            stderr: String::new(),
        };
        Ok(output.said())
    }
}
