//! Where the dynamic linker looks, and in which order.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow, ensure};

use super::cache::Cache;
use super::needs::{Machine, Needs};
use super::{Libraries, Missing, Tokens, Tree};
use crate::input::open_regular;
use crate::output::escaped;

/// No program maps more files.
const MAX_OBJECTS: usize = 4096;

/// Where directories have subdirectories for processors that have more.
const HWCAPS: &str = "glibc-hwcaps";

/// What the dynamic linker would map for a program, besides the program.
///
/// # Errors
/// If it can't be read, or is no ELF file.
pub fn libraries(program: &Path) -> anyhow::Result<Libraries> {
    in_tree(&Tree("/".into()), program)
}

/// The same in a root directory.
pub(super) fn in_tree(tree: &Tree, program: &Path) -> anyhow::Result<Libraries> {
    let needs = Needs::of(&open_regular(program)?)
        .ok_or_else(|| anyhow!("it is no ELF file, so it maps no libraries"))?;
    let place = fs::canonicalize(program)
        .with_context(|| format!("following links to {}", escaped(program)))?;
    Linker::new(tree, tree.name(&place), needs).run()
}

/// A file that is mapped.
struct Object {
    path: PathBuf,
    needs: Needs,
    /// Which of the others it was found for; the program has none.
    found_for: Option<usize>,
}

/// Where to look.
struct Directory {
    path: PathBuf,
    /// Also looked into in secure execution.
    is_secure: bool,
}

/// What was found under a name.
#[derive(Default)]
struct Hits {
    files: Vec<PathBuf>,
    /// One for every processor was found, and in secure execution, too.
    is_settled: bool,
}

struct Linker<'a> {
    tree: &'a Tree,
    cache: Option<Cache>,
    /// Where the system has its libraries.
    system: Vec<PathBuf>,
    /// What `$LIB` stands for.
    lib: OsString,
    /// The program, and what it maps in the order in which that is found.
    objects: Vec<Object>,
    names: BTreeSet<OsString>,
    found: Libraries,
}

impl<'a> Linker<'a> {
    fn new(tree: &'a Tree, program: PathBuf, needs: Needs) -> Self {
        let (_, triplet) = needs.machine.names();
        let interpreter = needs.interpreter.as_ref().map(PathBuf::from);
        let beside = interpreter
            .and_then(|path| fs::canonicalize(tree.place(&path)).ok())
            .and_then(|place| Some(tree.name(place.parent()?)));
        let usual = [
            &format!("/lib/{triplet}"),
            &format!("/usr/lib/{triplet}"),
            "/lib64",
            "/usr/lib64",
            "/lib",
            "/usr/lib",
        ];
        let lib = beside.as_deref().map(|path| {
            let inside = path.strip_prefix("/usr").or(path.strip_prefix("/"));
            inside.unwrap_or(path).as_os_str().to_owned()
        });
        Self {
            tree,
            cache: fs::read(tree.place(Path::new("/etc/ld.so.cache")))
                .ok()
                .and_then(Cache::new),
            system: beside
                .into_iter()
                .chain(usual.iter().map(PathBuf::from))
                .collect(),
            lib: lib.unwrap_or_else(|| format!("lib/{triplet}").into()),
            objects: vec![Object {
                path: program,
                needs,
                found_for: None,
            }],
            names: BTreeSet::new(),
            found: Libraries::default(),
        }
    }

    fn run(mut self) -> anyhow::Result<Libraries> {
        if let Some(interpreter) = self.objects[0].needs.interpreter.clone() {
            let path = Path::new(&interpreter);
            if self.fits(path) {
                self.add(path, 0)?;
            } else {
                self.miss(&interpreter, 0);
            }
            for name in self.preloaded() {
                self.look_for(&name, 0, false)?;
            }
        }
        let mut next = 0;
        while let Some(object) = self.objects.get(next) {
            let Needs { needed, wanted, .. } = object.needs.clone();
            for (names, is_needed) in [(wanted, false), (needed, true)] {
                for name in names {
                    self.look_for(&name, next, is_needed)?;
                }
            }
            next += 1;
        }
        Ok(self.found)
    }

    /// The names in `/etc/ld.so.preload`, which counts in secure execution, too.
    fn preloaded(&self) -> Vec<OsString> {
        let place = self.tree.place(Path::new("/etc/ld.so.preload"));
        let text = fs::read(place).unwrap_or_default();
        text.split(|&byte| byte == b'\n')
            .filter_map(|line| line.split(|&byte| byte == b'#').next())
            .flat_map(|line| line.split(|byte| b" \t:".contains(byte)))
            .filter(|name| !name.is_empty())
            .map(|name| OsString::from_vec(name.to_vec()))
            .collect()
    }

