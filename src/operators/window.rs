//! Window assignment: which windows a point in time belongs to, as a pure function of size, slide and offset.

use arrow::datatypes::IntervalMonthDayNano;
use headwater_types::{Error, Micros, Result};

const DAY: i64 = 86_400_000_000;
/// A row is copied into each of its windows at once.
const WINDOWS_PER_ROW_MAX: i64 = 100_000;
/// Months between year 0 and 1970, where window numbers start.
const EPOCH_MONTHS: i64 = 1970 * 12;

/// Windows `[start, end)` of one size, a slide apart, aligned to 1970-01-01 00:00 plus an offset. Tumbling windows slide by their size.
///
/// Sizes are either fixed (days and smaller; a day has 24 hours, time is UTC) or calendar months. Window number k starts k slides after the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Windows {
    grid: Grid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Grid {
    Fixed {
        slide: i64,
        size: i64,
        origin: i64,
    },
    /// `shift` is the part of the offset below a month, in microseconds.
    Calendar {
        slide: i64,
        size: i64,
        origin: i64,
        shift: i64,
    },
}

/// Which end of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// Its first moment.
    Start,
    /// The first moment after it.
    End,
}

impl Windows {
    /// Windows of `size` that follow each other.
    ///
    /// # Errors
    /// `Invalid`: `size` is not positive, mixes months with days, or has a part below a microsecond.
    pub fn tumble(size: IntervalMonthDayNano, offset: Option<IntervalMonthDayNano>) -> Result<Self> {
        Self::hop(size, size, offset)
    }

    /// Windows of `size` of which one starts every `slide`.
    ///
    /// # Errors
    /// `Invalid`: as [`Windows::tumble`], or one of `slide` and `size` is in months and the other is not.
    pub fn hop(slide: IntervalMonthDayNano, size: IntervalMonthDayNano, offset: Option<IntervalMonthDayNano>) -> Result<Self> {
        let (slide_months, slide_micros) = split(slide, "slide")?;
        let (size_months, size_micros) = split(size, "size")?;
        let (offset_months, offset_micros) = offset.map_or(Ok((0, 0)), |o| split_any(o, "offset"))?;
        let windows = (size_months / slide_months.max(1)).max(size_micros / slide_micros.max(1));
        if windows > WINDOWS_PER_ROW_MAX {
            return Err(Error::invalid(format!("every row would be in {windows} windows, more than {WINDOWS_PER_ROW_MAX}"))
                .with_hint("make the slide longer, or the windows shorter"));
        }
        let is_calendar = size_months != 0;
        if is_calendar != (slide_months != 0) {
            return Err(Error::invalid("slide and size of a window must both be in months, or neither"));
        }
        if offset_months != 0 && !is_calendar {
            return Err(Error::invalid("the offset of a window can be in months only if its size is"));
        }
        let grid = if is_calendar {
            Grid::Calendar { slide: slide_months, size: size_months, origin: offset_months, shift: offset_micros }
        } else {
            Grid::Fixed { slide: slide_micros, size: size_micros, origin: offset_micros.rem_euclid(slide_micros) }
        };
        Ok(Self { grid })
    }

    /// True if every point in time belongs to exactly one window.
    #[must_use]
    pub fn is_tumbling(&self) -> bool {
        match self.grid {
            Grid::Fixed { slide, size, .. } | Grid::Calendar { slide, size, .. } => slide == size,
        }
    }

    /// At most so many windows share a point in time.
    #[must_use]
    pub fn windows_per_row_max(&self) -> i64 {
        match self.grid {
            Grid::Fixed { slide, size, .. } | Grid::Calendar { slide, size, .. } => (size + slide - 1) / slide,
        }
    }

    /// The window of the greatest start at or below `at`; with `size < slide` it may end before `at`. None beyond the range of timestamps.
    #[must_use]
    pub fn last(&self, at: Micros) -> Option<(Micros, Micros)> {
        self.window(self.last_number(at)?)
    }

    /// Calls `visit(start, end)` for each window that holds `at`, latest first. False if one is beyond the range of timestamps.
    pub fn each(&self, at: Micros, mut visit: impl FnMut(Micros, Micros)) -> bool {
        let Some(mut number) = self.last_number(at) else { return false };
        loop {
            let Some((start, end)) = self.window(number) else { return false };
            if end <= at {
                return true;
            }
            visit(start, end);
            number -= 1;
        }
    }

    /// What a watermark on the time column promises about an edge of the windows: the least end above it, or the start of that window.
    #[must_use]
    pub fn watermark(&self, at: Micros, edge: Edge) -> Option<Micros> {
        let number = match self.grid {
            Grid::Fixed { slide, size, origin } => at.checked_sub(origin)?.checked_sub(size)?.div_euclid(slide) + 1,
            Grid::Calendar { slide, size, origin, shift } => (month_of(at.checked_sub(shift)?) - origin - size).div_euclid(slide) + 1,
        };
        let (start, end) = self.window(number)?;
        Some(if edge == Edge::Start { start } else { end })
    }

