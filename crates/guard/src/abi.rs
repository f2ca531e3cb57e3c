//! What is shared with the kernel side: types and names from its BTF.

#![allow(
    unsafe_code,
    reason = "turning the kernel side's bytes into the types that its BTF describes"
)]

use std::mem::{MaybeUninit, size_of};
use std::slice;

use bpftrust_signature::{KeyHint, Name, Rights, Set};
use bpftrust_verity::{Algorithm, Digest};

use crate::skeleton::types::{
    bt_armed, bt_handover, bt_libraries, bt_limit, bt_object, bt_requirement, bt_rule_kind,
    bt_script_right,
};
pub(crate) use crate::skeleton::types::{
    bt_arming, bt_digest, bt_event, bt_grant, bt_hash, bt_image, bt_key, bt_owned, bt_owner,
    bt_policy, bt_publisher, bt_question, bt_rights, bt_rule, bt_script, bt_state, bt_token,
};
use crate::{Vocabulary, libbpf_names};

mod names {
    include!(concat!(env!("OUT_DIR"), "/names.rs"));
    include!(concat!(env!("OUT_DIR"), "/kfuncs.rs"));
}

pub(crate) use names::KFUNCS;

/// Where the numbers of images begin.
pub(crate) const FIRST_IMAGE: u64 = bt_limit::BT_FIRST_IMAGE.0 as u64;
/// Thread groups that can be adopted.
pub(crate) const ADOPTED: usize = bt_limit::BT_ADOPTED.0 as usize;
/// Slots of the history.
pub(crate) const EVENTS: u64 = bt_limit::BT_EVENTS.0 as u64;
/// Keys that can sign.
pub(crate) const KEYS: usize = bt_limit::BT_KEYS.0 as usize;
/// Rules of a policy.
pub(crate) const RULES: usize = bt_limit::BT_RULES.0 as usize;
/// Bytes for a publisher's name, a NUL at its end included.
const NAME_SIZE: usize = length(|key| key.name);
const _: () = assert!(NAME_SIZE == Name::SIZE);

/// How a policy is handed over, and what its form is.
pub(crate) const BT_PRCTL_POLICY: u32 = bt_handover::BT_PRCTL_POLICY.0;
pub(crate) const BT_PRCTL_EVICT: u32 = bt_handover::BT_PRCTL_EVICT.0;
pub(crate) const BT_PRCTL_RELEASE: u32 = bt_handover::BT_PRCTL_RELEASE.0;
pub(crate) const BT_PRCTL_PERMIT: u32 = bt_handover::BT_PRCTL_PERMIT.0;
pub(crate) const BT_POLICY_MAGIC: u32 = bt_handover::BT_POLICY_MAGIC.0;
pub(crate) const BT_POLICY_FORM: u16 = bt_handover::BT_POLICY_FORM.0 as u16;

/// Answers of `bt_arm`.
pub(crate) const BT_ARMED: u32 = bt_armed::BT_ARMED.0;
pub(crate) const BT_ARMED_ELSEWHERE: u32 = bt_armed::BT_ARMED_ELSEWHERE.0;
pub(crate) const BT_ARMED_ENDLESS: u32 = bt_armed::BT_ARMED_ENDLESS.0;

/// Kinds of rule.
pub(crate) const BT_RULE_DIGEST: u32 = bt_rule_kind::BT_RULE_DIGEST.0;
pub(crate) const BT_RULE_NAME: u32 = bt_rule_kind::BT_RULE_NAME.0;
pub(crate) const BT_RULE_SIGNS: u32 = bt_rule_kind::BT_RULE_SIGNS.0;

/// A grant's requirements are those that the kernel side knows.
const _: () = assert!(
    bpftrust_signature::Requirements::all().bits() as u32 == bt_requirement::BT_REQUIRE_KNOWN.0
);

/// So is what its scripts may have.
const _: () = assert!(
    bpftrust_signature::ScriptRights::all().bits() as u32 == bt_script_right::BT_SCRIPT_KNOWN.0
);

/// What a policy asks of libraries.
pub(crate) const BT_LIBRARIES_SIGNED: u32 = bt_libraries::BT_LIBRARIES_SIGNED.0;
pub(crate) const BT_LIBRARIES_VERITY: u32 = bt_libraries::BT_LIBRARIES_VERITY.0;
pub(crate) const BT_LIBRARIES_ANY: u32 = bt_libraries::BT_LIBRARIES_ANY.0;

/// The length of an array that is a field of a key.
const fn length<const N: usize>(_: fn(bt_key) -> [u8; N]) -> usize {
    N
}

/// A type of `abi.h`: plain integers and arrays of them, without padding.
///
/// # Safety
/// Every pattern of bytes is a value of the type, and all of its bytes are
/// initialized.
pub(crate) unsafe trait Shared: Copy {}

