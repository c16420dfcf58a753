//! The datasets and the fields of their records, with the names Logpush uses; fields of ours say so.
//!
//! Shapes only. A field that is empty (no text, zero, false, nothing in it) is left out of what is stored, and one that
//! is missing reads as empty, so old records stay readable when fields are added, which happens at the end of a list: a
//! field's place is its number in the journal. Invariant: a field never changes its name, type or place; a dataset's
//! golden files prove it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::wire::{Fields, Kind, Wire};

/// A family of records with the same fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dataset {
    /// Web requests.
    GatewayHttp,
    /// Connections.
    GatewayNetwork,
    /// Invocations of Workers.
    Worker,
    /// What administrators and API tokens did.
    Audit,
    /// Sign-ins at published applications, and requests that were refused there.
    AccessRequests,
    /// What went through MCP portals.
    McpPortalLogs,
}

impl Dataset {
    /// Every dataset.
    pub const ALL: [Self; 6] =
        [Self::GatewayHttp, Self::GatewayNetwork, Self::Worker, Self::Audit, Self::AccessRequests, Self::McpPortalLogs];

    /// Returns its name, as in the API, on the command line and on disk.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GatewayHttp => "gateway_http",
            Self::GatewayNetwork => "gateway_network",
            Self::Worker => "worker",
            Self::Audit => "audit",
            Self::AccessRequests => "access_requests",
            Self::McpPortalLogs => "mcp_portal_logs",
        }
    }

    /// Returns the fields of its records, in documentation order.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::GatewayHttp => GatewayHttp::FIELDS,
            Self::GatewayNetwork => GatewayNetwork::FIELDS,
            Self::Worker => WorkerInvocation::FIELDS,
            Self::Audit => Audit::FIELDS,
            Self::AccessRequests => AccessRequest::FIELDS,
            Self::McpPortalLogs => McpCall::FIELDS,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no dataset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown dataset {0:?}; there are gateway_http, gateway_network, worker, audit, access_requests and mcp_portal_logs"
)]
pub struct UnknownDataset(String);

impl std::str::FromStr for Dataset {
    type Err = UnknownDataset;

    fn from_str(text: &str) -> Result<Self, UnknownDataset> {
        let found = Self::ALL.into_iter().find(|dataset| dataset.as_str() == text);
        found.ok_or_else(|| UnknownDataset(text.chars().take(40).collect()))
    }
}

/// What is known of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in JSON and SQL.
    pub name: &'static str,
    /// The shape of its value.
    pub kind: Kind,
    /// Whether Logpush has the same field.
    pub standard: bool,
    /// What it holds.
    pub description: &'static str,
}

/// Says which values are left out of what is stored.
trait Empty {
    fn is_empty(&self) -> bool;

    /// Returns how many bytes it holds beside itself.
    fn held(&self) -> usize {
        0
    }

    /// Makes it such a value.
    fn clear(&mut self);
}

macro_rules! empty_when_default {
    ($($type:ty),*) => { $(impl Empty for $type {
        fn is_empty(&self) -> bool {
            *self == <$type>::default()
        }

        fn clear(&mut self) {
            *self = <$type>::default();
        }
    })* };
}

empty_when_default!(i64, u64, u16, bool, Vec<i64>, Option<Value>, Timestamp);

