//! Endpoints of Access about who somebody is: groups, providers, the organisation, service tokens, certificates of
//! clients, signing keys, people, the outbox.

use axum::http::Method;
use serde_json::json;
use store::Permission::{
    AccessRead, Admin, AuditRead, ClientCertificatesRead, ClientCertificatesWrite, IdentityRead, IdentityWrite,
    LogsRead, ServiceTokensRead, ServiceTokensWrite, UsersRead, UsersWrite,
};
use types::{AccessGroupId, CertificateId, ProviderId, ServiceTokenId, UserId};

use super::access::paged;
use super::gate::{Cx, Input};
use super::reply::{Reply, ok, page};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, endpoint};
use crate::failure::Failure;
use crate::operations::access::{
    AccessBody, AccessView, approvals, client_certificates, directory, groups, keys, listener_certificates, logins,
    mail_server, organization, outbox, providers, service_tokens, sessions, users,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = group_endpoints();
    all.extend(provider_endpoints());
    all.extend(organization_endpoints());
    all.extend(service_token_endpoints());
    all.extend(certificate_endpoints());
    all.extend(user_endpoints());
    all.extend(our_endpoints());
    all
}

fn group_endpoints() -> Vec<Endpoint> {
    const GROUPS: &str = "/accounts/{account_id}/access/groups";
    const GROUP: &str = "/accounts/{account_id}/access/groups/{group_id}";
    vec![
        endpoint(Method::GET, GROUPS, Permission(IdentityRead), "List rule groups", list_groups)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, GROUPS, Permission(IdentityWrite), "Make a rule group", create_group)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::GET, GROUP, Permission(IdentityRead), "Get a rule group", get_group).returns::<AccessView>(),
        endpoint(Method::PUT, GROUP, Permission(IdentityWrite), "Replace a rule group", put_group)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, GROUP, Permission(IdentityWrite), "Delete a rule group", delete_group),
    ]
}

fn group_id(cx: &Cx) -> Result<AccessGroupId, Failure> {
    cx.id("group_id", "rule group")
}

async fn list_groups(cx: Cx) -> Reply {
    let all = groups::list(&cx.op).await?;
    paged(&cx, all)
}

async fn create_group(cx: Cx, input: Input) -> Reply {
    ok(groups::create(&cx.op, &input.value()?).await?)
}

async fn get_group(cx: Cx) -> Reply {
    ok(groups::get(&cx.op, group_id(&cx)?).await?)
}

async fn put_group(cx: Cx, input: Input) -> Reply {
    ok(groups::replace(&cx.op, group_id(&cx)?, &input.value()?).await?)
}

async fn delete_group(cx: Cx) -> Reply {
    groups::delete(&cx.op, group_id(&cx)?).await?;
    ok(json!({"id": cx.text("group_id")}))
}

fn provider_endpoints() -> Vec<Endpoint> {
    const PROVIDERS: &str = "/accounts/{account_id}/access/identity_providers";
    const PROVIDER: &str = "/accounts/{account_id}/access/identity_providers/{identity_provider_id}";
    const REFRESH: &str = "/accounts/{account_id}/access/identity_providers/{identity_provider_id}/refresh_scim_secret";
    const SCIM_USERS: &str = "/accounts/{account_id}/access/identity_providers/{identity_provider_id}/scim/users";
    const SCIM_GROUPS: &str = "/accounts/{account_id}/access/identity_providers/{identity_provider_id}/scim/groups";
    const SCIM_UPDATES: &str = "/accounts/{account_id}/access/logs/scim/updates";
    vec![
        endpoint(Method::GET, PROVIDERS, Permission(IdentityRead), "List identity providers", list_providers)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, PROVIDERS, Permission(IdentityWrite), "Add an identity provider", create_provider)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::GET, PROVIDER, Permission(IdentityRead), "Get an identity provider", get_provider)
            .returns::<AccessView>(),
        endpoint(Method::PUT, PROVIDER, Permission(IdentityWrite), "Replace an identity provider", put_provider)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, PROVIDER, Permission(IdentityWrite), "Remove an identity provider", delete_provider),
        endpoint(Method::POST, REFRESH, Permission(IdentityWrite), "Make a new SCIM secret", refresh_scim_secret)
            .returns::<AccessView>(),
        endpoint(Method::GET, SCIM_USERS, Permission(UsersRead), "List people of a provider's directory", scim_users)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[
                ("cf_resource_id", "these ids of ours, with commas between"),
                ("idp_resource_id", "these ids of the provider's, with commas between"),
                ("email", "this address"),
                ("name", "this name"),
                ("username", "this userName"),
            ]),
        endpoint(Method::GET, SCIM_GROUPS, Permission(UsersRead), "List groups of a provider's directory", scim_groups)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[
                ("cf_resource_id", "these ids of ours, with commas between"),
                ("idp_resource_id", "these ids of the provider's, with commas between"),
                ("name", "this name"),
            ]),
        endpoint(Method::GET, SCIM_UPDATES, Permission(AuditRead), "List what directories changed", scim_updates)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[("idp_id", "of this provider")]),
    ]
}