    /// The end of the window that starts at `start`.
    #[must_use]
    pub fn end_of(&self, start: Micros) -> Option<Micros> {
        match self.grid {
            Grid::Fixed { size, .. } => start.checked_add(size),
            Grid::Calendar { size, shift, .. } => month_start(month_of(start.checked_sub(shift)?) + size)?.checked_add(shift),
        }
    }

    fn last_number(&self, at: Micros) -> Option<i64> {
        Some(match self.grid {
            Grid::Fixed { slide, origin, .. } => at.checked_sub(origin)?.div_euclid(slide),
            Grid::Calendar { slide, origin, shift, .. } => (month_of(at.checked_sub(shift)?) - origin).div_euclid(slide),
        })
    }

    fn window(&self, number: i64) -> Option<(Micros, Micros)> {
        match self.grid {
            Grid::Fixed { slide, size, origin } => {
                let start = number.checked_mul(slide)?.checked_add(origin)?;
                Some((start, start.checked_add(size)?))
            }
            Grid::Calendar { slide, size, origin, shift } => {
                let first = number.checked_mul(slide)? + origin;
                Some((month_start(first)?.checked_add(shift)?, month_start(first + size)?.checked_add(shift)?))
            }
        }
    }
}

impl std::fmt::Display for Windows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (unit, slide, size, origin) = match self.grid {
            Grid::Fixed { slide, size, origin } => ("us", slide, size, origin),
            Grid::Calendar { slide, size, origin, .. } => ("months", slide, size, origin),
        };
        if slide == size {
            write!(f, "tumbling windows of {size} {unit}")?
        } else {
            write!(f, "windows of {size} {unit} every {slide}")?
        }
        if origin != 0 { write!(f, " offset {origin}") } else { Ok(()) }
    }
}

/// A positive length as months or as microseconds.
fn split(span: IntervalMonthDayNano, what: &str) -> Result<(i64, i64)> {
    let (months, micros) = split_any(span, what)?;
    match (months, micros) {
        (1.., 0) | (0, 1..) => Ok((months, micros)),
        (0, _) | (_, 0) => Err(Error::invalid(format!("the {what} of a window must be positive"))),
        _ => Err(Error::invalid(format!("the {what} of a window cannot mix months with days or smaller units"))),
    }
}

fn split_any(span: IntervalMonthDayNano, what: &str) -> Result<(i64, i64)> {
    if span.nanoseconds % 1_000 != 0 {
        return Err(Error::invalid(format!("the {what} of a window has a part below a microsecond")));
    }
    let micros = i64::from(span.days).checked_mul(DAY).and_then(|days| days.checked_add(span.nanoseconds / 1_000));
    Ok((i64::from(span.months), micros.ok_or_else(|| Error::invalid(format!("the {what} of a window is too long")))?))
}

/// Months since 1970-01 of the month that holds `at`. Days to dates by Howard Hinnant, "chrono-compatible low-level date algorithms".
fn month_of(at: Micros) -> i64 {
    let days = at.div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let year = year_of_era + era * 400 + i64::from(month_from_march >= 10);
    let month = (month_from_march + 2) % 12;
    year * 12 + month - EPOCH_MONTHS
}

