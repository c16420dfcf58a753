//! The editable do-not-inspect list: hosts whose TLS is passed through because inspection cannot work there.
//!
//! It holds host patterns and reasons; rules with action `off` are policy's. Invariant: a pattern is a whole name or
//! `*.` and a name of at least two labels, so no entry can switch inspection off for everything.

use std::collections::HashMap;

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BypassEntry {
    /// `host.example`, or `*.host.example` for the name itself and everything below it.
    pub pattern: String,
    /// Why, for the person who reads the list or the log.
    pub reason: String,
}

/// A pattern that is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name, nor `*.` followed by a name with a dot in it")]
pub struct PatternError(String);

/// The compiled list.
#[derive(Debug, Clone, Default)]
pub struct BypassList {
    exact: HashMap<Box<str>, Box<str>>,
    below: HashMap<Box<str>, Box<str>>,
}

impl BypassList {
    /// Compiles `entries`.
    ///
    /// # Errors
    /// The first pattern that is none.
    pub fn compile(entries: &[BypassEntry]) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for entry in entries {
            let pattern = entry.pattern.to_ascii_lowercase();
            let (name, map) = match pattern.strip_prefix("*.") {
                Some(name) if name.contains('.') => (name, &mut list.below),
                Some(_) => return Err(PatternError(entry.pattern.clone())),
                None => (pattern.as_str(), &mut list.exact),
            };
            if net::Host::parse(name).ok().and_then(|host| host.name().map(|same| same == name)) != Some(true) {
                return Err(PatternError(entry.pattern.clone()));
            }
            map.insert(name.into(), entry.reason.as_str().into());
        }
        Ok(list)
    }

    /// Returns the patterns of the list, in no order.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        let exact = self.exact.keys().map(|name| name.to_string());
        exact.chain(self.below.keys().map(|name| format!("*.{name}")))
    }

    /// Returns the reason why `host`, in lower case, is not inspected.
    #[must_use]
    pub fn reason(&self, host: &str) -> Option<&str> {
        if let Some(reason) = self.exact.get(host) {
            return Some(reason);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut name = host;
        loop {
            if let Some(reason) = self.below.get(name) {
                return Some(reason);
            }
            name = name.split_once('.')?.1;
        }
    }
}

/// The list a new account starts with. Every entry is here because the client pins its own certificate authority or key,
/// so that inspection would break it and show nothing.
#[must_use]
pub fn default_entries() -> Vec<BypassEntry> {
    const PINNED: &[(&str, &str)] = &[
        ("*.push.apple.com", "Apple devices accept only Apple's certificates for push notifications"),
        ("gs.apple.com", "Apple devices pin the signing service for system updates"),
        ("albert.apple.com", "Apple devices pin the activation service"),
        ("gdmf.apple.com", "Apple devices pin the catalogue of system updates"),
        ("mesu.apple.com", "Apple devices pin the catalogue of system updates"),
        ("deviceenrollment.apple.com", "Apple devices pin device enrolment"),
        ("mdmenrollment.apple.com", "Apple devices pin device enrolment"),
        ("iprofiles.apple.com", "Apple devices pin device enrolment"),
        ("*.itunes.apple.com", "the App Store pins its certificates"),
        ("*.icloud.com", "Apple's system services pin their certificates"),
        ("*.update.microsoft.com", "Windows Update accepts only Microsoft's certificates"),
        ("*.windowsupdate.com", "Windows Update accepts only Microsoft's certificates"),
        ("*.delivery.mp.microsoft.com", "Windows Update accepts only Microsoft's certificates"),
        ("*.wns.windows.com", "Windows pins its push notification service"),
        ("*.vortex.data.microsoft.com", "Windows pins its diagnostics service"),
        ("mtalk.google.com", "Android pins its push notification service"),
        ("android.clients.google.com", "Google Play services pin their certificates"),
        ("*.whatsapp.net", "WhatsApp pins its certificates"),
        ("*.signal.org", "Signal trusts only its own certificate authority"),
        ("*.whispersystems.org", "Signal trusts only its own certificate authority"),
        ("*.dropboxapi.com", "the Dropbox desktop app pins its certificates"),
        ("client.dropbox.com", "the Dropbox desktop app pins its certificates"),
        ("*.zoom.us", "the Zoom app pins its certificates for meetings"),
        ("*.logmein.com", "remote support tools pin their certificates"),
        ("*.teamviewer.com", "remote support tools pin their certificates"),
        ("*.ess.apple.com", "Apple's messaging services pin their certificates"),
    ];
    PINNED
        .iter()
        .map(|(pattern, reason)| BypassEntry { pattern: (*pattern).to_owned(), reason: (*reason).to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BypassEntry, BypassList, default_entries};

    fn list(patterns: &[&str]) -> Result<BypassList, super::PatternError> {
        let entries: Vec<_> =
            patterns.iter().map(|p| BypassEntry { pattern: (*p).to_owned(), reason: (*p).to_owned() }).collect();
        BypassList::compile(&entries)
    }

    #[test]
    fn a_star_covers_the_name_and_everything_below_it() {
        let list = list(&["*.push.example.com", "exact.example"]).unwrap();
        for (host, covered) in [
            ("push.example.com", true),
            ("a.b.push.example.com", true),
            ("xpush.example.com", false),
            ("example.com", false),
            ("exact.example", true),
            ("a.exact.example", false),
            ("", false),
        ] {
            assert_eq!(list.reason(host).is_some(), covered, "{host}");
        }
    }

    #[test]
    fn no_pattern_switches_everything_off() {
        for bad in ["*", "*.", "*.com", "", "a b", "*.*.com", "https://a.example", "a.example/x"] {
            assert!(list(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_default_list_compiles_and_is_documented() {
        let page = include_str!("../../../docs/do-not-inspect.md");
        let entries = default_entries();
        BypassList::compile(&entries).unwrap();
        for entry in entries {
            assert!(page.contains(&format!("`{}`", entry.pattern)), "{}", entry.pattern);
        }
    }
}
