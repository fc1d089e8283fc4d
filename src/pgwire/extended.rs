//! The extended protocol: Parse, Bind, Describe, Execute, Close, Sync.

use crate::connection::{Connection, attended};
use crate::decode::{read_binary, read_text};
use crate::encode::{Format, RowEncoder, describe_columns, format_of_code};
use crate::results::{Sending, complete_tag};
use crate::wire::Step;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::ScalarValue;
use headwater::system::{parameter_type, wire_type};
use headwater::{BlockState, CopyKind, Error, Outcome, Prepared, Result};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use std::sync::Arc;

/// A statement that was parsed; None for an empty text.
#[derive(Clone)]
pub struct PreparedStatement {
    prepared: Option<Arc<Prepared>>,
    /// The type of each parameter as the client knows it.
    parameter_oids: Vec<u32>,
}

impl PreparedStatement {
    /// What it returns; none if no rows.
    fn columns(&self) -> Option<SchemaRef> {
        self.prepared.as_ref().and_then(|p| p.columns.clone())
    }
}

/// A statement with its values, and how far it has come.
pub struct Portal {
    statement: PreparedStatement,
    values: Vec<ScalarValue>,
    formats: Vec<i16>,
    progress: Progress,
}

enum Progress {
    /// Not begun.
    Ready,
    /// Some rows sent; the client may ask for more. With the tag.
    Sending(Box<Sending>, String),
    /// At its end.
    Done(String),
}

impl Connection {
    pub async fn parse(&mut self, parse: Parse) -> Step {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Error::exists(format!("prepared statement \"{name}\" already exists")).with_sqlstate("42P05").into());
        }
        let mut statements = self.session.parse(&parse.query)?;
        if statements.len() > 1 {
            return Err(Error::invalid("cannot insert multiple commands into a prepared statement").with_sqlstate("42601").into());
        }
        let types = parse.type_oids.iter().map(|oid| parameter_type(*oid)).collect::<Result<Vec<_>>>()?;
        let prepared = match statements.pop() {
            None => None,
            Some(statement) => {
                let prepared = attended(&mut self.wire, &self.interrupt, self.session.prepare(&statement, &types)).await?;
                Some(Arc::new(prepared))
            }
        };
        let inferred = prepared.as_ref().map_or(&[][..], |p| p.parameters.as_slice());
        let parameter_oids =
            (0..inferred.len()).map(|at| parameter_oid(&parse.type_oids, at, &inferred[at])).collect::<Result<Vec<_>>>()?;
        self.statements.insert(name, PreparedStatement { prepared, parameter_oids });
        self.wire.put(&ParseComplete::new())
    }

    pub fn bind(&mut self, bind: Bind) -> Step {
        let (portal_name, name) = (bind.portal_name.unwrap_or_default(), bind.statement_name.unwrap_or_default());
        let statement = self.statement(&name)?.clone();
        if !portal_name.is_empty() && self.portals.contains_key(&portal_name) {
            return Err(Error::exists(format!("cursor \"{portal_name}\" already exists")).with_sqlstate("42P03").into());
        }
        let required = statement.parameter_oids.len();
        if bind.parameters.len() != required {
            let (supplied, message) = (bind.parameters.len(), "but prepared statement");
            let message = format!("bind message supplies {supplied} parameters, {message} \"{name}\" requires {required}");
            return Err(Error::invalid(message).with_sqlstate("08P01").into());
        }
        let mut values = Vec::with_capacity(required);
        if let Some(prepared) = &statement.prepared {
            for (at, (bytes, data_type)) in bind.parameters.iter().zip(&prepared.parameters).enumerate() {
                let format = parameter_format(&bind.parameter_format_codes, at)?;
                let value = read_parameter(bytes.as_deref(), data_type, statement.parameter_oids[at], format);
                values.push(value.map_err(|e| e.context(format!("parameter ${}", at + 1)))?);
            }
            // Format codes that do not fit the columns are an error of Bind, not of Execute.
            if let Some(columns) = &prepared.columns {
                RowEncoder::new(columns.clone(), &bind.result_column_format_codes)?;
            }
        }
        let portal = Portal { statement, values, formats: bind.result_column_format_codes, progress: Progress::Ready };
        self.portals.insert(portal_name, portal);
        self.wire.put(&BindComplete::new())
    }

    pub fn describe(&mut self, describe: &Describe) -> Step {
        let name = describe.name.as_deref().unwrap_or_default();
        let (columns, formats) = if describe.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let statement = self.statement(name)?.clone();
            self.wire.put(&ParameterDescription::new(statement.parameter_oids.clone()))?;
            (statement.columns(), Vec::new())
        } else if let Some(portal) = self.portals.get(name) {
            (portal.statement.columns(), portal.formats.clone())
        } else {
            // A cursor that SQL's DECLARE opened is a portal of its name.
            let columns = self.session.cursor_columns(name).ok_or_else(|| missing_portal(name))?;
            (Some(columns), Vec::new())
        };
        match columns {
            Some(columns) => {
                let encoder = RowEncoder::new(columns.clone(), &formats)?;
                self.wire.put(&describe_columns(&columns, encoder.formats())?)
            }
            None => self.wire.put(&NoData::new()),
        }
    }

    pub async fn execute(&mut self, execute: &Execute) -> Step {
        let name = execute.name.clone().unwrap_or_default();
        let mut portal = self.portals.remove(&name).ok_or_else(|| missing_portal(&name))?;
        let rows_max = usize::try_from(execute.max_rows).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
        let outcome = self.advance(&mut portal, rows_max).await;
        self.portals.insert(name, portal);
        outcome
    }

    /// Runs a portal as far as the client wants.
    async fn advance(&mut self, portal: &mut Portal, rows_max: usize) -> Step {
        if let Progress::Ready = portal.progress {
            let Some(prepared) = portal.statement.prepared.clone() else {
                return self.wire.put(&EmptyQueryResponse::new());
            };
            // A failed portal does not run again.
            portal.progress = Progress::Done(String::new());
            let values = std::mem::take(&mut portal.values);
            let outcome = attended(&mut self.wire, &self.interrupt, self.session.run_prepared(&prepared, values)).await?;
            portal.progress = self.begin(outcome, &portal.formats).await?;
        }
        match &mut portal.progress {
            Progress::Sending(sending, tag) => {
                let before = sending.sent();
                if !sending.send(&mut self.wire, &self.interrupt, rows_max).await? {
                    return self.wire.put(&PortalSuspended::new());
                }
                self.wire.put_notices(&sending.notices())?;
                let tag = complete_tag(tag, Some(sending.sent() - before));
                let again = complete_tag(tag.split(' ').next().unwrap_or_default(), Some(0));
                portal.progress = Progress::Done(again);
                self.wire.put(&CommandComplete::new(tag))
            }
            Progress::Done(tag) => self.wire.put(&CommandComplete::new(tag.clone())),
            Progress::Ready => Ok(()),
        }
    }

    /// Notices and copy data go out at once; rows wait to be asked for.
    async fn begin(&mut self, outcome: Outcome, formats: &[i16]) -> Step<Progress> {
        let Outcome { tag, notices, rows, copy } = outcome;
        self.wire.put_notices(&notices)?;
        match (rows, copy) {
            (Some(rows), CopyKind::Out(format)) => {
                let sent = self.copy_out(rows, &format).await?;
                Ok(Progress::Done(complete_tag(&tag, Some(sent))))
            }
            (Some(rows), _) => Ok(Progress::Sending(Box::new(Sending::new(rows, formats)?), tag)),
            (None, CopyKind::In(copy)) => Ok(Progress::Done(self.copy_in(*copy).await?)),
            (None, _) => {
                // What SQL's own DEALLOCATE ALL and DISCARD ALL forget, the protocol's statements among it.
                if tag == "DISCARD ALL" || tag == "DEALLOCATE ALL" {
                    self.statements.clear();
                }
                Ok(Progress::Done(tag))
            }
        }
    }

    pub fn close(&mut self, close: &Close) -> Step {
        let name = close.name.as_deref().unwrap_or_default();
        // Closing what is not there is no error.
        if close.target_type == TARGET_TYPE_BYTE_STATEMENT {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
        self.wire.put(&CloseComplete::new())
    }

    pub async fn sync(&mut self) -> Step {
        self.skips_to_sync = false;
        // Outside a block the transaction ends here, and portals with it.
        if self.session.block_state() == BlockState::Idle {
            self.portals.clear();
        }
        self.ready().await
    }

    fn statement(&self, name: &str) -> Result<&PreparedStatement> {
        let shown = if name.is_empty() { "unnamed prepared statement".to_owned() } else { format!("prepared statement \"{name}\"") };
        self.statements.get(name).ok_or_else(|| Error::not_found(format!("{shown} does not exist")).with_sqlstate("26000"))
    }
}

