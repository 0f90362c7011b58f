//! Whole passes against a Graph that fails, one kind of failure each: afterwards all mail is there, each message once
//! with all of its attachments, or what is not there is told, with the reason.

pub mod ward;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use mailwave::http::Delivery;
use mailwave::limit::{LimitSettings, TargetLimits};
use mailwave::mock::graph::{Fault, FaultRule, FaultScript, GraphOptions, Latency, Limits, Sizes, When};
use mailwave::model::Kind;

use ward::{MAILBOXES, Trick, Ward, answer, creates, error};

/// True for the first `n` calls.
fn first(n: usize) -> impl Fn() -> bool + Send + Sync + 'static {
    let left = AtomicUsize::new(n);
    move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// The service refuses some creates with a wait said in this way.
fn refused_with(headers: &'static [(&'static str, &'static str)]) -> Ward {
    let now = first(3);
    Ward::new().tricked(move |request| {
        (creates(request, "ann") && now())
            .then(|| Trick::Instead(error(429, headers, "ApplicationThrottled")))
    })
}

#[test]
fn a_429_is_waited_out_as_long_as_it_says() {
    for (headers, least) in [
        (&[("Retry-After", "20")][..], 20),
        (&[("Retry-After", "Sun, 22 Nov 2026 00:00:40 GMT")], 35),
        (&[("Retry-After", "0")], 0),
        (&[("Retry-After", "soon")], 1),
        (&[], 1),
    ] {
        let mut ward = refused_with(headers);
        let took = ward.good();
        assert!(took >= Duration::from_secs(least), "{headers:?}: {took:?}");
        assert!(took < Duration::from_secs(600), "{headers:?}: {took:?}");
        ward.calm();
        ward.whole();
    }
}

#[test]
fn a_wait_of_a_day_parks_one_mailbox_which_asks_again_hour_by_hour_while_the_others_go_on() {
    let mut ward = refused_with(&[("Retry-After", "86400")]);
    let (results, took) = ward.run();
    assert!(took >= Duration::from_secs(3_500) && took < Duration::from_secs(5 * 3600), "{took:?}");
    assert!(results["ann"].error.is_none(), "{:?}", results["ann"].error);
    for other in ["ben", "cleo"] {
        let summary = &results[other].summary;
        assert!(summary.ended - summary.began < 120_000, "{other}: {} ms", summary.ended - summary.began);
    }
    ward.calm();
    ward.whole();
}

#[test]
fn a_service_that_is_unavailable_three_times_is_waited_for() {
    for headers in [&[("Retry-After", "5")][..], &[]] {
        let now = first(3);
        let mut ward = Ward::new().tricked(move |request| {
            (creates(request, "") && now()).then(|| Trick::Instead(error(503, headers, "ServiceUnavailable")))
        });
        ward.good();
        ward.calm();
        ward.whole();
    }
}

#[test]
fn a_service_that_stays_unavailable_ends_the_run_after_few_tries_and_the_next_run_goes_on() {
    let fault = Fault::Status { status: 503, retry_after: None };
    let mut ward = Ward::new().fault("POST", "/messages", When::Always, fault);
    let (results, took) = ward.run();
    assert!(results.values().all(|r| r.error.as_ref().is_some_and(|e| e.may_pass())), "{results:?}");
    let tries = ward.count(&Method::POST, "/messages");
    println!("{took:?}, {tries} creates");
    assert!(took > Duration::from_secs(3600), "an hour is waited out: {took:?}");
    assert!(took < Duration::from_secs(24 * 3600), "{took:?}");
    // Three mailboxes, four requests of each at once: hardly more than one a minute.
    assert!(tries as u64 <= 100 + took.as_secs() / 60 * 3, "no busy loop: {tries} creates in {took:?}");
    ward.calm();
    ward.good();
    ward.whole();
}

#[test]
fn an_error_after_the_message_was_stored_makes_no_second_copy() {
    for status in [500, 502, 503, 504] {
        let mut ward = Ward::new().fault(
            "POST",
            "/messages",
            When::Every(3),
            Fault::DoneBut { status, retry_after: None },
        );
        let (results, _) = ward.run();
        println!("{status}: {:?}", results.values().map(|r| &r.error).collect::<Vec<_>>());
        ward.calm();
        ward.good();
        ward.whole();
    }
}

