//! The grant file: what `sign` puts into a signature.
//!
//! ```toml
//! name = "execsnoop"
//! version = 3
//! not-after = 2027-01-01T00:00:00Z
//! commands = ["map_create", "prog_load"]   # or "all"; absent for none
//! programs = ["tracing"]
//! attaches = ["trace_fentry"]
//! maps = ["ringbuf"]
//! abilities = ["children"]
//! require = "token"                        # or a list; absent for nothing
//! ```
//!
//! Of a script also `parameters = true` and `unsafe = true`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bpftrust_signature::{Grant, Rights, ScriptRights};
use serde::Deserialize;
use toml::Spanned;
use toml::value::{Datetime, Offset};

use crate::Vocabulary;
use crate::rights_text::{List, ProgramsText, RightsText};
use crate::source::{NameText, RequireText, Source, TextError, VersionText};

/// No grant is larger, in bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// The ability that is worth something without any command.
const LAUNCH: &str = "launch-scripts";

/// A grant as it stands in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GrantFile {
    name: NameText,
    #[serde(default)]
    version: VersionText,
    not_after: Option<Spanned<Datetime>>,
    commands: Option<List>,
    programs: Option<ProgramsText>,
    attaches: Option<List>,
    maps: Option<List>,
    abilities: Option<List>,
    #[serde(default)]
    require: RequireText,
    #[serde(default)]
    parameters: bool,
    #[serde(default)]
    r#unsafe: bool,
}

impl GrantFile {
    /// Reads a grant that is to be signed now.
    ///
    /// # Errors
    /// [`TextError`], which says where: something unknown or impossible, no
    /// command at all, or an end that has passed.
    pub fn load(path: &Path) -> Result<Grant, TextError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        parse(&Source::read(path, MAX_SIZE)?, now)
    }
}

