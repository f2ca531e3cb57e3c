//! `bpftrust release`.

use bpftrust_guard::Error;

use crate::cli::ReleaseArgs;
use crate::guard_advice::explain;
use crate::output::{Outcome, print};

pub fn run(_args: &ReleaseArgs) -> anyhow::Result<Outcome> {
    match bpftrust_guard::release() {
        Err(Error::NotEnforcing) => {
            print("bpftrust was not enforcing\n");
            return Ok(Outcome::No);
        }
        result => explain(result)?,
    }
    print("released: bpf() is open to every process that has the privilege\n");
    Ok(Outcome::Yes)
}
