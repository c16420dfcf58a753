//! Finds the rules that could match, so that cost grows with those and not with the rules that exist.
//!
//! Each rule is filed under one of its necessary conditions: a host, a domain, an address, a group, a method. Decides
//! nothing. Invariant: a rule that is not found is false for these facts; a rule that is found may be false too.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hash as _, Hasher};
use std::sync::Arc;

use expr::{Anchor, ArrayRef, Expression, Fact, Facts, FieldId, Key, List, ListKind, Type, ValueRef};

use super::compiled::Rule;
use crate::facts::email::Canonical;
use crate::hook::{Hook, Selector, http::id as http};

/// Most list members filed one by one; a list beyond that is asked as a whole, once per request.
const MAX_FILED_MEMBERS: usize = 200_000;

/// The rules of one table, by what they require.
#[derive(Debug, Default)]
pub(super) struct Index {
    shelves: Vec<Shelf>,
    /// Rules without a usable requirement, in order.
    always: Vec<u32>,
}

/// How the value of a field is spelled before it is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Spelling {
    Exact,
    /// Each suffix at a dot, as lists of domains match.
    Suffixes,
    /// The canonical spelling of an address.
    Address,
    /// Without one trailing slash.
    Slashless,
}

/// The rules that require something of one field.
#[derive(Debug)]
struct Shelf {
    field: FieldId,
    /// The type of the field or of its elements.
    element: Type,
    spelling: Spelling,
    /// By a hash of the value: a collision only adds a candidate.
    places: HashMap<u64, Units, BuildHasherDefault<Prehashed>>,
    groups: Vec<Vec<u32>>,
    /// Lists too long to file, and the rules that require membership.
    lists: Vec<(Arc<List>, Vec<u32>)>,
    /// Every rule on this shelf, for when the field is not known.
    all: Vec<u32>,
}

/// Rules under one value: positions, or groups of positions.
#[derive(Debug, Default, Clone)]
struct Units {
    rules: Vec<u32>,
    groups: Vec<u32>,
}

impl Index {
    /// Files the rules; positions are indices into `rules`. A dormant rule is not filed at all.
    pub(super) fn new(hook: Hook, rules: &[Rule]) -> Self {
        let mut plan = Plan::default();
        let mut always = Vec::new();
        for (position, rule) in (0u32..).zip(rules).filter(|(_, rule)| !rule.dormant) {
            match best_anchor(hook, rule) {
                Some(anchor) => plan.add(hook, position, rule, &anchor),
                None => always.push(position),
            }
        }
        let mut this = Self { shelves: Vec::new(), always };
        let mut room = MAX_FILED_MEMBERS;
        for ((field, spelling), draft) in plan.shelves {
            let kind = hook.scheme().field(field).kind;
            let element = if let Type::Array(element) = kind { *element } else { kind };
            let shelf = draft.finish(Shelf::empty(field, element, spelling), &mut room, &mut this.always);
            this.shelves.push(shelf);
        }
        this.always.sort_unstable();
        this.always.dedup();
        this
    }

    /// Returns the rules without a usable requirement, in order.
    pub(super) fn always(&self) -> &[u32] {
        &self.always
    }

    /// Collects the positions of filed rules that could match, sorted, each once.
    pub(super) fn candidates(&self, facts: &dyn Facts, canonical: Option<&Canonical>, found: &mut Vec<u32>) {
        found.clear();
        for shelf in &self.shelves {
            match facts.fact(shelf.field) {
                Fact::Absent => {}
                Fact::Known(ValueRef::Array(items)) => shelf.look_up_each(items, canonical, found),
                Fact::Known(value) => shelf.look_up(value, canonical, found),
                Fact::Unknown => found.extend_from_slice(&shelf.all),
            }
        }
        found.sort_unstable();
        found.dedup();
    }

    /// Tells whether looking up needs the canonical spelling of the person's address.
    pub(super) fn wants_address(&self) -> bool {
        self.shelves.iter().any(|shelf| shelf.spelling == Spelling::Address)
    }
}

