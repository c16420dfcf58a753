//! Fills records in place: what the gateway, Access and the portals would have recorded of a session's next step.
//!
//! Texts keep their room from record to record. Invariant: every field that one record may set is set or cleared in
//! the next, so nothing of one shows in another.

use fastrand::Rng;
use jiff::Timestamp;
use logs::{AccessRequest, GatewayHttp, GatewayNetwork, McpCall};
use uuid::Uuid;

use crate::applications::Kind;
use crate::protocol;
use crate::random::{once_in, scattered};
use crate::session::{Ruled, Session};
use crate::shapes::{FILES, Shape};
use crate::world::World;

/// A rule that decided, as records name it.
struct Rule {
    id: &'static str,
    name: &'static str,
}

const UNAPPROVED: Rule =
    Rule { id: "01920000-0000-7000-8000-000000000001", name: "Unapproved applications are blocked" };
const SECURITY: Rule =
    Rule { id: "01920000-0000-7000-8000-000000000002", name: "Newly seen and dangerous sites are blocked" };
const COACHING: Rule =
    Rule { id: "01920000-0000-7000-8000-000000000003", name: "A reminder before a new AI application" };
const SANCTIONED: Rule =
    Rule { id: "01920000-0000-7000-8000-000000000004", name: "The company's assistant in place of others" };
const UPLOADS: Rule = Rule { id: "01920000-0000-7000-8000-000000000005", name: "No uploads to what is in review" };
const TRAINING: Rule = Rule { id: "01920000-0000-7000-8000-000000000006", name: "Finance needs compliance training" };

const ASSISTANT: &str = "https://chatgpt.com/";

/// Puts a text in the place of another, keeping its room.
pub(crate) fn put(text: &mut String, value: &str) {
    text.clear();
    text.push_str(value);
}

/// As [`put`], for a list.
pub(crate) fn put_list<'a>(list: &mut Vec<String>, values: impl IntoIterator<Item = &'a str>) {
    let mut filled = 0;
    for value in values {
        match list.get_mut(filled) {
            Some(text) => put(text, value),
            None => list.push(value.to_owned()),
        }
        filled += 1;
    }
    list.truncate(filled);
}

fn put_number(list: &mut Vec<i64>, values: &[i64]) {
    list.clear();
    list.extend_from_slice(values);
}

/// Sets what all web requests have in common.
pub(crate) fn prepare_http(record: &mut GatewayHttp, account: &str) {
    record.generated = true;
    put(&mut record.account_id, account);
    record.destination_port = 443;
    record.configuration_version = 1;
    put(&mut record.tls_version, "TLSv1.3");
    put(&mut record.origin_tls_version, "TLSv1.3");
    put(&mut record.proxy_endpoint, "People of the demo");
}

/// What became of a request.
struct Outcome {
    action: &'static str,
    status: u16,
    rule: Option<&'static Rule>,
    explanation: &'static str,
    /// Whether the origin was asked.
    forwarded: bool,
    error: &'static str,
    target: &'static str,
}

const fn passes(status: u16) -> Outcome {
    Outcome {
        action: "allow",
        status,
        rule: None,
        explanation: "no rule matched",
        forwarded: true,
        error: "",
        target: "",
    }
}

const fn stopped(action: &'static str, status: u16, rule: &'static Rule, explanation: &'static str) -> Outcome {
    Outcome { action, status, rule: Some(rule), explanation, forwarded: false, error: "", target: "" }
}

