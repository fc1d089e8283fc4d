//! Rows of datagen: every column by its maker, some of the rows as records cut short.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use headwater_types::{Micros, Result};

use super::chance::Chance;
use super::datagen_column::Maker;
use super::plan::Range;
use crate::format::{Decoder, JsonEncoder};
use crate::{Encoding, Options, Reject, SourceDefinition};

/// Makes rows of declared columns.
pub(super) struct DatagenRows {
    schema: SchemaRef,
    makers: Vec<Maker>,
    malformed: (Chance, f64),
    encoder: JsonEncoder,
    /// The same columns as JSON records, to say of malformed ones what any reader of JSON would say.
    definition: SourceDefinition,
}

impl DatagenRows {
    /// Rows of the columns that `makers` make, a share of them malformed.
    ///
    /// # Errors
    /// `Unsupported` for a column type that has no JSON form, in which malformed rows are shown.
    pub(super) fn new(definition: &SourceDefinition, makers: Vec<Maker>, malformed: (Chance, f64)) -> Result<Self> {
        let all: Vec<usize> = (0..makers.len()).collect();
        let encoder = JsonEncoder::new(&definition.schema, &all)?;
        let as_json =
            SourceDefinition { encoding: Encoding::Json, options: Options::new(), encoding_options: Options::new(), ..definition.clone() };
        Ok(Self { schema: definition.schema.clone(), makers, malformed, encoder, definition: as_json })
    }

    /// The rows of `range`, and the records of those that are malformed.
    ///
    /// # Errors
    /// `Bug` only.
    pub(super) fn make(&self, range: Range, base: Micros) -> Result<(RecordBatch, Vec<Reject>)> {
        let (chance, fraction) = self.malformed;
        let (bad, good): (Vec<u64>, Vec<u64>) = range.numbers().partition(|row| chance.happens(*row, fraction));
        let rejects = if bad.is_empty() { Vec::new() } else { self.cut_short(&bad, base)? };
        Ok((self.rows(&good, base)?, rejects))
    }

    fn rows(&self, numbers: &[u64], base: Micros) -> Result<RecordBatch> {
        let arrays = self.makers.iter().map(|m| m.make(numbers, base)).collect::<Result<Vec<ArrayRef>>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }

    /// The rows as JSON records of which the end is missing.
    fn cut_short(&self, numbers: &[u64], base: Micros) -> Result<Vec<Reject>> {
        let batch = self.rows(numbers, base)?;
        let rows = self.encoder.rows(&batch)?;
        let mut decoder = Decoder::new(&self.definition)?;
        let mut rejects = Vec::with_capacity(numbers.len());
        for (at, number) in numbers.iter().enumerate() {
            let mut payload = Vec::new();
            rows.write(at, &mut payload);
            payload.truncate(1 + self.malformed.0.stream(1).below(*number, payload.len() as u64 - 1) as usize);
            let reason = decoder.decode(&payload, &[]).err().unwrap_or_else(|| String::from("cut short"));
            rejects.push(Reject { position: number.to_string(), reason, payload });
        }
        Ok(rejects)
    }
}
