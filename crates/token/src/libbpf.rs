//! Loading with libbpf-rs, by a token.
//!
//! libbpf makes a token of its own, of the path in `bpf_object_open_opts`
//! (`tools/lib/bpf/libbpf.c`, `bpf_object_prepare_token`), and names it in all that it
//! loads. Given so, the token is mandatory, and the environment
//! ([`TOKEN_PATH_VARIABLE`](crate::TOKEN_PATH_VARIABLE)) is not looked at.
//!
//! Beyond an object's own types libbpf needs a program of type `socket_filter` or
//! `tracepoint` for attach type `cgroup_inet_ingress`: it tries whether it can load
//! any, and gives up if not (`bpf_object__probe_loading`).

use std::borrow::Cow;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{ErrorKind, Object, ObjectBuilder, OpenObject};
use rustix::thread::{CapabilitySet, capabilities};

use crate::error::Loading;
use crate::sys::libbpf as sys;
use crate::{AttachTypes, Commands, Delegation, Error, MapTypes, ProgramTypes, Token};

/// [`ObjectBuilder::open_file`], to be loaded by a token of the same bpffs as `token`.
///
/// # Errors
/// [`Error::Libbpf`], at [`Loading::Open`].
pub fn open_file(
    builder: &ObjectBuilder,
    token: &Token,
    object: impl AsRef<Path>,
) -> Result<OpenObject, Error> {
    let bpffs = c_path(token.bpffs())?;
    let object = c_path(object.as_ref())?;
    sys::open_file(builder, &bpffs, &object).map_err(Error::libbpf(Loading::Open))
}

/// [`ObjectBuilder::open_memory`], to be loaded by a token of the same bpffs as
/// `token`.
///
/// # Errors
/// [`Error::Libbpf`], at [`Loading::Open`].
pub fn open_memory(
    builder: &ObjectBuilder,
    token: &Token,
    object: &[u8],
) -> Result<OpenObject, Error> {
    let bpffs = c_path(token.bpffs())?;
    sys::open_memory(builder, &bpffs, object).map_err(Error::libbpf(Loading::Open))
}

/// [`SkelBuilder::open`], to be loaded by a token of the same bpffs as `token`.
///
/// # Errors
/// [`Error::Libbpf`], at [`Loading::Open`].
pub fn open_skeleton<'object, B: SkelBuilder<'object>>(
    builder: B,
    token: &Token,
    object: &'object mut MaybeUninit<OpenObject>,
) -> Result<B::Output, Error> {
    let bpffs = c_path(token.bpffs())?;
    let options = sys::options(builder.object_builder(), &bpffs);
    builder
        .open_opts(options, object)
        .map_err(Error::libbpf(Loading::Open))
}

/// [`OpenObject::load`], with errors that name what `token` does not allow.
///
/// # Errors
/// [`Error::NotDelegated`] where it fails and needs what is not delegated, else
/// [`Error::Libbpf`], at [`Loading::Load`]. libbpf says more to its log.
pub fn load(object: OpenObject, token: &Token) -> Result<Object, Error> {
    let needs = needs(&object);
    object.load().map_err(why(needs, token))
}

/// [`OpenSkel::load`], as [`load`].
///
/// # Errors
/// Those of [`load`].
pub fn load_skeleton<'object, S: OpenSkel<'object>>(
    skeleton: S,
    token: &Token,
) -> Result<S::Output, Error> {
    let needs = needs(skeleton.open_object());
    skeleton.load().map_err(why(needs, token))
}

/// What loading this object asks of a token, as far as it can be told: maps and
/// programs that are to be made, and what libbpf tries before. libbpf goes on without
/// some of that, such as the attach type where a section's name leaves it open. BTF,
/// which `btf_load` is for, is not looked at.
pub fn needs(object: &OpenObject) -> Delegation {
    let mut needs = Delegation::default();
    for map in object.maps().filter(|map| map.autocreate()) {
        needs.commands |= Commands::MAP_CREATE;
        needs.maps |= MapTypes::of(map.map_type() as u32).unwrap_or_default();
    }
    for program in object.progs().filter(|program| program.autoload()) {
        let attach = AttachTypes::of(sys::attach_type(&program));
        needs.programs |= ProgramTypes::of(program.prog_type() as u32).unwrap_or_default();
        needs.attaches |= attach.unwrap_or_default();
    }
    needs.commands |= Commands::PROG_LOAD;
    needs.attaches |= AttachTypes::CGROUP_INET_INGRESS;
    if !needs.programs.contains(ProgramTypes::TRACEPOINT) {
        needs.programs |= ProgramTypes::SOCKET_FILTER;
    }
    needs
}

/// An error of loading. Without a map, program type or command it always fails, with
/// whatever error: libbpf takes refusals of what it tries for a kernel that has not got
/// it. Without an attach type alone it may do.
fn why(needs: Delegation, token: &Token) -> impl FnOnce(libbpf_rs::Error) -> Error {
    let lacking = needs.difference(token.delegation());
    let bpffs = token.bpffs();
    let only_attaches = Delegation {
        attaches: lacking.attaches,
        ..Delegation::default()
    };
    move |error| {
        let refused = lacking != only_attaches || is_refusal(&error);
        if refused && !lacking.is_empty() {
            return Error::NotDelegated {
                bpffs: bpffs.to_owned(),
                lacking,
                source: Some(error.into()),
            };
        }
        Error::libbpf(Loading::Load)(error)
    }
}

/// Also of the verifier: libbpf-rs does not tell `EACCES` from `EPERM`.
fn is_refusal(error: &libbpf_rs::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// What may be missing where something is refused that is delegated.
pub(crate) fn missing(step: Loading, error: &libbpf_rs::Error) -> Option<Cow<'static, str>> {
    if step != Loading::Load || !is_refusal(error) {
        return None;
    }
    let held = capabilities(None).ok()?.effective;
    let lacking: Vec<_> = [
        (CapabilitySet::BPF, "cap_bpf"),
        (CapabilitySet::PERFMON, "cap_perfmon"),
        (CapabilitySet::NET_ADMIN, "cap_net_admin"),
    ]
    .into_iter()
    .filter(|(one, _)| !held.contains(*one))
    .map(|(_, name)| name)
    .collect();
    if lacking.is_empty() {
        return Some("type 'bpftrust events' to see what is not granted; the verifier's word is in libbpf's log".into());
    }
    let lacking = lacking.join(", ");
    Some(
        format!("the process lacks {lacking} in its user namespace: load before it drops them")
            .into(),
    )
}

fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Path(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_an_error() {
        let builder = ObjectBuilder::default();
        assert!(sys::open_memory(&builder, c"/sys/fs/bpf", b"no ELF file").is_err());
        assert!(sys::open_memory(&builder, c"/sys/fs/bpf", b"").is_err());
        let error = sys::open_file(&builder, c"/sys/fs/bpf", c"/nowhere").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = c_path(Path::new("a\0b")).unwrap_err();
        assert!(matches!(error, Error::Path(_)));
    }
}
