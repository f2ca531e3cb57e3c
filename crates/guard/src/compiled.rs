//! A policy in its compiled form: what a policy key signs, and what a sealed guard
//! is given.
//!
//! The form is that which the kernel side takes over (`struct bt_policy` of
//! `bpf/abi.h` and its tables), without what belongs to one boot; then, for each
//! key with a ring of its own, the size of its certificate (32 bits) and the
//! certificate in DER; then the signed order, if there is one. The certificates
//! are not signed: a ring counts for the key in it, which is in the tables.

use std::path::Path;

use bpftrust_signature::{
    Certificate, KeyHint, Kind, Malformed, Name, Order, Requirements, SignedOrder, Signer, sha256,
    sign_order,
};

use crate::abi::{
    self, BT_POLICY_FORM, BT_POLICY_MAGIC, BT_RULE_DIGEST, BT_RULE_NAME, BT_RULE_SIGNS, Shared,
    bt_key, bt_policy, bt_publisher, bt_rule, values_of,
};
use crate::apply::{VERSION_REFUSED, compile};
use crate::policy::MAX_SIZE;
use crate::source::read_bytes;
use crate::{
    Error, Keys, Libraries, Mode, Policy, PolicyError, Publisher, Refused, Result, SystemKeyring,
};

/// A policy, and the order of a policy key to take it, if there is one.
#[derive(Clone, Debug)]
pub struct Compiled {
    policy: Policy,
    order: Option<SignedOrder>,
}

/// Why bytes are no compiled policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCompiled {
    /// Not as long as it says.
    #[error("it is cut short")]
    CutShort,
    /// A form of another version.
    #[error("it has form {form}, and only form {BT_POLICY_FORM} is known")]
    Form {
        /// The form's number.
        form: u16,
    },
    /// Something in it that no policy says.
    #[error("there is something wrong in it: {what}")]
    Content {
        /// What.
        what: &'static str,
    },
    /// What is behind it is no order.
    #[error("its signature is malformed")]
    Order(#[from] Malformed),
}

impl Compiled {
    /// Does `bytes` begin as a compiled policy?
    pub fn is_begun_by(bytes: &[u8]) -> bool {
        bytes.starts_with(&BT_POLICY_MAGIC.to_le_bytes())
    }

    /// Reads a policy in either form.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let bytes = read_bytes(path, MAX_SIZE)?;
        if !Self::is_begun_by(&bytes) {
            return Policy::parse(path, bytes).map(Self::from);
        }
        Self::parse(&bytes).map_err(|source| PolicyError::Compiled {
            path: path.to_owned(),
            source,
        })
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy alone.
    pub fn into_policy(self) -> Policy {
        self.policy
    }

    /// The order to take it.
    pub fn order(&self) -> Option<&SignedOrder> {
        self.order.as_ref()
    }

    /// Signs it; a signature that was there is replaced.
    ///
    /// # Errors
    /// [`Error::TooMany`]; [`Error::Sign`], also if what was signed does not
    /// verify.
    pub fn sign(&mut self, signer: &impl Signer) -> Result<()> {
        let digest = self.digest()?;
        let order = sign_order(signer, Order::Policy { digest })
            .map_err(|source| Error::Sign { source })?;
        // A fault in the key's hardware, or memory, must not look like success.
        if !order.is_by(signer.certificate()) {
            return Err(Error::SignedWrongly);
        }
        self.order = Some(order);
        Ok(())
    }

    /// What a policy key signs of it.
    fn digest(&self) -> Result<[u8; 32]> {
        self.tables().map(|tables| sha256(&tables))
    }

    fn tables(&self) -> Result<Vec<u8>> {
        compile(&self.policy, self.policy.mode, 0, &[])
    }

