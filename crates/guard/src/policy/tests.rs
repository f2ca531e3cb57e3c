use std::fmt::Write as _;
use std::fs;

use bpftrust_signature::{Identity, KeyAlgorithm};
use bpftrust_verity::Algorithm;

use super::*;
use crate::describe;

/// A directory with certificates `a.pem`, `a-again.pem` (of the same key) and
/// `b.pem`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.0.path().join("certificates")).unwrap();
        for name in ["a", "b"] {
            let identity = Identity::generate(KeyAlgorithm::P256, name, 1).unwrap();
            let pem = identity.certificate_pem().unwrap();
            place.write(&format!("certificates/{name}.pem"), &pem);
        }
        let again = fs::read(place.0.path().join("certificates/a.pem")).unwrap();
        place.write("certificates/a-again.pem", &again);
        place
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.0.path().join(name), content).unwrap();
    }

    /// The policy, or the error without the directory's path in it.
    fn load(&self, text: &str) -> Result<Policy, String> {
        self.write("p.toml", text.as_bytes());
        Policy::load(&self.0.path().join("p.toml")).map_err(|error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                write!(text, ": {inner}").unwrap();
                cause = inner.source();
            }
            text.replace(&format!("{}/", self.0.path().display()), "")
        })
    }
}

const A: &str = "[publisher.a]\ncertificates = [\"a.pem\"]\n";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn a_policy_says_what_is_written() {
    let place = Place::new();
    let sha256 = "11".repeat(32);
    let sha512 = format!("{}{}", "22".repeat(32), "33".repeat(32));
    place.write(
        "refused.txt",
        format!(
            "# found in the wild\n\n  sha256:{} # bad\nsha512:{sha512}",
            "44".repeat(32)
        )
        .as_bytes(),
    );
    let policy = place
        .load(&format!(
            "mode = \"audit\"\nlibraries = \"verity\"\n[ceiling]\nabilities = [\"children\", \"own-code\"]\n\
             [default]\ncommands = \"all\"\nabilities = [\"children\"]\n\
             [publisher.a]\ncertificates = [\"a.pem\", \"b.pem\"]\nloaders = [\"x\", \"y\", \"x\"]\n\
             bare = \"loader\"\nallow-issuer = false\n[publisher.a.ceiling]\nprograms = [\"tracing\"]\n\
             [publisher.kernel]\nkeyring = \"builtin\"\n[minimum-version]\nx = 3\n\
             [refused]\ndigests = [\"sha256:{sha256}\", \"sha256:{sha256}\"]\n\
             digests-file = \"refused.txt\"\nkeys = [\"00000000000000ff\"]\nnames = [\"evil\"]\n"
        ))
        .unwrap();
    assert_eq!(policy.mode, Mode::Audit);
    assert_eq!(policy.libraries, Libraries::Verity);
    assert_eq!(
        describe(&policy.ceiling),
        "programs unlimited; attaches unlimited; maps unlimited; commands unlimited; \
         abilities own-code,children"
    );
    assert_eq!(
        describe(&policy.fallback),
        "programs none; attaches none; maps none; commands all; abilities children"
    );
    let [a, kernel] = &policy.publishers[..] else {
        panic!("{policy:?}");
    };
    assert_eq!((&a.name, a.bare), (&name("a"), Some(Kind::Loader)));
    assert_eq!(a.loaders, Some([name("x"), name("y")].into()));
    assert!(describe(&a.ceiling).starts_with("programs tracing; attaches unlimited; "));
    assert_eq!(policy.signers().count(), 2);
    assert!(matches!(kernel.keys, Keys::Keyring(SystemKeyring::Builtin)));
    assert_eq!(kernel.ceiling, Rights::UNLIMITED);
    assert_eq!(policy.minimum_versions, [(name("x"), 3)].into());
    assert_eq!(
        policy.refused.digests,
        [[0x11; 32], [0x22; 32], [0x44; 32]].into()
    );
    assert_eq!(
        policy.refused.keys,
        [KeyHint([0, 0, 0, 0, 0, 0, 0, 0xff])].into()
    );
    assert_eq!(policy.refused.names, [name("evil")].into());
    assert_eq!(policy.rules(), 3 + 1 + 1 + 2);
}