fn outcome(session: &Session, shape: &Shape, random: &mut Rng) -> Outcome {
    match session.ruled {
        Ruled::Unapproved => {
            return stopped("block", 403, &UNAPPROVED, "rule \"Unapproved applications are blocked\" blocks it");
        }
        Ruled::Security => {
            return stopped("block", 403, &SECURITY, "rule \"Newly seen and dangerous sites are blocked\" blocks it");
        }
        Ruled::Redirected => {
            let why = "rule \"The company's assistant in place of others\" redirects it";
            return Outcome { target: ASSISTANT, ..stopped("redirect", 302, &SANCTIONED, why) };
        }
        Ruled::NoUploads if shape.upload => {
            return stopped("block", 403, &UPLOADS, "rule \"No uploads to what is in review\" blocks it");
        }
        Ruled::Coached if session.first => {
            let why = "Worker coaching answered for rule \"A reminder before a new AI application\"";
            return stopped("managed", 302, &COACHING, why);
        }
        Ruled::Worker if once_in(40, random) => {
            let why = "Worker training-check answered for rule \"Finance needs compliance training\"";
            return stopped("worker", 302, &TRAINING, why);
        }
        Ruled::Worker | Ruled::NoUploads | Ruled::Coached | Ruled::Nothing => {}
    }
    let chance = random.u16(..) % 1_000;
    if chance < 3 {
        let error = "the origin did not answer in time";
        return Outcome { explanation: "the origin did not answer in time", error, ..passes(504) };
    }
    if chance < 5 {
        let explanation = "the client went away before anything was decided";
        return Outcome { action: "unknown", status: 0, explanation, forwarded: false, ..passes(0) };
    }
    passes(status(shape.method, random))
}

/// A status as origins give them.
fn status(method: &str, random: &mut Rng) -> u16 {
    let chance = random.u16(..) % 1_000;
    match (method, chance) {
        (_, 0..=3) => 500,
        (_, 4..=6) => 503,
        (_, 7..=16) => 404,
        (_, 17..=24) => 401,
        (_, 25..=29) => 403,
        (_, 30..=34) => 429,
        ("GET", 35..=134) => 304,
        ("GET", 135..=174) => 302,
        ("POST", 35..=84) => 204,
        ("POST" | "PUT", 85..=124) => 201,
        ("POST", 125..=132) => 400,
        _ => 200,
    }
}

pub(crate) fn http(
    record: &mut GatewayHttp,
    world: &World,
    session: &mut Session,
    (id, at): (Uuid, Timestamp),
    random: &mut Rng,
) {
    let target = &world.targets[session.target];
    let repertoire = &world.repertoires[target.kind];
    let place = repertoire.draw(random);
    let shape = &repertoire.shapes[place];
    let host = &target.hosts[session.host];
    let outcome = outcome(session, shape, random);
    record.id = id;
    record.datetime = at;
    put(&mut record.session_id, session.id());
    put(&mut record.http_host, &host.name);
    put(&mut record.http_method, shape.method);
    record.url.clear();
    record.url.push_str("https://");
    record.url.push_str(&host.name);
    repertoire.write_path(place, target.owner, &mut record.url, random);
    who(record, world, session, shape);
    decided(record, world, session, &outcome);
    moved(record, world, shape, &outcome, random);
    let name = if target.application.kind == Kind::Mcp { target.application.name.as_str() } else { "" };
    protocol::speak(record, name, shape, session.first, random);
    spent(record, world, session, shape, &outcome, random);
    session.first = false;
}

/// Who asks, from where and with what; and what it is they ask.
fn who(record: &mut GatewayHttp, world: &World, session: &Session, shape: &Shape) {
    let person = &world.people[session.person];
    let device = &person.devices[session.device];
    let target = &world.targets[session.target];
    put(&mut record.email, &person.email);
    put(&mut record.user_id, &person.user_id);
    put_list(&mut record.group_names, person.groups.iter().map(String::as_str));
    put(&mut record.device_id, &device.id);
    put(&mut record.device_name, &device.name);
    put(&mut record.user_agent, shape.agent.unwrap_or(device.agent));
    put(&mut record.ja4, if shape.agent.is_some() { "t13d1011h2_61a7ad8aa9b6_3a8073edd8ef" } else { device.ja4 });
    put(&mut record.source_ip, if session.away { "192.0.2.77" } else { &person.address });
    put(&mut record.source_ip_country_code, session.country);
    put(&mut record.source_ip_continent_code, session.continent);
    put(&mut record.source_internal_ip, if session.away { "" } else { &person.internal_address });
    record.source_port = session.port;
    put(&mut record.http_version, if shape.agent.is_some() && session.port & 1 == 0 { "HTTP/1.1" } else { "HTTP/2" });
    // Programs that are not kept up to date do not offer the post-quantum one.
    let group = if shape.agent.is_some() { "X25519" } else { "X25519MLKEM768" };
    put(&mut record.tls_key_exchange, group);
    put_number(&mut record.application_ids, &target.ids);
    put_list(&mut record.application_names, target.names.iter().map(String::as_str));
    put_list(&mut record.application_statuses, target.statuses.iter().map(String::as_str));
    let (category, name) =
        if target.suspicious { (177, "Newly Seen Domains") } else { target.application.kind.category() };
    put_number(&mut record.category_ids, &[category]);
    put_list(&mut record.category_names, [name]);
}

