//! Every chart on one page, as the console shows them: small enough, without script or inline style, and looked at in a
//! browser where there is one (`cargo xtask test` installs it).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};
use portunus_chart::{
    Bar, Bars, Clock, Fold, Form, HeatMap, Leaf, STYLE, Series, Step, TimeSeries, Tone, Treemap, Unit, WorldMap, share,
    week,
};

/// What charts of one page may take, in bytes.
const LARGEST: usize = 60_000;
/// The custom properties of the console that charts take.
const CONSOLE: &str = ":root{color-scheme:light dark;--page:light-dark(#f7f7f5,#131517);--surface:light-dark(#fff,#1a1d20);\
    --raised:light-dark(#f1f1ee,#22262a);--line:light-dark(#e0e0db,#30353a);--text:light-dark(#1b1d1f,#e7e9ea);\
    --muted:light-dark(#5c6166,#9ba3aa);--accent:light-dark(#0f6b62,#5bc0b3)}\
    [data-theme=light]{color-scheme:light}[data-theme=dark]{color-scheme:dark}*{box-sizing:border-box}\
    body{margin:0;padding:1rem;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}\
    a{color:var(--accent)}";

/// Numbers that rise and fall with days and weeks.
fn wave(step: usize, height: f64) -> u64 {
    let day = (step as f64 / 24.0 * std::f64::consts::TAU).sin().max(-0.6) + 0.7;
    let week = if (step / 24) % 7 > 4 { 0.15 } else { 1.0 };
    let uneven = 0.8 + 0.4 * ((step * 7_919) % 97) as f64 / 97.0;
    (day * week * uneven * height) as u64
}

fn series(name: &str, tone: Tone, steps: usize, height: f64) -> Series {
    Series { name: name.to_owned(), tone, values: (0..steps).map(|step| Some(wave(step, height))).collect() }
}

fn over_time<'a>(id: &'a str, title: &'a str, step: Step, form: Form, series: Vec<Series>) -> TimeSeries<'a> {
    let clock = Clock { start: "2026-10-28T00:00:00Z".parse().unwrap(), step, zone: TimeZone::UTC };
    TimeSeries { id, title, clock, unit: Unit::Count, fold: Fold::Sum, form, series, before: None }
}

/// A page of a report, with as much on it as one has.
fn report() -> Vec<Markup> {
    let growth = TimeSeries {
        before: Some((0..720).map(|step| Some(wave(step + 3, 60.0))).collect()),
        ..over_time(
            "p",
            "People at AI applications",
            Step::Hour,
            Form::Lines,
            vec![series("people", Tone::One, 720, 80.0)],
        )
    };
    let volume = over_time(
        "v",
        "Requests by status",
        Step::Hour,
        Form::Areas,
        vec![
            series("approved", Tone::Four, 720, 900.0),
            series("in review", Tone::Three, 720, 160.0),
            series("unreviewed", Tone::One, 720, 320.0),
            series("unapproved", Tone::Two, 720, 120.0),
        ],
    );
    let names =
        ["ChatGPT", "Claude", "Microsoft Copilot", "Google Gemini", "Perplexity", "Cursor", "DeepSeek", "Midjourney"];
    let bars = names.iter().enumerate().map(|(place, name)| {
        let size = 4_200 / (place as u64 + 1);
        let link = Some(format!("/applications/{place}"));
        Bar {
            name: (*name).to_owned(),
            link,
            values: vec![size, size / 9],
            before: Some(size * (6 + place as u64) / 9),
        }
    });
    let parts = vec![("allowed", Tone::Four), ("blocked", Tone::Two)];
    let ranking = Bars { title: "Most used", unit: Unit::Count, parts, bars: bars.collect() };
    let (rows, columns) = week();
    let values = (0..7).map(|day| (0..24).map(|hour| wave(day * 24 + hour, 400.0)).collect()).collect();
    let heat = HeatMap { id: "w", title: "When people work", unit: Unit::Count, rows, columns, values };
    let countries = [
        ("US", 19_559),
        ("DE", 9_966),
        ("GB", 6_468),
        ("IN", 6_119),
        ("PT", 3_927),
        ("BR", 2_855),
        ("SG", 2_347),
        ("JP", 2_173),
        ("AU", 1_481),
        ("CA", 1_182),
        ("KE", 904),
        ("ZA", 38),
        ("FR", 160),
        ("SE", 7),
    ];
    let values = countries.iter().map(|(code, value)| ((*code).to_owned(), *value)).collect();
    let world = WorldMap { title: "Where people are", unit: Unit::Count, values };
    vec![growth.draw(), volume.draw(), ranking.draw(), heat.draw(), world.draw(), treemap().draw()]
}

fn treemap() -> Treemap<'static> {
    let leaves = [
        "Microsoft 365",
        "Slack",
        "GitHub",
        "Salesforce",
        "Google Drive",
        "Box",
        "Zoom",
        "ChatGPT",
        "Figma",
        "Notion",
        "Dropbox",
        "WeTransfer",
        "MEGA",
        "Discord",
        "Claude",
        "YouTube",
        "Spotify",
        "Jira",
    ];
    let leaves = leaves.iter().enumerate().map(|(place, name)| Leaf {
        name: (*name).to_owned(),
        link: (place % 2 == 0).then(|| "/a".to_owned()),
        value: 9_000_000_000 / (place as u64 + 1).pow(2) + 40_000_000,
        group: [0, 0, 0, 0, 1, 0, 0, 2, 0, 3][place % 10],
    });
    let groups = vec![
        ("approved", Tone::Four),
        ("in review", Tone::Three),
        ("unreviewed", Tone::One),
        ("unapproved", Tone::Two),
    ];
    Treemap { title: "Uploaded by application", unit: Unit::Bytes, groups, leaves: leaves.collect() }
}

