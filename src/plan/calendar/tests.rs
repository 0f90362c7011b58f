use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Zone;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn moment(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
}

fn date(text: &str) -> Date {
    text.parse().expect("a date")
}

fn zone(name: &str) -> Zone {
    Zone::named(name).expect("a zone")
}

/// `days` from Monday on: `x` begins, `-` does not.
fn weekly(days: &str, from: u16, to: u16, zone_name: &str) -> Weekly {
    let mut begins = [false; 7];
    days.bytes().enumerate().for_each(|(day, b)| begins[day] = b == b'x');
    Weekly {
        name: String::new(),
        days: begins,
        from,
        to,
        to_day: None,
        zone: zone(zone_name),
        grace: Duration::from_secs(120),
    }
}

fn black(from: &str, to: &str, zone_name: &str) -> BlackOut {
    BlackOut { from: date(from), to: date(to), zone: zone(zone_name) }
}

fn open(calendar: &Calendar, at: &str) -> String {
    match calendar.at(moment(at)) {
        At::Open { until: Some(until), .. } => format!("open until {}", shown(until)),
        At::Open { until: None, .. } => "open".to_owned(),
        At::Closed { opens: Some(opens) } => format!("opens {}", shown(opens)),
        At::Closed { opens: None } => "closed".to_owned(),
    }
}

fn shown(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).expect("in range").to_string()
}

#[test]
fn without_windows_it_is_always_open() {
    let always = Calendar::new(Vec::new(), &[]);
    assert!(always.always());
    assert_eq!(always.at(0), At::Open { until: None, grace: 0 });
    let until = always.until(Some(5));
    assert_eq!(until.at(4), At::Open { until: Some(5), grace: 0 });
    assert_eq!(until.at(5), At::Closed { opens: None });
}

#[test]
fn the_grace_is_before_the_end_of_a_window_and_not_before_the_end_of_all() {
    let night = || Calendar::new(vec![weekly("xxxxxxx", 60, 120, "UTC")], &[]);
    let at = |end: i64| night().until(Some(end)).at(HOUR);
    assert_eq!(night().at(HOUR), At::Open { until: Some(2 * HOUR), grace: 2 * MINUTE });
    assert_eq!(at(2 * HOUR - 5 * MINUTE), At::Open { until: Some(2 * HOUR - 5 * MINUTE), grace: 0 });
    assert_eq!(at(2 * HOUR - MINUTE), At::Open { until: Some(2 * HOUR - MINUTE), grace: MINUTE });
    assert_eq!(at(3 * HOUR), At::Open { until: Some(2 * HOUR), grace: 2 * MINUTE });
}

#[test]
fn a_window_over_midnight_ends_on_the_next_day() {
    let nights = Calendar::new(vec![weekly("xxxxx--", 20 * 60, 6 * 60, "Europe/Berlin")], &[]);
    // 2026-11-20 is a Friday; Berlin is an hour ahead.
    assert_eq!(open(&nights, "2026-11-20T18:59:59Z"), "opens 2026-11-20T19:00:00Z");
    assert_eq!(open(&nights, "2026-11-20T19:00:00Z"), "open until 2026-11-21T05:00:00Z");
    assert_eq!(open(&nights, "2026-11-21T04:59:59Z"), "open until 2026-11-21T05:00:00Z");
    assert_eq!(
        open(&nights, "2026-11-21T05:00:00Z"),
        "opens 2026-11-23T19:00:00Z",
        "no window on a Saturday"
    );
}

#[test]
fn a_window_may_last_for_days_and_windows_that_touch_are_one() {
    let mut weekend = weekly("----x--", 18 * 60, 6 * 60, "UTC");
    weekend.to_day = Some(0);
    let weekend = Calendar::new(vec![weekend], &[]);
    assert_eq!(open(&weekend, "2026-11-22T12:00:00Z"), "open until 2026-11-23T06:00:00Z");
    assert_eq!(open(&weekend, "2026-11-23T06:00:00Z"), "opens 2026-11-27T18:00:00Z");

    let mut week = weekly("x------", 600, 600, "UTC");
    week.to_day = Some(0);
    assert_eq!(week.days_on(0), 7);
    assert_eq!(
        open(&Calendar::new(vec![week], &[]), "2026-11-23T09:00:00Z"),
        "open",
        "each begins when one ends"
    );

    let parts = vec![
        weekly("----x--", 18 * 60, 1440, "UTC"),
        weekly("-----xx", 0, 1440, "UTC"),
        Weekly { grace: Duration::ZERO, ..weekly("x------", 0, 6 * 60, "UTC") },
    ];
    let parts = Calendar::new(parts, &[]);
    assert_eq!(
        parts.at(moment("2026-11-20T18:00:00Z")),
        At::Open { until: Some(moment("2026-11-23T06:00:00Z")), grace: 0 },
        "the grace is that of the last one"
    );
}

