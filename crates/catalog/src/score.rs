//! How much confidence an application deserves: the two rubrics of reference section 8.6, five points each.
//!
//! Facts go in, each with a value, an address that shows it and a date; points come out. It finds no facts. Invariants:
//! the parts add up to the whole; a fact that is not known adds to what is possible, never silently to what is lost, so a
//! score is a range until everything is known.

use serde::{Deserialize, Serialize};

use crate::format::{Facts, Row};

/// Points are counted in hundredths, so that they add up.
pub type Hundredths = u32;

/// Which of the two rubrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rubric {
    /// Application posture.
    Application,
    /// Posture of generative artificial intelligence.
    GenAi,
}

/// One fact of a rubric: its name, what it asks, and its values with what they are worth, the best first.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub name: &'static str,
    pub text: &'static str,
    pub values: &'static [(&'static str, Hundredths)],
}

/// One row of a rubric.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    pub name: &'static str,
    pub title: &'static str,
    pub questions: &'static [Question],
    /// A fact whose value `yes` loses every point of the row.
    pub forfeits: Option<Question>,
}

impl Component {
    /// Returns the most points of the row.
    #[must_use]
    pub fn points(&self) -> Hundredths {
        self.questions.iter().map(Question::points).sum()
    }
}

impl Question {
    /// Returns the most points of the fact.
    #[must_use]
    pub fn points(&self) -> Hundredths {
        self.values.iter().map(|(_, points)| *points).max().unwrap_or(0)
    }

    fn worth(&self, value: &str) -> Option<Hundredths> {
        self.values.iter().find(|(word, _)| *word == value).map(|(_, points)| *points)
    }
}

const fn yes_no(name: &'static str, text: &'static str, values: &'static [(&'static str, Hundredths)]) -> Question {
    Question { name, text, values }
}

/// Application posture. The rows and their points are published; how a row is split among its facts is ours.
pub const APPLICATION: &[Component] = &[
    Component {
        name: "compliance",
        title: "Security & privacy compliance",
        questions: &[
            yes_no("soc2", "Is there a current SOC 2 report?", &[("yes", 60), ("no", 0)]),
            yes_no("iso27001", "Is it certified to ISO 27001?", &[("yes", 60), ("no", 0)]),
        ],
        forfeits: None,
    },
    Component {
        name: "data_management",
        title: "Data management",
        questions: &[
            Question {
                name: "retention",
                text: "How long is data kept after it was deleted or the contract ended?",
                values: &[("short", 50), ("limited", 25), ("indefinite", 0)],
            },
            Question {
                name: "sharing",
                text: "Whom is data shared with?",
                values: &[("none", 50), ("limited", 25), ("wide", 0)],
            },
        ],
        forfeits: None,
    },
    Component {
        name: "security_controls",
        title: "Security controls",
        questions: &[
            yes_no("mfa", "Can people sign in with a second factor?", &[("yes", 20), ("no", 0)]),
            yes_no("sso", "Is there single sign-on?", &[("yes", 20), ("no", 0)]),
            yes_no("tls13", "Does it speak TLS 1.3?", &[("yes", 20), ("no", 0)]),
            yes_no("rbac", "Are there roles with different rights?", &[("yes", 20), ("no", 0)]),
            yes_no("session_monitoring", "Can administrators see and end sessions?", &[("yes", 20), ("no", 0)]),
        ],
        forfeits: None,
    },
    Component {
        name: "reports",
        title: "Security reports & incident history",
        questions: &[
            yes_no("trust_page", "Is there a public trust page?", &[("yes", 40), ("no", 0)]),
            yes_no("bug_bounty", "Are reports of vulnerabilities rewarded?", &[("yes", 30), ("no", 0)]),
            yes_no("transparency_report", "Are requests and incidents reported in public?", &[("yes", 30), ("no", 0)]),
        ],
        forfeits: Some(Question {
            name: "recent_breach",
            text: "Was there a material breach lately?",
            values: &[("no", 0), ("yes", 0)],
        }),
    },
    Component {
        name: "finances",
        title: "Financial stability",
        questions: &[Question {
            name: "finances",
            text: "How does the vendor stand?",
            values: &[("strong", 80), ("stable", 40), ("distressed", 0)],
        }],
        forfeits: None,
    },
];

