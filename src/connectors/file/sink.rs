//! Delivering into files: each delivery complete under its names, or not there at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use headwater_types::{ChangeBatch, Clock, Epoch, Error, Result, SystemClock};

use super::names::{FileName, mark_file};
use super::parts::{Kind, Target, counting, failed, write_mark};
use crate::format::{JsonEncoder, duration_micros};
use crate::options::number;
use crate::{Delivery, Encoding, Mark, OptionSpec, Sink, SinkDefinition, check_options};

pub(super) const SINK_OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "path", about: "The directory that files are written to; it must exist.", required: true },
    OptionSpec { name: "prefix", about: "What file names begin with; the sink's name by default.", required: false },
    OptionSpec {
        name: "roll.bytes",
        about: "A file that has reached this size is followed by another; 134217728 by default.",
        required: false,
    },
    OptionSpec {
        name: "roll.interval",
        about: "At most one file in this time, unless it is full; '1 second' by default.",
        required: false,
    },
];

const ROLL_BYTES: u64 = 128 << 20;
const ROLL_MICROS: i64 = 1_000_000;

/// A delivery writes its files under temporary names, syncs them, and then gives them their names one after the other. The first of these
/// renames decides: a crash before it leaves nothing, one after it is finished by the next `mark`, since all parts are on disk by then.
pub(super) struct FileSink {
    target: Target,
    definition: SinkDefinition,
    interval: Duration,
    clock: SystemClock,
    last: Option<Duration>,
    held: Option<Mark>,
    is_open: bool,
}

impl FileSink {
    /// A sink by its options; touches nothing.
    ///
    /// # Errors
    /// `Invalid` for a bad option; `Unsupported` for an upsert sink or an encoding that files are not written in.
    pub(super) fn new(definition: &SinkDefinition) -> Result<Self> {
        let options = &definition.options;
        check_options("a sink of connector 'file'", SINK_OPTIONS, options)?;
        if definition.upsert {
            return Err(
                Error::unsupported("type = 'upsert' with connector 'file'").with_hint("files are only appended to: type = 'append-only'")
            );
        }
        let kind = match definition.encoding {
            Encoding::Json => Kind::Json,
            Encoding::Parquet => Kind::Parquet,
            Encoding::Csv => return Err(Error::unsupported("ENCODE CSV in a sink of connector 'file'")),
            Encoding::Native => return Err(Error::invalid("a sink of connector 'file' needs FORMAT PLAIN ENCODE JSON or PARQUET")),
        };
        check_options("this encoding", &[], &definition.encoding_options)?;
        if kind == Kind::Json {
            let all: Vec<usize> = (0..definition.schema.fields().len()).collect();
            JsonEncoder::new(&definition.schema, &all)?;
        }
        let prefix = options.get("prefix").unwrap_or(&definition.name).clone();
        if prefix.is_empty() || prefix.starts_with('.') || prefix.contains('/') {
            return Err(Error::invalid(format!("prefix = '{prefix}' cannot begin a file name")));
        }
        let micros = match options.get("roll.interval") {
            None => ROLL_MICROS,
            Some(text) => duration_micros(text).ok_or_else(|| Error::invalid(format!("roll.interval = '{text}' is no length of time")))?,
        };
        let target = Target {
            directory: options.get("path").map(std::path::PathBuf::from).unwrap_or_default(),
            prefix,
            kind,
            schema: definition.schema.clone(),
            bytes_max: number(options, "roll.bytes")?.unwrap_or(ROLL_BYTES),
        };
        let interval = Duration::from_micros(u64::try_from(micros).map_err(|_| Error::invalid("roll.interval is below 0"))?);
        Ok(Self { target, definition: definition.clone(), interval, clock: SystemClock::default(), last: None, held: None, is_open: false })
    }

    fn name(&self, before: Option<Mark>, mark: Mark) -> FileName {
        let after = before.map_or(Epoch(0), |m| m.epoch);
        FileName { prefix: self.target.prefix.clone(), mark, after, part: 1, parts: 1, extension: self.target.kind.extension() }
    }

