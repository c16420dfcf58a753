//! JSON kept as the text it came in: order of members, digits and spaces.
//!
//! Invariant: writing and reading it back as part of a JSON text changes no byte of it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A JSON value as it was written. Equal are equal texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verbatim(Box<RawValue>);

impl Verbatim {
    #[must_use]
    pub fn new(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }

    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// Returns the text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl From<Box<RawValue>> for Verbatim {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl From<&serde_json::Value> for Verbatim {
    fn from(value: &serde_json::Value) -> Self {
        // A value always has a text.
        Self(serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for Verbatim {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

#[cfg(test)]
mod tests {
    use super::Verbatim;

    #[test]
    fn every_byte_is_kept() {
        let text = r#"[{"z": 1.50,  "a":"\u00e9"},7]"#;
        let read: Vec<Verbatim> = serde_json::from_str(text).unwrap();
        assert_eq!(read[0].get(), r#"{"z": 1.50,  "a":"\u00e9"}"#);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