/// Posture of generative artificial intelligence.
pub const GEN_AI: &[Component] = &[
    Component {
        name: "ai_compliance",
        title: "Compliance",
        questions: &[yes_no("iso42001", "Is it certified to ISO 42001?", &[("yes", 100), ("no", 0)])],
        forfeits: None,
    },
    Component {
        name: "deployment",
        title: "Deployment security model",
        questions: &[
            yes_no("authentication", "Must people sign in?", &[("yes", 50), ("no", 0)]),
            yes_no("rate_limits", "Is use limited by rate?", &[("yes", 50), ("no", 0)]),
        ],
        forfeits: None,
    },
    Component {
        name: "system_card",
        title: "System card",
        questions: &[Question {
            name: "system_card",
            text: "Is a model or system card published?",
            values: &[("tested", 100), ("published", 50), ("none", 0)],
        }],
        forfeits: None,
    },
    Component {
        name: "training",
        title: "Training data governance",
        questions: &[Question {
            name: "training",
            text: "Is what people write used for training?",
            values: &[("excluded", 200), ("opt_out", 100), ("trains", 0)],
        }],
        forfeits: None,
    },
];

impl Rubric {
    /// Returns the rows.
    #[must_use]
    pub const fn components(self) -> &'static [Component] {
        match self {
            Self::Application => APPLICATION,
            Self::GenAi => GEN_AI,
        }
    }
}

/// Finds a fact of either rubric.
#[must_use]
pub fn question(name: &str) -> Option<&'static Question> {
    let rows = APPLICATION.iter().chain(GEN_AI);
    rows.flat_map(|row| row.questions.iter().chain(&row.forfeits)).find(|question| question.name == name)
}

/// A fact with what shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The name of a [`Question`].
    pub fact: String,
    /// One of its values.
    pub value: String,
    /// Where it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When somebody looked, as a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

impl Evidence {
    /// Says what is wrong: the member and the reason.
    ///
    /// # Errors
    /// The fact or value is unknown, the address is none of the web, or the date is not one.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Some(question) = question(&self.fact) else {
            return Err(("fact", "is not a fact of a rubric".to_owned()));
        };
        if question.worth(&self.value).is_none() {
            let known: Vec<&str> = question.values.iter().map(|(word, _)| *word).collect();
            return Err(("value", format!("must be one of {}", known.join(", "))));
        }
        let web = |url: &str| (url.starts_with("https://") || url.starts_with("http://")) && url.len() <= 2_000;
        if self.url.as_deref().is_some_and(|url| !web(url) || url.chars().any(|c| c.is_control() || c == ' ')) {
            return Err(("url", "must be an https or http address of at most 2,000 bytes".to_owned()));
        }
        if self.date.as_deref().is_some_and(|date| !is_date(date)) {
            return Err(("date", "must be a date as in 2026-01-31".to_owned()));
        }
        Ok(())
    }
}

/// Tells whether a text is a date as in 2026-01-31.
#[must_use]
pub fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return false;
    }
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<u16>().ok());
    let leap = |year: u16| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return false };
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Where a fact comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The catalogue's data.
    Catalogue,
    /// An administrator of the account.
    Account,
}

/// A fact as it went into a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScoredFact {
    pub fact: &'static str,
    /// `None`: not known.
    pub value: Option<String>,
    pub url: Option<String>,
    pub date: Option<String>,
    pub origin: Option<Origin>,
    /// Hundredths of a point that are certain.
    pub at_least: Hundredths,
    /// Hundredths of a point that are possible.
    pub at_most: Hundredths,
}

/// A row of a rubric with its points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScoredComponent {
    pub component: &'static str,
    pub title: &'static str,
    /// The most points of the row.
    pub points: Hundredths,
    pub at_least: Hundredths,
    pub at_most: Hundredths,
    pub facts: Vec<ScoredFact>,
}

/// A score: a range until everything is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Score {
    pub rubric: Rubric,
    pub at_least: Hundredths,
    pub at_most: Hundredths,
    /// Hundredths of a point about which nothing is uncertain.
    pub known: Hundredths,
    pub components: Vec<ScoredComponent>,
}

/// The points of a whole rubric.
pub const WHOLE: Hundredths = 500;
/// How many points must be certain before a single number stands for the score.
pub const ENOUGH: Hundredths = 250;