    /// The same bytes for the same policy.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = self.tables()?;
        let signers = self.policy.signers().map(|(_, signer)| signer);
        for signer in signers.chain(&self.policy.policy_keys) {
            let size = u32::try_from(signer.certificate.len()).expect("certificates are limited");
            bytes.extend(size.to_le_bytes());
            bytes.extend(&signer.certificate);
        }
        bytes.extend(self.order.iter().flat_map(SignedOrder::to_bytes));
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotCompiled> {
        let mut rest = Rest(bytes);
        let [header] = rest.table::<bt_policy>(1)?[..] else {
            return Err(NotCompiled::CutShort);
        };
        if header.magic != BT_POLICY_MAGIC || header.form != BT_POLICY_FORM {
            return Err(NotCompiled::Form { form: header.form });
        }
        let publishers = rest.table::<bt_publisher>(header.publishers)?;
        let keys = rest.table::<bt_key>(header.keys)?;
        let rules = rest.table::<bt_rule>(header.rules)?;
        let tables = &bytes[..bytes.len() - rest.0.len()];
        let mut signers = Vec::new();
        for key in keys.iter().filter(|key| has_certificate(key)) {
            signers.push((key, rest.signer(key)?));
        }
        let policy = Policy {
            mode: if header.audit == 0 {
                Mode::Enforce
            } else {
                Mode::Audit
            },
            libraries: Libraries::from_number(header.libraries.into())
                .ok_or_else(|| wrong("a rule about libraries that this version does not know"))?,
            requires: requirements(header.required)?,
            serial: header.serial,
            sealed_boot: header.sealed_boot != 0,
            policy_keys: signers
                .iter()
                .filter(|(key, _)| key.orders != 0)
                .map(|(_, signer)| signer.clone())
                .collect(),
            ceiling: abi::rights(&header.ceiling),
            fallback: abi::rights(&header.fallback),
            publishers: (0..)
                .zip(&publishers)
                .map(|(number, raw)| publisher(number, raw, &keys, &signers, &rules))
                .collect::<Result<_, _>>()?,
            minimum_versions: named(&rules, |value| value != VERSION_REFUSED)?,
            refused: Refused {
                digests: of_kind(&rules, BT_RULE_DIGEST)
                    .map(|rule| rule.bytes)
                    .collect(),
                keys: keys
                    .iter()
                    .filter(|key| key.refused != 0)
                    .map(|key| KeyHint(key.hint))
                    .collect(),
                names: named::<Vec<_>>(&rules, |value| value == VERSION_REFUSED)?
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect(),
            },
        };
        let order = match rest.0 {
            [] => None,
            order => Some(SignedOrder::parse(order)?),
        };
        let compiled = Self { policy, order };
        // So that what is shown of it is all that it says.
        match compiled.tables() {
            Ok(again) if again == tables => Ok(compiled),
            _ => Err(wrong("what no policy is compiled to")),
        }
    }
}

impl From<Policy> for Compiled {
    fn from(policy: Policy) -> Self {
        Self {
            policy,
            order: None,
        }
    }
}

fn wrong(what: &'static str) -> NotCompiled {
    NotCompiled::Content { what }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], NotCompiled> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or(NotCompiled::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn table<T: Shared>(&mut self, count: u32) -> Result<Vec<T>, NotCompiled> {
        let size = (count as usize).checked_mul(size_of::<T>());
        Ok(values_of(self.take(size.ok_or(NotCompiled::CutShort)?)?))
    }

    /// The certificate of `key`.
    fn signer(&mut self, key: &bt_key) -> Result<crate::Signer, NotCompiled> {
        let size = self.take(4)?.try_into().expect("4 bytes were taken");
        let der = self.take(u32::from_le_bytes(size) as usize)?;
        let certificate =
            Certificate::parse(der).map_err(|_| wrong("a certificate that is none"))?;
        let size = usize::from(key.public_key_size);
        if certificate.der() != der
            || certificate.key_hint() != KeyHint(key.hint)
            || Some(certificate.public_key()) != key.public_key.get(..size)
        {
            return Err(wrong("a certificate that is not of its key"));
        }
        Ok(crate::Signer {
            hint: certificate.key_hint(),
            certificate: der.to_vec(),
            public_key: certificate.public_key().to_vec(),
        })
    }
}