fn wanted(cx: &Cx) -> directory::Wanted<'_> {
    directory::Wanted {
        ours: cx.query("cf_resource_id"),
        theirs: cx.query("idp_resource_id"),
        email: cx.query("email"),
        name: cx.query("name"),
        username: cx.query("username"),
    }
}

async fn scim_users(cx: Cx) -> Reply {
    let all = directory::users(&cx.op, provider_id(&cx)?, wanted(&cx)).await?;
    paged(&cx, all)
}

async fn scim_groups(cx: Cx) -> Reply {
    let all = directory::groups(&cx.op, provider_id(&cx)?, wanted(&cx)).await?;
    paged(&cx, all)
}

async fn scim_updates(cx: Cx) -> Reply {
    let wrong = |_| Failure::invalid("", "query parameter \"idp_id\" must be the id of an identity provider");
    let provider: Option<ProviderId> = cx.query("idp_id").map(str::parse).transpose().map_err(wrong)?;
    let all = directory::updates(&cx.op, provider).await?;
    paged(&cx, all)
}

fn provider_id(cx: &Cx) -> Result<ProviderId, Failure> {
    cx.id("identity_provider_id", "identity provider")
}

async fn list_providers(cx: Cx) -> Reply {
    let all = providers::list(&cx.op).await?;
    paged(&cx, all)
}

async fn create_provider(cx: Cx, input: Input) -> Reply {
    ok(providers::create(&cx.op, &input.value()?).await?)
}

async fn get_provider(cx: Cx) -> Reply {
    ok(providers::get(&cx.op, provider_id(&cx)?).await?)
}

async fn put_provider(cx: Cx, input: Input) -> Reply {
    ok(providers::replace(&cx.op, provider_id(&cx)?, &input.value()?).await?)
}

async fn delete_provider(cx: Cx) -> Reply {
    providers::delete(&cx.op, provider_id(&cx)?).await?;
    ok(json!({"id": cx.text("identity_provider_id")}))
}

async fn refresh_scim_secret(cx: Cx) -> Reply {
    ok(providers::refresh_scim_secret(&cx.op, provider_id(&cx)?).await?)
}

fn organization_endpoints() -> Vec<Endpoint> {
    const ORGANIZATION: &str = "/accounts/{account_id}/access/organizations";
    const REVOKE: &str = "/accounts/{account_id}/access/organizations/revoke_user";
    const KEYS: &str = "/accounts/{account_id}/access/keys";
    const ROTATE: &str = "/accounts/{account_id}/access/keys/rotate";
    vec![
        endpoint(Method::GET, ORGANIZATION, Permission(IdentityRead), "Get the organisation", get_organization)
            .returns::<AccessView>(),
        endpoint(Method::POST, ORGANIZATION, Permission(IdentityWrite), "Set up the organisation", put_organization)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::PUT, ORGANIZATION, Permission(IdentityWrite), "Change the organisation", put_organization)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::POST, REVOKE, Permission(IdentityWrite), "End every session of a person", revoke_user)
            .takes_json::<sessions::RevokeUser>(),
        endpoint(Method::GET, KEYS, Permission(IdentityRead), "Say how the signing keys stand", get_keys)
            .returns::<keys::KeysView>(),
        endpoint(Method::PUT, KEYS, Permission(IdentityWrite), "Set how often signing keys change", put_keys)
            .takes_json::<keys::Interval>()
            .returns::<keys::KeysView>(),
        endpoint(Method::POST, ROTATE, Permission(IdentityWrite), "Change the signing key now", rotate_keys)
            .returns::<keys::KeysView>(),
    ]
}

async fn get_organization(cx: Cx) -> Reply {
    ok(organization::get(&cx.op).await?)
}