impl Score {
    /// Returns the one number of the API, in points: what is certain; -1 while less than half is known.
    #[must_use]
    pub fn number(&self) -> f64 {
        if self.known >= ENOUGH { f64::from(self.at_least) / 100.0 } else { -1.0 }
    }

    /// Writes the score for people.
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.known, self.at_least == self.at_most) {
            (0, _) => "unknown".to_owned(),
            (_, true) => points(self.at_least),
            _ => format!("{} to {}", points(self.at_least), points(self.at_most)),
        }
    }
}

/// Writes points with as many digits as they need.
#[must_use]
pub fn points(hundredths: Hundredths) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    text.strip_suffix('0').map_or(text.clone(), str::to_owned)
}

/// Returns the facts that the catalogue's data shows.
#[must_use]
pub fn of_catalogue(facts: &Facts) -> Vec<Evidence> {
    let mut found = Vec::new();
    let mut note = |fact: &str, value: &str, url: Option<&str>, date: Option<&str>| {
        let url = url.filter(|url| !url.is_empty()).map(str::to_owned);
        let date = date.filter(|date| is_date(date)).map(str::to_owned);
        found.push(Evidence { fact: fact.to_owned(), value: value.to_owned(), url, date });
    };
    if !facts.mfa.is_empty() {
        note("mfa", "yes", facts.mfa_docs.as_deref(), None);
    }
    if let Some(sso) = &facts.sso {
        note("sso", "yes", None, Some(&sso.seen));
    }
    if let Some((disclosure, bounty)) = facts.disclosure.as_ref().and_then(|it| it.bounty.map(|bounty| (it, bounty))) {
        note("bug_bounty", if bounty { "yes" } else { "no" }, Some(&disclosure.policy), None);
    }
    found
}

/// Scores an application; what the account found out counts before what the catalogue says.
#[must_use]
pub fn score(rubric: Rubric, row: &Row, account: &[Evidence]) -> Score {
    let catalogue = of_catalogue(&row.facts);
    let find = |name: &str| {
        let by = |all: &[Evidence], origin| all.iter().find(|it| it.fact == name).cloned().map(|it| (it, origin));
        by(account, Origin::Account).or_else(|| by(&catalogue, Origin::Catalogue))
    };
    let mut whole = Score { rubric, at_least: 0, at_most: 0, known: 0, components: Vec::new() };
    for component in rubric.components() {
        let scored = row_score(component, &find);
        whole.at_least += scored.at_least;
        whole.at_most += scored.at_most;
        // What is neither certain nor lost is open.
        whole.known += scored.points - (scored.at_most - scored.at_least);
        whole.components.push(scored);
    }
    whole
}

fn row_score(component: &Component, find: &dyn Fn(&str) -> Option<(Evidence, Origin)>) -> ScoredComponent {
    let fact = |question: &Question| {
        let found =
            find(question.name).and_then(|(it, origin)| question.worth(&it.value).map(|worth| (it, origin, worth)));
        match found {
            Some((it, origin, worth)) => ScoredFact {
                fact: question.name,
                value: Some(it.value),
                url: it.url,
                date: it.date,
                origin: Some(origin),
                at_least: worth,
                at_most: worth,
            },
            None => ScoredFact {
                fact: question.name,
                value: None,
                url: None,
                date: None,
                origin: None,
                at_least: 0,
                at_most: question.points(),
            },
        }
    };
    let mut facts: Vec<ScoredFact> = component.questions.iter().map(fact).collect();
    let mut at_least = facts.iter().map(|fact| fact.at_least).sum();
    let mut at_most = facts.iter().map(|fact| fact.at_most).sum();
    if let Some(question) = &component.forfeits {
        let forfeit = fact(question);
        match forfeit.value.as_deref() {
            Some("no") => {}
            Some(_) => (at_least, at_most) = (0, 0),
            // It may have lost everything.
            None => at_least = 0,
        }
        facts.push(forfeit);
    }
    ScoredComponent {
        component: component.name,
        title: component.title,
        points: component.points(),
        at_least,
        at_most,
        facts,
    }
}

#[cfg(test)]
mod tests {
    use super::{APPLICATION, Evidence, GEN_AI, Rubric, WHOLE, is_date, points, score};
    use crate::format::{Disclosure, Facts, Row, SsoPrice};

