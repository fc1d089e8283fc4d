//! Reads the project's own source and fails where it breaks the rules of the house; the limits only ever tighten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "house/source.rs"]
mod source;

use source::SourceFile;

/// A file may have this many lines beside its tests.
const FILE_LINES_MAX: usize = 600;
/// A function may have this many lines; those over 70 are printed.
const FUNCTION_LINES_MAX: usize = 100;
const FUNCTION_LINES_AIM: usize = 70;
/// A door holds a caption, modules and re-exports.
const DOOR_LINES_MAX: usize = 40;
const FORBIDDEN_NAMES: [&str; 11] = ["util", "utils", "common", "core", "helper", "helpers", "manager", "misc", "base", "impl", "inner"];
/// Circles among the files of a room that are still there; fewer is the only way this number may go.
const CIRCLES_MAX: usize = 26;
/// Words that name one connector. `file`, `print` and `s3` are left out: they are also ordinary words.
const CONNECTOR_NAMES: [&str; 8] = ["kafka", "rdkafka", "kinesis", "nexmark", "datagen", "blackhole", "iceberg", "postgres"];

/// Which rooms a room may import, by the table in `architecture.md`.
fn allowed_imports(room: &str) -> Option<&'static [&'static str]> {
    Some(match room {
        "types" => &[],
        "state" | "checkpoint" | "connectors" => &["types"],
        "catalog" | "operators" => &["types", "state"],
        "sql" => &["types", "catalog", "operators"],
        "runtime" => &["types", "state", "checkpoint", "operators", "connectors"],
        "engine" => &["types", "state", "checkpoint", "connectors", "catalog", "operators", "sql", "runtime"],
        "pgwire" | "console" => &["types", "engine"],
        "cli" => &["types", "engine", "pgwire", "console"],
        _ => return None,
    })
}

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sql-tests lies in the workspace").to_path_buf();
    let files = read_files(&root);
    assert!(files.len() > 20, "the house has not been found under {}", root.display());
    let mut faults = Vec::new();
    let upward = upward_imports(&root, &mut faults);
    let circles = circles(&files, &mut faults);
    let sizes = file_sizes(&files, &mut faults);
    let long_functions = function_sizes(&files, &mut faults);
    let silent = first_sentences(&files, &mut faults);
    forbidden_names(&files, &mut faults);
    doors(&files, &mut faults);
    let named = connectors_upstairs(&files, &mut faults);
    println!(
        "house: {upward} upward imports · {circles} circles · median file {} lines · largest {} ({}) · {} functions over {FUNCTION_LINES_AIM} lines · \
         {silent} files without a first sentence · {} settings · {named} connectors named above `connectors`",
        sizes.median,
        sizes.largest,
        sizes.largest_name,
        long_functions.len(),
        settings(&files),
    );
    for function in long_functions {
        println!("  long: {function}");
    }
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

/// Every Rust file of the rooms, the tests, benches and examples.
fn read_files(root: &Path) -> Vec<SourceFile> {
    let mut paths = Vec::new();
    for folder in ["src", "sql-tests", "benches", "examples"] {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| SourceFile::read(root, path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|e| e == "rs") {
            paths.push(path);
        }
    }
}

/// Rooms that a room's `Cargo.toml` names in any dependency table and may not.
fn upward_imports(root: &Path, faults: &mut Vec<String>) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(root.join("src")).expect("src is there").flatten() {
        let room = entry.file_name().to_string_lossy().into_owned();
        let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
        let Some(allowed) = allowed_imports(&room) else {
            faults.push(format!("src/{room}: a room that architecture.md does not know"));
            continue;
        };
        for import in imported_rooms(&manifest).into_iter().filter(|i| !allowed.contains(&i.as_str())) {
            faults.push(format!("src/{room}/Cargo.toml: imports {import}, which is not below it"));
            count += 1;
        }
    }
    count
}

/// The rooms among the dependencies of a manifest.
fn imported_rooms(manifest: &str) -> Vec<String> {
    let mut in_dependencies = false;
    let mut rooms = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_dependencies = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if in_dependencies && line.starts_with("headwater") {
            let name = line.split(['.', '=', ' ']).next().expect("split gives at least one part");
            rooms.push(name.strip_prefix("headwater-").unwrap_or("engine").to_string());
        }
    }
    rooms
}

