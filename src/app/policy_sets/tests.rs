//! Sets on real folders: what was in force is gone back to, on disk and in memory, and a folder is changed whole or not at all.

use super::*;

fn texts(peers: &str) -> Texts {
    let files = [("border.toml", BORDER), ("peers.toml", peers)];
    Texts::new(files.iter().map(|(name, text)| (String::from(*name), String::from(*text))).collect()).unwrap()
}

const BORDER: &str =
    "version = 1\n[[listener]]\nname = \"tcp\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:5060\"\n[media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\n";

struct Lab {
    folder: tempfile::TempDir,
    sets: PolicySets,
}

impl Lab {
    fn new() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("set");
        std::fs::create_dir(&place).unwrap();
        for (name, text) in texts("version = 1\n").files() {
            std::fs::write(place.join(name), text).unwrap();
        }
        let lab = Lab { sets: PolicySets::new(Lab::settings(&folder)), folder };
        lab.sets.begin(&lab.place());
        lab
    }

    fn settings(folder: &tempfile::TempDir) -> Settings {
        let (mut settings, _) = config::load(&folder.path().join("set")).unwrap();
        settings.policy_sets = config::PolicySets { folder: Some(folder.path().join("kept")), keep: 2 };
        settings
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("set")
    }

    fn adoption(&self, texts: Texts) -> Adoption {
        Adoption { texts, how: How::Activated, until_restart: false, overwrite: false, over: None }
    }

    fn peers(&self) -> String {
        std::fs::read_to_string(self.place().join("peers.toml")).unwrap()
    }
}

