//! Pinning: which definitions of a server are approved, which wait, and what of a server is shown meanwhile.
//!
//! Decides from digests, the server's setting and what the detector found; who approves, and when, comes as arguments.
//! The first time a server answers, what it offers is trusted unless the detector flags it. A definition that waits is as
//! if it did not exist, with one exception: where nothing but words changed and nothing is flagged, the approved definition
//! goes on being shown. Resources come and go with what people write, and wait only when they are flagged. Invariants: what
//! is approved is a digest, so a definition that changes again while somebody looks at it is not approved with it; a server
//! cannot shed its past by leaving a definition out for a while; whatever servers list, a ledger has bounds.

mod canonical;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::Verbatim;

pub use self::canonical::{Digest, conduct, whole};
use crate::catalog::{Catalog, Definition, Kind};
use crate::detector::Flag;
use crate::document::server::Pinning;

/// Version of the stored ledger.
pub const VERSION: u32 = 1;
/// Most definitions remembered that a server lists no more.
const MOST_GONE: usize = 1_000;
/// Most bytes of approved definitions kept beside those a server lists now.
const MOST_KEPT: usize = 4 << 20;
/// Most flags kept with what they were found in.
const MOST_FLAGS: usize = 2_000;

identity::words! {
    /// The kind of a definition, as the API names it.
    KindWord {
        Tool = "tool",
        Prompt = "prompt",
        Resource = "resource",
        ResourceTemplate = "resource_template",
    }
}

impl From<Kind> for KindWord {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Tool => Self::Tool,
            Kind::Prompt => Self::Prompt,
            Kind::Resource => Self::Resource,
            Kind::ResourceTemplate => Self::ResourceTemplate,
        }
    }
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Tool => Self::Tool,
            KindWord::Prompt => Self::Prompt,
            KindWord::Resource => Self::Resource,
            KindWord::ResourceTemplate => Self::ResourceTemplate,
        }
    }
}

/// What is approved and what waits of one server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    version: u32,
    /// By kind and key, each once.
    pins: Vec<Pin>,
}

/// One definition, by its name, URI or template at the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    pub kind: KindWord,
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approval>,
    /// What is listed and not approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The last that an administrator refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// What the detector found in what is listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Since when the server lists it no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

/// What is approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    pub digest: Digest,
    /// Of what it says about calls.
    pub conduct: Digest,
    /// Empty: nobody; it was there the first time, or the server's setting lets it pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    pub at: String,
    /// The definition, while the server lists another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Verbatim>,
}

/// What waits for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub digest: Digest,
    pub conduct: Digest,
    /// Since when the server lists it.
    pub since: String,
}

/// What an administrator refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub digest: Digest,
    pub by: String,
    pub at: String,
}

/// How a listed definition is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shown<'a> {
    AsListed,
    /// As it was approved.
    AsApproved(&'a Verbatim),
    /// Not at all.
    Held,
}

/// A decision of an administrator about one definition, as they saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub kind: KindWord,
    pub key: String,
    pub digest: Digest,
}

/// Why a decision about a definition has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("no such definition waits for approval")]
    NotWaiting,
    #[error("it has changed again; look at it anew")]
    Changed,
}

/// What came of asking a server, as far as pinning goes.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    pub pinning: Pinning,
    /// What it listed the time before.
    pub before: &'a Catalog,
    pub now: &'a Catalog,
    /// RFC 3339.
    pub at: &'a str,
}

impl Pin {
    /// Whether an administrator already said no to what waits.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let waiting = self.waiting.as_ref().map(|waiting| &waiting.digest);
        waiting.is_some() && waiting == self.refused.as_ref().map(|refused| &refused.digest)
    }

    /// Whether nothing but words changed of what is approved.
    #[must_use]
    pub fn changed_words_alone(&self) -> bool {
        let (Some(approved), Some(waiting)) = (&self.approved, &self.waiting) else { return false };
        approved.conduct == waiting.conduct
    }

    /// Whether the setting makes what waits wait.
    fn holds(&self, pinning: Pinning) -> bool {
        self.waiting.is_some()
            && match pinning {
                Pinning::None => false,
                // A refusal is somebody's word; a setting that lets others pass does not undo it.
                _ if self.is_refused() || !self.flags.is_empty() => true,
                Pinning::All => true,
                Pinning::New => self.approved.is_none(),
                Pinning::Changed => self.approved.is_some(),
            }
    }

    /// How what is listed is shown under a setting.
    #[must_use]
    pub fn shown(&self, pinning: Pinning) -> Shown<'_> {
        if !self.holds(pinning) {
            return Shown::AsListed;
        }
        let kept = self.approved.as_ref().and_then(|approved| approved.text.as_ref());
        match kept {
            Some(text) if self.flags.is_empty() && self.changed_words_alone() => Shown::AsApproved(text),
            _ => Shown::Held,
        }
    }
}

