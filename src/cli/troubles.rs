//! The log of sources and sinks that do not get on: a line when one stops getting on, when its reason changes, and when it goes on.

use std::collections::BTreeMap;

use headwater::{Clock, Database, Result, SystemClock, Trouble};

use crate::show;

/// What is known of each source and sink that does not get on, by noun and name.
type Known = BTreeMap<(&'static str, String), (String, bool)>;

/// Logs what does not get on until the database has ended.
///
/// # Errors
/// The reason of its end.
pub(crate) async fn log(database: &Database) -> Result<()> {
    let clock = SystemClock::default();
    let mut watch = database.troubles();
    let mut known = Known::new();
    while let Some(troubles) = watch.next().await {
        for line in changes(&mut known, troubles) {
            show::note(&format!("{} {line}", time(&clock)));
        }
    }
    database.ended().await
}

/// What to log of the `troubles` of now.
fn changes(known: &mut Known, troubles: Vec<Trouble>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut now = Known::new();
    for Trouble { noun, name, message, stopped } in troubles {
        let key = (noun, name);
        let value = (message, stopped);
        if known.get(&key) != Some(&value) {
            let end = if stopped { "stopped" } else { "waiting" };
            lines.push(format!("WARNING:  {noun} \"{}\": {}; {end}", key.1, value.0));
        }
        now.insert(key, value);
    }
    let over = known.keys().filter(|key| !now.contains_key(*key));
    lines.extend(over.map(|(noun, name)| format!("NOTICE:  {noun} \"{name}\" goes on")));
    *known = now;
    lines
}

fn time(clock: &SystemClock) -> String {
    chrono::DateTime::from_timestamp_micros(clock.now()).map_or_else(String::new, |t| t.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(message: &str, stopped: bool) -> Vec<Trouble> {
        vec![Trouble { noun: "source", name: "s".into(), message: message.into(), stopped }]
    }

    #[test]
    fn each_change_is_one_line() {
        let mut known = Known::new();
        assert_eq!(changes(&mut known, trouble("no broker", false)), ["WARNING:  source \"s\": no broker; waiting"]);
        assert!(changes(&mut known, trouble("no broker", false)).is_empty());
        assert_eq!(changes(&mut known, trouble("no topic", true)), ["WARNING:  source \"s\": no topic; stopped"]);
        assert_eq!(changes(&mut known, Vec::new()), ["NOTICE:  source \"s\" goes on"]);
    }
}
