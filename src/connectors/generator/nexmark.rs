//! `connector = 'nexmark'`: the people, auctions and bids of the Nexmark benchmark, made up from a seed.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater_types::{Clock, Error, Micros, Result};

use super::nexmark_columns::{self as columns, Columns};
use super::reader::{self, Plan, Range, Rows};
use crate::options::{nearest, number};
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

/// Of every 50 events the first is a person, the next three are auctions, the others bids.
pub(super) const EVENTS: u64 = 50;

/// The connector.
pub(crate) struct Nexmark;

/// A type of event: its columns, and where its events stand among each 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Auction,
    Bid,
}

impl Kind {
    /// First place and number of places among 50 events.
    fn places(self) -> (u64, u64) {
        match self {
            Kind::Person => (0, 1),
            Kind::Auction => (1, 3),
            Kind::Bid => (4, 46),
        }
    }

    /// The event number of the row `row` of this type.
    pub(super) fn event(self, row: u64) -> u64 {
        let (first, places) = self.places();
        row / places * EVENTS + first + row % places
    }

    /// How many of the first `events` events are of this type.
    fn rows(self, events: u64) -> u64 {
        let (first, places) = self.places();
        events / EVENTS * places + (events % EVENTS).saturating_sub(first).min(places)
    }

    fn schema(self) -> SchemaRef {
        let bigint = |name| Field::new(name, DataType::Int64, true);
        let text = |name| Field::new(name, DataType::Utf8, true);
        let time = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
        Arc::new(Schema::new(match self {
            Kind::Person => vec![
                bigint("id"),
                text("name"),
                text("email_address"),
                text("credit_card"),
                text("city"),
                text("state"),
                time("date_time"),
                text("extra"),
            ],
            Kind::Auction => vec![
                bigint("id"),
                text("item_name"),
                text("description"),
                bigint("initial_bid"),
                bigint("reserve"),
                time("date_time"),
                time("expires"),
                bigint("seller"),
                bigint("category"),
                text("extra"),
            ],
            Kind::Bid => {
                vec![bigint("auction"), bigint("bidder"), bigint("price"), text("channel"), text("url"), time("date_time"), text("extra")]
            }
        }))
    }
}

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
    let by_gap = (gap > 0).then_some(1e9 / columns::as_f64(gap));
    let rate = match number::<u64>(options, "events.per.second")? {
        None => by_gap,
        Some(rate) => (rate > 0).then_some(columns::as_f64(rate)),
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
    let share = columns::as_f64(kind.places().1) / columns::as_f64(EVENTS);
    let plan = Plan { total: events.map(|n| kind.rows(n)), rate: rate.map(|r| r * share), splits };
    let seed = number::<u64>(options, "nexmark.seed")?.unwrap_or(0);
    Ok(Settings { kind, plan, columns: Columns::new(seed, base, if gap == 0 { GAP_NANOS } else { gap }) })
}

/// Makes rows of one type of event, only the columns that were declared.
pub(super) struct NexmarkRows {
    kind: Kind,
    columns: Columns,
    schema: SchemaRef,
}

impl NexmarkRows {
    fn new(kind: Kind, columns: Columns, schema: &SchemaRef) -> Result<Self> {
        let known = kind.schema();
        for field in schema.fields() {
            let Ok(there) = known.field_with_name(field.name()) else {
                let names: Vec<&str> = known.fields().iter().map(|f| f.name().as_str()).collect();
                let error = Error::invalid(format!("a nexmark {kind:?} has no column \"{}\"", field.name()));
                return Err(match nearest(field.name(), &names) {
                    Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
                    None => error.with_hint(format!("its columns are: {}", names.join(", "))),
                });
            };
            if there.data_type() != field.data_type() {
                let wanted = crate::format::type_name(there);
                return Err(Error::invalid(format!("column \"{}\" of a nexmark {kind:?} is {wanted}", field.name())));
            }
        }
        Ok(Self { kind, columns, schema: schema.clone() })
    }

    pub(super) fn make(&self, range: Range) -> Result<RecordBatch> {
        let events: Vec<u64> = range.numbers().map(|row| self.kind.event(row)).collect();
        let column = |field: &Arc<Field>| match self.kind {
            Kind::Person => self.columns.person(field.name(), &events),
            Kind::Auction => self.columns.auction(field.name(), &events),
            Kind::Bid => self.columns.bid(field.name(), &events),
        };
        let arrays = self.schema.fields().iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }
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
        Ok(Capabilities { bounded: settings.plan.total.is_some(), replayable: true, columns })
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
