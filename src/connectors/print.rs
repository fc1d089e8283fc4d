//! `connector = 'print'`: a sink that writes each change to standard output, one line each.

use std::io::Write;

use async_trait::async_trait;
use headwater_types::{ChangeBatch, Error, Result};

use crate::format::JsonEncoder;
use crate::{Connector, Delivery, Mark, OptionSpec, Sink, SinkDefinition, check_options};

const OPTIONS: &[OptionSpec] =
    &[OptionSpec { name: "prefix", about: "Text before every line; the sink's name and ': ' by default.", required: false }];

/// The connector.
pub(crate) struct Print;

impl Connector for Print {
    fn name(&self) -> &'static str {
        "print"
    }

    fn sink_options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn check_sink(&self, definition: &SinkDefinition) -> Result<()> {
        check_options("connector 'print'", OPTIONS, &definition.options)?;
        Lines::new(definition).map(|_| ())
    }

    fn open_sink(&self, definition: &SinkDefinition) -> Result<Box<dyn Sink>> {
        self.check_sink(definition)?;
        Ok(Box::new(Lines::new(definition)?))
    }
}

/// Turns changes into lines: `insert {…}`, `delete {…}`.
struct Lines {
    prefix: String,
    encoder: JsonEncoder,
}

impl Lines {
    fn new(definition: &SinkDefinition) -> Result<Self> {
        let all: Vec<usize> = (0..definition.schema.fields().len()).collect();
        let prefix = definition.options.get("prefix").cloned().unwrap_or_else(|| format!("{}: ", definition.name));
        Ok(Self { prefix, encoder: JsonEncoder::new(&definition.schema, &all)? })
    }

    fn write(&self, changes: &[ChangeBatch]) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        for batch in changes {
            let rows = self.encoder.rows(batch.rows())?;
            for row in 0..batch.len() {
                let weight = batch.weight(row);
                let word: &[u8] = if weight < 0 { b"delete " } else { b"insert " };
                for _ in 0..weight.unsigned_abs() {
                    lines.extend_from_slice(self.prefix.as_bytes());
                    lines.extend_from_slice(word);
                    rows.write(row, &mut lines);
                    lines.push(b'\n');
                }
            }
        }
        Ok(lines)
    }
}

#[async_trait]
impl Sink for Lines {
    async fn mark(&mut self) -> Result<Option<Mark>> {
        Ok(None)
    }

    fn keeps_mark(&self) -> bool {
        false
    }

    async fn deliver(&mut self, delivery: &Delivery) -> Result<()> {
        let lines = self.write(&delivery.changes)?;
        let mut out = std::io::stdout().lock();
        let written = out.write_all(&lines).and_then(|()| out.flush());
        written.map_err(|error| Error::external(format!("standard output: {error}")))
    }

    async fn rewrite(&mut self, rows: Vec<ChangeBatch>, mark: Mark) -> Result<()> {
        self.deliver(&Delivery { before: None, mark, changes: rows }).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::{Encoding, Format, Options};

    #[test]
    fn each_change_is_a_line() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let definition = SinkDefinition {
            name: String::from("out"),
            uuid: uuid::Uuid::nil(),
            schema: schema.clone(),
            key: vec![],
            upsert: false,
            options: Options::new(),
            format: Format::Plain,
            encoding: Encoding::Json,
            encoding_options: Options::new(),
        };
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))]).expect("one column");
        let changes = ChangeBatch::new(rows, vec![-1, 1, 2]).expect("as many weights");
        let lines = Lines::new(&definition).expect("known types").write(&[changes]).expect("the same schema");
        let expected = "out: delete {\"n\":1}\nout: insert {\"n\":null}\nout: insert {\"n\":3}\nout: insert {\"n\":3}\n";
        assert_eq!(String::from_utf8(lines).expect("text"), expected);
    }
}
