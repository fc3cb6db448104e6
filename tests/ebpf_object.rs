//! The programs for the kernel that are kept built (ebpf/*.bpf.o) are what their sources say. Needs clang-14, llvm-14 and libbpf-dev.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_objects_are_built_from_their_sources() {
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
    for name in ["relay.bpf.o", "frames.bpf.o"] {
        let [ours, fresh] = [folder.join(name), out.path().join(name)].map(|path| fs::read(path).unwrap());
        assert!(ours == fresh, "{name}: run ebpf/build and commit what it makes");
    }
}
