//! A directory of signatures, as packages bring them: for `/usr/sbin/tool` there is a
//! directory `usr/sbin/tool`, and in it a file for each content that was signed.
//!
//! The name of such a file has the digest, so that packages and people see what it is
//! for. Nothing relies on that.

use std::path::{Path, PathBuf};

use bpftrust_verity::Digest;

/// What the name of a detached signature ends in.
pub const SUFFIX: &str = ".bpftrust-sig";

/// Where the signature goes, inside the directory, of a file that has this path inside
/// its root, and this digest.
pub fn place(path: &Path, digest: &Digest) -> PathBuf {
    path.join(format!("{}{SUFFIX}", digest.to_string().replace(':', "-")))
}

/// Which file, by its path inside the root, a signature is for that has this path
/// inside the directory; nothing if it is in no place for signatures.
pub fn meant(inside: &Path) -> Option<&Path> {
    let is_named_so = inside
        .as_os_str()
        .as_encoded_bytes()
        .ends_with(SUFFIX.as_bytes());
    let path = inside.parent()?;
    (is_named_so && path != Path::new("")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_leads_back_to_its_file() {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let place = place(Path::new("usr/sbin/tool"), &digest);
        let name = format!("usr/sbin/tool/sha256-{}.bpftrust-sig", "ab".repeat(32));
        assert_eq!(place, Path::new(&name));
        assert_eq!(meant(&place), Some(Path::new("usr/sbin/tool")));
    }

    #[test]
    fn what_is_elsewhere_is_for_no_file() {
        for inside in ["README", "usr/README", "tool.bpftrust-sig"] {
            assert_eq!(meant(Path::new(inside)), None, "{inside}");
        }
    }
}
