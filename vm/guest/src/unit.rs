//! Units of systemd's, of this boot.

use crate::guest::Guest;
use crate::process::Output;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Where systemd takes units from that are of this boot.
pub const UNITS: &str = "/run/systemd/system";

/// A service, by its whole name, that ends with its test.
#[derive(Debug)]
pub struct Unit<'a> {
    guest: &'a Guest,
    name: String,
}

/// Writes a unit's file, for [`reload`] to be read.
pub fn write(name: &str, content: &str) -> Result<()> {
    let path = Path::new(UNITS).join(name);
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Has systemd read its files anew.
pub fn reload(guest: &Guest) -> Result<()> {
    guest
        .run(&["systemctl", "daemon-reload"])?
        .success()
        .map(drop)
}

impl<'a> Unit<'a> {
    /// A service that executes this, with these lines besides.
    pub fn service(guest: &'a Guest, name: &str, command: &str, more: &str) -> Result<Self> {
        let name = format!("{name}.service");
        write(&name, &format!("[Service]\nExecStart={command}\n{more}"))?;
        reload(guest)?;
        Ok(Self { guest, name })
    }

    /// Starts it, and says what became of that.
    pub fn start(&self) -> Result<Output> {
        self.guest.run(&["systemctl", "start", &self.name])
    }

    /// What `systemctl show` says of it.
    pub fn property(&self, property: &str) -> Result<String> {
        let words = ["systemctl", "show", "--value", "-p", property, &self.name];
        Ok(self.guest.run(&words)?.success()?.trim().to_owned())
    }

    /// The process that it executed, while it runs.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.property("MainPID")?.parse()?)
    }

    /// What it and systemd said of it in all its runs, by the journal.
    pub fn said(&self) -> Result<String> {
        self.guest
            .run(&["journalctl", "--sync"])?
            .success()
            .map(drop)?;
        self.guest
            .run(&["journalctl", "--no-pager", "-o", "cat", "-u", &self.name])?
            .success()
    }
}

impl Drop for Unit<'_> {
    fn drop(&mut self) {
        // One that has ended is as good; the next of its name starts as the first.
        let _ = self.guest.run(&["systemctl", "stop", &self.name]);
        let _ = self.guest.run(&["systemctl", "reset-failed", &self.name]);
    }
}