/// What was decided and why.
fn decided(record: &mut GatewayHttp, world: &World, session: &Session, outcome: &Outcome) {
    put(&mut record.action, outcome.action);
    put(&mut record.explanation, outcome.explanation);
    put(&mut record.error, outcome.error);
    put(&mut record.redirect_target_uri, outcome.target);
    record.http_status_code = outcome.status;
    let (id, name) = outcome.rule.map_or(("", ""), |rule| (rule.id, rule.name));
    put(&mut record.policy_id, id);
    put(&mut record.policy_name, name);
    let script = match (session.ruled, outcome.action) {
        (Ruled::Worker, "worker") => ("training-check", "response"),
        (Ruled::Worker, "allow") => ("training-check", "none"),
        (_, "managed") => ("coaching", "response"),
        _ => ("", ""),
    };
    put(&mut record.worker_script, script.0);
    put(&mut record.worker_outcome, script.1);
    let target = &world.targets[session.target];
    let reached = if outcome.forwarded { target.hosts[session.host].address.as_str() } else { "" };
    put(&mut record.destination_ip, reached);
    let (country, continent) =
        if outcome.forwarded { (target.application.country.as_str(), target.continent) } else { ("", "") };
    put(&mut record.destination_ip_country_code, country);
    put(&mut record.destination_ip_continent_code, continent);
    let exchange = if !outcome.forwarded {
        ""
    } else if target.owner & 3 == 0 {
        "X25519"
    } else {
        "X25519MLKEM768"
    };
    put(&mut record.origin_tls_key_exchange, exchange);
    put(&mut record.origin_tls_version, if outcome.forwarded { "TLSv1.3" } else { "" });
}

/// Bytes both ways, and files among them.
fn moved(record: &mut GatewayHttp, world: &World, shape: &Shape, outcome: &Outcome, random: &mut Rng) {
    record.request_bytes = if shape.up == 0 { 0 } else { world.sizes.draw(shape.up, random) };
    let has_body = !matches!(outcome.status, 0 | 204 | 304);
    record.response_bytes = match (outcome.forwarded, has_body) {
        (_, false) => 0,
        (true, true) if outcome.status < 400 => world.sizes.draw(shape.down, random),
        (true, true) => 420,
        (false, true) => 6_180,
    };
    let content_type = match (outcome.forwarded, has_body) {
        (_, false) => "",
        (true, true) => shape.content_type,
        (false, true) => "text/html",
    };
    put(&mut record.content_type, content_type);
    let sent = match (shape.up, shape.upload) {
        (0, _) => "",
        (_, true) => "multipart/form-data",
        (_, false) => "application/json",
    };
    put(&mut record.request_content_type, sent);
    let file = shape.upload.then(|| FILES[(random.u32(..) as usize) % FILES.len()]);
    put_list(&mut record.uploaded_file_names, file);
}