    /// Finds what has this name, once: the first that asks decides for all.
    fn look_for(&mut self, name: &OsStr, by: usize, is_needed: bool) -> anyhow::Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        let hits = self.find(name, by);
        if hits.files.is_empty() && is_needed {
            self.miss(name, by);
        } else if !hits.files.is_empty() && !hits.is_settled {
            let missing = self.missing(name, by);
            self.found.misplaced.push(missing);
        }
        for path in hits.files {
            self.add(&path, by)?;
        }
        Ok(())
    }

    fn missing(&self, name: &OsStr, by: usize) -> Missing {
        Missing {
            name: name.to_owned(),
            needed_by: self.objects[by].path.clone(),
        }
    }

    fn miss(&mut self, name: &OsStr, by: usize) {
        let missing = self.missing(name, by);
        self.found.missing.push(missing);
    }

    fn add(&mut self, path: &Path, by: usize) -> anyhow::Result<()> {
        let place = fs::canonicalize(self.tree.place(path))
            .with_context(|| format!("following links to {}", escaped(path)))?;
        let path = self.tree.name(&place);
        if self.objects.iter().any(|object| object.path == path) {
            return Ok(());
        }
        ensure!(
            self.objects.len() < MAX_OBJECTS,
            "it maps more than {MAX_OBJECTS} files"
        );
        let needs = Needs::of(&open_regular(&place)?)
            .with_context(|| format!("{} was replaced meanwhile", escaped(&path)))?;
        self.found.files.push(path.clone());
        self.objects.push(Object {
            path,
            needs,
            found_for: Some(by),
        });
        Ok(())
    }

    fn find(&self, name: &OsStr, by: usize) -> Hits {
        let mut hits = Hits::default();
        if name.as_bytes().contains(&b'/') {
            if let Some((path, _)) = self.expand(name, by)
                && self.fits(&path)
            {
                hits.files.push(path);
                hits.is_settled = true;
            }
            return hits;
        }
        for directory in self.directories(by) {
            self.look_in(&directory, name, &mut hits);
        }
        let no_default = self.objects[by].needs.no_default;
        for cached in self.cache.iter().flat_map(|cache| cache.find(name)) {
            if hits.is_settled {
                break;
            }
            if no_default && self.is_system(&cached.path) || !self.fits(&cached.path) {
                continue;
            }
            hits.is_settled = !cached.is_variant;
            hits.files.push(cached.path);
        }
        if !no_default {
            for path in &self.system {
                let directory = Directory {
                    path: path.clone(),
                    is_secure: true,
                };
                self.look_in(&directory, name, &mut hits);
            }
        }
        hits
    }

    fn look_in(&self, directory: &Directory, name: &OsStr, hits: &mut Hits) {
        if hits.is_settled {
            return;
        }
        let variants = fs::read_dir(self.tree.place(&directory.path.join(HWCAPS)));
        let mut variants: Vec<_> = variants
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(self.tree.name(&entry.ok()?.path().join(name))))
            .collect();
        variants.sort();
        hits.files
            .extend(variants.into_iter().filter(|path| self.fits(path)));
        let path = directory.path.join(name);
        if self.fits(&path) {
            hits.files.push(path);
            hits.is_settled = directory.is_secure;
        }
    }

    /// The directories that the one who asks names, and those for whom it was
    /// found.
    fn directories(&self, by: usize) -> Vec<Directory> {
        let mut directories = Vec::new();
        if self.objects[by].needs.runpath.is_empty() {
            let mut next = Some(by);
            while let Some(index) = next {
                let Object {
                    needs, found_for, ..
                } = &self.objects[index];
                if needs.runpath.is_empty() {
                    directories.extend(self.listed(&needs.rpath, index));
                }
                next = *found_for;
            }
        }
        directories.extend(self.listed(&self.objects[by].needs.runpath, by));
        directories
    }

    fn listed(&self, lists: &[OsString], by: usize) -> Vec<Directory> {
        lists
            .iter()
            .flat_map(|list| list.as_bytes().split(|&byte| byte == b':'))
            .filter_map(|entry| self.expand(OsStr::from_bytes(entry), by))
            .map(|(path, has_origin)| Directory {
                // Who can link to the program chooses where that is.
                is_secure: by > 0 || !has_origin || self.is_system(&path),
                path,
            })
            .collect()
    }

    /// A path with what its tokens stand for, and whether `$ORIGIN` is one.
    /// `None` if it depends on the current directory.
    fn expand(&self, text: &OsStr, by: usize) -> Option<(PathBuf, bool)> {
        let object = &self.objects[by];
        let tokens = Tokens {
            origin: object.path.parent()?,
            lib: &self.lib,
            platform: self.machine().names().0,
        };
        let (path, has_origin) = tokens.replace(text)?;
        let path = normal(Path::new(&path));
        path.is_absolute().then_some((path, has_origin))
    }

    fn is_system(&self, path: &Path) -> bool {
        self.system
            .iter()
            .any(|directory| path.starts_with(directory))
    }

    fn machine(&self) -> Machine {
        self.objects[0].needs.machine
    }

    /// Could it be mapped beside the program?
    fn fits(&self, path: &Path) -> bool {
        let file = open_regular(&self.tree.place(path)).ok();
        file.and_then(|file| Needs::of(&file))
            .is_some_and(|needs| needs.machine == self.machine())
    }
}

/// Without `..`, as the dynamic linker reckons before it trusts a directory.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

impl Tokens<'_> {
    /// Replaces `$ORIGIN` or `${ORIGIN}` and the others; also says whether that
    /// one was there. `None` if there is one that is not known.
    pub(super) fn replace(&self, text: &OsStr) -> Option<(OsString, bool)> {
        let mut replaced = Vec::new();
        let mut has_origin = false;
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| byte == b'$') {
            replaced.extend(&rest[..at]);
            rest = &rest[at + 1..];
            let (name, length) = match rest.strip_prefix(b"{") {
                Some(inside) => {
                    let end = inside.iter().position(|&byte| byte == b'}')?;
                    (&inside[..end], end + 2)
                }
                None => {
                    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                    let end = rest.iter().position(|byte| !is_part(byte));
                    let end = end.unwrap_or(rest.len());
                    (&rest[..end], end)
                }
            };
            match name {
                b"ORIGIN" => {
                    has_origin = true;
                    replaced.extend(self.origin.as_os_str().as_bytes());
                }
                b"LIB" => replaced.extend(self.lib.as_bytes()),
                b"PLATFORM" => replaced.extend(self.platform.as_bytes()),
                _ => return None,
            }
            rest = &rest[length..];
        }
        replaced.extend(rest);
        Some((OsString::from_vec(replaced), has_origin))
    }
}
