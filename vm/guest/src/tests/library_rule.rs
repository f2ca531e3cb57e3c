//! What a policy says of libraries: what it asks for, and whose count.

use crate::fixture::{self, ACME, Events, GLOBEX, STRANGER, probe, signed_probe, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{self, Running, image, loader, publisher};
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::tests::library::{
    enforce, expect_kept, expect_loss, name, signed, text, under, unsigned,
};
use anyhow::{Result, ensure};
use std::path::Path;

pub const GROUP: Group = Group {
    name: "library-rule",
    runs_on: RunsOn::Supported,
    setup: Some(enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_library_gives_no_more_than_its_publisher_may).within(180),
        test!(a_publisher_of_certain_loaders_signs_libraries_for_those).within(120),
        test!(the_libraries_of_a_key_that_goes_go_with_it).within(120),
        test!(more_keys_than_are_kept_cost_trust).within(120),
        test!(verity_asks_for_content_that_stays).within(120),
        test!(any_asks_for_nothing),
        test!(a_stricter_policy_reaches_what_is_mapped).within(180),
        test!(audit_names_each_file_and_takes_nothing).within(120),
    ],
};

fn a_library_gives_no_more_than_its_publisher_may(guest: &mut Guest) -> Result<()> {
    let ceiling = format!(
        "{}[publisher.globex.ceiling]\nmaps = [\"array\"]\n",
        publisher("globex", &[GLOBEX])
    );
    under(guest, "signed", &ceiling)?;
    let program = loader(guest, "probe", ACME, &Grant::ALL.of("probe", 0))?;
    let library = signed(guest, "lib.so", GLOBEX)?;
    let line = format!(
        "map hash map array dlopen {} map array map hash",
        library.display()
    );
    let mark = Events::mark(guest)?;
    let said = probe(&program, &words(&line))?.success()?;
    let answers: Vec<&str> = said
        .lines()
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    ensure!(answers == ["ok", "ok", "ok", "ok", "EPERM"], "{said}");
    let denied = mark.expect(guest, &[("outcome", "denied"), ("reason", "not-granted")])?;
    ensure!(
        denied["object"] == "map" && denied["name"] == "hash",
        "{denied:#}"
    );
    mark.expect_none(guest, &[("action", "taint")])?;
    // A fork has what its parent has, and another policy takes away no less.
    let line = format!("dlopen {} fork [ map hash ]", library.display());
    let said = probe(&program, &words(&line))?.success()?;
    ensure!(said.lines().last() == Some("map hash: EPERM"), "{said}");
    let open = format!("dlopen {}", library.display());
    let mut running = Running::start_with(guest, &program, &open, "map hash")?;
    ensure!(running.call(guest)? == "EPERM", "before");
    under(
        guest,
        "signed",
        &format!("{ceiling}[minimum-version]\nother = 1\n"),
    )?;
    ensure!(running.call(guest)? == "EPERM", "after");
    under(guest, "signed", &publisher("globex", &[GLOBEX]))?;
    ensure!(running.call(guest)? == "ok", "without a ceiling");
    Ok(())
}

fn a_publisher_of_certain_loaders_signs_libraries_for_those(guest: &mut Guest) -> Result<()> {
    let theirs = format!("{}loaders = [\"theirs\"]\n", publisher("globex", &[GLOBEX]));
    under(guest, "signed", &theirs)?;
    let library = signed(guest, "lib.so", GLOBEX)?;
    let open = format!("dlopen {}", library.display());
    let own = loader(guest, "theirs", GLOBEX, &Grant::ALL.of("theirs", 0))?;
    expect_kept(guest, &own, &open)?;
    let other = loader(guest, "other", ACME, &Grant::ALL.of("other", 0))?;
    expect_loss(guest, &other, &open, "not-granted", name(&library)?)
}

fn the_libraries_of_a_key_that_goes_go_with_it(guest: &mut Guest) -> Result<()> {
    let both = publisher("globex", &[GLOBEX]);
    let (first, second) = (
        signed_probe(guest, "first")?,
        signed_probe(guest, "second")?,
    );
    let library = signed(guest, "lib.so", GLOBEX)?;
    let open = format!("dlopen {}", library.display());
    let key = policy::key_of(&library)?;
    let refused = format!("{both}[refused]\nkeys = [{key:?}]\n");
    // It signs policies from then on, and no files any more.
    let orders = format!(
        "[policy-keys]\ncertificates = [{:?}]\n",
        GLOBEX.certificate()
    );
    for (then, reason) in [
        ("", "unknown-key"),
        (&*refused, "revoked"),
        (&*orders, "wrong-kind"),
    ] {
        under(guest, "signed", &both)?;
        let mut with = Running::start(guest, &first, &open)?;
        let mut without = Running::start(guest, &second, "")?;
        with.expect_trusted(guest)?;
        under(guest, "signed", then)?;
        with.expect_refused(guest, reason)?;
        without.expect_trusted(guest)?;
    }
    under(guest, "signed", &orders)?;
    expect_loss(guest, &first, &open, "unsigned-library", name(&library)?)
}

