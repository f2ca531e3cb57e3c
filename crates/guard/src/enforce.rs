//! Starting and stopping the guard: all or nothing.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bpftrust_signature::Nonce;
use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::{Btf, TypeId};
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, ProgramInput};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::abi::{
    ADOPTED, BT_ARMED, BT_ARMED_ELSEWHERE, BT_ARMED_ENDLESS, FIRST_IMAGE, KFUNCS, bt_arming,
    bt_image, bt_state, bytes_of,
};
use crate::apply::{bring_first, remove_keyrings};
use crate::clock::Boot;
use crate::gate::Gate;
use crate::pins::{BPFFS, LATCH, Pins, SEAL_HOOKS, SWITCH, View, hooks};
use crate::skeleton::{GuardSkel, GuardSkelBuilder};
use crate::status::version;
use crate::{Error, Policy, Result, Seal, Stage, latch, seal};

/// `f_type` of bpffs (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// How long the kernel may take to let go of unpinned links: they are freed
/// asynchronously (`kernel/bpf/syscall.c:bpf_link_put`).
const RELEASE_DEADLINE: Duration = Duration::from_secs(60);

/// Whether the guard refuses, or only says what it would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse.
    Enforce,
    /// Only report.
    Audit,
}

impl Mode {
    /// As a policy says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A running process that is trusted because the admin says so.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Its thread group.
    pub pid: u32,
    /// Its name, for `status`.
    pub comm: Vec<u8>,
}

/// Starts the guard. When this returns it decides, and goes on when this
/// process is gone; if it fails nothing is left behind. Sealed, it takes another
/// policy only from a policy key, until the machine is started again.
///
/// # Errors
/// [`Error::NotRoot`], [`Error::AlreadyEnforcing`], [`Error::NoBpffs`];
/// [`Error::Keyring`] if the kernel doesn't take a certificate;
/// [`Error::Kernel`] if it doesn't take a program, [`Error::Policy`] if it
/// doesn't take the policy;
/// [`Error::Ineffective`] if it took all and refuses nothing.
pub fn enforce(policy: &Policy, mode: Mode, adopted: &[Adopted]) -> Result<()> {
    begin(policy, mode, adopted, None).map(drop)
}

/// Starts the guard, sealed at some stage or not at all, and returns its links.
pub(crate) fn begin(
    policy: &Policy,
    mode: Mode,
    adopted: &[Adopted],
    seal: Option<Stage>,
) -> Result<Vec<OwnedFd>> {
    let _lock = lock()?;
    let pins = Pins::standard();
    clear_leftovers(&pins)?;
    let attempt = Attempt {
        pins: &pins,
        succeeded: false,
    };
    let links = start(&pins, policy, mode, adopted, seal)?;
    if Gate::is_shut()? != (mode == Mode::Enforce) {
        return Err(Error::Ineffective);
    }
    attempt.succeed();
    Ok(links)
}

/// Stops the guard: nothing of it is left when this returns.
///
/// # Errors
/// [`Error::NotRoot`], [`Error::NotEnforcing`], [`Error::Sealed`];
/// [`Error::Release`] if the kernel side doesn't allow it; [`Error::StillHeld`] if
/// somebody holds the hooks besides their pins.
pub fn release() -> Result<()> {
    let _lock = lock()?;
    let pins = Pins::standard();
    if !pins.exist()? {
        return Err(Error::NotEnforcing);
    }
    let seal = pins.state().ok().and_then(|state| Seal::of(&state));
    if seal.is_some_and(|seal| seal.lifted_until.is_none()) {
        return Err(Error::Sealed);
    }
    let hooks = pins.hook_names()?;
    match Gate::release() {
        Err(source) if source.raw_os_error() == Some(libc::EPERM) => {
            return Err(Error::Release { source });
        }
        // The hook that answers may be gone, and the others have to go all the same.
        Ok(()) | Err(_) => {}
    }
    if let Some(seal) = seal {
        seal::end_anchor(seal.anchor)?;
        latch::detach()?;
    }
    remove(&pins)?;
    let deadline = Instant::now() + RELEASE_DEADLINE;
    while Gate::is_shut()? || is_any_loaded(&hooks) {
        if Instant::now() > deadline {
            return Err(Error::StillHeld);
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn is_any_loaded(programs: &[OsString]) -> bool {
    ProgInfoIter::default().any(|info| {
        programs
            .iter()
            .any(|name| name.as_bytes() == info.name.as_bytes())
    })
}

/// Removes what was done if it isn't brought to its end.
struct Attempt<'a> {
    pins: &'a Pins,
    succeeded: bool,
}

impl Attempt<'_> {
    fn succeed(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.succeeded {
            // The error that led here is the one to report.
            let _ = Gate::release();
            let _ = latch::detach();
            let _ = remove(self.pins);
        }
    }
}

/// Whether this process may start and stop the guard at all.
///
/// # Errors
/// [`Error::NotRoot`].
pub fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::NotRoot)
    }
}