#[test]
fn clocks_that_go_forward_shorten_the_night_and_skip_what_lies_in_the_hour() {
    // Berlin: 2026-03-29 has no 02:00 to 03:00.
    let night = Calendar::new(vec![weekly("xxxxxxx", 22 * 60, 6 * 60, "Europe/Berlin")], &[]);
    let At::Open { until: Some(until), .. } = night.at(moment("2026-03-28T21:00:00Z")) else {
        panic!("open")
    };
    assert_eq!(until - moment("2026-03-28T21:00:00Z"), 7 * HOUR);

    let begins = Calendar::new(vec![weekly("xxxxxxx", 150, 300, "Europe/Berlin")], &[]);
    assert_eq!(open(&begins, "2026-03-29T00:59:59Z"), "opens 2026-03-29T01:00:00Z", "when the hour is over");
    let inside = Calendar::new(vec![weekly("xxxxxxx", 130, 170, "Europe/Berlin")], &[]);
    assert_eq!(open(&inside, "2026-03-29T00:30:00Z"), "opens 2026-03-30T00:10:00Z", "not that day");
}

#[test]
fn clocks_that_go_back_lengthen_the_night_and_count_the_hour_once() {
    // Berlin: 2026-10-25 shows 02:00 to 03:00 twice.
    let night = Calendar::new(vec![weekly("xxxxxxx", 22 * 60, 6 * 60, "Europe/Berlin")], &[]);
    let At::Open { until: Some(until), .. } = night.at(moment("2026-10-24T20:00:00Z")) else {
        panic!("open")
    };
    assert_eq!(until - moment("2026-10-24T20:00:00Z"), 9 * HOUR);

    let inside = Calendar::new(vec![weekly("xxxxxxx", 130, 170, "Europe/Berlin")], &[]);
    assert_eq!(open(&inside, "2026-10-25T00:10:00Z"), "open until 2026-10-25T00:50:00Z", "the first time");
    assert_eq!(open(&inside, "2026-10-25T01:20:00Z"), "opens 2026-10-26T01:10:00Z", "not the second time");
    let ends = Calendar::new(vec![weekly("xxxxxxx", 60, 150, "Europe/Berlin")], &[]);
    assert_eq!(open(&ends, "2026-10-24T23:00:00Z"), "open until 2026-10-25T00:30:00Z");
}

#[test]
fn leap_days_and_the_end_of_the_year_are_days_like_others() {
    let nights = Calendar::new(vec![weekly("xxxxxxx", 22 * 60, 2 * 60, "UTC")], &[]);
    assert_eq!(open(&nights, "2028-02-28T23:00:00Z"), "open until 2028-02-29T02:00:00Z");
    assert_eq!(open(&nights, "2028-02-29T23:00:00Z"), "open until 2028-03-01T02:00:00Z");
    assert_eq!(open(&nights, "2027-02-28T23:00:00Z"), "open until 2027-03-01T02:00:00Z");
    assert_eq!(open(&nights, "2026-12-31T23:59:59Z"), "open until 2027-01-01T02:00:00Z");
    let leap = Calendar::new(Vec::new(), &[black("2028-02-29", "2028-02-29", "UTC")]);
    assert_eq!(open(&leap, "2028-02-28T12:00:00Z"), "open until 2028-02-29T00:00:00Z");
    assert_eq!(open(&leap, "2028-02-29T12:00:00Z"), "opens 2028-03-01T00:00:00Z");
}

#[test]
fn black_outs_cut_windows_and_join_each_other() {
    let blacks = [
        black("2026-12-25", "2026-12-26", "Europe/Berlin"),
        black("2026-12-24", "2026-12-24", "Europe/Berlin"),
    ];
    let nights = Calendar::new(vec![weekly("xxxxxxx", 20 * 60, 6 * 60, "Europe/Berlin")], &blacks);
    assert_eq!(
        open(&nights, "2026-12-23T20:00:00Z"),
        "open until 2026-12-23T23:00:00Z",
        "midnight in Berlin"
    );
    assert_eq!(
        open(&nights, "2026-12-23T23:00:00Z"),
        "opens 2026-12-26T23:00:00Z",
        "the rest of the last night"
    );
    let all =
        Calendar::new(vec![weekly("-----x-", 0, 60, "UTC")], &[black("2026-01-01", "9998-12-31", "UTC")]);
    assert!(open(&all, "2026-06-06T00:30:00Z").starts_with("opens 9999-"));
    assert_eq!(open(&all.until(Some(moment("2027-01-01T00:00:00Z"))), "2026-06-06T00:30:00Z"), "closed");
}

/// What a calendar says, found by watching the clock on the wall minute by minute.
struct Oracle {
    start: i64,
    open: Vec<bool>,
}

