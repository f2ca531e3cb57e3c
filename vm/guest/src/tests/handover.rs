//! How a policy is handed over: what is no policy, or from nobody who may bring
//! one, leaves the old one in force; and nothing is left behind.

use crate::fixture::{self, ACME, Events, GLOBEX, UNSIGNED, expect_refused, expect_trusted, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{self, CALL, Running, acme, apply, loader, publisher, status, try_apply};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "handover",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(release_without_a_trace),
    tests: &[
        test!(what_is_no_policy_leaves_the_old_one_in_force).within(180),
        test!(a_certificate_that_the_kernel_refuses_leaves_the_old_one_in_force).within(180),
        test!(the_kernel_side_takes_no_garbage).within(180),
        test!(a_policy_of_another_moment_is_refused).within(180),
        test!(a_table_that_is_wrong_in_the_middle_changes_nothing).within(180),
        test!(it_takes_a_capability_of_the_initial_user_namespace).within(180),
        test!(other_prctls_go_on).within(180),
        test!(policies_leave_nothing_behind).within(240),
    ],
};

/// `BT_PRCTL_POLICY` of `bpf/abi.h`.
const POLICY: &str = "1651536896";

/// `PR_GET_NAME`, `PR_GET_DUMPABLE`.
const OTHERS: &[&str] = &["16", "3"];

/// A loader that runs, to see whether something changed.
struct Witness {
    running: Running,
    number: u64,
    rings: usize,
}

impl Witness {
    fn new(guest: &mut Guest) -> Result<Self> {
        apply(guest, &acme(""))?;
        let program = loader(guest, "witness", ACME, &Grant::ALL.of("witness", 1))?;
        Ok(Self {
            running: Running::start(guest, &program, "bpf 11")?,
            number: policy_number(guest)?,
            rings: settled(guest)?,
        })
    }

    /// Requires that the policy is the same as before.
    fn expect_unchanged(&mut self, guest: &Guest) -> Result<()> {
        let number = policy_number(guest)?;
        ensure!(number == self.number, "policy number {number} is in force");
        self.running.expect_trusted(guest)?;
        expect_trusted(guest, &guest.path("witness"), CALL)?;
        self.expect_rings(guest)
    }

    fn expect_rings(&self, guest: &Guest) -> Result<()> {
        let mut last = String::new();
        guest
            .wait_for("as many keys as before", Duration::from_secs(20), || {
                last = keys()?;
                Ok((last.lines().count() == self.rings).then_some(()))
            })
            .with_context(|| format!("{} before, now: {last}", self.rings))
    }
}

fn policy_number(guest: &Guest) -> Result<u64> {
    status(guest)?["policy"].as_u64().context("no number")
}

/// The kernel's list of keys, as far as it is about ours.
fn keys() -> Result<String> {
    let keys = fs::read_to_string("/proc/keys").context("cannot read /proc/keys")?;
    Ok(keys
        .lines()
        .filter(|line| line.contains("bpftrust"))
        .map(|line| format!("{line}\n"))
        .collect())
}

/// How many there are once those of the policy before are gone: keys end some
/// time after they are let go. One policy with one key has a ring for all, one
/// for the key, and the key.
fn settled(guest: &Guest) -> Result<usize> {
    const OF_ONE_KEY: usize = 3;
    guest.wait_for("the keys of one policy", Duration::from_secs(20), || {
        let count = keys()?.lines().count();
        Ok((count == OF_ONE_KEY).then_some(count))
    })
}

