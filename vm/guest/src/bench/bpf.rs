//! Commands of `bpf()`, as a trusted process asks for them.

use crate::{CHEAP, Driver, Place, Row, row, sys};
use anyhow::{Context, Result};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

/// What makes or loads something.
const MAKES: (u32, u32) = (1_000, 500);

type Attributes = [u8; 144];

pub fn rows() -> Vec<Row> {
    let rows = vec![
        row(
            "bpf-map-create",
            MAKES,
            |_| Driver::new(|| map().map(drop)),
            "BPF_MAP_CREATE of an array of 1, and close",
        ),
        row(
            "bpf-map-lookup",
            CHEAP,
            |_| on_map(1),
            "BPF_MAP_LOOKUP_ELEM",
        ),
        row(
            "bpf-map-update",
            CHEAP,
            |_| on_map(2),
            "BPF_MAP_UPDATE_ELEM",
        ),
        row(
            "bpf-map-next-key",
            CHEAP,
            |_| on_map(4),
            "BPF_MAP_GET_NEXT_KEY",
        ),
        row(
            "bpf-map-freeze",
            MAKES,
            freezes,
            "BPF_MAP_CREATE, BPF_MAP_FREEZE, and close",
        ),
        row(
            "bpf-prog-load",
            MAKES,
            |_| Driver::new(|| program().map(drop)),
            "BPF_PROG_LOAD of 2 instructions, and close",
        ),
        row("bpf-prog-test-run", CHEAP, tests, "BPF_PROG_TEST_RUN"),
        row(
            "bpf-btf-load",
            MAKES,
            loads_btf,
            "BPF_BTF_LOAD of one type, and close",
        ),
        row(
            "bpf-obj-pin",
            MAKES,
            pins,
            "BPF_OBJ_PIN of a map, and unlink",
        ),
        row(
            "bpf-obj-get",
            CHEAP,
            gets,
            "BPF_OBJ_GET of a map's pin, and close",
        ),
        row(
            "bpf-obj-info",
            CHEAP,
            informs,
            "BPF_OBJ_GET_INFO_BY_FD of a map",
        ),
        row(
            "bpf-prog-next-id",
            CHEAP,
            |_| next(11),
            "BPF_PROG_GET_NEXT_ID",
        ),
        row(
            "bpf-map-next-id",
            CHEAP,
            |_| next(12),
            "BPF_MAP_GET_NEXT_ID",
        ),
        row(
            "bpf-map-fd-by-id",
            CHEAP,
            by_id,
            "BPF_MAP_GET_FD_BY_ID of an own map, and close",
        ),
        row(
            "bpf-link-create",
            MAKES,
            attaches,
            "BPF_LINK_CREATE to a cgroup, and close",
        ),
        row(
            "bpf-prog-query",
            CHEAP,
            queries,
            "BPF_PROG_QUERY of a cgroup",
        ),
    ];
    rows.into_iter().map(Row::by_trusted).collect()
}

fn put4(attributes: &mut Attributes, at: usize, value: u32) {
    attributes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

fn put8(attributes: &mut Attributes, at: usize, value: u64) {
    attributes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
}

fn address<T>(of: &T) -> u64 {
    (&raw const *of) as u64
}

/// An array of one element of 8 bytes.
fn map() -> Result<OwnedFd> {
    let mut attributes = [0; 144];
    for (at, value) in [(0, 2), (4, 4), (8, 8), (12, 1)] {
        put4(&mut attributes, at, value);
    }
    sys::bpf_fd(0, &mut attributes[..72]).context("cannot make a map")
}

/// The program `r0 = 1; exit`, of type cgroup_skb: the one that a cgroup takes and that
/// runs without being attached.
fn program() -> Result<OwnedFd> {
    let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
    let license = c"GPL";
    let mut attributes = [0; 144];
    put4(&mut attributes, 0, 8);
    put4(&mut attributes, 4, 2);
    put8(&mut attributes, 8, instructions.as_ptr() as u64);
    put8(&mut attributes, 16, license.as_ptr() as u64);
    sys::bpf_fd(5, &mut attributes[..72]).context("cannot load a program")
}

/// A command on the one element of an array.
fn on_map(command: u32) -> Result<Driver> {
    let map = map()?;
    let (key, mut value) = (Box::new(u32::MAX * u32::from(command == 4)), Box::new(0u64));
    Driver::new(move || {
        let mut attributes = [0; 144];
        put4(&mut attributes, 0, map.as_raw_fd().cast_unsigned());
        put8(&mut attributes, 8, address(&*key));
        put8(&mut attributes, 16, (&raw mut *value) as u64);
        sys::bpf(command, &mut attributes[..32])?;
        Ok(())
    })
}

fn freezes(_: &Place) -> Result<Driver> {
    Driver::new(|| {
        let map = map()?;
        let mut attributes = [0; 144];
        put4(&mut attributes, 0, map.as_raw_fd().cast_unsigned());
        sys::bpf(22, &mut attributes[..4])?;
        Ok(())
    })
}

fn tests(_: &Place) -> Result<Driver> {
    let program = program()?;
    let packet = Box::new([0u8; 64]);
    Driver::new(move || {
        let mut attributes = [0; 144];
        put4(&mut attributes, 0, program.as_raw_fd().cast_unsigned());
        put4(&mut attributes, 8, 64);
        put8(&mut attributes, 16, address(&*packet));
        sys::bpf(10, &mut attributes[..80])?;
        Ok(())
    })
}

/// BTF with the type `int` alone (linux/btf.h).
fn btf() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xeb9fu16.to_ne_bytes());
    bytes.extend([1, 0]);
    for word in [24u32, 0, 16, 16, 5, 1, 0x0100_0000, 4, 0x0100_0020] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(b"\0int\0");
    bytes
}

