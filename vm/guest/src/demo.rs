//! The story that `make demo` tells: what bpftrust is for, on real loaders, one
//! step at a time, each held against what should happen.

use crate::guest::Guest;
use crate::process::{Background, Program};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What a step does; it returns what the reader should see of it.
type Action = fn(&mut Guest) -> Result<String>;

const STEPS: &[(&str, Action)] = &[
    (
        "execsnoop, a BPF tool of Debian, traces this machine",
        |guest| traces(guest, Loader::Execsnoop, "execsnoop-libbpf"),
    ),
    (
        "so does opensnoop: today any root process may load BPF programs",
        |guest| traces(guest, Loader::Opensnoop, "opensnoop-libbpf"),
    ),
    ("a key is made, and a policy that trusts it", |guest| {
        guest
            .run(&["bpftrust", "keygen", "--name", "acme", "--out", KEYS])?
            .success()?;
        fs::create_dir_all("/etc/bpftrust/certificates")?;
        fs::copy(CERTIFICATE, "/etc/bpftrust/certificates/acme.pem")?;
        fs::write("/etc/bpftrust/policy.toml", POLICY)?;
        Ok(POLICY.trim_end().to_owned())
    }),
    ("enforcement starts", |guest| {
        guest.run(&["bpftrust", "enforce"])?.success()
    }),
    ("now the kernel refuses execsnoop", |guest| {
        refused(guest, "execsnoop-libbpf")
    }),
    ("and opensnoop", |guest| refused(guest, "opensnoop-libbpf")),
    (
        "execsnoop is signed, and the libraries that it maps",
        |guest| sign(guest, EXECSNOOP),
    ),
    ("it works again", |guest| {
        traces(guest, Loader::Execsnoop, "execsnoop-libbpf")
    }),
    ("also when a script starts it", |guest| {
        let script = guest.script("night-watch", "#!/bin/sh\n(execsnoop-libbpf) &\nwait\n")?;
        traces(
            guest,
            Loader::Execsnoop,
            script.to_str().context("a path of ASCII")?,
        )
    }),
    ("opensnoop, which nobody signed, stays refused", |guest| {
        refused(guest, "opensnoop-libbpf")
    }),
    (
        "a copy of execsnoop is refused: the copy has no signature",
        |guest| {
            let copy = guest.copy(EXECSNOOP, "copy")?;
            refused(guest, copy.to_str().context("a path of ASCII")?)
        },
    ),
    (
        "with the signature, but one byte changed, it is refused",
        |guest| {
            let copy = edited_copy(guest)?;
            refused(guest, copy.to_str().context("a path of ASCII")?)
        },
    ),
    (
        "a signed loader may not lend its trust: the shell that it starts is refused",
        |guest| {
            let loader = guest.copy("/usr/bin/bpftrust-probe", "loader")?;
            sign(guest, loader.to_str().context("a path of ASCII")?)?;
            let output = Program::new(loader)
                .args([
                    "bpf",
                    "11",
                    "exec",
                    "/bin/sh",
                    "-c",
                    "echo a shell asks:; opensnoop-libbpf",
                ])
                .run()?;
            ensure!(
                output.stdout.contains("bpf 11: ok"),
                "the loader itself was refused: {output:?}"
            );
            ensure!(
                output.status != 0,
                "the shell's opensnoop was not refused: {output:?}"
            );
            Ok(format!("{}{}", output.stdout, last_line(&output.stderr)))
        },
    ),
    (
        "signed with a grant, execsnoop may do what it needs and no more",
        |guest| {
            let said = sign_with_grant(guest, EXECSNOOP, "execsnoop", "tracepoint")?;
            let seen = traces(guest, Loader::Execsnoop, "execsnoop-libbpf")?;
            Ok(format!("{said}{seen}"))
        },
    ),
    (
        "opensnoop is granted another type of program than it has: refused",
        |guest| {
            let said = sign_with_grant(guest, OPENSNOOP, "opensnoop", "xdp")?;
            let refusal = refused(guest, "opensnoop-libbpf")?;
            Ok(format!("{said}{refusal}"))
        },
    ),
    (
        "a policy that wants a newer execsnoop takes trust from the one that runs",
        |guest| {
            let running = guest.start(Program::new("stdbuf").args(["-oL", "execsnoop-libbpf"]))?;
            guest.wait_for("its programs", Duration::from_secs(40), || {
                let status = guest.run(&["bpftrust", "status"])?.success()?;
                let attached = status.contains("loader execsnoop") && status.contains("programs:");
                Ok(attached.then_some(()))
            })?;
            let policy = format!("{POLICY}[minimum-version]\nexecsnoop = 2\n");
            fs::write("/etc/bpftrust/policy.toml", policy)?;
            let said = guest.run(&["bpftrust", "policy", "apply"])?.success()?;
            ensure!(
                said.contains("without trust now: execsnoop") && said.contains("too-old"),
                "execsnoop kept its trust: {said}"
            );
            running.stop()?;
            let refusal = refused(guest, "execsnoop-libbpf")?;
            Ok(format!("$ bpftrust policy apply\n{said}{refusal}"))
        },
    ),
    (
        "signing a generic loader is possible, and bpftrust says what it means",
        |guest| {
            let (private, certificate) = (PRIVATE, CERTIFICATE);
            let output = guest.run(&[
                "bpftrust",
                "sign",
                "--with-libraries",
                "--key",
                private,
                "--certificate",
                certificate,
                BPFTOOL,
            ])?;
            ensure!(
                output
                    .stderr
                    .contains("signs everything that it can be told to load"),
                "{output:?}"
            );
            let said = format!("{}{}", output.stdout, output.stderr);
            output.success()?;
            Ok(said)
        },
    ),
    (
        "it sees what others own only if that is granted, and then changes nothing",
        |guest| {
            let list = ["bpftool", "prog", "list"];
            guest.run(&list)?.failure()?;
            let path = guest.write("bpftool.toml", INSPECTOR)?;
            let path = path.to_str().context("a path of ASCII")?;
            let said = sign_as(guest, BPFTOOL, &["--grant", path])?;
            guest.run(&list)?.success()?;
            Ok(format!("{INSPECTOR}{said}"))
        },
    ),
    ("the events say who was refused, and why", |guest| {
        let events = guest.run(&["bpftrust", "events"])?.success()?;
        let refusals: Vec<&str> = events
            .lines()
            .filter(|line| line.contains(" denied "))
            .filter(|line| line.contains(" prog-load ") || line.contains(" exec "))
            .collect();
        for (reason, name) in [
            ("no-signature", "execsnoop"),
            ("no-signature", "copy"),
            ("bad-signature", "edited"),
            ("not-granted", "opensnoop"),
            ("too-old", "execsnoop"),
        ] {
            ensure!(
                refusals
                    .iter()
                    .any(|line| line.contains(reason) && line.contains(name)),
                "no event has {reason} and {name}:\n{events}"
            );
        }
        Ok(refusals.join("\n"))
    }),
    ("and the status says what is trusted", |guest| {
        guest.run(&["bpftrust", "status"])?.success()
    }),
    (
        "released, the machine is as before: opensnoop traces",
        |guest| {
            guest.run(&["bpftrust", "release"])?.success()?;
            traces(guest, Loader::Opensnoop, "opensnoop-libbpf")
        },
    ),
];