impl Ledger {
    /// Reads what was stored; nothing stored is an empty ledger.
    ///
    /// # Errors
    /// When it is not one of ours; nothing is known to be approved then.
    pub fn read(stored: Option<&Verbatim>) -> Result<Self, serde_json::Error> {
        stored.map_or_else(|| Ok(Self::default()), |text| serde_json::from_str(text.get()))
    }

    /// Writes it to be stored.
    #[must_use]
    pub fn write(&self) -> Verbatim {
        crate::raw::raw(self).into()
    }

    /// Whether the server has answered since its definitions are pinned.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.version > 0
    }

    /// Returns the pins, by kind and key.
    #[must_use]
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Returns what waits, and was not refused, under a setting.
    pub fn waiting(&self, pinning: Pinning) -> impl Iterator<Item = &Pin> {
        self.pins.iter().filter(move |pin| pin.holds(pinning) && !pin.is_refused())
    }

    #[must_use]
    pub fn find(&self, kind: KindWord, key: &str) -> Option<&Pin> {
        let at = self.pins.binary_search_by(|pin| (pin.kind, pin.key.as_str()).cmp(&(kind, key))).ok()?;
        self.pins.get(at)
    }

    /// Returns the ledger after a server listed what it offers. `inspect` says what is suspicious of a definition.
    #[must_use]
    pub fn settled(mut self, listing: Listing<'_>, mut inspect: impl FnMut(&Definition) -> Vec<Flag>) -> Self {
        let first = !self.is_begun();
        let mut old: BTreeMap<(KindWord, String), Pin> =
            self.pins.drain(..).map(|pin| ((pin.kind, pin.key.clone()), pin)).collect();
        let mut pins = Vec::new();
        let (mut kept, mut flagged) = (0, 0);
        for definition in Kind::ALL.into_iter().flat_map(|kind| listing.now.list(kind)) {
            let mut flags = inspect(definition);
            flagged += flags.len();
            if flagged > MOST_FLAGS {
                flags.truncate(1);
                flags.iter_mut().for_each(Flag::shorten);
            }
            let known = old.remove(&(definition.kind.into(), definition.key.to_string()));
            if definition.kind == Kind::Resource && flags.is_empty() {
                continue;
            }
            let mut pin = known.unwrap_or_else(|| Pin::of(definition));
            pin.flags = flags;
            pin.settle(definition, listing, first);
            let approved =
                pin.approved.as_mut().and_then(|approved| Some((approved.text.as_ref()?.get().len(), approved)));
            if let Some((bytes, approved)) = approved {
                kept += bytes;
                if kept > MOST_KEPT {
                    approved.text = None;
                }
            }
            pins.push(pin);
        }
        pins.extend(remembered(old.into_values(), listing.at));
        pins.sort_unstable_by(|one, other| (one.kind, &one.key).cmp(&(other.kind, &other.key)));
        Self { version: VERSION, pins }
    }

    /// Approves what somebody saw.
    ///
    /// # Errors
    /// When nothing waits there, or something else by now.
    pub fn approve(&mut self, choice: &Choice, by: &str, at: &str) -> Result<(), ChoiceError> {
        let pin = self.chosen(choice)?;
        let Some(Waiting { digest, conduct, .. }) = pin.waiting.take() else { return Err(ChoiceError::NotWaiting) };
        pin.approved = Some(Approval { digest, conduct, by: by.to_owned(), at: at.to_owned(), text: None });
        pin.refused = None;
        Ok(())
    }

    /// Refuses what somebody saw: it goes on waiting, and asks for nobody's attention until it changes again.
    ///
    /// # Errors
    /// As [`Ledger::approve`].
    pub fn refuse(&mut self, choice: &Choice, by: &str, at: &str) -> Result<(), ChoiceError> {
        let pin = self.chosen(choice)?;
        pin.refused = Some(Refusal { digest: choice.digest.clone(), by: by.to_owned(), at: at.to_owned() });
        Ok(())
    }

    fn chosen(&mut self, choice: &Choice) -> Result<&mut Pin, ChoiceError> {
        let sought = (choice.kind, choice.key.as_str());
        let at = self.pins.binary_search_by(|pin| (pin.kind, pin.key.as_str()).cmp(&sought));
        let pin = at.ok().and_then(|at| self.pins.get_mut(at)).ok_or(ChoiceError::NotWaiting)?;
        match &pin.waiting {
            None => Err(ChoiceError::NotWaiting),
            Some(waiting) if waiting.digest != choice.digest => Err(ChoiceError::Changed),
            Some(_) => Ok(pin),
        }
    }
}

