//! Makes what DataFusion prints of expressions fit to read: no column numbers, intervals as SQL writes them.

/// `text` without `@3` after column names, with `1 hour` for an interval's fields.
pub(super) fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['@', 'I']) {
        let (before, found) = rest.split_at(at);
        tidied.push_str(before);
        if let Some((interval, after)) = interval(found) {
            tidied.push_str(&interval);
            rest = after;
            continue;
        }
        let digits = found[1..].bytes().take_while(u8::is_ascii_digit).count();
        let is_number = found.starts_with('@') && digits > 0;
        if !is_number {
            tidied.push_str(&found[..1]);
        }
        rest = &found[1 + if is_number { digits } else { 0 }..];
    }
    tidied.push_str(rest);
    tidied
}

/// `IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }` as `1 hour`, and what follows it.
fn interval(text: &str) -> Option<(String, &str)> {
    let fields = text.strip_prefix("IntervalMonthDayNano { months: ")?;
    let (fields, after) = fields.split_once(" }")?;
    let mut numbers = fields.split(|c: char| !c.is_ascii_digit() && c != '-').filter(|n| !n.is_empty()).map(str::parse::<i64>);
    let (months, days, nanos) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    let seconds = nanos / 1_000_000_000;
    let units = [(months, "month"), (days, "day"), (seconds / 3_600, "hour"), (seconds / 60 % 60, "minute"), (seconds % 60, "second")];
    let mut parts: Vec<String> =
        units.iter().filter(|(n, _)| *n != 0).map(|(n, unit)| format!("{n} {unit}{}", if *n == 1 { "" } else { "s" })).collect();
    let micros = nanos / 1_000 % 1_000_000;
    if micros != 0 {
        parts.push(format!("{micros} microseconds"));
    }
    Some((if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(" ") }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_fields_go() {
        let raw = "tumble_start(at@2, IntervalMonthDayNano { months: 1, days: 0, nanoseconds: 90000000000 }) AS x, a@ b, Int64(1)";
        assert_eq!(tidy(raw), "tumble_start(at, 1 month 1 minute 30 seconds) AS x, a@ b, Int64(1)");
    }
}