#[test]
fn an_error_before_the_message_was_stored_loses_none() {
    for status in [500, 502, 504] {
        let mut ward = Ward::new().fault(
            "POST",
            "/messages",
            When::Every(4),
            Fault::Status { status, retry_after: None },
        );
        ward.run();
        ward.calm();
        ward.good();
        ward.whole();
    }
}

#[test]
fn a_copy_that_arrives_half_a_minute_after_its_request_was_given_up_stays_one() {
    for gateway_timeout in [true, false] {
        let fault = Fault::LateCommit { after_ms: 30_000, gateway_timeout };
        let mut ward = Ward::new().fault("POST", "/messages", When::Every(5), fault);
        ward.run();
        ward.calm();
        ward.run();
        ward.good();
        ward.whole();
    }
}

#[test]
fn a_connection_that_breaks_before_or_after_the_service_acted_costs_nothing() {
    for (when, fault) in [(2, Fault::ResetAfter), (3, Fault::ResetBefore), (4, Fault::Truncated { keep: 10 })]
    {
        let mut ward = Ward::new().fault("", "/messages", When::Every(when + 1), fault.clone());
        ward.run();
        ward.calm();
        ward.good();
        ward.whole();
        println!("every {}: {fault:?}", when + 1);
    }
}

#[test]
fn a_request_of_which_only_some_octets_arrived_is_sent_again() {
    let now = first(4);
    let mut ward = Ward::new()
        .tricked(move |request| (creates(request, "") && now()).then(|| Trick::Instead(Delivery::NoAnswer)));
    ward.good();
    ward.calm();
    ward.whole();
}

