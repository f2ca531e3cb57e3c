//! What a policy makes of signatures: ceilings, default, names, versions,
//! refusals; and that the kernel's keyrings let in nobody else.

use crate::envelope::{self, Envelope};
use crate::fixture::{
    self, ACME, ACME_NEXT, Events, GLOBEX, STRANGER, expect_refused, expect_trusted, sign_as,
    signed_probe, words,
};
use crate::grant::{Grant, Right, allowed, refused};
use crate::guest::Guest;
use crate::policy::{
    self, CALL, acme, apply, expect_exec_refused, key_of, loader, own_probe, publisher,
};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::path::Path;

pub const GROUP: Group = Group {
    name: "policy",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(each_ceiling_and_the_grant_cut_on_their_own).within(180),
        test!(a_right_takes_all_three).within(120),
        test!(nothing_widens_a_grant).within(120),
        test!(the_default_decides_without_a_grant),
        test!(a_publisher_signs_the_names_that_are_his).within(120),
        test!(versions_below_the_minimum_are_too_old),
        test!(a_refused_digest_is_revoked),
        test!(a_refused_key_is_revoked),
        test!(a_refused_name_is_revoked),
        test!(a_key_that_nobody_has_is_refused_by_its_true_reason),
        test!(a_keyring_of_the_kernel_lets_in_no_stranger).within(180),
        test!(a_publisher_does_not_pass_as_another),
        test!(a_ceiling_is_its_own_publishers),
    ],
};

/// A right of each kind: what takes it, its event, and lists with and without.
struct Case {
    actions: &'static [&'static str],
    right: Right<'static>,
    field: &'static str,
    without: &'static str,
}

const fn case(
    actions: &'static [&'static str],
    object: &'static str,
    name: &'static str,
    field: &'static str,
    without: &'static str,
) -> Case {
    Case {
        actions,
        right: Right {
            object,
            name,
            action: "bpf",
        },
        field,
        without,
    }
}

const CASES: &[Case] = &[
    case(
        &["map array"],
        "command",
        "map_create",
        "commands",
        "prog_load",
    ),
    case(&["load kprobe"], "program", "kprobe", "programs", "xdp"),
    case(&["map hash"], "map", "hash", "maps", "array"),
    case(
        &["load kprobe", "link-create perf_event"],
        "attach",
        "perf_event",
        "attaches",
        "xdp",
    ),
    case(
        &["load kprobe send-signal"],
        "ability",
        "send-signal",
        "abilities",
        "children",
    ),
];

impl Case {
    /// The list that cuts it, as a line of TOML.
    fn cut(&self) -> String {
        format!("{} = {:?}\n", self.field, [self.without])
    }

    /// A grant of all else.
    fn grant(&self) -> Grant<'static> {
        let mut grant = Grant::ALL;
        let list = match self.field {
            "commands" => &mut grant.commands,
            "programs" => &mut grant.programs,
            "maps" => &mut grant.maps,
            "attaches" => &mut grant.attaches,
            _ => &mut grant.abilities,
        };
        *list = self.without;
        grant
    }
}

/// No limit: what is cut is cut by nobody else.
const DEFAULT_ALL: &str = "[default]\ncommands = \"all\"\nprograms = \"all\"\n\
     attaches = \"all\"\nmaps = \"all\"\nabilities = \"all\"\n";

fn each_ceiling_and_the_grant_cut_on_their_own(guest: &mut Guest) -> Result<()> {
    for case in CASES {
        let check = || -> Result<()> {
            apply(guest, &acme(""))?;
            allowed(guest, case.actions, Grant::ALL)?;
            refused(guest, case.actions, case.right, case.grant()).context("grant")?;
            apply(guest, &acme(&format!("[ceiling]\n{}", case.cut())))?;
            refused(guest, case.actions, case.right, Grant::ALL).context("policy")?;
            let ceiling = format!("[publisher.acme.ceiling]\n{}", case.cut());
            apply(guest, &acme(&ceiling))?;
            refused(guest, case.actions, case.right, Grant::ALL).context("publisher")?;
            apply(guest, &acme(""))?;
            allowed(guest, case.actions, Grant::ALL)
        };
        check().context(case.field)?;
    }
    Ok(())
}

