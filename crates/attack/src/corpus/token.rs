//! 21 and 22: BPF tokens.
//!
//! Each bpffs is in a user namespace of its own. Who makes a token there is root in
//! it and nobody outside, whatever user it was before.

use crate::attack::Attack;
use crate::lab::Lab;
use crate::loaders::LOADER;
use anyhow::Result;
use std::fs;

const NO_SIGNATURE: &[&str] = &["no-signature"];
const NOT_OWNER: &[&str] = &["not-owner"];
const NOT_GRANTED: &[&str] = &["not-granted"];
const NO_TOKEN: &[&str] = &["no-token"];

/// Makes a token of all that the kernel has.
const ANY: &str = "delegate 0 cmds=any,maps=any,progs=any,attachs=any [ hold-token /sys/fs/bpf ]";
/// Within the loader's grant, and it is used.
const SOME: &str = "delegate 0 cmds=map_create,maps=hash \
                    [ hold-token /sys/fs/bpf with-token map hash ]";
/// What victims let others have as far as the kernel does.
const TOKEN: &str = "beside [ delegate 0 cmds=map_create,maps=hash \
                     [ hold-token /sys/fs/bpf serve @/socket touch @/token until @/never ] ] \
                     until @/token";
const RECEIVED: &str = "receive @/socket with-token map hash";

pub const ATTACKS: &[Attack] = &[
    Attack::run(
        "21.create",
        "a token made in a user namespace",
        "unsigned",
        ANY,
        NO_SIGNATURE,
    )
    .rightful(SOME),
    Attack::run(
        "21.wider",
        "a token of more than the grant, for the bpffs offers it",
        "delegating",
        ANY,
        NOT_GRANTED,
    )
    .rightful(SOME),
    Attack::run(
        "21.leaked",
        "a token received over a socket",
        "unsigned",
        RECEIVED,
        NO_SIGNATURE,
    )
    .victim(LOADER, TOKEN)
    .before(tidy)
    .rightful(RECEIVED),
    Attack::run(
        "21.peers",
        "another loader's token received over a socket",
        "peer",
        "receive @/socket",
        NOT_OWNER,
    )
    .shows("*", NOT_OWNER)
    .victim(LOADER, TOKEN)
    .before(tidy)
    .rightful(RECEIVED),
    Attack::run(
        "21.inherited",
        "a token that an exec leaves open",
        LOADER,
        "delegate 0 cmds=map_create,maps=hash [ hold-token /sys/fs/bpf hand-down \
         exec @/unsigned act inherited with-token map hash ]",
        NO_SIGNATURE,
    )
    .rightful(SOME),
    Attack::run(
        "22.without",
        "a map made without the token that must be used",
        "tied",
        "map hash",
        NO_TOKEN,
    )
    .rightful("map hash"),
    Attack::run(
        "22.other",
        "a command that takes no token, without one",
        "tied",
        "bpf 11",
        NO_TOKEN,
    ),
    Attack::run(
        "22.unused",
        "BTF loaded beside the token that must be used",
        "tied",
        // Root's own capabilities are in the initial namespace.
        "receive @/socket btf",
        NO_TOKEN,
    )
    .victim("tied", TOKEN)
    .before(tidy)
    .rightful("btf"),
];

/// Takes away what an earlier victim left.
fn tidy(lab: &Lab) -> Result<()> {
    for name in ["socket", "token"] {
        // Most left nothing.
        let _ = fs::remove_file(lab.path(name));
    }
    Ok(())
}
