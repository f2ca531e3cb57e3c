//! What `bpftrust attack` passes on. Its own command line says what users may
//! type; this one only has to be read.

use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Run,
    List,
}

/// `run|list [--json] [--bpftrust FILE] [--dir DIR] [NUMBER…]`
#[derive(Debug)]
pub struct Arguments {
    pub task: Task,
    pub json: bool,
    /// The tool that is put to the test.
    pub bpftrust: PathBuf,
    /// Where the lab is made.
    pub dir: PathBuf,
    /// Which attacks; all, if there are none.
    pub numbers: Vec<String>,
}

/// What follows the word `act`, if this run is to act and not to judge.
pub fn actions(words: &[String]) -> Option<&[String]> {
    match words {
        [act, rest @ ..] if act == "act" => Some(rest),
        _ => None,
    }
}

impl Arguments {
    pub fn parse(words: &[String]) -> Result<Self> {
        let (task, mut rest) = match words {
            [word, rest @ ..] if word == "run" => (Task::Run, rest),
            [word, rest @ ..] if word == "list" => (Task::List, rest),
            _ => bail!("this is a part of bpftrust; type `bpftrust attack`"),
        };
        let mut arguments = Self {
            task,
            json: false,
            bpftrust: "bpftrust".into(),
            dir: PathBuf::new(),
            numbers: Vec::new(),
        };
        while let [word, after @ ..] = rest {
            rest = after;
            let mut value = || {
                let (value, after) = rest
                    .split_first()
                    .with_context(|| format!("{word} what?"))?;
                rest = after;
                Ok::<_, anyhow::Error>(value)
            };
            match word.as_str() {
                "--json" => arguments.json = true,
                "--bpftrust" => arguments.bpftrust = value()?.into(),
                "--dir" => arguments.dir = value()?.into(),
                _ => arguments.numbers.push(word.clone()),
            }
        }
        ensure!(
            task == Task::List || arguments.dir.is_absolute(),
            "--dir: {} is no absolute path",
            arguments.dir.display()
        );
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_the_tool_passes_on_is_read() {
        let read = Arguments::parse(&words("run --json --dir /d --bpftrust /b 3 11.attach"));
        let read = read.unwrap();
        assert_eq!(read.task, Task::Run);
        assert!(read.json);
        assert_eq!(read.numbers, ["3", "11.attach"]);
        assert_eq!((read.dir, read.bpftrust), ("/d".into(), "/b".into()));
        for wrong in ["", "run --dir", "run --dir relative", "--json"] {
            assert!(Arguments::parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn to_act_is_asked_for_by_the_first_word() {
        assert_eq!(actions(&words("act bpf 11")).unwrap(), ["bpf", "11"]);
        assert!(actions(&words("run act")).is_none());
    }
}
