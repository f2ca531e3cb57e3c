//! Kernel keyrings: where the kernel side finds the certificates it verifies with.
//!
//! A ring lives as long as something links it. One made under [`Anchor::Process`]
//! is out of every other process's reach (uid 0 included), and goes away with the
//! process that made it; one under [`Anchor::User`] outlives it, but uid 0 can
//! unlink or invalidate it even after [`Keyring::seal`]. A ring that is gone
//! means "no" to the kernel side, never "yes".
//!
//! The process keyring hangs on the credentials of the *thread* that first asks
//! for it, and only threads started later inherit it
//! (`security/keys/process_keys.c:install_process_keyring_to_cred`): create such
//! rings before starting threads, on the thread that stays. `fork` and `exec`
//! don't carry it over.

#![allow(
    unsafe_code,
    reason = "add_key(2) and keyctl(2) have no safe wrapper in libc or rustix"
)]

use std::ffi::{CStr, CString, c_long};
use std::fmt;
use std::io;

use crate::{Error, Result};

/// The permissions of what is sealed: who possesses it may search it (which the
/// kernel grants itself when it verifies a signature, for every uid:
/// `crypto/asymmetric_keys/restrict.c:find_asymmetric_key`), its owner may look
/// at its description. Nobody may change it, or these permissions.
pub const SEALED: u32 = 0x0801_0000;

/// The kernel's limit for a description, NUL included (`security/keys/keyctl.c`:
/// `KEY_MAX_DESC_SIZE`).
const NAME_SIZE_MAX: usize = 4096;

/// The number of a key or keyring. Unique while the key exists, reused later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(i32);

impl Serial {
    /// The serial of a real key: 3 or more (`security/keys/key.c:key_alloc_serial`).
    /// Negative numbers name "the caller's own" keyrings, which is nobody's
    /// identity, so they are none.
    pub fn new(number: i32) -> Option<Self> {
        (number >= 3).then_some(Self(number))
    }

    /// The number, as the kernel takes it.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a new ring is linked into, and so how long it lives.
#[derive(Clone, Copy, Debug)]
pub enum Anchor<'a> {
    /// The process keyring (`@p`): until this process ends or executes.
    Process,
    /// The user keyring (`@u`) of the caller's uid: until reboot, or until
    /// somebody with that uid unlinks it.
    User,
    /// Another ring that this process made and has not sealed.
    Ring(&'a Keyring),
}

impl Anchor<'_> {
    fn id(self) -> i32 {
        match self {
            Self::Process => libc::KEY_SPEC_PROCESS_KEYRING,
            Self::User => libc::KEY_SPEC_USER_KEYRING,
            Self::Ring(ring) => ring.serial.0,
        }
    }
}

/// A keyring of this kernel. Dropping it changes nothing in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    serial: Serial,
    name: String,
}

impl Keyring {
    /// Makes an empty ring and links it to `anchor`, where it takes the place of
    /// a ring of the same name.
    ///
    /// # Errors
    /// [`Error::KeyName`]; [`Error::Keyring`], of which `EDQUOT` is the quota of
    /// the user, `EPERM` or `EACCES` a sealed anchor, `ENOSYS` a kernel without
    /// `CONFIG_KEYS`.
    pub fn create(name: &str, anchor: Anchor<'_>) -> Result<Self> {
        let description = key_name(name)?;
        if let Anchor::User = anchor {
            possess_user_keyring()?;
        }
        add_key(c"keyring", &description, &[], anchor.id())
            .map(|serial| Self {
                serial,
                name: name.to_owned(),
            })
            .map_err(|source| failed("create keyring", name, source))
    }

    /// The rings that are linked into `anchor` and that the caller may look at.
    ///
    /// # Errors
    /// [`Error::Keyring`]: `EACCES` if `anchor` is not readable.
    pub fn all_in(anchor: Anchor<'_>) -> Result<Vec<Self>> {
        let linked = linked(anchor.id(), &anchor.id().to_string())?;
        let rings = linked.into_iter().filter_map(|serial| {
            // Who is gone meanwhile is not there.
            let found = describe(serial).ok()?;
            (found.kind == "keyring").then_some(Self {
                serial,
                name: found.name,
            })
        });
        Ok(rings.collect())
    }

