//! Clocks that are set, that disagree, and dates that are unusual: no wait ends early, none becomes endless, nothing is
//! lost or doubled. Waits are by monotonic time; windows, by the wall clock, are in `waves::nights` and `plan::calendar`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use mailwave::mock::graph::{Fault, GraphOptions, Latency, When};

use crate::graph_faults::ward::{EACH, MAILBOXES, Trick, Ward, address, creates, error};

const HOUR: i64 = 3_600_000;

/// A service that answers slowly enough for a clock to be set in the midst of a run.
fn slow() -> Ward {
    let latency = Latency { base_ms: 2_000, ..Latency::default() };
    Ward::of(GraphOptions { latency, token_seconds: 3599, ..GraphOptions::default() }, EACH)
}

/// The first create for `ann` is refused so.
fn refused_once(ward: Ward, headers: &'static [(&'static str, &'static str)]) -> Ward {
    let fresh = AtomicBool::new(true);
    ward.tricked(move |request| {
        (creates(request, "ann") && fresh.swap(false, Ordering::Relaxed))
            .then(|| Trick::Instead(error(429, headers, "ApplicationThrottled")))
    })
}

#[test]
fn a_clock_that_is_set_while_a_retry_after_is_waited_out_neither_shortens_nor_lengthens_it() {
    let mut took = Vec::new();
    for by in [0, HOUR, -HOUR, 8 * HOUR] {
        let mut ward = refused_once(slow(), &[("Retry-After", "600")]);
        ward.clock_set = vec![(Duration::from_secs(60), by)];
        took.push(ward.good());
        ward.calm();
        ward.clock_set.clear();
        ward.whole();
    }
    assert!(
        took.iter().all(|t| t.abs_diff(took[0]) < Duration::from_secs(1) && t.as_secs() >= 600),
        "{took:?}"
    );
}

#[test]
fn a_clock_that_is_set_in_the_midst_of_a_pass_changes_nothing_of_it() {
    let mut undisturbed = None;
    for by in [0, HOUR, -HOUR, -1000, 1000] {
        let mut ward = slow();
        ward.clock_set = vec![(Duration::from_secs(7), by), (Duration::from_secs(11), -by)];
        let took = ward.good();
        assert_eq!(took, *undisturbed.get_or_insert(took), "{by}");
        assert_eq!(
            ward.count(&Method::POST, "/token"),
            1,
            "{by}: the token's life is not counted by the wall clock"
        );
        ward.clock_set.clear();
        ward.whole();
    }
}

#[test]
fn a_machine_that_was_suspended_for_eight_hours_goes_on_with_a_new_token_and_loses_nothing() {
    let mut ward = slow();
    // Monotonic time stood still meanwhile; the service's did not, and it has forgotten the token.
    ward.suspended = Some((Duration::from_secs(7), 8 * HOUR));
    ward.good();
    assert_eq!(ward.count(&Method::POST, "/token"), 2);
    ward.suspended = None;
    ward.whole();
}

#[test]
fn a_token_that_is_over_as_soon_as_it_is_given_is_an_error_told_and_not_a_loop() {
    // The service's clock and the one of its tokens disagree: what it gives is past already.
    let ward = Ward::of(GraphOptions { token_seconds: 0, ..GraphOptions::default() }, EACH);
    let (results, took) = ward.run();
    assert!(took < Duration::from_secs(24 * 3600), "{took:?}");
    let asked = ward.count(&Method::POST, "/token");
    let requests = ward.asked.lock().unwrap().len();
    println!("{asked} tokens, {requests} requests, {took:?}");
    for name in MAILBOXES {
        let there = ward.mail(name).len();
        assert!(
            results[name].error.is_some() || there == ward.at_source(name),
            "{name}: {there}, and no error"
        );
    }
    assert!(requests < 2_000, "{requests} requests for {} messages", 3 * (EACH + 1));
}

#[test]
fn a_retry_after_date_is_waited_for_by_the_clock_of_the_server_that_named_it() {
    for headers in [
        // Ours shows 22 Nov 2026 00:00:00 when it begins. Five minutes behind; five minutes ahead; a leap second.
        &[("Date", "Sat, 21 Nov 2026 23:55:05 GMT"), ("Retry-After", "Sat, 21 Nov 2026 23:56:35 GMT")],
        &[("Date", "Sun, 22 Nov 2026 00:05:05 GMT"), ("Retry-After", "Sun, 22 Nov 2026 00:06:35 GMT")],
        &[("Date", "Sat, 31 Dec 2016 23:58:30 GMT"), ("Retry-After", "Sat, 31 Dec 2016 23:59:60 GMT")],
    ] {
        let mut ward = refused_once(Ward::new(), headers);
        let took = ward.good();
        assert!((90..270).contains(&took.as_secs()), "{headers:?}: {took:?}");
        ward.calm();
        ward.whole();
    }
}

#[test]
fn a_migration_over_the_end_of_32_bit_time_keeps_dates_on_both_sides_of_it() {
    const END: i64 = 1 << 31;
    let ward = slow();
    // Two seconds into the run the seconds since 1970 need a 33rd bit.
    ward.set_clocks((END - 2) * 1000 - 1_795_305_600_000);
    let dates = [END - 1, END, END + 1, 4_102_444_800];
    for date in dates {
        let octets = format!("Subject: {date}\r\nMessage-ID: <{date}@example.org>\r\n\r\nx\r\n");
        ward.store.lock().unwrap().add("ann", "INBOX", octets.into_bytes(), &["\\Seen"], date);
    }
    ward.good();
    let mail = ward.mail("ann");
    for date in dates {
        let line = mail.iter().find(|m| m.contains(&format!("<{date}@"))).expect("it is there");
        let written = jiff::Timestamp::from_second(date).unwrap().to_string();
        assert!(line.contains(&written), "{written}: {line}");
    }
    for name in MAILBOXES {
        assert_eq!(ward.mail(name).len(), ward.at_source(name), "{name}");
    }
    let writes = ward.mock.writes();
    ward.good();
    assert_eq!(ward.mock.writes(), writes, "a run after the last writes nothing");
}

#[test]
fn a_clock_that_went_back_between_two_runs_locks_nobody_out_and_orders_nothing_wrongly() {
    let mut ward = Ward::new().fault("POST", "/messages", When::Nth(vec![9]), Fault::ResetAfter);
    // A claim, an unknown outcome and a pass of times that have yet to come, as the next run sees it.
    ward.our_clock = 2 * HOUR;
    ward.run();
    ward.calm();
    ward.our_clock = 0;
    let took = ward.good();
    assert!(took < Duration::from_secs(3600), "{took:?}");
    ward.our_clock = -30 * 24 * HOUR;
    ward.whole();
    for name in MAILBOXES {
        assert_eq!(ward.mail(name).len(), ward.at_source(name), "{}", address(name));
    }
}