fn a_right_takes_all_three(guest: &mut Guest) -> Result<()> {
    apply(
        guest,
        &acme(
            "[publisher.acme.ceiling]\nmaps = [\"hash\", \"array\", \"queue\"]\n\
             [ceiling]\nmaps = [\"hash\", \"array\", \"queue\", \"stack\"]\n",
        ),
    )?;
    let grant = Grant {
        maps: "hash queue ringbuf stack",
        ..Grant::ALL
    };
    for (name, is_left) in [
        ("hash", true),
        ("queue", true),
        ("array", false),
        ("stack", false),
        ("ringbuf", false),
        ("lru_hash", false),
    ] {
        let action = format!("map {name}");
        let right = Right {
            object: "map",
            name,
            action: "bpf",
        };
        if is_left {
            allowed(guest, &[&action], grant)?;
        } else {
            refused(guest, &[&action], right, grant)?;
        }
    }
    Ok(())
}

/// Neither a default nor a ceiling that says more.
fn nothing_widens_a_grant(guest: &mut Guest) -> Result<()> {
    let ceilings = "[ceiling]\nmaps = \"all\"\n[publisher.acme.ceiling]\nmaps = \"all\"\n";
    for more in ["", DEFAULT_ALL, ceilings] {
        apply(guest, &acme(more))?;
        for case in CASES {
            refused(guest, case.actions, case.right, case.grant())
                .with_context(|| format!("{} under {more:?}", case.field))?;
        }
    }
    Ok(())
}

fn the_default_decides_without_a_grant(guest: &mut Guest) -> Result<()> {
    const DEFAULT: &str = "[default]\ncommands = [\"map_create\", \"prog_get_next_id\"]\n\
         maps = [\"hash\", \"array\"]\n";
    let stated = signed_probe(guest, "stated")?;
    let bare = guest.copy(fixture::UNSIGNED, "bare")?;
    sign_as(guest, ACME, &bare, &["--bare"])?;
    let expect = |policy: &str, wanted: &str| -> Result<()> {
        apply(guest, &format!("{}bare = \"loader\"\n{policy}", acme("")))?;
        for program in [&stated, &bare] {
            let mark = Events::mark(guest)?;
            let actions = words("map hash map array map queue load kprobe bpf 11");
            let said = fixture::probe(program, &actions)?.success()?;
            ensure!(said == wanted, "{}: {said}", program.display());
            let queue = [("reason", "not-granted"), ("name", "queue")];
            ensure!(mark.expect(guest, &queue).is_ok() == said.contains("queue: EPERM"));
        }
        Ok(())
    };
    let all = "map hash: ok\nmap array: ok\nmap queue: ok\nload kprobe: ok\nbpf 11: ok\n";
    expect("", all)?;
    expect(
        DEFAULT,
        "map hash: ok\nmap array: ok\nmap queue: EPERM\nload kprobe: EPERM\nbpf 11: ok\n",
    )?;
    // It is not above the ceilings.
    expect(
        &format!("[publisher.acme.ceiling]\nmaps = [\"array\"]\n{DEFAULT}"),
        "map hash: EPERM\nmap array: ok\nmap queue: EPERM\nload kprobe: EPERM\nbpf 11: ok\n",
    )
    .or_else(|error| {
        // A default that names what its publisher's ceiling excludes may be an error.
        let said = format!("{error:#}");
        if said.contains("never takes effect") {
            return Ok(());
        }
        Err(error)
    })?;
    expect("", all)
}

fn a_publisher_signs_the_names_that_are_his(guest: &mut Guest) -> Result<()> {
    let named = loader(guest, "named", ACME, &Grant::ALL.of("probe", 0))?;
    let other = loader(guest, "other", ACME, &Grant::ALL.of("probe2", 0))?;
    let foreign = loader(guest, "foreign", GLOBEX, &Grant::ALL.of("probe", 0))?;
    let nameless = signed_probe(guest, "nameless")?;
    let bare = own_probe(guest, "bare")?;
    sign_as(guest, ACME, &bare, &["--bare"])?;
    let all = [&named, &other, &foreign, &nameless, &bare];
    let apply_with = |loaders: &str| {
        let policy = format!(
            "{}bare = \"loader\"\n{loaders}{}",
            acme(""),
            publisher("globex", &[GLOBEX])
        );
        apply(guest, &policy)
    };
    apply_with("")?;
    for program in all {
        expect_trusted(guest, program, CALL)?;
    }
    apply_with("loaders = [\"probe\", \"prob\"]\n")?;
    expect_trusted(guest, &named, CALL)?;
    // One publisher's names are not the other's.
    expect_trusted(guest, &foreign, CALL)?;
    for program in [&other, &nameless, &bare] {
        expect_exec_refused(guest, program, "not-granted")?;
    }
    apply_with("loaders = [\"probe2\"]\n")?;
    expect_trusted(guest, &other, CALL)?;
    for program in [&named, &nameless, &bare] {
        expect_exec_refused(guest, program, "not-granted")?;
    }
    apply_with("")?;
    for program in all {
        expect_trusted(guest, program, CALL)?;
    }
    Ok(())
}

