//! What the running guard says of itself.

use std::hint::black_box;
use std::time::SystemTime;

use bpftrust_signature::{Grant, KeyHint, Name, Nonce, Requirements, Rights, ScriptRights};
use bpftrust_verity::Digest;

use crate::abi::{self, bt_grant, bt_image, bt_key, bt_owned, bt_script, bt_state, bt_token};
use crate::clock::{Boot, uptime};
use crate::pins::Pins;
use crate::{Libraries, Mode, Result, seal};

/// The version of bpftrust that this is, such as `0.1.0`.
pub fn version() -> &'static str {
    // Not folded into the code, so that a test can make a copy of another version.
    black_box(env!("CARGO_PKG_VERSION"))
}

/// A guard that runs.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether it refuses.
    pub mode: Mode,
    /// Hooks whose pins somebody took away: they decide nothing any more.
    pub missing_hooks: Vec<&'static str>,
    /// `kernel.ftrace_enabled` is 0, which on 6.12 and 6.18 switches every hook
    /// off (`kernel/trace/ftrace.c:ftrace_enable_sysctl`).
    pub ftrace_off: bool,
    /// Where it is sealed: nothing in user space ends it before a reboot.
    pub seal: Option<Seal>,
    /// Since when.
    pub started: SystemTime,
    /// The version of bpftrust that started it, as [`version`] says it.
    pub version: String,
    /// Events so far.
    pub events: u64,
    /// Events that could not be recorded.
    pub lost_events: u64,
    /// Records that could not be made for want of room: each cost a process its
    /// trust, or an untrusted one the name of its reason.
    pub starved: u64,
    /// Tasks that have a reason of their own and no image.
    pub reasons: u64,
    /// Refusals (in audit mode: would-be refusals) by reason, without zeros.
    pub refusals: Vec<(&'static str, u64)>,
    /// What it asks of libraries; `None` if this version has no name for it.
    pub libraries: Option<Libraries>,
    /// Number of the policy in force: 1 for that of `enforce`.
    pub generation: u64,
    /// Since when it is.
    pub policy_since: SystemTime,
    /// The highest serial of a policy that was in force.
    pub serial: u64,
    /// The keys that may sign.
    pub keys: Vec<Key>,
    /// The address spaces that have, or had, trust.
    pub images: Vec<Image>,
    /// The programs, maps and links that exist.
    pub objects: Vec<Object>,
    /// The BPF tokens that exist, the oldest first.
    pub tokens: Vec<Token>,
}

/// A BPF token that a trusted process made, and that something still holds.
#[derive(Clone, Debug)]
pub struct Token {
    /// The guard's number for it, from 1 on.
    pub number: u32,
    /// The process that made it.
    pub pid: u32,
    /// Its name then: any bytes.
    pub comm: Vec<u8>,
    /// Since when.
    pub made: SystemTime,
    /// The owner: who signed the loader,
    pub publisher: Option<Name>,
    /// and the name that he gave it.
    pub loader: Option<Name>,
    /// What it delegates; no ability. Its use takes the same rights of the owner.
    pub delegates: Rights,
}

/// The seal: until the machine is started again nothing in user space ends the
/// guard, and its policy changes only by the word of a policy key.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    /// The process that holds links and keyrings besides the pins.
    pub anchor: u32,
    /// Whether it is still there. Without it pins and the user keyring are left.
    pub anchor_runs: bool,
    /// What the next permit must name.
    pub nonce: Nonce,
    /// Since the machine was started, in whole seconds: what a permit's end is
    /// reckoned from.
    pub uptime: u64,
    /// When the permit ends that lifts the seal now, in the same seconds.
    pub lifted_until: Option<u64>,
}

/// A key that may sign.
#[derive(Clone, Debug)]
pub struct Key {
    /// The policy's name for who holds it.
    pub publisher: String,
    /// How signatures refer to it.
    pub hint: KeyHint,
    /// Serial of its keyring; `None` for a keyring of the kernel.
    pub ring: Option<u32>,
    /// Which keyring of the kernel it is, if it is one.
    pub keyring: Option<&'static str>,
    /// It signs policies and permits, and no files.
    pub orders: bool,
    /// The policy refuses it.
    pub refused: bool,
    /// Whether its keyring is gone: nothing is verified with it any more.
    pub lost: bool,
}

