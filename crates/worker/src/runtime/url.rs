//! The `URL` and `URLSearchParams` classes.
//!
//! Both look at one shared record, so a change through either shows in the other. Invariant: nothing longer than
//! [`MAX_URL`] is parsed.

use std::cell::RefCell;
use std::rc::Rc;

use rquickjs::class::Trace;
use rquickjs::prelude::Opt;
use rquickjs::{Array, Class, Ctx, Exception, Function, JsLifetime, Object, Result, Value};
use url::form_urlencoded;

use super::address::Address;
use super::headers::flat_texts;
use super::value::Usv;

/// Longest URL accepted, in bytes.
const MAX_URL: usize = 64 << 10;

struct Record {
    url: Option<Address>,
    pairs: Option<Vec<(String, String)>>,
}

impl Record {
    fn pairs(&mut self) -> &mut Vec<(String, String)> {
        let url = &self.url;
        self.pairs.get_or_insert_with(|| {
            let query = url.as_ref().and_then(|url| url.query.as_deref()).unwrap_or_default();
            form_urlencoded::parse(query.as_bytes()).into_owned().collect()
        })
    }

    /// Writes changed pairs back into the URL.
    fn store(&mut self) {
        let Some(pairs) = &self.pairs else { return };
        let query = serialize(pairs);
        if let Some(url) = &mut self.url {
            url.query = (!query.is_empty()).then_some(query);
        }
    }
}

fn serialize(pairs: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Parses, within the bound on length.
pub(super) fn parse(text: &str, base: Option<&Address>) -> Option<Address> {
    if text.len() > MAX_URL {
        return None;
    }
    Address::parse(text, base).ok()
}

#[derive(Trace, JsLifetime)]
#[rquickjs::class(rename = "URL")]
pub(super) struct UrlObject<'js> {
    #[qjs(skip_trace)]
    record: Rc<RefCell<Record>>,
    params: Option<Class<'js, SearchParams>>,
}

impl UrlObject<'_> {
    fn part(&self, read: impl FnOnce(&Address) -> String) -> String {
        self.record.borrow().url.as_ref().map(read).unwrap_or_default()
    }

    /// Applies a setter, which ignores what it cannot use.
    fn write(&self, value: &str, change: impl FnOnce(&mut Address, &str)) {
        if value.len() > MAX_URL {
            return;
        }
        let mut record = self.record.borrow_mut();
        if let Some(url) = &mut record.url {
            change(url, value);
        }
        record.pairs = None;
    }
}

#[rquickjs::methods]
impl<'js> UrlObject<'js> {
    #[qjs(constructor)]
    fn new(ctx: Ctx<'js>, text: Usv, base: Opt<Value<'js>>) -> Result<Self> {
        let url = resolve(&ctx, &text, base)?.ok_or_else(|| Exception::throw_type(&ctx, "invalid URL"))?;
        Ok(Self { record: Rc::new(RefCell::new(Record { url: Some(url), pairs: None })), params: None })
    }

    #[qjs(static, rename = "canParse")]
    fn can_parse(ctx: Ctx<'js>, text: Usv, base: Opt<Value<'js>>) -> Result<bool> {
        Ok(resolve(&ctx, &text, base)?.is_some())
    }

