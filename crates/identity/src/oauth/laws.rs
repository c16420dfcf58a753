//! Laws of a grant under any sequence of requests, and the replay of the form parser's fuzz corpus.

use std::path::Path;

use proptest::prelude::*;

use super::fixture::{NOW, approved, code_request, exchange, public, refresh_of, refresh_request};
use super::form::{Form, MAX_PARAMETERS, MAX_VALUE};
use super::grant::{EndReason, Grant, IDEMPOTENCY_WINDOW, Standing};

#[derive(Debug, Clone)]
enum Step {
    Redeem {
        right: bool,
    },
    /// Presents one of the refresh tokens given so far, counted from the newest.
    Refresh {
        back: usize,
        standing: Standing,
    },
    Wait(i64),
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let standing = prop_oneof![
        8 => Just(Standing::Allowed), 1 => Just(Standing::Unknown), 1 => Just(Standing::Denied)
    ];
    let step = prop_oneof![
        3 => any::<bool>().prop_map(|right| Step::Redeem { right }),
        8 => (0_usize..5, standing).prop_map(|(back, standing)| Step::Refresh { back, standing }),
        5 => (0_i64..30).prop_map(Step::Wait),
        1 => Just(Step::End),
    ];
    prop::collection::vec(step, 1..30)
}

/// How many of the tokens would still be rotated if each were presented alone.
fn paths(grant: &Grant, tokens: &[String], now: i64) -> usize {
    tokens
        .iter()
        .filter(|token| {
            let mut grant = grant.clone();
            let request = refresh_request(token, &[], None).unwrap();
            let later = now + IDEMPOTENCY_WINDOW;
            exchange(&mut grant, &public(), &request, Standing::Allowed, later, 999_999).is_ok()
        })
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_code_gives_one_path_and_an_ended_grant_gives_nothing(steps in steps()) {
        let (mut grant, code) = approved(&public(), 1);
        let (mut now, mut number, mut redeemed, mut attempted) = (NOW, 100, 0, false);
        let mut tokens: Vec<String> = Vec::new();
        for step in steps {
            number += 1;
            let ended = grant.ended;
            match step {
                Step::Redeem { right } => {
                    let changes: &[_] = if right { &[] } else { &[("code_verifier", Some("x"))] };
                    let request = code_request(&code, changes, None).unwrap();
                    let outcome = exchange(&mut grant, &public(), &request, Standing::Allowed, now, number);
                    prop_assert!(ended.is_none() || outcome.is_err());
                    if attempted {
                        prop_assert!(outcome.is_err());
                        prop_assert!(!grant.is_live(now), "a second presentation ends the family");
                    }
                    attempted = true;
                    if let Ok(reply) = outcome {
                        redeemed += 1;
                        tokens.push(refresh_of(&reply));
                    }
                }
                Step::Refresh { back, standing } => {
                    let Some(token) = tokens.iter().rev().nth(back) else { continue };
                    let request = refresh_request(token, &[], None).unwrap();
                    let outcome = exchange(&mut grant, &public(), &request, standing, now, number);
                    prop_assert!(ended.is_none() || outcome.is_err());
                    match outcome {
                        Ok(reply) => {
                            let token = refresh_of(&reply);
                            if !tokens.contains(&token) {
                                tokens.push(token);
                            }
                        }
                        Err(_) if ended.is_none() && standing == Standing::Allowed => {
                            prop_assert_eq!(grant.ended.map(|(_, reason)| reason), Some(EndReason::RefreshReuse));
                        }
                        Err(_) => {}
                    }
                }
                Step::Wait(seconds) => now += seconds,
                Step::End => grant.end(now, EndReason::Revoked),
            }
            prop_assert!(redeemed <= 1);
            prop_assert!(paths(&grant, &tokens, now) <= 1);
            if grant.ended.is_some() {
                prop_assert!(grant.last_access().is_none());
                prop_assert_eq!(paths(&grant, &tokens, now), 0);
            }
            let stored = serde_json::to_string(&grant).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Grant>(&stored).unwrap(), &grant);
            prop_assert!(tokens.iter().all(|token| !stored.contains(token.as_str())));
        }
    }

    #[test]
    fn a_form_read_and_written_again_is_the_same(text in "[a-c&=%+0-9A-F\\PC]{0,60}") {
        if let Ok(form) = Form::parse(text.as_bytes()) {
            check_form(&form);
        }
    }
}

fn check_form(form: &Form) {
    let mut written = url::form_urlencoded::Serializer::new(String::new());
    form.pairs().for_each(|(name, value)| {
        written.append_pair(name, value);
    });
    assert!(form.pairs().count() <= MAX_PARAMETERS);
    assert!(form.pairs().all(|(name, value)| name.len() <= MAX_VALUE && value.len() <= MAX_VALUE));
    let written = written.finish();
    if written.len() <= super::form::MAX_BYTES {
        assert_eq!(Form::parse(written.as_bytes()).as_ref(), Ok(form), "{written}");
    }
}

#[test]
fn every_seed_of_the_form_corpus_is_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/oauth_form");
    let (mut read, mut refused) = (0, 0);
    for entry in std::fs::read_dir(corpus).unwrap() {
        match Form::parse(&std::fs::read(entry.unwrap().path()).unwrap()) {
            Ok(form) => {
                read += 1;
                check_form(&form);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read >= 8 && refused >= 8, "{read} read, {refused} refused");
}