impl Shelf {
    fn empty(field: FieldId, element: Type, spelling: Spelling) -> Self {
        Self {
            field,
            element,
            spelling,
            places: HashMap::default(),
            groups: Vec::new(),
            lists: Vec::new(),
            all: Vec::new(),
        }
    }

    fn look_up_each(&self, items: ArrayRef<'_>, canonical: Option<&Canonical>, found: &mut Vec<u32>) {
        let mut walked: &[u8] = b"";
        for item in items.iter() {
            if self.spelling == Spelling::Suffixes
                && let ValueRef::Bytes(bytes) = item
            {
                // The parents of a host were met as its suffixes.
                if walked.strip_suffix(bytes).is_some_and(|rest| rest.ends_with(b".")) {
                    continue;
                }
                walked = bytes;
            }
            self.look_up(item, canonical, found);
        }
    }

    fn look_up(&self, value: ValueRef<'_>, canonical: Option<&Canonical>, found: &mut Vec<u32>) {
        for (list, rules) in &self.lists {
            if list.contains(value) {
                found.extend_from_slice(rules);
            }
        }
        match value {
            ValueRef::Bytes(bytes) if self.element == Type::Bytes => match self.spelling {
                Spelling::Exact => self.take(hash_bytes(bytes), found),
                Spelling::Slashless => self.take(hash_bytes(slashless(bytes)), found),
                // Without a canonical spelling the value itself is compared.
                Spelling::Address => self.take(hash_bytes(canonical.map_or(bytes, Canonical::as_bytes)), found),
                // Lists of domains ignore case and a trailing dot; a host is almost never spelled that way.
                Spelling::Suffixes if bytes.iter().any(u8::is_ascii_uppercase) || bytes.ends_with(b".") => {
                    found.extend_from_slice(&self.all);
                }
                Spelling::Suffixes => {
                    let dots = bytes.iter().enumerate().filter(|(_, b)| **b == b'.').map(|(at, _)| at + 1);
                    for start in std::iter::once(0).chain(dots) {
                        self.take(hash_bytes(&bytes[start..]), found);
                    }
                }
            },
            ValueRef::Int(number) if self.element == Type::Int => self.take(hash_int(number), found),
            // An address is held against whole lists alone.
            ValueRef::Ip(_) if self.element == Type::Ip => {}
            // A value of another type than its field's is an evaluation error, which must be noticed and must block.
            ValueRef::Bytes(_)
            | ValueRef::Int(_)
            | ValueRef::Bool(_)
            | ValueRef::Ip(_)
            | ValueRef::Version(_)
            | ValueRef::Array(_)
            | ValueRef::Map(_) => found.extend_from_slice(&self.all),
        }
    }

    fn take(&self, hash: u64, found: &mut Vec<u32>) {
        if let Some(units) = self.places.get(&hash) {
            found.extend_from_slice(&units.rules);
            for group in &units.groups {
                if let Some(rules) = self.groups.get(*group as usize) {
                    found.extend_from_slice(rules);
                }
            }
        }
    }
}

/// What is to be filed where.
#[derive(Default)]
struct Plan {
    shelves: BTreeMap<(FieldId, Spelling), Draft>,
}

#[derive(Default)]
struct Draft {
    keys: Vec<(u64, u32)>,
    /// By the list's address in memory, which is one per list for the length of a compilation.
    lists: BTreeMap<usize, (Arc<List>, Vec<u32>)>,
    all: Vec<u32>,
}

impl Plan {
    fn add(&mut self, hook: Hook, position: u32, rule: &Rule, anchor: &Anchor) {
        let spelling = spelling(hook, rule, anchor.field);
        if !anchor.keys.is_empty() {
            let draft = self.draft(anchor.field, spelling, position);
            for key in &anchor.keys {
                match key {
                    Key::Bytes(bytes) => draft.keys.push((hash_bytes(&spell(spelling, bytes)), position)),
                    Key::Int(number) => draft.keys.push((hash_int(*number), position)),
                    Key::Ints(..) | Key::Ip(_) | Key::Ips(..) => {}
                }
            }
        }
        for list in &anchor.lists {
            let spelling = match list.kind() {
                ListKind::Domains => Spelling::Suffixes,
                ListKind::Strings => spelling,
                ListKind::Urls | ListKind::Ips | ListKind::Ints => Spelling::Exact,
            };
            let draft = self.draft(anchor.field, spelling, position);
            draft.lists.entry(Arc::as_ptr(list).addr()).or_insert_with(|| (list.clone(), Vec::new())).1.push(position);
        }
    }