/// How long the parts took.
fn spent(
    record: &mut GatewayHttp,
    world: &World,
    session: &Session,
    shape: &Shape,
    outcome: &Outcome,
    random: &mut Rng,
) {
    record.decision_micros = 6 + u64::from(random.u8(..) >> 4);
    let asked = session.ruled == Ruled::Worker || outcome.action == "managed";
    record.worker_micros = if asked { world.times.draw(160, random) } else { 0 };
    record.origin_micros = match (outcome.forwarded, outcome.status) {
        (true, 504) => 30_000_000,
        // Who is away is further from everything.
        (true, _) => world.times.draw(if session.away { shape.wait * 2 } else { shape.wait }, random),
        (false, _) => 0,
    };
    let transfer = (record.request_bytes + record.response_bytes) / 6;
    record.duration_micros = record.decision_micros
        + record.worker_micros
        + record.origin_micros
        + transfer
        + 180
        + u64::from(random.u8(..));
}

/// Sets what all connections have in common.
pub(crate) fn prepare_network(record: &mut GatewayNetwork, account: &str) {
    record.generated = true;
    put(&mut record.account_id, account);
    put(&mut record.action, "off");
    put(&mut record.transport_protocol, "tcp");
    put(&mut record.detected_protocol, "tls");
    put(&mut record.explanation, "the host is on the do-not-inspect list");
    put(&mut record.proxy_endpoint, "People of the demo");
    record.destination_port = 443;
    record.configuration_version = 1;
}

pub(crate) fn network(
    record: &mut GatewayNetwork,
    world: &World,
    session: &mut Session,
    (id, at): (Uuid, Timestamp),
    random: &mut Rng,
) {
    let person = &world.people[session.person];
    let device = &person.devices[session.device];
    let target = &world.targets[session.target];
    let host = &target.hosts[session.host];
    record.id = id;
    record.datetime = at;
    put(&mut record.email, &person.email);
    put(&mut record.user_id, &person.user_id);
    put(&mut record.device_id, &device.id);
    put(&mut record.device_name, &device.name);
    put(&mut record.ja4, device.ja4);
    put(&mut record.sni, &host.name);
    put(&mut record.destination_host, &host.name);
    put(&mut record.destination_ip, &host.address);
    put(&mut record.destination_ip_country_code, &target.application.country);
    put(&mut record.destination_ip_continent_code, target.continent);
    put(&mut record.source_ip, if session.away { "192.0.2.77" } else { &person.address });
    put(&mut record.source_ip_country_code, session.country);
    put(&mut record.source_ip_continent_code, session.continent);
    put(&mut record.source_internal_ip, if session.away { "" } else { &person.internal_address });
    record.source_port = session.port.wrapping_add(random.u16(..) & 0x3ff);
    put_number(&mut record.application_ids, &target.ids);
    put_list(&mut record.application_names, target.names.iter().map(String::as_str));
    let (category, name) = target.application.kind.category();
    put_number(&mut record.category_ids, &[category]);
    put_list(&mut record.category_names, [name]);
    record.decision_micros = 5 + u64::from(random.u8(..) >> 4);
    record.bytes_sent = world.sizes.draw(3_200, random);
    record.bytes_received = world.sizes.draw(if target.owner & 1 == 0 { 240_000 } else { 14_000 }, random);
    record.duration_micros = world.sizes.draw(21_000_000, random);
    let ended = match random.u8(..) {
        0..=170 => "CLIENT_CLOSED",
        171..=238 => "ORIGIN_CLOSED",
        239.. => "CLIENT_IDLE_TIMEOUT",
    };
    put(&mut record.connection_close_reason, ended);
    session.first = false;
}

/// Sets what all sign-ins have in common.
pub(crate) fn prepare_access(record: &mut AccessRequest, account: &str) {
    record.generated = true;
    put(&mut record.account_id, account);
    put(&mut record.action, "login");
    put(&mut record.policy_name, "People of Acme");
    put(&mut record.policy_id, "01920000-0000-7000-8000-000000000010");
}