    fn evidence(text: &str) -> Vec<Evidence> {
        let pair = |text: &str| text.split_once('=').map(|(fact, value)| (fact.to_owned(), value.to_owned()));
        let one = |(fact, value)| Evidence { fact, value, ..Evidence::default() };
        text.split_whitespace().filter_map(pair).map(one).collect()
    }

    #[test]
    fn the_rows_have_the_published_points_and_add_up_to_five() {
        let points = |rows: &[super::Component]| rows.iter().map(super::Component::points).collect::<Vec<_>>();
        assert_eq!(points(APPLICATION), [120, 100, 100, 100, 80]);
        assert_eq!(points(GEN_AI), [100, 100, 100, 200]);
        for rows in [APPLICATION, GEN_AI] {
            assert_eq!(points(rows).iter().sum::<u32>(), WHOLE);
        }
    }

    #[test]
    fn a_score_is_a_range_until_everything_is_known() {
        let all = "soc2=yes iso27001=yes retention=short sharing=none mfa=yes sso=yes tls13=yes rbac=yes \
                   session_monitoring=yes trust_page=yes bug_bounty=yes transparency_report=yes finances=strong";
        for (known, shown, number) in [
            ("", "unknown", -1.0),
            ("mfa=yes", "0.2 to 5.0", -1.0),
            ("soc2=yes iso27001=no", "0.6 to 4.4", -1.0),
            (&format!("{all} recent_breach=no"), "5.0", 5.0),
            (&format!("{all} recent_breach=yes"), "4.0", 4.0),
            // A breach that nobody looked for may have cost the row.
            (all, "4.0 to 5.0", 4.0),
        ] {
            let score = score(Rubric::Application, &Row::default(), &evidence(known));
            assert_eq!((score.shown().as_str(), score.number()), (shown, number), "{known}");
            let sum = |part: fn(&super::ScoredComponent) -> u32| score.components.iter().map(part).sum::<u32>();
            assert_eq!((sum(|c| c.at_least), sum(|c| c.at_most)), (score.at_least, score.at_most));
        }
        let ai =
            score(Rubric::GenAi, &Row::default(), &evidence("iso42001=yes training=opt_out system_card=published"));
        assert_eq!((ai.shown().as_str(), ai.number()), ("2.5 to 3.5", 2.5));
    }

    #[test]
    fn the_account_knows_better_than_the_catalogue() {
        let facts = Facts {
            mfa: vec!["totp".into()],
            mfa_docs: Some("https://a.test/mfa".into()),
            sso: Some(SsoPrice { seen: "2025-03-28".into(), ..SsoPrice::default() }),
            disclosure: Some(Disclosure {
                policy: "https://a.test/".into(),
                bounty: Some(false),
                ..Disclosure::default()
            }),
        };
        let row = Row { facts, ..Row::default() };
        let shown = score(Rubric::Application, &row, &evidence("mfa=no"));
        let controls = &shown.components[2];
        assert_eq!((controls.at_least, controls.at_most), (20, 80));
        let seen: Vec<String> = controls.facts[..2]
            .iter()
            .map(|it| format!("{} {:?} {:?} {:?}", it.fact, it.value.as_deref(), it.date.as_deref(), it.origin))
            .collect();
        assert_eq!(
            seen,
            ["mfa Some(\"no\") None Some(Account)", "sso Some(\"yes\") Some(\"2025-03-28\") Some(Catalogue)"]
        );
    }

    #[test]
    fn evidence_that_says_nothing_is_refused() {
        for (fact, value, url, date, member) in [
            ("mfa", "yes", Some("https://a.test/"), Some("2026-02-28"), None),
            ("mfa", "maybe", None, None, Some("value")),
            ("colour", "yes", None, None, Some("fact")),
            ("mfa", "yes", Some("javascript:alert(1)"), None, Some("url")),
            ("mfa", "yes", None, Some("2026-02-29"), Some("date")),
        ] {
            let it = Evidence {
                fact: fact.into(),
                value: value.into(),
                url: url.map(Into::into),
                date: date.map(Into::into),
            };
            assert_eq!(it.check().err().map(|(member, _)| member), member, "{fact}={value}");
        }
        assert!(is_date("2024-02-29") && !is_date("2026-13-01") && !is_date("26-1-1"));
        assert_eq!([points(0), points(5), points(20), points(435)], ["0.0", "0.05", "0.2", "4.35"]);
    }
}