/// Circles among the files of a room, over paths that start with `crate::`, looked up through the doors' re-exports.
fn circles(files: &[SourceFile], faults: &mut Vec<String>) -> usize {
    let mut by_room: BTreeMap<&str, Vec<&SourceFile>> = BTreeMap::new();
    for file in files.iter().filter(|f| f.path.starts_with("src/")) {
        by_room.entry(file.room()).or_default().push(file);
    }
    let mut count = 0;
    for (room, files) in by_room {
        let edges = source::module_edges(&files);
        for circle in source::circles(&edges) {
            println!("  circle in src/{room}: {}", circle.join(" -> "));
            count += 1;
        }
    }
    if count > CIRCLES_MAX {
        faults.push(format!("{count} circles of modules, at most {CIRCLES_MAX}"));
    }
    count
}

struct Sizes {
    median: usize,
    largest: usize,
    largest_name: String,
}

fn file_sizes(files: &[SourceFile], faults: &mut Vec<String>) -> Sizes {
    let mut sizes: Vec<(usize, &str)> = files.iter().map(|f| (f.lines_without_tests(), f.path.as_str())).collect();
    for (lines, path) in sizes.iter().filter(|(lines, _)| *lines > FILE_LINES_MAX) {
        faults.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    sizes.sort_unstable();
    let (largest, name) = *sizes.last().expect("there are files");
    Sizes { median: sizes[sizes.len() / 2].0, largest, largest_name: name.to_string() }
}

fn function_sizes(files: &[SourceFile], faults: &mut Vec<String>) -> Vec<String> {
    let mut long = Vec::new();
    for file in files {
        for function in file.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                faults.push(format!("{}: fn {} has {} lines, at most {FUNCTION_LINES_MAX}", file.path, function.name, function.lines));
            }
            if function.lines > FUNCTION_LINES_AIM {
                long.push(format!("{}: fn {} ({} lines)", file.path, function.name, function.lines));
            }
        }
    }
    long
}

fn first_sentences(files: &[SourceFile], faults: &mut Vec<String>) -> usize {
    let silent: Vec<_> = files.iter().filter(|f| !f.opens_with_a_sentence()).collect();
    for file in &silent {
        faults.push(format!("{}: does not open with `//!` and a sentence", file.path));
    }
    silent.len()
}

fn forbidden_names(files: &[SourceFile], faults: &mut Vec<String>) {
    for file in files {
        let stem = Path::new(&file.path).file_stem().expect("a file has a name").to_string_lossy().into_owned();
        if source::words(&stem).iter().any(|w| FORBIDDEN_NAMES.contains(&w.as_str())) || stem.ends_with("_v2") {
            faults.push(format!("{}: a file of that name says nothing of what is in it", file.path));
        }
        for name in file.type_names() {
            if source::words(&name).iter().any(|w| FORBIDDEN_NAMES.contains(&w.as_str())) || name.ends_with("V2") {
                faults.push(format!("{}: type {name} says nothing of what it is", file.path));
            }
        }
    }
}

fn doors(files: &[SourceFile], faults: &mut Vec<String>) {
    for file in files.iter().filter(|f| f.path.starts_with("src/") && f.path.ends_with("/lib.rs")) {
        let lines = file.lines_without_tests();
        if lines > DOOR_LINES_MAX {
            faults.push(format!("{}: a door of {lines} lines, at most {DOOR_LINES_MAX}", file.path));
        }
    }
}

/// Rooms where the word `postgres` means the dialect or the protocol.
const SPEAK_POSTGRES: [&str; 3] = ["sql", "engine", "pgwire"];

/// Connector names in the code (strings too) of any room but `connectors`.
fn connectors_upstairs(files: &[SourceFile], faults: &mut Vec<String>) -> usize {
    let mut count = 0;
    for file in files.iter().filter(|f| f.path.starts_with("src/") && f.room() != "connectors" && !f.is_test()) {
        let words: BTreeSet<String> = source::words(&file.code_without_tests()).into_iter().collect();
        for name in CONNECTOR_NAMES.iter().filter(|n| words.contains(**n) && !(**n == "postgres" && SPEAK_POSTGRES.contains(&file.room())))
        {
            faults.push(format!("{}: names the connector {name}", file.path));
            count += 1;
        }
    }
    count
}

/// What a user can set: command-line arguments and session or database settings.
fn settings(files: &[SourceFile]) -> usize {
    let count = |file: &SourceFile| {
        let code = file.code_without_tests();
        code.matches("#[arg(").count() + code.matches("Setting {").count().saturating_sub(code.matches("struct Setting {").count())
    };
    files.iter().filter(|f| f.path.starts_with("src/")).map(count).sum()
}
