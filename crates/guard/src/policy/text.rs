//! The policy file as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpftrust_signature::{KeyHint, Kind};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{Libraries, Policy, Refused, SystemKeyring};
use crate::Mode;
use crate::rights_text::RightsText;
use crate::source::{NameText, RequireText, VersionText, parsed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PolicyText {
    #[serde(default)]
    pub(super) mode: ModeText,
    #[serde(default)]
    pub(super) serial: SerialText,
    #[serde(default)]
    pub(super) boot: BootText,
    #[serde(default)]
    pub(super) policy_keys: PolicyKeysText,
    #[serde(default)]
    pub(super) libraries: LibrariesText,
    #[serde(default)]
    pub(super) require: RequireText,
    #[serde(default)]
    pub(super) ceiling: RightsText,
    pub(super) default: Option<RightsText>,
    #[serde(default)]
    pub(super) publisher: BTreeMap<Spanned<NameText>, PublisherText>,
    #[serde(default)]
    pub(super) minimum_version: BTreeMap<NameText, VersionText>,
    #[serde(default)]
    pub(super) refused: RefusedText,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ModeText {
    #[default]
    Enforce,
    Audit,
}

/// The number of a policy among those of its policy keys.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "i128")]
pub(super) struct SerialText(pub(super) u64);

impl TryFrom<i128> for SerialText {
    type Error = String;

    fn try_from(number: i128) -> Result<Self, String> {
        u64::try_from(number)
            .ok()
            .filter(|&serial| serial <= Policy::MAX_SERIAL)
            .map(Self)
            .ok_or_else(|| format!("a serial is 0 to {}, not {number}", Policy::MAX_SERIAL))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BootText {
    pub(super) sealed: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PolicyKeysText {
    #[serde(default)]
    pub(super) certificates: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) allow_issuer: bool,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LibrariesText {
    #[default]
    Signed,
    Verity,
    Any,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PublisherText {
    pub(super) certificates: Option<Spanned<Vec<Spanned<PathBuf>>>>,
    pub(super) keyring: Option<Spanned<KeyringText>>,
    pub(super) loaders: Option<Spanned<Vec<NameText>>>,
    pub(super) bare: Option<BareText>,
    pub(super) allow_issuer: Option<Spanned<bool>>,
    #[serde(default)]
    pub(super) require: RequireText,
    #[serde(default)]
    pub(super) ceiling: RightsText,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeyringText {
    Builtin,
    Secondary,
    Platform,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BareText {
    Loader,
    Library,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RefusedText {
    // No spans: there may be 100,000, and what is wrong with one is found while
    // toml knows where it stands.
    #[serde(default)]
    pub(super) digests: Vec<DigestText>,
    pub(super) digests_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) keys: Vec<KeyText>,
    #[serde(default)]
    pub(super) names: Vec<NameText>,
}

/// A digest, as much of it as is looked at.
#[derive(Clone, Copy)]
pub(super) struct DigestText(pub(super) [u8; Refused::DIGEST_PREFIX]);

impl DigestText {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(digest) => Ok(Self(Refused::prefix(&digest))),
            Err(error) => Err(format!("{text:?}: {error}")),
        }
    }
}

impl<'de> Deserialize<'de> for DigestText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, Self::parse)
    }
}

/// A key.
pub(super) struct KeyText(pub(super) KeyHint);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| match text.parse() {
            Ok(hint) => Ok(Self(hint)),
            Err(error) => Err(format!("{text:?}: {error}")),
        })
    }
}

impl From<ModeText> for Mode {
    fn from(mode: ModeText) -> Self {
        match mode {
            ModeText::Enforce => Self::Enforce,
            ModeText::Audit => Self::Audit,
        }
    }
}

impl From<LibrariesText> for Libraries {
    fn from(libraries: LibrariesText) -> Self {
        match libraries {
            LibrariesText::Signed => Self::Signed,
            LibrariesText::Verity => Self::Verity,
            LibrariesText::Any => Self::Any,
        }
    }
}

impl From<KeyringText> for SystemKeyring {
    fn from(keyring: KeyringText) -> Self {
        match keyring {
            KeyringText::Builtin => Self::Builtin,
            KeyringText::Secondary => Self::Secondary,
            KeyringText::Platform => Self::Platform,
        }
    }
}

impl From<BareText> for Kind {
    fn from(bare: BareText) -> Self {
        match bare {
            BareText::Loader => Self::Loader,
            BareText::Library => Self::Library,
        }
    }
}