impl Empty for Vec<String> {
    fn held(&self) -> usize {
        self.iter().map(|text| size_of::<String>() + text.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn clear(&mut self) {
        *self = Self::new();
    }
}

impl Empty for String {
    fn held(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }

    fn clear(&mut self) {
        /// What a text that is used again may keep, in bytes.
        const KEPT: usize = 512;
        if self.capacity() > KEPT {
            *self = Self::new();
        } else {
            Self::clear(self);
        }
    }
}

impl Empty for Uuid {
    fn is_empty(&self) -> bool {
        self.is_nil()
    }

    fn clear(&mut self) {
        *self = Self::nil();
    }
}

impl Empty for Vec<Value> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn clear(&mut self) {
        *self = Self::new();
    }
}

macro_rules! dataset {
    ($(#[$doc:meta])* $name:ident { $($wire:literal $standard:ident $field:ident: $type:ty, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $(#[doc = $text]
            #[serde(rename = $wire, default, skip_serializing_if = "Empty::is_empty")]
            pub $field: $type,)*
        }

        impl $name {
            /// The fields, in documentation order.
            pub const FIELDS: &'static [Field] = &[$(Field {
                name: $wire,
                kind: <$type as Wire>::KIND,
                standard: dataset!(@$standard),
                description: $text,
            },)*];

            /// Empties every field. Texts keep some of their room, for the next record.
            pub fn clear(&mut self) {
                $(Empty::clear(&mut self.$field);)*
            }

            /// Returns how many bytes the record takes in memory, JSON values within it aside.
            fn memory(&self) -> usize {
                size_of::<Self>() $(+ Empty::held(&self.$field))*
            }

            /// Appends the fields that hold something, without the id, as the journal keeps them.
            fn encode(&self, out: &mut Vec<u8>) {
                let mut place = 0;
                $(
                    if <$type as Wire>::KIND as u8 != Kind::Id as u8 && !Empty::is_empty(&self.$field) {
                        Wire::put(&self.$field, place, out);
                    }
                    place += 1;
                )*
                let _ = place;
            }

            /// Reads what [`Self::encode`] wrote.
            fn decode(id: Uuid, body: &[u8]) -> Option<Self> {
                let mut record = Self { id, ..Self::default() };
                for field in Fields::new(body) {
                    let (place, raw) = field?;
                    let mut at = 0;
                    $(
                        if place == at {
                            record.$field = Wire::read(raw)?;
                            continue;
                        }
                        at += 1;
                    )*
                    let _ = at;
                }
                Some(record)
            }
        }
    };
    (@logpush) => { true };
    (@ours) => { false };
}