    /// The number by which the kernel side names this ring.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// The name that it was made or found with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds an X.509 certificate in DER, and strips the key of every right but
    /// those of [`SEALED`].
    ///
    /// `description` tells keys in `/proc/keys` apart; a key that has it already
    /// is displaced. The kernel doesn't look at the validity dates, and verifies
    /// the certificate's own signature only if it is self-signed
    /// (`crypto/asymmetric_keys/x509_public_key.c:x509_key_preparse`).
    ///
    /// # Errors
    /// [`Error::Certificate`] if this kernel can't use the certificate: then it
    /// is not in the ring. [`Error::KeyName`]; [`Error::Keyring`].
    pub fn add_certificate(&self, description: &str, der: &[u8]) -> Result<Serial> {
        let name = key_name(description)?;
        let key = add_key(c"asymmetric", &name, der, self.serial.0)
            .map_err(|source| refused(description, source))?;
        if let Err(source) = keyctl(Call::SetPermissions(key.0, SEALED)) {
            // A key that others may relink or replace must not stay. What the
            // first error says matters more than whether this one fails too.
            let _ = keyctl(Call::Unlink(key.0, self.serial.0));
            return Err(failed("restrict key", description, source));
        }
        Ok(key)
    }

    /// The keys and rings that are linked into this ring.
    ///
    /// # Errors
    /// [`Error::Keyring`]: `EACCES` if the ring is neither ours nor readable.
    pub fn keys(&self) -> Result<Vec<Serial>> {
        linked(self.serial.0, &self.name)
    }

    /// Closes the ring for good: nothing can be linked into it any more, by
    /// anybody, and no right is left but those of [`SEALED`]. Irreversible.
    ///
    /// # Errors
    /// [`Error::Keyring`]: the ring may then be half closed; throw it away.
    pub fn seal(&self) -> Result<()> {
        keyctl(Call::Restrict(self.serial.0))
            .and_then(|_| keyctl(Call::SetPermissions(self.serial.0, SEALED)))
            .map(drop)
            .map_err(|source| failed("seal keyring", &self.name, source))
    }

    /// Links this ring to `anchor`, too, where it takes the place of a ring of
    /// the same name. Before [`Keyring::seal`], which takes the right to.
    ///
    /// # Errors
    /// [`Error::Keyring`]: `EACCES` if the ring is sealed or `anchor` not ours.
    pub fn link_to(&self, anchor: Anchor<'_>) -> Result<()> {
        keyctl(Call::Link(self.serial.0, anchor.id()))
            .map(drop)
            .map_err(|source| failed("link keyring", &self.name, source))
    }

    /// Unlinks this ring from `anchor`; with its last link the ring and what is
    /// only in it are gone. That it was not linked there is no error.
    ///
    /// # Errors
    /// [`Error::Keyring`]: `EACCES` if `anchor` is not ours or sealed.
    pub fn unlink_from(&self, anchor: Anchor<'_>) -> Result<()> {
        match keyctl(Call::Unlink(self.serial.0, anchor.id())) {
            Err(source) if !matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENOKEY)) => {
                Err(failed("unlink keyring", &self.name, source))
            }
            _ => Ok(()),
        }
    }

    /// Destroys this ring wherever it is linked. The kernel side then finds no
    /// ring under this serial, and says no.
    ///
    /// # Errors
    /// [`Error::Keyring`]: `EACCES` if the caller doesn't possess the ring.
    pub fn invalidate(&self) -> Result<()> {
        keyctl(Call::Invalidate(self.serial.0))
            .map(drop)
            .map_err(|source| failed("invalidate keyring", &self.name, source))
    }

    /// What the kernel says about this ring now.
    ///
    /// # Errors
    /// See [`describe`].
    pub fn describe(&self) -> Result<Description> {
        describe(self.serial)
    }
}

/// What the kernel says about a key (`KEYCTL_DESCRIBE`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The type: `keyring`, `asymmetric`, `user`.
    pub kind: String,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Four bytes of rights: possessor, owner, group, others; in each view,
    /// read, write, search, link, setattr from bit 0 on (`linux/key.h`).
    pub permissions: u32,
    /// The name.
    pub name: String,
}

