//! `portcullis quickstart --once`: the whole call of the README. Its ports are fixed: nothing else in these tests uses them.

use crate::process::portcullis;

#[test]
fn once_places_a_secured_call_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = portcullis().args(["quickstart", "--once", "--folder"]).arg(folder.path().join("working")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let held = text.lines().filter(|line| line.starts_with("ok     ")).count();
    assert!(held >= 9 && !text.contains("FAILED"), "{text}");
    for shown in ["INVITE", "302", "BYE", "mode secured", "TLSv1.", "AES_CM_128_HMAC_SHA1_80", "\"released_by\": \"caller\""] {
        assert!(text.contains(shown), "{shown} is missing in\n{text}");
    }
    assert!(!text.contains("inline:"), "keys are never printed");
}
