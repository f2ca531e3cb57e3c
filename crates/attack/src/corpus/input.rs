//! 31: hostile input to bpftrust's own programs. Nothing is enforced by them, so
//! with enforcement off a program takes their place that does break down: it
//! shows that this would be noticed.

use crate::attack::Attack;
use crate::forge;
use crate::lab::{Lab, Output, PATIENCE, Said};
use crate::loaders::UNSIGNED;
use anyhow::{Context, Result};
use std::fs;

pub const ATTACKS: &[Attack] = &[
    Attack::own(
        "31.signature",
        "signatures of noise, of every size, to verify and inspect",
        signatures,
    ),
    Attack::own("31.policy", "policies that are none", policies),
    Attack::own(
        "31.terminal",
        "a file whose name moves the cursor",
        terminal,
    ),
];

/// Worked, if one of these broke down.
fn said(outputs: &[Output]) -> Said {
    let broken = outputs.iter().find(|output| output.broke_down());
    Said {
        worked: broken.is_some(),
        text: match broken {
            Some(output) => format!("it broke down: {:?} {}", output.status, output.stderr),
            None => format!("an answer to each of {}", outputs.len()),
        },
    }
}

fn control(lab: &Lab) -> Result<Said> {
    let mut command = lab.probe(UNSIGNED, "abort", None);
    Ok(said(&[lab.run(&mut command, PATIENCE)?]))
}

fn signatures(lab: &mut Lab) -> Result<Said> {
    if !lab.enforces() {
        return control(lab);
    }
    forge::random(lab)?;
    let file = lab.path("forged");
    let noise = forge::read(&file)?;
    let path = file.to_str().context("a path of ASCII")?;
    let mut outputs = Vec::new();
    for size in [0, 1, 23, 24, 31, 32, 200, noise.len()] {
        forge::write(&file, &noise[..size.min(noise.len())])?;
        outputs.push(lab.tool(&["inspect", path])?);
        outputs.push(lab.tool(&["verify", "--json", path])?);
    }
    Ok(said(&outputs))
}

fn policies(lab: &mut Lab) -> Result<Said> {
    if !lab.enforces() {
        return control(lab);
    }
    let place = lab.path("hostile.toml");
    let path = place.to_str().context("a path of ASCII")?;
    let mut outputs = Vec::new();
    for content in [
        Vec::new(),
        vec![0; 4096],
        vec![0xff; 4096],
        b"a = ".iter().copied().chain(vec![b'['; 200_000]).collect(),
        b"[publisher.a]\ncertificates = [\"/dev/zero\"]\n".to_vec(),
        b"mode = \"enforce\"\nmode = \"audit\"\n".to_vec(),
        b"[minimum-version]\na = 99999999999999999999999999\n".to_vec(),
    ] {
        fs::write(&place, content).context("writing a hostile policy")?;
        outputs.push(lab.tool(&["policy", "check", path])?);
    }
    Ok(said(&outputs))
}

/// Worked, if an escape reached the terminal.
fn terminal(lab: &mut Lab) -> Result<Said> {
    const NAME: &str = "\u{1b}[2J";
    let output = if lab.enforces() {
        let file = lab.path(NAME);
        fs::write(&file, "").context("making a file")?;
        let path = file.to_str().context("UTF-8")?;
        lab.tool(&["verify", path])?
    } else {
        let mut command = lab.probe(UNSIGNED, &format!("say {NAME}"), None);
        lab.run(&mut command, PATIENCE)?
    };
    let worked = (output.stdout + &output.stderr).contains('\u{1b}');
    let text = match worked {
        true => "an escape is printed as it is",
        false => "no escape is printed as it is",
    };
    Ok(Said {
        worked,
        text: text.to_owned(),
    })
}
