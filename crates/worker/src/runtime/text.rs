//! Native codecs of the prelude: text encodings, base64, compression, MIME. Holds streaming decoders and coders as
//! native objects. Bound: one call's output is limited, so a small compressed input cannot fill the process.

use std::io::Write;

use encoding_rs::{Decoder as TextDecoder, DecoderResult, Encoding};
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use rquickjs::class::Trace;
use rquickjs::{Array, Class, Ctx, Exception, Function, IntoJs, JsLifetime, Object, Result, Value};

use super::headers::Headers;
use super::mime::{Mime, data_url, forgiving_base64, multipart};
use super::value::{Bytes, Latin, Usv, buffer, latin_text};

/// Most bytes one step of a coder may produce.
const MAX_CODED: usize = 32 << 20;

/// Adds the helpers to the prelude's `host` object.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    host.set("encode", Function::new(ctx.clone(), |ctx: Ctx<'js>, text: Usv| buffer(&ctx, text.0.as_bytes()))?)?;
    host.set("utf8", Function::new(ctx.clone(), |bytes: Bytes| decode_utf8(&bytes.0))?)?;
    host.set("encodingName", Function::new(ctx.clone(), encoding_name)?)?;
    host.set("decoder", Function::new(ctx.clone(), decoder)?)?;
    host.set("decode", Function::new(ctx.clone(), decode)?)?;
    host.set(
        "atob",
        Function::new(ctx.clone(), |text: Usv| forgiving_base64(text.0.as_bytes()).map(|b| latin_text(&b)))?,
    )?;
    host.set("btoa", Function::new(ctx.clone(), btoa)?)?;
    host.set("coder", Function::new(ctx.clone(), coder)?)?;
    host.set("code", Function::new(ctx.clone(), code)?)?;
    host.set("mimeType", Function::new(ctx.clone(), mime_type)?)?;
    host.set("essence", Function::new(ctx.clone(), |text: Usv| Mime::parse(&text.0).map(|mime| mime.essence))?)?;
    host.set("multipart", Function::new(ctx.clone(), multipart_list)?)?;
    host.set("dataUrl", Function::new(ctx.clone(), data_url_list)?)
}

/// UTF-8 with replacement, a leading byte order mark removed.
fn decode_utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned()
}

fn btoa(ctx: Ctx<'_>, text: Usv) -> Result<Option<String>> {
    use base64::Engine as _;
    let latin: Option<Vec<u8>> = text.0.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    let _ = ctx;
    Ok(latin.map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)))
}

fn encoding_name(ctx: Ctx<'_>, label: Usv) -> Result<String> {
    match Encoding::for_label_no_replacement(label.0.as_bytes()) {
        Some(encoding) => Ok(encoding.name().to_ascii_lowercase()),
        None => Err(Exception::throw_range(&ctx, "unknown encoding label")),
    }
}

#[derive(Trace, JsLifetime)]
#[rquickjs::class(rename = "NativeDecoder")]
struct Decoding {
    #[qjs(skip_trace)]
    decoder: TextDecoder,
    #[qjs(skip_trace)]
    fatal: bool,
}

#[rquickjs::methods]
impl Decoding {}

fn decoder<'js>(ctx: Ctx<'js>, label: Usv, fatal: bool, keep_mark: bool) -> Result<Class<'js, Decoding>> {
    let Some(encoding) = Encoding::for_label_no_replacement(label.0.as_bytes()) else {
        return Err(Exception::throw_range(&ctx, "unknown encoding label"));
    };
    let decoder =
        if keep_mark { encoding.new_decoder_without_bom_handling() } else { encoding.new_decoder_with_bom_removal() };
    Class::instance(ctx, Decoding { decoder, fatal })
}

fn decode<'js>(ctx: Ctx<'js>, native: Class<'js, Decoding>, bytes: Bytes, last: bool) -> Result<String> {
    let mut native = native.borrow_mut();
    let fatal = native.fatal;
    let room = if fatal {
        native.decoder.max_utf8_buffer_length_without_replacement(bytes.0.len())
    } else {
        native.decoder.max_utf8_buffer_length(bytes.0.len())
    };
    let mut text = String::with_capacity(room.unwrap_or(bytes.0.len() * 3 + 16));
    if fatal {
        let (result, _) = native.decoder.decode_to_string_without_replacement(&bytes.0, &mut text, last);
        if !matches!(result, DecoderResult::InputEmpty) {
            return Err(Exception::throw_type(&ctx, "the data is not valid in this encoding"));
        }
    } else {
        let _ = native.decoder.decode_to_string(&bytes.0, &mut text, last);
    }
    Ok(text)
}