    #[qjs(static)]
    fn parse(ctx: Ctx<'js>, text: Usv, base: Opt<Value<'js>>) -> Result<Value<'js>> {
        let Some(url) = resolve(&ctx, &text, base)? else { return Ok(Value::new_null(ctx)) };
        let record = Rc::new(RefCell::new(Record { url: Some(url), pairs: None }));
        Class::instance(ctx, Self { record, params: None }).map(Class::into_value)
    }

    #[qjs(get, rename = "href", enumerable)]
    fn href(&self) -> String {
        self.part(Address::href)
    }

    #[qjs(set, rename = "href")]
    fn set_href(&mut self, ctx: Ctx<'js>, value: Usv) -> Result<()> {
        let url = parse(&value.0, None).ok_or_else(|| Exception::throw_type(&ctx, "invalid URL"))?;
        let mut record = self.record.borrow_mut();
        record.url = Some(url);
        record.pairs = None;
        Ok(())
    }

    #[qjs(get, rename = "origin", enumerable)]
    fn origin(&self) -> String {
        self.part(Address::origin)
    }

    #[qjs(get, rename = "protocol", enumerable)]
    fn protocol(&self) -> String {
        self.part(|url| format!("{}:", url.scheme))
    }

    #[qjs(set, rename = "protocol")]
    fn set_protocol(&mut self, value: Usv) {
        self.write(&value.0, Address::set_protocol);
    }

    #[qjs(get, rename = "username", enumerable)]
    fn username(&self) -> String {
        self.part(|url| url.username.clone())
    }

    #[qjs(set, rename = "username")]
    fn set_username(&mut self, value: Usv) {
        self.write(&value.0, Address::set_username);
    }

    #[qjs(get, rename = "password", enumerable)]
    fn password(&self) -> String {
        self.part(|url| url.password.clone())
    }

    #[qjs(set, rename = "password")]
    fn set_password(&mut self, value: Usv) {
        self.write(&value.0, Address::set_password);
    }

    #[qjs(get, rename = "host", enumerable)]
    fn host(&self) -> String {
        self.part(Address::host_text)
    }

    #[qjs(set, rename = "host")]
    fn set_host(&mut self, value: Usv) {
        self.write(&value.0, Address::set_host);
    }

    #[qjs(get, rename = "hostname", enumerable)]
    fn hostname(&self) -> String {
        self.part(|url| url.host.clone().unwrap_or_default())
    }

    #[qjs(set, rename = "hostname")]
    fn set_hostname(&mut self, value: Usv) {
        self.write(&value.0, Address::set_hostname);
    }

    #[qjs(get, rename = "port", enumerable)]
    fn port(&self) -> String {
        self.part(|url| url.port.map(|port| port.to_string()).unwrap_or_default())
    }

    #[qjs(set, rename = "port")]
    fn set_port(&mut self, value: Usv) {
        self.write(&value.0, Address::set_port);
    }

    #[qjs(get, rename = "pathname", enumerable)]
    fn pathname(&self) -> String {
        self.part(Address::pathname)
    }

    #[qjs(set, rename = "pathname")]
    fn set_pathname(&mut self, value: Usv) {
        self.write(&value.0, Address::set_pathname);
    }

    #[qjs(get, rename = "search", enumerable)]
    fn search(&self) -> String {
        self.part(|url| marked('?', url.query.as_deref()))
    }

    #[qjs(set, rename = "search")]
    fn set_search(&mut self, value: Usv) {
        self.write(&value.0, Address::set_search);
    }

    #[qjs(get, rename = "hash", enumerable)]
    fn hash(&self) -> String {
        self.part(|url| marked('#', url.fragment.as_deref()))
    }

    #[qjs(set, rename = "hash")]
    fn set_hash(&mut self, value: Usv) {
        self.write(&value.0, Address::set_hash);
    }

    #[qjs(get, rename = "searchParams", enumerable)]
    fn search_params(&mut self, ctx: Ctx<'js>) -> Result<Class<'js, SearchParams>> {
        if let Some(params) = &self.params {
            return Ok(params.clone());
        }
        let params = Class::instance(ctx, SearchParams { record: Rc::clone(&self.record) })?;
        self.params = Some(params.clone());
        Ok(params)
    }

    #[qjs(rename = "toString")]
    fn text(&self) -> String {
        self.href()
    }

    #[qjs(rename = "toJSON")]
    fn json(&self) -> String {
        self.href()
    }
}

/// A part with its mark, or nothing when it is empty.
fn marked(mark: char, part: Option<&str>) -> String {
    part.filter(|part| !part.is_empty()).map(|part| format!("{mark}{part}")).unwrap_or_default()
}

fn resolve<'js>(ctx: &Ctx<'js>, text: &Usv, base: Opt<Value<'js>>) -> Result<Option<Address>> {
    let Some(base) = base.0.filter(|base| !base.is_undefined()) else { return Ok(parse(&text.0, None)) };
    let base: Usv = rquickjs::FromJs::from_js(ctx, base)?;
    Ok(parse(&base.0, None).and_then(|base| parse(&text.0, Some(&base))))
}

#[derive(Trace, JsLifetime)]
#[rquickjs::class(rename = "URLSearchParams")]
pub(super) struct SearchParams {
    #[qjs(skip_trace)]
    record: Rc<RefCell<Record>>,
}

