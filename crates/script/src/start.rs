//! The command line and the environment of a loader that is started on a script.

use std::ffi::{OsStr, OsString};
use std::fmt;

use crate::Granted;

/// The xattr that has a script's signature, and the most that it may hold, in bytes.
pub const XATTR: &str = "user.bpftrust";
/// See [`XATTR`].
pub const XATTR_MAX: usize = 4096;

/// Where loaders are looked for, in this order.
pub const DIRECTORIES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// What is passed on of the environment: where libbpf finds a bpffs that delegates. The
/// kernel side judges each use of a token.
pub const TOKEN_VARIABLE: &str = "LIBBPF_BPF_TOKEN_PATH";

/// The whole environment besides.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LC_ALL", "C.UTF-8"),
];

/// Parameters for a script whose grant allows none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its signature grants it no parameters")
    }
}

impl std::error::Error for Refused {}

/// A loader's words, its own name first: it reads the script from standard input, and
/// whatever the parameters look like, none is an option.
///
/// # Errors
/// [`Refused`]; the kernel side would refuse it, too.
pub fn command_line(
    loader: &str,
    granted: Granted,
    parameters: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, Refused> {
    let mut words: Vec<OsString> = vec![loader.into()];
    if granted.r#unsafe {
        words.push("--unsafe".into());
    }
    words.extend(["--".into(), "-".into()]);
    let fixed = words.len();
    words.extend(parameters);
    if words.len() > fixed && !granted.parameters {
        return Err(Refused);
    }
    Ok(words)
}

/// A loader's environment, whatever ours is: `token` is the value of
/// [`TOKEN_VARIABLE`] there.
pub fn environment(token: Option<OsString>) -> Vec<(&'static OsStr, OsString)> {
    let fixed = ENVIRONMENT.map(|(name, value)| (OsStr::new(name), value.into()));
    let token = token.map(|path| (OsStr::new(TOKEN_VARIABLE), path));
    fixed.into_iter().chain(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(granted: Granted, parameters: &[&str]) -> Result<Vec<OsString>, Refused> {
        command_line("x", granted, parameters.iter().map(OsString::from))
    }

    #[test]
    fn parameters_are_never_options() {
        let both = Granted {
            parameters: true,
            r#unsafe: true,
        };
        let parameters = Granted {
            r#unsafe: false,
            ..both
        };
        let none = Granted::default();
        assert_eq!(words(none, &[]).unwrap(), ["x", "--", "-"]);
        assert_eq!(words(none, &[""]), Err(Refused));
        assert_eq!(words(both, &[]).unwrap(), ["x", "--unsafe", "--", "-"]);
        assert_eq!(
            words(parameters, &["--unsafe", "-e"]).unwrap(),
            ["x", "--", "-", "--unsafe", "-e"]
        );
    }

    #[test]
    fn the_environment_is_the_same_for_all() {
        let names: Vec<_> = environment(Some("/x".into()))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["PATH", "LC_ALL", TOKEN_VARIABLE]);
        assert_eq!(environment(None).len(), 2);
    }
}
