//! Finds what is suspicious of a definition: text that is meant to steer a model, or to pass people by.
//!
//! Looks at every text of a definition, names of members included, because a model reads them all. It says what was found
//! and where; whether the definition is held is [`crate::pinning`]'s. It is a set of rules over normalised text, so it can
//! be written around, and it may hold back what is honest: it decides what a person should read before a model does.
//! Invariants: work is linear in the size of what is looked at; what is reported is bounded and safe to show.

mod characters;
mod encoded;
mod names;
mod phrases;
mod text;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::names::Surroundings;
pub use self::text::spelled;
use crate::catalog::{Definition, Kind};
use crate::raw::{self, Object};

/// Most flags of one definition.
const MOST_FLAGS: usize = 6;
/// Characters of what was found that a flag shows.
const MOST_SHOWN: usize = 120;
/// Characters beyond which a single text is more than a description.
const LONG: usize = 12_000;
/// Spaces or line ends in a row that push text out of sight.
const BLANK: (usize, usize) = (120, 20);

identity::words! {
    /// What is suspicious of a definition.
    Reason {
        /// It tells the model to set aside what it was told.
        Override = "override",
        /// It tells the model to keep something from the person.
        Secrecy = "secrecy",
        /// It is marked up as if it came from the system or the client.
        Markup = "markup",
        /// It asks for files, secrets or the conversation to be passed on.
        Exfiltration = "exfiltration",
        /// It says what to do when other tools are used.
        Shadowing = "shadowing",
        /// It names a tool of another server.
        CrossServer = "cross_server",
        /// It tells the model to run a command that fetches or destroys.
        Command = "command",
        /// It has characters that nobody sees.
        Invisible = "invisible",
        /// It mixes letters of several scripts that look alike.
        MixedScript = "mixed_script",
        /// Its name looks like another's.
        Lookalike = "lookalike",
        /// It holds text in a form that a person does not read.
        Encoded = "encoded",
        /// It is longer than anybody reads, or has text out of sight.
        Oversized = "oversized",
    }
}

impl Reason {
    /// Says it to an administrator.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Override => "tells the model to set aside what it was told",
            Self::Secrecy => "tells the model to keep something from the person",
            Self::Markup => "is marked up as if the system or the client said it",
            Self::Exfiltration => "asks for files, secrets or the conversation to be passed on",
            Self::Shadowing => "says what to do when other tools are used",
            Self::CrossServer => "names a tool of another server",
            Self::Command => "tells the model to run a command that fetches or destroys",
            Self::Invisible => "has characters that nobody sees",
            Self::MixedScript => "mixes letters of several scripts that look alike",
            Self::Lookalike => "has a name that looks like another's",
            Self::Encoded => "holds text in a form that people do not read",
            Self::Oversized => "is longer than anybody reads, or has text out of sight",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    pub reason: Reason,
    /// Where: names of members with dots between, such as `inputSchema.properties.note.description`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// What was found, with invisible characters spelled out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
}

impl Flag {
    fn new(reason: Reason, place: &str, found: &str) -> Self {
        Self { reason, place: clipped(place), found: clipped(&text::spelled(found)) }
    }

    /// Keeps the reason alone.
    pub(crate) fn shorten(&mut self) {
        self.place.clear();
        self.found.clear();
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Says what is suspicious of a definition, each reason once.
#[must_use]
pub fn inspect(definition: &Definition, surroundings: &Surroundings) -> Vec<Flag> {
    let mut found = Found::default();
    if matches!(definition.kind, Kind::Tool | Kind::Prompt) {
        names::name(&definition.key, surroundings, &mut found);
    }
    walk(&definition.json, &mut String::new(), surroundings, &mut found);
    found.0
}

/// What was found so far.
#[derive(Default)]
struct Found(Vec<Flag>);

impl Found {
    fn add(&mut self, reason: Reason, place: &str, found: &str) {
        if self.0.len() < MOST_FLAGS && !self.0.iter().any(|flag| flag.reason == reason) {
            self.0.push(Flag::new(reason, place, found));
        }
    }
}

/// Looks at every text at or below a value; the catalogue bounds how deep that is.
fn walk(value: &RawValue, place: &mut String, surroundings: &Surroundings, found: &mut Found) {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'{') => {
            let Ok(object) = Object::parse(json) else { return };
            for (name, member) in object.members() {
                let length = place.len();
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(name);
                look(name, true, place, surroundings, found);
                // Pictures are encoded by nature, and no model reads them.
                if name != "icons" {
                    walk(member, place, surroundings, found);
                }
                place.truncate(length);
            }
        }
        Some(b'[') => {
            for item in serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default() {
                walk(item, place, surroundings, found);
            }
        }
        Some(b'"') => {
            if let Some(text) = raw::text(value) {
                look(&text, false, place, surroundings, found);
            }
        }
        _ => {}
    }
}

fn look(text: &str, is_name: bool, place: &str, surroundings: &Surroundings, found: &mut Found) {
    characters::look(text, place, found);
    let folded = text::fold(text, is_name);
    phrases::look(&folded, place, found);
    if !is_name {
        encoded::look(text, place, found);
        names::mentions(text, &folded, place, surroundings, found);
    }
    let (length, blank) = (text.chars().count(), text::blanks(text));
    if length > LONG {
        found.add(Reason::Oversized, place, &format!("{length} characters"));
    } else if blank.0 >= BLANK.0 || blank.1 >= BLANK.1 {
        found.add(Reason::Oversized, place, &format!("{} blanks, {} of them line ends, in a row", blank.0, blank.1));
    }
}

#[cfg(test)]
mod tests;