#[test]
fn a_short_policy_limits_nothing_and_grants_what_has_a_name() {
    let policy = Place::new().load(A).unwrap();
    assert_eq!(policy.mode, Mode::Enforce);
    assert!(!policy.sealed_boot);
    assert_eq!(policy.libraries, Libraries::Signed);
    assert_eq!(policy.ceiling, Rights::UNLIMITED);
    assert_eq!(
        describe(&policy.fallback),
        "programs all; attaches all; maps all; commands all; abilities children"
    );
    assert_eq!(policy.publishers[0].loaders, None);
    assert_eq!(policy.rules(), 0);
}

#[test]
fn all_and_an_absent_list_contradict_no_ceiling() {
    let text = format!(
        "{A}[publisher.a.ceiling]\nprograms = \"all\"\n[default]\nabilities = \"all\"\n\
         [ceiling]\nprograms = [\"xdp\"]\nabilities = []\n"
    );
    Place::new().load(&text).unwrap();
}

#[test]
fn a_refused_key_may_be_a_publishers() {
    let place = Place::new();
    let policy = place.load(A).unwrap();
    let hint = policy.signers().next().unwrap().1.hint;
    let policy = place
        .load(&format!("{A}[refused]\nkeys = [\"{hint}\"]\n"))
        .unwrap();
    assert_eq!(policy.refused.keys, [hint].into());
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    let place = Place::new();
    place.write("bad.txt", b"# one\n sha256:00\n");
    place.write("latin1.txt", b"\xff");
    for (text, expected) in [
        ("", "p.toml:1:1: no publisher: nobody could sign anything"),
        (
            "mode = \"on\"\n+",
            "p.toml:1:8: unknown variant `on`, expected `enforce` or `audit`",
        ),
        (
            "mode = \"audit\"\nboot.sealed = true\n+",
            "p.toml:2:15: mode = \"audit\" refuses nothing: there is nothing to seal",
        ),
        (
            "libraries = \"all\"\n",
            "p.toml:1:13: unknown variant `all`, expected one of `signed`, `verity`, `any`",
        ),
        (
            "[publisher.c]\n",
            "p.toml:1:12: publisher \"c\" has neither certificates nor a keyring",
        ),
        (
            "[publisher.\"a b\"]\ncertificates = [\"a.pem\"]\n",
            "p.toml:1:12: \"a b\": a name has 1 to 31",
        ),
        (
            "[publisher.c]\ncertificates = []\n",
            "p.toml:2:16: publisher \"c\" has no certificate",
        ),
        (
            "[publisher.c]\ncertificates = [\"no.pem\"]\n",
            "p.toml:2:17: certificate certificates/no.pem of publisher \"c\": No such file",
        ),
        (
            "[publisher.c]\ncertificates = [\"../p.toml\"]\n",
            "p.toml:2:17: certificate certificates/../p.toml of publisher \"c\": not a certificate",
        ),
        (
            "[publisher.c]\ncertificates = [\"/dev/zero\"]\n",
            "p.toml:2:17: certificate /dev/zero of publisher \"c\": it is not a regular file",
        ),
        (
            "+keyring = \"builtin\"\n",
            "p.toml:3:11: publisher \"a\" has certificates and a keyring",
        ),
        (
            "+[publisher.k]\nkeyring = \"user\"\n",
            "p.toml:4:11: unknown variant `user`",
        ),
        (
            "+[publisher.k]\nkeyring = \"platform\"\nallow-issuer = true\n",
            "p.toml:5:16: allow-issuer is about certificates",
        ),
        (
            "+[publisher.k]\nkeyring = \"platform\"\n[publisher.l]\nkeyring = \"platform\"\n",
            "p.toml:6:11: publisher \"k\" has the keyring \"platform\" already",
        ),
        (
            "[publisher.c]\ncertificates = [\"a.pem\", \"a-again.pem\"]\n",
            "p.toml:2:26: publisher \"c\" has the key ",
        ),
        (
            "+[publisher.b]\ncertificates = [\"b.pem\", \"a-again.pem\"]\n",
            "p.toml:4:26: publisher \"a\" has the key ",
        ),
        (
            "+loaders = []\n",
            "p.toml:3:11: publisher \"a\" may not sign anything",
        ),
        (
            "+loaders = [\"x\", \"y z\"]\n",
            "p.toml:3:17: \"y z\": a name has 1 to 31",
        ),
        (
            "+bare = \"script\"\n",
            "p.toml:3:8: unknown variant `script`",
        ),
        ("+colour = 1\n", "p.toml:3:1: unknown field `colour`"),
        (
            "+[default]\nprograms = [\"xpd\"]\n",
            "p.toml:4:13: unknown program type \"xpd\": did you mean \"xdp\"?",
        ),
        (
            "+[default]\nprogram = []\n",
            "p.toml:4:1: unknown field `program`",
        ),
        (
            "+[default]\nmaps = [\"hash\", \"array\"]\n[ceiling]\nmaps = [\"hash\"]\n",
            "p.toml:4:17: the policy's ceiling excludes map type \"array\", so this never takes effect",
        ),
        (
            "+[publisher.a.ceiling]\nprograms = [26]\n[ceiling]\nprograms = [\"xdp\"]\n",
            "p.toml:4:13: the policy's ceiling excludes program type 26",
        ),
        (
            "+[minimum-version]\nx = -1\n",
            "p.toml:4:5: a version is 0 to",
        ),
        (
            "+[minimum-version]\n\"\" = 1\n",
            "p.toml:4:1: \"\": a name has 1 to 31",
        ),
        (
            "+[minimum-version]\nx = 1\nx = 2\n",
            "p.toml:5:1: duplicate key",
        ),
        (
            "+[refused]\ndigests = [\"sha256:00\"]\n",
            "p.toml:4:12: \"sha256:00\": not an fs-verity digest",
        ),
        (
            "+[refused]\nkeys = [\"00000000000000f\"]\n",
            "p.toml:4:9: \"00000000000000f\": not a key",
        ),
        (
            "+[refused]\nkeys = [\"+0000000000000ff\"]\n",
            "p.toml:4:9: \"+0000000000000ff\": not a key",
        ),
        (
            "+[refused]\nnames = [\"\"]\n",
            "p.toml:4:10: \"\": a name has 1 to 31",
        ),
        (
            "+[refused]\ndigests-file = \"no.txt\"\n",
            "p.toml:4:16: refused digests: can't read no.txt: No such file",
        ),
        (
            "+[refused]\ndigests-file = \"bad.txt\"\n",
            "p.toml:4:16: refused digests: bad.txt:2:2: \"sha256:00\": not an fs-verity digest",
        ),
        (
            "+[refused]\ndigests-file = \"latin1.txt\"\n",
            "p.toml:4:16: refused digests: latin1.txt:1:1: not UTF-8",
        ),
    ] {
        let text = text.replacen(
            '+',
            A,
            usize::from(text.starts_with('+') || text.ends_with('+')),
        );
        let error = place.load(&text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn more_than_the_kernel_side_has_room_for_is_refused_with_numbers() {
    let place = Place::new();
    let mut text = A.to_owned() + "[minimum-version]\n";
    for number in 0..Policy::MAX_RULES + 1 {
        writeln!(text, "n{number} = 1").unwrap();
    }
    let error = place.load(&text).unwrap_err();
    assert!(error.contains(": 131073 refused digests, "), "{error}");
    assert!(
        error.ends_with("are more than the 131072 that can be"),
        "{error}"
    );
    let mut text = String::new();
    for number in 0..=Policy::MAX_PUBLISHERS {
        writeln!(text, "[publisher.n{number}]").unwrap();
    }
    let error = place.load(&text).unwrap_err();
    assert!(
        error.contains("4097 publishers are more than the 4096"),
        "{error}"
    );
}

#[test]
fn a_hundred_thousand_digests_are_read_from_either_place() {
    let place = Place::new();
    let mut inline = A.to_owned() + "[refused]\ndigests = [\n";
    let mut lines = String::new();
    for number in 0u32..100_000 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_le_bytes());
        let digest = Digest::new(Algorithm::Sha256, &bytes).unwrap();
        writeln!(inline, "\"{digest}\",").unwrap();
        writeln!(lines, "{digest}").unwrap();
    }
    inline.push_str("]\n");
    place.write("refused.txt", lines.as_bytes());
    for text in [
        inline,
        format!("{A}[refused]\ndigests-file = \"refused.txt\"\n"),
    ] {
        let policy = place.load(&text).unwrap();
        assert_eq!(policy.refused.digests.len(), 100_000);
    }
}