#[test]
fn what_was_in_force_is_gone_back_to_also_after_a_restart() {
    let lab = Lab::new();
    assert!(lab.sets.back(None).unwrap_err().contains("no set before"));
    let first = lab.sets.now().unwrap();
    for number in 1..=3 {
        lab.sets.adopted(texts(&format!("version = 1 # {number}\n")), "alice", How::Activated, false);
    }
    let digests = |sets: &PolicySets| sets.earlier().iter().map(|earlier| earlier.texts.get("peers.toml").unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(digests(&lab.sets), ["version = 1 # 2\n", "version = 1 # 1\n"], "so many are kept");
    assert!(lab.sets.back(Some(&first.about.digest)).is_err(), "and no more");
    let back = lab.sets.back(None).unwrap();
    assert_eq!(lab.sets.back(Some(&back.about.digest[..8])).unwrap(), back);
    assert!(lab.sets.back(Some("00")).unwrap_err().contains("too short"));

    let again = PolicySets::new(Lab::settings(&lab.folder));
    again.begin(&lab.place());
    assert_eq!(again.now().unwrap().about.how, How::Started);
    assert_eq!(digests(&again), ["version = 1 # 3\n", "version = 1 # 2\n"], "what was in force when it ended is one of those before");
    assert_eq!(again.back(None).unwrap().about.by, "alice");
    std::fs::write(lab.folder.path().join("kept").join(&again.back(None).unwrap().about.digest).join("peers.toml"), "other").unwrap();
    let third = PolicySets::new(Lab::settings(&lab.folder));
    third.begin(&lab.place());
    assert_eq!(digests(&third), ["version = 1 # 2\n"], "what was tampered with is not gone back to");
}

#[test]
fn the_same_set_again_is_no_step_to_go_back() {
    let lab = Lab::new();
    lab.sets.adopted(texts("version = 1\n"), "SIGHUP", How::Reloaded, false);
    assert!(lab.sets.earlier().is_empty());
    lab.sets.adopted(texts("version = 1 # a\n"), "alice", How::Activated, false);
    lab.sets.adopted(texts("version = 1\n"), "alice", How::RolledBack, false);
    assert_eq!(lab.sets.earlier().len(), 1, "each stands there once");
}

#[test]
fn a_folder_is_changed_when_the_set_is_in_force_and_not_before() {
    let lab = Lab::new();
    let staged = lab.sets.stage(&lab.adoption(texts("version = 1 # new\n"))).unwrap().unwrap();
    assert_eq!(lab.peers(), "version = 1\n");
    drop(staged);
    assert_eq!(std::fs::read_dir(lab.place()).unwrap().count(), 2, "what was not wanted after all is gone");
    std::fs::write(lab.place().join("toll.toml"), "version = 1\n").unwrap();
    let overwriting = Adoption { overwrite: true, ..lab.adoption(texts("version = 1 # new\n")) };
    lab.sets.stage(&overwriting).unwrap().unwrap().commit().unwrap();
    assert_eq!((lab.peers().as_str(), lab.place().join("toll.toml").exists()), ("version = 1 # new\n", false), "it is the set and nothing else");
}

#[test]
fn what_an_operator_has_written_and_not_reloaded_is_not_lost() {
    let lab = Lab::new();
    std::fs::write(lab.place().join("peers.toml"), "version = 1 # by hand\n").unwrap();
    assert_eq!(lab.sets.folder_differs(), Some(true));
    let refused = lab.sets.stage(&lab.adoption(texts("version = 1 # new\n"))).unwrap_err();
    assert!(refused.contains("not in force") && refused.contains("--overwrite"), "{refused}");
    assert!(lab.sets.stage(&Adoption { until_restart: true, ..lab.adoption(texts("version = 1 # new\n")) }).unwrap().is_none());
    assert_eq!(lab.peers(), "version = 1 # by hand\n");
}

#[test]
fn a_set_that_was_looked_at_over_another_is_not_activated() {
    let lab = Lab::new();
    let over = |over: String| Adoption { over: Some(over), ..lab.adoption(texts("version = 1 # new\n")) };
    assert!(lab.sets.stage(&over(String::from("another"))).unwrap_err().contains("meanwhile"));
    assert!(lab.sets.stage(&over(lab.sets.now().unwrap().about.digest)).is_ok());
}

#[test]
fn a_mounted_folder_is_left_alone() {
    let lab = Lab::new();
    let (place, elsewhere) = (lab.place().join("peers.toml"), lab.folder.path().join("elsewhere"));
    std::fs::rename(&place, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    assert!(lab.sets.stage(&lab.adoption(texts("version = 1 # new\n"))).unwrap_err().contains("symbolic link"));
    assert_eq!(std::fs::read_dir(lab.place()).unwrap().count(), 2);
}

#[test]
fn what_lies_in_the_folder_already_is_gone_back_to_without_a_word() {
    let lab = Lab::new();
    let first = lab.sets.now().unwrap();
    // Something is tried until the next start, and is not good.
    lab.sets.adopted(texts("version = 1 # tried\n"), "alice", How::Activated, true);
    assert_eq!(lab.sets.folder_differs(), Some(true));
    let back = lab.sets.back(None).unwrap();
    assert_eq!(back.about.digest, first.about.digest);
    assert!(lab.sets.folder_holds(&back.texts) && lab.sets.hindrance(&back.texts).is_none());
    assert!(lab.sets.stage(&lab.adoption(Texts::clone(&back.texts))).unwrap().is_none(), "nothing is to be written");
    assert!(lab.sets.hindrance(&texts("version = 1 # new\n")).is_some_and(|why| why.contains("--overwrite")));
}

/// What a full disk, or a process that was killed, may leave of a set.
#[test]
fn a_set_that_cannot_be_written_costs_none_of_those_that_are_kept() {
    let lab = Lab::new();
    let kept = lab.folder.path().join("kept");
    let named = |sets: &PolicySets| sets.earlier().iter().map(|earlier| earlier.texts.get("peers.toml").unwrap().to_owned()).collect::<Vec<_>>();
    lab.sets.adopted(texts("version = 1 # 1\n"), "alice", How::Activated, false);
    assert_eq!(lab.sets.kept(), (true, None));
    let second = texts("version = 1 # 2\n");
    // No folder can be made there.
    let beside = kept.join(format!("{}{BEGUN}", second.digest()));
    std::fs::write(&beside, "").unwrap();
    lab.sets.adopted(second.clone(), "alice", How::Activated, false);
    let (is_kept, error) = lab.sets.kept();
    assert!(is_kept && error.is_some());
    let again = PolicySets::new(Lab::settings(&lab.folder));
    again.begin(&lab.place());
    assert_eq!(named(&again), ["version = 1 # 1\n"], "the one before is whole");

    std::fs::remove_file(&beside).unwrap();
    // Half of one, as it was left by a process that was killed, under its name and beside it.
    for place in [kept.join(second.digest()), beside.clone(), kept.join(format!("{}{BEGUN}", "0".repeat(64)))] {
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("border.toml"), "version").unwrap();
    }
    lab.sets.adopted(second, "alice", How::Reloaded, false);
    assert_eq!(lab.sets.kept(), (true, None), "a reload writes it again");
    let again = PolicySets::new(Lab::settings(&lab.folder));
    again.begin(&lab.place());
    assert_eq!(named(&again), ["version = 1 # 2\n", "version = 1 # 1\n"]);
    assert!(std::fs::read_dir(&kept).unwrap().flatten().all(|entry| !entry.file_name().to_string_lossy().ends_with(BEGUN)), "what was begun is gone");
}

#[test]
fn the_sets_of_the_process_before_are_gone_back_to() {
    let (old, new) = (Lab::new(), Lab::new());
    let without_a_folder = |lab: &Lab| {
        let mut settings = Settings::clone(&lab.sets.settings());
        settings.policy_sets.folder = None;
        lab.sets.put(settings);
    };
    [&old, &new].into_iter().for_each(without_a_folder);
    let hand = || {
        let all = old.sets.now().into_iter().chain(old.sets.earlier());
        all.enumerate().map(|(index, Adopted { texts, about })| new.sets.inherit(Texts::clone(&texts), about, index == 0)).collect::<Vec<_>>()
    };
    let earlier = || new.sets.earlier().iter().map(|earlier| earlier.texts.get("peers.toml").unwrap().to_owned()).collect::<Vec<_>>();
    old.sets.adopted(texts("version = 1 # a\n"), "alice", How::Activated, false);
    old.sets.adopted(texts("version = 1\n"), "bob", How::RolledBack, false);
    assert_eq!(hand(), [false, true]);
    let now = new.sets.now().unwrap().about;
    assert_eq!((now.by.as_str(), now.how), ("bob", How::RolledBack), "the set is the same, and was never out of force");
    assert_eq!(earlier(), ["version = 1 # a\n"]);
    // What was tried there until its end is not in the folder.
    old.sets.adopted(texts("version = 1 # tried\n"), "alice", How::Activated, true);
    assert_eq!(hand(), [true, false, true]);
    assert_eq!(new.sets.now().unwrap().about.by, "bob");
    assert_eq!(earlier(), ["version = 1 # tried\n", "version = 1 # a\n"], "the newest first, each once");
}
