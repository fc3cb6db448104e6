//! The program for the kernel that is kept built (ebpf/relay.bpf.o) is what its source says. Needs clang-14, llvm-14 and libbpf-dev.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_object_is_built_from_the_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ebpf");
    if !Command::new("clang-14").arg("--version").output().is_ok_and(|output| output.status.success()) {
        // Continuous integration runs as root and installs it (tests/run).
        assert!(!rustix::process::geteuid().is_root(), "install clang-14, llvm-14 and libbpf-dev");
        eprintln!("SKIPPED: needs clang-14, llvm-14 and libbpf-dev");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let built = Command::new(folder.join("build")).arg(out.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let [ours, fresh] = [folder.join("relay.bpf.o"), out.path().join("relay.bpf.o")].map(|path| fs::read(path).unwrap());
    assert!(ours == fresh, "run ebpf/build and commit what it makes");
}