dataset! {
    /// One web request.
    GatewayHttp {
        "RequestID" logpush id: Uuid, "The id of the request and of this record; ordered by time.";
        "Datetime" logpush datetime: Timestamp, "When the request arrived.";
        "AccountID" logpush account_id: String, "The account.";
        "Action" logpush action: String, "What the gateway did.";
        "AddedHeaders" logpush added_headers: Vec<String>, "Names of headers a rule added.";
        "AppControlInfo" logpush app_control_info: Option<Value>, "The application controls that matched.";
        "ApplicationIDs" logpush application_ids: Vec<i64>, "The applications the host belongs to.";
        "ApplicationNames" logpush application_names: Vec<String>, "Their names.";
        "ApplicationStatuses" logpush application_statuses: Vec<String>, "Whether they are approved.";
        "BlockedFileHash" logpush blocked_file_hash: String, "The hash of a blocked file.";
        "BlockedFileName" logpush blocked_file_name: String, "The name of a blocked file.";
        "BlockedFileReason" logpush blocked_file_reason: String, "Why a file was blocked.";
        "BlockedFileSize" logpush blocked_file_size: i64, "The size of a blocked file in bytes.";
        "BlockedFileType" logpush blocked_file_type: String, "The type of a blocked file.";
        "CategoryIDs" logpush category_ids: Vec<i64>, "The content categories of the host.";
        "CategoryNames" logpush category_names: Vec<String>, "Their names.";
        "DeletedHeaders" logpush deleted_headers: Vec<String>, "Names of headers a rule removed.";
        "DestinationIP" logpush destination_ip: String, "The address the request went to.";
        "DestinationIPContinentCode" logpush destination_ip_continent_code: String, "Its continent.";
        "DestinationIPCountryCode" logpush destination_ip_country_code: String, "Its country.";
        "DestinationPort" logpush destination_port: u16, "The port the request went to.";
        "DeviceID" logpush device_id: String, "The device.";
        "DeviceName" logpush device_name: String, "Its name.";
        "DownloadMatchedDlpProfileEntries" logpush download_matched_dlp_profile_entries: Vec<String>,
            "DLP entries found in the response.";
        "DownloadMatchedDlpProfiles" logpush download_matched_dlp_profiles: Vec<String>,
            "DLP profiles found in the response.";
        "DownloadedFileNames" logpush downloaded_file_names: Vec<String>, "Files in the response.";
        "Email" logpush email: String, "The person's address.";
        "FileInfo" logpush file_info: Option<Value>, "What is known of the files.";
        "ForensicCopyStatus" logpush forensic_copy_status: String, "Whether a copy was kept.";
        "HTTPHost" logpush http_host: String, "The host asked for.";
        "HTTPMethod" logpush http_method: String, "The method.";
        "HTTPStatusCode" logpush http_status_code: u16, "The status returned; 0 when nothing was.";
        "HTTPVersion" logpush http_version: String, "The protocol version the client spoke.";
        "IsIsolated" logpush is_isolated: bool, "Whether it happened in an isolated browser.";
        "PackageInfo" logpush package_info: Option<Value>, "The software package asked for.";
        "PolicyID" logpush policy_id: String, "The rule that decided.";
        "PolicyName" logpush policy_name: String, "Its name.";
        "PrivateAppAUD" logpush private_app_aud: String, "The private application.";
        "ProxyEndpoint" logpush proxy_endpoint: String, "The proxy endpoint used.";
        "Quarantined" logpush quarantined: bool, "Whether a file was quarantined.";
        "RedirectTargetURI" logpush redirect_target_uri: String, "Where a redirect led.";
        "Referer" logpush referer: String, "The page the request came from.";
        "RegistrationID" logpush registration_id: String, "The device registration.";
        "SessionID" logpush session_id: String, "The connection; the id of its gateway_network record.";
        "SetHeaders" logpush set_headers: Vec<String>, "Names of headers a rule set.";
        "SourceIP" logpush source_ip: String, "The client's address.";
        "SourceIPContinentCode" logpush source_ip_continent_code: String, "Its continent.";
        "SourceIPCountryCode" logpush source_ip_country_code: String, "Its country.";
        "SourceInternalIP" logpush source_internal_ip: String, "The client's address behind its own gateway.";
        "SourcePort" logpush source_port: u16, "The client's port.";
        "TenantID" logpush tenant_id: String, "The tenant.";
        "URL" logpush url: String, "The whole URL.";
        "UntrustedCertificateAction" logpush untrusted_certificate_action: String,
            "What was done about an untrusted origin certificate.";
        "UploadMatchedDlpProfileEntries" logpush upload_matched_dlp_profile_entries: Vec<String>,
            "DLP entries found in the request.";
        "UploadMatchedDlpProfiles" logpush upload_matched_dlp_profiles: Vec<String>,
            "DLP profiles found in the request.";
        "UploadedFileNames" logpush uploaded_file_names: Vec<String>, "Files in the request.";
        "UserAgent" logpush user_agent: String, "The client's program.";
        "UserID" logpush user_id: String, "The person.";
        "VirtualNetworkID" logpush virtual_network_id: String, "The virtual network.";
        "VirtualNetworkName" logpush virtual_network_name: String, "Its name.";
        "Warnings" logpush warnings: Vec<String>, "What did not go as a rule asked.";
        "Explanation" ours explanation: String, "Why, in one sentence.";
        "RuleTrace" ours rule_trace: Option<Value>, "The rules considered, the facts used and awaited.";
        "ConfigurationVersion" ours configuration_version: i64, "The snapshot that decided.";
        "DecisionMicros" ours decision_micros: u64, "Time in policy, Workers aside, in microseconds.";
        "WorkerMicros" ours worker_micros: u64, "Time waiting for Workers, in microseconds.";
        "OriginMicros" ours origin_micros: u64, "Time to the origin's first byte, in microseconds.";
        "DurationMicros" ours duration_micros: u64, "From arrival to the last byte, in microseconds.";
        "WorkerScript" ours worker_script: String, "The Worker that decided.";
        "WorkerOutcome" ours worker_outcome: String, "How its call ended.";
        "WorkerInvocationID" ours worker_invocation_id: String, "The id of its worker record.";
        "RequestBytes" ours request_bytes: u64, "Bytes of the request body.";
        "ResponseBytes" ours response_bytes: u64, "Bytes of the response body.";
        "ContentType" ours content_type: String, "The response's type.";
        "JA4" ours ja4: String, "The fingerprint of the client's TLS hello.";
        "TLSVersion" ours tls_version: String, "The TLS version the client spoke.";
        "TLSKeyExchange" ours tls_key_exchange: String, "The key exchange with the client.";
        "OriginTLSVersion" ours origin_tls_version: String, "The TLS version the origin spoke.";
        "OriginTLSKeyExchange" ours origin_tls_key_exchange: String, "The key exchange with the origin.";
        "GroupNames" ours group_names: Vec<String>, "The person's groups.";
        "Error" ours error: String, "What failed, when something did.";
        "Generated" ours generated: bool, "Whether it was made up by the traffic generator; real traffic never says so.";
        "IsMCP" ours is_mcp: bool, "Whether it speaks the Model Context Protocol.";
        "MCPMethod" ours mcp_method: String, "The method of its MCP message; those of a batch with commas between.";
        "MCPTool" ours mcp_tool: String, "The tool it calls; those of a batch with commas between.";
        "MCPServerName" ours mcp_server_name: String,
            "The name the MCP server gives itself in its greeting; else that of a known public server at this host.";
        "MCPClientName" ours mcp_client_name: String, "The name the MCP client gives itself.";
        "MCPProtocolVersion" ours mcp_protocol_version: String, "The version of MCP.";
        "MCPEvidence" ours mcp_evidence: Vec<String>, "What speaks for MCP.";
        "MCPPortal" ours mcp_portal: String,
            "`portal` for a portal of this account, `behind_portal` for a server it has behind one.";
        "MCPPayload" ours mcp_payload: Option<Value>,
            "Its MCP messages with each value replaced by its kind, where the rule that decided asks for it.";
        "RequestBody" ours request_body: String, "Whether the request has a body: `some` or `none`.";
        "RequestContentType" ours request_content_type: String, "The type of the request's body.";
    }
}

