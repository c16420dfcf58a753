//! Connection rules.

use policy::{Cursor, FactsDocument, Hook, Scratch, compile};
use serde_json::json;

use crate::support::{described, now, stored, verdict};

#[test]
fn connections_are_decided_before_anything_is_read() {
    let rules = [
        stored(
            1,
            &json!({"name": "ssh", "action": "block", "filters": ["l4"], "traffic": "net.protocol.detection == \"ssh\""}),
        ),
        stored(
            2,
            &json!({"name": "port", "action": "block", "filters": ["l4"], "traffic": "net.dst.port == \"2222\""}),
        ),
        stored(
            3,
            &json!({"name": "sni", "action": "allow", "filters": ["l4"], "traffic": "net.sni.domains == \"example.com\""}),
        ),
        stored(
            4,
            &json!({"name": "rest", "action": "block", "filters": ["l4"], "traffic": "net.dst.ip in {10.0.0.0/8}"}),
        ),
    ];
    let report = compile(&rules, &(), policy::CompileOptions::default());
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    for (facts, expected) in [
        (json!({"net.protocol.detection": "ssh"}), "block by ssh"),
        (json!({"net.protocol.detection": "tls", "net.dst.port": 2222}), "block by port"),
        (
            json!({"net.protocol.detection": null, "net.dst.port": 443, "net.sni.host": "www.example.com"}),
            "allow by sni",
        ),
        (
            json!({"net.protocol.detection": null, "net.dst.port": 443, "net.sni.host": "other", "net.dst.ip": "10.1.2.3"}),
            "block by rest",
        ),
        (
            json!({"net.protocol.detection": null, "net.dst.port": 443, "net.sni.host": "other", "net.dst.ip": "192.0.2.1"}),
            "allow",
        ),
    ] {
        let document = FactsDocument::parse(Hook::L4, &facts).unwrap();
        let found = verdict(report.l4.decide(&document, now(), Cursor::start(), &mut Scratch::new()));
        assert_eq!(described(&found), expected, "{facts}");
    }
}
