//! What the corpus can't be expected to find held, and what it does not try.
//!
//! SECURITY.md has the same rows; a test compares them. A row goes when what it
//! says does not hold any more: then the attack must be refused, or the run says
//! `OPEN`.

/// An attack that this version does not refuse.
#[derive(Debug)]
pub struct Limit {
    pub number: &'static str,
    pub why: &'static str,
}

const fn limit(number: &'static str, why: &'static str) -> Limit {
    Limit { number, why }
}

const LIBRARIES: &str = "the corpus's own policy says libraries = \"any\", for not every test \
                         machine's libraries can have fs-verity; see the guest tests `library`";

/// All of them, in the corpus's order.
pub const LIMITS: &[Limit] = &[
    limit("10.replaced", LIBRARIES),
    limit("10.dlopen", LIBRARIES),
    limit(
        "11.madvise",
        "the kernel asks for no more than reading takes; such advice changes no memory",
    ),
    limit("12.memfd", LIBRARIES),
    limit(
        "18.xdp-off",
        "who has the capability takes XDP off by netlink",
    ),
];

/// Why this attack is not expected to be refused.
pub fn of(number: &str) -> Option<&'static str> {
    let limit = LIMITS.iter().find(|limit| limit.number == number)?;
    Some(limit.why)
}

/// What nothing here tries.
#[derive(Debug)]
pub struct Untried {
    pub number: &'static str,
    pub what: &'static str,
    pub why: &'static str,
}

/// By the numbers of the project's list.
pub const UNTRIED: &[Untried] = &[
    Untried {
        number: "26",
        what: "memory and tables used up",
        why: "it would take the machine with it",
    },
    Untried {
        number: "30",
        what: "modules, kexec, /dev/mem, the boot",
        why: "outside what BPF can hold; `bpftrust check` reports the host's posture",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn every_limit_is_of_an_attack() {
        for limit in LIMITS {
            let number = [limit.number.to_owned()];
            assert_eq!(corpus::unknown(&number), None);
        }
    }

    /// The rows of the table below that heading.
    fn rows(text: &str, heading: &str) -> BTreeSet<(String, String)> {
        let (_, part) = text.split_once(heading).expect(heading);
        let table = part.lines().skip_while(|line| !line.starts_with('|'));
        table
            .take_while(|line| line.starts_with('|'))
            .skip(2)
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                (cells[1].to_owned(), cells[2].to_owned())
            })
            .collect()
    }

    #[test]
    fn security_md_has_the_same_rows() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../SECURITY.md");
        let text = fs::read_to_string(path).expect(path);
        let limits = LIMITS.iter().map(|row| (row.number, row.why.to_owned()));
        let untried = UNTRIED
            .iter()
            .map(|row| (row.number, format!("not tried: {}; {}", row.what, row.why)));
        let expected: BTreeSet<_> = limits
            .chain(untried)
            .map(|(number, why)| (number.to_owned(), why))
            .collect();
        assert_eq!(rows(&text, "### What the corpus leaves open"), expected);
    }
}