const KEYS: &str = "/root/keys";
const PRIVATE: &str = "/root/keys/key.pem";
const CERTIFICATE: &str = "/root/keys/certificate.pem";
const POLICY: &str = "[publisher.acme]\ncertificates = [\"acme.pem\"]\n";
const EXECSNOOP: &str = "/usr/sbin/execsnoop-libbpf";
const OPENSNOOP: &str = "/usr/sbin/opensnoop-libbpf";
const BPFTOOL: &str = "/usr/sbin/bpftool";
const INSPECTOR: &str = "name = \"bpftool\"\nversion = 1\nabilities = [\"inspect\"]\ncommands = [\
    \"prog_get_next_id\", \"prog_get_fd_by_id\", \"obj_get_info_by_fd\", \"btf_get_fd_by_id\"]\n";

/// Tells the whole story, and says how much of it went as it should.
pub fn run() -> Result<ExitCode> {
    let uname = rustix::system::uname();
    println!("bpftrust on Linux {}\n", uname.release().to_string_lossy());
    let mut guest = Guest::new("demo", "story")?;
    let mut failed = Vec::new();
    for (number, (title, action)) in (1..).zip(STEPS) {
        println!("{number:>2}. {title}");
        match action(&mut guest) {
            Ok(shown) => shown
                .trim_end()
                .lines()
                .for_each(|line| println!("      {line}")),
            Err(error) => {
                println!("      NOT AS EXPECTED: {error:#}");
                failed.push(number.to_string());
            }
        }
    }
    println!(
        "\n{} of {} steps as expected",
        STEPS.len() - failed.len(),
        STEPS.len()
    );
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("not as expected: step {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// What to do so that a tool sees something.
#[derive(Clone, Copy)]
enum Loader {
    Execsnoop,
    Opensnoop,
}

impl Loader {
    /// Does it, and returns the name that the tool must print.
    fn provoke(self, guest: &Guest) -> Result<&'static str> {
        match self {
            Self::Execsnoop => {
                guest.run(&["/usr/bin/uptime"])?;
                Ok("uptime")
            }
            Self::Opensnoop => {
                fs::read("/etc/hostname").context("cannot read /etc/hostname")?;
                Ok("/etc/hostname")
            }
        }
    }
}

/// Starts the tool, and requires that it sees what happens. Its line is what
/// the reader sees.
fn traces(guest: &mut Guest, loader: Loader, command: &str) -> Result<String> {
    // A tool that writes to a file keeps its lines back: see them at once.
    let tool = Program::new("stdbuf").args(["-oL", command]);
    let mut running = guest.start(tool)?;
    let line = guest.wait_for("a line of the tool", Duration::from_secs(40), || {
        if let Some(status) = running.status()? {
            bail!("{command} ended with status {status}: {}", running.said());
        }
        let name = loader.provoke(guest)?;
        Ok(line_with(&running, name))
    })?;
    guest.shell("pkill -INT -f 'snoop-libbpf$'; sleep 0.3")?;
    running.stop()?;
    Ok(format!("$ {}\n{line}", short(command)))
}

fn line_with(running: &Background, name: &str) -> Option<String> {
    let said = running.said();
    // Whole lines only: the last one may still be written to.
    let (whole, _) = said.rsplit_once('\n')?;
    whole
        .lines()
        .find(|line| line.contains(name))
        .map(str::to_owned)
}

/// Runs the tool, and requires that it is refused.
fn refused(guest: &mut Guest, command: &str) -> Result<String> {
    let output = guest.run(&["timeout", "20", command])?;
    ensure!(
        output.status != 0 && output.status != 124,
        "{command} was not refused"
    );
    Ok(format!(
        "$ {}\n{}",
        short(command),
        last_line(&output.stderr)
    ))
}

fn sign(guest: &mut Guest, file: &str) -> Result<String> {
    sign_as(guest, file, &[])
}

fn sign_as(guest: &mut Guest, file: &str, options: &[&str]) -> Result<String> {
    let keys = ["--key", PRIVATE, "--certificate", CERTIFICATE];
    let sign = ["bpftrust", "sign", "--with-libraries"];
    let words = [&sign[..], &keys, options, &[file]].concat();
    let said = guest.run(&words)?.success()?;
    let shown: String = options
        .iter()
        .map(|option| format!(" {}", short(option)))
        .collect();
    Ok(format!(
        "$ bpftrust sign --with-libraries --key key.pem --certificate certificate.pem{shown} {}\n{said}",
        short(file)
    ))
}

/// Signs a file with a grant for this type of program, and for the one that
/// libbpf tries the kernel with.
fn sign_with_grant(guest: &mut Guest, file: &str, name: &str, program: &str) -> Result<String> {
    let grant = format!(
        "name = {name:?}\nversion = 1\ncommands = \"all\"\nprograms = [{program:?}, \"socket_filter\"]\n\
         attaches = [\"perf_event\"]\nmaps = [\"array\", \"hash\", \"perf_event_array\", \"cgroup_array\"]\n"
    );
    let path = guest.write(&format!("{name}.toml"), &grant)?;
    let path = path.to_str().context("a path of ASCII")?;
    let said = sign_as(guest, file, &["--grant", path])?;
    Ok(format!("{grant}{said}"))
}

/// A copy of execsnoop, signature, fs-verity and all, but for one byte.
fn edited_copy(guest: &mut Guest) -> Result<std::path::PathBuf> {
    let mut content = fs::read(EXECSNOOP).context("cannot read execsnoop")?;
    let byte = content.last_mut().context("execsnoop is empty")?;
    *byte ^= 1;
    let copy = guest.script("edited", "")?;
    fs::write(&copy, content).context("cannot write the copy")?;
    guest
        .shell(&format!(
            "getfattr --absolute-names --dump -m user.bpftrust {EXECSNOOP} | \
         sed 's|^# file: .*|# file: {0}|' | setfattr --restore=- && fsverity enable {0}",
            copy.display()
        ))?
        .success()?;
    Ok(copy)
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

/// The file name of a path.
fn short(path: &str) -> &str {
    Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(path)
}
