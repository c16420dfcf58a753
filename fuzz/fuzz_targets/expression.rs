//! Any text either compiles, and then prints back to itself and evaluates without an error, or is refused with a place
//! in the text.
#![no_main]

use std::sync::LazyLock;

use expr::{Expression, FactTable, Limits, Outcome, Scheme, Type};
use libfuzzer_sys::fuzz_target;

static SCHEME: LazyLock<Scheme> = LazyLock::new(|| {
    const STRINGS: Type = Type::Array(&Type::Bytes);
    let fields = [
        ("app.ids", Type::Array(&Type::Int)),
        ("dns.domains", STRINGS),
        ("flags", Type::Array(&Type::Bool)),
        ("http.host", Type::Bytes),
        ("http.request.headers", Type::Map(&STRINGS)),
        ("identity.groups.name", STRINGS),
        ("ip.src", Type::Ip),
        ("labels", Type::Map(&Type::Bytes)),
        ("pkg.version", Type::Version),
        ("str", Type::Bytes),
        ("t", Type::Bool),
        ("tcp.port", Type::Int),
    ];
    let builder = fields.iter().fold(Scheme::builder(), |builder, (name, kind)| builder.field(name, *kind, "", ""));
    builder.entries("labels").ignore_trailing_slash("http.host").build().unwrap()
});

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let limits = Limits { regex_bytes: 1 << 20, ..Limits::default() };
    match Expression::compile(&SCHEME, source, &(), &limits) {
        Ok(expression) => {
            assert_eq!(expression.source(), source);
            let again = Expression::compile(&SCHEME, expression.canonical(), &(), &limits).unwrap();
            assert_eq!(again.ast(), expression.ast());
            assert_eq!(again.canonical(), expression.canonical());
            assert!(expr::semantically_equal(&again, &expression));
            assert!(!matches!(expression.evaluate(&FactTable::new()), Outcome::Error(_)));
            let mut absent = FactTable::new();
            for field in expression.fields().iter() {
                absent.set_absent(field);
            }
            assert!(matches!(expression.evaluate(&absent), Outcome::True | Outcome::False));
        }
        Err(error) => assert!(source.get(error.span.clone()).is_some(), "{error}"),
    }
});