#[test]
fn a_message_the_service_says_it_stored_and_lost_is_noticed_in_the_same_pass() {
    let now = first(1);
    let ward = Ward::new().tricked(move |request| {
        (creates(request, "ben") && now()).then(|| Trick::Instead(answer(201, &[], r#"{"id":"AAMkLost"}"#)))
    });
    let (results, _) = ward.run();
    let ben = &results["ben"].summary;
    assert!(["investigate", "poor"].contains(&ben.verdict.as_str()), "{}", ben.verdict);
    assert!(ben.reasons.iter().any(|r| r.contains("not at the target any more")), "{:?}", ben.reasons);
    assert_eq!(ward.mail("ben").len() + 1, ward.at_source("ben"));
}

#[test]
fn an_answer_that_cannot_be_believed_is_no_proof_of_a_copy() {
    let other = r#"{"id":"AAMkAnother","internetMessageId":"<another@example.org>","parentFolderId":"x"}"#;
    for (status, body) in
        [(201, other), (201, "{\"id\":"), (201, ""), (201, "<html>signed in</html>"), (200, "{}")]
    {
        let now = first(2);
        let mut ward = Ward::new().tricked(move |request| {
            (creates(request, "ben") && now()).then(|| Trick::Instead(answer(status, &[], body)))
        });
        ward.good();
        ward.calm();
        ward.whole();
        // The service did store it.
        let now = first(2);
        let mut ward = Ward::new().tricked(move |request| {
            (creates(request, "ben") && now()).then(|| Trick::Afterwards(answer(status, &[], body)))
        });
        ward.good();
        ward.calm();
        ward.whole();
    }
}

#[test]
fn a_token_that_ends_between_two_requests_is_renewed_once_for_all() {
    // The first token is refused from the fifth create on, whoever comes with it.
    let state = Mutex::new((0, None));
    let mut ward = Ward::new().tricked(move |request| {
        if !creates(request, "") {
            return None;
        }
        let mut state = state.lock().unwrap();
        let token = request.headers().get("authorization").cloned();
        state.0 += 1;
        let first = state.1.get_or_insert_with(|| token.clone()).clone();
        let refuse = state.0 > 4 && token == first;
        refuse.then(|| Trick::Instead(error(401, &[], "InvalidAuthenticationToken")))
    });
    ward.good();
    assert_eq!(ward.count(&Method::POST, "/token"), 2, "one, and one more for all");
    ward.calm();
    ward.whole();
}

#[test]
fn a_token_that_cannot_be_renewed_three_times_costs_no_message() {
    for status in [500, 503] {
        let state = Mutex::new((0, 0, None));
        let mut ward = Ward::new().tricked(move |request| {
            let mut state = state.lock().unwrap();
            if request.uri().path().ends_with("/token") {
                state.1 += 1;
                let fail = (2..=4).contains(&state.1);
                return fail.then(|| Trick::Instead(answer(status, &[], "")));
            }
            if !creates(request, "") {
                return None;
            }
            // The first token has ended when the fifth create arrives.
            let token = request.headers().get("authorization").cloned();
            state.0 += 1;
            let first = state.2.get_or_insert_with(|| token.clone()).clone();
            let refuse = state.0 > 4 && token == first;
            refuse.then(|| Trick::Instead(error(401, &[], "InvalidAuthenticationToken")))
        });
        for _ in 0..4 {
            ward.run();
        }
        let tokens = ward.count(&Method::POST, "/token");
        assert!((5..=12).contains(&tokens), "{tokens} token requests: three failed, none in a hurry");
        ward.calm();
        ward.good();
        ward.whole();
    }
}

#[test]
fn a_token_endpoint_that_fails_stops_everything_at_once_and_nothing_is_lost() {
    let mut ward = Ward::new().tricked(|request| {
        request
            .uri()
            .path()
            .ends_with("/token")
            .then(|| Trick::Instead(answer(400, &[], r#"{"error":"invalid_client"}"#)))
    });
    let (results, _) = ward.run();
    assert!(results.values().all(|r| r.error.is_some()));
    let asked = ward.asked.lock().unwrap().len();
    assert!(asked <= 12, "{asked} requests with a secret that is refused");
    ward.calm();
    ward.good();
    ward.whole();
}

#[test]
fn a_role_that_is_taken_away_stops_its_mailbox_without_a_second_try() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let mut ward = Ward::new().tricked(move |request| {
        let refuse = creates(request, "cleo") && count.fetch_add(1, Ordering::Relaxed) >= 4;
        refuse.then(|| Trick::Instead(error(403, &[], "ErrorAccessDenied")))
    });
    let (results, _) = ward.run();
    let cleo = results["cleo"].error.as_ref().expect("stopped");
    assert_eq!(cleo.kind, Kind::Denied, "{cleo}");
    assert!(cleo.to_string().contains("role") || cleo.to_string().contains("permission"), "{cleo}");
    let tries = seen.load(Ordering::Relaxed) - 4;
    assert!(tries <= 4, "{tries} creates after the first refusal: one a lane at most");
    assert!(results["ann"].error.is_none() && results["ben"].error.is_none());
    ward.calm();
    ward.good();
    ward.whole();
}

#[test]
fn a_target_folder_that_is_gone_in_the_middle_of_a_pass_is_found_or_made_again() {
    let now = first(1);
    let mut ward = Ward::new().tricked(move |request| {
        (creates(request, "ann") && now()).then(|| Trick::Instead(error(404, &[], "ErrorItemNotFound")))
    });
    ward.good();
    ward.calm();
    ward.whole();
}

#[test]
fn a_conflict_right_after_a_create_is_waited_out() {
    for status in [409, 412] {
        let now = first(2);
        let mut ward = Ward::new().tricked(move |request| {
            let code = if status == 409 { "ErrorIrresolvableConflict" } else { "ErrorStaleObject" };
            (request.method() == Method::PATCH && now()).then(|| Trick::Instead(error(status, &[], code)))
        });
        ward.run();
        ward.calm();
        ward.good();
        ward.whole();
    }
}

#[test]
fn a_message_too_large_for_the_service_is_skipped_by_name_and_its_neighbours_are_stored() {
    let sizes = Sizes { message: 11_000, ..Sizes::default() };
    let ward = Ward::of(GraphOptions { sizes, ..GraphOptions::default() }, ward::EACH);
    let (results, _) = ward.run();
    for (name, result) in &results {
        assert!(result.error.is_none(), "{name}: {:?}", result.error);
        assert!(result.skipped > 0, "{name}");
        assert_eq!(ward.mail(name).len() as u64 + result.skipped, ward.at_source(name) as u64);
    }
}

#[test]
fn a_message_the_service_never_takes_is_skipped_and_its_neighbours_are_stored() {
    // The same message each time: by its size, which no other has.
    let ward = Ward::new();
    let poison = {
        let store = ward.store.lock().unwrap();
        let message = store.0["ann"]["INBOX"].messages[&2].octets.clone();
        let text = String::from_utf8_lossy(&message).into_owned();
        let id = text.lines().find_map(|l| l.strip_prefix("Message-ID: ")).expect("it has one");
        id.trim().trim_matches(['<', '>']).to_owned()
    };
    let ward = ward.tricked(move |request| {
        let body = String::from_utf8_lossy(request.body());
        (creates(request, "ann") && body.contains(&poison))
            .then(|| Trick::Instead(error(400, &[], "ErrorInvalidRequest")))
    });
    let (results, _) = ward.run();
    let ann = &results["ann"];
    assert!(ann.error.is_none(), "{:?}", ann.error);
    assert!((1..=2).contains(&ann.skipped), "it, and its twin: {}", ann.skipped);
    assert_eq!(ward.mail("ann").len() as u64 + ann.skipped, ward.at_source("ann") as u64);
    let tries = ward.count(&Method::POST, "/messages");
    let (again, _) = ward.run();
    assert!(again["ann"].error.is_none());
    assert!(ward.count(&Method::POST, "/messages") - tries <= 4, "it alone is tried again");
}

#[test]
fn a_full_mailbox_is_parked_and_the_wave_goes_on() {
    let ward = Ward::new();
    let full = first(usize::MAX);
    let mut ward = ward.tricked(move |request| {
        (creates(request, "ben") && full()).then(|| Trick::Instead(error(507, &[], "ErrorQuotaExceeded")))
    });
    let (results, _) = ward.run();
    let ben = results["ben"].error.as_ref().expect("it is full");
    assert!(ben.kind == Kind::Quota && ben.to_string().contains("enlarge the target mailbox"), "{ben}");
    let tries = ward
        .asked
        .lock()
        .unwrap()
        .iter()
        .filter(|(m, p)| *m == Method::POST && p.contains("ben") && p.ends_with("/messages"))
        .count();
    assert!(tries <= 4, "{tries}: one a lane at most");
    assert!(results["ann"].error.is_none() && results["cleo"].error.is_none());
    ward.calm();
    ward.good();
    ward.whole();
}

#[test]
fn a_redirect_is_followed_nowhere() {
    for status in [301, 302, 307, 308] {
        let mut ward = Ward::new().tricked(move |request| {
            creates(request, "ann").then(|| {
                let away = [("Location", "https://elsewhere.test/v1.0/users/ann@example.org/messages")];
                Trick::Instead(answer(status, &away, ""))
            })
        });
        ward.run();
        let asked = ward.asked.lock().unwrap().clone();
        assert!(asked.iter().all(|(_, place)| place.starts_with("127.0.0.1")), "a request left the service");
        ward.calm();
        ward.good();
        ward.whole();
    }
}

#[test]
fn a_storm_of_refusals_ends_and_every_mailbox_gets_its_turn() {
    let rule = FaultRule {
        name: "storm".into(),
        method: String::new(),
        path: "/messages".into(),
        when: When::PerMille(800),
        at_most: 400,
        fault: Fault::Status { status: 429, retry_after: Some(3) },
    };
    let mut ward = Ward::new();
    ward.mock.faults(FaultScript { seed: 11, rules: vec![rule] });
    let mut runs = 0;
    loop {
        let (results, _) = ward.run();
        runs += 1;
        if results.values().all(|r| r.error.is_none()) {
            break;
        }
        assert!(runs < 10, "it does not end");
    }
    let asked = ward.asked.lock().unwrap().len();
    println!("{runs} runs, {asked} requests");
    assert!(asked < 2_000, "{asked} requests for 33 messages and 400 refusals");
    ward.calm();
    ward.whole();
}

#[test]
fn two_hours_of_nineteen_refusals_in_twenty_slow_a_thousand_mailboxes_down_and_starve_none() {
    const STORM: Duration = Duration::from_secs(2 * 3600);
    let names: Vec<String> = (0..1000).map(|n| format!("box{n}")).collect();
    let mut ward = Ward::with(GraphOptions::default(), names.clone(), 2);
    ward.options.open_mailboxes = names.len();
    // How many requests came in each half hour, over all runs; a storm is a time of the first run.
    let asked = Arc::new(Mutex::new(vec![0u64; 4]));
    let (halves, dice) = (asked.clone(), Mutex::new(fastrand::Rng::with_seed(23)));
    let (began, over) = (Mutex::new(None), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let calm = over.clone();
    let mut ward = ward.tricked(move |request| {
        let now = tokio::time::Instant::now();
        let since = now - *began.lock().unwrap().get_or_insert(now);
        if request.uri().path().ends_with("/token") || since >= STORM || calm.load(Ordering::Relaxed) {
            return None;
        }
        halves.lock().unwrap()[usize::try_from(since.as_secs() / 1800).unwrap()] += 1;
        let refuse = dice.lock().unwrap().u32(..100) < 95;
        refuse.then(|| Trick::Instead(error(429, &[], "ApplicationThrottled")))
    });
    let mut runs = 0;
    loop {
        let (results, took) = ward.run();
        runs += 1;
        let failed = results.values().filter(|r| r.error.is_some()).count();
        println!("run {runs}: {took:?}, {failed} mailboxes failed, {:?}", asked.lock().unwrap());
        assert!(results.values().all(|r| r.error.as_ref().is_none_or(|e| e.may_pass())), "none is given up");
        if failed == 0 {
            break;
        }
        assert!(runs < 12, "it does not end");
        over.store(took >= STORM || runs > 6, Ordering::Relaxed);
    }
    let halves = asked.lock().unwrap().clone();
    let all: u64 = halves.iter().sum();
    assert!(halves[3] * 2 <= halves[0], "the rate falls: {halves:?}");
    assert!(all <= 1000 * 120, "{all} requests of a thousand mailboxes in two hours");
    ward.calm();
    ward.good();
    let truth = ward.mock.truth();
    for name in &names {
        let copies: usize =
            truth.mailboxes[&ward::address(name)].folders.values().map(|f| f.messages.len()).sum();
        assert_eq!(copies, ward.at_source(name), "{name}: each message once");
    }
}

#[test]
fn one_throttled_mailbox_does_not_slow_the_others() {
    let alone = {
        let ward = Ward::of(slow(), ward::EACH);
        let (results, _) = ward.run();
        results["ben"].summary.ended - results["ben"].summary.began
    };
    let now = first(8);
    let ward = Ward::of(slow(), ward::EACH).tricked(move |request| {
        let wait = [("Retry-After", "30")];
        (creates(request, "ann") && now()).then(|| Trick::Instead(error(429, &wait, "ApplicationThrottled")))
    });
    let (results, _) = ward.run();
    for other in ["ben", "cleo"] {
        let took = results[other].summary.ended - results[other].summary.began;
        assert!(took * 95 <= alone * 100, "{other}: {took} ms instead of {alone} ms");
    }
    assert!(results["ann"].error.is_none());
}

/// Every request takes its time.
fn slow() -> GraphOptions {
    GraphOptions { latency: Latency { base_ms: 200, ..Latency::default() }, ..GraphOptions::default() }
}

#[test]
fn within_known_limits_nothing_is_refused() {
    let limits = Limits {
        requests: 20,
        window_seconds: 60,
        upload_bytes: 60_000,
        upload_window_seconds: 60,
        ..Limits::default()
    };
    let ours = TargetLimits {
        requests: 20,
        requests_window: Duration::from_secs(60),
        upload_bytes: 60_000,
        upload_window: Duration::from_secs(60),
        ..TargetLimits::default()
    };
    let settings = LimitSettings { targets: [("graph".to_owned(), ours)].into(), ..LimitSettings::default() };
    let options = GraphOptions { limits, ..slow() };
    let ward = Ward::of(options, ward::EACH).limited(settings);
    let took = ward.good();
    let counters = ward.mock.counters();
    assert_eq!((counters.throttled, counters.answers.get(&429)), (0, None), "{counters:?}");
    assert!(took > Duration::from_secs(60), "the limits bound: {took:?}");
    ward.whole();
    assert_eq!(ward.mock.counters().throttled, 0);
}

#[test]
fn an_upload_that_loses_repeats_or_expires_a_range_ends_whole() {
    let fault = |n| Fault::Status { status: n, retry_after: None };
    for (when, fault) in [
        (When::Nth(vec![1]), Fault::ResetBefore),
        (When::Nth(vec![1]), Fault::ResetAfter),
        (When::Nth(vec![2]), fault(503)),
        (When::Nth(vec![1, 3]), fault(404)),
        (When::Nth(vec![2]), fault(416)),
        (When::Nth(vec![1]), Fault::DoneBut { status: 504, retry_after: None }),
    ] {
        println!("{when:?} {fault:?}");
        let mut ward = Ward::new().fault("PUT", "", when, fault);
        ward.run();
        ward.calm();
        ward.good();
        ward.whole();
    }
}

#[test]
fn the_mailboxes_of_these_tests_hold_attachments_that_need_an_upload_session() {
    let ward = Ward::new();
    ward.good();
    assert!(ward.mock.counters().upload_sessions >= MAILBOXES.len() as u64);
    ward.whole();
}
