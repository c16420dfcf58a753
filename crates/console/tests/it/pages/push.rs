//! The pages of push jobs.

use super::{Browser, text};
use crate::harness::Console;

#[tokio::test]
async fn a_job_is_made_changed_paused_and_deleted() {
    let console = Console::new().await;
    let browser = Browser::set_up(&console).await;
    assert!(browser.page("/settings/push").await.contains("Nothing is sent anywhere."));
    assert!(browser.page("/settings/push/new").await.contains("Destinations to begin with"));
    let fields = [
        ("name", "SIEM <b>"),
        ("dataset", "gateway_http"),
        ("destination_conf", "https://siem.example.com/in?header_Authorization=Bearer%20hunter2hunter2"),
        ("output_type", "csv"),
        ("timestamp_format", "rfc3339"),
        ("interval", "30"),
        ("sample_rate", ""),
        ("field_names", ""),
        ("filter", ""),
        ("enabled", "1"),
    ];
    let refused = browser.send("/settings/push", &fields).await;
    assert_eq!(refused.status, 400);
    let page = text(&refused);
    assert!(page.contains("are needed for csv") && page.contains("hunter2hunter2"), "what was typed is kept");
    let fields =
        fields.map(|(name, value)| if name == "field_names" { (name, "Datetime\r\nHTTPHost") } else { (name, value) });
    assert_eq!(browser.send("/settings/push", &fields).await.status, 303);

    let page = browser.page("/settings/push").await;
    assert!(page.contains("SIEM &lt;b&gt;") && page.contains("starting") && !page.contains("hunter2"), "{page}");
    let id = page
        .split("href=\"/settings/push/")
        .filter_map(|part| part.split('"').next())
        .find(|id| id.parse::<u64>().is_ok());
    let path = format!("/settings/push/{}", id.unwrap());
    let form = browser.page(&path).await;
    assert!(form.contains("Datetime\nHTTPHost") && form.contains("header_Authorization=REDACTED"), "{form}");
    // What the form does not show stays as it is.
    let job = path.replace("/settings/push", "logpush/jobs");
    let options =
        serde_json::json!({"output_options": {"field_names": ["Datetime"], "batch_prefix": "x", "output_type": "csv"}});
    console.put(&job, options).await.result();
    let kept = fields.map(|(name, value)| match name {
        "destination_conf" => (name, "https://siem.example.com/in?header_Authorization=REDACTED"),
        _ => (name, value),
    });
    assert_eq!(browser.send(&path, &kept).await.status, 303);
    let options = console.get(&job).await.result()["output_options"].clone();
    assert_eq!((&options["batch_prefix"], &options["field_names"][1]), (&"x".into(), &"HTTPHost".into()));

    assert_eq!(browser.send(&format!("{path}/pause"), &[("enabled", "0")]).await.status, 303);
    assert!(browser.page("/settings/push").await.contains("Resume"));
    // Nothing is reached from the tests.
    let tested = text(&browser.send(&format!("{path}/test"), &[]).await);
    assert!(tested.contains("The test record did not arrive"), "{tested}");
    assert!(browser.page(&format!("{path}/delete")).await.contains("Delete the push job?"));
    assert_eq!(browser.send(&format!("{path}/delete"), &[]).await.status, 303);
    assert!(browser.page("/settings/push").await.contains("Nothing is sent anywhere."));
}