fn what_is_no_policy_leaves_the_old_one_in_force(guest: &mut Guest) -> Result<()> {
    let mut witness = Witness::new(guest)?;
    for (policy, complaint) in [
        ("", "no publisher"),
        ("[publisher.acme\n", "policy.toml:2:"),
        (&*acme("colour = 1\n"), "unknown field"),
        (&format!("mode = \"audit\"\n{}", acme("")), "mode"),
        (
            &*acme("[ceiling]\nmaps = [\"hash\"]\n[publisher.acme.ceiling]\nmaps = [\"array\"]\n"),
            "never takes effect",
        ),
        (
            "[publisher.acme]\ncertificates = [\"/none.pem\"]\n",
            "No such file",
        ),
        (&*acme(&publisher("second", &[ACME])), "has the key"),
        (
            &*acme("[refused]\ndigests = [\"sha256:00\"]\n"),
            "not an fs-verity digest",
        ),
    ] {
        let output = try_apply(guest, policy)?;
        ensure!(output.status == 2, "{policy}: {output}");
        ensure!(output.stderr.contains(complaint), "{policy}: {output}");
        witness.expect_unchanged(guest).context(policy.to_owned())?;
    }
    let output = guest.run(&["bpftrust", "policy", "apply", "--audit"])?;
    ensure!(
        output.status == 2 && output.stderr.contains("mode"),
        "{output}"
    );
    witness.expect_unchanged(guest)
}

/// It signs itself, and wrongly: the kernel alone looks.
fn a_certificate_that_the_kernel_refuses_leaves_the_old_one_in_force(
    guest: &mut Guest,
) -> Result<()> {
    let mut witness = Witness::new(guest)?;
    guest
        .shell(&format!(
            "openssl x509 -in {} -outform DER -out c.der && size=$(stat -c %s c.der) && \
             head -c $((size - 3)) c.der > broken.der && printf '\\1\\2\\3' >> broken.der",
            ACME.certificate()
        ))?
        .success()?;
    let path = guest.path("broken.der");
    // The first key's ring is there when the second one's certificate fails.
    let policy = format!(
        "{}[publisher.zoo]\ncertificates = [{path:?}]\n",
        publisher("globex", &[GLOBEX])
    );
    let output = try_apply(guest, &policy)?;
    ensure!(output.status == 2, "{output}");
    ensure!(output.stderr.contains("certificate"), "{output}");
    witness.expect_unchanged(guest)
}

/// What the probe says that prctl() answers to these bytes.
fn bring(guest: &Guest, who: &str, bytes: &[u8]) -> Result<String> {
    let file = guest.write("bytes", bytes)?;
    let line = who.replace("PRCTL", &format!("prctl {POLICY} {}", file.display()));
    let said = fixture::probe(Path::new(UNSIGNED), &words(&line))?.success()?;
    let last = said.lines().last().context("it said nothing")?;
    let (_, answer) = last.split_once(": ").context("no answer")?;
    Ok(answer.to_owned())
}

/// `struct bt_policy` and these tables behind it.
struct Form {
    magic: u32,
    form: u16,
    /// And the requirements, behind.
    libraries: u16,
    generation: u64,
    counts: [u32; 3],
    audit: u32,
    tables: Vec<u8>,
}