/// An address space that was given trust.
#[derive(Clone, Debug)]
pub struct Image {
    /// The process that it was made for.
    pub pid: u32,
    /// Its name then.
    pub comm: Vec<u8>,
    /// Threads, and processes that share its memory.
    pub tasks: u32,
    /// Since when.
    pub started: SystemTime,
    /// Why it lost its trust, if it did.
    pub lost_trust: Option<&'static str>,
    /// Trusted by `--adopt`, without evidence.
    pub adopted: bool,
    /// The weakest that all files fulfil whose code it maps; `None` if that is
    /// nothing yet.
    pub libraries: Option<Libraries>,
    /// The keys that signed those, if they are signed.
    pub library_keys: Vec<KeyHint>,
    /// fs-verity digest of its executable.
    pub digest: Option<Digest>,
    /// The key that signed it.
    pub key: Option<KeyHint>,
    /// Whose key it was, as the policy called him then.
    pub publisher: Option<Name>,
    /// What was granted; `None` for a signature without a grant.
    pub grant: Option<Grant>,
    /// What it may do now.
    pub rights: Rights,
    /// What each of its calls takes besides.
    pub requires: Requirements,
    /// The signed script that it runs, or, of a launcher, starts a loader on.
    pub script: Option<Script>,
}

/// A signed script.
#[derive(Clone, Debug)]
pub struct Script {
    /// fs-verity digest of it.
    pub digest: Digest,
    /// The key that signed it.
    pub key: Option<KeyHint>,
    /// Whose key it was, as the policy called him then.
    pub publisher: Option<Name>,
    /// What its signature granted; `None` if that said nothing.
    pub grant: Option<Grant>,
}

/// A program, map or link.
#[derive(Clone, Debug)]
pub struct Object {
    /// BPF's own number, if it has one yet.
    pub id: Option<u32>,
    /// `program`, `map` or `link`.
    pub kind: &'static str,
    /// Its type: name, or number if this version has no name for it.
    pub type_name: String,
    /// Its name in the kernel, a link's program's: any bytes.
    pub label: Vec<u8>,
    /// The process that made it, of a link its program; `None` for what nobody made
    /// under enforcement.
    pub pid: Option<u32>,
    /// The owner: who signed the loader,
    pub publisher: Option<Name>,
    /// and the name that he gave it.
    pub loader: Option<Name>,
    /// The key that a program counts as signed by, where it had to be: the kernel
    /// verified it, or a program that it verified loaded it.
    pub signer: Option<KeyHint>,
}

impl Status {
    /// Asks the guard that runs.
    ///
    /// # Errors
    /// [`Error::NotEnforcing`](crate::Error::NotEnforcing) if there is none,
    /// [`Error::Incomplete`](crate::Error::Incomplete) if one was started and
    /// never finished.
    pub fn read() -> Result<Self> {
        let pins = Pins::standard();
        let state = armed_state(&pins)?;
        let boot = Boot::since_epoch(state.booted);
        Ok(Self {
            mode: mode_of(&state),
            missing_hooks: pins.missing_hooks(state.sealed != 0)?,
            ftrace_off: is_ftrace_off(),
            started: boot.at(state.started),
            version: String::from_utf8_lossy(abi::text_of(&state.version)).into_owned(),
            events: state.events,
            lost_events: state.lost,
            starved: state.starved,
            reasons: state.reasons,
            refusals: abi::reasons()
                .iter()
                .filter_map(|&(number, name)| {
                    let count = *state.refusals.get(number as usize)?;
                    (count > 0).then_some((name, count))
                })
                .collect(),
            libraries: Libraries::from_number(state.libraries),
            generation: state.generation,
            policy_since: boot.at(state.changed),
            serial: state.serial,
            seal: Seal::of(&state),
            keys: keys_of(&pins, &state)?,
            images: pins
                .images()?
                .iter()
                .filter(|image| image.tasks > 0)
                .map(|image| Image::parse(image, boot))
                .collect(),
            objects: pins.objects()?.iter().filter_map(Object::parse).collect(),
            tokens: tokens(&pins, boot)?,
        })
    }
}

impl Status {
    /// Whether it was started by another version than the one that asks.
    pub fn is_of_another_version(&self) -> bool {
        self.version != version()
    }

    /// Whether all is in place that decides.
    pub fn is_whole(&self) -> bool {
        self.missing_hooks.is_empty() && !self.ftrace_off
    }
}

/// The mode that the guard was started in.
pub(crate) fn mode_of(state: &bt_state) -> Mode {
    match state.audit {
        0 => Mode::Enforce,
        _ => Mode::Audit,
    }
}

fn is_ftrace_off() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/ftrace_enabled")
        .is_ok_and(|value| value.trim() == "0")
}

impl Seal {
    /// Nothing if the guard is not sealed.
    pub(crate) fn of(raw: &bt_state) -> Option<Self> {
        if raw.sealed == 0 {
            return None;
        }
        let uptime = uptime();
        Some(Self {
            anchor: raw.anchor,
            anchor_runs: seal::is_anchor(raw.anchor),
            nonce: Nonce(raw.nonce),
            uptime,
            lifted_until: (raw.lifted > uptime).then_some(raw.lifted),
        })
    }
}