dataset! {
    /// One connection.
    GatewayNetwork {
        "SessionID" logpush id: Uuid, "The id of the connection and of this record; ordered by time.";
        "Datetime" logpush datetime: Timestamp, "When the connection arrived.";
        "AccountID" logpush account_id: String, "The account.";
        "Action" logpush action: String, "What the gateway did.";
        "ApplicationIDs" logpush application_ids: Vec<i64>, "The applications the host belongs to.";
        "ApplicationNames" logpush application_names: Vec<String>, "Their names.";
        "CategoryIDs" logpush category_ids: Vec<i64>, "The content categories of the host.";
        "CategoryNames" logpush category_names: Vec<String>, "Their names.";
        "DestinationIP" logpush destination_ip: String, "The address the connection went to.";
        "DestinationIPContinentCode" logpush destination_ip_continent_code: String, "Its continent.";
        "DestinationIPCountryCode" logpush destination_ip_country_code: String, "Its country.";
        "DestinationPort" logpush destination_port: u16, "The port the connection went to.";
        "DetectedProtocol" logpush detected_protocol: String, "The protocol seen inside.";
        "DeviceID" logpush device_id: String, "The device.";
        "DeviceName" logpush device_name: String, "Its name.";
        "Email" logpush email: String, "The person's address.";
        "OverrideIP" logpush override_ip: String, "The address a rule put in place.";
        "OverridePort" logpush override_port: u16, "The port a rule put in place.";
        "PolicyID" logpush policy_id: String, "The rule that decided.";
        "PolicyName" logpush policy_name: String, "Its name.";
        "ProxyEndpoint" logpush proxy_endpoint: String, "The proxy endpoint used.";
        "RegistrationID" logpush registration_id: String, "The device registration.";
        "SNI" logpush sni: String, "The name in the TLS hello.";
        "SourceIP" logpush source_ip: String, "The client's address.";
        "SourceIPContinentCode" logpush source_ip_continent_code: String, "Its continent.";
        "SourceIPCountryCode" logpush source_ip_country_code: String, "Its country.";
        "SourceInternalIP" logpush source_internal_ip: String, "The client's address behind its own gateway.";
        "SourcePort" logpush source_port: u16, "The client's port.";
        "TenantID" logpush tenant_id: String, "The tenant.";
        "TransportProtocol" logpush transport_protocol: String, "`tcp`, `udp` or `quic`.";
        "UserID" logpush user_id: String, "The person.";
        "VirtualNetworkID" logpush virtual_network_id: String, "The virtual network.";
        "VirtualNetworkName" logpush virtual_network_name: String, "Its name.";
        "DestinationHost" ours destination_host: String, "The host the client asked for.";
        "Explanation" ours explanation: String, "Why, in one sentence.";
        "RuleTrace" ours rule_trace: Option<Value>, "The rules considered, the facts used and awaited.";
        "ConfigurationVersion" ours configuration_version: i64, "The snapshot that decided.";
        "DecisionMicros" ours decision_micros: u64, "Time in policy in microseconds.";
        "DurationMicros" ours duration_micros: u64, "How long the connection lived, in microseconds.";
        "BytesSent" ours bytes_sent: u64, "Bytes from the client.";
        "BytesReceived" ours bytes_received: u64, "Bytes to the client.";
        "Inspected" ours inspected: bool, "Whether TLS was opened.";
        "JA4" ours ja4: String, "The fingerprint of the client's TLS hello.";
        "ConnectionCloseReason" ours connection_close_reason: String, "Who ended it, in the words of Logpush.";
        "Error" ours error: String, "What failed, when something did.";
        "Generated" ours generated: bool, "Whether it was made up by the traffic generator; real traffic never says so.";
        "GroupNames" ours group_names: Vec<String>, "The person's groups.";
    }
}

