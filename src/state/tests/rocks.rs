//! The store on disk: what survives, who may open it, what it says about damage.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::fs;
use std::path::{Path, PathBuf};

use headwater_state::{BlockStore, FORMAT_VERSION, Family, RocksOptions, RocksStore, Writes};
use headwater_types::ErrorKind;

fn open(directory: &Path) -> headwater_types::Result<RocksStore> {
    RocksStore::open(directory, RocksOptions::default())
}

fn put(store: &RocksStore, family: Family, key: &str, value: &[u8]) {
    let mut writes = Writes::new();
    writes.put(family, key.as_bytes().to_vec(), value.to_vec());
    store.write(&writes).unwrap();
}

#[test]
fn what_was_written_is_there_after_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let large = vec![7; 1 << 20];
    {
        let store = open(directory.path()).unwrap();
        put(&store, Family::Meta, "a", b"1");
        put(&store, Family::Blocks, "b1", &large);
        put(&store, Family::Blocks, "b2", b"2");
        let mut writes = Writes::new();
        writes.put(Family::Blocks, b"b2".to_vec(), b"3".to_vec());
        writes.delete(Family::Meta, b"a".to_vec());
        writes.put(Family::Blocks, b"c".to_vec(), b"4".to_vec());
        store.write(&writes).unwrap();
        store.sync().unwrap();
        // Written, not synced: survives the end of the process all the same.
        put(&store, Family::Meta, "z", b"9");
    }
    let store = open(directory.path()).unwrap();
    assert_eq!(store.get(Family::Meta, b"a").unwrap(), None);
    assert_eq!(store.get(Family::Meta, b"z").unwrap(), Some(b"9".to_vec()));
    let mut found = Vec::new();
    store
        .scan(Family::Blocks, b"b", &mut |key, value| {
            found.push((String::from_utf8_lossy(key).into_owned(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    assert_eq!(found, [("b1".to_string(), large), ("b2".to_string(), b"3".to_vec())]);
}

#[test]
fn a_checkpoint_is_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    let store = open(&directory.path().join("data")).unwrap();
    put(&store, Family::Blocks, "b", &[1; 10_000]);
    store.checkpoint(&copy).unwrap();
    put(&store, Family::Blocks, "b", b"later");
    assert_eq!(open(&copy).unwrap().get(Family::Blocks, b"b").unwrap(), Some(vec![1; 10_000]));
    assert!(store.checkpoint(&copy).is_err(), "the directory is there already");
}

#[test]
fn a_second_opener_is_told_who_and_what() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains(&directory.path().display().to_string()), "{error}");
    let holder = format!("in use by process {} since 2", std::process::id());
    assert!(error.message().contains(&holder) && error.message().ends_with(" UTC"), "{error}");
    assert!(error.hint().is_some());
    drop(first);
    assert!(!directory.path().join("HOLDER").exists(), "nobody holds it any more");
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    put(&store, Family::Meta, "format_version", (FORMAT_VERSION + 1).to_string().as_bytes());
    drop(store);
    let error = open(directory.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&format!("format {}", FORMAT_VERSION + 1)), "{error}");
}

/// Fills a directory with files: two of sorted keys, some of large values.
fn fill(directory: &Path) {
    let options = RocksOptions { write_buffer_bytes: 256 << 10, ..RocksOptions::default() };
    let store = RocksStore::open(directory, options).unwrap();
    for number in 0..2_000u32 {
        put(&store, Family::Blocks, &format!("{number:05}"), &number.to_le_bytes().repeat(if number % 4 == 0 { 2_000 } else { 50 }));
    }
    store.sync().unwrap();
    store.checkpoint(&directory.with_extension("copy")).unwrap();
}

