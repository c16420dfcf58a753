//! The fields an expression may name: identifiers, types, documentation and old names.
//! Knows no product field; each host builds its own scheme. A field's index never changes within a scheme.

use std::collections::HashMap;
use std::fmt;

use crate::value::Type;

/// The index of a field in its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldId(pub u16);

/// The most fields one scheme can hold, which is what a [`FieldSet`] has bits for.
pub const MAX_FIELDS: usize = 192;

/// A set of fields of one scheme.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FieldSet([u64; 3]);

impl FieldSet {
    /// The set without a member.
    pub const EMPTY: Self = Self([0; 3]);

    /// Makes the set that holds `field` alone.
    #[must_use]
    pub fn of(field: FieldId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(field);
        set
    }

    /// Adds `field`; an index that no scheme can hold is ignored.
    pub fn insert(&mut self, field: FieldId) {
        if let Some(word) = self.0.get_mut(usize::from(field.0 / 64)) {
            *word |= 1 << (field.0 % 64);
        }
    }

    /// Tells whether `field` is a member.
    #[must_use]
    pub fn contains(self, field: FieldId) -> bool {
        self.0.get(usize::from(field.0 / 64)).is_some_and(|word| word & (1 << (field.0 % 64)) != 0)
    }

    /// Returns the members of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([a | x, b | y, c | z])
    }

    /// Returns the members of both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([a & x, b & y, c & z])
    }

    /// Returns the members of this set that `other` lacks.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([a & !x, b & !y, c & !z])
    }

    /// Tells whether every member is also in `other`.
    #[must_use]
    pub fn is_subset(self, other: Self) -> bool {
        self.difference(other).is_empty()
    }

    /// Tells whether there is no member.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// Counts the members.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Visits the members in order of their index.
    pub fn iter(self) -> impl Iterator<Item = FieldId> {
        (0u16..MAX_FIELDS as u16).map(FieldId).filter(move |field| self.contains(*field))
    }
}

impl FromIterator<FieldId> for FieldSet {
    fn from_iter<I: IntoIterator<Item = FieldId>>(fields: I) -> Self {
        let mut set = Self::EMPTY;
        for field in fields {
            set.insert(field);
        }
        set
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|field| field.0)).finish()
    }
}

/// One field of a scheme.
#[derive(Clone, Debug)]
pub struct Field {
    /// The dotted name, as written in expressions.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Type,
    /// One sentence for the people who write expressions.
    pub documentation: &'static str,
    /// An expression that uses the field.
    pub example: &'static str,
    /// `[*]` on this map visits `key=value` texts, as Gateway writes SAML attributes.
    pub entries: bool,
    /// Equality and set membership ignore one trailing slash, as Gateway does for URLs.
    pub ignores_trailing_slash: bool,
}

/// The fields known to one kind of expression.
#[derive(Clone, Debug)]
pub struct Scheme {
    fields: Vec<Field>,
    names: HashMap<&'static str, FieldId>,
    aliases: HashMap<&'static str, FieldId>,
}

impl Scheme {
    /// Starts a scheme; fields get their index in the order in which they are added.
    #[must_use]
    pub fn builder() -> SchemeBuilder {
        SchemeBuilder::default()
    }

    /// Finds a field by its name or by an older name of it.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<FieldId> {
        self.names.get(name).or_else(|| self.aliases.get(name)).copied()
    }

    /// Returns the field with this index.
    ///
    /// # Panics
    /// If `id` belongs to another, larger scheme.
    #[must_use]
    pub fn field(&self, id: FieldId) -> &Field {
        &self.fields[usize::from(id.0)]
    }

    /// Returns every field in the order of its index.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Visits the older names and the fields they stand for.
    pub fn aliases(&self) -> impl Iterator<Item = (&'static str, FieldId)> {
        self.aliases.iter().map(|(name, field)| (*name, *field))
    }

    /// Tells whether `name` is an older name of a field.
    #[must_use]
    pub fn is_alias(&self, name: &str) -> bool {
        self.aliases.contains_key(name)
    }
}

/// Collects the fields of a [`Scheme`].
#[derive(Debug, Default)]
pub struct SchemeBuilder {
    fields: Vec<Field>,
    aliases: Vec<(&'static str, &'static str)>,
    entries: Vec<&'static str>,
    slashes: Vec<&'static str>,
}

impl SchemeBuilder {
    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: &'static str, kind: Type, documentation: &'static str, example: &'static str) -> Self {
        self.fields.push(Field { name, kind, documentation, example, entries: false, ignores_trailing_slash: false });
        self
    }

    /// Accepts `old` wherever the field `name` could stand; the canonical form uses `name`.
    #[must_use]
    pub fn alias(mut self, old: &'static str, name: &'static str) -> Self {
        self.aliases.push((old, name));
        self
    }

    /// Makes `[*]` on the map field `name` visit `key=value` texts.
    #[must_use]
    pub fn entries(mut self, name: &'static str) -> Self {
        self.entries.push(name);
        self
    }

    /// Makes equality and set membership on the field `name` ignore one trailing slash.
    #[must_use]
    pub fn ignore_trailing_slash(mut self, name: &'static str) -> Self {
        self.slashes.push(name);
        self
    }

    /// Finishes the scheme.
    ///
    /// # Errors
    /// If there are too many fields, a name is used twice or is not a dotted identifier, or an option names no field.
    pub fn build(mut self) -> Result<Scheme, SchemeError> {
        if self.fields.len() > MAX_FIELDS {
            return Err(SchemeError::TooManyFields(self.fields.len()));
        }
        let mut names = HashMap::new();
        for (index, field) in self.fields.iter().enumerate() {
            let id = FieldId(u16::try_from(index).map_err(|_| SchemeError::TooManyFields(index))?);
            check_name(field.name)?;
            if names.insert(field.name, id).is_some() {
                return Err(SchemeError::Duplicate(field.name));
            }
        }
        let find = |name: &'static str| names.get(name).copied().ok_or(SchemeError::NoField(name));
        let mut aliases = HashMap::new();
        for (old, name) in self.aliases {
            check_name(old)?;
            if names.contains_key(old) || aliases.insert(old, find(name)?).is_some() {
                return Err(SchemeError::Duplicate(old));
            }
        }
        for name in self.entries {
            self.fields[usize::from(find(name)?.0)].entries = true;
        }
        for name in self.slashes {
            self.fields[usize::from(find(name)?.0)].ignores_trailing_slash = true;
        }
        Ok(Scheme { fields: self.fields, names, aliases })
    }
}

/// Checks that the parser could read `name` back as one identifier.
fn check_name(name: &'static str) -> Result<(), SchemeError> {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if starts && name.split('.').all(part) { Ok(()) } else { Err(SchemeError::BadName(name)) }
}

/// Why a scheme could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// More fields than a [`FieldSet`] has bits for.
    #[error("a scheme holds at most {MAX_FIELDS} fields, not {0}")]
    TooManyFields(usize),
    /// A field or older name stands twice.
    #[error("the name `{0}` stands twice")]
    Duplicate(&'static str),
    /// A name that no expression could spell.
    #[error("`{0}` is not a dotted identifier")]
    BadName(&'static str),
    /// An older name or option for a field that does not exist.
    #[error("there is no field `{0}`")]
    NoField(&'static str),
}
