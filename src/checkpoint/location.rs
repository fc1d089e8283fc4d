//! From a checkpoint URL to the object store behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Error, Result};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

/// One request may take this long: a part of 8 MiB at 140 kB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A store, and the directory under it where it is a local one.
pub(crate) struct Place {
    pub store: Arc<dyn ObjectStore>,
    /// For `file://`: its root, so that what is written can be synced.
    pub root: Option<PathBuf>,
}

/// Opens `s3://bucket/prefix`, `file:///directory` or `memory://`. Nothing is sent yet.
pub(crate) fn open_place(url: &str) -> Result<Place> {
    match url.split_once("://") {
        Some(("s3", rest)) => {
            let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
            open_s3(url, rest, names.iter().find_map(|name| std::env::var(name).ok()))
        }
        Some(("file", path)) => open_directory(url, path),
        Some(("memory", "")) => Ok(Place { store: Arc::new(InMemory::new()), root: None }),
        _ => Err(Error::invalid(format!("{url:?} is not a checkpoint URL")).with_hint("write s3://bucket/prefix or file:///directory")),
    }
}

fn open_directory(url: &str, path: &str) -> Result<Place> {
    let root = PathBuf::from(path);
    if !root.is_absolute() {
        return Err(Error::invalid(format!("{url:?} must name an absolute path")).with_hint("three slashes: file:///var/checkpoints"));
    }
    std::fs::create_dir_all(&root).map_err(|e| Error::storage(format!("cannot make the directory of {url}: {e}")))?;
    let store = LocalFileSystem::new_with_prefix(&root).map_err(|e| Error::storage(format!("cannot open {url}: {e}")))?;
    Ok(Place { store: Arc::new(store), root: Some(root) })
}

/// `endpoint` is where a server other than AWS answers.
pub(crate) fn open_s3(url: &str, rest: &str, endpoint: Option<String>) -> Result<Place> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::invalid(format!("{url:?} names no bucket")).with_hint("write s3://bucket/prefix"));
    }
    // The chain has its own rules for what to do after an error, so the client must give up long before a lease would be lost.
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 },
        max_retries: 4,
        retry_timeout: REQUEST_TIMEOUT,
    };
    let mut options = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
    let plain_http_allowed = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if let Some(endpoint) = endpoint {
        if endpoint.starts_with("http://") && !(plain_http_allowed || is_loopback(&endpoint)) {
            let message = format!("the S3 endpoint {endpoint} is not encrypted");
            return Err(Error::invalid(message).with_hint("use https, or set AWS_ALLOW_HTTP=true if the network can be trusted"));
        }
        options = options.with_allow_http(endpoint.starts_with("http://"));
        // Servers other than AWS seldom answer on bucket.host.
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
    }
    let store = builder.with_client_options(options).build().map_err(|e| Error::invalid(format!("cannot open {url}: {e}")))?;
    let prefix = prefix.trim_matches('/');
    let store: Arc<dyn ObjectStore> = if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) };
    Ok(Place { store, root: None })
}

fn is_loopback(endpoint: &str) -> bool {
    let host = endpoint.trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or(host);
    let host = if host.starts_with('[') { host.split(']').next().unwrap_or(host) } else { host.split(':').next().unwrap_or(host) };
    host == "localhost" || host == "[::1" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Syncs a file and the directories above it up to `root`: the local store itself does not.
pub(crate) fn sync_path(root: &Path, object: &str) -> std::io::Result<()> {
    let path = root.join(object);
    std::fs::File::open(&path)?.sync_all()?;
    for directory in path.ancestors().skip(1) {
        std::fs::File::open(directory)?.sync_all()?;
        if directory == root {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_be_plain() {
        for yes in ["http://localhost:9000", "http://127.0.0.1:5000/x", "http://[::1]:80"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["http://minio:9000", "http://10.0.0.1", "http://127.example.com", "http://localhost.example.com"] {
            assert!(!is_loopback(no), "{no}");
        }
    }

    #[test]
    fn wrong_urls_are_named() {
        for url in ["", "gs://x", "file://relative", "s3:///x", "/tmp/x", "memory://x"] {
            let error = open_place(url).map(|_| ()).unwrap_err();
            assert!(error.message().contains(&format!("{url:?}")), "{error}");
        }
    }
}
