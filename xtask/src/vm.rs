//! `cargo xtask vm`: the guest tests, or one command, in guests.

use crate::{dist, setup, workspace};
use anyhow::{Context, Result, bail, ensure};
use bpftrust_vm::disk::Boot;
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::installed::{self, Installed};
use bpftrust_vm::kernels::{self, KERNELS, Kernel};
use bpftrust_vm::machine::{Event, Run};
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::protocol::Outcome;
use bpftrust_vm::qemu::{Accelerator, Hardware};
use bpftrust_vm::suite::{self, Report, Tally};
use bpftrust_vm::system::{self, BARE, DPKG, PACKAGE_PATH, SYSTEMS, System};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The exit status of a guest that died, hung or warned, whatever its command
/// returned.
const MACHINE_FAILED: u8 = 125;

/// Seconds that a guest may take, unless told otherwise.
pub const TIMEOUT: u64 = 4500;

/// Guests that run at the same time, as many as there are kernels. Each keeps
/// one CPU of the host busy for two thirds of the time; the rest it waits, most
/// of all for the kernel to let go of programs.
const PARALLEL: usize = 3;

/// The library that names tokens, for the guest's dynamic linker to find.
const PRELOAD: &str = "libbpftrust_preload.so";

#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Run only tests whose name contains one of these
    #[arg(value_name = "NAME")]
    pub filters: Vec<String>,

    /// The kernel's series, such as 6.18; repeatable (all of them, if absent)
    #[arg(long, value_name = "SERIES")]
    pub kernel: Vec<String>,

    /// What the guest is, with --exec: bare, bpftrace, dpkg, systemd, trusted-systemd, boot or
    /// another of vm/src/system.rs (bare, if absent); tests know theirs
    #[arg(long, value_name = "NAME", requires = "exec")]
    pub system: Option<String>,

    /// List the tests instead of running them
    #[arg(long, conflicts_with = "exec")]
    pub list: bool,

    /// Run this shell command as root in the guest, instead of the tests
    #[arg(long, value_name = "COMMAND", conflicts_with = "filters")]
    pub exec: Option<String>,

    /// Copy a file of this machine into the guest; repeatable
    #[arg(long, value_name = "HOSTPATH:GUESTPATH", value_parser = parse_copy)]
    pub copy: Vec<Extra>,

    /// Do not build and copy bpftrust itself, only the harness
    #[arg(long)]
    pub bare: bool,

    /// Seconds that a guest may take
    #[arg(long, default_value_t = TIMEOUT)]
    pub timeout: u64,

    /// Ask the archive for newer kernels and packages
    #[arg(long)]
    pub refresh: bool,

    /// Let the guest's clocks count its instructions, one each nanosecond, with --exec
    #[arg(long, requires = "exec")]
    pub counted: bool,

    /// Show the kernel's log and the boot time at the end (with --exec)
    #[arg(long, requires = "exec")]
    pub verbose: bool,
}