fn versions_below_the_minimum_are_too_old(guest: &mut Guest) -> Result<()> {
    let old = loader(guest, "old", ACME, &Grant::ALL.of("probe", 2))?;
    let new = loader(guest, "new", ACME, &Grant::ALL.of("probe", 3))?;
    let other = loader(guest, "other", ACME, &Grant::ALL.of("other", 0))?;
    apply(guest, &acme("[minimum-version]\nprobe = 3\nnobody = 9\n"))?;
    expect_exec_refused(guest, &old, "too-old")?;
    expect_trusted(guest, &new, CALL)?;
    expect_trusted(guest, &other, CALL)?;
    apply(guest, &acme("[minimum-version]\nprobe = 4\n"))?;
    expect_exec_refused(guest, &new, "too-old")?;
    apply(guest, &acme(""))?;
    for program in [&old, &new, &other] {
        expect_trusted(guest, program, CALL)?;
    }
    Ok(())
}

/// Two loaders, of which the rule refuses the first.
fn expect_revoked(guest: &Guest, first: &Path, second: &Path, rule: &str) -> Result<()> {
    let both = publisher("acme", &[ACME, ACME_NEXT]);
    apply(guest, &both)?;
    expect_trusted(guest, first, CALL)?;
    expect_trusted(guest, second, CALL)?;
    apply(guest, &format!("{both}[refused]\n{rule}\n"))?;
    expect_exec_refused(guest, first, "revoked")?;
    expect_trusted(guest, second, CALL)?;
    apply(guest, &both)?;
    expect_trusted(guest, first, CALL)
}

fn a_refused_digest_is_revoked(guest: &mut Guest) -> Result<()> {
    let first = own_probe(guest, "first")?;
    fixture::sign(guest, ACME, &first)?;
    let second = own_probe(guest, "second")?;
    fixture::sign(guest, ACME, &second)?;
    let digest = policy::digest(guest, &first)?;
    expect_revoked(guest, &first, &second, &format!("digests = [{digest:?}]"))?;
    // Whoever signs it, and with whatever grant.
    fixture::sign_with_grant(guest, ACME_NEXT, &first, &Grant::ALL.of("new", 9))?;
    guest.write("refused.txt", format!("# of today\n{digest}\n"))?;
    expect_revoked(guest, &first, &second, "digests-file = \"refused.txt\"")
}

fn a_refused_key_is_revoked(guest: &mut Guest) -> Result<()> {
    let first = loader(guest, "first", ACME, &Grant::ALL.to_toml())?;
    let second = loader(guest, "second", ACME_NEXT, &Grant::ALL.to_toml())?;
    let rule = format!("keys = [{:?}]", key_of(&first)?);
    expect_revoked(guest, &first, &second, &rule)?;
    // Nor under the name of another key.
    let own = Envelope::of(&first)?;
    let lie = Envelope {
        key: Envelope::of(&second)?.key,
        ..own.clone()
    };
    let both = publisher("acme", &[ACME, ACME_NEXT]);
    apply(guest, &format!("{both}[refused]\n{rule}\n"))?;
    envelope::write(&first, &lie.bytes())?;
    expect_exec_refused(guest, &first, "unknown-key")?;
    envelope::write(&first, &own.bytes())?;
    expect_exec_refused(guest, &first, "revoked")?;
    apply(guest, &both)?;
    expect_trusted(guest, &first, CALL)
}

fn a_refused_name_is_revoked(guest: &mut Guest) -> Result<()> {
    let first = loader(guest, "first", ACME, &Grant::ALL.of("evil", 9))?;
    let second = loader(guest, "second", ACME, &Grant::ALL.of("evil2", 0))?;
    expect_revoked(guest, &first, &second, "names = [\"evil\", \"evi\"]")?;
    // A minimum of the same name does not say less.
    apply(
        guest,
        &acme("[refused]\nnames = [\"evil\"]\n[minimum-version]\nevil = 1\n"),
    )?;
    expect_exec_refused(guest, &first, "revoked")
}

fn a_key_that_nobody_has_is_refused_by_its_true_reason(guest: &mut Guest) -> Result<()> {
    let theirs = guest.copy(fixture::UNSIGNED, "theirs")?;
    fixture::sign(guest, STRANGER, &theirs)?;
    let ours = signed_probe(guest, "ours")?;
    let rule = format!("[refused]\nkeys = [{:?}]\n", key_of(&theirs)?);
    for (policy, reason) in [
        (acme(""), "unknown-key"),
        (acme(&rule), "revoked"),
        (acme(""), "unknown-key"),
    ] {
        apply(guest, &policy)?;
        expect_exec_refused(guest, &theirs, reason)?;
        expect_trusted(guest, &ours, CALL)?;
    }
    Ok(())
}