dataset! {
    /// One invocation of a Worker. The standard names are those of `workers_trace_events`.
    WorkerInvocation {
        "RecordID" ours id: Uuid, "The id of this record; ordered by time.";
        "Datetime" ours datetime: Timestamp, "When the invocation began.";
        "AccountID" ours account_id: String, "The account.";
        "CPUTimeMs" logpush cpu_time_ms: u64, "Processor time in milliseconds.";
        "Entrypoint" logpush entrypoint: String, "The exported handler.";
        "Event" logpush event: Option<Value>, "What caused it.";
        "EventTimestampMs" logpush event_timestamp_ms: i64, "When the invocation began, in Unix milliseconds.";
        "EventType" logpush event_type: String, "`fetch`, `scheduled` or `queue`.";
        "Exceptions" logpush exceptions: Vec<Value>, "What was thrown.";
        "Logs" logpush logs: Vec<Value>, "What the script wrote to its console.";
        "Outcome" logpush outcome: String, "`ok`, `exception`, `exceededCpu`, `exceededMemory`, `canceled` and their like.";
        "ScriptName" logpush script_name: String, "The Worker.";
        "ScriptTags" logpush script_tags: Vec<String>, "Its owner's words.";
        "ScriptVersion" logpush script_version: Option<Value>, "The version that ran.";
        "WallTimeMs" logpush wall_time_ms: u64, "Elapsed time in milliseconds.";
        "RequestID" ours request_id: String, "The web request it was asked about.";
        "CPUTimeMicros" ours cpu_time_micros: u64, "Processor time in microseconds.";
        "WallTimeMicros" ours wall_time_micros: u64, "Elapsed time in microseconds.";
        "MemoryBytes" ours memory_bytes: u64, "The most memory it held.";
        "Subrequests" ours subrequests: u64, "How many fetches it made.";
        "ColdStart" ours cold_start: bool, "Whether its process had to be started.";
        "Decision" ours decision: String, "`response`, `request`, `none`, or the rule's `on_error`.";
    }
}

dataset! {
    /// One act of an administrator, an API token or the system. The standard names are those of `audit_logs`.
    Audit {
        "ID" logpush id: Uuid, "The id of this record; ordered by time.";
        "When" logpush datetime: Timestamp, "When it happened.";
        "AccountID" ours account_id: String, "The account.";
        "ActionResult" logpush action_result: bool, "Whether it succeeded.";
        "ActionType" logpush action_type: String, "`create`, `update`, `delete`, `login` and their like.";
        "ActorEmail" logpush actor_email: String, "The person who acted.";
        "ActorID" logpush actor_id: String, "The administrator or token that acted.";
        "ActorIP" logpush actor_ip: String, "Where from.";
        "ActorType" logpush actor_type: String, "`user`, `token` or `system`.";
        "Interface" logpush interface: String, "`API`, `UI`, `CLI` or `WORKER`.";
        "Metadata" logpush metadata: Option<Value>, "Anything else.";
        "NewValue" logpush new_value: Option<Value>, "What is there after it; secrets left out.";
        "OldValue" logpush old_value: Option<Value>, "What was there before it; secrets left out.";
        "OwnerID" logpush owner_id: String, "Whose the resource is.";
        "ResourceID" logpush resource_id: String, "What was acted on.";
        "ResourceType" logpush resource_type: String, "Its kind.";
        "Error" ours error: String, "Why it failed.";
    }
}