impl Arguments {
    /// Is a guest with dpkg among those of the run?
    fn has_package(&self, harness: &Path) -> Result<bool> {
        if self.exec.is_some() {
            return Ok(self.system.as_deref() == Some(DPKG.name));
        }
        for (kernel, system) in machines(self)? {
            if system.name == DPKG.name
                && !suite::list(harness, kernel, system, &self.filters)?.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn parse_copy(text: &str) -> Result<Extra, String> {
    match text.split_once(':') {
        Some((from, to)) if !from.is_empty() && to.starts_with('/') => Ok(Extra {
            from: from.into(),
            to: to.to_owned(),
        }),
        _ => Err("expected HOSTPATH:GUESTPATH with an absolute GUESTPATH".to_owned()),
    }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run()?;
    if let Some(command) = &arguments.exec {
        let [series] = &arguments.kernel[..] else {
            bail!("--exec needs one kernel; add --kernel SERIES, such as 6.18");
        };
        return exec(arguments, kernels::find(series)?, command);
    }
    if arguments.list {
        return list(arguments);
    }
    let reports = test(arguments)?;
    print!("\n{}", suite::summary(&reports));
    Ok(close(suite::total(&reports)))
}

/// Prints the last lines of a chore that tests, and says how it ended. The very
/// last is always the same two numbers, alone on their line.
pub fn close(tally: Tally) -> ExitCode {
    println!("{tally}");
    println!("{} passed, {} failed", tally.passed, tally.failed);
    match tally.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn list(arguments: &Arguments) -> Result<ExitCode> {
    let harness = workspace::build(&["bpftrust-guest"])?.join("bpftrust-guest");
    for (kernel, system) in machines(arguments)? {
        for name in suite::list(&harness, kernel, system, &arguments.filters)? {
            println!("{} {name}", suite::machine(kernel, system));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(arguments: &Arguments, kernel: &'static Kernel, command: &str) -> Result<ExitCode> {
    let system = system::find(arguments.system.as_deref().unwrap_or(BARE.name))?;
    let payload = Payload::build(arguments)?;
    let boot = prepare(kernel, system, arguments.refresh)?;
    let (payload, boot, _installed) = install(payload, boot, system)?;
    let command = words(&["/bin/sh", "-c", command]);
    let mut run = payload.run(&boot, system, command, arguments.timeout)?;
    if arguments.counted {
        run.hardware = Hardware {
            accelerator: Accelerator::Counted,
            cpus: 1,
            ..run.hardware
        };
    }
    let mut stdout = std::io::stdout().lock();
    let ended = run.run(|event| {
        if let Event::Output(bytes) = event {
            // Whoever reads may have gone, as `| head` does.
            let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        }
    })?;
    if arguments.verbose {
        eprint!("{}", ended.log);
        if let Some(time) = ended.boot_time {
            eprintln!("booted in {:.1} s", time.as_secs_f32());
        }
    }
    if let Some(trouble) = ended.trouble {
        eprintln!("error: Linux {}: {trouble}", kernel.series);
        return Ok(ExitCode::from(MACHINE_FAILED));
    }
    let status = ended.status.context("the guest reported no status")?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// Runs the selected tests on the chosen kernels, [`PARALLEL`] at a time, and
/// prints results as they come.
pub fn test(arguments: &Arguments) -> Result<Vec<Report>> {
    let payload = Payload::build(arguments)?;
    let mut waiting = VecDeque::new();
    for (kernel, system) in machines(arguments)? {
        let names = suite::list(&payload.harness, kernel, system, &arguments.filters)?;
        if !names.is_empty() {
            waiting.push_back((waiting.len(), kernel, system, names));
        }
    }
    if waiting.is_empty() {
        bail!(
            "no test is called {:?}; see `cargo xtask vm --list`",
            arguments.filters
        );
    }
    let waiting = Mutex::new(waiting);
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    };
    let work = || {
        let mut reports = Vec::new();
        while let Some((place, kernel, system, names)) = next() {
            // One guest that cannot be tested takes nothing from the others.
            let report =
                test_one(arguments, &payload, (kernel, system), &names).unwrap_or_else(|error| {
                    suite::not_run(kernel, system, &names, format!("{error:#}"))
                });
            reports.push((place, report));
        }
        reports
    };
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => reports.extend(done),
                Err(_) => bail!("a thread that ran a guest panicked"),
            }
        }
        Ok(())
    })?;
    reports.sort_by_key(|(place, _)| *place);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

fn test_one(
    arguments: &Arguments,
    payload: &Payload,
    (kernel, system): (&'static Kernel, &'static System),
    names: &[String],
) -> Result<Report> {
    let boot = prepare(kernel, system, arguments.refresh)?;
    let (payload, boot, _installed) = install(payload.clone(), boot, system)?;
    let machine = suite::machine(kernel, system);
    let mut command = words(&[suite::HARNESS, "test", system.name]);
    command.extend(arguments.filters.iter().cloned());
    let run = Run {
        reports: true,
        ..payload.run(&boot, system, command, arguments.timeout)?
    };
    suite::run(kernel, names, &run, |result, millis| {
        let word = match result.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::LeftOut => "left out",
        };
        println!(
            "{machine:>5}  {word:<8}  {} ({}.{:03} s)",
            result.name,
            millis / 1000,
            millis % 1000
        );
    })
}

pub fn chosen(arguments: &Arguments) -> Result<Vec<&'static Kernel>> {
    if arguments.kernel.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let series = arguments.kernel.iter();
    series.map(|series| kernels::find(series)).collect()
}

/// Every system on every chosen kernel, or where it is tested if none was chosen.
fn machines(arguments: &Arguments) -> Result<Vec<(&'static Kernel, &'static System)>> {
    let kernels = chosen(arguments)?;
    let mut machines = Vec::new();
    for system in SYSTEMS {
        for kernel in &kernels {
            let named = !arguments.kernel.is_empty();
            if named || system.series.is_none_or(|series| series == kernel.series) {
                machines.push((*kernel, *system));
            }
        }
    }
    Ok(machines)
}

/// For a machine that is booted as an installed one, its initramfs, and what its disk has
/// besides; the directory that this is in ends with what is returned last.
fn install(
    mut payload: Payload,
    boot: Boot,
    system: &System,
) -> Result<(Payload, Boot, Option<Installed>)> {
    let Some(generator) = system.generator else {
        return Ok((payload, boot, None));
    };
    let harness = Extra {
        from: payload.harness.clone(),
        to: suite::HARNESS.to_owned(),
    };
    let programs: Vec<_> = payload.extras.iter().cloned().chain([harness]).collect();
    let packaging = workspace::root().join("packaging");
    let installed = installed::install(generator, &boot, &packaging, &programs)?;
    payload.extras.extend(installed.extras.iter().cloned());
    let boot = Boot {
        initramfs: installed.image.clone(),
        ..boot
    };
    Ok((payload, boot, Some(installed)))
}

/// What goes into a guest.
#[derive(Clone)]
pub struct Payload {
    harness: PathBuf,
    pub extras: Vec<Extra>,
    /// For guests with dpkg: the same, and our package, if a run has such a guest.
    with_package: Vec<Extra>,
}

impl Payload {
    /// A guest with all this that runs `command`, which reports nothing by itself, for
    /// so many seconds at most.
    pub fn run<'a>(
        &'a self,
        boot: &'a Boot,
        system: &'a System,
        command: Vec<String>,
        limit: u64,
    ) -> Result<Run<'a>> {
        Ok(Run {
            boot,
            system,
            hardware: Hardware::usual(Accelerator::probe(boot)?),
            harness: &self.harness,
            command,
            reports: false,
            extras: match system.name == DPKG.name {
                true => &self.with_package,
                false => &self.extras,
            },
            timeout: Duration::from_secs(limit),
        })
    }