async fn put_organization(cx: Cx, input: Input) -> Reply {
    ok(organization::put(&cx.op, &input.value()?).await?)
}

async fn revoke_user(cx: Cx, input: Input) -> Reply {
    sessions::revoke_user(&cx.op, input.json()?).await?;
    ok(true)
}

async fn get_keys(cx: Cx) -> Reply {
    ok(keys::get(&cx.op).await?)
}

async fn put_keys(cx: Cx, input: Input) -> Reply {
    ok(keys::put(&cx.op, input.json()?).await?)
}

async fn rotate_keys(cx: Cx) -> Reply {
    ok(keys::rotate(&cx.op).await?)
}

fn service_token_endpoints() -> Vec<Endpoint> {
    const TOKENS: &str = "/accounts/{account_id}/access/service_tokens";
    const TOKEN: &str = "/accounts/{account_id}/access/service_tokens/{service_token_id}";
    const REFRESH: &str = "/accounts/{account_id}/access/service_tokens/{service_token_id}/refresh";
    const ROTATE: &str = "/accounts/{account_id}/access/service_tokens/{service_token_id}/rotate";
    vec![
        endpoint(Method::GET, TOKENS, Permission(ServiceTokensRead), "List service tokens", list_tokens)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, TOKENS, Permission(ServiceTokensWrite), "Make a service token", create_token)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::GET, TOKEN, Permission(ServiceTokensRead), "Get a service token", get_token)
            .returns::<AccessView>(),
        endpoint(Method::PUT, TOKEN, Permission(ServiceTokensWrite), "Change a service token", put_token)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, TOKEN, Permission(ServiceTokensWrite), "Delete a service token", delete_token)
            .returns::<AccessView>(),
        endpoint(Method::POST, REFRESH, Permission(ServiceTokensWrite), "Add a year to a service token", refresh_token)
            .returns::<AccessView>(),
        endpoint(
            Method::POST,
            ROTATE,
            Permission(ServiceTokensWrite),
            "Give a service token a new secret",
            rotate_token,
        )
        .takes_json::<service_tokens::Rotation>()
        .returns::<AccessView>(),
    ]
}

fn token_id(cx: &Cx) -> Result<ServiceTokenId, Failure> {
    cx.id("service_token_id", "service token")
}

async fn list_tokens(cx: Cx) -> Reply {
    let all = service_tokens::list(&cx.op).await?;
    paged(&cx, all)
}

async fn create_token(cx: Cx, input: Input) -> Reply {
    ok(service_tokens::create(&cx.op, &input.value()?).await?)
}

async fn get_token(cx: Cx) -> Reply {
    ok(service_tokens::get(&cx.op, token_id(&cx)?).await?)
}

async fn put_token(cx: Cx, input: Input) -> Reply {
    ok(service_tokens::replace(&cx.op, token_id(&cx)?, &input.value()?).await?)
}

async fn delete_token(cx: Cx) -> Reply {
    ok(service_tokens::delete(&cx.op, token_id(&cx)?).await?)
}

async fn refresh_token(cx: Cx) -> Reply {
    ok(service_tokens::refresh(&cx.op, token_id(&cx)?).await?)
}

async fn rotate_token(cx: Cx, input: Input) -> Reply {
    ok(service_tokens::rotate(&cx.op, token_id(&cx)?, input.json_or_default()?).await?)
}

fn certificate_endpoints() -> Vec<Endpoint> {
    const CERTIFICATES: &str = "/accounts/{account_id}/access/certificates";
    const CERTIFICATE: &str = "/accounts/{account_id}/access/certificates/{certificate_id}";
    const SETTINGS: &str = "/accounts/{account_id}/access/certificates/settings";
    let (read, write) = (Permission(ClientCertificatesRead), Permission(ClientCertificatesWrite));
    vec![
        endpoint(Method::GET, CERTIFICATES, read, "List authorities of client certificates", list_certificates)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::POST, CERTIFICATES, write, "Add an authority of client certificates", create_certificate)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::GET, SETTINGS, read, "Get what is done with client certificates at each host", get_settings)
            .lists::<client_certificates::HostSettings>(Paging::Numbered),
        endpoint(Method::PUT, SETTINGS, write, "Set what is done with client certificates at each host", put_settings)
            .takes_json::<client_certificates::SettingsBody>()
            .lists::<client_certificates::HostSettings>(Paging::No),
        endpoint(Method::GET, CERTIFICATE, read, "Get an authority of client certificates", get_certificate)
            .returns::<AccessView>(),
        endpoint(Method::PUT, CERTIFICATE, write, "Change an authority of client certificates", put_certificate)
            .takes_json::<AccessBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, CERTIFICATE, write, "Remove an authority of client certificates", delete_certificate),
    ]
}

