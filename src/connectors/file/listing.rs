//! Which files a path means: a pattern's matches, sorted by name.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use headwater_types::{Error, Result};

const COMPRESSED: &[&str] = &["gz", "zst", "bz2", "xz", "lz4", "br", "zip", "snappy"];

/// How compressed files begin. Text in UTF-8 or any of its relatives does not.
const COMPRESSED_BEGINNINGS: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh91AY&", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
];

/// Refuses a file whose name says that it is compressed.
///
/// # Errors
/// `Unsupported` naming the file.
pub(super) fn refuse_compressed(path: &str) -> Result<()> {
    let extension = Path::new(path).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.filter(|e| COMPRESSED.contains(&e.as_str())) {
        Some(extension) => Err(Error::unsupported(format!("file '{path}' is compressed (.{extension})")).with_hint("decompress it first")),
        None => Ok(()),
    }
}

/// Refuses a file that begins with `bytes` if it is compressed, whatever its name says.
///
/// # Errors
/// `Unsupported` naming the file.
pub(super) fn refuse_compressed_content(path: &str, bytes: &[u8]) -> Result<()> {
    match COMPRESSED_BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        Some((_, by)) => Err(Error::unsupported(format!("file '{path}' is compressed ({by})")).with_hint("decompress it first")),
        None => Ok(()),
    }
}

/// Checks a pattern without looking at any file.
///
/// # Errors
/// `Invalid` for one that is no pattern, `Unsupported` for compressed files.
pub(super) fn check_pattern(pattern: &str) -> Result<()> {
    Pattern::new(pattern).map_err(|error| Error::invalid(format!("path = '{pattern}' is no pattern: {error}")))?;
    refuse_compressed(pattern)
}

/// The files that match `pattern` now, in the order of their names. Hidden files match only a pattern that says so.
///
/// # Errors
/// `External` where a directory cannot be read; `Unsupported` if one of the files is compressed, or its name is not UTF-8.
pub(super) fn list(pattern: &str) -> Result<Vec<String>> {
    let options = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let matches =
        glob::glob_with(pattern, options).map_err(|error| Error::invalid(format!("path = '{pattern}' is no pattern: {error}")))?;
    let mut files = Vec::new();
    for found in matches {
        let path: PathBuf = found.map_err(|error| Error::external(format!("path '{pattern}': {error}")))?;
        if path.is_dir() {
            continue;
        }
        let name = path.to_str().ok_or_else(|| Error::unsupported(format!("file {} has a name that is not UTF-8", path.display())))?;
        refuse_compressed(name)?;
        files.push(String::from(name));
    }
    files.sort();
    Ok(files)
}

/// The error for a file of which more was read than there is now. A watched one is waited for: somebody may be putting it back. A bounded source
/// stops, so that who waits for its end is told.
pub(super) fn cut_error(message: String, is_watched: bool) -> Error {
    if is_watched { Error::external(message) } else { Error::invalid(message).with_sqlstate("22000") }
}

/// The error for `error` on `path`, saying what became of the file.
pub(super) fn io_error(path: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::external(format!("file '{path}' has vanished before it was read to its end"))
            .with_hint("put it back, or drop the source"),
        _ => Error::external(format!("file '{path}': {error}")),
    }
}
