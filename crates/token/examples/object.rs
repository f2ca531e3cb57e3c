//! Loads an object file by a BPF token, attaches all its programs, gives up every
//! privilege and stays until it is killed: `object FILE.bpf.o [BPFFS]`.

use std::error::Error;
use std::path::PathBuf;
use std::thread;

use bpftrust_token::{BPFFS, Token, drop_privileges, libbpf};
use libbpf_rs::ObjectBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let file = arguments.next().ok_or("which object? type 'object FILE'")?;
    let token = Token::create(arguments.next().unwrap_or(BPFFS.into()))?;

    let object = libbpf::open_file(&ObjectBuilder::default(), &token, file)?;
    println!("needs  {}", libbpf::needs(&object));
    println!("allows {}", token.delegation());
    let object = libbpf::load(object, &token)?;
    let links = object
        .progs_mut()
        .map(|program| program.attach())
        .collect::<Result<Vec<_>, _>>()?;
    drop_privileges()?;
    println!("{} attached", links.len());
    loop {
        thread::park();
    }
}