/// Held while the guard is started or stopped.
pub(crate) fn lock() -> Result<File> {
    require_root()?;
    if !statfs(BPFFS).is_ok_and(|stat| stat.f_type == BPF_FS_MAGIC) {
        return Err(Error::NoBpffs { path: BPFFS });
    }
    let pin_error = |source| Error::Pin {
        operation: "lock",
        path: BPFFS.into(),
        source,
    };
    let directory = File::open(BPFFS).map_err(pin_error)?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(Errno::WOULDBLOCK) => Err(Error::Busy),
        Err(errno) => Err(pin_error(errno.into())),
    }
}

fn remove(pins: &Pins) -> Result<()> {
    pins.remove()?;
    remove_keyrings()
}

/// A guard that never came to decide is taken away; one that decides stays.
fn clear_leftovers(pins: &Pins) -> Result<()> {
    if !pins.exist()? {
        return Ok(());
    }
    match pins.state() {
        Ok(bt_state { started: 0, .. }) | Err(Error::NotEnforcing) => {
            latch::detach()?;
            remove(pins)
        }
        Ok(_) => Err(Error::AlreadyEnforcing),
        Err(error) => Err(error),
    }
}

pub(crate) fn limit(what: &'static str, count: usize, limit: usize) -> Result<()> {
    if count > limit {
        Err(Error::TooMany { what, count, limit })
    } else {
        Ok(())
    }
}

fn start(
    pins: &Pins,
    policy: &Policy,
    mode: Mode,
    adopted: &[Adopted],
    seal: Option<Stage>,
) -> Result<Vec<OwnedFd>> {
    let sealed = seal.is_some();
    let mut storage = MaybeUninit::uninit();
    let mut open = GuardSkelBuilder::default()
        .open(&mut storage)
        .map_err(kernel("open", "the kernel side's object"))?;
    let constants = open.maps.rodata_data.as_deref_mut();
    let constants = constants.expect("the object has read-only data");
    constants.audit = mode == Mode::Audit;
    constants.seal = sealed;
    constants.early = seal == Some(Stage::Initramfs);
    if mode == Mode::Enforce {
        let repetitions = open.maps.repetitions.set_max_entries(1);
        repetitions.map_err(kernel("open", "the map of repetitions"))?;
    }
    // Each takes the verifier its time.
    for mut program in open.open_object_mut().progs_mut() {
        let name = program.name().to_owned();
        program.set_autoload(is_needed(&name, sealed));
    }
    let guard = open
        .load()
        .map_err(kernel("load", "the kernel side's programs"))?;

    classify_kfuncs(&guard)?;
    vouch(&guard, adopted)?;
    pins.create()?;
    let links = attach(&guard, pins, sealed)?;
    // From here on user space can't write them, whoever gets hold of one.
    for map in guard.object().maps().filter(|map| is_table(map.name())) {
        MapHandle::try_from(&map)
            .and_then(|handle| handle.freeze())
            .map_err(kernel("freeze map", map.name().to_string_lossy()))?;
    }
    bring_first(policy, mode, sealed)?;
    match arm(&guard, pins)? {
        BT_ARMED => Ok(links),
        BT_ARMED_ELSEWHERE => Err(Error::OtherMountNamespace),
        BT_ARMED_ENDLESS => Err(Error::EndlessInitramfs),
        answer => Err(Error::NotArmed { answer }),
    }
}

