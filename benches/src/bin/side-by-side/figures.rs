//! Figures as people read them.

/// How many times, if it is known.
pub(crate) fn ratio(times: f64) -> String {
    if times.is_nan() { "-".into() } else { format!("{times:.2}x") }
}

/// A number of any size in few digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{:.2} G", value / 1e9),
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 || value == value.trunc() => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_of_all_sizes_are_short() {
        let shown = [0.25, 7.0, 150.4, 12_345.0, 3_456_789.0, 2e9].map(short);
        assert_eq!(shown, ["0.25", "7", "150", "12.3 k", "3.46 M", "2.00 G"]);
    }
}
