//! What a session has set, as plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_types::{Error, Result};

use crate::errors::nearest;

/// One setting: its name as SHOW prints it, its default, and whether a session may change it.
struct Known(&'static str, &'static str, Change);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// To anything.
    Free,
    /// To one of PostgreSQL's spellings of true or false.
    Switch,
    /// To a length of time, as PostgreSQL writes it.
    Time,
    /// To nothing but the default, since results do not depend on it otherwise.
    Fixed,
    /// Not at all.
    Never,
}

/// Settings that clients read or send at their start; those that do nothing here can be set because drivers do so unasked.
const KNOWN: [Known; 36] = [
    Known("application_name", "", Change::Free),
    Known("background_ddl", "off", Change::Switch),
    Known("bytea_output", "hex", Change::Fixed),
    Known("check_function_bodies", "on", Change::Switch),
    Known("client_encoding", "UTF8", Change::Fixed),
    Known("client_min_messages", "notice", Change::Free),
    Known("DateStyle", "ISO, MDY", Change::Free),
    Known("default_table_access_method", "heap", Change::Free),
    Known("default_tablespace", "", Change::Free),
    Known("default_transaction_isolation", "serializable", Change::Free),
    Known("default_transaction_read_only", "off", Change::Switch),
    Known("extra_float_digits", "1", Change::Free),
    Known("idle_in_transaction_session_timeout", "0", Change::Time),
    Known("in_hot_standby", "off", Change::Never),
    Known("integer_datetimes", "on", Change::Never),
    Known("IntervalStyle", "postgres", Change::Fixed),
    Known("is_superuser", "on", Change::Never),
    Known("jit", "off", Change::Switch),
    Known("lock_timeout", "0", Change::Time),
    Known("max_identifier_length", "63", Change::Never),
    Known("row_security", "on", Change::Switch),
    Known("search_path", "\"$user\", public", Change::Free),
    Known("server_encoding", "UTF8", Change::Never),
    Known("server_version", concat!("16.4 (Headwater ", env!("CARGO_PKG_VERSION"), ")"), Change::Never),
    Known("server_version_num", "160004", Change::Never),
    Known("session_authorization", "root", Change::Never),
    Known("standard_conforming_strings", "on", Change::Fixed),
    Known("statement_timeout", "0", Change::Time),
    Known("synchronize_seqscans", "on", Change::Switch),
    Known("TimeZone", "UTC", Change::Fixed),
    Known("transaction_isolation", "serializable", Change::Free),
    Known("transaction_read_only", "off", Change::Switch),
    Known("transaction_timeout", "0", Change::Time),
    Known("wal_level", "logical", Change::Never),
    Known("work_mem", "4MB", Change::Free),
    Known("xmloption", "content", Change::Free),
];

fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.0.eq_ignore_ascii_case(name))
}

/// A session's user, database and variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who is connected.
    pub user: String,
    /// To which database.
    pub database: String,
    /// The number of the session, which `pg_backend_pid()` gives.
    pub pid: i32,
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Every setting at its default.
    #[must_use]
    pub fn new(user: impl Into<String>, database: impl Into<String>) -> Self {
        Self { user: user.into(), database: database.into(), pid: 0, values: BTreeMap::new() }
    }

    /// The value of `name` (any case), set or default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let set = self.values.get(&name.to_lowercase()).map(String::as_str);
        set.or_else(|| known(name).map(|k| if k.0 == "session_authorization" { self.user.as_str() } else { k.1 }))
    }

    /// The name of a setting as SHOW prints it.
    #[must_use]
    pub fn canonical(name: &str) -> &str {
        known(name).map_or(name, |k| k.0)
    }

    /// All settings with their values, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let set = self.values.iter().filter(|(name, _)| known(name).is_none()).map(|(name, value)| (name.as_str(), value.as_str()));
        KNOWN.iter().map(|k| (k.0, self.get(k.0).unwrap_or(k.1))).chain(set)
    }

    /// Whether `name` can be set to `value`, or with no value be put back to its default.
    ///
    /// # Errors
    /// `NotFound` (42704) for an unknown setting; `Invalid` (22023) for a value it cannot take; 55P02 for one that cannot be changed.
    pub fn check(name: &str, value: Option<&str>) -> Result<()> {
        let Some(Known(name, default, change)) = known(name) else {
            // Names with a dot are free for programs to keep values in, as in PostgreSQL.
            if name.contains('.') {
                return Ok(());
            }
            let error = Error::not_found(format!("unrecognized configuration parameter \"{name}\""));
            return Err(match nearest(name, KNOWN.iter().map(|k| k.0)) {
                Some(near) => error.with_hint(format!("did you mean \"{near}\"?")),
                None => error,
            });
        };
        let Some(value) = value else { return Ok(()) };
        match change {
            Change::Free => Ok(()),
            Change::Switch if ["on", "off", "true", "false", "yes", "no", "1", "0"].contains(&value.to_lowercase().as_str()) => Ok(()),
            Change::Switch => Err(Error::invalid(format!("parameter \"{name}\" requires a Boolean value")).with_sqlstate("22023")),
            Change::Time if milliseconds(value).is_some() => Ok(()),
            Change::Time => {
                let error = Error::invalid(format!("invalid value for parameter \"{name}\": \"{value}\"")).with_sqlstate("22023");
                Err(error.with_hint("valid units are us, ms, s, min, h and d; without one it is ms"))
            }
            Change::Fixed if same(value, default) => Ok(()),
            Change::Fixed => Err(Error::unsupported(format!("{name} = '{value}' is not supported, only '{default}'"))),
            Change::Never => Err(Error::invalid(format!("parameter \"{name}\" cannot be changed")).with_sqlstate("55P02")),
        }
    }

    /// Sets `name`, or with no value puts it back to its default.
    ///
    /// # Errors
    /// As [`Settings::check`].
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        Self::check(name, value)?;
        let key = name.to_lowercase();
        match value {
            Some(value) => drop(self.values.insert(key, spelled(name, value))),
            None => drop(self.values.remove(&key)),
        }
        Ok(())
    }

    /// How long a statement may take; none for ever.
    #[must_use]
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.get("statement_timeout").and_then(milliseconds).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        self.values.clear();
    }
}