fn loads_btf(_: &Place) -> Result<Driver> {
    let btf = btf();
    Driver::new(move || {
        let mut attributes = [0; 144];
        put8(&mut attributes, 0, btf.as_ptr() as u64);
        put4(&mut attributes, 16, u32::try_from(btf.len())?);
        sys::bpf_fd(18, &mut attributes[..28])?;
        Ok(())
    })
}

fn pin(map: &OwnedFd, path: &CString) -> Result<()> {
    let mut attributes = [0; 144];
    put8(&mut attributes, 0, path.as_ptr() as u64);
    put4(&mut attributes, 8, map.as_raw_fd().cast_unsigned());
    sys::bpf(6, &mut attributes[..16]).context("cannot pin a map")?;
    Ok(())
}

fn pins(_: &Place) -> Result<Driver> {
    let (map, path) = (map()?, CString::new("/sys/fs/bpf/bench-pinned")?);
    Driver::new(move || {
        pin(&map, &path)?;
        Ok(rustix::fs::unlink(&*path)?)
    })
}

fn gets(_: &Place) -> Result<Driver> {
    let path = CString::new(format!("/sys/fs/bpf/bench-{}", std::process::id()))?;
    pin(&map()?, &path)?;
    Driver::new(move || {
        let mut attributes = [0; 144];
        put8(&mut attributes, 0, path.as_ptr() as u64);
        sys::bpf_fd(7, &mut attributes[..16])?;
        Ok(())
    })
}

fn info(map: &OwnedFd, into: &mut [u8; 128]) -> Result<()> {
    let mut attributes = [0; 144];
    put4(&mut attributes, 0, map.as_raw_fd().cast_unsigned());
    put4(&mut attributes, 4, 128);
    put8(&mut attributes, 8, into.as_mut_ptr() as u64);
    sys::bpf(15, &mut attributes[..16]).context("cannot ask about a map")?;
    Ok(())
}

fn informs(_: &Place) -> Result<Driver> {
    let map = map()?;
    Driver::new(move || info(&map, &mut [0; 128]))
}

fn next(command: u32) -> Result<Driver> {
    // So that there is a next one, whatever else there is.
    let (map, program) = (map()?, program()?);
    Driver::new(move || {
        let _held = (&map, &program);
        sys::bpf(command, &mut [0; 12])?;
        Ok(())
    })
}

fn by_id(_: &Place) -> Result<Driver> {
    let map = map()?;
    let mut about = [0; 128];
    info(&map, &mut about)?;
    let id = u32::from_ne_bytes([about[4], about[5], about[6], about[7]]);
    Driver::new(move || {
        let _held = &map;
        let mut attributes = [0; 144];
        put4(&mut attributes, 0, id);
        sys::bpf_fd(14, &mut attributes[..12])?;
        Ok(())
    })
}

fn cgroup() -> Result<File> {
    let path = "/sys/fs/cgroup/bench";
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {path}"))?;
    File::open(path).with_context(|| format!("cannot open {path}"))
}

fn attaches(_: &Place) -> Result<Driver> {
    let (program, cgroup) = (program()?, cgroup()?);
    Driver::new(move || {
        let mut attributes = [0; 144];
        put4(&mut attributes, 0, program.as_raw_fd().cast_unsigned());
        put4(&mut attributes, 4, cgroup.as_raw_fd().cast_unsigned());
        sys::bpf_fd(28, &mut attributes[..16])?;
        Ok(())
    })
}

fn queries(_: &Place) -> Result<Driver> {
    let cgroup = cgroup()?;
    Driver::new(move || {
        let mut attributes = [0; 144];
        put4(&mut attributes, 0, cgroup.as_raw_fd().cast_unsigned());
        sys::bpf(16, &mut attributes[..64])?;
        Ok(())
    })
}