/// The state of a guard that was started to the end.
fn armed_state(pins: &Pins) -> Result<bt_state> {
    let state = pins.state()?;
    if state.started == 0 {
        return Err(crate::Error::Incomplete {
            path: pins.directory().to_owned(),
        });
    }
    Ok(state)
}

/// The keys of the policy in force.
fn keys_of(pins: &Pins, state: &bt_state) -> Result<Vec<Key>> {
    let keys = pins.keys()?;
    Ok(keys
        .iter()
        .filter(|key| key.generation == state.generation)
        .map(Key::from)
        .collect())
}

fn tokens(pins: &Pins, boot: Boot) -> Result<Vec<Token>> {
    let mut tokens = pins.tokens()?;
    tokens.sort_by_key(|token| token.id);
    Ok(tokens.iter().map(|raw| Token::parse(raw, boot)).collect())
}

impl Token {
    fn parse(raw: &bt_token, boot: Boot) -> Self {
        Self {
            number: raw.id,
            pid: raw.pid,
            comm: abi::text_of(&raw.comm).to_vec(),
            made: boot.at(raw.made),
            publisher: Name::from_bytes(&raw.publisher),
            loader: Name::from_bytes(&raw.loader),
            delegates: abi::rights(&raw.delegates),
        }
    }
}

impl Key {
    /// The keys that may sign: that part of [`Status`] alone, for the tables of
    /// images and objects take their time.
    ///
    /// # Errors
    /// As [`Status::read`].
    pub fn read_all() -> Result<Vec<Self>> {
        let pins = Pins::standard();
        keys_of(&pins, &armed_state(&pins)?)
    }
}

impl From<&bt_key> for Key {
    fn from(raw: &bt_key) -> Self {
        Self {
            publisher: String::from_utf8_lossy(abi::text_of(&raw.name)).into_owned(),
            hint: KeyHint(raw.hint),
            ring: (raw.ring != 0).then_some(raw.ring),
            keyring: match raw.place {
                0 => None,
                place => Some(abi::ring(place)),
            },
            orders: raw.orders != 0,
            refused: raw.refused != 0,
            lost: raw.lost != 0,
        }
    }
}

impl Image {
    fn parse(raw: &bt_image, boot: Boot) -> Self {
        Self {
            pid: raw.pid,
            comm: abi::text_of(&raw.comm).to_vec(),
            tasks: raw.tasks,
            started: boot.at(raw.started),
            lost_trust: (raw.reason != 0).then(|| abi::reason(raw.reason)),
            adopted: raw.adopted != 0,
            libraries: Libraries::weakest(raw.libraries),
            library_keys: raw
                .signers
                .iter()
                .filter_map(|signer| abi::key_hint(signer.to_ne_bytes()))
                .collect(),
            digest: abi::digest(&raw.digest),
            key: abi::key_hint(raw.key),
            publisher: Name::from_bytes(&raw.publisher),
            grant: granted(raw.granted.into(), &raw.grant),
            rights: abi::rights(&raw.rights),
            requires: Requirements::from_bits_retain(raw.required),
            script: Script::parse(&raw.script),
        }
    }
}

/// What a signature grants, if `granted` says that it does.
fn granted(granted: u32, raw: &bt_grant) -> Option<Grant> {
    let name = Name::from_bytes(&raw.name).filter(|_| granted != 0)?;
    Some(Grant {
        name,
        version: raw.version,
        not_after: raw.not_after,
        rights: abi::rights(&raw.rights),
        requires: Requirements::from_bits_retain(raw.required as u8),
        script: ScriptRights::from_bits_retain(raw.script as u8),
    })
}

impl Script {
    fn parse(raw: &bt_script) -> Option<Self> {
        Some(Self {
            digest: abi::digest(&raw.digest)?,
            key: abi::key_hint(raw.key),
            publisher: Name::from_bytes(&raw.publisher),
            grant: granted(raw.granted, &raw.grant),
        })
    }

    /// The name in its grant.
    pub fn name(&self) -> Option<&Name> {
        self.grant.as_ref().map(|grant| &grant.name)
    }
}

impl Object {
    /// Nothing if it is of no kind that is known.
    fn parse(raw: &bt_owned) -> Option<Self> {
        let (kind, type_name) = abi::object(raw.object.to_le_bytes()[0], raw.r#type)?;
        Some(Self {
            id: (raw.id != 0).then_some(raw.id),
            kind,
            type_name,
            label: abi::text_of(&raw.label).to_vec(),
            pid: (raw.pid != 0).then_some(raw.pid),
            publisher: Name::from_bytes(&raw.publisher),
            loader: Name::from_bytes(&raw.loader),
            signer: abi::key_hint(raw.signer),
        })
    }
}
