//! Which of its bounds a benchmark held.
//!
//! A benchmark writes a bound directly behind the figure it is for: `0.93 of the tunnel's rate (at least 0.90)`. A bound
//! that is missed is no failure, since figures depend on the machine, but it is never passed over in silence.

use std::fmt::Write as _;

/// The lines of a run that state a bound.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    held: usize,
    missed: Vec<String>,
    /// Lines whose figure or bound cannot be read.
    unread: Vec<String>,
}

impl Bounds {
    /// Looks at one line of a benchmark's output.
    pub(crate) fn read(&mut self, line: &str) {
        for (word, holds) in [("(at most ", f64::le as fn(&f64, &f64) -> bool), ("(at least ", f64::ge)] {
            for (place, _) in line.match_indices(word) {
                match (last_number(&line[..place]), first_number(&line[place + word.len()..])) {
                    (Some(figure), Some(bound)) if holds(&figure, &bound) => self.held += 1,
                    (Some(_), Some(_)) => self.missed.push(line.to_owned()),
                    _ => self.unread.push(line.to_owned()),
                }
            }
        }
    }

    /// Says it all in a few lines.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("bounds: {} held, {} missed", self.held, self.missed.len());
        for (what, lines) in [("MISSED", &self.missed), ("CANNOT BE READ", &self.unread)] {
            for line in lines {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n  {what}: {line}");
            }
        }
        text
    }
}

const fn is_of_number(character: char) -> bool {
    character.is_ascii_digit() || character == '.'
}

fn first_number(text: &str) -> Option<f64> {
    text.split(|character| !is_of_number(character)).next()?.parse().ok()
}

fn last_number(text: &str) -> Option<f64> {
    text.rsplit(|character| !is_of_number(character)).find_map(|part| part.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::Bounds;

    #[test]
    fn a_figure_is_held_against_the_bound_behind_it() {
        let mut bounds = Bounds::default();
        for line in [
            "requests kept alive against Squid: 4.10x by the clock, 5.21x for the same CPU (at least 3)",
            "1 MB bodies: 0.90 of the tunnel's rate (at least 0.90)",
            "warm call, 40-line Worker: p50 149 us (at most 150), p99 600 us, of it CPU in the script 70 us",
            "10,000 rules against 10: 1.20 times the cost (at most 2)",
            "squid: requests kept alive: 9000/s",
        ] {
            bounds.read(line);
        }
        assert_eq!(bounds.summary(), "bounds: 4 held, 0 missed");
    }

    #[test]
    fn a_bound_that_is_missed_or_cannot_be_read_is_named() {
        let mut bounds = Bounds::default();
        bounds.read("cold call: p50 2.01 ms (at most 2), p99 9.00 ms");
        bounds.read("idle memory: unknown (at most 80)");
        bounds.read("start: 120 ms (at most 300)");
        assert_eq!(
            bounds.summary(),
            "bounds: 1 held, 1 missed\n  MISSED: cold call: p50 2.01 ms (at most 2), p99 9.00 ms\n  CANNOT BE READ: idle memory: unknown (at most 80)"
        );
    }
}
