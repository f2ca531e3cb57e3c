//! Memory that is mapped and whose protection changes.

use crate::sys::{Pages, map_and_unmap};
use crate::{CHEAP, Driver, Place, Row, row};
use anyhow::{Context, Result};
use libc::{PROT_EXEC, PROT_READ, PROT_WRITE};
use std::fs::File;
use std::os::fd::AsFd;

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "mmap",
            CHEAP,
            |_| Driver::new(|| Ok(map_and_unmap(PROT_READ | PROT_WRITE, None)?)),
            "mmap and munmap of 64 KiB of anonymous memory",
        ),
        row(
            "mmap-file",
            CHEAP,
            |place| maps(place, PROT_READ),
            "the same of a file, to read",
        ),
        row(
            "mmap-code",
            CHEAP,
            |place| maps(place, PROT_READ | PROT_EXEC),
            "the same of a signed library's file, to execute",
        ),
        row(
            "mmap-code-trusted",
            CHEAP,
            |place| maps(place, PROT_READ | PROT_EXEC),
            "the same by a trusted process",
        )
        .by_trusted(),
        row(
            "mprotect",
            CHEAP,
            |_| protects(Pages::map(None)?, PROT_READ | PROT_WRITE),
            "mprotect of 64 KiB of anonymous memory, to write and back",
        ),
        row(
            "mprotect-code",
            CHEAP,
            |place| {
                let file = library(place)?;
                protects(Pages::map(Some(file.as_fd()))?, PROT_READ | PROT_EXEC)
            },
            "mprotect of a signed library's pages, to execute and back",
        ),
    ]
}

fn library(place: &Place) -> Result<File> {
    let path = place.path("libbench-signed-1.so");
    File::open(&path).with_context(|| format!("cannot open {}", path.display()))
}

fn maps(place: &Place, protection: i32) -> Result<Driver> {
    let file = library(place)?;
    Driver::new(move || Ok(map_and_unmap(protection, Some(file.as_fd()))?))
}

fn protects(pages: Pages, protection: i32) -> Result<Driver> {
    Driver::new(move || {
        pages.protect(protection)?;
        Ok(pages.protect(PROT_READ)?)
    })
}
