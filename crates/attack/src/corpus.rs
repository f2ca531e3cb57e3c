//! All attacks, in the order of the project's list.
//!
//! To add one: a row in the file that it belongs to. `bpftrust attack NUMBER`
//! must first say `baseline failed` or `held`; what can't be held goes into
//! [`crate::limits`], with its reason.

mod exec;
mod input;
mod object;
mod policy;
mod process;
mod program;
mod script;
mod signature;
mod token;

use crate::attack::Attack;

const PARTS: &[&[Attack]] = &[
    signature::ATTACKS,
    exec::ATTACKS,
    process::ATTACKS,
    object::ATTACKS,
    token::ATTACKS,
    program::ATTACKS,
    script::ATTACKS,
    policy::ATTACKS,
    input::ATTACKS,
];

fn all() -> impl Iterator<Item = &'static Attack> {
    PARTS.iter().flat_map(|part| part.iter())
}

/// Is it this attack, or one of this kind?
fn fits(attack: &Attack, wanted: &str) -> bool {
    attack.number == wanted
        || attack
            .number
            .split_once('.')
            .is_some_and(|(kind, _)| kind == wanted)
}

/// The attacks of these numbers, or all.
pub fn select(numbers: &[String]) -> Vec<&'static Attack> {
    let wanted =
        |attack: &&Attack| numbers.is_empty() || numbers.iter().any(|number| fits(attack, number));
    all().filter(wanted).collect()
}

/// A number that no attack has.
pub fn unknown(numbers: &[String]) -> Option<&String> {
    numbers
        .iter()
        .find(|number| !all().any(|attack| fits(attack, number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_of_one_attack_each() {
        let mut seen = BTreeSet::new();
        for attack in all() {
            assert!(seen.insert(attack.number), "{} twice", attack.number);
            let (kind, name) = attack.number.split_once('.').expect("KIND.NAME");
            let digits = kind.trim_end_matches('a');
            assert!(digits.parse::<u32>().is_ok() && !name.is_empty(), "{kind}");
        }
    }

    #[test]
    fn a_number_selects_its_kind_and_a_name_itself() {
        let select = |number: &str| select(&[number.to_owned()]).len();
        assert!(select("3") > 1);
        assert_eq!(select("3.memfd"), 1);
        assert_eq!(select("3.mem"), 0);
        // 1 is not 11.
        assert!(
            super::select(&["1".to_owned()])
                .iter()
                .all(|attack| attack.number.starts_with("1."))
        );
        assert_eq!(unknown(&["3".to_owned(), "x".to_owned()]).unwrap(), "x");
        assert_eq!(super::select(&[]).len(), all().count());
    }
}
