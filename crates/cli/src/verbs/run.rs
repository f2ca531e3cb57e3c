//! `bpftrust run`: delegates to a loader what its signature allows, and becomes it.

use std::env;
use std::ffi::{CString, OsStr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow};
use bpftrust_guard::{GrantFile, Vocabulary};
use bpftrust_signature::Rights;
use bpftrust_token::{
    AttachTypes, BPFFS, Commands, Delegation, MapTypes, ProgramTypes, TOKEN_PATH_VARIABLE, User,
    enter,
};
use nix::unistd::{self, Uid, getgrouplist};

use crate::advice::{Advise, advised, quoted};
use crate::cli::RunArgs;
use crate::guard_advice::load_policy;
use crate::output::{Outcome, escaped};
use crate::verbs::explain::rights_of;

pub fn run(args: &RunArgs) -> anyhow::Result<Outcome> {
    let (name, arguments) = args.command.split_first().context("no loader is given")?;
    let loader = find(name)?;
    let rights = match &args.grant_from {
        Some(path) => GrantFile::load(path)?.rights,
        None => rights_of(&loader, load_policy(args.policy.as_deref())?)?,
    };
    require_token(&rights, &loader)?;
    let account = account(&args.user)?;
    let user = user(&account, args.as_root)?;

    if let Err(error) = enter(&user, &delegation(&rights)) {
        let missing = error.missing();
        let error = anyhow!(error).context(format!("confining {}", escaped(&loader)));
        return Err(match missing {
            Some(missing) => advised(error, missing),
            None => error,
        });
    }
    let failed = Command::new(&loader)
        .arg0(name)
        .args(arguments)
        .env("HOME", &account.dir)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name)
        .env(TOKEN_PATH_VARIABLE, BPFFS)
        .exec();
    Err(failed).with_context(|| format!("executing {}", escaped(&loader)))
}

/// What the kernel side asks of who makes a token (bpf/hooks_bpf.h).
fn require_token(rights: &Rights, loader: &Path) -> anyhow::Result<()> {
    let lacks = |kind: Vocabulary, name: &str| {
        let number = kind.number(name).expect("a word of ours");
        let held = match kind {
            Vocabulary::Commands => rights.commands.contains(number),
            _ => rights.abilities.contains(number),
        };
        (!held).then(|| format!("the {} '{name}'", kind.label()))
    };
    let lacking = lacks(Vocabulary::Commands, "token-create")
        .or_else(|| lacks(Vocabulary::Abilities, "delegate"));
    match lacking {
        Some(lacking) => Err(advised(
            anyhow!("{} may make no token: it lacks {lacking}", escaped(loader)),
            format!(
                "sign it with a grant that has both, and see 'bpftrust explain {}'",
                quoted(loader)
            ),
        )),
        None => Ok(()),
    }
}

/// Attach types above 63 have no place in a token; the kernel has none yet.
fn delegation(rights: &Rights) -> Delegation {
    let [commands] = rights.commands.words();
    let [programs] = rights.programs.words();
    let [maps] = rights.maps.words();
    let [attaches, _] = rights.attaches.words();
    Delegation {
        commands: Commands::from_bits_retain(commands),
        maps: MapTypes::from_bits_retain(maps),
        programs: ProgramTypes::from_bits_retain(programs),
        attaches: AttachTypes::from_bits_retain(attaches),
    }
}

/// As execvp(3) finds it: what is executed must be what was looked at.
fn find(name: &OsStr) -> anyhow::Result<PathBuf> {
    let path = Path::new(name);
    if path.components().count() != 1 {
        return Ok(path.to_owned());
    }
    env::var_os("PATH")
        .iter()
        .flat_map(env::split_paths)
        .map(|directory| directory.join(path))
        .find(|path| path.is_file())
        .with_context(|| format!("{} is in no directory of PATH", escaped(path)))
        .advise(|| "name it by its path".to_owned())
}

/// By name, or by number.
fn account(user: &str) -> anyhow::Result<unistd::User> {
    let by_name = unistd::User::from_name(user);
    let found = match (by_name, user.parse()) {
        (Ok(None), Ok(uid)) => unistd::User::from_uid(Uid::from_raw(uid)),
        (by_name, _) => by_name,
    };
    found
        .with_context(|| format!("looking for the user {user:?}"))?
        .with_context(|| format!("there is no user {user:?}"))
        .advise(|| "type 'getent passwd' to see which there are".to_owned())
}

fn user(account: &unistd::User, as_root: bool) -> anyhow::Result<User> {
    let name = CString::new(account.name.as_str()).context("the user's name")?;
    let groups = getgrouplist(&name, account.gid)
        .with_context(|| format!("looking for the groups of {}", account.name))?;
    Ok(User {
        uid: account.uid.as_raw(),
        gid: account.gid.as_raw(),
        groups: groups.into_iter().map(|group| group.as_raw()).collect(),
        as_root,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of a number in a set of one.
    macro_rules! name {
        ($set:ident, $number:expr) => {
            $set::of($number)
                .and_then(|set| set.iter_names().next())
                .map(|(name, _)| name.to_ascii_lowercase())
        };
    }

    /// What can be granted has the same name and number where it is delegated.
    #[test]
    fn grants_and_tokens_have_the_same_words() {
        for number in 0..64 {
            for (kind, name) in [
                (Vocabulary::Commands, name!(Commands, number)),
                (Vocabulary::Maps, name!(MapTypes, number)),
                (Vocabulary::Programs, name!(ProgramTypes, number)),
                (Vocabulary::Attaches, name!(AttachTypes, number)),
            ] {
                let granted = kind.name(number).map(|name| name.replace('-', "_"));
                assert_eq!(name, granted, "{} {number}", kind.label());
            }
        }
    }
}
