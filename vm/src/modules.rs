//! Which kernel modules must be loaded, and in what order.

use anyhow::{Context, Result};
use std::collections::HashMap;

/// The files to load so that the modules `wanted` work, dependencies first.
/// `dep` and `builtin` are the texts of `modules.dep` and `modules.builtin`.
pub fn load_order(wanted: &[&str], dep: &str, builtin: &str) -> Result<Vec<String>> {
    let available: HashMap<String, Vec<&str>> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| {
            let mut order: Vec<&str> = needs.split_whitespace().collect();
            // modules.dep lists first what is needed last.
            order.reverse();
            order.push(path);
            (name(path), order)
        })
        .collect();
    let mut order: Vec<String> = Vec::new();
    for module in wanted {
        if builtin.lines().any(|path| name(path) == *module) {
            continue;
        }
        let files = available
            .get(*module)
            .with_context(|| format!("the kernel has no module {module}"))?;
        for file in files {
            if !order.iter().any(|known| known == file) {
                order.push((*file).to_owned());
            }
        }
    }
    Ok(order)
}

/// The module's name, out of the path of its file.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/a/virtio_blk.ko.xz: kernel/a/top.ko.xz kernel/a/base.ko.xz\n\
                       kernel/a/top.ko.xz: kernel/a/base.ko.xz\n\
                       kernel/a/base.ko.xz:\n\
                       kernel/c/with-dash.ko.xz:\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = load_order(&["virtio_blk", "with_dash", "top"], DEP, "").unwrap();
        assert_eq!(
            order,
            [
                "kernel/a/base.ko.xz",
                "kernel/a/top.ko.xz",
                "kernel/a/virtio_blk.ko.xz",
                "kernel/c/with-dash.ko.xz",
            ]
        );
    }

    #[test]
    fn what_is_built_in_is_not_loaded() {
        let order = load_order(&["ext4"], DEP, "kernel/fs/ext4/ext4.ko\n").unwrap();
        assert!(order.is_empty());
    }

    #[test]
    fn an_absent_module_is_an_error() {
        assert!(load_order(&["nothing"], DEP, "").is_err());
    }
}
