//! How a connection begins: encryption is declined, the client says who it is, and is told the settings that it must know.

use crate::cancel::{Connections, Interrupt, Registered};
use crate::wire::{Step, Stop, Wire};
use bytes::Bytes;
use headwater::{Database, Error, Session};
use pgwire::messages::response::{GssEncResponse, ReadyForQuery, SslResponse, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey, Startup};
use pgwire::messages::{PgWireFrontendMessage, SslNegotiationMetaMessage};

/// The one database of a server.
const DATABASE: &str = "dev";

/// Settings that a client is told at the start.
const REPORTED: [&str; 10] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
];

/// A session that a client has begun.
pub struct Begun {
    /// The session.
    pub session: Session,
    /// Ends what it does.
    pub interrupt: Interrupt,
    /// Its place among the connections.
    pub registered: Registered,
}

/// Leads the client to its first `ReadyForQuery`. None where it only came to cancel something, or left.
///
/// # Errors
/// `Fatal` for a database or a protocol that we do not have; `Gone`.
pub async fn begin(wire: &mut Wire, database: &Database, connections: &Connections) -> Step<Option<Begun>> {
    let Some(startup) = read_startup(wire, connections).await? else { return Ok(None) };
    let get = |name: &str| startup.parameters.get(name).map(String::as_str);
    let user = get("user").ok_or_else(|| fatal("no PostgreSQL user name specified in startup packet", "28000"))?;
    let asked = get("database").filter(|d| !d.is_empty()).unwrap_or(user);
    // psql asks for a database of the user's name where none was given.
    if asked != DATABASE && asked != user {
        return Err(fatal(format!("database \"{asked}\" does not exist"), "3D000"));
    }
    let mut session = database.session_for(user, DATABASE);
    if let Some(client) = wire.peer() {
        session.set_client(client);
    }
    let interrupt = Interrupt::new(session.cancel_handle());
    let registered = connections.register(session.pid(), interrupt.clone());
    let mut begun = Begun { session, interrupt, registered };
    negotiate(wire, &startup)?;
    set_parameters(&mut begun.session, &startup).await?;
    wire.put(&Authentication::Ok)?;
    for name in REPORTED {
        if let Some(value) = begun.session.parameter(name) {
            wire.put(&ParameterStatus::new(name.to_owned(), value))?;
        }
    }
    let secret = SecretKey::Bytes(Bytes::copy_from_slice(&begun.registered.secret));
    wire.put(&BackendKeyData::new(begun.registered.number, secret))?;
    wire.put(&ReadyForQuery::new(TransactionStatus::Idle))?;
    wire.flush().await?;
    Ok(Some(begun))
}

async fn read_startup(wire: &mut Wire, connections: &Connections) -> Step<Option<Startup>> {
    wire.expect(true, true);
    loop {
        match wire.receive().await? {
            Some(PgWireFrontendMessage::SslNegotiation(SslNegotiationMetaMessage::PostgresSsl(_))) => {
                wire.put(&SslResponse::Refuse)?;
                wire.flush().await?;
            }
            Some(PgWireFrontendMessage::SslNegotiation(SslNegotiationMetaMessage::PostgresGss(_))) => {
                wire.put(&GssEncResponse::Refuse)?;
                wire.flush().await?;
            }
            Some(PgWireFrontendMessage::SslNegotiation(SslNegotiationMetaMessage::None)) => wire.expect(false, true),
            Some(PgWireFrontendMessage::CancelRequest(request)) => {
                connections.cancel(request.pid, &request.secret_key.to_bytes());
                return Ok(None);
            }
            Some(PgWireFrontendMessage::Startup(startup)) => {
                wire.expect(false, false);
                return Ok(Some(startup));
            }
            Some(other) => return Err(fatal(format!("{other:?} before the start of a session"), "08P01")),
            None => return Ok(None),
        }
    }
}

/// A client of a newer minor version, or with protocol options, is told that it gets 3.0 without them.
fn negotiate(wire: &mut Wire, startup: &Startup) -> Step {
    if startup.protocol_number_major != 3 {
        let (major, minor) = (startup.protocol_number_major, startup.protocol_number_minor);
        return Err(fatal(format!("unsupported frontend protocol {major}.{minor}: server supports 3.0"), "0A000"));
    }
    let options: Vec<String> = startup.parameters.keys().filter(|k| k.starts_with("_pq_.")).cloned().collect();
    if startup.protocol_number_minor > 0 || !options.is_empty() {
        wire.put(&NegotiateProtocolVersion::new(0, options))?;
    }
    Ok(())
}

/// Sets what the client brings: its own parameters, and `-c name=value` in `options`.
async fn set_parameters(session: &mut Session, startup: &Startup) -> Step {
    let mut settings = Vec::new();
    for (name, value) in &startup.parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => settings.extend(options(value)),
            other if other.starts_with("_pq_.") => {}
            // libpq sends what its environment says; `auto` is for us to choose.
            "client_encoding" if value.eq_ignore_ascii_case("auto") => {}
            _ => settings.push((name.clone(), value.clone())),
        }
    }
    for (name, value) in settings {
        let quoted = value.replace('\'', "''");
        let sql = format!("SET \"{}\" = '{quoted}'", name.replace('"', "\"\""));
        session.execute(&sql).await.map_err(Stop::Fatal)?;
    }
    Ok(())
}

/// `-c name=value` and `--name=value`, between spaces; a backslash keeps a space in the value.
fn options(text: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let last = words.last_mut().expect("there is always a word");
        match character {
            '\\' => last.extend(characters.next()),
            ' ' => words.push(String::new()),
            other => last.push(other),
        }
    }
    let pairs = words.iter().filter_map(|word| {
        let setting = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).unwrap_or(word);
        setting.split_once('=').map(|(name, value)| (name.replace('-', "_"), value.to_owned()))
    });
    pairs.collect()
}

fn fatal(message: impl Into<String>, sqlstate: &'static str) -> Stop {
    Stop::Fatal(Error::invalid(message).with_sqlstate(sqlstate))
}

#[cfg(test)]
mod tests {
    use super::options;

    #[test]
    fn options_in_both_spellings() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(options("-c a=1 --b-c=2"), vec![pair("a", "1"), pair("b_c", "2")]);
        assert_eq!(options(r"-ca=x\ y"), vec![pair("a", "x y")]);
        assert_eq!(options(""), vec![]);
    }
}
