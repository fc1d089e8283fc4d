//! `connector = 'nexmark'`: the people, auctions and bids of the Nexmark benchmark, made up from a seed.

use std::sync::Arc;

use headwater_types::{Clock, Error, Micros, Result};

use super::nexmark_columns::{Columns, EVENTS, as_f64};
use super::nexmark_rows::{Kind, NexmarkRows};
use super::plan::Plan;
use super::reader::{self, Rows};
use crate::options::number;
use crate::{Capabilities, Connector, OptionSpec, Positions, Source, SourceDefinition, check_options};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "nexmark.table.type", about: "Which events: 'Person', 'Auction' or 'Bid'.", required: true },
    OptionSpec {
        name: "nexmark.event.num",
        about: "How many events of all three types there are; -1, the default, for no end.",
        required: false,
    },
    OptionSpec {
        name: "nexmark.min.event.gap.in.ns",
        about: "Time between two events in nanoseconds, in event time and on the clock; 100000 by default, 0 for flat out.",
        required: false,
    },
    OptionSpec {
        name: "events.per.second",
        about: "Events of all three types a second on the clock, whatever the gap says; 0 for flat out.",
        required: false,
    },
    OptionSpec { name: "nexmark.split.num", about: "Partitions; 1 by default.", required: false },
    OptionSpec { name: "nexmark.seed", about: "A number that all values follow from; 0 by default.", required: false },
    OptionSpec { name: "nexmark.base.time", about: "Timestamp of the first event; '2015-07-15 00:00:00' by default.", required: false },
];

const GAP_NANOS: u64 = 100_000;

/// The connector.
pub(crate) struct Nexmark;

/// What the options say.
struct Settings {
    kind: Kind,
    plan: Plan,
    columns: Columns,
}

fn settings(definition: &SourceDefinition) -> Result<Settings> {
    let options = &definition.options;
    check_options("connector 'nexmark'", OPTIONS, options)?;
    let kind = match options.get("nexmark.table.type").map(|t| t.to_ascii_lowercase()).as_deref() {
        Some("person") => Kind::Person,
        Some("auction") => Kind::Auction,
        Some("bid") => Kind::Bid,
        _ => return Err(Error::invalid("nexmark.table.type is 'Person', 'Auction' or 'Bid'")),
    };
    let events = number::<i64>(options, "nexmark.event.num")?.and_then(|n| u64::try_from(n).ok());
    let gap = number::<u64>(options, "nexmark.min.event.gap.in.ns")?.unwrap_or(GAP_NANOS);
    let by_gap = (gap > 0).then_some(1e9 / as_f64(gap));
    let rate = match number::<u64>(options, "events.per.second")? {
        None => by_gap,
        Some(rate) => (rate > 0).then_some(as_f64(rate)),
    };
    let splits = number::<u64>(options, "nexmark.split.num")?.unwrap_or(1);
    if !(1..=1_024).contains(&splits) {
        return Err(Error::invalid("nexmark.split.num is from 1 to 1024"));
    }
    let base = match options.get("nexmark.base.time") {
        None => 1_436_918_400_000_000,
        Some(text) => crate::format::timestamp(text.as_bytes())
            .ok_or_else(|| Error::invalid(format!("nexmark.base.time = '{text}' is no timestamp")))?,
    };
    let share = as_f64(kind.places().1) / as_f64(EVENTS);
    let plan = Plan { total: events.map(|n| kind.rows(n)), rate: rate.map(|r| r * share), splits };
    let seed = number::<u64>(options, "nexmark.seed")?.unwrap_or(0);
    Ok(Settings { kind, plan, columns: Columns::new(seed, base, if gap == 0 { GAP_NANOS } else { gap }) })
}

impl Connector for Nexmark {
    fn name(&self) -> &'static str {
        "nexmark"
    }

    fn source_options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn check_source(&self, definition: &SourceDefinition) -> Result<Capabilities> {
        let settings = settings(definition)?;
        NexmarkRows::new(settings.kind, settings.columns, &definition.schema)?;
        let columns = definition.schema.fields().is_empty().then(|| settings.kind.schema());
        Ok(Capabilities { bounded: settings.plan.total.is_some(), replayable: true, columns, ..Capabilities::default() })
    }

    fn start(&self, definition: &SourceDefinition) -> Result<Positions> {
        Ok(settings(definition)?.plan.start(Micros::default()))
    }

    fn open_source(
        &self,
        definition: &SourceDefinition,
        positions: &Positions,
        readers_max: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Source>>> {
        let settings = settings(definition)?;
        let rows = NexmarkRows::new(settings.kind, settings.columns, &definition.schema)?;
        reader::open(Rows::Nexmark(rows), &settings.plan, positions, readers_max, &clock)
    }
}