/// The first moment of the month `month` months after 1970-01; the inverse of [`month_of`].
fn month_start(month: i64) -> Option<Micros> {
    let total = month + EPOCH_MONTHS;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12));
    let (year, month_from_march) = if month >= 2 { (year, month - 2) } else { (year - 1, month + 10) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month_from_march + 2) / 5;
    (era * 146_097 + day_of_era - 719_468).checked_mul(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(months: i32, days: i32, micros: i64) -> IntervalMonthDayNano {
        IntervalMonthDayNano::new(months, days, micros * 1_000)
    }

    fn all(windows: &Windows, at: i64) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        assert!(windows.each(at, |start, end| found.push((start, end))));
        found
    }

    #[test]
    fn a_row_on_the_boundary_belongs_to_the_later_window() {
        let windows = Windows::tumble(span(0, 0, 10), None).unwrap();
        for (at, window) in [(0, (0, 10)), (9, (0, 10)), (10, (10, 20)), (-1, (-10, 0)), (-10, (-10, 0)), (-11, (-20, -10))] {
            assert_eq!(windows.last(at), Some(window), "at {at}");
            assert_eq!(all(&windows, at), vec![window]);
        }
    }

    #[test]
    fn offsets_move_the_grid() {
        let windows = Windows::tumble(span(0, 0, 10), Some(span(0, 0, 3))).unwrap();
        assert_eq!(windows.last(2), Some((-7, 3)));
        assert_eq!(windows.last(3), Some((3, 13)));
        let negative = Windows::tumble(span(0, 0, 10), Some(span(0, 0, -7))).unwrap();
        assert_eq!(windows, negative);
    }

    #[test]
    fn hopping_windows_overlap() {
        let windows = Windows::hop(span(0, 0, 5), span(0, 0, 12), None).unwrap();
        assert_eq!(all(&windows, 11), vec![(10, 22), (5, 17), (0, 12)]);
        assert_eq!(all(&windows, 12), vec![(10, 22), (5, 17)]);
        assert_eq!(windows.windows_per_row_max(), 3);
        let gaps = Windows::hop(span(0, 0, 10), span(0, 0, 4), None).unwrap();
        assert_eq!(all(&gaps, 3), vec![(0, 4)]);
        assert_eq!(all(&gaps, 4), vec![]);
    }

    #[test]
    fn months_are_calendar_months() {
        let micros = |days: i64| days * DAY;
        let windows = Windows::tumble(span(1, 0, 0), None).unwrap();
        assert_eq!(windows.last(micros(31) - 1), Some((0, micros(31))));
        assert_eq!(windows.last(micros(31)), Some((micros(31), micros(59))));
        assert_eq!(windows.last(-1), Some((micros(-31), 0)));
        // 2024-02-29 is day 19782; 2024-02-01 is 19754; 2024-03-01 is 19783.
        assert_eq!(windows.last(micros(19_782) + 5), Some((micros(19_754), micros(19_783))));
        let years = Windows::tumble(span(12, 0, 0), None).unwrap();
        assert_eq!(years.last(micros(19_782)), Some((micros(19_723), micros(20_089))));
        let shifted = Windows::tumble(span(1, 0, 0), Some(span(0, 14, 0))).unwrap();
        assert_eq!(shifted.last(0), Some((micros(-17), micros(14))));
        let quarters = Windows::hop(span(1, 0, 0), span(3, 0, 0), None).unwrap();
        assert_eq!(all(&quarters, micros(31)), vec![(micros(31), micros(120)), (0, micros(90)), (micros(-31), micros(59))]);
    }

    #[test]
    fn month_numbers_and_starts_are_inverse() {
        for month in -40_000..40_000 {
            let start = month_start(month).unwrap();
            assert_eq!(month_of(start), month);
            assert_eq!(month_of(start - 1), month - 1);
        }
    }

    #[test]
    fn a_watermark_maps_to_the_least_end_above_it() {
        for windows in [
            Windows::tumble(span(0, 0, 10), None).unwrap(),
            Windows::hop(span(0, 0, 5), span(0, 0, 12), Some(span(0, 0, 2))).unwrap(),
            Windows::hop(span(0, 0, 10), span(0, 0, 4), None).unwrap(),
        ] {
            for at in -50..50 {
                let end = windows.watermark(at, Edge::End).unwrap();
                let start = windows.watermark(at, Edge::Start).unwrap();
                assert!(end > at);
                assert_eq!(windows.end_of(start), Some(end));
                // The promise: no row at or after the watermark has an earlier edge, and the bound is reached or in a gap.
                for row in at..at + 60 {
                    for (s, e) in all(&windows, row) {
                        assert!(s >= start && e >= end, "{windows:?} row {row} watermark {at}");
                    }
                }
            }
        }
        let months = Windows::tumble(span(1, 0, 0), None).unwrap();
        assert_eq!(months.watermark(40 * DAY, Edge::End), Some(59 * DAY));
        assert_eq!(months.watermark(40 * DAY, Edge::Start), Some(31 * DAY));
    }

    #[test]
    fn the_ends_of_time_have_no_window() {
        let windows = Windows::tumble(span(0, 1, 0), None).unwrap();
        assert_eq!(windows.last(i64::MIN), None);
        assert_eq!(windows.last(i64::MAX), None);
        assert!(!windows.each(i64::MAX, |_, _| {}));
    }

    #[test]
    fn sizes_that_mean_nothing_are_refused() {
        for (slide, size) in [
            (span(0, 0, 0), span(0, 0, 0)),
            (span(0, 0, 5), span(0, 0, -5)),
            (span(1, 1, 0), span(1, 1, 0)),
            (span(0, 1, 0), span(1, 0, 0)),
            (span(-1, 0, 0), span(-1, 0, 0)),
        ] {
            assert!(Windows::hop(slide, size, None).is_err(), "{slide:?} {size:?}");
        }
        assert!(Windows::tumble(IntervalMonthDayNano::new(0, 0, 1_500), None).is_err());
        assert!(Windows::tumble(span(0, 1, 0), Some(span(1, 0, 0))).is_err());
    }
}
