//! The code of a function of the kernel, as text.

use anyhow::{Context, Result};
use bpftrust_vm::tool;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

/// What a guest said of it (`vm/guest/src/cost/code.rs`), disassembled: offset,
/// instruction, and the names of what it calls.
pub fn text(code: &Value) -> Result<String> {
    let start = code["address"].as_u64().context("no address")?;
    let bytes = bytes(code["bytes"].as_str().context("no bytes")?)?;
    let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    file.write_all(&bytes)
        .context("cannot write a temporary file")?;
    let said = tool::text(
        Command::new("objdump")
            .args(["-D", "-b", "binary", "-m", "i386:x86-64"])
            .args(["-M", "intel", "--no-show-raw-insn"])
            .arg(format!("--adjust-vma={start:#x}"))
            .arg(file.path()),
    )
    .context("cannot disassemble; install binutils")?;
    Ok(lines(&said, start, &code["targets"]))
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = hex.chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).context("not hexadecimal"))
        .collect()
}

/// Of objdump's lines those with an instruction, without what only fills up.
fn lines(said: &str, start: u64, targets: &Value) -> String {
    let mut text = String::new();
    for line in said.lines() {
        let Some((address, instruction)) = line.split_once(":\t") else {
            continue;
        };
        let Ok(address) = u64::from_str_radix(address.trim(), 16) else {
            continue;
        };
        let words: Vec<&str> = instruction.split_whitespace().collect();
        let first = words.first();
        if matches!(first, Some(&("nop" | "int3" | "cs" | "data16" | "xchg"))) {
            continue;
        }
        let words = words.iter().map(|word| {
            let target = word.strip_prefix("0x").unwrap_or(word);
            let name = targets[target].as_str().map(str::to_owned);
            let inside = || {
                let target = u64::from_str_radix(target, 16).ok()?;
                (target >= start && target - start < 4096).then(|| format!("+{:x}", target - start))
            };
            name.or_else(inside).unwrap_or_else(|| (*word).to_owned())
        });
        // Writing to a string cannot fail.
        let words: Vec<String> = words.collect();
        let _ = writeln!(text, "{:>4x}  {}", address - start, words.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn targets_are_named() {
        let said = "\n/tmp/x:     file format binary\n\nffffffff81000000:\tcall   0xffffffff81001000\n\
                    ffffffff81000005:\tjne    0xffffffff81000010\nffffffff81000007:\tnop    DWORD PTR [rax]\n";
        let targets = json!({"ffffffff81001000": "bpf_lsm_file_permission"});
        assert_eq!(
            lines(said, 0xffff_ffff_8100_0000, &targets),
            "   0  call bpf_lsm_file_permission\n   5  jne +10\n"
        );
    }

    #[test]
    fn bytes_are_read() {
        assert_eq!(bytes("90c3").unwrap(), [0x90, 0xc3]);
        assert!(bytes("9x").is_err());
    }
}
