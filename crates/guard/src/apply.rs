//! From a policy to what the kernel side keeps: keyrings, and the form that it
//! takes over wholly or not at all (`struct bt_policy`).

use bpftrust_host::keyring::{Anchor, Keyring};
use bpftrust_signature::{KeyHint, Name, Rights, SignedOrder};

use crate::abi::{
    BT_POLICY_FORM, BT_POLICY_MAGIC, BT_RULE_DIGEST, BT_RULE_NAME, BT_RULE_SIGNS, bt_key,
    bt_policy, bt_publisher, bt_rights, bt_rule, bytes_of,
};
use crate::enforce::{limit, lock};
use crate::gate::Gate;
use crate::pins::Pins;
use crate::status::{Seal, mode_of};
use crate::{Error, Keys, Mode, Policy, Publisher, Result, Signer, SystemKeyring};

/// What the names of our keyrings begin with; the number of their policy follows
/// (`bpf/hooks_keyring.h`). Each holds one ring for each key of that policy.
const KEYRING: &str = "bpftrust.";

/// A loader that is refused whatever its version (`BT_VERSION_REFUSED`).
pub(crate) const VERSION_REFUSED: u64 = u64::MAX;

/// Lets another policy take the place of the one in force, at once. Processes
/// that it refuses lose their trust; none gets more than its grant.
///
/// # Errors
/// [`Error::NotRoot`], [`Error::NotEnforcing`], [`Error::Incomplete`];
/// [`Error::OtherMode`] if the guard was started in another mode;
/// [`Error::Keyring`] if the kernel doesn't take a certificate,
/// [`Error::Policy`] if it doesn't take the policy: then the old one is in
/// force. A sealed guard takes none without an order. [`Error::KeyringGone`].
pub fn apply(policy: &Policy, mode: Mode, order: Option<&SignedOrder>) -> Result<()> {
    let _lock = lock()?;
    let pins = Pins::standard();
    let state = pins.state()?;
    if state.started == 0 {
        return Err(Error::Incomplete {
            path: pins.directory().to_owned(),
        });
    }
    let running = mode_of(&state);
    if mode != running {
        return Err(Error::OtherMode { running, mode });
    }
    // Who needs no order must not fail for one.
    let holds = Seal::of(&state).is_some_and(|seal| seal.lifted_until.is_none());
    let order = order.filter(|_| holds);
    let generation = state.generation + 1;
    let parent = Keyring::create(&keyring_name(generation), Anchor::User)?;
    bring(policy, mode, generation, &parent, order)?;
    remove_keyrings_but(Some(&parent))
}

/// One of a name has one place, so each policy's has its own.
fn keyring_name(generation: u64) -> String {
    format!("{KEYRING}{generation}")
}

/// Hands over the first policy of a guard. With `hold` its keyrings also last as
/// long as this process, whatever becomes of the user keyring.
pub(crate) fn bring_first(policy: &Policy, mode: Mode, hold: bool) -> Result<()> {
    const FIRST: u64 = 1;
    let parent = Keyring::create(&keyring_name(FIRST), Anchor::User)?;
    if hold {
        parent.link_to(Anchor::Process)?;
    }
    bring(policy, mode, FIRST, &parent, None)
}

/// Makes the rings of the policy in `parent` and hands it to the kernel side. If
/// that fails, the keyring is gone again.
fn bring(
    policy: &Policy,
    mode: Mode,
    generation: u64,
    parent: &Keyring,
    order: Option<&SignedOrder>,
) -> Result<()> {
    let order = order.map(SignedOrder::to_bytes);
    let brought = make_rings(policy, parent).and_then(|rings| {
        Gate::bring(
            &compile(policy, mode, generation, &rings)?,
            order.as_deref(),
        )
        .map_err(|source| Error::Policy { source })?;
        Ok(parent.seal()?)
    });
    if brought.is_err() {
        // The error that led here is the one to report.
        let _ = parent.unlink_from(Anchor::User);
    }
    brought
}

/// Removes the keyrings of all policies.
pub(crate) fn remove_keyrings() -> Result<()> {
    remove_keyrings_but(None)
}

fn remove_keyrings_but(kept: Option<&Keyring>) -> Result<()> {
    let rings = Keyring::all_in(Anchor::User)?;
    if let Some(kept) = kept
        && !rings.contains(kept)
    {
        return Err(Error::KeyringGone {
            name: kept.name().to_owned(),
        });
    }
    rings
        .iter()
        .filter(|ring| ring.name().starts_with(KEYRING) && Some(*ring) != kept)
        .try_for_each(|ring| Ok(ring.unlink_from(Anchor::User)?))
}

/// A ring says in its name which keyring it is in.
fn ring_name(parent: &str, key: &str) -> String {
    format!("{parent}: {key}")
}

/// One ring per key, so that a ring that verifies says which key signed.
fn make_rings(policy: &Policy, parent: &Keyring) -> Result<Vec<(KeyHint, Keyring)>> {
    let mut rings = Vec::new();
    let signers = policy
        .signers()
        .map(|(publisher, signer)| (publisher.name.as_str(), signer));
    let policy_keys = policy.policy_keys.iter().map(|signer| ("(policy)", signer));
    for (owner, signer) in signers.chain(policy_keys) {
        let name = ring_name(parent.name(), &format!("{owner} {}", signer.hint));
        let ring = Keyring::create(&name, Anchor::Ring(parent))?;
        ring.add_certificate(&name, &signer.certificate)?;
        ring.seal()?;
        rings.push((signer.hint, ring));
    }
    Ok(rings)
}

