//! The file connector's options, and how its readers are opened.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use headwater_types::{Clock, Error, Result};

use super::listing::{check_pattern, list};
use super::place::Place;
use super::reader::{BoundedReader, FileReader, Queue};
use super::records::Included;
use super::sink::{FileSink, SINK_OPTIONS};
use super::watcher::Watcher;
use crate::format::Decoder;
use crate::{
    Capabilities, Connector, Encoding, Format, OptionSpec, Partition, Position, Positions, Sink, SinkDefinition, Source, SourceDefinition,
    check_options,
};

const SOURCE_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        about: "A file, or a pattern such as '/data/*.json'; files are read in the order of their names.",
        required: true,
    },
    OptionSpec {
        name: "mode",
        about: "'bounded' (default) reads the files that are there and ends; 'watch' goes on with new files and lines.",
        required: false,
    },
];

/// The connector.
pub(crate) struct File;

/// What the options say.
struct Settings {
    pattern: String,
    is_watch: bool,
    includes: Vec<Included>,
}

fn settings(definition: &SourceDefinition) -> Result<Settings> {
    let options = &definition.options;
    check_options("connector 'file'", SOURCE_OPTIONS, options)?;
    let pattern = options.get("path").cloned().unwrap_or_default();
    check_pattern(&pattern)?;
    let is_watch = match options.get("mode").map(String::as_str) {
        None | Some("bounded") => false,
        Some("watch") => true,
        Some(other) => return Err(Error::invalid(format!("mode = '{other}' is neither 'bounded' nor 'watch'"))),
    };
    if definition.format == Format::Upsert {
        return Err(Error::unsupported("FORMAT UPSERT with connector 'file'"));
    }
    let include = |what: &str| match what {
        "file" | "partition" => Ok(Included::File),
        "offset" => Ok(Included::Offset),
        other => Err(Error::unsupported(format!("INCLUDE {other} with connector 'file'")).with_hint("it has file, partition and offset")),
    };
    let includes = definition.includes.iter().map(|i| include(&i.what)).collect::<Result<_>>()?;
    Ok(Settings { pattern, is_watch, includes })
}

/// The position at the start of any file.
fn beginning() -> Position {
    Place::default().position()
}

impl Connector for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn source_options(&self) -> &'static [OptionSpec] {
        SOURCE_OPTIONS
    }

    fn sink_options(&self) -> &'static [OptionSpec] {
        SINK_OPTIONS
    }

    fn check_source(&self, definition: &SourceDefinition) -> Result<Capabilities> {
        let settings = settings(definition)?;
        match definition.encoding {
            Encoding::Json | Encoding::Csv => drop(Decoder::new(definition)?),
            Encoding::Parquet => check_options("ENCODE PARQUET", &[], &definition.encoding_options)?,
            Encoding::Native => return Err(Error::invalid("connector 'file' needs FORMAT PLAIN ENCODE JSON, CSV or PARQUET")),
        }
        Ok(Capabilities { bounded: !settings.is_watch, grows: true, replayable: true, columns: None })
    }

    fn start(&self, definition: &SourceDefinition) -> Result<Positions> {
        let settings = settings(definition)?;
        let files = list(&settings.pattern)?;
        if files.is_empty() && !settings.is_watch {
            return Err(Error::not_found(format!("no file matches '{}'", settings.pattern)));
        }
        Ok(files.into_iter().map(|file| (Partition::from(file), beginning())).collect())
    }

    fn open_source(
        &self,
        definition: &SourceDefinition,
        positions: &Positions,
        readers_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Source>>> {
        let Settings { pattern, is_watch, includes } = settings(definition)?;
        let readers_max = readers_max.max(1);
        if is_watch {
            let watcher = |share| {
                let files = FileReader::new(definition, &includes, false)?;
                Ok(Box::new(Watcher::new(files, &pattern, positions, (share, readers_max), clock.clone())?) as Box<dyn Source>)
            };
            return (0..readers_max).map(watcher).collect();
        }
        let queue = bounded_queue(&pattern, positions)?;
        let readers = readers_max.min(queue.files.len()).max(1);
        let queue = Arc::new(Mutex::new(queue));
        let reader = |_| Ok(Box::new(BoundedReader::new(FileReader::new(definition, &includes, true)?, queue.clone())) as Box<dyn Source>);
        (0..readers).map(reader).collect()
    }

    fn check_sink(&self, definition: &SinkDefinition) -> Result<()> {
        FileSink::new(definition).map(drop)
    }

    fn open_sink(&self, definition: &SinkDefinition) -> Result<Box<dyn Sink>> {
        Ok(Box::new(FileSink::new(definition)?))
    }
}

/// What there is to read: the files that match and those that were being read.
fn bounded_queue(pattern: &str, positions: &Positions) -> Result<Queue> {
    let found = list(pattern)?;
    if found.is_empty() && positions.is_empty() {
        return Err(Error::not_found(format!("no file matches '{pattern}'")));
    }
    let mut queue = Queue { files: VecDeque::new(), news: Vec::new(), gone: Vec::new() };
    let mut all: Vec<Partition> = found.iter().map(|f| Partition::from(f.as_str())).collect();
    all.extend(positions.keys().cloned());
    all.sort();
    all.dedup();
    for partition in all {
        let place = positions.get(&partition).map(Place::read).transpose()?;
        let is_there = found.binary_search_by(|f| f.as_str().cmp(&partition)).is_ok();
        match place {
            // Read to its end before it was removed: nothing is missing.
            Some(place) if !is_there && place.is_end => queue.gone.push(partition),
            Some(place) => queue.files.push_back((partition, place)),
            None => {
                queue.news.push((partition.clone(), beginning()));
                queue.files.push_back((partition, Place::default()));
            }
        }
    }
    Ok(queue)
}