impl Description {
    /// Whether [`Keyring::seal`] (or [`Keyring::add_certificate`]) left its mark.
    /// Says nothing about the restriction on links, which the kernel doesn't show.
    pub fn is_sealed(&self) -> bool {
        self.permissions == SEALED
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(5, ';');
        Some(Self {
            kind: fields.next()?.to_owned(),
            // -1 stands for "nobody's"; the kernel prints ids as signed numbers.
            uid: fields.next()?.parse::<i32>().ok()?.cast_unsigned(),
            gid: fields.next()?.parse::<i32>().ok()?.cast_unsigned(),
            permissions: u32::from_str_radix(fields.next()?, 16).ok()?,
            name: fields.next()?.to_owned(),
        })
    }
}

/// What the kernel says about a key.
///
/// # Errors
/// [`Error::Keyring`]: `ENOKEY` if there is none, `EACCES` if the caller may not
/// know, `EKEYREVOKED`; [`Error::KeyDescription`].
pub fn describe(serial: Serial) -> Result<Description> {
    let mut text = read_with(|buffer| keyctl(Call::Describe(serial.0, buffer)))
        .map_err(|source| failed("describe key", &serial.to_string(), source))?;
    text.pop(); // the NUL
    let text = String::from_utf8_lossy(&text).into_owned();
    Description::parse(&text).ok_or(Error::KeyDescription {
        serial: serial.0,
        text,
    })
}

/// Whether this kernel can hold certificates for user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// Keyrings and keys of type `asymmetric`.
    Certificates,
    /// Keyrings, but no keys of type `asymmetric`
    /// (`CONFIG_ASYMMETRIC_KEY_TYPE`).
    KeyringsOnly,
    /// No keyrings (`CONFIG_KEYS`).
    Nothing,
    /// Something stands between us and the kernel's answer, such as a seccomp
    /// filter of a container.
    Unknown,
}

/// Asks the kernel for its support by offering it an empty certificate for a
/// throw-away ring of this process: it is refused, and the error tells why.
pub fn support() -> Support {
    let probe = match Keyring::create("bpftrust-probe", Anchor::Process) {
        Ok(ring) => ring,
        Err(Error::Keyring { source, .. }) if source.raw_os_error() == Some(libc::ENOSYS) => {
            return Support::Nothing;
        }
        Err(_) => return Support::Unknown,
    };
    let answer = add_key(c"asymmetric", c"probe", &[0], probe.serial.0);
    // If this fails the ring goes away with the process.
    let _ = probe.unlink_from(Anchor::Process);
    match answer.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::EBADMSG | libc::EINVAL)) | Ok(_) => Support::Certificates,
        Err(Some(libc::ENODEV)) => Support::KeyringsOnly,
        Err(_) => Support::Unknown,
    }
}

/// The kernel's errors for `add_key("asymmetric")`, in terms of certificates.
fn refused(description: &str, source: io::Error) -> Error {
    let meaning = match source.raw_os_error() {
        Some(libc::EBADMSG) => "it is not an X.509 certificate in DER",
        Some(libc::ENOPKG) => "this kernel lacks the algorithm or curve of its key",
        Some(libc::EKEYREJECTED) => {
            "its signature does not verify with its own key, or it is on the kernel's blacklist"
        }
        Some(libc::EKEYEXPIRED) => "it has expired",
        Some(libc::EKEYREVOKED) => "it or the keyring is revoked",
        // What RSA answers when there is no padding under its own signature.
        Some(libc::EINVAL) => {
            "it is empty or larger than 1 MiB, or its signature does not verify with its own key"
        }
        Some(libc::ENODEV) => "this kernel has no asymmetric keys (CONFIG_ASYMMETRIC_KEY_TYPE)",
        // What is wrong is the ring or the caller, not the certificate.
        _ => return failed("add a key to the keyring:", description, source),
    };
    Error::Certificate {
        description: description.to_owned(),
        meaning,
        source,
    }
}

fn failed(operation: &'static str, thing: &str, source: io::Error) -> Error {
    Error::Keyring {
        operation,
        thing: thing.to_owned(),
        source,
    }
}