/// Runs `bt_arm` and returns its answer.
fn arm(guard: &GuardSkel<'_>, pins: &Pins) -> Result<u32> {
    let directory = pins.open()?;
    let arming = bt_arming {
        directory: directory.as_raw_fd().unsigned_abs(),
        ..bt_arming::default()
    };
    let mut context = bytes_of(&arming).to_vec();
    let input = ProgramInput {
        context_in: Some(&mut context),
        ..ProgramInput::default()
    };
    let output = guard
        .progs
        .bt_arm
        .test_run(input)
        .map_err(kernel("run", "bt_arm"))?;
    Ok(output.return_value)
}

/// Tells the kernel side which of this kernel's functions are which; what it is
/// not told of, it does not know.
fn classify_kfuncs(guard: &GuardSkel<'_>) -> Result<()> {
    let known: HashMap<&[u8], u64> = KFUNCS
        .iter()
        .map(|&(name, abilities)| (name.as_bytes(), abilities))
        .collect();
    let types = Btf::from_vmlinux().map_err(kernel("read", "the kernel's types"))?;
    let count = u32::try_from(types.len()).unwrap_or(u32::MAX);
    for id in 1..count {
        let Some(function) = types.type_by_id::<Func<'_>>(TypeId::from(id)) else {
            continue;
        };
        let name = function.name().map(OsStr::as_bytes).unwrap_or_default();
        let Some(abilities) = known.get(name) else {
            continue;
        };
        guard
            .maps
            .kfuncs
            .update(
                &id.to_ne_bytes(),
                &abilities.to_ne_bytes(),
                MapFlags::NO_EXIST,
            )
            .map_err(kernel("fill map", "kfuncs"))?;
    }
    Ok(())
}

/// Makes the images of adopted processes; `bt_arm` gives them to their tasks.
fn vouch(guard: &GuardSkel<'_>, adopted: &[Adopted]) -> Result<()> {
    limit("adopted processes", adopted.len(), ADOPTED)?;
    for (id, process) in (FIRST_IMAGE..).zip(adopted) {
        let mut image = bt_image {
            pid: process.pid,
            adopted: 1,
            ..bt_image::default()
        };
        let length = process.comm.len().min(image.comm.len() - 1);
        image.comm[..length].copy_from_slice(&process.comm[..length]);
        guard
            .maps
            .images
            .update(&id.to_ne_bytes(), bytes_of(&image), MapFlags::NO_EXIST)
            .map_err(kernel("fill map", "images"))?;
        guard
            .maps
            .adopted
            .update(&process.pid.to_ne_bytes(), &id.to_ne_bytes(), MapFlags::ANY)
            .map_err(kernel("fill map", "adopted"))?;
    }
    let mut state = bt_state {
        images: adopted.len() as u64,
        booted: Boot::now().nanoseconds(),
        nonce: nonce()?,
        ..bt_state::default()
    };
    let version = version().bytes().take(state.version.len() - 1);
    for (to, from) in state.version.iter_mut().zip(version) {
        *to = from;
    }
    guard
        .maps
        .state
        .update(&0_u32.to_ne_bytes(), bytes_of(&state), MapFlags::ANY)
        .map_err(kernel("fill map", "state"))
}

/// What the first permit must name.
fn nonce() -> Result<[u8; Nonce::SIZE]> {
    let mut nonce = [0; Nonce::SIZE];
    match getrandom(&mut nonce, GetRandomFlags::empty()) {
        // As much as this is given at once, or an error (random(4)).
        Ok(_) => Ok(nonce),
        Err(errno) => Err(Error::Random {
            source: errno.into(),
        }),
    }
}

