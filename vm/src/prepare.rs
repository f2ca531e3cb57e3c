//! Makes what a kernel boots from, once.

use crate::apt::Apt;
use crate::cache::{self, Cache};
use crate::disk::{self, Boot};
use crate::kernels::{self, Kernel};
use crate::system::{BARE, System};
use anyhow::{Context, Result};

/// Raised when what is made changes in a way that the lists of packages do not
/// show, so that old caches are made anew.
const FORM: u32 = 3;

/// The files that `kernel` boots `system` from, made if they are not in the cache.
/// With `refresh`, asks the archive for newer ones.
pub fn prepare(kernel: &Kernel, system: &System, refresh: bool) -> Result<Boot> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    let name = format!("kernel-{}{}", kernel.series, system.suffix);
    let tree = format!("tree{}", system.suffix);
    let packages = [disk::PACKAGES, system.more].concat();
    let recipe = format!("form {FORM}, {}, {}", system.suite, packages.join(" "));
    if refresh {
        for made in [&name, &tree] {
            cache::remove(&cache.path(made))?;
        }
    }
    let dir = cache
        .directory(&name, &recipe, |dir| {
            eprintln!("making the machine for Linux {}, once", kernel.series);
            let apt = Apt::open(&cache, "apt", &kernels::suites(), refresh)?;
            let tree = cache.directory(&tree, &recipe, |dir| {
                let downloads = dir.join("packages");
                // Lists of a suite that no kernel is of are kept apart: only who needs
                // them reads them.
                let own = match system.suite == BARE.suite {
                    true => None,
                    false => Some(Apt::open(
                        &cache,
                        &format!("apt-{}", system.suite),
                        &[system.suite],
                        refresh,
                    )?),
                };
                let apt = own.as_ref().unwrap_or(&apt);
                apt.download_with_dependencies(system.suite, &packages, &downloads)?;
                disk::make_tree(&downloads, &dir.join("root"))?;
                cache::remove(&downloads)
            })?;
            let choice = kernel.choose(&apt.names("linux-")?)?;
            let downloads = dir.join("packages");
            apt.download(&choice.packages, &downloads)?;
            disk::make_boot(&choice, &downloads, &tree.join("root"), dir)?;
            if system.generator.is_none() {
                cache::remove(&Boot::at(dir).root)?;
            }
            cache::remove(&downloads)
        })
        .with_context(|| format!("cannot make the test machine for Linux {}", kernel.series))?;
    Ok(Boot::at(&dir))
}
