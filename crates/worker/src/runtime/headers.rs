//! The `Headers` class: an ordered list of fields, names in lower case. Iterators are added by the prelude.

use rquickjs::class::Trace;
use rquickjs::prelude::Opt;
use rquickjs::{Array, Class, Ctx, Exception, Function, IntoJs, JsLifetime, Object, Result, Value};

use super::value::{Latin, latin_text};
use crate::protocol::HeaderList;

/// Most fields one list holds, so that a script cannot make the host parse a flood.
const MAX_FIELDS: usize = 1_000;
/// Most bytes of names and values in one list.
const MAX_BYTES: usize = 256 << 10;

#[derive(Clone, Default, Trace, JsLifetime)]
#[rquickjs::class(rename = "Headers")]
pub(super) struct Headers {
    #[qjs(skip_trace)]
    pub(super) list: HeaderList,
    /// Headers of an incoming message: reading only.
    #[qjs(skip_trace)]
    pub(super) frozen: bool,
    #[qjs(skip_trace)]
    bytes: usize,
}

impl Headers {
    pub(super) fn from_host(list: HeaderList) -> Self {
        Self { list, frozen: true, bytes: 0 }
    }

    fn check_open(&self, ctx: &Ctx<'_>) -> Result<()> {
        if self.frozen {
            return Err(Exception::throw_type(ctx, "these headers are immutable; copy them with new Headers(headers)"));
        }
        Ok(())
    }

    fn push(&mut self, ctx: &Ctx<'_>, name: String, value: Vec<u8>) -> Result<()> {
        self.bytes += name.len() + value.len();
        if self.list.len() >= MAX_FIELDS || self.bytes > MAX_BYTES {
            return Err(Exception::throw_range(ctx, "too many or too large header fields"));
        }
        self.list.push((name, value));
        Ok(())
    }

    fn combined(&self, name: &str) -> Option<Vec<u8>> {
        let mut values = self.list.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        let mut joined = values.next()?.clone();
        for value in values {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// Fields as iteration shows them: sorted, equal names joined, `set-cookie` kept apart.
    pub(super) fn sorted(&self) -> Vec<(String, Vec<u8>)> {
        let mut names: Vec<&str> = self.list.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let mut fields = Vec::with_capacity(names.len());
        for name in names {
            if name == "set-cookie" {
                let each = self.list.iter().filter(|(known, _)| known == name);
                fields.extend(each.map(|(_, value)| (name.to_owned(), value.clone())));
            } else if let Some(value) = self.combined(name) {
                fields.push((name.to_owned(), value));
            }
        }
        fields
    }
}

#[rquickjs::methods(rename_all = "camelCase")]
impl Headers {
    #[qjs(constructor)]
    fn new<'js>(ctx: Ctx<'js>, init: Opt<Value<'js>>) -> Result<Self> {
        let Some(init) = init.0.filter(|init| !init.is_undefined()) else { return Ok(Self::default()) };
        if !init.is_object() {
            return Err(Exception::throw_type(&ctx, "headers must be a Headers, a list of pairs or an object"));
        }
        if let Ok(other) = Class::<Self>::from_value(&init) {
            let other = other.borrow();
            let bytes = other.list.iter().map(|(name, value)| name.len() + value.len()).sum();
            return Ok(Self { list: other.list.clone(), frozen: false, bytes });
        }
        let mut made = Self::default();
        let mut flat = flat_pairs(&ctx, init)?.into_iter();
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            let name = field_name(&ctx, name)?;
            let value = field_value(&ctx, value)?;
            made.push(&ctx, name, value)?;
        }
        Ok(made)
    }

    fn append(&mut self, ctx: Ctx<'_>, name: Latin, value: Latin) -> Result<()> {
        let (name, value) = (field_name(&ctx, name)?, field_value(&ctx, value)?);
        self.check_open(&ctx)?;
        self.push(&ctx, name, value)
    }

    fn set(&mut self, ctx: Ctx<'_>, name: Latin, value: Latin) -> Result<()> {
        let (name, value) = (field_name(&ctx, name)?, field_value(&ctx, value)?);
        self.check_open(&ctx)?;
        let Some(first) = self.list.iter().position(|(known, _)| *known == name) else {
            return self.push(&ctx, name, value);
        };
        self.bytes += value.len();
        if self.bytes > MAX_BYTES {
            return Err(Exception::throw_range(&ctx, "too large header fields"));
        }
        let mut at = 0;
        self.list.retain(|(known, _)| {
            let keep = at <= first || *known != name;
            at += 1;
            keep
        });
        if let Some(field) = self.list.get_mut(first) {
            field.1 = value;
        }
        Ok(())
    }

