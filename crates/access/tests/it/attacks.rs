//! What an attacker would try, each with the answer it must get.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::IdentityProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use crate::support::{EMAIL, OTHER, Setup, Stand, TEAM, WIKI, allow};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_away_from_the_application() {
    let stand = Stand::start(Setup::default()).await;
    for path in ["//evil.example/x", "/\\evil.example", "/x/..//evil.example"] {
        let mut browser = stand.browser();
        let raw = Url::parse(&format!("https://{WIKI}:{}", stand.address.port())).unwrap();
        let first = browser.get(&raw.join("/").unwrap()).await;
        let mut entry = first.location();
        // What stands beside the sealed value is for people to read and is not believed.
        let meta = entry.query_pairs().find(|(name, _)| name == "meta").unwrap().1.into_owned();
        entry.query_pairs_mut().clear().append_pair("redirect_url", path).append_pair("meta", &meta);
        let page = browser.open(&entry).await;
        let away = browser.submit(&page, "provider", &[]).await;
        let seen = browser.follow(away).await;
        assert_eq!(seen.url, stand.url(WIKI, "/"), "{path}");
    }
    // A sign-in that nobody began leads to an application of ours or nowhere.
    let mut browser = stand.browser();
    for (host, status) in [
        (WIKI, StatusCode::FOUND),
        ("evil.example", StatusCode::NOT_FOUND),
        ("evil.example%2f@x", StatusCode::NOT_FOUND),
    ] {
        let seen = browser.get(&stand.url(TEAM, &format!("/cdn-cgi/access/login/{host}?meta=x"))).await;
        assert_eq!(seen.status, status, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_of_one_browser_is_worth_nothing_in_another() {
    let stand = Stand::start(Setup::default()).await;
    let (mut attacker, mut victim) = (stand.browser(), stand.browser());
    // The attacker signs in up to the last redirect and sends its address to the victim.
    let page = attacker.open(&stand.url(WIKI, "/")).await;
    let mut seen = attacker.submit(&page, "provider", &[]).await;
    while seen.location().path() != "/cdn-cgi/access/authorized" {
        let next = seen.location();
        seen = attacker.get(&next).await;
    }
    let stolen = seen.location();
    victim.get(&stand.url(WIKI, "/")).await;
    let refused = victim.get(&stolen).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(!victim.cookies.keys().any(|(_, name)| name == "CF_Authorization"));
    // Nor is it worth anything on another host.
    let mut elsewhere = stolen.clone();
    elsewhere.set_host(Some(TEAM)).unwrap();
    assert_eq!(attacker.get(&elsewhere).await.status, StatusCode::NOT_FOUND);
    assert_eq!(attacker.get(&stolen).await.status, StatusCode::FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_counts_only_where_the_sign_in_began_and_once() {
    let stand = Stand::start(Setup::default()).await;
    let (mut attacker, mut victim) = (stand.browser(), stand.browser());
    let page = attacker.open(&stand.url(WIKI, "/")).await;
    let away = attacker.submit(&page, "provider", &[]).await;
    let back = attacker.get(&away.location()).await.location();
    assert_eq!(victim.get(&back).await.status, StatusCode::BAD_REQUEST);
    // A victim under way at the same provider is not mixed up either.
    let page = victim.open(&stand.url(WIKI, "/")).await;
    victim.submit(&page, "provider", &[]).await;
    assert_eq!(victim.get(&back).await.status, StatusCode::BAD_REQUEST);
    let cookies = attacker.cookies.clone();
    assert_eq!(attacker.get(&back).await.status, StatusCode::FOUND);
    // The code again, with the cookies of then.
    attacker.cookies = cookies;
    assert_eq!(attacker.get(&back).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(stand.sessions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_never_one_the_browser_brought() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    let planted = "A".repeat(43);
    browser.cookies.insert((TEAM.to_owned(), "CF_Authorization".to_owned()), planted.clone());
    stand.sign_in(&mut browser, "/").await;
    let kept = &browser.cookies[&(TEAM.to_owned(), "CF_Authorization".to_owned())];
    assert_ne!(*kept, planted);
    let first = kept.clone();
    browser.cookies.remove(&(WIKI.to_owned(), "CF_Authorization".to_owned()));
    browser.get(&stand.url(TEAM, "/cdn-cgi/access/logout")).await;
    stand.sign_in(&mut browser, "/").await;
    assert_ne!(browser.cookies[&(TEAM.to_owned(), "CF_Authorization".to_owned())], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_from_another_site_or_browser_is_refused() {
    let stand = Stand::start(Setup::default()).await;
    let (mut attacker, mut victim) = (stand.browser(), stand.browser());
    let theirs = attacker.open(&stand.url(WIKI, "/")).await;
    let own = victim.open(&stand.url(WIKI, "/")).await;
    let refused = victim.submit(&theirs, "provider", &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let (url, state) = own.form("provider");
    let request = victim.request(Method::POST, &url).header("origin", "https://evil.example").form(&[("state", state)]);
    assert_eq!(victim.send(request).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(victim.submit(&own, "provider", &[]).await.status, StatusCode::FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_signs_anybody_out_everywhere() {
    let stand = Stand::start(Setup::default()).await;
    let (mut here, mut elsewhere) = (stand.browser(), stand.browser());
    for browser in [&mut here, &mut elsewhere] {
        stand.sign_in(browser, "/").await;
    }
    let everywhere = stand.url(TEAM, "/cdn-cgi/access/logout?everywhere=1");
    // A link, an image or a form of another site, of an application, and a browser that says nothing.
    for from in ["cross-site", "same-site", ""] {
        let mut request = here.request(Method::GET, &everywhere);
        if !from.is_empty() {
            request = request.header("sec-fetch-site", from);
        }
        let asked = here.send(request).await;
        assert!(asked.status == StatusCode::OK && asked.text.contains("Sign out everywhere"), "{from}");
        let forged = here.request(Method::POST, &everywhere).header("sec-fetch-site", from).form(&[("state", "x")]);
        assert_eq!(here.send(forged).await.status, StatusCode::BAD_REQUEST, "{from}");
    }
    // A program that a page of another site runs is told so.
    let request = here.request(Method::GET, &everywhere).header("accept", "application/json");
    let refused = here.keep(request.send().await.unwrap()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    // Nor does the form that somebody else was given count, or ours from elsewhere.
    let theirs = elsewhere.get(&everywhere).await;
    let (_, state) = theirs.form("logout?everywhere=1");
    let request = here.request(Method::POST, &everywhere).form(&[("state", state.as_str())]);
    assert_eq!(here.send(request).await.status, StatusCode::BAD_REQUEST);
    let (_, state) = here.get(&everywhere).await.form("logout?everywhere=1");
    let request = here.request(Method::POST, &everywhere).header("origin", "https://evil.example");
    assert_eq!(here.send(request.form(&[("state", state.as_str())])).await.status, StatusCode::BAD_REQUEST);
    for browser in [&mut here, &mut elsewhere] {
        assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
    }
    // Whoever means it ends them all.
    let request =
        here.request(Method::POST, &everywhere).header("origin", stand.url(TEAM, "/").origin().ascii_serialization());
    let out = here.send(request.form(&[("state", state.as_str())])).await;
    assert!(out.status == StatusCode::OK && out.text.contains("You are signed out"));
    for browser in [&mut here, &mut elsewhere] {
        assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_to_the_address_themselves_is_signed_out_everywhere_at_once() {
    for from in ["same-origin", "none"] {
        let stand = Stand::start(Setup::default()).await;
        let (mut here, mut elsewhere) = (stand.browser(), stand.browser());
        for browser in [&mut here, &mut elsewhere] {
            stand.sign_in(browser, "/").await;
        }
        let everywhere = stand.url(TEAM, "/cdn-cgi/access/logout?everywhere=1");
        let out = here.send(here.request(Method::GET, &everywhere).header("sec-fetch-site", from)).await;
        assert!(out.text.contains("You are signed out"), "{from}");
        assert_eq!(elsewhere.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND, "{from}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_headers_from_outside_never_reach_the_application() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let forged = [
        ("cf-access-jwt-assertion", "forged"),
        ("cf_access_jwt_assertion", "forged"),
        ("cf-access-authenticated-user-email", "forged"),
        ("x-forwarded-for", "forged"),
        ("x_forwarded_user", "forged"),
        ("x-forwarded-host", "forged"),
        ("remote-user", "forged"),
        ("forwarded", "forged"),
        ("connection", "cf-access-jwt-assertion"),
    ];
    let mut request = browser.request(Method::GET, &stand.url(WIKI, "/"));
    for (name, value) in forged {
        request = request.header(name, value);
    }
    let seen = browser.send(request).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert!(!seen.text.contains("forged"), "{}", seen.text);
    let told: Value = serde_json::from_str(&seen.text).unwrap();
    assert!(told["headers"]["cf-access-jwt-assertion"].is_string());
    assert_eq!(told["headers"]["x-forwarded-for"], "127.0.0.1");
    // What guards the sign-in stays here.
    assert!(!told["headers"]["cookie"].as_str().unwrap().contains("CF_AppSession"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_own_application_alone() {
    let other = (json!({"name": "Other", "domain": OTHER}), vec![allow(json!({"everyone": {}}))]);
    let stand = Stand::start(Setup { more: vec![other], ..Setup::default() }).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let token = browser.cookies[&(WIKI.to_owned(), "CF_Authorization".to_owned())].clone();
    let mut stranger = stand.browser();
    let mut broken: Vec<&str> = token.split('.').collect();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", broken[1]);
    broken[2] = "AAAA";
    for (host, token, status) in [
        (WIKI, token.clone(), StatusCode::OK),
        (OTHER, token.clone(), StatusCode::FOUND),
        (WIKI, broken.join("."), StatusCode::FOUND),
        (WIKI, unsigned, StatusCode::FOUND),
        (WIKI, "x".repeat(5_000), StatusCode::FOUND),
    ] {
        let request = stranger.request(Method::GET, &stand.url(host, "/")).header("cf-access-token", &token);
        assert_eq!(stranger.send(request).await.status, status, "{host} {token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_session_needs_its_companion() {
    let wiki = json!({"enable_binding_cookie": true});
    let stand = Stand::start(Setup { wiki, ..Setup::default() }).await;
    let mut browser = stand.browser();
    let seen = stand.sign_in(&mut browser, "/").await;
    assert!(seen.status == StatusCode::OK && !seen.text.contains("CF_Binding"));
    browser.cookies.remove(&(WIKI.to_owned(), "CF_Binding".to_owned()));
    assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_believed_only_as_the_connection_named_them() {
    let other = (json!({"name": "Other", "domain": OTHER}), vec![allow(json!({"everyone": {}}))]);
    let stand = Stand::start(Setup { more: vec![other], ..Setup::default() }).await;
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\n"), "421"),
        (format!("GET / HTTP/1.1\r\nHost: {WIKI}\r\nHost: {OTHER}\r\n"), "400"),
        ("GET / HTTP/1.1\r\nHost: wiki.example.test@evil\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\n".to_owned(), "400"),
        (format!("GET https://{OTHER}/ HTTP/1.1\r\nHost: {WIKI}\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: {WIKI}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: {WIKI}.\r\n"), "302"),
        (format!("CONNECT {WIKI}:443 HTTP/1.1\r\nHost: {WIKI}:443\r\n"), "405"),
    ] {
        let mut stream = stand.tls(WIKI, &["http/1.1"]).await;
        stream.write_all(format!("{head}Accept: text/html\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[9..]), status, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_run_our_own_script_alone_and_are_framed_by_nobody() {
    let stand =
        Stand::start(Setup { organization: json!({"name": "<script>alert(1)</script>"}), ..Setup::default() }).await;
    let mut browser = stand.browser();
    let page = browser.open(&stand.url(WIKI, "/\"><script>alert(1)</script>")).await;
    assert_eq!(page.text.matches("<script").count(), 1, "{}", page.text);
    assert!(page.text.contains("<script src=\"/cdn-cgi/access/webauthn.js?v="), "{}", page.text);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(policy.ends_with("; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    // A page that asks no authenticator has no script.
    let account = browser.open(&stand.url(TEAM, "/cdn-cgi/access/account")).await;
    let policy = account.headers["content-security-policy"].to_str().unwrap();
    assert!(!account.text.contains("<script") && !policy.contains("script-src"), "{policy}");
    assert_eq!(
        (&page.headers["cache-control"], &page.headers["x-frame-options"]),
        (&"no-store".parse().unwrap(), &"DENY".parse().unwrap())
    );
}

/// RFC 9700 section 4.4: a provider that an attacker runs sends the browser on to an honest one, and would be handed the
/// code that the honest one issues.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_one_provider_is_not_handed_to_another() {
    let rival = IdentityProvider::start(EMAIL).await.unwrap();
    let stand = Stand::start(Setup { rival: Some(rival.issuer.clone()), ..Setup::default() }).await;
    for (chosen, other) in [("Rival", &stand.provider.issuer), ("Test provider", &rival.issuer)] {
        let mut victim = stand.browser();
        let page = victim.open(&stand.url(WIKI, "/")).await;
        let form = page.text.split("<form").find(|form| form.contains(&format!("Continue with {chosen}"))).unwrap();
        let state = form.split("name=\"state\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let to = stand.url(TEAM, "/cdn-cgi/access/provider");
        let away = victim.send(victim.request(Method::POST, &to).form(&[("state", state)])).await.location();
        let mut astray = Url::parse(&format!("{other}/authorize")).unwrap();
        astray.set_query(away.query());
        let back = victim.get(&astray).await.location();
        assert!(back.query().unwrap().contains("code="), "the other provider did sign in: {back}");
        assert_eq!(victim.get(&back).await.status, StatusCode::BAD_GATEWAY, "{chosen}");
        let record = stand.records().await.pop().unwrap();
        assert!(record.to_string().contains("of another identity provider than the one asked"), "{record}");
        assert!(stand.sessions.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_tokens_beyond_the_bounds_open_nothing() {
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let token = browser.cookies[&(WIKI.to_owned(), "CF_Authorization".to_owned())].clone();
    let fields = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let wrong = "CF_Authorization=e30.e30.e30; ".repeat(8);
    for (extra, status, why) in [
        (format!("Cookie: CF_Authorization={token}\r\n"), "200", "the token itself"),
        (format!("Cookie: a={}\r\n", "x".repeat(70_000)), "431", "a head of more than 64 KiB"),
        // The head has three of its own.
        (fields(98), "431", "one more than 100 fields"),
        (fields(97), "302", "100 fields of somebody unknown"),
        // The application takes fewer than it would get.
        (format!("{}Cookie: CF_Authorization={token}\r\n", fields(80)), "200", "fields within the bound"),
        (format!("Cookie: CF_Authorization={}\r\n", "x".repeat(60_000)), "302", "a token of 60,000 bytes"),
        (format!("Cookie: CF_Authorization={token}{}\r\n", "=".repeat(40_000)), "302", "a token with a tail"),
        // However many tokens are sent, few are looked at: a signature to check costs more than a request.
        (format!("Cookie: {wrong}CF_Authorization={token}\r\n"), "302", "a token behind eight others"),
        (format!("Cf-Access-Client-Id: {}\r\nCf-Access-Client-Secret: x\r\n", "y".repeat(30_000)), "401", "a long id"),
        (format!("Cf-Access-Token: {}\r\n", "y.".repeat(15_000)), "302", "a token of many parts"),
    ] {
        let mut stream = stand.tls(WIKI, &["http/1.1"]).await;
        let head = format!("GET / HTTP/1.1\r\nHost: {WIKI}\r\nAccept: text/html\r\nConnection: close\r\n{extra}\r\n");
        // The listener may answer, and close, before it has read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[9..]), status, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_leads_to_no_key_but_ours() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let stand = Stand::start(Setup::default()).await;
    let mut browser = stand.browser();
    stand.sign_in(&mut browser, "/").await;
    let token = browser.cookies[&(WIKI.to_owned(), "CF_Authorization".to_owned())].clone();
    let rest = token.split_once('.').unwrap().1;
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    let mut stranger = stand.browser();
    for (member, value) in [
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("..%2f..%2fdev%2fnull")),
        ("kid", json!("/dev/null\u{0}")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("")),
        ("kid", json!("x".repeat(2_000))),
        ("kid", json!([header["kid"]])),
        ("kid", Value::Null),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/certificate")),
        ("alg", json!("HS256")),
    ] {
        let mut forged = header.clone();
        forged[member] = value.clone();
        let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(forged.to_string()));
        let request = stranger.request(Method::GET, &stand.url(WIKI, "/")).header("cf-access-token", &token);
        assert_eq!(stranger.send(request).await.status, StatusCode::FOUND, "{member}: {value}");
    }
    let request = stranger.request(Method::GET, &stand.url(WIKI, "/")).header("cf-access-token", &token);
    assert_eq!(stranger.send(request).await.status, StatusCode::OK);
}