dataset! {
    /// One sign-in at a published application, or one request that was refused there. The standard names are those of
    /// `access_requests`.
    AccessRequest {
        "RayID" logpush id: Uuid, "The id of this record; ordered by time.";
        "CreatedAt" logpush datetime: Timestamp, "When it happened.";
        "AccountID" ours account_id: String, "The account.";
        "Action" logpush action: String, "`login`, `logout`, `mfa`, `oauth`, `approval`, or `request` for a request that was refused.";
        "Allowed" logpush allowed: bool, "Whether the person was let in.";
        "AppDomain" logpush app_domain: String, "The host that was asked for.";
        "AppUUID" logpush app_uuid: String, "The application.";
        "Connection" logpush connection: String, "The type of the identity provider, `service_token` or `certificate`.";
        "Country" logpush country: String, "The country of the address, if one is known.";
        "Email" logpush email: String, "The person.";
        "IPAddress" logpush ip_address: String, "Where the request came from.";
        "PurposeJustificationPrompt" logpush prompt: String, "The question the policy asks.";
        "PurposeJustificationResponse" logpush justification: String, "What the person answered.";
        "TemporaryAccessApprovers" logpush approvers: Vec<String>, "Who approved.";
        "TemporaryAccessDuration" logpush approved_seconds: u64, "For how many seconds.";
        "UserUID" logpush user_uid: String, "The person's id.";
        "ClientCertificate" ours certificate: Option<Value>, "The client certificate that was shown: what it says, or why it does not count.";
        "AppName" ours app_name: String, "The application's name.";
        "PolicyID" ours policy_id: String, "The policy that decided.";
        "PolicyName" ours policy_name: String, "Its name.";
        "Reason" ours reason: String, "Why, in words for a help desk.";
        "Trace" ours trace: Option<Value>, "Every policy that was looked at, with what it made of the caller.";
        "Method" ours method: String, "The method of a request that was refused.";
        "Path" ours path: String, "Its path, without the query.";
        "Generated" ours generated: bool, "Whether it was made up by the traffic generator; real traffic never says so.";
    }
}

dataset! {
    /// One call through an MCP portal, by a client or by a script of Code Mode. The standard names are those of
    /// `mcp_portal_logs`.
    McpCall {
        "CallID" ours id: Uuid, "The id of the call and of this record; ordered by time.";
        "Datetime" logpush datetime: Timestamp, "When the call arrived.";
        "AccountID" ours account_id: String, "The account.";
        "ClientCountry" logpush client_country: String, "The country of the address, if one is known.";
        "ClientIP" logpush client_ip: String, "Where the call came from.";
        "ColoCode" logpush colo_code: String, "Empty: there are no sites to tell apart.";
        "Error" logpush error: String, "Why it failed.";
        "Method" logpush method: String, "The method of the protocol.";
        "PortalAUD" logpush portal_aud: String, "The audience tag of the portal's application.";
        "PortalID" logpush portal_id: String, "The portal.";
        "PromptGetName" logpush prompt_get_name: String, "The prompt, by its server's name for it.";
        "ResourceReadURI" logpush resource_read_uri: String, "The resource, by its server's URI for it.";
        "ServerAUD" logpush server_aud: String, "The audience tag of the server's application.";
        "ServerID" logpush server_id: String, "The server; empty for what the portal answers itself.";
        "ServerResponseDurationMs" logpush server_response_duration_ms: u64, "How long the server took, in milliseconds.";
        "ServerURL" logpush server_url: String, "The server's address.";
        "SessionID" logpush session_id: String, "The session between client and portal.";
        "Success" logpush success: bool, "Whether the call succeeded.";
        "ToolCallName" logpush tool_call_name: String, "The tool, by its server's name for it.";
        "UserEmail" logpush user_email: String, "The person.";
        "UserID" logpush user_id: String, "The person's id.";
        "ParentID" ours parent_id: String, "The call whose script made this one.";
        "Action" ours action: String, "`allow`, `block`, `require_approval`, `require_mfa`, `redact` or `worker`.";
        "RuleName" ours rule_name: String, "The rule that decided.";
        "Arguments" ours arguments: Option<Value>, "The arguments, masked, where the portal records them.";
        "Result" ours result: Option<Value>, "The result, masked, where the portal records it.";
        "TokensIn" ours tokens_in: u64, "Tokens of what the client sent.";
        "TokensOut" ours tokens_out: u64, "Tokens of what it was given.";
        "ClientName" ours client_name: String, "The name the client gives itself.";
        "ClientVersion" ours client_version: String, "The version it gives itself.";
        "ProtocolVersion" ours protocol_version: String, "The version of the protocol the client speaks.";
        "DurationMicros" ours duration_micros: u64, "How long the whole call took, in microseconds.";
        "DecisionMicros" ours decision_micros: u64, "How long deciding took, in microseconds.";
        "Generated" ours generated: bool, "Whether it was made up by the traffic generator; real traffic never says so.";
    }
}