impl Pin {
    fn of(definition: &Definition) -> Self {
        Self {
            kind: definition.kind.into(),
            key: definition.key.to_string(),
            approved: None,
            waiting: None,
            refused: None,
            flags: Vec::new(),
            gone: None,
        }
    }

    fn settle(&mut self, definition: &Definition, listing: Listing<'_>, first: bool) {
        let (digest, conduct) = (whole(definition), conduct(definition));
        let was_gone = self.gone.take().is_some();
        let approved = self.approved.as_ref().filter(|approved| approved.digest == digest);
        // What nobody looked at is not approved any more once something is found in it.
        let stands = approved.is_some_and(|approved| {
            !approved.by.is_empty() || self.flags.is_empty() || listing.pinning == Pinning::None
        });
        if stands {
            self.waiting = None;
            if let Some(approved) = &mut self.approved {
                approved.text = None;
            }
            return;
        }
        if approved.is_some() {
            self.approved = None;
        }
        let since = self.waiting.take().filter(|waiting| waiting.digest == digest);
        let since = since.map_or_else(|| listing.at.to_owned(), |waiting| waiting.since);
        self.waiting = Some(Waiting { digest: digest.clone(), conduct: conduct.clone(), since });
        let trusted = first && self.flags.is_empty();
        if trusted || !self.holds(listing.pinning) {
            self.waiting = None;
            self.approved =
                Some(Approval { digest, conduct, by: String::new(), at: listing.at.to_owned(), text: None });
            return;
        }
        if let Some(approved) = self.approved.as_mut().filter(|approved| approved.text.is_none() && !was_gone) {
            let before = listing.before.find(definition.kind, &definition.key);
            let before = before.filter(|before| whole(before) == approved.digest);
            approved.text = before.map(|before| Verbatim::new(&before.json));
        }
    }
}

/// What is kept of definitions that are listed no more: what was decided about them, without their texts.
fn remembered(gone: impl Iterator<Item = Pin>, at: &str) -> Vec<Pin> {
    let mut kept: Vec<Pin> = gone
        .filter(|pin| pin.approved.is_some() || pin.refused.is_some())
        .map(|mut pin| {
            pin.gone.get_or_insert_with(|| at.to_owned());
            pin.waiting = None;
            pin.flags.clear();
            if let Some(approved) = &mut pin.approved {
                approved.text = None;
            }
            pin
        })
        .collect();
    kept.sort_by(|one, other| other.gone.cmp(&one.gone));
    kept.truncate(MOST_GONE);
    kept
}

/// What people are shown of a server: its definitions as they may be seen, and those that are held back.
#[derive(Debug, Clone, Default)]
pub struct Effective {
    pub catalog: Catalog,
    pub held: HashSet<(Kind, Box<str>)>,
}

/// Says how a definition that a server lists is shown.
#[must_use]
pub fn shown<'a>(ledger: &'a Ledger, pinning: Pinning, definition: &Definition) -> Shown<'a> {
    match ledger.find(definition.kind.into(), &definition.key) {
        Some(pin) => pin.shown(pinning),
        // Before the first time, and what is not pinned.
        None if !ledger.is_begun() || definition.kind == Kind::Resource || pinning == Pinning::None => Shown::AsListed,
        None => Shown::Held,
    }
}

/// Puts together what is shown of what a server listed.
#[must_use]
pub fn effective(listed: &Catalog, ledger: &Ledger, pinning: Pinning) -> Effective {
    let mut shown = Effective::default();
    for kind in Kind::ALL {
        let mut items: Vec<&RawValue> = Vec::with_capacity(listed.list(kind).len());
        for definition in listed.list(kind) {
            match self::shown(ledger, pinning, definition) {
                Shown::AsListed => items.push(&definition.json),
                Shown::AsApproved(text) => items.push(text.raw()),
                // It stays in the catalogue, so that a URI of it is known to be hidden.
                Shown::Held => {
                    items.push(&definition.json);
                    shown.held.insert((kind, definition.key.clone()));
                }
            }
        }
        shown.catalog.extend(kind, items);
    }
    shown
}

#[cfg(test)]
mod tests;