// SAFETY: abi.h has integers and arrays of integers only, and asserts that
// there is no implicit padding; so for each of these.
unsafe impl Shared for bt_event {}
// SAFETY: as above.
unsafe impl Shared for bt_image {}
// SAFETY: as above.
unsafe impl Shared for bt_key {}
// SAFETY: as above.
unsafe impl Shared for bt_state {}
// SAFETY: as above.
unsafe impl Shared for bt_owned {}
// SAFETY: as above.
unsafe impl Shared for bt_token {}
// SAFETY: as above.
unsafe impl Shared for bt_owner {}
// SAFETY: as above.
unsafe impl Shared for bt_policy {}
// SAFETY: as above.
unsafe impl Shared for bt_publisher {}
// SAFETY: as above.
unsafe impl Shared for bt_rule {}
// SAFETY: as above.
unsafe impl Shared for bt_question {}
// SAFETY: as above.
unsafe impl Shared for bt_arming {}
// SAFETY: as above.
unsafe impl Shared for bt_hash {}

/// The bytes of a value, as a map takes them.
pub(crate) fn bytes_of<T: Shared>(value: &T) -> &[u8] {
    // SAFETY: `Shared` says that all bytes are initialized; the slice lives no
    // longer than the borrow.
    unsafe { slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The values that `bytes` holds one behind the other; a cut-off last one is
/// left out.
pub(crate) fn values_of<T: Shared>(bytes: &[u8]) -> Vec<T> {
    bytes
        .chunks_exact(size_of::<T>())
        .map(|chunk| {
            let mut value = MaybeUninit::<T>::uninit();
            // SAFETY: `chunk` is `size_of::<T>()` bytes, and `Shared` says that
            // any bytes are a value; they don't overlap with a local.
            unsafe {
                value
                    .as_mut_ptr()
                    .cast::<u8>()
                    .copy_from_nonoverlapping(chunk.as_ptr(), chunk.len());
                value.assume_init()
            }
        })
        .collect()
}

/// The text in a NUL-padded field.
pub(crate) fn text_of(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The digest in a record, if there is one.
pub(crate) fn digest(raw: &bt_digest) -> Option<Digest> {
    let algorithm = Algorithm::from_number(raw.algorithm)?;
    Digest::new(algorithm, raw.bytes.get(..usize::from(raw.size))?)
}

/// The key in a record, if there is one.
pub(crate) fn key_hint(raw: [u8; 8]) -> Option<KeyHint> {
    (raw != [0; 8]).then_some(KeyHint(raw))
}

fn name_in(table: &'static [(u32, &str)], value: u32) -> Option<&'static str> {
    table
        .iter()
        .find(|(number, _)| *number == value)
        .map(|(_, name)| *name)
}

/// The name of a reason (`enum bt_reason`).
pub(crate) fn reason(value: u8) -> &'static str {
    name_in(names::REASONS, value.into()).unwrap_or("unknown")
}

/// The names of all reasons, with their numbers.
pub(crate) fn reasons() -> &'static [(u32, &'static str)] {
    names::REASONS
}

/// The name of an action (`enum bt_action`).
pub(crate) fn action(value: u8) -> &'static str {
    name_in(names::ACTIONS, value.into()).unwrap_or("unknown")
}

/// The name of an object (`enum bt_object`), and what its `number` is called.
pub(crate) fn object(value: u8, number: u32) -> Option<(&'static str, String)> {
    let (kind, name) = match bt_object(value.into()) {
        bt_object::BT_OBJECT_COMMAND => ("command", Vocabulary::Commands.name(number)),
        bt_object::BT_OBJECT_PROGRAM => ("program", Vocabulary::Programs.name(number)),
        bt_object::BT_OBJECT_MAP => ("map", Vocabulary::Maps.name(number)),
        bt_object::BT_OBJECT_ATTACH => ("attach", Vocabulary::Attaches.name(number)),
        bt_object::BT_OBJECT_ABILITY => ("ability", Vocabulary::Abilities.name(number)),
        bt_object::BT_OBJECT_LINK => ("link", libbpf_names::link(number)),
        // They come in one type.
        bt_object::BT_OBJECT_BTF => ("btf", Some("btf")),
        bt_object::BT_OBJECT_TOKEN => ("token", Some("token")),
        _ => return None,
    };
    let name = name.map_or_else(|| number.to_string(), str::to_owned);
    Some((kind, name))
}

/// The number of the object (`enum bt_object`) whose numbers these are.
pub(crate) fn object_of(vocabulary: Vocabulary) -> u32 {
    match vocabulary {
        Vocabulary::Commands => bt_object::BT_OBJECT_COMMAND.0,
        Vocabulary::Programs => bt_object::BT_OBJECT_PROGRAM.0,
        Vocabulary::Maps => bt_object::BT_OBJECT_MAP.0,
        Vocabulary::Attaches => bt_object::BT_OBJECT_ATTACH.0,
        Vocabulary::Abilities => bt_object::BT_OBJECT_ABILITY.0,
    }
}

