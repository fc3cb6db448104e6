//! The queue in one process: order, bounds, parking, restarts. `tests/store_crash.rs` kills it.

use super::*;

fn notice(id: u32) -> Notice {
    Notice { id: format!("id{id}"), mailbox: "1000".into(), time: "2026-01-01T00:00:00.000Z".into(), body: format!("{{\"id\":\"id{id}\"}}") }
}

fn settings(folder: &tempfile::TempDir, most: u64) -> Settings {
    Settings { path: folder.path().join("missed.redb"), most }
}

/// The thread of a dropped store closes its file a moment later.
fn reopened(settings: &Settings) -> Store {
    for _ in 0..500 {
        match Store::open(settings) {
            Ok(store) => return store,
            Err(error) if error.to_string().contains("open already") => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the file stays open");
}

#[tokio::test]
async fn what_is_queued_comes_out_in_order_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 100);
    let store = Store::open(&settings).unwrap();
    assert_eq!(store.first().await, None);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&settings.path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it says who called whom");
    for id in 0..5 {
        assert!(store.queue(notice(id)).await.unwrap());
    }
    let (number, first) = store.first().await.unwrap();
    assert_eq!((number, first), (0, notice(0)));
    store.settle(number, Outcome::Delivered).await.unwrap();
    drop(store);
    let store = reopened(&settings);
    assert!(store.queue(notice(5)).await.unwrap());
    let mut seen = Vec::new();
    while let Some((number, notice)) = store.first().await {
        seen.push((number, notice.id));
        store.settle(number, Outcome::Delivered).await.unwrap();
    }
    assert_eq!(seen, (1..6u64).map(|id| (id, format!("id{id}"))).collect::<Vec<_>>());
    assert_eq!(store.status(), Status { delivered: 6, ..Status::default() });
}

#[tokio::test]
async fn a_full_queue_keeps_the_oldest_and_counts_what_it_lost() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 3);
    let store = Store::open(&settings).unwrap();
    let answers = futures(&store, 5).await;
    assert_eq!(answers, [true, true, true, false, false]);
    assert_eq!(store.first().await.unwrap().1, notice(0));
    drop(store);
    assert_eq!(reopened(&settings).status(), Status { queued: 3, overflowed: 2, ..Status::default() });
}

async fn futures(store: &Store, count: u32) -> Vec<bool> {
    let waiting: Vec<_> = (0..count).map(|id| store.queue(notice(id))).collect();
    let mut answers = Vec::new();
    for answer in waiting {
        answers.push(answer.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_parked_one_blocks_nobody_is_shown_and_goes_back_to_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 100);
    let store = Store::open(&settings).unwrap();
    futures(&store, 3).await;
    store.settle(0, Outcome::Parked { why: "HTTP 422".into() }).await.unwrap();
    assert_eq!(store.first().await.unwrap().0, 1);
    drop(store);
    let store = reopened(&settings);
    let listing = store.list(10).await;
    assert_eq!(listing.parked, [Held { number: 0, id: "id0".into(), mailbox: "1000".into(), time: notice(0).time, why: Some("HTTP 422".into()) }]);
    assert_eq!(listing.queued.len(), 2);
    assert_eq!(store.list(1).await.queued.len(), 1, "no more than asked for");
    assert_eq!(store.unpark().await.unwrap(), 1);
    assert_eq!(store.first().await.unwrap(), (0, notice(0)));
    // Settling what is gone changes nothing.
    store.settle(77, Outcome::Delivered).await.unwrap();
    assert_eq!(store.status(), Status { queued: 3, ..Status::default() });
}

#[tokio::test]
async fn one_store_is_one_borders() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 3);
    let _store = Store::open(&settings).unwrap();
    let error = Store::open(&settings).err().unwrap().to_string();
    assert!(error.contains("another border"), "{error}");
}

#[test]
fn what_is_no_store_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 3);
    std::fs::write(&settings.path, "not a database, but somebody's").unwrap();
    let error = Store::open(&settings).err().unwrap().to_string();
    assert!(error.contains("missed.redb"), "{error}");
    assert_eq!(std::fs::read_to_string(&settings.path).unwrap(), "not a database, but somebody's");
    let nowhere = Settings { path: folder.path().join("none/missed.redb"), most: 3 };
    let error = Store::open(&nowhere).err().unwrap().to_string();
    assert!(error.contains("folder"), "{error}");
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 3);
    {
        let database = redb::Database::create(&settings.path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(redb::TableDefinition::<&str, u64>::new("counts")).unwrap().insert("version", 2).unwrap();
        write.commit().unwrap();
    }
    let error = Store::open(&settings).err().unwrap().to_string();
    assert!(error.contains("program that wrote it"), "{error}");
}

#[tokio::test]
async fn many_at_once_are_all_safe_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 10_000);
    let store = Store::open(&settings).unwrap();
    let answers = futures(&store, 2000).await;
    assert!(answers.iter().all(|queued| *queued));
    let listing = store.list(2000).await;
    assert!(listing.queued.iter().enumerate().all(|(index, held)| held.number == index as u64 && held.id == format!("id{index}")));
}

#[tokio::test]
async fn a_closed_one_can_be_opened_by_another_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, 100);
    let store = Store::open(&settings).unwrap();
    let clone = store.clone();
    futures(&store, 3).await;
    assert_eq!(store.close().await, []);
    let next = Store::open(&settings).unwrap();
    assert_eq!(next.status().queued, 3);
    assert!(!clone.queue(notice(9)).await.unwrap_or(false), "whoever still has the old one is refused");
    assert_eq!(clone.first().await, None);
}
