//! Takes the eBPF object that `cargo xtask build` has made into the agent.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=OUTPOST_FW_EBPF");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = match env::var_os("OUTPOST_FW_EBPF") {
        Some(path) => PathBuf::from(path),
        // <target>/<profile>/build/<package>/out
        None => out_dir.ancestors().nth(4).expect("OUT_DIR lies in the target directory").join("ebpf/fw-ebpf.o"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    if let Err(error) = std::fs::copy(&object, out_dir.join("fw-ebpf.o")) {
        println!("cargo::error=the eBPF object {} cannot be read ({error}): run `cargo xtask build`", object.display());
    }
}