    fn delete(&mut self, ctx: Ctx<'_>, name: Latin) -> Result<()> {
        let name = field_name(&ctx, name)?;
        self.check_open(&ctx)?;
        self.list.retain(|(known, _)| *known != name);
        Ok(())
    }

    fn get<'js>(&self, ctx: Ctx<'js>, name: Latin) -> Result<Value<'js>> {
        let name = field_name(&ctx, name)?;
        match self.combined(&name) {
            Some(value) => latin_text(&value).into_js(&ctx),
            None => Ok(Value::new_null(ctx)),
        }
    }

    fn has(&self, ctx: Ctx<'_>, name: Latin) -> Result<bool> {
        let name = field_name(&ctx, name)?;
        Ok(self.list.iter().any(|(known, _)| *known == name))
    }

    fn get_set_cookie(&self) -> Vec<String> {
        let cookies = self.list.iter().filter(|(name, _)| name == "set-cookie");
        cookies.map(|(_, value)| latin_text(value)).collect()
    }
}

/// Names and values from what a constructor accepts, by the prelude's rules for sequences and records.
fn flat_pairs<'js>(ctx: &Ctx<'js>, init: Value<'js>) -> Result<Vec<Latin>> {
    let flatten: Function<'js> = ctx.userdata::<Flatten>().map_or_else(
        || Err(Exception::throw_internal(ctx, "the prelude is not loaded")),
        |hook| hook.0.clone().restore(ctx),
    )?;
    flatten.call((init,))
}

/// The prelude's `flatPairs`, kept where native classes find it.
#[derive(Clone)]
pub(super) struct Flatten(pub(super) rquickjs::Persistent<Function<'static>>);

#[expect(unsafe_code, reason = "the persistent value carries no lifetime of its own")]
// SAFETY: the type has no lifetime parameter.
unsafe impl JsLifetime<'_> for Flatten {
    type Changed<'to> = Self;
}

/// Calls the same hook for search parameters.
pub(super) fn flat_texts<'js>(ctx: &Ctx<'js>, init: Value<'js>) -> Result<Vec<super::value::Usv>> {
    let flatten: Function<'js> = ctx.userdata::<Flatten>().map_or_else(
        || Err(Exception::throw_internal(ctx, "the prelude is not loaded")),
        |hook| hook.0.clone().restore(ctx),
    )?;
    flatten.call((init,))
}

fn field_name(ctx: &Ctx<'_>, name: Latin) -> Result<String> {
    let mut bytes = name.0;
    bytes.make_ascii_lowercase();
    let valid = !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte));
    match String::from_utf8(bytes) {
        Ok(name) if valid => Ok(name),
        Ok(_) | Err(_) => Err(Exception::throw_type(ctx, "invalid header name")),
    }
}

fn field_value(ctx: &Ctx<'_>, value: Latin) -> Result<Vec<u8>> {
    let is_space = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' ');
    let start = value.0.iter().position(|byte| !is_space(byte)).unwrap_or(value.0.len());
    let end = value.0.iter().rposition(|byte| !is_space(byte)).map_or(start, |at| at + 1);
    let trimmed = value.0[start..end].to_vec();
    if trimmed.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(Exception::throw_type(ctx, "invalid header value"));
    }
    Ok(trimmed)
}

pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The native helpers of the prelude that concern headers.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    Class::<Headers>::define(&ctx.globals())?;
    host.set("headerList", Function::new(ctx.clone(), header_list)?)?;
    host.set(
        "freezeHeaders",
        Function::new(ctx.clone(), |headers: Class<'_, Headers>| headers.borrow_mut().frozen = true)?,
    )
}

fn header_list<'js>(ctx: Ctx<'js>, headers: Class<'js, Headers>) -> Result<Array<'js>> {
    let list = Array::new(ctx.clone())?;
    for (at, (name, value)) in headers.borrow().sorted().into_iter().enumerate() {
        let pair = Array::new(ctx.clone())?;
        pair.set(0, name)?;
        pair.set(1, latin_text(&value))?;
        list.set(at, pair)?;
    }
    Ok(list)
}
