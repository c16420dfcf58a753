//! How values cross between the script and native code: strings with lone surrogates repaired, byte strings, bytes.

use rquickjs::{
    ArrayBuffer, Coerced, Ctx, Error, Exception, FromJs, Function, Result, String as JsString, TypedArray, Value,
};

/// A string as the web platform takes it: coerced, every lone surrogate replaced.
pub(super) struct Usv(pub(super) String);

impl<'js> FromJs<'js> for Usv {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let string = Coerced::<JsString<'js>>::from_js(ctx, value)?.0;
        match string.to_string() {
            Ok(text) => Ok(Self(text)),
            Err(Error::Utf8(_)) => {
                let repair: Function<'js> = ctx.eval("(text) => text.toWellFormed()")?;
                let repaired: JsString<'js> = repair.call((string,))?;
                repaired.to_string().map(Self)
            }
            Err(error) => Err(error),
        }
    }
}

/// A string whose characters are bytes, as header fields are.
pub(super) struct Latin(pub(super) Vec<u8>);

impl<'js> FromJs<'js> for Latin {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let Usv(text) = Usv::from_js(ctx, value)?;
        if text.is_ascii() {
            return Ok(Self(text.into_bytes()));
        }
        text.chars()
            .map(|c| u8::try_from(u32::from(c)))
            .collect::<std::result::Result<Vec<u8>, _>>()
            .map(Self)
            .map_err(|_| Exception::throw_type(ctx, "the string has characters outside of Latin1"))
    }
}

/// The text of a byte string.
pub(super) fn latin_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A copy of the bytes behind an `ArrayBuffer` or `Uint8Array`.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'js> FromJs<'js> for Bytes {
    #[expect(unsafe_code, reason = "the slice is copied before the engine can run anything that moves or frees it")]
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let copied = if let Ok(view) = TypedArray::<u8>::from_value(value.clone()) {
            // SAFETY: no engine call happens while the slice is alive.
            unsafe { view.as_bytes() }.map(<[u8]>::to_vec)
        } else {
            ArrayBuffer::from_value(value)
                // SAFETY: no engine call happens while the slice is alive.
                .and_then(|buffer| unsafe { buffer.as_bytes() }.map(<[u8]>::to_vec))
        };
        copied.map(Self).ok_or_else(|| Exception::throw_type(ctx, "the buffer is detached or is not one"))
    }
}

/// An `ArrayBuffer` over `bytes`, which must not be counted against the heap twice, so they are copied into it.
pub(super) fn buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    ArrayBuffer::new_copy(ctx.clone(), bytes).map(ArrayBuffer::into_value)
}
