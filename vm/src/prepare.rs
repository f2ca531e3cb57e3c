//! Makes what a kernel boots from, once.

use crate::apt::Apt;
use crate::cache::{self, Cache};
use crate::disk::{self, Boot};
use crate::kernels::{self, Kernel};
use anyhow::{Context, Result};

/// Raised when what is made changes in a way that the lists of packages do not
/// show, so that old caches are made anew.
const FORM: u32 = 3;

/// The files that `kernel` boots from, made if they are not in the cache. With
/// `refresh`, asks the archive for newer ones.
pub fn prepare(kernel: &Kernel, refresh: bool) -> Result<Boot> {
    prepare_with(kernel, refresh, &[])
}

/// The same, of a machine that has these packages, too; it is kept beside the other.
pub fn prepare_with(kernel: &Kernel, refresh: bool, more: &[&str]) -> Result<Boot> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    let suffix: String = more.iter().map(|package| format!("-{package}")).collect();
    let name = format!("kernel-{}{suffix}", kernel.series);
    let tree = format!("tree{suffix}");
    let packages = [disk::PACKAGES, more].concat();
    let recipe = format!("form {FORM}, {}, {}", disk::SUITE, packages.join(" "));
    if refresh {
        for made in [&name, &tree] {
            cache::remove(&cache.path(made))?;
        }
    }
    let dir = cache
        .directory(&name, &recipe, |dir| {
            eprintln!("making the machine for Linux {}, once", kernel.series);
            let apt = Apt::open(&cache, &kernels::suites(), refresh)?;
            let tree = cache.directory(&tree, &recipe, |dir| {
                let downloads = dir.join("packages");
                apt.download_with_dependencies(disk::SUITE, &packages, &downloads)?;
                disk::make_tree(&downloads, &dir.join("root"))?;
                cache::remove(&downloads)
            })?;
            let choice = kernel.choose(&apt.names("linux-")?)?;
            let downloads = dir.join("packages");
            apt.download(&choice.packages, &downloads)?;
            disk::make_boot(&choice, &downloads, &tree.join("root"), dir)?;
            cache::remove(&downloads)
        })
        .with_context(|| format!("cannot make the test machine for Linux {}", kernel.series))?;
    Ok(Boot::at(&dir))
}
