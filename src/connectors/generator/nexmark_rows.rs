//! Rows of nexmark: the three types of event, and which event each row is.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater_types::{Error, Result};

use super::nexmark_columns::{Columns, EVENTS};
use super::plan::Range;
use crate::options::nearest;

/// A type of event: its columns, and where its events stand among each 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Auction,
    Bid,
}

impl Kind {
    /// First place and number of places among 50 events.
    pub(super) fn places(self) -> (u64, u64) {
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
    pub(super) fn rows(self, events: u64) -> u64 {
        let (first, places) = self.places();
        events / EVENTS * places + (events % EVENTS).saturating_sub(first).min(places)
    }

    /// Its columns, as the connector declares them.
    pub(super) fn schema(self) -> SchemaRef {
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

/// Makes rows of one type of event, only the columns that were declared.
pub(super) struct NexmarkRows {
    kind: Kind,
    columns: Columns,
    schema: SchemaRef,
}

impl NexmarkRows {
    /// Rows with the columns of `schema`.
    ///
    /// # Errors
    /// `Invalid` for a column that the events do not have, or that is of another type.
    pub(super) fn new(kind: Kind, columns: Columns, schema: &SchemaRef) -> Result<Self> {
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

    /// The rows of `range`.
    ///
    /// # Errors
    /// `Bug` only.
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
