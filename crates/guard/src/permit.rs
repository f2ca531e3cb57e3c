//! Lifting the seal for a time.

use bpftrust_signature::SignedOrder;

use crate::gate::Gate;
use crate::{Error, Result, Status};

/// Hands a permit to the guard that runs; the seal is lifted until it ends.
///
/// # Errors
/// [`Error::NotRoot`], [`Error::NotEnforcing`],
/// [`Error::NotSealed`]; [`Error::Permit`] if the kernel side doesn't take it.
pub fn permit(order: &SignedOrder) -> Result<()> {
    crate::require_root()?;
    if Status::read()?.seal.is_none() {
        return Err(Error::NotSealed);
    }
    Gate::permit(&order.to_bytes()).map_err(|source| Error::Permit { source })
}
