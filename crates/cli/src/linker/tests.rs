//! The dynamic linker's order, in trees of files that are made for it.

use super::search::in_tree;
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

/// An ELF file that says what is asked for and has no code.
struct Elf<'a> {
    machine: u16,
    interpreter: Option<&'a str>,
    /// Tag and text.
    dynamic: &'a [(u64, &'a str)],
    /// DT_FLAGS_1.
    flags: u64,
    /// What it says of libraries that it opens itself.
    opens: &'a str,
}

const NEEDED: u64 = 1;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;
const AUXILIARY: u64 = 0x7fff_fffd;
const NODEFLIB: u64 = 0x800;

const INTERPRETER: &str = "/lib64/ld.so";

impl Elf<'_> {
    const LIBRARY: Self = Self {
        machine: 62,
        interpreter: None,
        dynamic: &[],
        flags: 0,
        opens: "",
    };

    /// Its bytes: header, four segments, interpreter, dynamic section, texts, a note.
    fn bytes(&self) -> Vec<u8> {
        const HEADERS: usize = 64 + 4 * 56;
        let interpreter = format!("{}\0", self.interpreter.unwrap_or_default());
        let dynamic = HEADERS + interpreter.len().next_multiple_of(8);
        let entries = self.dynamic.len() + 3;
        let table = dynamic + entries * 16;
        let mut texts = vec![0];
        let mut section = Vec::new();
        let mut entry = |tag: u64, value: usize| {
            section.extend(tag.to_le_bytes());
            section.extend((value as u64).to_le_bytes());
        };
        for (tag, text) in self.dynamic {
            entry(*tag, texts.len());
            texts.extend(format!("{text}\0").into_bytes());
        }
        entry(5, table);
        entry(0x6fff_fffb, usize::try_from(self.flags).unwrap());
        entry(0, 0);
        texts.resize(texts.len().next_multiple_of(8), 0);
        let size = table + texts.len();
        let mut note = Vec::new();
        for number in [4, u32::try_from(self.opens.len()).unwrap() + 1, 0x407c_0c0a] {
            note.extend(number.to_le_bytes());
        }
        note.extend(format!("FDO\0{}\0", self.opens).into_bytes());

        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend(3_u16.to_le_bytes());
        bytes.extend(self.machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        for number in [0_u64, 64, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        for number in [64_u16, 56, 4, 0, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        let kind = if self.interpreter.is_some() { 3 } else { 4 };
        for (kind, start, length) in [
            (kind, HEADERS, interpreter.len()),
            (1_u32, 0, size),
            (2, dynamic, entries * 16),
            (4, size, note.len()),
        ] {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(4_u32.to_le_bytes());
            for number in [start, start, start, length, length, 4] {
                bytes.extend((number as u64).to_le_bytes());
            }
        }
        bytes.extend(interpreter.into_bytes());
        bytes.resize(dynamic, 0);
        [bytes, section, texts, note].concat()
    }
}

/// A root directory.
struct Place {
    _directory: tempfile::TempDir,
    tree: Tree,
}

impl Place {
    /// With a dynamic linker, and this program as `/opt/bin/program`.
    fn new(dynamic: &[(u64, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree(fs::canonicalize(directory.path()).unwrap());
        let place = Self {
            _directory: directory,
            tree,
        };
        place.put("/usr/lib/machine/ld.so", &Elf::LIBRARY);
        place.write("/lib64/x", b"");
        symlink(
            "../usr/lib/machine/ld.so",
            place.tree.place(INTERPRETER.as_ref()),
        )
        .unwrap();
        place.put(
            PROGRAM,
            &Elf {
                interpreter: Some(INTERPRETER),
                dynamic,
                ..Elf::LIBRARY
            },
        );
        place
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let place = self.tree.place(path.as_ref());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    }

    fn put(&self, path: &str, elf: &Elf<'_>) {
        self.write(path, &elf.bytes());
    }

    /// A library that needs nothing.
    fn library(&self, path: &str) {
        self.put(path, &Elf::LIBRARY);
    }

    fn search(&self) -> Libraries {
        in_tree(&self.tree, &self.tree.place(PROGRAM.as_ref())).unwrap()
    }

    /// Requires that these are found besides the dynamic linker, in this order,
    /// and that nothing is missing.
    fn expect(&self, files: &[&str]) {
        let found = self.search();
        assert_eq!(found.missing, []);
        assert_eq!(found.misplaced, []);
        assert_eq!(found.files[0], Path::new("/usr/lib/machine/ld.so"));
        let files: Vec<_> = files.iter().map(Path::new).collect();
        assert_eq!(found.files[1..], files[..]);
    }
}

const PROGRAM: &str = "/opt/bin/program";

fn missing(name: &str, needed_by: &str) -> Missing {
    Missing {
        name: name.into(),
        needed_by: needed_by.into(),
    }
}

#[test]
fn what_libraries_need_is_found_once() {
    let place = Place::new(&[(NEEDED, "liba.so"), (NEEDED, "libb.so")]);
    for (path, needs) in [("/usr/lib/liba.so", "libc.so"), ("/lib/libb.so", "libc.so")] {
        let dynamic = &[(NEEDED, needs), (NEEDED, "ld.so")][..];
        place.put(
            path,
            &Elf {
                dynamic,
                ..Elf::LIBRARY
            },
        );
    }
    place.library("/usr/lib/machine/libc.so");
    place.expect(&[
        "/usr/lib/liba.so",
        "/lib/libb.so",
        "/usr/lib/machine/libc.so",
    ]);
}

#[test]
fn the_cache_comes_before_the_systems_directories() {
    let place = Place::new(&[(NEEDED, "liba.so"), (NEEDED, "libb.so")]);
    for path in ["/opt/lib/liba.so", "/usr/lib/liba.so", "/usr/lib/libb.so"] {
        place.library(path);
    }
    let gone = ("libb.so", "/opt/lib/libb.so", false);
    let cache = cache::bytes_of(&[("liba.so", "/opt/lib/liba.so", false), gone]);
    place.write("/etc/ld.so.cache", &cache);
    place.expect(&["/opt/lib/liba.so", "/usr/lib/libb.so"]);
    place.write("/etc/ld.so.cache", b"another form");
    place.expect(&["/usr/lib/liba.so", "/usr/lib/libb.so"]);
}

#[test]
fn a_file_of_another_machine_is_passed_over() {
    let place = Place::new(&[(NEEDED, "liba.so")]);
    place.put(
        "/opt/lib/liba.so",
        &Elf {
            machine: 183,
            ..Elf::LIBRARY
        },
    );
    place.write("/usr/lib/machine/liba.so", b"no ELF");
    place.library("/usr/lib/liba.so");
    let cache = cache::bytes_of(&[("liba.so", "/opt/lib/liba.so", false)]);
    place.write("/etc/ld.so.cache", &cache);
    place.expect(&["/usr/lib/liba.so"]);
}

#[test]
fn a_runpath_is_for_its_own_file_and_an_rpath_for_all_below() {
    for (tag, files) in [
        (RPATH, &["/opt/a/liba.so", "/opt/a/libb.so"]),
        (RUNPATH, &["/opt/a/liba.so", "/usr/lib/libb.so"]),
    ] {
        let place = Place::new(&[(NEEDED, "liba.so"), (tag, "/nowhere:/opt/a")]);
        let needs = &[(NEEDED, "libb.so")];
        let elf = Elf {
            dynamic: needs,
            ..Elf::LIBRARY
        };
        place.put("/opt/a/liba.so", &elf);
        place.put("/usr/lib/liba.so", &elf);
        place.library("/opt/a/libb.so");
        place.library("/usr/lib/libb.so");
        place.expect(files);
    }
}

#[test]
fn a_runpath_makes_an_rpath_void() {
    let place = Place::new(&[(NEEDED, "liba.so"), (RPATH, "/opt/a"), (RUNPATH, "/opt/b")]);
    place.library("/opt/a/liba.so");
    place.library("/usr/lib/liba.so");
    place.expect(&["/usr/lib/liba.so"]);
}

#[test]
fn the_programs_origin_does_not_count_in_secure_execution() {
    let place = Place::new(&[(NEEDED, "liba.so"), (RUNPATH, "$ORIGIN/../lib")]);
    place.library("/opt/lib/liba.so");
    let found = place.search();
    assert_eq!(found.files[1..], [Path::new("/opt/lib/liba.so")]);
    assert_eq!(found.misplaced, [missing("liba.so", PROGRAM)]);
    // Another is what it gets then: both may be mapped.
    place.library("/usr/lib/liba.so");
    place.expect(&["/opt/lib/liba.so", "/usr/lib/liba.so"]);
}

#[test]
fn a_librarys_origin_counts() {
    let place = Place::new(&[(NEEDED, "/opt/a/liba.so")]);
    let dynamic = &[
        (NEEDED, "libb.so"),
        (RUNPATH, "${ORIGIN}/../$LIB/$PLATFORM"),
    ];
    place.put(
        "/opt/a/liba.so",
        &Elf {
            dynamic,
            ..Elf::LIBRARY
        },
    );
    place.library("/opt/lib/machine/x86_64/libb.so");
    place.expect(&["/opt/a/liba.so", "/opt/lib/machine/x86_64/libb.so"]);
}

#[test]
fn every_processors_variant_is_found() {
    let place = Place::new(&[(NEEDED, "liba.so"), (NEEDED, "libb.so")]);
    place.library("/usr/lib/glibc-hwcaps/x86-64-v2/liba.so");
    place.library("/usr/lib/glibc-hwcaps/x86-64-v3/liba.so");
    place.library("/usr/lib/liba.so");
    place.library("/opt/lib/v3/libb.so");
    place.library("/opt/lib/libb.so");
    let cache = cache::bytes_of(&[
        ("libb.so", "/opt/lib/v3/libb.so", true),
        ("libb.so", "/opt/lib/libb.so", false),
    ]);
    place.write("/etc/ld.so.cache", &cache);
    place.expect(&[
        "/usr/lib/glibc-hwcaps/x86-64-v2/liba.so",
        "/usr/lib/glibc-hwcaps/x86-64-v3/liba.so",
        "/usr/lib/liba.so",
        "/opt/lib/v3/libb.so",
        "/opt/lib/libb.so",
    ]);
}

#[test]
fn what_is_preloaded_for_all_is_found() {
    let place = Place::new(&[(NEEDED, "liba.so")]);
    for path in ["/usr/lib/liba.so", "/usr/lib/libp.so", "/opt/q.so"] {
        place.library(path);
    }
    let preload = b"libp.so:/opt/q.so # /opt/r.so\n\tgone.so\n";
    place.write("/etc/ld.so.preload", preload);
    place.expect(&["/usr/lib/libp.so", "/opt/q.so", "/usr/lib/liba.so"]);
}

#[test]
fn what_a_file_says_it_opens_is_found_if_it_is_there() {
    let note = r#"[{"feature":"bpf","soname":["libbpf.so.1","libbpf.so.0"]}]"#;
    for (opens, expected) in [
        (note, &["/usr/lib/liba.so", "/usr/lib/libbpf.so.0"][..]),
        ("[{]", &["/usr/lib/liba.so"]),
    ] {
        let place = Place::new(&[(NEEDED, "liba.so")]);
        let library = Elf {
            opens,
            ..Elf::LIBRARY
        };
        place.put("/usr/lib/liba.so", &library);
        place.library("/usr/lib/libbpf.so.0");
        place.expect(expected);
    }
}

#[test]
fn what_is_needed_and_not_there_is_missing() {
    let place = Place::new(&[(NEEDED, "liba.so"), (AUXILIARY, "libx.so")]);
    let dynamic = &[(NEEDED, "libb.so")];
    let elf = Elf {
        dynamic,
        flags: NODEFLIB,
        ..Elf::LIBRARY
    };
    place.put("/usr/lib/liba.so", &elf);
    place.library("/usr/lib/libb.so");
    let found = place.search();
    assert_eq!(found.missing, [missing("libb.so", "/usr/lib/liba.so")]);
    fs::remove_file(place.tree.place(INTERPRETER.as_ref())).unwrap();
    let found = place.search();
    assert_eq!(found.missing[0], missing(INTERPRETER, PROGRAM));
}

#[test]
fn a_static_program_maps_nothing_else() {
    let place = Place::new(&[]);
    place.library("/usr/lib/libp.so");
    place.write("/etc/ld.so.preload", b"libp.so");
    place.library(PROGRAM);
    assert_eq!(place.search().files, [] as [PathBuf; 0]);
}

#[test]
fn libraries_that_need_each_other_come_to_an_end() {
    let place = Place::new(&[(NEEDED, "liba.so")]);
    for (path, needs) in [
        ("/usr/lib/liba.so", "libb.so"),
        ("/usr/lib/libb.so", "liba.so"),
    ] {
        let dynamic = &[(NEEDED, needs)][..];
        place.put(
            path,
            &Elf {
                dynamic,
                ..Elf::LIBRARY
            },
        );
    }
    place.expect(&["/usr/lib/liba.so", "/usr/lib/libb.so"]);
}

#[test]
fn a_damaged_program_is_no_panic() {
    let place = Place::new(&[(NEEDED, "liba.so"), (RUNPATH, "$ORIGIN")]);
    let program = place.tree.place(PROGRAM.as_ref());
    let whole = fs::read(&program).unwrap();
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(&program, bytes).unwrap();
        let _ = in_tree(&place.tree, &program);
    }
}

/// What this process maps is what the dynamic linker mapped.
#[test]
fn the_libraries_of_this_program_are_those_that_it_maps() {
    let found = libraries(Path::new("/proc/self/exe")).unwrap();
    assert_eq!(found.missing, []);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let executable = fs::read_link("/proc/self/exe").unwrap();
    let mapped = maps
        .lines()
        .filter(|line| line.contains(" r-xp "))
        .filter_map(|line| Some(Path::new(&line[line.find('/')?..])))
        .filter(|path| *path != executable);
    for path in mapped {
        assert!(found.files.iter().any(|file| file == path), "{path:?}");
    }
}
