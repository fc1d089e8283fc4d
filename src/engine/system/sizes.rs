//! Sizes for people, as PostgreSQL's `pg_size_pretty` writes them.

/// `8192 bytes`, `24 kB`, `3 MB` …: the largest unit of which there are less than 10,240, rounded half away from zero.
#[must_use]
pub fn size_pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let mut halves = i128::from(bytes) * 2;
    for (at, unit) in UNITS.iter().enumerate() {
        let limit = if at == 0 { 10 * 1024 * 2 } else { (10 * 1024 * 2) - 1 };
        if halves.abs() < limit || at + 1 == UNITS.len() {
            let rounded = if at == 0 { halves / 2 } else { (halves + halves.signum()) / 2 };
            return format!("{rounded} {unit}");
        }
        // One bit more than the unit is kept, for rounding.
        halves /= 1024;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::size_pretty;

    #[test]
    fn sizes_as_postgres_writes_them() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (8_192, "8192 bytes"),
            (10_239, "10239 bytes"),
            (10_240, "10 kB"),
            (7_698_943, "7518 kB"),
            (10_485_247, "10239 kB"),
            (10_485_248, "10 MB"),
            (-10_240, "-10 kB"),
            (1_099_511_627_776, "1024 GB"),
            (i64::MAX, "8192 PB"),
        ] {
            assert_eq!(size_pretty(bytes), text, "{bytes}");
        }
    }
}
