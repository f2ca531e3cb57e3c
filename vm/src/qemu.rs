//! QEMU's command line, and whether it can use KVM here.

use crate::cache::Cache;
use crate::disk::Boot;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's own emulation: slower, works everywhere.
    Tcg,
    /// The same, and the guest's clocks count its instructions, one each nanosecond:
    /// what takes as long takes as many, on any host. A waiting guest's time jumps to
    /// what it waits for.
    Counted,
}

/// What a guest is executed by, and what its kernel is told besides.
#[derive(Debug, Clone, Copy)]
pub struct Hardware<'a> {
    /// What executes it.
    pub accelerator: Accelerator,
    /// How many CPUs it has.
    pub cpus: u32,
    /// Its memory, in MiB.
    pub memory: u32,
    /// What starts its kernel.
    pub firmware: Firmware,
    /// More for the kernel's command line.
    pub line: &'a str,
}

/// What starts a guest's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own.
    Bios,
    /// UEFI of Debian's package `ovmf`, without Secure Boot. Its `db` holds the one
    /// certificate [`SNAKEOIL`] of that package, which the kernel takes over into the
    /// keyring `.platform` (security/integrity/platform_certs/load_uefi.c).
    Uefi,
}

/// Where `ovmf` has the certificate, and beside it, as `.key`, its private key, which is
/// public; its passphrase is `snakeoil`.
pub const SNAKEOIL: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";

/// Its code, and its variables with that certificate.
const UEFI: [&str; 2] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
];

impl Firmware {
    fn arguments(self) -> Vec<String> {
        match self {
            Self::Bios => Vec::new(),
            // What a guest writes is thrown away with it.
            Self::Uefi => UEFI
                .iter()
                .flat_map(|file| {
                    let drive = format!("file={file},if=pflash,format=raw,snapshot=on");
                    ["-drive".to_owned(), drive]
                })
                .collect(),
        }
    }
}

impl Hardware<'_> {
    /// As guests usually are.
    pub fn usual(accelerator: Accelerator) -> Self {
        Self {
            accelerator,
            cpus: 2,
            memory: 1536,
            firmware: Firmware::Bios,
            line: "",
        }
    }
}

/// What the kernel is told; nothing here changes Debian's list of LSMs.
/// Watchdogs of time, and the check at boot whether the timer ticks in time, are off,
/// as an emulated CPU may get none for seconds; the host has its own timeout. Programs
/// are mapped at the same addresses each time: the emulator translates code anew for
/// each address, which would be most of what it does where a test executes many.
const KERNEL_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic nowatchdog \
                           workqueue.watchdog_thresh=0 rcupdate.rcu_cpu_stall_suppress=1 \
                           no_timer_check norandmaps";

impl Accelerator {
    /// Finds out by booting `boot`'s kernel, as a `/dev/kvm` that opens may
    /// still not run it; remembers the answer until this host reboots.
    pub fn probe(boot: &Boot) -> Result<Self> {
        if fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        let cache = Cache::open()?;
        let _lock = cache.lock()?;
        let host = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let memory = cache.path("kvm");
        if let Ok(known) = fs::read_to_string(&memory)
            && let Some(answer) = known.strip_prefix(&host)
        {
            return Ok(if answer == "yes" {
                Self::Kvm
            } else {
                Self::Tcg
            });
        }
        let works = boots_under_kvm(boot)?;
        if !works {
            eprintln!("KVM does not run a stock kernel on this machine: emulating instead");
        }
        let answer = if works { "yes" } else { "no" };
        fs::write(&memory, format!("{host}{answer}"))
            .with_context(|| format!("cannot write {}", memory.display()))?;
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            // One host thread for both CPUs, in turns: with one each, a CPU may
            // run code that the other is just patching (static keys), and die
            // of an int3 that no real CPU would see. Two guests run at a time,
            // so both host CPUs have work all the same.
            Self::Tcg => &["-accel", "tcg,thread=single"],
            // Without what differs from run to run: random numbers of the CPU, and
            // the host's time.
            Self::Counted => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                "max,-rdrand,-rdseed",
                "-rtc",
                "base=2026-12-01T00:00:00,clock=vm",
            ],
        }
    }
}

/// The command that boots a guest: the kernel's log goes to the file `log`, the
/// channel to QEMU's standard output. A guest that `reboots` keeps what its disk holds;
/// others end.
pub fn command(
    hardware: Hardware<'_>,
    boot: &Boot,
    initramfs: &Path,
    log: &Path,
    reboots: bool,
) -> Command {
    let line = format!("{KERNEL_LINE} {}", hardware.line);
    let mut command = base(hardware, boot, line.trim_end());
    if !reboots {
        command.arg("-no-reboot");
    }
    command
        .arg("-initrd")
        .arg(initramfs)
        .arg("-drive")
        // The disk is opened read-only with changes beside it in a temporary
        // file, so any number of guests share it and none leaves a trace.
        .arg(format!(
            "file={},format=raw,if=virtio,snapshot=on",
            comma(&boot.disk)
        ))
        .args(["-device", "virtio-serial-pci"])
        .args(["-chardev", "file,id=channel,path=/dev/stdout"])
        .args(["-device", "virtserialport,chardev=channel,name=bpftrust"])
        .arg("-serial")
        .arg(format!("file:{}", comma(log)));
    command
}

fn base(hardware: Hardware<'_>, boot: &Boot, kernel_line: &str) -> Command {
    // So that a guest ends with whoever started it, even by kill -9.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-machine", "pc", "-m"])
        .arg(hardware.memory.to_string())
        .arg("-smp")
        .arg(hardware.cpus.to_string())
        .args(hardware.accelerator.arguments())
        .args(hardware.firmware.arguments())
        .args(["-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-kernel"])
        .arg(&boot.vmlinuz)
        .args(["-append", kernel_line])
        .stdin(Stdio::null());
    command
}

/// Boots without a root and sees whether the kernel comes so far as to miss it.
fn boots_under_kvm(boot: &Boot) -> Result<bool> {
    let log = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let mut child = base(
        Hardware::usual(Accelerator::Kvm),
        boot,
        "console=ttyS0 panic=-1",
    )
    .arg("-no-reboot")
    .arg("-serial")
    .arg(format!("file:{}", comma(log.path())))
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .context("cannot run qemu-system-x86_64; try `cargo xtask setup`")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(100));
    }
    // It may have ended by itself, which is as well.
    let _ = child.kill();
    child.wait()?;
    let said = fs::read(log.path())?;
    Ok(String::from_utf8_lossy(&said).contains("Unable to mount root fs"))
}

/// A path as QEMU's lists of options take it.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
