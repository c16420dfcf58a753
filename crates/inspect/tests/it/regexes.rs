//! The ten expressions of reference section 9 beside this detector, over the tables.

use inspect::mcp::{Reading, read};
use regex::bytes::RegexSet;

/// In the order and spelling of the reference.
pub(crate) const TEN: [&str; 10] = [
    r#""method"\s{0,5}:\s{0,5}"initialize""#,
    r#""method"\s{0,5}:\s{0,5}"tools/call""#,
    r#""method"\s{0,5}:\s{0,5}"tools/list""#,
    r#""method"\s{0,5}:\s{0,5}"resources/read""#,
    r#""method"\s{0,5}:\s{0,5}"resources/list""#,
    r#""method"\s{0,5}:\s{0,5}"prompts/(list|get)""#,
    r#""method"\s{0,5}:\s{0,5}"sampling/createMessage""#,
    r#""protocolVersion"\s{0,5}:\s{0,5}"202[4-9]"#,
    r#""method"\s{0,5}:\s{0,5}"notifications/initialized""#,
    r#""method"\s{0,5}:\s{0,5}"roots/list""#,
];

#[test]
fn the_detector_finds_what_the_ten_miss_and_is_silent_where_they_are_not() {
    let ten = RegexSet::new(TEN).unwrap();
    let found = |body: &str| (ten.is_match(body.as_bytes()), matches!(read(body.as_bytes(), true), Reading::Mcp(_)));
    let (mcp, other) = (crate::messages::mcp(), crate::messages::other());
    let mut missed = Vec::new();
    let mut alarms = Vec::new();
    let (mut by_ten, mut by_us) = ([0, 0], [0, 0]);
    for row in &mcp {
        let (theirs, ours) = found(&row.body);
        by_ten[0] += usize::from(theirs);
        by_us[0] += usize::from(ours);
        if !theirs {
            missed.push(row.what.as_str());
        }
    }
    for row in &other {
        let (theirs, ours) = found(&row.body);
        by_ten[1] += usize::from(theirs);
        by_us[1] += usize::from(ours);
        if theirs {
            alarms.push(row.what.as_str());
        }
    }
    println!("                 MCP found   false alarms");
    println!("ten expressions  {:>2} of {:<4}  {:>2} of {}", by_ten[0], mcp.len(), by_ten[1], other.len());
    println!("this detector    {:>2} of {:<4}  {:>2} of {}", by_us[0], mcp.len(), by_us[1], other.len());
    println!("missed by the ten: {}", missed.join("; "));
    println!("false alarms of the ten: {}", alarms.join("; "));
    assert_eq!((by_us[0], by_us[1]), (mcp.len(), 0));
    assert!(by_ten[0] < mcp.len() && by_ten[1] > 0);
}