/// One record of some dataset.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A web request.
    GatewayHttp(Box<GatewayHttp>),
    /// A connection.
    GatewayNetwork(Box<GatewayNetwork>),
    /// An invocation of a Worker.
    Worker(Box<WorkerInvocation>),
    /// An act on the configuration.
    Audit(Box<Audit>),
    /// A sign-in at an application.
    AccessRequests(Box<AccessRequest>),
    /// A call through an MCP portal.
    McpPortalLogs(Box<McpCall>),
}

/// A record that is appended where it lies.
pub enum RecordMut<'a> {
    /// A web request.
    GatewayHttp(&'a mut GatewayHttp),
    /// A connection.
    GatewayNetwork(&'a mut GatewayNetwork),
    /// An invocation of a Worker.
    Worker(&'a mut WorkerInvocation),
    /// An act on the configuration.
    Audit(&'a mut Audit),
    /// A sign-in at an application.
    AccessRequests(&'a mut AccessRequest),
    /// A call through an MCP portal.
    McpPortalLogs(&'a mut McpCall),
}

/// What can be appended. It is not needed any more then, and may have been shortened.
pub trait AsRecord {
    /// Lends the record.
    fn as_record(&mut self) -> RecordMut<'_>;
}

impl<T: AsRecord> AsRecord for &mut T {
    fn as_record(&mut self) -> RecordMut<'_> {
        (**self).as_record()
    }
}

macro_rules! record {
    ($($variant:ident($type:ident)),*) => {
        $(impl From<$type> for Record {
            fn from(record: $type) -> Self {
                Self::$variant(Box::new(record))
            }
        }

        impl AsRecord for $type {
            fn as_record(&mut self) -> RecordMut<'_> {
                RecordMut::$variant(self)
            }
        })*

        impl AsRecord for Record {
            fn as_record(&mut self) -> RecordMut<'_> {
                match self { $(Self::$variant(record) => RecordMut::$variant(record),)* }
            }
        }

        impl Record {
            /// Appends its JSON; empty fields are absent.
            ///
            /// # Errors
            ///
            /// Never for records of these types.
            pub fn write_json(&self, into: &mut Vec<u8>) -> serde_json::Result<()> {
                match self { $(Self::$variant(record) => serde_json::to_writer(into, record),)* }
            }
        }

        impl RecordMut<'_> {
            pub(crate) const fn dataset(&self) -> Dataset {
                match self { $(Self::$variant(_) => Dataset::$variant,)* }
            }

            pub(crate) fn datetime(&self) -> Timestamp {
                match self { $(Self::$variant(record) => record.datetime,)* }
            }

            pub(crate) fn account(&self) -> &str {
                match self { $(Self::$variant(record) => &record.account_id,)* }
            }

            /// Returns its id, after giving it one if it had none.
            pub(crate) fn ensure_id(&mut self) -> Uuid {
                match self {
                    $(Self::$variant(record) => {
                        if record.id.is_nil() {
                            record.id = crate::record_id();
                        }
                        record.id
                    })*
                }
            }

            /// Appends its JSON; empty fields are absent. Never fails for records of these types.
            pub(crate) fn write_json(&self, into: &mut Vec<u8>) -> serde_json::Result<()> {
                match self { $(Self::$variant(record) => serde_json::to_writer(into, &**record),)* }
            }

            /// Returns how many bytes it takes in memory, JSON values within it aside.
            #[must_use]
            pub fn memory(&self) -> usize {
                match self { $(Self::$variant(record) => record.memory(),)* }
            }

            /// Appends it as the journal keeps it.
            pub(crate) fn encode(&self, into: &mut Vec<u8>) {
                match self { $(Self::$variant(record) => record.encode(into),)* }
            }
        }

        impl Record {
            /// Reads a record as the journal keeps it.
            pub(crate) fn decode(dataset: Dataset, id: Uuid, body: &[u8]) -> Option<Self> {
                Some(match dataset { $(Dataset::$variant => Self::$variant(Box::new($type::decode(id, body)?)),)* })
            }
        }
    };
}

record!(
    GatewayHttp(GatewayHttp),
    GatewayNetwork(GatewayNetwork),
    Worker(WorkerInvocation),
    Audit(Audit),
    AccessRequests(AccessRequest),
    McpPortalLogs(McpCall)
);

/// Returns the fields of a record of the journal as its JSON has them.
pub(crate) fn decode_fields(dataset: Dataset, id: Uuid, body: &[u8]) -> Option<Map<String, Value>> {
    let known = dataset.fields();
    let mut fields = Map::new();
    let name = known.iter().find(|field| field.kind == Kind::Id)?.name;
    fields.insert(name.to_owned(), Value::String(id.to_string()));
    for field in Fields::new(body) {
        let (place, raw) = field?;
        if let Some(field) = known.get(place) {
            fields.insert(field.name.to_owned(), raw.json(field.kind)?);
        }
    }
    Some(fields)
}

impl Record {
    /// Reads the JSON of a record.
    ///
    /// # Errors
    ///
    /// When the text is not a record of the dataset.
    pub fn from_json(dataset: Dataset, json: &str) -> serde_json::Result<Self> {
        Ok(match dataset {
            Dataset::GatewayHttp => Self::GatewayHttp(serde_json::from_str(json)?),
            Dataset::GatewayNetwork => Self::GatewayNetwork(serde_json::from_str(json)?),
            Dataset::Worker => Self::Worker(serde_json::from_str(json)?),
            Dataset::Audit => Self::Audit(serde_json::from_str(json)?),
            Dataset::AccessRequests => Self::AccessRequests(serde_json::from_str(json)?),
            Dataset::McpPortalLogs => Self::McpPortalLogs(serde_json::from_str(json)?),
        })
    }
}

impl RecordMut<'_> {
    /// Leaves out what makes records large, and says so: for records beyond the bound.
    pub(crate) fn shorten(&mut self) {
        const NOTE: &str = "record shortened";
        match self {
            Self::GatewayHttp(record) => {
                record.rule_trace = None;
                record.app_control_info = None;
                record.file_info = None;
                for text in [&mut record.url, &mut record.referer, &mut record.user_agent, &mut record.explanation] {
                    cut(text);
                }
                record.warnings = vec![NOTE.to_owned()];
            }
            Self::GatewayNetwork(record) => {
                record.rule_trace = None;
                cut(&mut record.explanation);
                cut(&mut record.error);
            }
            Self::Worker(record) => {
                record.logs = vec![Value::from(NOTE)];
                record.exceptions.truncate(1);
                record.event = None;
            }
            Self::Audit(record) => {
                record.old_value = None;
                record.new_value = None;
                record.metadata = Some(Value::from(NOTE));
            }
            Self::AccessRequests(record) => {
                record.trace = Some(Value::from(NOTE));
                for text in [&mut record.justification, &mut record.reason, &mut record.path] {
                    cut(text);
                }
            }
            Self::McpPortalLogs(record) => {
                record.arguments = record.arguments.take().map(|_| Value::from(NOTE));
                record.result = record.result.take().map(|_| Value::from(NOTE));
                for text in [&mut record.resource_read_uri, &mut record.error, &mut record.tool_call_name] {
                    cut(text);
                }
            }
        }
    }
}

fn cut(text: &mut String) {
    const LONGEST: usize = 4_096;
    text.truncate(text.floor_char_boundary(LONGEST));
}