/// A leading dot is the kernel's own (`security/keys/keyctl.c:add_key`).
fn key_name(name: &str) -> Result<CString> {
    let wrong = || Error::KeyName {
        name: name.to_owned(),
    };
    if name.is_empty() || name.len() >= NAME_SIZE_MAX || name.starts_with('.') {
        return Err(wrong());
    }
    CString::new(name).map_err(|_| wrong())
}

/// Makes what is in the user keyring this process's possession, by a link from
/// its process keyring. A session keyring doesn't always lead there (that of a
/// systemd service with `KeyringMode=private` does not), and without possession
/// we could neither fill nor seal the ring that we have just made.
fn possess_user_keyring() -> Result<()> {
    keyctl(Call::Link(
        libc::KEY_SPEC_USER_KEYRING,
        libc::KEY_SPEC_PROCESS_KEYRING,
    ))
    .map(drop)
    .map_err(|source| failed("link keyring", "@u to @p", source))
}

/// Calls `fill` with larger buffers until the whole answer fits: it returns the
/// size of the whole, however little it wrote.
fn read_with(mut fill: impl FnMut(&mut [u8]) -> io::Result<c_long>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        let size = usize::try_from(fill(&mut buffer)?).expect("keyctl answers with a size");
        if size <= buffer.len() {
            buffer.truncate(size);
            return Ok(buffer);
        }
        buffer.resize(size, 0);
    }
}

/// What is linked into the ring with this number, which is called `name` in errors.
fn linked(ring: i32, name: &str) -> Result<Vec<Serial>> {
    let list = read_with(|buffer| keyctl(Call::Read(ring, buffer)))
        .map_err(|source| failed("list keyring", name, source))?;
    Ok(list
        .chunks_exact(size_of::<i32>())
        .filter_map(|chunk| Serial::new(i32::from_ne_bytes(chunk.try_into().ok()?)))
        .collect())
}

fn serial(number: c_long) -> io::Result<Serial> {
    i32::try_from(number)
        .ok()
        .and_then(Serial::new)
        .ok_or_else(|| io::Error::other("the kernel returned no serial"))
}

fn add_key(kind: &CStr, name: &CStr, payload: &[u8], ring: i32) -> io::Result<Serial> {
    // SAFETY: the kernel reads two NUL-terminated strings and `payload.len()`
    // bytes, all borrowed for the length of the call, and writes nothing.
    let number = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            kind.as_ptr(),
            name.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            ring,
        )
    };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    serial(number)
}

/// The operations of keyctl(2) that are used here, with what they borrow.
enum Call<'a> {
    /// Key, ring.
    Link(i32, i32),
    /// Key, ring.
    Unlink(i32, i32),
    /// Key, permissions.
    SetPermissions(i32, u32),
    /// Ring. Without a key type the restriction is "reject every link"
    /// (`security/keys/keyring.c:keyring_restrict`).
    Restrict(i32),
    /// Key.
    Invalidate(i32),
    /// Ring.
    Read(i32, &'a mut [u8]),
    /// Key.
    Describe(i32, &'a mut [u8]),
}

fn keyctl(call: Call<'_>) -> io::Result<c_long> {
    let number = |n: i32| c_long::from(n);
    let (operation, a, b, c) = match call {
        Call::Link(key, ring) => (libc::KEYCTL_LINK, number(key), number(ring), 0),
        Call::Unlink(key, ring) => (libc::KEYCTL_UNLINK, number(key), number(ring), 0),
        Call::SetPermissions(key, bits) => (libc::KEYCTL_SETPERM, number(key), bits as c_long, 0),
        Call::Restrict(ring) => (libc::KEYCTL_RESTRICT_KEYRING, number(ring), 0, 0),
        Call::Invalidate(key) => (libc::KEYCTL_INVALIDATE, number(key), 0, 0),
        Call::Read(key, buffer) => (
            libc::KEYCTL_READ,
            number(key),
            buffer.as_mut_ptr() as c_long,
            buffer.len() as c_long,
        ),
        Call::Describe(key, buffer) => (
            libc::KEYCTL_DESCRIBE,
            number(key),
            buffer.as_mut_ptr() as c_long,
            buffer.len() as c_long,
        ),
    };
    // SAFETY: pointers come from `call`, whose borrows last until this function
    // returns; the kernel writes at most as many bytes as the length beside a buffer
    // says.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, operation, a, b, c, 0 as c_long) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}