fn certificate_id(cx: &Cx) -> Result<CertificateId, Failure> {
    cx.id("certificate_id", "certificate")
}

async fn list_certificates(cx: Cx) -> Reply {
    let all = client_certificates::list(&cx.op).await?;
    paged(&cx, all)
}

async fn create_certificate(cx: Cx, input: Input) -> Reply {
    ok(client_certificates::create(&cx.op, &input.value()?).await?)
}

async fn get_settings(cx: Cx) -> Reply {
    let all = client_certificates::settings(&cx.op).await?;
    paged(&cx, all)
}

async fn put_settings(cx: Cx, input: Input) -> Reply {
    ok(client_certificates::put_settings(&cx.op, input.json()?).await?)
}

async fn get_certificate(cx: Cx) -> Reply {
    ok(client_certificates::get(&cx.op, certificate_id(&cx)?).await?)
}

async fn put_certificate(cx: Cx, input: Input) -> Reply {
    ok(client_certificates::replace(&cx.op, certificate_id(&cx)?, &input.value()?).await?)
}

async fn delete_certificate(cx: Cx) -> Reply {
    client_certificates::delete(&cx.op, certificate_id(&cx)?).await?;
    ok(json!({"id": cx.text("certificate_id")}))
}

fn user_endpoints() -> Vec<Endpoint> {
    const USERS: &str = "/accounts/{account_id}/access/users";
    const USER: &str = "/accounts/{account_id}/access/users/{user_id}";
    const SESSIONS: &str = "/accounts/{account_id}/access/users/{user_id}/active_sessions";
    const SESSION: &str = "/accounts/{account_id}/access/users/{user_id}/active_sessions/{nonce}";
    const FAILED: &str = "/accounts/{account_id}/access/users/{user_id}/failed_logins";
    const IDENTITY: &str = "/accounts/{account_id}/access/users/{user_id}/last_seen_identity";
    const FACTOR: &str = "/accounts/{account_id}/access/users/{user_id}/mfa_authenticators/{authenticator_id}";
    const LOGINS: &str = "/accounts/{account_id}/access/logs/access_requests";
    const SEATS: &str = "/accounts/{account_id}/access/seats";
    vec![
        endpoint(
            Method::PATCH,
            SEATS,
            Permission(UsersWrite),
            "Take people's seats and end their sessions",
            edit_seats,
        )
        .takes_list::<users::SeatBody>()
        .lists::<AccessView>(Paging::Single),
        endpoint(Method::GET, LOGINS, Permission(LogsRead), "List sign-ins and sign-outs", list_logins)
            .lists::<AccessView>(Paging::Numbered)
            .query(LOGIN_FILTERS),
        endpoint(Method::GET, USERS, Permission(UsersRead), "List people with their last login", list_users)
            .lists::<AccessView>(Paging::Numbered)
            .query(&[("email", "this address"), ("name", "this name"), ("search", "part of an address or name")]),
        endpoint(Method::POST, USERS, Permission(UsersWrite), "Add a person to Access", create_user)
            .takes_json::<users::UserBody>()
            .returns::<AccessView>(),
        endpoint(Method::GET, USER, Permission(UsersRead), "Get a person with their last login", get_user)
            .returns::<AccessView>(),
        endpoint(Method::PUT, USER, Permission(UsersWrite), "Rename a person", put_user)
            .takes_json::<users::UserBody>()
            .returns::<AccessView>(),
        endpoint(Method::DELETE, USER, Permission(UsersWrite), "Remove a person and end their sessions", delete_user)
            .returns::<AccessView>(),
        endpoint(Method::GET, SESSIONS, Permission(UsersRead), "List a person's sessions", list_sessions)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::GET, SESSION, Permission(UsersRead), "Get a person's session", get_session)
            .returns::<AccessView>(),
        endpoint(Method::GET, FAILED, Permission(UsersRead), "List a person's refused logins", failed_logins)
            .lists::<AccessView>(Paging::Numbered),
        endpoint(Method::GET, IDENTITY, Permission(UsersRead), "Get the identity of a person's last login", identity)
            .returns::<AccessView>(),
        endpoint(Method::DELETE, FACTOR, Permission(UsersWrite), "Take a second factor away", delete_factor),
    ]
}

