//! 1, 2, 9a: files that are not what was signed, and signatures that are not
//! what they should be.

use crate::attack::{Attack, CALL};
use crate::forge;

pub const ATTACKS: &[Attack] = &[
    Attack::run(
        "1.copy",
        "an unsigned copy of a signed loader",
        "unsigned",
        CALL,
        &["no-signature"],
    ),
    Attack::run(
        "1.changed",
        "a copy with one byte more and the loader's signature",
        "changed",
        CALL,
        &["bad-signature"],
    ),
    Attack::run(
        "1.no-verity",
        "a copy with the loader's signature, whose content may change",
        "no-verity",
        CALL,
        &["no-verity"],
    ),
    forged(
        "2.other-file",
        "the signature of another file",
        forge::of_another_file,
        &["bad-signature"],
    ),
    forged(
        "2.empty",
        "an empty signature",
        forge::empty,
        &["bad-signature"],
    ),
    forged(
        "2.truncated",
        "a signature that lacks its last byte",
        forge::truncated,
        &["bad-signature"],
    ),
    forged(
        "2.oversized",
        "a signature that is too large",
        forge::oversized,
        &["bad-signature"],
    ),
    forged(
        "2.random",
        "random bytes behind a good envelope",
        forge::random,
        &["bad-signature"],
    ),
    forged(
        "2.flipped",
        "a signature with one bit flipped",
        forge::flipped,
        &["bad-signature", "unknown-key"],
    ),
    forged(
        "2.hint",
        "a stranger's signature that names a trusted key",
        forge::forged_hint,
        &["unknown-key", "bad-signature"],
    ),
    forged(
        "2.other-data",
        "a good signature of a trusted key over something else",
        forge::over_other_data,
        &["unknown-key", "bad-signature"],
    ),
    forged(
        "2.attributes",
        "a signature of a trusted key with signed attributes",
        forge::with_attributes,
        &["bad-signature"],
    ),
    forged(
        "2.certificates",
        "a signature of a trusted key that brings certificates",
        forge::with_certificates,
        &["bad-signature"],
    ),
    Attack::run(
        "2.other-key",
        "signed by a key that the policy does not have",
        "strangers",
        CALL,
        &["unknown-key"],
    ),
    Attack::run(
        "2.refused-key",
        "signed by a key that the policy refuses",
        "formers",
        CALL,
        &["revoked"],
    ),
    Attack::run(
        "2.refused-name",
        "signed under a name that the policy refuses",
        "refused",
        CALL,
        &["revoked"],
    ),
    Attack::run(
        "9a.as-library",
        "signed as a library, executed as a program",
        "as-library",
        CALL,
        &["wrong-kind"],
    ),
    Attack::run(
        "9a.ld-so",
        "the dynamic linker executed with a signed loader as its argument",
        "unsigned",
        "exec %linker @/loader act bpf 11",
        &["no-signature", "unknown-key", "wrong-kind"],
    ),
    Attack::run(
        "9a.signed-ld-so",
        "the same with a dynamic linker that is signed as a library",
        "unsigned",
        "exec @/linker @/loader act bpf 11",
        &["wrong-kind"],
    ),
    Attack::run(
        "9a.older",
        "an older statement for the same content put back",
        "older",
        CALL,
        &["too-old"],
    )
    .before(forge::put_back_older),
];

const fn forged(
    number: &'static str,
    tried: &'static str,
    forge: fn(&crate::lab::Lab) -> anyhow::Result<()>,
    reasons: &'static [&'static str],
) -> Attack {
    Attack::run(number, tried, "forged", CALL, reasons).before(forge)
}
