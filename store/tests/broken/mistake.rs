//! What a mistake is.

/// A mistake of the engine, and the test that catches it.
pub struct Mistake {
    pub name: &'static str,
    /// What it breaks of what every crash must keep, by letter: (a) nothing promised is lost; (b) nothing acked comes
    /// back; (c) nothing is delivered more often than its group allows; (d) each dead letter exactly once; (e) nothing
    /// that was cut reappears; (f) opening twice gives the same as once; (g) a crash inside recovery is no worse;
    /// (h) a receipt works or is refused, and is never good for another message. None where only a caller is hurt.
    pub breaks: &'static str,
    pub places: &'static [Place],
    /// The test binary, and the test in it.
    pub caught_by: (&'static str, &'static str),
    /// What the test says then.
    pub told: &'static str,
}

/// A place in the source, and what is done wrong there.
pub struct Place {
    pub file: &'static str,
    /// Stands in the file exactly once; any space is as good as any other.
    pub right: &'static str,
    /// Takes its place. `BROKEN` is true while the mistake is switched on.
    pub wrong: &'static str,
}
