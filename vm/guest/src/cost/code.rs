//! The code of a function of the kernel as it is in memory: static calls and static keys
//! are patched there, so the kernel's image does not show it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// No function of interest is longer.
const MOST: u64 = 1024;

/// Address and bytes of a function, and the names of what it calls and jumps to.
pub fn of(function: &str) -> Result<Value> {
    let symbols = symbols()?;
    let (start, _) = symbols
        .iter()
        .find(|(_, name)| *name == function)
        .with_context(|| format!("the kernel has no symbol {function}"))?;
    let end = symbols
        .range(start + 1..)
        .next()
        .map_or(start + MOST, |(end, _)| *end);
    let mut bytes = vec![0; usize::try_from((end - start).min(MOST))?];
    read(*start, &mut bytes)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({
        "function": function,
        "address": start,
        "bytes": hex,
        "targets": targets(*start, &bytes, &symbols),
    }))
}

fn symbols() -> Result<BTreeMap<u64, String>> {
    let text = fs::read_to_string("/proc/kallsyms").context("cannot read the kernel's symbols")?;
    let mut symbols = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next()) {
            let address = u64::from_str_radix(address, 16)?;
            symbols.entry(address).or_insert_with(|| name.to_owned());
        }
    }
    Ok(symbols)
}

/// Reads memory of the kernel by `/proc/kcore`, an ELF file (fs/proc/kcore.c).
fn read(address: u64, into: &mut [u8]) -> Result<()> {
    let file = File::open("/proc/kcore").context("cannot open the kernel's memory")?;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    let number = |bytes: &[u8], at: usize| {
        bytes[at..at + 8]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (table, count) = (number(&header, 32), number(&header, 56) & 0xffff);
    for segment in 0..count {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table + segment * 56)?;
        let (offset, from, size) = (number(&entry, 8), number(&entry, 16), number(&entry, 32));
        if address
            .checked_sub(from)
            .is_some_and(|distance| distance < size)
        {
            return file
                .read_exact_at(into, offset + (address - from))
                .context("cannot read the kernel's memory");
        }
    }
    anyhow::bail!("/proc/kcore does not have {address:#x}")
}

/// Whatever may be a call or a jump (`e8`, `e9` and 32 bits) to where a symbol is.
fn targets(start: u64, bytes: &[u8], symbols: &BTreeMap<u64, String>) -> Value {
    let mut targets = serde_json::Map::new();
    for (at, window) in bytes.windows(5).enumerate() {
        let distance = i32::from_le_bytes([window[1], window[2], window[3], window[4]]);
        let target = (start + at as u64 + 5).wrapping_add_signed(distance.into());
        if let (0xe8 | 0xe9, Some(name)) = (window[0], symbols.get(&target)) {
            targets.insert(format!("{target:x}"), json!(name));
        }
    }
    targets.into()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_call_to_a_symbol_is_a_target() {
        let symbols =
            BTreeMap::from([(0x1000, "caller".to_owned()), (0x1105, "called".to_owned())]);
        let bytes = [0xe8, 0x00, 0x01, 0x00, 0x00, 0xe9, 0x00, 0x00, 0x00, 0x00];
        assert_eq!(targets(0x1000, &bytes, &symbols), json!({"1105": "called"}));
    }
}