/// Nor does anybody under the number that stands for such a keyring.
fn a_keyring_of_the_kernel_lets_in_no_stranger(guest: &mut Guest) -> Result<()> {
    let theirs = guest.copy(fixture::UNSIGNED, "theirs")?;
    fixture::sign(guest, STRANGER, &theirs)?;
    let ours = signed_probe(guest, "ours")?;
    let (of_theirs, of_ours) = (Envelope::of(&theirs)?, Envelope::of(&ours)?);
    let pretend = |file: &Path, own: &Envelope, number: u8| -> Result<()> {
        let key = [number, 0, 0, 0, 0, 0, 0, 0];
        let lie = Envelope { key, ..own.clone() };
        Ok(envelope::write(file, &lie.bytes())?)
    };
    for keyring in ["builtin", "secondary", "platform"] {
        let vendor = format!("[publisher.vendor]\nkeyring = {keyring:?}\nbare = \"loader\"\n");
        apply(guest, &acme(&vendor))?;
        expect_trusted(guest, &ours, CALL)?;
        expect_exec_refused(guest, &theirs, "unknown-key").context(keyring)?;
        for number in 0..=4 {
            pretend(&theirs, &of_theirs, number)?;
            expect_exec_refused(guest, &theirs, "unknown-key")
                .with_context(|| format!("{keyring}, asked for {number}"))?;
            // Whose key the policy names is known by its hint alone.
            pretend(&ours, &of_ours, number)?;
            expect_exec_refused(guest, &ours, "unknown-key")?;
        }
        envelope::write(&theirs, &of_theirs.bytes())?;
        envelope::write(&ours, &of_ours.bytes())?;
        expect_trusted(guest, &ours, CALL)?;
    }
    Ok(())
}

fn two_publishers(more: &str) -> String {
    acme(&format!("{}{more}", publisher("globex", &[GLOBEX])))
}

fn a_publisher_does_not_pass_as_another(guest: &mut Guest) -> Result<()> {
    apply(guest, &two_publishers(""))?;
    let ours = loader(guest, "ours", ACME, &Grant::ALL.to_toml())?;
    let theirs = loader(guest, "theirs", GLOBEX, &Grant::ALL.to_toml())?;
    for (file, other) in [(&ours, &theirs), (&theirs, &ours)] {
        expect_trusted(guest, file, CALL)?;
        let own = Envelope::of(file)?;
        let lie = Envelope {
            key: Envelope::of(other)?.key,
            ..own.clone()
        };
        envelope::write(file, &lie.bytes())?;
        expect_exec_refused(guest, file, "unknown-key")?;
        envelope::write(file, &own.bytes())?;
        expect_trusted(guest, file, CALL)?;
    }
    Ok(())
}

fn a_ceiling_is_its_own_publishers(guest: &mut Guest) -> Result<()> {
    let ours = loader(guest, "ours", ACME, &Grant::ALL.of("probe", 0))?;
    let theirs = loader(guest, "theirs", GLOBEX, &Grant::ALL.of("probe", 0))?;
    let ceiling = "[publisher.globex.ceiling]\nmaps = [\"array\"]\n";
    apply(guest, &two_publishers(ceiling))?;
    let expect = |file: &Path, wanted: &str| -> Result<()> {
        let said = fixture::probe(file, &words("map array map hash bpf 11"))?.success()?;
        ensure!(said == wanted, "{}: {said}", file.display());
        Ok(())
    };
    const ALL: &str = "map array: ok\nmap hash: ok\nbpf 11: ok\n";
    expect(&ours, ALL)?;
    let mark = Events::mark(guest)?;
    expect(&theirs, "map array: ok\nmap hash: EPERM\nbpf 11: ok\n")?;
    mark.expect(
        guest,
        &[
            ("reason", "not-granted"),
            ("object", "map"),
            ("name", "hash"),
            ("publisher", "globex"),
        ],
    )?;
    // The other's hint does not lend his ceiling.
    let own = Envelope::of(&theirs)?;
    let lie = Envelope {
        key: Envelope::of(&ours)?.key,
        ..own.clone()
    };
    envelope::write(&theirs, &lie.bytes())?;
    expect_refused(guest, &theirs, CALL, "unknown-key")?;
    envelope::write(&theirs, &own.bytes())?;
    apply(guest, &two_publishers(""))?;
    expect(&theirs, ALL)
}
