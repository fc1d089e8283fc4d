//! `connector = 'datagen'`: rows made up column by column, as options say; disorder and garbage on request.

use std::sync::Arc;

use headwater_types::{Clock, Error, Result, SystemClock};

use super::chance::Chance;
use super::datagen_column::{COLUMN_OPTIONS, Maker};
use super::datagen_rows::DatagenRows;
use super::plan::Plan;
use super::reader::{self, Rows};
use crate::options::{fraction, nearest, number};
use crate::{Capabilities, Connector, OptionSpec, Positions, Source, SourceDefinition, check_options};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "datagen.rows.per.second",
        about: "Rows a second, over all splits; 10 by default, 0 for flat out.",
        required: false,
    },
    OptionSpec { name: "rows.total", about: "The source ends after so many rows; without it, it goes on.", required: false },
    OptionSpec { name: "datagen.split.num", about: "Partitions; 1 by default.", required: false },
    OptionSpec { name: "seed", about: "A number that all values follow from; 0 by default.", required: false },
    OptionSpec {
        name: "malformed.fraction",
        about: "Share of rows, from 0 to 1, that come as records cut short, which end in the source's errors.",
        required: false,
    },
    OptionSpec {
        name: "fields.*",
        about: "fields.COLUMN.kind ('random', 'sequence'), .min, .max, .start, .end, .step, .length, .seed, .null.fraction; of timestamps \
                also .basetime, .max_past, .max_past_mode, .late.fraction, .late.by.",
        required: false,
    },
];

/// The connector.
pub(crate) struct Datagen;

fn settings(definition: &SourceDefinition) -> Result<(Plan, DatagenRows)> {
    let options = &definition.options;
    check_options("connector 'datagen'", OPTIONS, options)?;
    check_field_options(definition)?;
    if !definition.includes.is_empty() {
        return Err(Error::unsupported("INCLUDE with connector 'datagen'"));
    }
    if definition.schema.fields().is_empty() {
        return Err(Error::invalid("connector 'datagen' needs columns"));
    }
    let seed = number::<u64>(options, "seed")?.unwrap_or(0);
    let rate = number::<f64>(options, "datagen.rows.per.second")?.unwrap_or(10.0);
    if !rate.is_finite() || rate < 0.0 {
        return Err(Error::invalid("datagen.rows.per.second is 0 or more"));
    }
    let splits = number::<u64>(options, "datagen.split.num")?.unwrap_or(1);
    if !(1..=1_024).contains(&splits) {
        return Err(Error::invalid("datagen.split.num is from 1 to 1024"));
    }
    let malformed = fraction(options, "malformed.fraction")?;
    let rate = (rate > 0.0).then_some(rate);
    let makers = definition.schema.fields().iter().map(|f| Maker::new(f, options, seed, rate)).collect::<Result<Vec<_>>>()?;
    let total = number::<u64>(options, "rows.total")?;
    let total = makers.iter().filter_map(Maker::rows).chain(total).min();
    let rows = DatagenRows::new(definition, makers, (Chance::new(seed, "malformed"), malformed))?;
    Ok((Plan { total, rate, splits }, rows))
}

/// Every `fields.COLUMN.OPTION` names a column and an option there is.
fn check_field_options(definition: &SourceDefinition) -> Result<()> {
    let columns: Vec<String> = definition.schema.fields().iter().map(|f| f.name().to_lowercase()).collect();
    for name in definition.options.keys() {
        let Some(rest) = name.strip_prefix("fields.") else { continue };
        let after_column = |c: &String| rest.strip_prefix(c.as_str()).and_then(|r| r.strip_prefix('.'));
        let Some(option) = columns.iter().find_map(after_column) else {
            let column = rest.split('.').next().unwrap_or(rest);
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            let error = Error::invalid(format!("option '{name}': there is no column \"{column}\""));
            return Err(match nearest(column, &names) {
                Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
                None => error,
            });
        };
        if !COLUMN_OPTIONS.contains(&option) {
            let error = Error::invalid(format!("a column of connector 'datagen' has no option '{option}'"));
            return Err(match nearest(option, COLUMN_OPTIONS) {
                Some(near) => error.with_hint(format!("did you mean '{near}'?")),
                None => error.with_hint(format!("its options are: {}", COLUMN_OPTIONS.join(", "))),
            });
        }
    }
    Ok(())
}

impl Connector for Datagen {
    fn name(&self) -> &'static str {
        "datagen"
    }

    fn source_options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn check_source(&self, definition: &SourceDefinition) -> Result<Capabilities> {
        let (plan, _) = settings(definition)?;
        Ok(Capabilities { bounded: plan.total.is_some(), replayable: true, ..Capabilities::default() })
    }

    /// The base of timestamps without one is the time of this call; positions carry it, so that every reader makes the same rows.
    fn start(&self, definition: &SourceDefinition) -> Result<Positions> {
        Ok(settings(definition)?.0.start(SystemClock::default().now()))
    }

    fn open_source(
        &self,
        definition: &SourceDefinition,
        positions: &Positions,
        readers_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Source>>> {
        let (plan, rows) = settings(definition)?;
        reader::open(Rows::Datagen(rows), &plan, positions, readers_max, &clock)
    }
}