/// Every filter that compares has a twin for how: `emailOp=contains`.
const LOGIN_FILTERS: &[(&str, &str)] = &[
    ("limit", "most records, 25 unless it says otherwise"),
    ("direction", "desc or asc"),
    ("since", "not before this time"),
    ("until", "before this time"),
    ("email", "part of an address"),
    ("email_exact", "true: the whole address"),
    ("emailOp", "eq, neq or contains"),
    ("allowed", "true or false"),
    ("allowedOp", "eq or neq"),
    ("app_uid", "an application"),
    ("app_uidOp", "eq or neq"),
    ("app_type", "a type of application"),
    ("app_typeOp", "eq or neq"),
    ("country_code", "a country"),
    ("country_codeOp", "eq or neq"),
    ("idp", "a type of identity provider"),
    ("idpOp", "eq or neq"),
    ("ray_id", "the reference number of one record"),
    ("ray_idOp", "eq or neq"),
    ("user_id", "a person"),
    ("user_idOp", "eq or neq"),
    ("fields", "members to show, with commas between"),
];

async fn list_logins(cx: Cx) -> Reply {
    let (found, info) = logins::page(&cx.op, cx.queries()).await?;
    page(found, info)
}

async fn edit_seats(cx: Cx, input: Input) -> Reply {
    ok(users::edit_seats(&cx.op, input.json()?).await?)
}

fn user_id(cx: &Cx) -> Result<UserId, Failure> {
    cx.id("user_id", "user")
}

async fn list_users(cx: Cx) -> Reply {
    let all = users::list(&cx.op, cx.query("email"), cx.query("name"), cx.query("search")).await?;
    paged(&cx, all)
}

async fn create_user(cx: Cx, input: Input) -> Reply {
    ok(users::create(&cx.op, input.json()?).await?)
}

async fn get_user(cx: Cx) -> Reply {
    ok(users::get(&cx.op, user_id(&cx)?).await?)
}

async fn put_user(cx: Cx, input: Input) -> Reply {
    ok(users::replace(&cx.op, user_id(&cx)?, input.json()?).await?)
}

async fn delete_user(cx: Cx) -> Reply {
    ok(users::delete(&cx.op, user_id(&cx)?).await?)
}

async fn list_sessions(cx: Cx) -> Reply {
    let all = sessions::list(&cx.op, user_id(&cx)?).await?;
    paged(&cx, all)
}

async fn get_session(cx: Cx) -> Reply {
    ok(sessions::get(&cx.op, user_id(&cx)?, cx.text("nonce")).await?)
}

async fn failed_logins(cx: Cx) -> Reply {
    let all = users::failed_logins(&cx.op, user_id(&cx)?).await?;
    paged(&cx, all)
}

async fn identity(cx: Cx) -> Reply {
    ok(users::last_seen_identity(&cx.op, user_id(&cx)?).await?)
}

async fn delete_factor(cx: Cx) -> Reply {
    users::delete_factor(&cx.op, user_id(&cx)?, cx.id("authenticator_id", "authenticator")?).await?;
    ok(json!({"id": cx.text("authenticator_id")}))
}

