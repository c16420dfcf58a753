//! The expression language that rules are written in: parse, check against a scheme, compile, evaluate, print, explain.
//! Knows no product field and does no I/O. Invariant: an expression that cannot be evaluated is its own outcome, which
//! callers block on, so a broken condition never widens access.
//!
//! ```
//! use expr::{Expression, FactTable, Limits, Outcome, Scheme, Type};
//!
//! let scheme = Scheme::builder()
//!     .field("http.request.host", Type::Bytes, "The host.", r#"http.request.host == "example.com""#)
//!     .field("app.ids", Type::Array(&Type::Int), "Applications.", "any(app.ids[*] in {505})")
//!     .build()?;
//! let source = r#"http.request.host == "example.com" and any(app.ids[*] in {"505"})"#;
//! let rule = Expression::compile(&scheme, source, &(), &Limits::default())?;
//! assert_eq!(rule.canonical(), r#"http.request.host == "example.com" and any(app.ids[*] in {505})"#);
//!
//! let (host, apps) = (scheme.id("http.request.host").unwrap(), scheme.id("app.ids").unwrap());
//! let mut facts = FactTable::new();
//! facts.set(host, "example.com");
//! assert!(matches!(rule.evaluate(&facts), Outcome::Needs(fields) if fields.contains(apps)));
//! facts.set(apps, vec![505]);
//! assert_eq!(rule.evaluate(&facts), Outcome::True);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod anchor;
mod ast;
mod check;
mod constant;
mod cursor;
mod equality;
mod error;
mod evaluate;
mod explain;
mod expression;
mod function;
mod limits;
mod list;
mod literal;
mod operand;
mod outcome;
mod parse;
mod pattern;
mod print;
mod program;
mod scheme;
mod set;
mod syntax;
mod value;
mod version;

pub use anchor::{Anchor, Key};
pub use ast::{Argument, Ast, Call, Function, Item, Literal, Operand, Order, Path, Step, Test};
pub use error::{Error, nearest};
pub use explain::{Explanation, Seen};
pub use expression::{Expression, Note, semantically_equal};
pub use limits::Limits;
pub use list::{List, ListError, ListKind, Lists, MAX_LIST_ITEMS};
pub use outcome::Outcome;
pub use scheme::{Field, FieldId, FieldSet, MAX_FIELDS, Scheme, SchemeBuilder, SchemeError};
pub use value::{Array, ArrayRef, Fact, FactTable, Facts, Map, MapRef, Type, Value, ValueRef};
pub use version::{Ecosystem, Version};
