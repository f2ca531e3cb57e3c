//! Grants and rights as they are shown.

use std::time::{Duration, UNIX_EPOCH};

use bpftrust_guard::{Vocabulary, describe};
use bpftrust_signature::{Grant, Requirements, Rights};
use serde_json::{Map, Value, json};

/// A grant for programs: name, version, end, and a list for each kind of right.
pub fn grant_as_json(grant: &Grant) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), json!(grant.name.as_str()));
    object.insert("version".into(), json!(grant.version));
    object.insert("not_after".into(), json!(end_as_json(grant)));
    object.extend(rights_as_json(&grant.rights));
    object.insert("require".into(), json!(require(grant.requires)));
    let script: Vec<_> = grant.script.names().collect();
    object.insert("script".into(), json!(script));
    object.into()
}

/// What files call the requirements.
pub fn require(requirements: Requirements) -> Vec<&'static str> {
    requirements.names().collect()
}

/// When a grant ends, or null.
pub fn end_as_json(grant: &Grant) -> Option<String> {
    (grant.not_after != 0).then(|| moment(grant.not_after))
}

/// What `describe` says, without kinds of which there is nothing.
pub fn short(rights: &Rights) -> String {
    let kinds = Vocabulary::ALL.into_iter();
    let kinds = kinds.filter(|kind| !kind.numbers(rights).is_empty());
    let lists: Vec<_> = kinds
        .map(|kind| format!("{} {}", kind.label(), kind.list(rights)))
        .collect();
    if lists.is_empty() {
        return describe(rights);
    }
    lists.join("; ")
}

/// A list for each kind of right: names, and numbers where there is none. It is
/// `"unlimited"` where every bit is set.
pub fn rights_as_json(rights: &Rights) -> Map<String, Value> {
    let list = |kind: Vocabulary| {
        if kind.is_unlimited(rights) {
            return (kind.label().to_owned(), json!("unlimited"));
        }
        let entries = kind.numbers(rights).into_iter();
        let entries = entries.map(|number| match kind.name(number) {
            Some(name) => json!(name),
            None => json!(number),
        });
        (kind.label().to_owned(), entries.collect())
    };
    Vocabulary::ALL.map(list).into_iter().collect()
}

/// A grant for people: what each line is about, and its text.
pub fn grant_lines(grant: &Grant) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("grant", grant.name.to_string()),
        ("version", grant.version.to_string()),
        ("not after", end(grant)),
    ];
    lines.extend(rights_lines(&grant.rights));
    lines.extend(
        require(grant.requires)
            .into_iter()
            .map(|what| ("require", what.to_owned())),
    );
    lines.extend(grant.script.names().map(|what| ("script", what.to_owned())));
    lines
}

/// A line for each kind of right.
pub fn rights_lines(rights: &Rights) -> [(&'static str, String); 5] {
    Vocabulary::ALL.map(|kind| (kind.label(), kind.list(rights)))
}

/// When a grant ends.
pub fn end(grant: &Grant) -> String {
    end_as_json(grant).unwrap_or_else(|| "never".into())
}

/// Seconds since the epoch as a date, if there is such a date.
pub fn moment(seconds: u64) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    if seconds > LAST {
        return format!("{seconds} seconds after 1970");
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_end_that_a_signature_can_hold_is_shown() {
        for (seconds, expected) in [
            (1, "1970-01-01T00:00:01Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "253402300800 seconds after 1970"),
            (u64::MAX, "18446744073709551615 seconds after 1970"),
        ] {
            assert_eq!(moment(seconds), expected);
        }
    }
}