    fn draft(&mut self, field: FieldId, spelling: Spelling, position: u32) -> &mut Draft {
        let draft = self.shelves.entry((field, spelling)).or_default();
        draft.all.push(position);
        draft
    }
}

impl Draft {
    fn finish(self, mut shelf: Shelf, room: &mut usize, always: &mut Vec<u32>) -> Shelf {
        let spelling = shelf.spelling;
        shelf.all = self.all;
        shelf.all.dedup();
        for (hash, position) in self.keys {
            shelf.places.entry(hash).or_default().rules.push(position);
        }
        let mut lists: Vec<_> = self.lists.into_values().collect();
        // Short lists first, so that the room goes to as many of them as possible.
        lists.sort_by_key(|(list, _)| list.len());
        for (list, mut positions) in lists {
            positions.dedup();
            let filed = matches!(list.kind(), ListKind::Domains | ListKind::Strings);
            if !filed || list.len() > *room {
                // A whole list cannot be asked for another spelling of an address.
                if spelling == Spelling::Address {
                    always.extend(positions);
                } else {
                    shelf.lists.push((list, positions));
                }
                continue;
            }
            *room -= list.len();
            let group = u32::try_from(shelf.groups.len()).unwrap_or(u32::MAX);
            shelf.groups.push(positions);
            for key in list.keys() {
                shelf.places.entry(hash_bytes(&spell(spelling, key))).or_default().groups.push(group);
            }
        }
        shelf
    }
}

/// Chooses the requirement under which the fewest requests will find the rule.
fn best_anchor(hook: Hook, rule: &Rule) -> Option<Anchor> {
    rule.expressions
        .iter()
        .flat_map(|(_, expression): &(_, Expression)| expression.requirements())
        .filter(|anchor| anchor.keys.iter().all(|key| matches!(key, Key::Bytes(_) | Key::Int(_))))
        .min_by_key(|anchor| {
            let breadth = anchor.keys.len() + anchor.lists.iter().map(|list| list.len()).sum::<usize>();
            (rank(hook, anchor.field), breadth)
        })
        .cloned()
}

/// Ranks a field by how few requests share one value of it.
fn rank(hook: Hook, field: FieldId) -> u8 {
    let info = hook.fields().info(field);
    match info.selector {
        Selector::Host => 0,
        Selector::Url => 1,
        Selector::Identity if info.name == "identity.email" || info.name == "identity.id" => 1,
        Selector::Identity => 3,
        Selector::Method | Selector::ProxyEndpoint | Selector::Traffic => 5,
        Selector::AccessTarget
        | Selector::Application
        | Selector::ApplicationHosts
        | Selector::Category
        | Selector::DestinationGeo
        | Selector::DestinationIp
        | Selector::SourceGeo
        | Selector::SourceIp
        | Selector::VirtualNetwork
        | Selector::Request
        | Selector::Response => 4,
    }
}

fn spelling(hook: Hook, rule: &Rule, field: FieldId) -> Spelling {
    if field == super::compiled::email_field(hook) && !rule.aliases.is_empty() {
        Spelling::Address
    } else if hook == Hook::Http && field == http::URI {
        Spelling::Slashless
    } else {
        Spelling::Exact
    }
}

fn spell(spelling: Spelling, key: &[u8]) -> Vec<u8> {
    match spelling {
        Spelling::Exact | Spelling::Suffixes => key.to_vec(),
        Spelling::Slashless => slashless(key).to_vec(),
        Spelling::Address => Canonical::of(key).map_or_else(|| key.to_vec(), |canonical| canonical.as_bytes().to_vec()),
    }
}

fn slashless(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"/").unwrap_or(text)
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn hash_int(number: i64) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    number.hash(&mut hasher);
    hasher.finish()
}

/// Passes a value that already is a hash through a hash map.
#[derive(Default)]
struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` keys are used; other input is folded in so that the type stays a lawful hasher.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