fn read_all(directory: &Path) -> headwater_types::Result<usize> {
    let store = open(directory)?;
    let mut count = 0;
    store.scan(Family::Blocks, b"", &mut |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

#[test]
fn damaged_and_missing_files_are_named() {
    let parent = tempfile::tempdir().unwrap();
    fill(&parent.path().join("data"));
    let source = parent.path().join("data.copy");
    assert_eq!(read_all(&source).unwrap(), 2_000);
    let files: Vec<String> = fs::read_dir(&source).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    for extension in [".sst", ".blob"] {
        let name = files.iter().find(|f| f.ends_with(extension)).unwrap();
        for damage in ["flip", "cut", "remove"] {
            let copy = parent.path().join(format!("{damage}{extension}"));
            fs::create_dir(&copy).unwrap();
            for file in &files {
                fs::copy(source.join(file), copy.join(file)).unwrap();
            }
            let path = copy.join(name);
            let mut bytes = fs::read(&path).unwrap();
            match damage {
                "flip" => {
                    let step = bytes.len() / 50;
                    bytes.iter_mut().step_by(step).for_each(|byte| *byte ^= 0xFF);
                    fs::write(&path, bytes).unwrap();
                }
                "cut" => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
            let error = read_all(&copy).err().unwrap_or_else(|| panic!("{damage} {name} was not noticed"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage} {name}: {error}");
            let number = name.split('.').next().unwrap();
            assert!(
                error.to_string().contains(number) || error.to_string().contains(&copy.display().to_string()),
                "{damage} {name}: {error}"
            );
        }
    }
}

#[test]
fn a_lost_current_file_is_not_a_new_database() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    fs::remove_file(directory.path().join("CURRENT")).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("CURRENT"), "{error}");
}

/// The newest log of a store that was dropped.
fn newest_log(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|f| f.unwrap().path());
    files.filter(|f| f.extension().is_some_and(|e| e == "log")).max().unwrap()
}

/// A log with two synced entries and one that is not.
fn log_of_three(directory: &Path) -> (PathBuf, Vec<u8>) {
    let store = open(directory).unwrap();
    put(&store, Family::Meta, "a", &[1; 1_000]);
    put(&store, Family::Meta, "b", &[2; 1_000]);
    store.sync().unwrap();
    put(&store, Family::Meta, "c", &[3; 1_000]);
    drop(store);
    let log = newest_log(directory);
    let bytes = fs::read(&log).unwrap();
    (log, bytes)
}

/// What a power loss leaves of an entry that was not synced: less of it, nothing, or anything.
#[test]
fn a_torn_tail_of_the_log_is_cut_off() {
    for damage in ["cut", "zeros", "garbage"] {
        let directory = tempfile::tempdir().unwrap();
        let (log, mut bytes) = log_of_three(directory.path());
        let tail = bytes.len() - 300;
        match damage {
            "cut" => bytes.truncate(tail),
            "zeros" => bytes[tail..].fill(0),
            _ => bytes[tail..].fill(0xAA),
        }
        fs::write(&log, bytes).unwrap();
        let store = open(directory.path()).unwrap();
        let has = |key: &[u8]| store.get(Family::Meta, key).unwrap().is_some();
        assert!(has(b"a") && has(b"b") && !has(b"c"), "{damage}");
    }
}

#[test]
fn a_log_that_lost_what_was_synced_is_damaged() {
    for damage in ["flip", "cut", "remove"] {
        let directory = tempfile::tempdir().unwrap();
        let (log, mut bytes) = log_of_three(directory.path());
        let middle = bytes.len() / 2;
        match damage {
            "flip" => bytes[middle] ^= 1,
            "cut" => bytes.truncate(middle),
            _ => bytes.clear(),
        }
        if damage == "remove" {
            fs::remove_file(&log).unwrap()
        } else {
            fs::write(&log, &bytes).unwrap()
        }
        // It stays damaged: opening it once more does not make it whole.
        for _ in 0..2 {
            let error = open(directory.path()).err().unwrap_or_else(|| panic!("{damage} was not noticed"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {error}");
            assert!(error.message().contains(&directory.path().display().to_string()), "{damage}: {error}");
        }
        assert!(damage != "flip" || fs::read(&log).unwrap() == bytes, "a damaged log is kept");
    }
}