    /// Builds the harness and, unless `--bare`, bpftrust; and its package, where a guest of
    /// the run has dpkg.
    pub fn build(arguments: &Arguments) -> Result<Self> {
        let mut payload = Self::without_package(arguments)?;
        if !arguments.bare && arguments.has_package(&payload.harness)? {
            let binaries = workspace::target()?.join("release");
            payload.with_package.push(Extra {
                from: dist::build(&binaries)?,
                to: PACKAGE_PATH.to_owned(),
            });
        }
        Ok(payload)
    }

    /// Builds the harness and, unless `--bare`, bpftrust.
    pub fn without_package(arguments: &Arguments) -> Result<Self> {
        let mut packages = vec!["bpftrust-guest"];
        if !arguments.bare {
            packages.extend([
                "bpftrust",
                "bpftrust-attack",
                "bpftrust-preload",
                "bpftrust-script",
                "bpftrust-token-execs",
            ]);
        }
        let binaries = workspace::build(&packages)?;
        let mut extras = vec![binary(&binaries, "bpftrust-probe")];
        if !arguments.bare {
            extras.push(binary(&binaries, "bpftrust"));
            extras.push(binary(&binaries, "bpftrust-attack"));
            extras.push(binary(&binaries, "bpftrust-script"));
            extras.push(binary(&binaries, "bpftrust-token-execs"));
            extras.push(Extra {
                from: binaries.join(PRELOAD),
                to: format!("/usr/lib/x86_64-linux-gnu/{PRELOAD}"),
            });
        }
        extras.push(binary(&binaries, "bpftrust-drift"));
        extras.extend(arguments.copy.iter().cloned());
        Ok(Self {
            with_package: extras.clone(),
            harness: binaries.join("bpftrust-guest"),
            extras,
        })
    }
}

/// Runs a command in a guest of that name to its end, which must be a good one, and
/// hands on each line that it prints.
pub fn lines(name: &str, run: Run<'_>, mut each: impl FnMut(&str)) -> Result<()> {
    let mut said = Vec::new();
    let ended = run.run(|event| {
        let Event::Output(bytes) = event else { return };
        said.extend(bytes);
        while let Some(length) = said.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = said.drain(..=length).collect();
            each(String::from_utf8_lossy(&line).trim_end());
        }
    })?;
    if let Some(trouble) = ended.trouble {
        bail!("{name}: {trouble}");
    }
    ensure!(
        ended.status == Some(0),
        "{name}: the guest failed: {}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

/// A program of ours, in a directory of them, for the guest's `/usr/bin`.
pub fn binary(dir: &Path, name: &str) -> Extra {
    Extra {
        from: dir.join(name),
        to: format!("/usr/bin/{name}"),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
