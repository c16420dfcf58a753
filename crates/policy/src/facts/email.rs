//! Extended e-mail matching (reference section 3.1): an address and its variants, with a `+` tag or other dots, are one.
//!
//! Decides which spelling stands for an address and which rules look at addresses that way. Invariant: the canonical
//! spelling of a canonical spelling is itself.

use crate::action::Action;
use crate::hook::Hook;

/// Longest address that has variants; a longer one is compared as it is.
pub const MAX_LENGTH: usize = 254;

/// The canonical spelling of an address, on the stack.
#[derive(Clone, Copy)]
pub struct Canonical {
    bytes: [u8; MAX_LENGTH],
    length: usize,
}

impl Canonical {
    /// Removes the tag and the dots of the part before the `@`, and lowers ASCII letters.
    #[must_use]
    pub fn of(address: &[u8]) -> Option<Self> {
        let at = address.iter().rposition(|b| *b == b'@')?;
        if address.len() > MAX_LENGTH {
            return None;
        }
        let mut this = Self { bytes: [0; MAX_LENGTH], length: 0 };
        let (local, domain) = address.split_at(at);
        for byte in local.iter().take_while(|b| **b != b'+').filter(|b| **b != b'.').chain(domain) {
            *this.bytes.get_mut(this.length)? = byte.to_ascii_lowercase();
            this.length += 1;
        }
        Some(this)
    }

    /// Returns the spelling.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Tells whether a rule with this action matches variants; `forced` is the account's setting.
#[must_use]
pub const fn matches_variants(hook: Hook, action: Action, forced: bool) -> bool {
    forced
        || match hook {
            Hook::Http => matches!(action, Action::Block | Action::Isolate),
            Hook::L4 => matches!(action, Action::Block | Action::AuditSsh),
        }
}

#[cfg(test)]
mod tests {
    use super::{Canonical, matches_variants};
    use crate::action::Action;
    use crate::hook::Hook;

    #[test]
    fn variants_share_one_spelling() {
        for (address, canonical) in [
            ("user@example.com", "user@example.com"),
            ("u.s.e.r+tag@example.com", "user@example.com"),
            ("User+a+b@Example.com", "user@example.com"),
            ("+x@e.com", "@e.com"),
        ] {
            assert_eq!(Canonical::of(address.as_bytes()).unwrap().as_bytes(), canonical.as_bytes(), "{address}");
        }
        assert!(Canonical::of(b"no address").is_none());
        assert!(Canonical::of(format!("{}@e.com", "a".repeat(300)).as_bytes()).is_none());
    }

    #[test]
    fn each_action_has_its_documented_default() {
        for (hook, action, variants) in [
            (Hook::Http, Action::Allow, false),
            (Hook::Http, Action::Off, false),
            (Hook::Http, Action::NoIsolate, false),
            (Hook::Http, Action::NoScan, false),
            (Hook::Http, Action::Block, true),
            (Hook::Http, Action::Isolate, true),
            (Hook::L4, Action::Allow, false),
            (Hook::L4, Action::L4Override, false),
            (Hook::L4, Action::Block, true),
            (Hook::L4, Action::AuditSsh, true),
        ] {
            assert_eq!(matches_variants(hook, action, false), variants, "{action}");
            assert!(matches_variants(hook, action, true), "{action}");
        }
    }
}