/// The bytes that the kernel side takes over; without generation and rings those
/// that a policy key signs.
pub(crate) fn compile(
    policy: &Policy,
    mode: Mode,
    generation: u64,
    rings: &[(KeyHint, Keyring)],
) -> Result<Vec<u8>> {
    let keys = keys(policy, rings)?;
    let rules = rules(policy);
    let header = bt_policy {
        magic: BT_POLICY_MAGIC,
        form: BT_POLICY_FORM,
        libraries: u8::try_from(policy.libraries.number()).expect("a small number"),
        required: policy.requires.bits(),
        generation,
        publishers: count(policy.publishers.len()),
        keys: count(keys.len()),
        rules: count(rules.len()),
        audit: (mode == Mode::Audit).into(),
        sealed_boot: policy.sealed_boot.into(),
        reserved: 0,
        ceiling: rights(&policy.ceiling),
        fallback: rights(&policy.fallback),
        serial: policy.serial,
    };
    let mut bytes = bytes_of(&header).to_vec();
    for publisher in &policy.publishers {
        bytes.extend(bytes_of(&bt_publisher {
            name: publisher.name.to_bytes(),
            restricted: publisher.loaders.is_some().into(),
            required: publisher.requires.bits(),
            ceiling: rights(&publisher.ceiling),
            ..bt_publisher::default()
        }));
    }
    for key in &keys {
        bytes.extend(bytes_of(key));
    }
    for rule in &rules {
        bytes.extend(bytes_of(rule));
    }
    Ok(bytes)
}

fn keys(policy: &Policy, rings: &[(KeyHint, Keyring)]) -> Result<Vec<bt_key>> {
    let mut keys = Vec::new();
    for (number, publisher) in policy.publishers.iter().enumerate() {
        let entry = entry(count(number), publisher);
        match &publisher.keys {
            Keys::Certificates(signers) => {
                for signer in signers {
                    keys.push(own_key(entry, policy, signer, rings)?);
                }
            }
            Keys::Keyring(keyring) => {
                let place = place(*keyring);
                let mut hint = [0; 8];
                hint[0] = place;
                keys.push(bt_key {
                    place,
                    hint,
                    ..entry
                });
            }
        }
    }
    for signer in &policy.policy_keys {
        let entry = bt_key {
            orders: 1,
            ..bt_key::default()
        };
        keys.push(own_key(entry, policy, signer, rings)?);
    }
    // Those that nobody has: so that the reason is the true one.
    for hint in &policy.refused.keys {
        if !keys.iter().any(|key| key.hint == hint.0) {
            keys.push(bt_key {
                refused: 1,
                hint: hint.0,
                ..bt_key::default()
            });
        }
    }
    Ok(keys)
}

/// What all keys of a publisher have in common.
fn entry(number: u32, publisher: &Publisher) -> bt_key {
    bt_key {
        publisher: number,
        bare: publisher
            .bare
            .map_or(0, |kind| kind.number().to_le_bytes()[0]),
        name: publisher.name.to_bytes(),
        ..bt_key::default()
    }
}

fn own_key(
    entry: bt_key,
    policy: &Policy,
    signer: &Signer,
    rings: &[(KeyHint, Keyring)],
) -> Result<bt_key> {
    let ring = rings.iter().find(|(hint, _)| *hint == signer.hint);
    let mut key = bt_key {
        ring: ring.map_or(0, |(_, ring)| ring.serial().number().unsigned_abs()),
        refused: policy.refused.keys.contains(&signer.hint).into(),
        hint: signer.hint.0,
        ..entry
    };
    let size = signer.public_key.len();
    limit("bytes of a public key", size, key.public_key.len())?;
    key.public_key[..size].copy_from_slice(&signer.public_key);
    key.public_key_size = u16::try_from(size).expect("just limited");
    Ok(key)
}

/// `enum bt_ring`.
fn place(keyring: SystemKeyring) -> u8 {
    let (number, _) = crate::abi::rings()
        .iter()
        .find(|(_, name)| *name == keyring.name())
        .expect("abi.h has the same names");
    number.to_le_bytes()[0]
}

fn rules(policy: &Policy) -> Vec<bt_rule> {
    let mut rules = Vec::with_capacity(policy.rules());
    let mut push = |kind, publisher, bytes, value| {
        rules.push(bt_rule {
            kind,
            publisher,
            bytes,
            value,
        });
    };
    for &digest in &policy.refused.digests {
        push(BT_RULE_DIGEST, 0, digest, 0);
    }
    for name in &policy.refused.names {
        push(BT_RULE_NAME, 0, name.to_bytes(), VERSION_REFUSED);
    }
    for (name, &version) in &policy.minimum_versions {
        // That nothing of this name counts says more.
        if !policy.refused.names.contains(name) {
            push(BT_RULE_NAME, 0, name.to_bytes(), version);
        }
    }
    for (number, publisher) in policy.publishers.iter().enumerate() {
        for name in publisher.loaders.iter().flatten() {
            push(BT_RULE_SIGNS, count(number), Name::to_bytes(name), 0);
        }
    }
    rules
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("the policy limits it")
}

/// As `abi.h` has them.
pub(crate) fn rights(rights: &Rights) -> bt_rights {
    let [commands] = rights.commands.words();
    let [programs] = rights.programs.words();
    let [maps] = rights.maps.words();
    let [abilities] = rights.abilities.words();
    bt_rights {
        commands,
        programs,
        maps,
        attaches: rights.attaches.words(),
        abilities,
    }
}
