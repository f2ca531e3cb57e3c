//! What the kernel's verifier does to take each program of the kernel side.

use std::mem::{MaybeUninit, take};
use std::sync::{Mutex, PoisonError};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{PrintLevel, set_print};

use crate::Result;
use crate::enforce::kernel;
use crate::skeleton::GuardSkelBuilder;

/// `BPF_LOG_STATS` (`include/linux/bpf_verifier.h`): only the figures at the end.
const LOG_STATS: u32 = 4;

/// How the verifier got through one program
/// (`kernel/bpf/verifier.c:print_verification_stats`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The program's name.
    pub program: String,
    /// Instructions that it looked at, each as often as it did.
    pub instructions: u64,
    /// States that it kept to compare later ones with.
    pub states: u64,
}

impl Verified {
    /// Loads every program of the kernel side on this kernel, attaches none, and says
    /// what that took, by name. Not to be called while libbpf is in use elsewhere.
    ///
    /// # Errors
    /// [`Error::Kernel`](crate::Error::Kernel) if the kernel does not take one.
    pub fn all() -> Result<Vec<Self>> {
        let mut storage = MaybeUninit::uninit();
        let mut open = GuardSkelBuilder::default()
            .open(&mut storage)
            .map_err(kernel("open", "the kernel side's object"))?;
        for mut program in open.open_object_mut().progs_mut() {
            program.set_autoload(true);
            program.set_log_level(LOG_STATS);
        }
        take(&mut *said());
        let before = set_print(Some((PrintLevel::Debug, hear)));
        let loaded = open.load().map(drop);
        set_print(before);
        loaded.map_err(kernel("load", "the kernel side's programs"))?;
        let mut all: Vec<Self> = take(&mut *said())
            .iter()
            .filter_map(|text| Self::of(text))
            .collect();
        all.sort_by(|one, other| one.program.cmp(&other.program));
        Ok(all)
    }

    /// From what libbpf says of a program that was loaded: `prog 'NAME': -- BEGIN PROG
    /// LOAD LOG --`, then the log (`libbpf.c:bpf_object_load_prog`).
    fn of(text: &str) -> Option<Self> {
        let text = &text[text.find("prog '")? + "prog '".len()..];
        let (program, log) = text.split_once("': -- BEGIN PROG LOAD LOG --\n")?;
        let (_, figures) = log.rsplit_once("processed ")?;
        let mut words = figures.split_whitespace();
        let instructions = words.next()?.parse().ok()?;
        let states = words.skip_while(|word| *word != "total_states").nth(1)?;
        Some(Self {
            program: program.to_owned(),
            instructions,
            states: states.parse().ok()?,
        })
    }
}

/// What libbpf said; its callback has no other place for it.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn said() -> std::sync::MutexGuard<'static, Vec<String>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hear(_: PrintLevel, text: String) {
    said().push(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_last_line() {
        let text = "libbpf: prog 'bt_exec': -- BEGIN PROG LOAD LOG --\n\
                    verification time 15332 usec\nstack depth 152+48\n\
                    processed 9140 insns (limit 1000000) max_states_per_insn 6 \
                    total_states 512 peak_states 499 mark_read 30\n\
                    -- END PROG LOAD LOG --\n";
        let expected = Verified {
            program: "bt_exec".to_owned(),
            instructions: 9140,
            states: 512,
        };
        assert_eq!(Verified::of(text), Some(expected));
    }

    #[test]
    fn other_messages_are_not_about_programs() {
        for text in [
            "libbpf: loading object 'guard_bpf' from buffer\n",
            "libbpf: prog 'bt_exec': relo #0: no CO-RE relocs\n",
            "libbpf: prog 'bt_exec': -- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --\n",
        ] {
            assert_eq!(Verified::of(text), None, "{text}");
        }
    }
}