/// What v4 has no path for.
fn our_endpoints() -> Vec<Endpoint> {
    const FACTORS: &str = "/accounts/{account_id}/portunus/users/{user_id}/mfa_authenticators";
    const SESSION: &str = "/accounts/{account_id}/portunus/users/{user_id}/sessions/{nonce}";
    const OUTBOX: &str = "/accounts/{account_id}/portunus/outbox";
    const MAIL: &str = "/accounts/{account_id}/portunus/outbox/{mail_id}";
    const LISTENER: &str = "/accounts/{account_id}/portunus/listener_certificates";
    const SERVER: &str = "/accounts/{account_id}/portunus/mail_server";
    const TRIAL: &str = "/accounts/{account_id}/portunus/mail_server/test";
    const APPROVALS: &str = "/accounts/{account_id}/portunus/approvals";
    const APPROVAL: &str = "/accounts/{account_id}/portunus/approvals/{approval_id}";
    vec![
        endpoint(Method::GET, APPROVALS, Permission(UsersRead), "List requests for approval", list_approvals)
            .lists::<approvals::ApprovalView>(Paging::Numbered)
            .query(&[("user_id", "of this person"), ("status", "waiting, granted, refused or expired")]),
        endpoint(Method::GET, APPROVAL, Permission(UsersRead), "Get a request for approval", get_approval)
            .returns::<approvals::ApprovalView>(),
        endpoint(Method::DELETE, APPROVAL, Permission(UsersWrite), "End a request or what it granted", end_approval),
        endpoint(Method::GET, FACTORS, Permission(UsersRead), "List a person's second factors", list_factors)
            .lists::<users::FactorView>(Paging::Numbered),
        endpoint(Method::DELETE, FACTORS, Permission(UsersWrite), "Take every second factor away", reset_factors),
        endpoint(Method::DELETE, SESSION, Permission(UsersWrite), "End one session of a person", end_session),
        endpoint(Method::GET, OUTBOX, Permission(Admin), "List the outbox", list_outbox)
            .lists::<outbox::MailView>(Paging::Numbered),
        endpoint(Method::GET, MAIL, Permission(Admin), "Get a mail of the outbox with its text", get_mail)
            .returns::<outbox::MailView>(),
        endpoint(
            Method::GET,
            LISTENER,
            Permission(AccessRead),
            "List the listener's certificates",
            list_listener_certificates,
        )
        .lists::<listener_certificates::ListenerCertificateView>(Paging::Numbered),
        endpoint(Method::GET, SERVER, Permission(Admin), "Get the mail server", get_mail_server)
            .returns::<mail_server::MailServerView>(),
        endpoint(Method::PUT, SERVER, Permission(Admin), "Set the mail server", put_mail_server)
            .takes_json::<mail_server::MailServerSettings>()
            .returns::<mail_server::MailServerView>(),
        endpoint(Method::DELETE, SERVER, Permission(Admin), "Remove the mail server", delete_mail_server),
        endpoint(Method::POST, TRIAL, Permission(Admin), "Send a mail to try the mail server", try_mail_server)
            .takes_json::<mail_server::Trial>()
            .returns::<outbox::MailView>(),
    ]
}

async fn list_approvals(cx: Cx) -> Reply {
    let user = cx.query("user_id").map(|id| id.parse().map_err(|_| Failure::not_found("person"))).transpose()?;
    let mut all = approvals::list(&cx.op, user).await?;
    if let Some(status) = cx.query("status") {
        all.retain(|approval| approval.status == status);
    }
    paged(&cx, all)
}

async fn get_approval(cx: Cx) -> Reply {
    ok(approvals::get(&cx.op, cx.id("approval_id", "approval")?).await?)
}

async fn end_approval(cx: Cx) -> Reply {
    approvals::revoke(&cx.op, cx.id("approval_id", "approval")?).await?;
    ok(json!({"id": cx.text("approval_id")}))
}

async fn list_factors(cx: Cx) -> Reply {
    let all = users::factors(&cx.op, user_id(&cx)?).await?;
    paged(&cx, all)
}

async fn reset_factors(cx: Cx) -> Reply {
    users::reset_factors(&cx.op, user_id(&cx)?).await?;
    ok(json!({"id": cx.text("user_id")}))
}

async fn end_session(cx: Cx) -> Reply {
    sessions::end(&cx.op, user_id(&cx)?, cx.text("nonce")).await?;
    ok(json!({"nonce": cx.text("nonce")}))
}

async fn list_outbox(cx: Cx) -> Reply {
    let all = outbox::list(&cx.op).await?;
    paged(&cx, all)
}

async fn list_listener_certificates(cx: Cx) -> Reply {
    let all = listener_certificates::list(&cx.op).await?;
    paged(&cx, all)
}

async fn get_mail_server(cx: Cx) -> Reply {
    let found = mail_server::get(&cx.op).await?;
    ok(found.ok_or_else(|| Failure::not_found("mail server"))?)
}

async fn put_mail_server(cx: Cx, input: Input) -> Reply {
    ok(mail_server::put(&cx.op, input.json()?).await?)
}

async fn delete_mail_server(cx: Cx) -> Reply {
    mail_server::delete(&cx.op).await?;
    ok(json!({}))
}

async fn try_mail_server(cx: Cx, input: Input) -> Reply {
    ok(mail_server::trial(&cx.op, &input.json()?).await?)
}

async fn get_mail(cx: Cx) -> Reply {
    ok(outbox::get(&cx.op, cx.id("mail_id", "mail")?).await?)
}