/// A length of time as PostgreSQL's settings have it: a number, of milliseconds where no unit follows. What is shorter than one is one.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "us" => 0.001,
        "" | "ms" => 1.0,
        "s" => 1_000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let milliseconds = (number.parse::<f64>().ok()? * unit).ceil();
    // 2^31 ms are PostgreSQL's longest.
    (milliseconds <= f64::from(i32::MAX)).then_some(milliseconds as u64)
}

/// A switch is shown as on or off, however it was set; a fixed one as its default is spelled.
fn spelled(name: &str, value: &str) -> String {
    match known(name) {
        Some(Known(_, _, Change::Switch)) if ["on", "true", "yes", "1"].contains(&value.to_lowercase().as_str()) => "on".to_owned(),
        Some(Known(_, _, Change::Switch)) => "off".to_owned(),
        Some(Known(_, default, Change::Fixed)) => (*default).to_owned(),
        _ => value.to_owned(),
    }
}

/// True for another spelling of a default that is fixed.
fn same(value: &str, default: &str) -> bool {
    // Clients spell `utf-8`, `UTF8`, and with quotes inside the value.
    let plain = |text: &str| text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric() && c != '/' && c != ',', "");
    let aliases = ["etc/utc", "gmt", "z", "zulu", "unicode"];
    plain(value) == plain(default) || (default.starts_with("UT") && aliases.contains(&value.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_set_shown_and_reset() {
        let mut settings = Settings::new("root", "dev");
        assert_eq!(settings.get("timezone"), Some("UTC"));
        settings.set("Application_Name", Some("psql")).expect("free");
        assert_eq!(settings.get("application_name"), Some("psql"));
        settings.set("application_name", None).expect("reset");
        assert_eq!(settings.get("application_name"), Some(""));
        settings.set("background_ddl", Some("TRUE")).expect("a switch");
        assert_eq!(settings.get("background_ddl"), Some("on"));
        settings.set("my.own", Some("x")).expect("dotted");
        assert!(settings.all().any(|pair| pair == ("my.own", "x")));
    }

    #[test]
    fn timeouts_are_read_with_their_units() {
        let timeout = |value| {
            let mut settings = Settings::new("root", "dev");
            settings.set("statement_timeout", Some(value)).map(|()| settings.statement_timeout())
        };
        assert_eq!(timeout("0").expect("no limit"), None);
        assert_eq!(timeout("250").expect("milliseconds"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("1.5s").expect("seconds"), Some(Duration::from_millis(1500)));
        assert_eq!(timeout("2 min").expect("minutes"), Some(Duration::from_secs(120)));
        assert_eq!(timeout("1us").expect("microseconds"), Some(Duration::from_millis(1)));
        assert!(["-1", "1 year", "", "1e3", "30d"].iter().all(|value| timeout(value).is_err()));
    }

    #[test]
    fn what_cannot_be_set_says_so() {
        let state = |name, value| Settings::check(name, Some(value)).map_err(|e| e.sqlstate());
        assert_eq!(state("nonsense_setting", "1"), Err("42704"));
        assert_eq!(state("TimeZone", "Europe/Berlin"), Err("0A000"));
        assert_eq!(state("TimeZone", "utc"), Ok(()));
        assert_eq!(state("client_encoding", "utf-8"), Ok(()));
        assert_eq!(state("client_encoding", "'utf-8'"), Ok(()));
        assert_eq!(state("client_encoding", "LATIN1"), Err("0A000"));
        assert_eq!(state("statement_timeout", "soon"), Err("22023"));
        assert_eq!(state("server_version", "9"), Err("55P02"));
        assert_eq!(state("jit", "maybe"), Err("22023"));
        let error = Settings::check("application_nam", None).expect_err("unknown");
        assert_eq!(error.hint(), Some("did you mean \"application_name\"?"));
    }
}
