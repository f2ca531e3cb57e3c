//! What in a kernel's log fails a run.

/// Signs of a kernel in trouble. Text of a trace follows each, so it is enough
/// to see the first.
const SIGNS: &[&str] = &[
    "BUG:",
    "WARNING:",
    "Oops",
    "Kernel panic",
    "general protection fault",
    "UBSAN:",
    "KASAN:",
    "blocked for more than",
];

/// What libbpf prints around the verifier's complaint, when it prints one.
pub const VERIFIER_REJECTION: &str = "-- BEGIN PROG LOAD LOG --";

/// The first sign of trouble in `log` with the lines around it.
pub fn trouble(log: &str) -> Option<String> {
    excerpt(log, |line| SIGNS.iter().any(|sign| line.contains(sign)))
}

/// The verifier's complaint in what a program printed.
pub fn rejection(output: &str) -> Option<String> {
    excerpt(output, |line| line.contains(VERIFIER_REJECTION))
}

/// The last lines of `log`, for an error that has nothing better to show.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn excerpt(text: &str, is_sign: impl Fn(&str) -> bool) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| is_sign(line))?;
    let end = lines.len().min(first + 30);
    Some(lines[first.saturating_sub(3)..end].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_log_is_no_trouble() {
        let log = "[    0.1] Linux version 6.18\n[    0.2] Warning: deprecated, debugging on\n";
        assert_eq!(trouble(log), None);
    }

    #[test]
    fn trouble_is_shown_with_what_surrounds_it() {
        let mut lines: Vec<String> = (0..100).map(|n| format!("[{n}] line")).collect();
        lines[50] = "[50] WARNING: CPU: 0 PID: 1 at kernel/x.c:1".into();
        let found = trouble(&lines.join("\n")).unwrap();
        assert!(found.starts_with("[47] line\n"), "{found}");
        assert!(found.contains("WARNING:") && found.contains("[79] line"));
        assert!(!found.contains("[80]"));
    }

    #[test]
    fn each_sign_is_seen() {
        for sign in SIGNS {
            assert!(trouble(&format!("[1] x {sign} y")).is_some(), "{sign}");
        }
    }

    #[test]
    fn a_verifiers_complaint_is_seen() {
        let said = "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\nR0 !read_ok\n";
        assert!(rejection(said).unwrap().contains("R0 !read_ok"));
        assert_eq!(rejection("libbpf: prog 'x': failed to load: -EPERM"), None);
    }
}
