//! Records of every version stay readable, and documented fields are those Logpush has.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use logs::{Dataset, Query, Record};
use serde_json::{Map, Value};

use crate::fixture::{account, open, run};

pub(crate) fn golden(dataset: Dataset) -> (String, Map<String, Value>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = folder.join(format!("{dataset}.1.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let fields = serde_json::from_str(&text).unwrap();
    (text, fields)
}

fn json(record: &Record) -> Vec<u8> {
    let mut text = Vec::new();
    record.write_json(&mut text).unwrap();
    text
}

/// The file holds every field with a value, so a renamed, retyped or dropped field shows.
#[test]
fn every_dataset_reads_its_golden_file() {
    for dataset in Dataset::ALL {
        let (text, fields) = golden(dataset);
        let record = Record::from_json(dataset, &text).unwrap_or_else(|error| panic!("{dataset}: {error}"));
        let written: Map<String, Value> = serde_json::from_slice(&json(&record)).unwrap();
        assert_eq!(written, fields, "{dataset}");
        let named: BTreeSet<_> = dataset.fields().iter().map(|field| field.name).collect();
        assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), named, "{dataset}");
    }
}

#[test]
fn empty_and_unknown_fields_read_as_nothing() {
    for dataset in Dataset::ALL {
        let record = Record::from_json(dataset, r#"{"FromTheFuture":{"a":1}}"#).unwrap();
        assert_eq!(json(&record), b"{}", "{dataset}");
    }
}

/// The names the vendor prints for the dataset of portals.
#[test]
fn calls_through_portals_have_every_logpush_field() {
    let names = "ClientCountry ClientIP ColoCode Datetime Error Method PortalAUD PortalID PromptGetName ResourceReadURI \
        ServerAUD ServerID ServerResponseDurationMs ServerURL SessionID Success ToolCallName UserEmail UserID";
    let fields = Dataset::McpPortalLogs.fields().iter();
    let standard: BTreeSet<_> = fields.filter(|field| field.standard).map(|field| field.name).collect();
    assert_eq!(standard, names.split_whitespace().collect());
}

/// The names reference section 8.1 prints for the two gateway datasets.
#[test]
fn gateway_datasets_have_every_logpush_field() {
    let http = "AccountID Action AddedHeaders AppControlInfo ApplicationIDs ApplicationNames ApplicationStatuses \
        BlockedFileHash BlockedFileName BlockedFileReason BlockedFileSize BlockedFileType CategoryIDs CategoryNames \
        Datetime DeletedHeaders DestinationIP DestinationIPContinentCode DestinationIPCountryCode DestinationPort \
        DeviceID DeviceName DownloadMatchedDlpProfileEntries DownloadMatchedDlpProfiles DownloadedFileNames Email \
        FileInfo ForensicCopyStatus HTTPHost HTTPMethod HTTPStatusCode HTTPVersion IsIsolated PolicyID PolicyName \
        PrivateAppAUD ProxyEndpoint Quarantined RedirectTargetURI Referer RegistrationID RequestID SessionID SetHeaders \
        SourceIP SourceIPContinentCode SourceIPCountryCode SourceInternalIP SourcePort TenantID URL \
        UntrustedCertificateAction UploadMatchedDlpProfileEntries UploadMatchedDlpProfiles UploadedFileNames UserAgent \
        UserID VirtualNetworkID VirtualNetworkName Warnings PackageInfo";
    let network = "AccountID Action ApplicationIDs ApplicationNames CategoryIDs CategoryNames Datetime DestinationIP \
        DestinationIPContinentCode DestinationIPCountryCode DestinationPort DetectedProtocol DeviceID DeviceName Email \
        OverrideIP OverridePort PolicyID PolicyName ProxyEndpoint RegistrationID SNI SessionID SourceIP \
        SourceIPContinentCode SourceIPCountryCode SourceInternalIP SourcePort TenantID TransportProtocol UserID \
        VirtualNetworkID VirtualNetworkName";
    for (dataset, names) in [(Dataset::GatewayHttp, http), (Dataset::GatewayNetwork, network)] {
        let standard: BTreeSet<_> =
            dataset.fields().iter().filter(|field| field.standard).map(|field| field.name).collect();
        assert_eq!(standard, names.split_whitespace().collect(), "{dataset}");
    }
}

/// What the journal makes of a record is the record.
#[test]
fn the_journal_gives_every_golden_record_back() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        for dataset in Dataset::ALL {
            let (text, fields) = golden(dataset);
            logs.append(Record::from_json(dataset, &text).unwrap()).await.unwrap();
            logs.flush().await.unwrap();
            let page = logs.query(Query::newest(account(1), dataset)).await.unwrap();
            assert_eq!(page.entries[0].fields, fields, "{dataset}");
        }
    });
}

/// A segment of the first version, whose records are JSON.
#[test]
fn a_journal_of_json_is_still_read() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let (folder, name) = (directory.path().join("gateway_http"), "20261121T03-00000001.log");
        fs::create_dir(&folder).unwrap();
        let golden_journal = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal.1/gateway_http");
        fs::copy(golden_journal.join(name), folder.join(name)).unwrap();
        let logs = open(directory.path()).await;
        let page = logs.query(Query::newest(account(1), Dataset::GatewayHttp)).await.unwrap();
        let (fields, expected) = (&page.entries[0].fields, golden(Dataset::GatewayHttp).1);
        assert_eq!(fields.len(), 81);
        assert!(fields.iter().all(|(name, value)| expected[name] == *value), "{fields:?}");
    });
}