#[rquickjs::methods]
impl SearchParams {
    #[qjs(constructor)]
    fn new<'js>(ctx: Ctx<'js>, init: Opt<Value<'js>>) -> Result<Self> {
        let mut pairs = Vec::new();
        if let Some(init) = init.0.filter(|init| !init.is_undefined()) {
            if init.is_object() {
                let mut flat = flat_texts(&ctx, init)?.into_iter();
                while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
                    pairs.push((name.0, value.0));
                }
            } else {
                let text: Usv = rquickjs::FromJs::from_js(&ctx, init)?;
                let query = text.0.strip_prefix('?').unwrap_or(&text.0);
                pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            }
        }
        Ok(Self { record: Rc::new(RefCell::new(Record { url: None, pairs: Some(pairs) })) })
    }

    #[qjs(get, rename = "size", enumerable)]
    fn size(&self) -> usize {
        self.record.borrow_mut().pairs().len()
    }

    fn append(&self, name: Usv, value: Usv) {
        let mut record = self.record.borrow_mut();
        record.pairs().push((name.0, value.0));
        record.store();
    }

    fn delete(&self, name: Usv, value: Opt<Usv>) {
        let mut record = self.record.borrow_mut();
        record
            .pairs()
            .retain(|(known, held)| *known != name.0 || value.0.as_ref().is_some_and(|value| value.0 != *held));
        record.store();
    }

    fn get<'js>(&self, ctx: Ctx<'js>, name: Usv) -> Result<Value<'js>> {
        let mut record = self.record.borrow_mut();
        match record.pairs().iter().find(|(known, _)| *known == name.0) {
            Some((_, value)) => rquickjs::IntoJs::into_js(value, &ctx),
            None => Ok(Value::new_null(ctx)),
        }
    }

    #[qjs(rename = "getAll")]
    fn get_all(&self, name: Usv) -> Vec<String> {
        let mut record = self.record.borrow_mut();
        record.pairs().iter().filter(|(known, _)| *known == name.0).map(|(_, value)| value.clone()).collect()
    }

    fn has(&self, name: Usv, value: Opt<Usv>) -> bool {
        let mut record = self.record.borrow_mut();
        record
            .pairs()
            .iter()
            .any(|(known, held)| *known == name.0 && value.0.as_ref().is_none_or(|value| value.0 == *held))
    }

    fn set(&self, name: Usv, value: Usv) {
        let mut record = self.record.borrow_mut();
        let pairs = record.pairs();
        match pairs.iter().position(|(known, _)| *known == name.0) {
            None => pairs.push((name.0, value.0)),
            Some(first) => {
                let mut at = 0;
                pairs.retain(|(known, _)| {
                    let keep = at <= first || *known != name.0;
                    at += 1;
                    keep
                });
                if let Some(pair) = pairs.get_mut(first) {
                    pair.1 = value.0;
                }
            }
        }
        record.store();
    }

    fn sort(&self) {
        let mut record = self.record.borrow_mut();
        // The order is by code units, which differs from the order of characters above the basic plane.
        record.pairs().sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
        record.store();
    }

    #[qjs(rename = "toString")]
    fn text(&self) -> String {
        serialize(self.record.borrow_mut().pairs())
    }
}

/// Publishes the classes and the helpers the prelude builds on.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    Class::<UrlObject<'js>>::define(&ctx.globals())?;
    Class::<SearchParams>::define(&ctx.globals())?;
    host.set("parseUrl", Function::new(ctx.clone(), |text: Usv| parse(&text.0, None).map(|url| url.href()))?)?;
    host.set("requestUrl", Function::new(ctx.clone(), request_url)?)?;
    host.set("paramList", Function::new(ctx.clone(), param_list)?)
}

/// The URL of a request: absolute, without credentials.
fn request_url<'js>(ctx: Ctx<'js>, text: Usv) -> Result<Value<'js>> {
    match parse(&text.0, None).filter(|url| url.username.is_empty() && url.password.is_empty()) {
        Some(url) => rquickjs::IntoJs::into_js(url.href(), &ctx),
        None => Ok(Value::new_null(ctx)),
    }
}

fn param_list<'js>(ctx: Ctx<'js>, params: Class<'js, SearchParams>) -> Result<Array<'js>> {
    let list = Array::new(ctx.clone())?;
    let params = params.borrow();
    for (at, (name, value)) in params.record.borrow_mut().pairs().iter().enumerate() {
        let pair = Array::new(ctx.clone())?;
        pair.set(0, name)?;
        pair.set(1, value)?;
        list.set(at, pair)?;
    }
    Ok(list)
}