fn parse(source: &Source, now: u64) -> Result<Grant, TextError> {
    let file: GrantFile = source.parse()?;
    let text = RightsText {
        commands: file.commands,
        programs: file.programs,
        attaches: file.attaches,
        maps: file.maps,
        abilities: file.abilities,
    };
    let rights = text.rights(source, &Rights::NONE, &Rights::UNLIMITED)?;
    let launch = Vocabulary::Abilities.number(LAUNCH);
    let launches = launch.is_some_and(|launch| rights.abilities.contains(launch));
    if rights.commands.is_empty() && !launches {
        return Err(source.problem(
            0..0,
            "an empty grant: without any command it allows nothing",
        ));
    }
    let not_after = match &file.not_after {
        Some(text) => {
            let problem = |problem| source.problem(text.span(), problem);
            let end = seconds(text.get_ref()).map_err(problem)?;
            if end <= now {
                return Err(problem("not-after has passed already"));
            }
            end
        }
        None => 0,
    };
    let mut script = ScriptRights::empty();
    script.set(ScriptRights::PARAMETERS, file.parameters);
    script.set(ScriptRights::UNSAFE, file.r#unsafe);
    Ok(Grant {
        script,
        name: file.name.0,
        version: file.version.0,
        not_after,
        rights,
        requires: file.require.0 | text.requires(),
    })
}

/// Seconds since the epoch; of a date alone, those of its end in UTC. What is
/// before the epoch is 0.
fn seconds(moment: &Datetime) -> Result<u64, &'static str> {
    let date = moment.date.ok_or("a time without a date")?;
    let days = days_since_epoch(date.year.into(), date.month.into(), date.day.into());
    let second_of_day = match (moment.time, moment.offset) {
        (None, _) => 86_399,
        (Some(_), None) => return Err("a time without an offset: add Z for UTC"),
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes),
            };
            (i64::from(time.hour) * 60 + i64::from(time.minute) - minutes) * 60
                + i64::from(time.second.unwrap_or_default())
        }
    };
    Ok(u64::try_from(days * 86_400 + second_of_day).unwrap_or_default())
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_before_month = (153 * month + 2) / 5;
    year * 365 + leap_days + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe;
    use bpftrust_signature::Requirements;

    const NOW: u64 = 1_800_000_000; // 2027-01-15T08:00:00Z

    fn read(text: &str) -> Result<Grant, String> {
        let source = Source::new(Path::new("g"), text.into());
        parse(&source, NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_the_grant_holds() {
        let grant = read(
            "name = \"execsnoop\"\nversion = 3\nnot-after = 2027-02-01T00:00:00Z\n\
             commands = [\"map_create\", \"PROG-LOAD\", 63]\nprograms = [\"tracing\", 60]\n\
             attaches = [\"trace_fentry\", \"trace_fentry\"]\nabilities = \"all\"\n\
             require = \"token\"\n",
        )
        .unwrap();
        assert_eq!(grant.name.as_str(), "execsnoop");
        assert_eq!((grant.version, grant.not_after), (3, 1_801_440_000));
        assert_eq!(grant.requires, Requirements::TOKEN);
        assert_eq!(
            describe(&grant.rights),
            "programs tracing,60; attaches trace_fentry; maps none; \
             commands map-create,prog-load,63; abilities all"
        );
        let grant = read("name = \"a\"\ncommands = \"all\"\n").unwrap();
        assert_eq!((grant.version, grant.not_after), (0, 0));
        assert!(grant.requires.is_empty());
    }

    #[test]
    fn programs_may_have_to_be_signed_whatever_their_type() {
        let all = read("name = \"a\"\ncommands = \"all\"\nprograms = \"all\"\n").unwrap();
        for (text, requires) in [
            ("programs = \"signed\"", Requirements::SIGNED_PROGRAMS),
            ("programs = \"script\"", Requirements::SCRIPT),
            (
                "programs = \"script\"\nrequire = [\"token\", \"signed-programs\"]",
                Requirements::all(),
            ),
            ("programs = \"all\"\nrequire = []", Requirements::empty()),
        ] {
            let grant = read(&format!("name = \"a\"\ncommands = \"all\"\n{text}\n")).unwrap();
            assert_eq!(
                (grant.rights, grant.requires),
                (all.rights, requires),
                "{text}"
            );
        }
        for text in [
            "maps = \"signed\"",
            "programs = \"scripts\"",
            "require = [\"x\"]",
        ] {
            assert!(
                read(&format!("name = \"a\"\ncommands = \"all\"\n{text}\n")).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn ends_are_in_seconds() {
        for (text, expected) in [
            ("2027-01-15T08:00:01Z", NOW + 1),
            ("2027-01-15T10:30:01+02:30", NOW + 1),
            ("2027-01-15 03:00:01-05:00", NOW + 1),
            ("2027-01-15", NOW + 57_599),
            ("2100-03-01T00:00:00.9Z", 4_107_542_400),
            ("2400-02-29", 13_574_649_599),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            let grant = read(&format!(
                "name = \"a\"\ncommands = \"all\"\nnot-after = {text}\n"
            ));
            assert_eq!(grant.map(|grant| grant.not_after), Ok(expected), "{text}");
        }
        let epoch = "1970-01-02T00:00:01Z".parse().unwrap();
        assert_eq!(seconds(&epoch), Ok(86_401));
    }

    #[test]
    fn what_can_not_be_is_refused_where_it_stands() {
        for (line, expected) in [
            (
                "not-after = 2027-01-15T08:00:00Z",
                "3:13: not-after has passed",
            ),
            ("not-after = 0001-01-01", "3:13: not-after has passed"),
            (
                "not-after = 2027-02-01T00:00:00",
                "3:13: a time without an offset",
            ),
            ("not-after = 10:00:00", "3:13: a time without a date"),
            (
                "version = -1",
                "3:11: a version is 0 to 9223372036854775807, not -1",
            ),
            ("version = 9223372036854775808", "3:11: a version is 0 to"),
            (
                "programs = [\"kprobe\", \"tracng\"]",
                "3:23: unknown program type \"tracng\": did you mean \"tracing\"?",
            ),
            ("abilities = [\"zzz\"]", "3:14: unknown ability \"zzz\""),
            ("maps = [64]", "3:9: map type 64: numbers are 0 to 63"),
            (
                "attaches = [128]",
                "3:13: attach type 128: numbers are 0 to 127",
            ),
            ("maps = [-1]", "3:9: map type -1: numbers are 0 to 63"),
            (
                "maps = \"some\"",
                "3:8: invalid value: string \"some\", expected \"all\" or a list",
            ),
            (
                "maps = [true]",
                "3:9: invalid type: boolean `true`, expected a name or a number",
            ),
            (
                "colour = 1",
                "3:1: unknown field `colour`, expected one of `name`",
            ),
            (
                "require = \"tokens\"",
                "3:11: unknown variant `tokens`, expected one of `token`, `script`, `signed-programs`",
            ),
            ("name = \"b\"", "3:1: duplicate key"),
        ] {
            let text = format!("name = \"a\"\ncommands = \"all\"\n{line}\n");
            let error = read(&text).unwrap_err();
            assert!(
                error.starts_with(&format!("g:{expected}")),
                "{line}: {error}"
            );
        }
        for (text, expected) in [
            ("commands = \"all\"", "g:1:1: missing field `name`"),
            (
                "name = \"a b\"\ncommands = \"all\"",
                "g:1:8: \"a b\": a name has 1 to 31",
            ),
            ("name = \"a\"", "g:1:1: an empty grant"),
            ("name = \"a\"\ncommands = []", "g:1:1: an empty grant"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