/// The name of an outcome (`enum bt_outcome`).
pub(crate) fn outcome(value: u8) -> &'static str {
    name_in(names::OUTCOMES, value.into()).unwrap_or("unknown")
}

/// The names of all commands, with their numbers.
pub(crate) fn commands() -> &'static [(u32, &'static str)] {
    names::COMMANDS
}

/// The rights in a record.
pub(crate) fn rights(raw: &bt_rights) -> Rights {
    Rights {
        commands: Set::from_words([raw.commands]),
        programs: Set::from_words([raw.programs]),
        maps: Set::from_words([raw.maps]),
        attaches: Set::from_words(raw.attaches),
        abilities: Set::from_words([raw.abilities]),
    }
}

/// The name of a place where a key may be (`enum bt_ring`).
pub(crate) fn ring(value: u8) -> &'static str {
    name_in(names::RINGS, value.into()).unwrap_or("unknown")
}

/// The name of what a policy asks of libraries (`enum bt_libraries`).
pub(crate) fn libraries(value: u32) -> &'static str {
    name_in(names::LIBRARIES, value).unwrap_or("unknown")
}

/// The names of all places where a key may be, with their numbers.
pub(crate) fn rings() -> &'static [(u32, &'static str)] {
    names::RINGS
}

/// The names of all abilities, with their numbers.
pub(crate) fn abilities() -> &'static [(u32, &'static str)] {
    names::ABILITIES
}

/// The name of a `bpf()` command, if the policy's table has it.
pub(crate) fn command(value: u32) -> Option<&'static str> {
    name_in(names::COMMANDS, value)
}

#[cfg(test)]
mod tests {
    use bpftrust_signature::{Kind, Nonce, Order, Statement};

    use super::*;
    use crate::skeleton::types::{bt_kind, bt_order, bt_statement};

    // SAFETY: integers without padding, as `Shared` asks for.
    unsafe impl Shared for bt_statement {}
    // SAFETY: as above.
    unsafe impl Shared for bt_order {}

    #[test]
    fn values_survive_the_way_through_bytes() {
        let mut key = bt_key {
            ring: 7,
            ..bt_key::default()
        };
        key.name[..4].copy_from_slice(b"acme");
        let mut bytes = bytes_of(&key).to_vec();
        bytes.extend(bytes_of(&key));
        bytes.push(0);
        let back = values_of::<bt_key>(&bytes);
        assert_eq!(back.len(), 2);
        assert_eq!(back[1].ring, 7);
        assert_eq!(text_of(&back[1].name), b"acme");
    }

    /// crates/signature writes the same bytes without a kernel to ask.
    #[test]
    fn the_form_of_a_signature_is_that_of_abi_h() {
        for (kind, number) in [
            (Kind::Loader, bt_kind::BT_KIND_LOADER),
            (Kind::Library, bt_kind::BT_KIND_LIBRARY),
            (Kind::Script, bt_kind::BT_KIND_SCRIPT),
            (Kind::Policy, bt_kind::BT_KIND_POLICY),
            (Kind::Permit, bt_kind::BT_KIND_PERMIT),
        ] {
            let bytes = Statement::new(kind).to_bytes();
            let [statement] = values_of::<bt_statement>(&bytes)[..] else {
                panic!("{} bytes are not one statement", bytes.len());
            };
            assert_eq!(u32::from(statement.kind), number.0);
            assert_eq!(statement.grant_size, 0);
            assert_eq!(statement.reserved, 0);
        }
    }

    #[test]
    fn the_form_of_an_order_is_that_of_abi_h() {
        let nonce = Nonce([7; Nonce::SIZE]);
        for (order, kind, until, subject) in [
            (
                Order::Policy { digest: [9; 32] },
                bt_kind::BT_KIND_POLICY,
                0,
                [9; 32],
            ),
            (
                Order::Permit { nonce, until: 300 },
                bt_kind::BT_KIND_PERMIT,
                300,
                [7; 32],
            ),
        ] {
            let [raw] = values_of::<bt_order>(&order.to_bytes())[..] else {
                panic!("{order:?} is not one order");
            };
            assert_eq!(u32::from(raw.form), bt_handover::BT_ORDER_FORM.0);
            assert_eq!(u32::from(raw.kind), kind.0);
            assert_eq!((raw.until, raw.subject, raw.reserved), (until, subject, 0));
        }
    }

    #[test]
    fn reasons_have_the_names_that_the_design_gives() {
        assert_eq!(reason(0), "none");
        assert_eq!(reason(1), "no-signature");
        assert_eq!(reason(200), "unknown");
        assert_eq!(command(5), Some("prog-load"));
        assert_eq!(command(10_000), None);
    }
}