    /// Finishes or removes what a crash left, and reads off how far the files go.
    fn recover(&self) -> Result<Option<Mark>> {
        let directory = &self.target.directory;
        let entries = fs::read_dir(directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::invalid(format!("directory '{}' does not exist", directory.display())),
            _ => failed(directory, error),
        })?;
        let (mut held, mut temporary) = (None::<Mark>, BTreeMap::<(u64, u64), Vec<(FileName, std::path::PathBuf)>>::new());
        let mut parts = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(directory, error))?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let Some((name, is_temporary)) = FileName::read(name, self.definition.uuid, self.target.kind.extension()) else { continue };
            let delivery = (name.mark.incarnation, name.mark.epoch.0);
            if is_temporary {
                temporary.entry(delivery).or_default().push((name, path));
            } else {
                held = later(held, name.mark);
                parts.insert(delivery, name.parts);
            }
        }
        for (delivery, files) in temporary {
            for (name, path) in files {
                let done = match parts.get(&delivery) {
                    Some(parts) => fs::rename(&path, directory.join(FileName { parts: *parts, ..name }.text())),
                    None => fs::remove_file(&path),
                };
                done.map_err(|error| failed(&path, error))?;
            }
        }
        sync_directory(directory)?;
        Ok(match self.read_mark()? {
            Some(mark) => later(held, mark),
            None => held,
        })
    }

    fn read_mark(&self) -> Result<Option<Mark>> {
        let path = self.target.directory.join(mark_file(self.definition.uuid));
        match fs::read(&path) {
            Ok(bytes) => {
                let mark = serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(format!("file '{}': {error}", path.display())))?;
                Ok(Some(mark))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// True if the target has `delivery` already.
    fn has(&self, delivery: &Delivery) -> Result<bool> {
        let Some(held) = self.held else { return Ok(false) };
        let before = delivery.before.map_or((0, 0), |m| (m.incarnation, m.epoch.0));
        if held == delivery.mark {
            return Ok(true);
        }
        // Epochs without changes move only the mark that the database keeps, so the one here may be behind, never ahead.
        if (held.incarnation, held.epoch.0) > before.max((delivery.mark.incarnation, 0)) {
            let message = format!(
                "directory '{}' holds epoch {} of this sink: somebody else delivers it",
                self.target.directory.display(),
                held.epoch
            );
            return Err(Error::fenced(message));
        }
        Ok(false)
    }

    /// Waits until another file may come.
    async fn wait_for_turn(&self) {
        if let Some(last) = self.last {
            let since = self.clock.elapsed() - last;
            tokio::time::sleep(self.interval.saturating_sub(since)).await;
        }
    }
}

/// Writes the files of one delivery, names them and notes its mark.
fn deliver(target: &Target, name: &FileName, changes: &[ChangeBatch]) -> Result<()> {
    let parts = target.write(changes, name)?;
    for part in 1..=parts {
        let from = target.directory.join(counting(name, part).temporary());
        let to = target.directory.join(FileName { part, parts, ..name.clone() }.text());
        fs::rename(&from, &to).map_err(|error| failed(&to, error))?;
    }
    sync_directory(&target.directory)?;
    write_mark(&target.directory.join(mark_file(name.mark.sink)), &name.mark)?;
    sync_directory(&target.directory)
}

fn sync_directory(directory: &Path) -> Result<()> {
    fs::File::open(directory).and_then(|d| d.sync_all()).map_err(|error| failed(directory, error))
}

/// The later of two marks of one sink.
fn later(mark: Option<Mark>, other: Mark) -> Option<Mark> {
    Some(mark.map_or(other, |mark| if (mark.incarnation, mark.epoch) < (other.incarnation, other.epoch) { other } else { mark }))
}

#[async_trait]
impl Sink for FileSink {
    async fn mark(&mut self) -> Result<Option<Mark>> {
        self.held = self.recover()?;
        self.is_open = true;
        Ok(self.held)
    }

    fn keeps_mark(&self) -> bool {
        true
    }

    async fn deliver(&mut self, delivery: &Delivery) -> Result<()> {
        if !self.is_open {
            self.mark().await?;
        }
        if self.has(delivery)? {
            return Ok(());
        }
        self.wait_for_turn().await;
        let (target, changes) = (self.target.clone(), delivery.changes.clone());
        let name = self.name(delivery.before, delivery.mark);
        // Writing and syncing block: not on a thread that others wait for.
        let written = tokio::task::spawn_blocking(move || deliver(&target, &name, &changes)).await;
        written.map_err(|error| Error::bug(format!("writing files stopped: {error}")))??;
        self.last = Some(self.clock.elapsed());
        self.held = Some(delivery.mark);
        Ok(())
    }

    async fn rewrite(&mut self, _rows: Vec<ChangeBatch>, _mark: Mark) -> Result<()> {
        Err(Error::unsupported("rewriting the files of a sink: they are only appended to"))
    }
}