/// What is seldom: the last hour, gaps, one value, nothing.
fn seldom() -> Vec<Markup> {
    let micros = |name: &str, tone, height: f64| Series {
        name: name.to_owned(),
        tone,
        values: (0..60)
            .map(|minute| (minute % 17 > 2 && minute != 40 || minute == 38).then(|| wave(minute, height)))
            .collect(),
    };
    let times = TimeSeries {
        unit: Unit::Micros,
        fold: Fold::Largest,
        ..over_time(
            "times",
            "Time to decide",
            Step::Minute,
            Form::Lines,
            vec![micros("p50", Tone::One, 40_000.0), micros("p99", Tone::Two, 200_000.0)],
        )
    };
    let columns = over_time(
        "columns",
        "Requests",
        Step::Minute,
        Form::Columns,
        vec![
            series("allowed", Tone::Four, 60, 40.0),
            series("Worker", Tone::One, 60, 9.0),
            series("blocked", Tone::Two, 60, 4.0),
        ],
    );
    let tones = Tone::ALL
        .iter()
        .enumerate()
        .map(|(place, tone)| series(&format!("series {}", place + 1), *tone, 30, 60.0 - place as f64 * 8.0));
    let many = over_time("many", "Six at once", Step::Day, Form::Lines, tones.clone().collect());
    let stacked = over_time("stacked", "Six on each other", Step::Day, Form::Areas, tones.collect());
    let single = over_time("single", "One value", Step::Day, Form::Lines, vec![series("requests", Tone::One, 1, 60.0)]);
    let single_area =
        over_time("area", "One day on itself", Step::Day, Form::Areas, vec![series("requests", Tone::One, 1, 60.0)]);
    let empty = over_time(
        "empty",
        "Nothing yet",
        Step::Day,
        Form::Columns,
        vec![Series { name: "requests".to_owned(), tone: Tone::One, values: vec![None; 30] }],
    );
    vec![
        times.draw(),
        columns.draw(),
        many.draw(),
        stacked.draw(),
        single.draw(),
        single_area.draw(),
        empty.draw(),
        html! { p { "A share " (share(30, 100)) } },
    ]
}

fn page(theme: &str, charts: &[Markup]) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" data-theme=(theme) {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width"; title { "Charts" } style { (maud::PreEscaped(CONSOLE)) (maud::PreEscaped(STYLE)) } }
            body { div.charts { @for chart in charts { (chart) } } }
        }
    };
    markup.into_string()
}

#[test]
fn a_page_of_charts_is_small_and_needs_neither_script_nor_inline_style() {
    for charts in [report(), seldom()] {
        let text: String = charts.into_iter().map(Markup::into_string).collect();
        assert!(text.len() < LARGEST, "{} bytes", text.len());
        for forbidden in [" style=", "<script", "onclick", "javascript:", "http"] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
    }
}

#[test]
fn every_chart_has_a_name_and_what_is_drawn_can_be_read() {
    let charts: Vec<String> = report().into_iter().map(Markup::into_string).collect();
    for text in &charts {
        assert!(text.contains("<figcaption>"), "{text}");
        assert!(text.contains("<table>") || text.contains("class=\"ranked\""), "{text}");
        assert!(
            text.contains("tabindex=\"0\"") || text.contains("type=\"radio\"") || text.contains("<a href"),
            "{text}"
        );
    }
    assert!(charts[0].contains("<desc>") && charts[0].contains("people"));
}

/// Renders both pages in both themes at both widths; `CHART_GALLERY` names where the pictures are kept.
#[test]
fn a_browser_draws_every_chart() {
    if Command::new("chromium").arg("--version").output().is_err() {
        panic!("chromium is not installed; `cargo xtask test` installs it");
    }
    let kept = std::env::var_os("CHART_GALLERY").map(PathBuf::from);
    let scratch = std::env::temp_dir().join(format!("portunus-charts-{}", std::process::id()));
    let folder = kept.clone().unwrap_or_else(|| scratch.clone());
    std::fs::create_dir_all(&folder).unwrap();
    for theme in ["light", "dark"] {
        for (name, charts) in [("report", report()), ("seldom", seldom())] {
            let file = folder.join(format!("{name}-{theme}.html"));
            std::fs::write(&file, page(theme, &charts)).unwrap();
            for (width, height) in [(1_600, 1_500), (360, 3_600)] {
                let picture = folder.join(format!("{name}-{theme}-{width}.png"));
                photograph(&file, &picture, (width, height));
                // Blank pictures are small.
                let size = std::fs::metadata(&picture).unwrap().len();
                assert!(size > 30_000, "{}: {size} bytes", picture.display());
            }
        }
    }
    if kept.is_none() {
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}

fn photograph(file: &Path, picture: &Path, (width, height): (u32, u32)) {
    let profile = picture.with_extension("profile");
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    assert!(picture.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    let _ = std::fs::remove_dir_all(&profile);
}
