//! `bpftrust permit`: lifting the seal for a time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bpftrust_guard::Status;
use bpftrust_signature::{Order, SignedOrder, Signer, sign_order};

use crate::cli::{PermitArgs, PermitMakeArgs, PermitUseArgs, PermitVerb};
use crate::guard_advice::explain;
use crate::input::read_regular;
use crate::output::{Outcome, escaped, print};
use crate::replace::replace;
use crate::signer::read_signer;

pub fn run(args: &PermitArgs) -> anyhow::Result<Outcome> {
    match &args.verb {
        PermitVerb::Make(args) => make(args),
        PermitVerb::Use(args) => hand_over(args),
    }
}

fn make(args: &PermitMakeArgs) -> anyhow::Result<Outcome> {
    let signer = read_signer(&args.key)?;
    let seconds = u64::from(args.minutes) * 60;
    let order = Order::Permit {
        nonce: args.nonce,
        until: args.boot_time.saturating_add(seconds),
    };
    let signed = sign_order(&signer, order)?;
    ensure!(
        signed.is_by(signer.certificate()),
        "the signature that was just made does not verify"
    );
    replace(&args.out, &signed.to_bytes())?;
    print(&format!(
        "{}: permit by key {}, good until {} minutes after second {} of that machine\n",
        escaped(&args.out),
        signed.key(),
        args.minutes,
        args.boot_time,
    ));
    Ok(Outcome::Yes)
}

fn hand_over(args: &PermitUseArgs) -> anyhow::Result<Outcome> {
    explain(bpftrust_guard::require_root())?;
    explain(bpftrust_guard::permit(&read(&args.file)?))?;
    let lifted = explain(Status::read())?
        .seal
        .and_then(|seal| Some(seal.lifted_until?.saturating_sub(seal.uptime)));
    let left = humantime::format_duration(Duration::from_secs(lifted.unwrap_or_default()));
    print(&format!("the seal is lifted for {left}\n"));
    Ok(Outcome::Yes)
}

fn read(path: &Path) -> anyhow::Result<SignedOrder> {
    let reading = || format!("reading permit {}", escaped(path));
    let order = SignedOrder::parse(&read_regular(path)?).with_context(reading)?;
    ensure!(
        matches!(order.order(), Order::Permit { .. }),
        "{}: it is the order to take a policy, and no permit",
        reading()
    );
    Ok(order)
}
