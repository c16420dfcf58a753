//! Reading a form must not panic, stays within its bounds, and reads what it read again from its canonical spelling.
#![no_main]

use identity::oauth::form::{Form, MAX_BYTES, MAX_PARAMETERS, MAX_VALUE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(form) = Form::parse(data) else { return };
    assert!(form.pairs().count() <= MAX_PARAMETERS);
    let mut written = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in form.pairs() {
        assert!(name.len() <= MAX_VALUE && value.len() <= MAX_VALUE);
        written.append_pair(name, value);
    }
    let written = written.finish();
    if written.len() <= MAX_BYTES {
        assert_eq!(Form::parse(written.as_bytes()), Ok(form));
    }
});
