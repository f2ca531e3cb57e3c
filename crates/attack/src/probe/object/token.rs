//! BPF tokens: made, and offered with what takes one.

use super::bpf::{self, Attributes};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

/// `BPF_F_TOKEN_FD`
const FLAG: u32 = 1 << 16;

/// What is offered from now on.
static OFFERED: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// A token of the bpffs at `path`.
pub fn create(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let bpffs = rustix::fs::open(path, flags, Mode::empty())?;
    bpf::open(bpf::TOKEN_CREATE, &mut Attributes::new().file(4, &bpffs))
}

/// Offers this with each map, program and BTF that is made, or nothing.
pub fn offer(token: Option<OwnedFd>) {
    if let Ok(mut offered) = OFFERED.lock() {
        *offered = token;
    }
}

/// The token that is offered, to be named beside the flag that says so.
pub struct Offer(Option<OwnedFd>);

impl Offer {
    pub fn now() -> io::Result<Self> {
        let offered = OFFERED
            .lock()
            .map_err(|_| io::Error::other("the lock is lost"))?;
        let offered = offered.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok(Self(offered))
    }

    /// With `flags` at that place, and the token's descriptor at the other.
    pub fn with<'a>(
        &'a self,
        attributes: Attributes<'a>,
        flags: (usize, u32),
        token_at: usize,
    ) -> Attributes<'a> {
        let (at, flags) = flags;
        match &self.0 {
            Some(token) => attributes.word(at, flags | FLAG).file(token_at, token),
            None => attributes.word(at, flags),
        }
    }
}