impl Oracle {
    fn new(windows: &[Weekly], blacks: &[BlackOut], start: i64, minutes: usize) -> Oracle {
        // A window of eight days that is open at the start began before it.
        let before = 10 * 24 * 60;
        let first = start - before as i64 * MINUTE;
        let mut open = vec![windows.is_empty(); before + minutes];
        let clock = |zone: &Zone, n: usize| {
            let at = jiff::Timestamp::from_millisecond(first + n as i64 * MINUTE).expect("in range");
            at.to_zoned(jiff::tz::TimeZone::get(zone.name()).expect("a zone")).datetime()
        };
        for window in windows {
            let shown: Vec<_> = (0..open.len()).map(|n| clock(&window.zone, n)).collect();
            // The first minute at which the clock shows this or anything later.
            let first_at = |wanted: jiff::civil::DateTime| shown.iter().position(|s| *s >= wanted);
            let (mut day, last) = (shown[0].date().tomorrow().unwrap(), shown[shown.len() - 1].date());
            while day <= last {
                if window.days[day.weekday().to_monday_zero_offset() as usize] {
                    let mut end = day;
                    let to = if window.to == 1440 { 0 } else { window.to };
                    match window.to_day {
                        None if window.to == 1440 || window.to <= window.from => {
                            end = end.tomorrow().unwrap()
                        }
                        None => {}
                        Some(wanted) => {
                            while end.weekday().to_monday_zero_offset() as u8 != wanted
                                || (end == day && window.to <= window.from)
                            {
                                end = end.tomorrow().unwrap();
                            }
                            if window.to == 1440 {
                                end = end.tomorrow().unwrap();
                            }
                        }
                    }
                    let time = |m: u16| jiff::civil::time((m / 60) as i8, (m % 60) as i8, 0, 0);
                    let from = first_at(day.to_datetime(time(window.from))).unwrap_or(open.len());
                    let to = first_at(end.to_datetime(time(to))).unwrap_or(open.len());
                    (from..to).for_each(|n| open[n] = true);
                }
                day = day.tomorrow().unwrap();
            }
        }
        for black in blacks {
            let mut over = false;
            for (n, open) in open.iter_mut().enumerate() {
                let day = clock(&black.zone, n).date();
                // Once its last day is over it is over, also where clocks go back over midnight.
                over |= day > black.to;
                *open &= over || day < black.from;
            }
        }
        Oracle { start, open: open.split_off(before) }
    }

    fn agrees(&self, calendar: &Calendar, n: usize) -> Result<(), TestCaseError> {
        let now = self.open[n];
        let change =
            self.open[n..].iter().position(|o| *o != now).map(|m| self.start + (n + m) as i64 * MINUTE);
        let end = self.start + self.open.len() as i64 * MINUTE;
        let (open, told) = match calendar.at(self.start + n as i64 * MINUTE) {
            At::Open { until, .. } => (true, until),
            At::Closed { opens } => (false, opens),
        };
        prop_assert_eq!(open, now, "at {}", shown(self.start + n as i64 * MINUTE));
        match change {
            Some(change) => {
                prop_assert_eq!(told, Some(change), "from {}", shown(self.start + n as i64 * MINUTE))
            }
            None => prop_assert!(told.is_none_or(|told| told >= end), "beyond what was watched"),
        }
        Ok(())
    }
}

fn any_weekly() -> impl Strategy<Value = Weekly> {
    let zones = prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Asia/Kolkata",
    ]);
    // Many in and around the hours in which clocks are changed.
    let minute = prop_oneof![0u16..1440, 0u16..300, Just(0u16)];
    (1u8..128, minute.clone(), prop_oneof![minute, Just(1440u16)], prop::option::of(0u8..7), zones).prop_map(
        |(days, from, to, to_day, zone_name)| {
            let mut window = weekly("", from, to, zone_name);
            (0..7).for_each(|day| window.days[day] = days & (1 << day) != 0);
            window.to_day = to_day;
            window
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_calendar_is_what_is_seen_by_watching_the_clock_minute_by_minute(
        windows in prop::collection::vec(any_weekly(), 0..4),
        blacks in prop::collection::vec((0i64..12, 0i64..3), 0..3),
        // The changes of clocks of the zones above, a leap day, the end of a year.
        around in prop::sample::select(vec![
            "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z",
            "2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z", "2026-04-23T22:00:00Z", "2026-10-29T21:00:00Z",
            "2028-02-29T12:00:00Z", "2026-12-31T23:00:00Z",
        ]),
        looks in prop::collection::vec(0usize..12 * 1440, 40),
    ) {
        let start = moment(around) - 4 * DAY;
        let zones = ["Europe/Berlin", "Africa/Cairo", "America/New_York"];
        let blacks: Vec<BlackOut> = blacks.iter().zip(zones).map(|((from, days), name)| {
            let zone = zone(name);
            let day = |n: i64| zone.date(start + n * DAY + DAY / 2).expect("in range");
            BlackOut { from: day(*from), to: day(from + days), zone: zone.clone() }
        }).collect();
        let oracle = Oracle::new(&windows, &blacks, start, 12 * 1440);
        let calendar = Calendar::new(windows, &blacks);
        let change = ((moment(around) - start) / MINUTE) as usize;
        for n in looks.into_iter().chain(change - 90..change + 90) {
            oracle.agrees(&calendar, n)?;
        }
    }
}
