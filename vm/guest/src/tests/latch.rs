//! What remains of a sealed guard whose links are gone: nobody calls `bpf()`.

use crate::fixture::{ACME, GOVERNOR, UNSIGNED, probe, sign};
use crate::guest::Guest;
use crate::policy::{CALL, status};
use crate::registry::{Group, RunsOn};
use crate::sealed;
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "latch",
    runs_on: RunsOn::Supported,
    setup: Some(sealed::seal),
    teardown: Some(end),
    tests: &[test!(without_its_gate_nobody_calls_bpf)],
};

/// The test has released it, if it came to that.
fn end(guest: &mut Guest) -> Result<()> {
    let output = guest.run(&["bpftrust", "release"])?;
    ensure!(output.status == 1, "it was still there: {output}");
    Ok(())
}

/// While a permit lasts, root ends the anchor and takes pins away, as somebody
/// might by a way that nobody knows: that of the gate, and that of the program that
/// keeps `kernel.ftrace_enabled`.
fn without_its_gate_nobody_calls_bpf(guest: &mut Guest) -> Result<()> {
    let signed = guest.copy(UNSIGNED, "signed")?;
    sign(guest, ACME, &signed)?;
    let call = |program: &Path| -> Result<String> { probe(program, CALL)?.success() };
    ensure!(call(&signed)? == "bpf 11: ok\n", "it is refused already");

    let permit = sealed::permit(guest, GOVERNOR, 900)?;
    sealed::use_permit(guest, &permit)?.success()?;
    let anchor = status(guest)?["seal"]["anchor"].to_string();
    guest.run(&["kill", "-9", &anchor])?.success()?;
    for name in ["bt_bpf", "bt_sysctl"] {
        let pin = Path::new("/sys/fs/bpf/bpftrust/hooks").join(name);
        fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    }
    // The kernel lets go of a link some time after its end.
    guest.wait_for("the end of the gate", Duration::from_secs(60), || {
        Ok((call(&signed)? == "bpf 11: EPERM\n").then_some(()))
    })?;
    ensure!(
        call(Path::new(UNSIGNED))? == "bpf 11: EPERM\n",
        "it is open"
    );
    ensure!(call(&signed)? == "bpf 11: EPERM\n", "it is open again");
    guest
        .shell("echo 0 >/proc/sys/kernel/ftrace_enabled")?
        .failure()?;

    guest.run(&["bpftrust", "release"])?.success()?;
    ensure!(
        call(Path::new(UNSIGNED))? == "bpf 11: ok\n",
        "it is shut still"
    );
    let left = guest.run(&["bpftool", "prog", "list"])?.success()?;
    ensure!(!left.contains(" bt_"), "{left}");
    Ok(())
}
