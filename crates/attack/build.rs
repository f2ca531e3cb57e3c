//! The corpus copies its program a dozen times, measures and signs each copy:
//! none of them needs symbols.

fn main() {
    println!("cargo:rustc-link-arg-bin=bpftrust-attack=-s");
    println!("cargo:rerun-if-changed=build.rs");
}