fn more_keys_than_are_kept_cost_trust(guest: &mut Guest) -> Result<()> {
    let mut more = String::new();
    let mut actions = Vec::new();
    // The probe's own libraries have one more.
    for number in 1..=4 {
        let directory = guest.path(&format!("key-{number}"));
        let out = name(&directory)?;
        guest
            .run(&[
                "bpftrust",
                "keygen",
                "--algorithm",
                "rsa-2048",
                "--out",
                out,
            ])?
            .success()?;
        let (key, certificate) = (format!("{out}/key.pem"), format!("{out}/certificate.pem"));
        more += &format!("[publisher.p{number}]\ncertificates = [{certificate:?}]\n");
        let library = unsigned(guest, &format!("lib-{number}.so"))?;
        let words = ["bpftrust", "sign", "--kind", "library", "--key", &key];
        guest
            .run(
                &[
                    &words[..],
                    &["--certificate", &certificate, name(&library)?],
                ]
                .concat(),
            )?
            .success()?;
        actions.push(format!("file-code {}", library.display()));
    }
    under(guest, "signed", &more)?;
    let program = signed_probe(guest, "probe")?;
    expect_kept(guest, &program, &actions[..3].join(" "))?;
    expect_loss(guest, &program, &actions.join(" "), "resources", "lib-4.so")
}

fn verity_asks_for_content_that_stays(guest: &mut Guest) -> Result<()> {
    under(guest, "verity", "")?;
    let program = signed_probe(guest, "probe")?;
    let library = unsigned(guest, "lib.so")?;
    let open = format!("dlopen {}", library.display());
    expect_loss(guest, &program, &open, "unsigned-library", name(&library)?)?;
    expect_loss(
        guest,
        &program,
        "memfd-code",
        "unsigned-library",
        "memfd:code",
    )?;
    guest
        .run(&["fsverity", "enable", name(&library)?])?
        .success()?;
    expect_kept(guest, &program, &open)?;
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(said.contains("libraries verity: "), "{said}");
    let stranger = signed(guest, "stranger.so", STRANGER)?;
    expect_kept(guest, &program, &format!("dlopen {}", stranger.display()))
}

fn any_asks_for_nothing(guest: &mut Guest) -> Result<()> {
    under(guest, "any", "")?;
    let program = signed_probe(guest, "probe")?;
    let library = unsigned(guest, "lib.so")?;
    expect_kept(
        guest,
        &program,
        &format!("dlopen {} memfd-code", library.display()),
    )?;
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(
        said.contains("libraries any: ") && said.contains("has the rights"),
        "{said}"
    );
    // So is the policy of the host's file.
    let said = guest.run(&["bpftrust", "check"])?.stdout;
    ensure!(
        said.contains("yellow  posture.libraries") && said.contains("any: "),
        "{said}"
    );
    Ok(())
}

fn a_stricter_policy_reaches_what_is_mapped(guest: &mut Guest) -> Result<()> {
    let unsigned_one = unsigned(guest, "unsigned.so")?;
    let frozen = unsigned(guest, "frozen.so")?;
    guest
        .run(&["fsverity", "enable", name(&frozen)?])?
        .success()?;
    let signed_one = signed(guest, "signed.so", ACME)?;
    under(guest, "any", "")?;
    let mut start = |program: &str, file: &Path| {
        let program = signed_probe(guest, program)?;
        Running::start(guest, &program, &format!("dlopen {}", file.display()))
    };
    let mut any = start("any", &unsigned_one)?;
    let mut verity = start("verity", &frozen)?;
    let mut strict = start("strict", &signed_one)?;
    for (running, libraries) in [(&any, "any"), (&verity, "verity"), (&strict, "signed")] {
        let image = image(guest, running.pid())?;
        ensure!(image["libraries"] == libraries, "{libraries}: {image:#}");
    }
    under(guest, "verity", "")?;
    any.expect_refused(guest, "unsigned-library")?;
    verity.expect_trusted(guest)?;
    strict.expect_trusted(guest)?;
    under(guest, "signed", "")?;
    verity.expect_refused(guest, "unsigned-library")?;
    strict.expect_trusted(guest)?;
    // What is lost stays lost.
    under(guest, "any", "")?;
    any.expect_refused(guest, "unsigned-library")?;
    verity.expect_refused(guest, "unsigned-library")?;
    strict.expect_trusted(guest)
}

fn audit_names_each_file_and_takes_nothing(guest: &mut Guest) -> Result<()> {
    let policy = guest.write("audit.toml", text("signed", ""))?;
    let (first, second) = (unsigned(guest, "first.so")?, unsigned(guest, "second.so")?);
    let program = signed_probe(guest, "probe")?;
    fixture::release(guest)?;
    let words_of = ["bpftrust", "enforce", "--audit", "--policy", name(&policy)?];
    guest.run(&words_of)?.success()?;
    let tried = (|| -> Result<()> {
        let mark = Events::mark(guest)?;
        let line = format!(
            "dlopen {} dlopen {} bpf 11",
            first.display(),
            second.display()
        );
        let said = probe(&program, &words(&line))?.success()?;
        ensure!(said.lines().last() == Some("bpf 11: ok"), "{said}");
        for file in [&first, &second] {
            let fields = [
                ("action", "taint"),
                ("outcome", "would-deny"),
                ("reason", "unsigned-library"),
                ("file", name(file)?),
            ];
            mark.expect(guest, &fields)?;
        }
        mark.expect(guest, &[("action", "bpf"), ("outcome", "allowed")])
            .map(drop)
    })();
    fixture::release(guest)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    tried
}