/// Is it of a ring of its own, and not only named to be refused?
fn has_certificate(key: &bt_key) -> bool {
    key.public_key_size != 0
}

fn requirements(bits: u8) -> Result<Requirements, NotCompiled> {
    Requirements::from_bits(bits)
        .ok_or_else(|| wrong("a requirement that this version does not know"))
}

fn publisher(
    number: u32,
    raw: &bt_publisher,
    keys: &[bt_key],
    signers: &[(&bt_key, crate::Signer)],
    rules: &[bt_rule],
) -> Result<Publisher, NotCompiled> {
    let is_his = |key: &bt_key| key.publisher == number && key.orders == 0;
    let keyring = keys.iter().find(|key| is_his(key) && key.place != 0);
    let his = signers.iter().filter(|(key, _)| is_his(key));
    let first = keyring.or_else(|| his.clone().next().map(|(key, _)| *key));
    Ok(Publisher {
        name: name(&raw.name)?,
        ceiling: abi::rights(&raw.ceiling),
        requires: requirements(raw.required)?,
        loaders: if raw.restricted == 0 {
            None
        } else {
            let names = of_kind(rules, BT_RULE_SIGNS).filter(|rule| rule.publisher == number);
            Some(
                names
                    .map(|rule| name(&rule.bytes))
                    .collect::<Result<_, _>>()?,
            )
        },
        bare: first.and_then(|key| {
            [Kind::Loader, Kind::Library]
                .into_iter()
                .find(|kind| kind.number() == u16::from(key.bare))
        }),
        keys: match keyring {
            Some(key) => Keys::Keyring(system_keyring(key.place)?),
            None => Keys::Certificates(his.map(|(_, signer)| signer.clone()).collect()),
        },
    })
}

fn system_keyring(place: u8) -> Result<SystemKeyring, NotCompiled> {
    [
        SystemKeyring::Builtin,
        SystemKeyring::Secondary,
        SystemKeyring::Platform,
    ]
    .into_iter()
    .find(|keyring| keyring.name() == abi::ring(place))
    .ok_or(wrong("an unknown keyring"))
}

fn name(bytes: &[u8; Name::SIZE]) -> Result<Name, NotCompiled> {
    Name::from_bytes(bytes).ok_or(wrong("a name that is none"))
}

fn of_kind(rules: &[bt_rule], kind: u32) -> impl Iterator<Item = &bt_rule> {
    rules.iter().filter(move |rule| rule.kind == kind)
}

