//! Makes what a kernel boots from, once.

use crate::apt::Apt;
use crate::cache::Cache;
use crate::disk::{self, Boot};
use crate::kernels::{self, Kernel};
use anyhow::{Context, Result};

/// Raised when what is made changes in a way that the lists of packages do not
/// show, so that old caches are made anew.
const FORM: u32 = 2;

/// The files that `kernel` boots from, made if they are not in the cache. With
/// `refresh`, asks the archive for newer ones.
pub fn prepare(kernel: &Kernel, refresh: bool) -> Result<Boot> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    let name = format!("kernel-{}", kernel.series);
    let recipe = format!("form {FORM}, {}, {}", disk::SUITE, disk::PACKAGES.join(" "));
    if refresh {
        crate::cache::remove(&cache.path(&name))?;
    }
    let dir = cache
        .directory(&name, &recipe, |dir| {
            eprintln!("making the machine for Linux {}, once", kernel.series);
            let apt = Apt::open(&cache, &kernels::suites(), refresh)?;
            let tree = cache.directory("tree", &recipe, |tree| {
                let debs = tempfile::tempdir_in(cache.path("."))?;
                apt.download_with_dependencies(disk::SUITE, disk::PACKAGES, debs.path())?;
                disk::make_tree(debs.path(), tree)
            })?;
            let choice = kernel.choose(&apt.names("linux-")?)?;
            let debs = tempfile::tempdir_in(cache.path("."))?;
            apt.download(&choice.packages, debs.path())?;
            disk::make_boot(&choice, debs.path(), &tree, dir)
        })
        .with_context(|| format!("cannot make the test machine for Linux {}", kernel.series))?;
    Ok(Boot::at(&dir))
}
