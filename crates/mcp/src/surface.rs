//! Which of its four surfaces a portal shows a client: the tools themselves, or fewer tokens in exchange for searching.
//!
//! Decides from the portal's setting and the query string of its address. Invariant: `off` and `enforced` are the
//! administrator's word, which no query string changes.

use url::form_urlencoded;

/// The portal's `code_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CodeMode {
    /// Unavailable.
    Off,
    /// The client turns it on.
    #[default]
    OptIn,
    /// On, and the client may turn it off.
    DefaultOn,
    /// On.
    Enforced,
}

impl CodeMode {
    /// Reads the setting; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Off, Self::OptIn, Self::DefaultOn, Self::Enforced].into_iter().find(|mode| mode.as_str() == text)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OptIn => "opt_in",
            Self::DefaultOn => "default_on",
            Self::Enforced => "enforced",
        }
    }
}

/// What `tools/list` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Surface {
    /// Every tool with all it says.
    Full,
    /// Every tool by name, and one that looks up the rest.
    MinimizeTools,
    /// A tool that looks up tools and one that calls them.
    SearchAndExecute,
    /// A tool that runs a script over the definitions and one that runs a script over the tools.
    CodeMode,
}

impl Surface {
    /// Chooses by the portal's setting and the raw query string of the address the client dialled.
    ///
    /// Of a parameter given twice, the first counts; what is not known has no effect.
    #[must_use]
    pub fn choose(setting: CodeMode, query: &str) -> Self {
        let value = |name: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(other, _)| other == name).map(|(_, value)| value)
        };
        let asked = value("codemode");
        let on = match (setting, asked.as_deref()) {
            (CodeMode::Off, _) | (CodeMode::DefaultOn, Some("off")) => false,
            (CodeMode::Enforced | CodeMode::DefaultOn, _) => true,
            (CodeMode::OptIn, asked) => asked == Some("search_and_execute"),
        };
        if on {
            return Self::CodeMode;
        }
        match value("optimize_context").as_deref() {
            Some("minimize_tools") => Self::MinimizeTools,
            Some("search_and_execute") => Self::SearchAndExecute,
            _ => Self::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_and_query_choose_the_surface() {
        use CodeMode::{DefaultOn, Enforced, Off, OptIn};
        let on = "codemode=search_and_execute";
        for (setting, query, surface) in [
            (Off, "", Surface::Full),
            (Off, on, Surface::Full),
            (Off, "codemode=search_and_execute&optimize_context=minimize_tools", Surface::MinimizeTools),
            (OptIn, "", Surface::Full),
            (OptIn, on, Surface::CodeMode),
            (OptIn, "x=1&codemode=search%5Fand%5Fexecute", Surface::CodeMode),
            (OptIn, "codemode=off&codemode=search_and_execute", Surface::Full),
            (OptIn, "codemode=on", Surface::Full),
            (DefaultOn, "", Surface::CodeMode),
            (DefaultOn, "codemode=off", Surface::Full),
            (DefaultOn, "codemode=off&optimize_context=search_and_execute", Surface::SearchAndExecute),
            (DefaultOn, "optimize_context=minimize_tools", Surface::CodeMode),
            (Enforced, "codemode=off", Surface::CodeMode),
            (Enforced, "", Surface::CodeMode),
        ] {
            assert_eq!(Surface::choose(setting, query), surface, "{setting:?} {query}");
        }
        assert_eq!(CodeMode::parse("opt_in"), Some(CodeMode::default()));
        assert_eq!(CodeMode::parse("on"), None);
    }
}