/// The rules about names whose value is such, with it.
fn named<T: FromIterator<(Name, u64)>>(
    rules: &[bt_rule],
    is_meant: fn(u64) -> bool,
) -> Result<T, NotCompiled> {
    of_kind(rules, BT_RULE_NAME)
        .filter(|rule| is_meant(rule.value))
        .map(|rule| Ok((name(&rule.bytes)?, rule.value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bpftrust_signature::{Identity, KeyAlgorithm, PemSigner};

    use super::*;

    struct Keyed {
        signer: PemSigner,
        place: tempfile::TempDir,
    }

    const POLICY: &str = "serial = 7\nrequire = \"token\"\n[policy-keys]\ncertificates = [\"p.pem\"]\n\
        [ceiling]\nprograms = [\"kprobe\"]\n\
        [publisher.a]\ncertificates = [\"a.pem\"]\nloaders = [\"x\", \"y\"]\nbare = \"loader\"\n\
        [publisher.b]\nkeyring = \"builtin\"\nrequire = \"token\"\n\
        [minimum-version]\nx = 3\nz = 4\n\
        [refused]\nnames = [\"z\"]\nkeys = [\"00000000000000ff\"]\n\
        digests = [\"sha256:1111111111111111111111111111111111111111111111111111111111111111\"]\n";

    impl Keyed {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir(place.path().join("certificates")).unwrap();
            let mut signer = None;
            for name in ["a", "p"] {
                let identity = Identity::generate(KeyAlgorithm::P256, name, 1).unwrap();
                let path = place.path().join(format!("certificates/{name}.pem"));
                fs::write(path, identity.certificate_pem().unwrap()).unwrap();
                let pem = identity.key_pem(None).unwrap();
                let certificate = identity.certificate().clone();
                signer = PemSigner::new(&pem, certificate, || unreachable!()).ok();
            }
            Self {
                signer: signer.unwrap(),
                place,
            }
        }

        fn load(&self, text: &str) -> Compiled {
            let path = self.place.path().join("p.toml");
            fs::write(&path, text).unwrap();
            Compiled::load(&path).unwrap()
        }
    }

    #[test]
    fn a_policy_survives_the_way_through_its_compiled_form() {
        let keyed = Keyed::new();
        let mut compiled = keyed.load(POLICY);
        let bytes = compiled.to_bytes().unwrap();
        assert_eq!(bytes, keyed.load(POLICY).to_bytes().unwrap());
        let back = Compiled::parse(&bytes).unwrap();
        assert_eq!(back.to_bytes().unwrap(), bytes);
        let policy = back.policy();
        assert_eq!((policy.serial, policy.policy_keys.len()), (7, 1));
        assert_eq!(policy.policy_keys, compiled.policy().policy_keys);
        assert_eq!(policy.ceiling, compiled.policy().ceiling);
        let [a, b] = &policy.publishers[..] else {
            panic!("{policy:?}");
        };
        assert_eq!(policy.requires, Requirements::TOKEN);
        assert_eq!(
            (a.requires, b.requires),
            (Requirements::empty(), Requirements::TOKEN)
        );
        assert_eq!((a.name.as_str(), a.bare), ("a", Some(Kind::Loader)));
        assert_eq!(a.loaders.as_ref().map(|names| names.len()), Some(2));
        assert!(matches!(&a.keys, Keys::Certificates(keys) if keys.len() == 1));
        assert!(matches!(b.keys, Keys::Keyring(SystemKeyring::Builtin)));
        assert_eq!(policy.minimum_versions.len(), 1, "a refused name has none");
        assert_eq!(policy.refused.names.len(), 1);
        assert_eq!(policy.refused.digests, [[0x11; 32]].into());
        assert_eq!(policy.refused.keys.len(), 1);

        assert!(back.order().is_none());
        compiled.sign(&keyed.signer).unwrap();
        let signed = Compiled::parse(&compiled.to_bytes().unwrap()).unwrap();
        let order = signed.order().unwrap();
        assert!(order.is_by(keyed.signer.certificate()));
        let digest = sha256(&signed.tables().unwrap());
        assert_eq!(*order.order(), Order::Policy { digest });
    }

    #[test]
    fn other_bytes_are_refused() {
        let keyed = Keyed::new();
        let mut compiled = keyed.load(POLICY);
        compiled.sign(&keyed.signer).unwrap();
        let good = compiled.to_bytes().unwrap();
        for size in 0..good.len() {
            // Without the whole signature it is unsigned, or none.
            let cut = Compiled::parse(&good[..size]);
            assert!(cut.is_err() || cut.unwrap().order().is_none(), "{size}");
        }
        assert!(Compiled::parse(&[&good[..], &[0]].concat()).is_err());
        let tables = compiled.tables().unwrap().len();
        for place in 0..tables {
            let mut bytes = good.clone();
            bytes[place] ^= 1;
            let Ok(changed) = Compiled::parse(&bytes) else {
                continue;
            };
            // A policy, but not the one that was signed.
            let digest = changed.digest().unwrap();
            let order = *changed.order().unwrap().order();
            assert_ne!(order, Order::Policy { digest }, "byte {place}");
        }
        let mut form = good.clone();
        form[4] = 9;
        assert_eq!(
            Compiled::parse(&form).unwrap_err(),
            NotCompiled::Form { form: 9 }
        );
        // Counts that would need more than there is.
        let mut counts = good;
        counts[16..28].fill(0xff);
        assert_eq!(Compiled::parse(&counts).unwrap_err(), NotCompiled::CutShort);
    }
}
