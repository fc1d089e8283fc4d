//! The values of Nexmark's columns, each a function of the event's number (after the benchmark's description by Tucker et al., 2002).

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use headwater_types::{Error, Micros, Result};

use super::chance::{Chance, write_letters};

/// Of every 50 events the first is a person, the next three are auctions, the others bids.
pub(super) const EVENTS: u64 = 50;

const FIRST_ID: u64 = 1_000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// Bids go to the newest so many auctions, bidders are among the newest so many people.
const AUCTIONS_OPEN: u64 = 100;
const PEOPLE_ACTIVE: u64 = 1_000;
/// One in so many choices is not the favourite of the moment.
const HOT: u64 = 100;
const CHANNELS: u64 = 10_000;

const FIRST_NAMES: [&str; 11] = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [(&str, &str); 10] = [
    ("Phoenix", "AZ"),
    ("Los Angeles", "CA"),
    ("San Francisco", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Redmond", "WA"),
    ("Seattle", "WA"),
    ("Kent", "WA"),
    ("Cheyenne", "WY"),
];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// What all columns depend on.
pub(super) struct Columns {
    seed: u64,
    base: Micros,
    gap_nanos: u64,
}

/// `value` as a double; exact up to 2^53, and nobody counts further here.
#[allow(clippy::cast_precision_loss, reason = "rates and shares")]
pub(super) fn as_f64(value: u64) -> f64 {
    value as f64
}

fn integers(values: impl Iterator<Item = u64>) -> Result<ArrayRef> {
    // Ids, prices and categories are far below 2^63.
    Ok(Arc::new(Int64Array::from_iter_values(values.map(u64::cast_signed))))
}

/// Texts of about `bytes` bytes each, written one behind the other into one buffer.
fn texts(events: &[u64], bytes: usize, mut write: impl FnMut(&mut Vec<u8>, u64)) -> Result<ArrayRef> {
    let mut text = Vec::with_capacity(events.len() * bytes);
    let mut ends = Vec::with_capacity(events.len() + 1);
    ends.push(0);
    for event in events {
        write(&mut text, *event);
        ends.push(i32::try_from(text.len()).map_err(|_| Error::bug("a batch of texts is larger than 2 GiB"))?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(text), None)?))
}

