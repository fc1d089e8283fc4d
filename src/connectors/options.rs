//! Checking `WITH (…)`: every option known, every required one there, values of the right form, the nearest name proposed.

use headwater_types::{Error, Result};

use crate::{OptionSpec, Options};

/// The one of `names` that `name` was probably meant to be: one slip away, or much alike.
pub(crate) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let score = |n: &str| if strsim::osa_distance(name, n) == 1 { 1.0 } else { strsim::jaro_winkler(name, n) };
    let scored = names.iter().map(|n| (score(n), *n));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| n)
}

/// Checks that every option given is one of `specs` and that the required ones are there.
///
/// # Errors
/// `Invalid` naming the option, with the nearest known one proposed.
pub fn check_options(what: &str, specs: &[OptionSpec], options: &Options) -> Result<()> {
    let known =
        |name: &str| specs.iter().any(|s| s.name == name || s.name.strip_suffix('*').is_some_and(|family| name.starts_with(family)));
    if let Some(name) = options.keys().find(|n| !known(n)) {
        let names: Vec<&str> = specs.iter().map(|s| s.name).collect();
        let error = Error::invalid(format!("{what} has no option '{name}'"));
        return Err(match nearest(name, &names) {
            Some(near) => error.with_hint(format!("did you mean '{near}'?")),
            None => error.with_hint(format!("its options are: {}", names.join(", "))),
        });
    }
    match specs.iter().find(|s| s.required && !options.contains_key(s.name)) {
        Some(missing) => Err(Error::invalid(format!("{what} needs the option '{}'", missing.name)).with_hint(missing.about)),
        None => Ok(()),
    }
}

/// The truth value of option `name`, if it is given.
///
/// # Errors
/// `Invalid` unless it is 'true' or 'false'.
pub(crate) fn flag(options: &Options, name: &str) -> Result<Option<bool>> {
    match options.get(name).map(|v| v.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Error::invalid(format!("{name} = '{other}' is neither 'true' nor 'false'"))),
    }
}

/// The number in option `name`, if it is given.
///
/// # Errors
/// `Invalid` unless it is a number of that type.
pub(crate) fn number<T: std::str::FromStr>(options: &Options, name: &str) -> Result<Option<T>> {
    let parse =
        |text: &String| text.trim().parse().map_err(|_| Error::invalid(format!("{name} = '{text}' is not a number that it can be")));
    options.get(name).map(parse).transpose()
}

/// The share in option `name`, 0 if it is not given.
///
/// # Errors
/// `Invalid` unless it is from 0 to 1.
pub(crate) fn fraction(options: &Options, name: &str) -> Result<f64> {
    let value = number::<f64>(options, name)?.unwrap_or(0.0);
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(Error::invalid(format!("{name} = '{value}' is not from 0 to 1"))),
    }
}
