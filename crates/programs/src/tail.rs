//! The last words of a program: what it wrote to standard error, bounded, without its secrets.

use parking_lot::Mutex;

/// Bytes that are kept.
const MOST: usize = 4 << 10;
/// Shorter values of variables are no secrets, and would black out half of what is said.
const SHORTEST: usize = 6;

/// What was last said.
pub(crate) struct Tail {
    /// And whether something before it was dropped.
    kept: Mutex<(Vec<u8>, bool)>,
    secrets: Vec<String>,
}

impl Tail {
    pub(crate) fn new(secrets: impl Iterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = secrets.filter(|secret| secret.len() >= SHORTEST).collect();
        // What holds another one goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { kept: Mutex::default(), secrets }
    }

    /// Takes what was said.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock();
        kept.0.extend_from_slice(bytes);
        if let Some(over) = kept.0.len().checked_sub(MOST).filter(|over| *over > 0) {
            kept.0.drain(..over);
            kept.1 = true;
        }
    }

    /// Returns the last of it, as one text.
    pub(crate) fn text(&self) -> String {
        let (bytes, cut) = self.kept.lock().clone();
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if cut {
            // What is left of a line could be what is left of a secret.
            text = text.split_once('\n').map(|(_, whole)| whole.to_owned()).unwrap_or_default();
        }
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "•••");
        }
        let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        text.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Tail};

    #[test]
    fn the_last_words_are_kept_within_bounds_and_without_secrets() {
        let tail = Tail::new(["hunter2hunter2".to_owned(), "on".to_owned()].into_iter());
        tail.push(&vec![b'x'; 10 * MOST]);
        tail.push(b"\nno route for hunter2hunter2 on\x1b[0m\n");
        let text = tail.text();
        assert!(text.len() <= MOST, "{}", text.len());
        assert!(text.ends_with("no route for ••• on [0m"), "{text}");
    }
}