fn missing_portal(name: &str) -> Error {
    Error::not_found(format!("portal \"{name}\" does not exist")).with_sqlstate("34000")
}

/// What the client said, or else what was inferred.
fn parameter_oid(declared: &[u32], at: usize, inferred: &DataType) -> Result<u32> {
    match declared.get(at) {
        Some(oid) if parameter_type(*oid)?.is_some() => Ok(*oid),
        _ => {
            let wire = wire_type(&Field::new("parameter", inferred.clone(), true));
            // A text without a narrower type: clients send anything for it.
            let wire = wire.ok_or_else(|| Error::unsupported(format!("parameter ${} of the type {inferred}", at + 1)))?;
            Ok(if matches!(inferred, DataType::Utf8) { headwater::system::TEXT_OID } else { wire.oid })
        }
    }
}

/// No code means text, one is for all parameters, otherwise one each.
fn parameter_format(codes: &[i16], at: usize) -> Result<Format> {
    match codes {
        [] => Ok(Format::Text),
        [one] => format_of_code(*one),
        many => many.get(at).map_or_else(
            || Err(Error::invalid("bind message has fewer parameter formats than parameters").with_sqlstate("08P01")),
            |code| format_of_code(*code),
        ),
    }
}

fn read_parameter(bytes: Option<&[u8]>, data_type: &DataType, oid: u32, format: Format) -> Result<ScalarValue> {
    match format {
        Format::Binary => read_binary(bytes, data_type, oid),
        Format::Text => {
            let invalid = |_| Error::invalid("invalid byte sequence for encoding \"UTF8\"").with_sqlstate("22021");
            read_text(bytes.map(std::str::from_utf8).transpose().map_err(invalid)?, data_type)
        }
    }
}