/// Attaches and pins what readers need, then the hooks, and returns the links of
/// all.
fn attach(guard: &GuardSkel<'_>, pins: &Pins, sealed: bool) -> Result<Vec<OwnedFd>> {
    let mut links = Vec::new();
    let (progs, maps) = (&guard.progs, &guard.maps);
    for (view, program, map) in [
        (View::State, &progs.bt_show_state, Some(&maps.state)),
        (View::Events, &progs.bt_show_events, Some(&maps.events)),
        (View::Images, &progs.bt_show_images, Some(&maps.images)),
        (View::Keys, &progs.bt_show_keys, Some(&maps.keys)),
        (View::Programs, &progs.bt_show_progs, None),
        (View::Maps, &progs.bt_show_maps, None),
        (View::Links, &progs.bt_show_links, None),
        (View::Tokens, &progs.bt_show_tokens, Some(&maps.tokens)),
    ] {
        let name = program.name().to_string_lossy();
        let link = match map {
            Some(map) => program.attach_iter(map.as_fd()),
            None => program.attach(),
        };
        let link = link.map_err(kernel("attach", &*name))?;
        links.push(pin(link, &pins.view(view))?);
    }
    let cgroup = seal::root_cgroup()?;
    let link = progs
        .bt_sysctl
        .attach_cgroup(cgroup.as_raw_fd())
        .map_err(kernel("attach", SWITCH))?;
    links.push(pin(link, &pins.hook(SWITCH))?);
    if sealed {
        latch::attach(|name| match name {
            LATCH => progs.bt_latch.as_fd(),
            _ => progs.bt_sysctl.as_fd(),
        })?;
    }
    for name in hooks(sealed) {
        let program = guard
            .object()
            .progs_mut()
            .find(|program| program.name() == name)
            .expect("every hook is a program of the object");
        let link = program.attach().map_err(kernel("attach", name))?;
        links.push(pin(link, &pins.hook(name))?);
    }
    Ok(links)
}

/// Whether a guard that is sealed or not has this program: the others are asked by
/// tests, or hold a seal.
fn is_needed(name: &OsStr, sealed: bool) -> bool {
    let asked = ["bt_decide", "bt_sha256"];
    let of_seal = SEAL_HOOKS.iter().chain([&LATCH]).any(|hook| name == *hook);
    !asked.iter().any(|program| name == *program) && (sealed || !of_seal)
}

/// Whether a map is one of ours by name, not a section of the object's data:
/// `.rodata` is frozen by libbpf, `.bss` holds nothing that anybody reads.
fn is_table(name: &OsStr) -> bool {
    !name.as_bytes().contains(&b'.')
}

fn pin(mut link: Link, path: &Path) -> Result<OwnedFd> {
    let error = || kernel("pin", path.to_string_lossy());
    link.pin(path).map_err(error())?;
    let descriptor = link.as_fd().try_clone_to_owned();
    descriptor.map_err(|source| error()(source.into()))
}

pub(crate) fn kernel(
    operation: &'static str,
    thing: impl Into<String>,
) -> impl FnOnce(libbpf_rs::Error) -> Error {
    let thing = thing.into();
    move |source| Error::Kernel {
        operation,
        thing,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libbpf_rs::ProgramType;
    use std::collections::BTreeSet;

    #[test]
    fn every_program_that_the_kernel_calls_is_a_hook() {
        let mut storage = MaybeUninit::uninit();
        let open = GuardSkelBuilder::default().open(&mut storage).unwrap();
        let programs: BTreeSet<_> = open
            .open_object()
            .progs()
            .filter(|program| {
                program.prog_type() == ProgramType::Lsm
                    || program.section().as_encoded_bytes().starts_with(b"fentry/")
            })
            .map(|program| program.name().to_owned())
            .collect();
        let expected = hooks(true).chain([LATCH]).map(OsString::from);
        assert_eq!(programs, expected.collect());
    }
}