enum Stage {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Raw(DeflateEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gunzip(GzDecoder<Vec<u8>>),
    Inflate(ZlibDecoder<Vec<u8>>),
    InflateRaw(DeflateDecoder<Vec<u8>>),
    Unbrotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
}

#[derive(Trace, JsLifetime)]
#[rquickjs::class(rename = "NativeCoder")]
struct Coding {
    #[qjs(skip_trace)]
    stage: Option<Stage>,
}

#[rquickjs::methods]
impl Coding {}

fn coder<'js>(ctx: Ctx<'js>, format: Usv, compress: bool) -> Result<Class<'js, Coding>> {
    let level = flate2::Compression::default();
    let stage = match (format.0.as_str(), compress) {
        ("gzip", true) => Stage::Gzip(GzEncoder::new(Vec::new(), level)),
        ("deflate", true) => Stage::Deflate(ZlibEncoder::new(Vec::new(), level)),
        ("deflate-raw", true) => Stage::Raw(DeflateEncoder::new(Vec::new(), level)),
        ("brotli", true) => Stage::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, 5, 18))),
        ("gzip", false) => Stage::Gunzip(GzDecoder::new(Vec::new())),
        ("deflate", false) => Stage::Inflate(ZlibDecoder::new(Vec::new())),
        ("deflate-raw", false) => Stage::InflateRaw(DeflateDecoder::new(Vec::new())),
        ("brotli", false) => Stage::Unbrotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 4096))),
        _ => return Err(Exception::throw_type(&ctx, "the format must be gzip, deflate, deflate-raw or brotli")),
    };
    Class::instance(ctx, Coding { stage: Some(stage) })
}

impl Stage {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        fn step<W: Write>(
            writer: &mut W,
            bytes: &[u8],
            take: impl FnOnce(&mut W) -> &mut Vec<u8>,
        ) -> std::io::Result<Vec<u8>> {
            writer.write_all(bytes)?;
            Ok(std::mem::take(take(writer)))
        }
        match self {
            Self::Gzip(writer) => step(writer, bytes, GzEncoder::get_mut),
            Self::Deflate(writer) => step(writer, bytes, ZlibEncoder::get_mut),
            Self::Raw(writer) => step(writer, bytes, DeflateEncoder::get_mut),
            Self::Brotli(writer) => step(writer.as_mut(), bytes, brotli::CompressorWriter::get_mut),
            Self::Gunzip(writer) => step(writer, bytes, GzDecoder::get_mut),
            Self::Inflate(writer) => step(writer, bytes, ZlibDecoder::get_mut),
            Self::InflateRaw(writer) => step(writer, bytes, DeflateDecoder::get_mut),
            Self::Unbrotli(writer) => step(writer.as_mut(), bytes, brotli::DecompressorWriter::get_mut),
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(writer) => writer.finish(),
            Self::Deflate(writer) => writer.finish(),
            Self::Raw(writer) => writer.finish(),
            Self::Brotli(writer) => Ok(writer.into_inner()),
            Self::Gunzip(writer) => writer.finish(),
            Self::Inflate(writer) => writer.finish(),
            Self::InflateRaw(writer) => writer.finish(),
            Self::Unbrotli(mut writer) => {
                writer.close()?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }
}

fn code<'js>(ctx: Ctx<'js>, native: Class<'js, Coding>, bytes: Bytes, last: bool) -> Result<Value<'js>> {
    let mut native = native.borrow_mut();
    let Some(mut stage) = native.stage.take() else {
        return Err(Exception::throw_type(&ctx, "the stream has ended"));
    };
    let result = if last {
        stage.finish()
    } else {
        let written = stage.write(&bytes.0);
        native.stage = Some(stage);
        written
    };
    match result {
        Ok(bytes) if bytes.len() <= MAX_CODED => buffer(&ctx, &bytes),
        Ok(_) => Err(Exception::throw_range(&ctx, "the compressed data grows too much")),
        Err(_) => Err(Exception::throw_type(&ctx, "the compressed data is not valid")),
    }
}

fn mime_type<'js>(headers: Class<'js, Headers>) -> Option<String> {
    let headers = headers.borrow();
    let values: Vec<String> =
        headers.list.iter().filter(|(name, _)| name == "content-type").map(|(_, value)| latin_text(value)).collect();
    (!values.is_empty())
        .then(|| values.join(", "))
        .and_then(|values| Mime::extract(&values))
        .map(|mime| mime.to_string())
}

fn multipart_list<'js>(ctx: Ctx<'js>, body: Bytes, kind: Latin) -> Result<Value<'js>> {
    let mime = Mime::parse(&latin_text(&kind.0));
    let boundary = mime.as_ref().and_then(|mime| mime.parameter("boundary"));
    let Some(parts) = boundary.and_then(|boundary| multipart(&body.0, boundary)) else {
        return Ok(Value::new_null(ctx));
    };
    let list = Array::new(ctx.clone())?;
    for (at, part) in parts.into_iter().enumerate() {
        let entry = Array::new(ctx.clone())?;
        entry.set(0, part.name)?;
        match part.filename {
            Some(name) => entry.set(1, name)?,
            None => entry.set(1, Value::new_null(ctx.clone()))?,
        }
        entry.set(2, part.kind)?;
        entry.set(3, buffer(&ctx, &part.data)?)?;
        list.set(at, entry)?;
    }
    Ok(list.into_value())
}

fn data_url_list<'js>(ctx: Ctx<'js>, url: Usv) -> Result<Value<'js>> {
    let Some((kind, bytes)) = data_url(&url.0) else { return Ok(Value::new_null(ctx)) };
    let pair = Array::new(ctx.clone())?;
    pair.set(0, kind.into_js(&ctx)?)?;
    pair.set(1, buffer(&ctx, &bytes)?)?;
    Ok(pair.into_value())
}