pub(crate) fn access(
    record: &mut AccessRequest,
    world: &World,
    session: &mut Session,
    (id, at): (Uuid, Timestamp),
    random: &mut Rng,
) {
    let person = &world.people[session.person];
    let target = &world.targets[session.target];
    record.id = id;
    record.datetime = at;
    put(&mut record.app_domain, &target.hosts[session.host].name);
    put(&mut record.app_name, &target.application.name);
    let mut letters = Uuid::encode_buffer();
    let application = uuid::Builder::from_random_bytes(crate::people::bytes(target.owner)).into_uuid();
    put(&mut record.app_uuid, application.as_hyphenated().encode_lower(&mut letters));
    put(&mut record.connection, if person.office.is_multiple_of(4) { "onetimepin" } else { "oidc" });
    put(&mut record.country, session.country);
    put(&mut record.email, &person.email);
    put(&mut record.user_uid, &person.user_id);
    put(&mut record.ip_address, if session.away { "192.0.2.77" } else { &person.address });
    record.allowed = !once_in(if session.away { 6 } else { 40 }, random);
    put(&mut record.reason, if record.allowed { "" } else { "no policy of the application lets this person in" });
    if !record.allowed {
        session.left = 0;
    }
}

/// Sets what all calls have in common.
pub(crate) fn prepare_mcp(record: &mut McpCall, account: &str) {
    record.generated = true;
    put(&mut record.account_id, account);
    put(&mut record.portal_id, "acme");
    put(&mut record.protocol_version, "2025-11-25");
}

/// Tools of the demo's servers: server, tool, median milliseconds, median tokens of the answer.
const TOOLS: [(&str, &str, u64, u64); 4] = [
    ("staff", "find_people", 34, 220),
    ("staff", "on_call", 18, 90),
    ("help-desk", "list_tickets", 46, 610),
    ("help-desk", "update_ticket", 62, 120),
];
const NO_CLOSING: &str = "Agents close no tickets";

pub(crate) fn mcp(
    record: &mut McpCall,
    world: &World,
    session: &mut Session,
    (id, at): (Uuid, Timestamp),
    random: &mut Rng,
) {
    let person = &world.people[session.person];
    record.id = id;
    record.datetime = at;
    put(&mut record.session_id, session.id());
    put(&mut record.user_email, &person.email);
    put(&mut record.user_id, &person.user_id);
    put(&mut record.client_ip, if session.away { "192.0.2.77" } else { &person.address });
    put(&mut record.client_country, session.country);
    let (client, version) =
        if scattered(session.person as u64) & 1 == 0 { ("claude-code", "2.0.31") } else { ("cursor", "2.0.60") };
    put(&mut record.client_name, client);
    put(&mut record.client_version, version);
    let (server, tool, wait, tokens) = TOOLS[(random.u32(..) as usize) % TOOLS.len()];
    let calls = !session.first;
    let blocked = calls && tool == "update_ticket" && once_in(3, random);
    let failed = calls && !blocked && once_in(50, random);
    let method = match (calls, session.left & 3) {
        (false, _) => "initialize",
        (true, 0) => "tools/list",
        (true, _) => "tools/call",
    };
    let is_call = method == "tools/call";
    put(&mut record.method, method);
    put(&mut record.server_id, if is_call { server } else { "" });
    put(&mut record.tool_call_name, if is_call { tool } else { "" });
    let blocked = blocked && is_call;
    put(&mut record.action, if blocked { "block" } else { "allow" });
    put(&mut record.rule_name, if blocked { NO_CLOSING } else { "" });
    record.success = !(blocked || failed);
    let error = match (blocked, failed) {
        (true, _) => "blocked by the rule \"Agents close no tickets\"",
        (false, true) => "the server did not answer in time",
        (false, false) => "",
    };
    put(&mut record.error, error);
    record.server_response_duration_ms = if is_call && !blocked { world.times.draw(wait, random).max(1) } else { 0 };
    record.decision_micros = 9 + u64::from(random.u8(..) >> 3);
    record.duration_micros = record.server_response_duration_ms * 1_000 + 400 + u64::from(random.u8(..));
    record.tokens_in = world.sizes.draw(60, random);
    record.tokens_out = world.sizes.draw(if is_call { tokens } else { 480 }, random);
    session.first = false;
}