/// Appends `value` in decimal digits, at least `width` of them.
fn write_digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] += (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// Appends the `width` lowest hex digits of `value`.
fn write_hex(value: u64, width: u32, out: &mut Vec<u8>) {
    let digit = |place: u32| b"0123456789abcdef"[(value >> (place * 4) & 15) as usize];
    out.extend((0..width).rev().map(digit));
}

impl Columns {
    /// Values that follow from `seed`; event `n` happens `n` gaps after `base`.
    pub(super) fn new(seed: u64, base: Micros, gap_nanos: u64) -> Self {
        Self { seed, base, gap_nanos }
    }

    fn chance(&self, name: &str) -> Chance {
        Chance::new(self.seed, name)
    }

    fn time(&self, event: u64) -> Micros {
        let micros = u128::from(event) * u128::from(self.gap_nanos) / 1_000;
        self.base.saturating_add(Micros::try_from(micros).unwrap_or(Micros::MAX))
    }

    fn times(&self, values: impl Iterator<Item = Micros>) -> Result<ArrayRef> {
        Ok(Arc::new(TimestampMicrosecondArray::from_iter_values(values)))
    }

    /// Letters without meaning, fewer than `length_max` of them, that bring a row to the size the benchmark wants.
    fn extra(&self, name: &str, events: &[u64], length_max: u64) -> Result<ArrayRef> {
        let chance = self.chance(name);
        texts(events, usize::try_from(length_max).unwrap_or(0), |out, event| {
            let bits = chance.bits(event);
            // How long is said by the upper half of the bits, the letters follow from all of them.
            write_letters(bits, (((bits >> 32) * length_max) >> 32) as usize, out);
        })
    }

    /// A column of people; the events are those of people.
    pub(super) fn person(&self, name: &str, events: &[u64]) -> Result<ArrayRef> {
        let chance = self.chance(name);
        let pick = |chance: Chance, event: u64, count: usize| chance.below(event, count as u64) as usize;
        let city = self.chance("city");
        match name {
            "id" => integers(events.iter().map(|e| FIRST_ID + e / EVENTS)),
            "name" => {
                let last = chance.stream(1);
                texts(events, 14, |out, e| {
                    out.extend_from_slice(FIRST_NAMES[pick(chance, e, FIRST_NAMES.len())].as_bytes());
                    out.push(b' ');
                    out.extend_from_slice(LAST_NAMES[pick(last, e, LAST_NAMES.len())].as_bytes());
                })
            }
            "email_address" => texts(events, 17, |out, e| {
                let bits = chance.bits(e);
                write_hex(bits, 7, out);
                out.push(b'@');
                write_hex(bits >> 28, 5, out);
                out.extend_from_slice(b".com");
            }),
            "credit_card" => texts(events, 19, |out, e| {
                let bits = chance.bits(e);
                for group in 0..4 {
                    if group > 0 {
                        out.push(b' ');
                    }
                    write_digits((bits >> (group * 16) & 0xffff) % 10_000, 4, out);
                }
            }),
            "city" => texts(events, 12, |out, e| out.extend_from_slice(CITIES[pick(city, e, CITIES.len())].0.as_bytes())),
            "state" => texts(events, 2, |out, e| out.extend_from_slice(CITIES[pick(city, e, CITIES.len())].1.as_bytes())),
            "date_time" => self.times(events.iter().map(|e| self.time(*e))),
            "extra" => self.extra(name, events, 160),
            other => Err(Error::bug(format!("a person has no column {other}"))),
        }
    }

    /// The newest auction and the newest person at the time of `event`, counted from 0.
    fn newest(event: u64) -> (u64, u64) {
        let (round, place) = (event / EVENTS, event % EVENTS);
        let auctions = round * 3 + place.min(3);
        (auctions.saturating_sub(1), round)
    }

    /// A column of auctions; the events are those of auctions.
    pub(super) fn auction(&self, name: &str, events: &[u64]) -> Result<ArrayRef> {
        let chance = self.chance(name);
        let price = self.chance("initial_bid");
        match name {
            "id" => integers(events.iter().map(|e| FIRST_ID + Self::newest(*e).0)),
            "item_name" => self.extra(name, events, 20),
            "description" => self.extra(name, events, 100),
            "initial_bid" => integers(events.iter().map(|e| price_of(price, *e))),
            "reserve" => integers(events.iter().map(|e| price_of(price, *e) + price_of(chance, *e))),
            "date_time" => self.times(events.iter().map(|e| self.time(*e))),
            // Auctions stay open for about as long as it takes to make AUCTIONS_OPEN of them.
            "expires" => self.times(events.iter().map(|e| self.time(e + 1 + chance.below(*e, AUCTIONS_OPEN * EVENTS / 3 * 2)))),
            "seller" => integers(events.iter().map(|e| FIRST_ID + self.someone(chance, *e, 0))),
            "category" => integers(events.iter().map(|e| FIRST_CATEGORY + chance.below(*e, CATEGORIES))),
            "extra" => self.extra(name, events, 300),
            other => Err(Error::bug(format!("an auction has no column {other}"))),
        }
    }

    /// The favourite person of the moment, or one of those active, counted from 0. Sellers and bidders have different favourites.
    fn someone(&self, chance: Chance, event: u64, favourite: u64) -> u64 {
        let (_, newest) = Self::newest(event);
        if chance.below(event, HOT) > 0 {
            return (newest / HOT * HOT + favourite).min(newest);
        }
        newest - chance.stream(1).below(event, PEOPLE_ACTIVE.min(newest + 1))
    }

    /// A column of bids; the events are those of bids.
    pub(super) fn bid(&self, name: &str, events: &[u64]) -> Result<ArrayRef> {
        let chance = self.chance(name);
        let channel = self.chance("channel");
        match name {
            "auction" => {
                let other = chance.stream(1);
                integers(events.iter().map(|e| {
                    let (newest, _) = Self::newest(*e);
                    let hot = chance.below(*e, HOT) > 0;
                    FIRST_ID + if hot { newest / HOT * HOT } else { newest - other.below(*e, AUCTIONS_OPEN.min(newest + 1)) }
                }))
            }
            "bidder" => integers(events.iter().map(|e| FIRST_ID + self.someone(chance, *e, 1))),
            "price" => integers(events.iter().map(|e| price_of(chance, *e))),
            "channel" => texts(events, 12, |out, e| match channel_of(channel, e) {
                Ok(hot) => out.extend_from_slice(HOT_CHANNELS[hot].as_bytes()),
                Err(number) => {
                    out.extend_from_slice(b"channel-");
                    write_digits(number, 1, out);
                }
            }),
            "url" => texts(events, 65, |out, e| {
                let (path, number) = match channel_of(channel, e) {
                    Ok(hot) => (hot as u64, CHANNELS + hot as u64),
                    Err(number) => (number % 7 + 4, number),
                };
                out.extend_from_slice(b"https://www.nexmark.com/");
                write_hex(path, 4, out);
                out.extend_from_slice(b"/item.htm?query=1&channel_id=");
                write_digits(number, 1, out);
            }),
            "date_time" => self.times(events.iter().map(|e| self.time(*e))),
            "extra" => self.extra(name, events, 40),
            other => Err(Error::bug(format!("a bid has no column {other}"))),
        }
    }
}

/// A price in cents from 100 to 10^8, small ones as frequent as large ones on a logarithmic scale.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 100 and 10^8")]
fn price_of(chance: Chance, event: u64) -> u64 {
    (10f64.powf(chance.unit(event) * 6.0) * 100.0).round() as u64
}

/// One of the four channels that get half of the bids, or the number of another.
fn channel_of(chance: Chance, event: u64) -> std::result::Result<usize, u64> {
    let number = chance.below(event, CHANNELS * 2);
    if number < CHANNELS { Ok((number % 4) as usize) } else { Err(number - CHANNELS) }
}