impl Form {
    /// Of a policy without anything, which would be taken.
    fn empty(guest: &Guest) -> Result<Self> {
        Ok(Self {
            magic: 0x4c4f_5042,
            form: 2,
            libraries: 0,
            generation: policy_number(guest)? + 1,
            counts: [0; 3],
            audit: 0,
            tables: Vec::new(),
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [
            &self.magic.to_le_bytes()[..],
            &self.form.to_le_bytes(),
            &self.libraries.to_le_bytes(),
            &self.generation.to_le_bytes(),
        ]
        .concat();
        for count in self.counts {
            bytes.extend(count.to_le_bytes());
        }
        bytes.extend(self.audit.to_le_bytes());
        // Ceiling, default and serial.
        bytes.extend([0; 104]);
        bytes.extend(&self.tables);
        bytes
    }
}

const ROOT: &str = "PRCTL";

fn the_kernel_side_takes_no_garbage(guest: &mut Guest) -> Result<()> {
    let mut witness = Witness::new(guest)?;
    let form = || Form::empty(guest);
    let good = form()?.bytes();
    for (what, bytes, answer) in [
        ("nothing", Vec::new(), "EINVAL"),
        ("a byte", vec![0x42], "EINVAL"),
        ("a byte too few", good[..good.len() - 1].to_vec(), "EINVAL"),
        ("a byte more", [&good[..], &[0]].concat(), "EINVAL"),
        ("ones", vec![0xff; 4096], "EINVAL"),
        ("zeros", vec![0; 128], "EINVAL"),
        (
            "magic",
            Form {
                magic: 1,
                ..form()?
            }
            .bytes(),
            "EINVAL",
        ),
        ("form", Form { form: 1, ..form()? }.bytes(), "EINVAL"),
        (
            "libraries",
            Form {
                libraries: 3,
                ..form()?
            }
            .bytes(),
            "EINVAL",
        ),
        (
            "an unknown requirement",
            Form {
                libraries: 8 << 8,
                ..form()?
            }
            .bytes(),
            "EINVAL",
        ),
        (
            "a publisher with an unknown requirement",
            Form {
                counts: [1, 0, 0],
                tables: [&[0; 33][..], &[8], &[0; 54]].concat(),
                ..form()?
            }
            .bytes(),
            "EINVAL",
        ),
        (
            "audit",
            Form {
                audit: 1,
                ..form()?
            }
            .bytes(),
            "EINVAL",
        ),
        (
            "counts",
            Form {
                counts: [1; 3],
                ..form()?
            }
            .bytes(),
            "EINVAL",
        ),
        (
            "many",
            Form {
                counts: [4097, 0, 0],
                ..form()?
            }
            .bytes(),
            "E2BIG",
        ),
        (
            "many keys",
            Form {
                counts: [0, 4097, 0],
                ..form()?
            }
            .bytes(),
            "E2BIG",
        ),
        (
            "many rules",
            Form {
                counts: [0, 0, 131_073],
                ..form()?
            }
            .bytes(),
            "E2BIG",
        ),
        (
            "all",
            Form {
                counts: [u32::MAX; 3],
                ..form()?
            }
            .bytes(),
            "E2BIG",
        ),
    ] {
        let said = bring(guest, ROOT, &bytes)?;
        ensure!(said == answer, "{what}: {said}");
    }
    let nowhere = format!("prctl {POLICY} -");
    let said = fixture::probe(Path::new(UNSIGNED), &words(&nowhere))?.success()?;
    ensure!(said.ends_with(": EINVAL\n"), "{said}");
    witness.expect_unchanged(guest)
}

fn a_policy_of_another_moment_is_refused(guest: &mut Guest) -> Result<()> {
    let mut witness = Witness::new(guest)?;
    let next = Form::empty(guest)?;
    for generation in [0, 1, next.generation - 1, next.generation + 1, u64::MAX] {
        let form = Form {
            generation,
            ..Form::empty(guest)?
        };
        let said = bring(guest, ROOT, &form.bytes())?;
        ensure!(said == "ESTALE", "{generation}: {said}");
    }
    witness.expect_unchanged(guest)?;
    // That it was a policy but for the number; it trusts nobody.
    let said = bring(guest, ROOT, &next.bytes())?;
    ensure!(said == "EALREADY", "{said}");
    witness.running.expect_refused(guest, "unknown-key")?;
    expect_refused(guest, &guest.path("witness"), CALL, "unknown-key")?;
    apply(guest, &acme(""))?;
    expect_trusted(guest, &guest.path("witness"), CALL)
}

/// The same rule twice, behind many that are taken first.
fn a_table_that_is_wrong_in_the_middle_changes_nothing(guest: &mut Guest) -> Result<()> {
    const RULES: u32 = 50_000;
    let mut witness = Witness::new(guest)?;
    let mut tables = Vec::new();
    for number in (0..RULES).chain([7]) {
        let mut rule = [0; 48];
        rule[8..12].copy_from_slice(&number.to_le_bytes());
        tables.extend(rule);
    }
    // Were they left behind, there would soon be no room.
    for round in 0..8 {
        let form = Form {
            counts: [0, 0, RULES + 1],
            tables: tables.clone(),
            ..Form::empty(guest)?
        };
        let said = bring(guest, ROOT, &form.bytes())?;
        ensure!(said == "EINVAL", "round {round}: {said}");
    }
    witness.expect_unchanged(guest)?;
    apply(guest, &acme(""))?;
    witness.running.expect_trusted(guest)
}

fn it_takes_a_capability_of_the_initial_user_namespace(guest: &mut Guest) -> Result<()> {
    let mut witness = Witness::new(guest)?;
    let good = Form::empty(guest)?.bytes();
    for who in ["setuid 1000 PRCTL", "userns [ PRCTL ]"] {
        for bytes in [&good[..], &[0xff; 128], &[]] {
            let said = bring(guest, who, bytes)?;
            ensure!(said == "EPERM", "{who}: {said}");
        }
    }
    let file = guest.write("bytes", &good)?;
    let said = guest
        .run(&[
            "setpriv",
            "--bounding-set=-mac_admin",
            UNSIGNED,
            "prctl",
            POLICY,
            file.to_str().context("a path of ASCII")?,
        ])?
        .success()?;
    ensure!(said.ends_with(": EPERM\n"), "root without it: {said}");
    // Who changed his uid may not map it; who is executed with it may.
    let by_user = Program::new(UNSIGNED)
        .args(["userns", "[", "prctl", POLICY])
        .arg(&file)
        .arg("]")
        .by_user()
        .run()?
        .success()?;
    ensure!(by_user.ends_with(": EPERM\n"), "a user's root: {by_user}");
    let by_user = Program::new("bpftrust")
        .args(["policy", "apply"])
        .by_user()
        .run()?;
    ensure!(by_user.status == 2, "{by_user}");
    witness.expect_unchanged(guest)
}

fn other_prctls_go_on(guest: &mut Guest) -> Result<()> {
    guest.write("bytes", [0; 16])?;
    let mark = Events::mark(guest)?;
    for option in OTHERS {
        for who in ["", "setuid 1000 ", "userns [ "] {
            let end = if who.ends_with("[ ") { " ]" } else { "" };
            let line = format!("{who}prctl {option} bytes{end}");
            let said = fixture::probe(Path::new(UNSIGNED), &words(&line))?.success()?;
            ensure!(
                said.lines().last() == Some(&format!("prctl {option}: ok")),
                "{line}: {said}"
            );
        }
    }
    // What no kernel knows is still unknown, beside our own number, too.
    for option in ["1651536897", "1651536895", "12345678"] {
        let line = format!("prctl {option} bytes");
        let said = fixture::probe(Path::new(UNSIGNED), &words(&line))?.success()?;
        ensure!(said.ends_with(": EINVAL\n"), "{line}: {said}");
    }
    mark.expect_none(guest, &[("action", "policy")])
}

/// No keyring, and no entry of a table: it would be full before the end.
fn policies_leave_nothing_behind(guest: &mut Guest) -> Result<()> {
    let witness = Witness::new(guest)?;
    let mut large = acme("[refused]\ndigests-file = \"refused.txt\"\n");
    large += &publisher("globex", &[GLOBEX]);
    let mut digests = String::new();
    for number in 0..60_000 {
        writeln!(digests, "sha256:{number:064x}")?;
    }
    guest.write("refused.txt", digests)?;
    for round in 0..6 {
        apply(guest, &large).with_context(|| format!("round {round}"))?;
        apply(guest, &acme(""))?;
    }
    for _ in 0..10 {
        apply(guest, &acme(""))?;
    }
    witness.expect_rings(guest)?;
    let keys = status(guest)?["keys"].as_array().map(Vec::len);
    ensure!(keys == Some(1), "{keys:?}");
    Ok(())
}

/// A teardown, and a test: of all these policies nothing is left.
fn release_without_a_trace(guest: &mut Guest) -> Result<()> {
    fixture::release(guest)?;
    guest.wait_for("an end of all keys", Duration::from_secs(20), || {
        Ok(keys()?.is_empty().then_some(()))
    })
}
