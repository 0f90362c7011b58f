//! The real program and its windows: what it says, what it ends with.

use super::Bed;
use crate::cli::said;

/// RFC 3339, so many seconds from now.
fn soon(seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    jiff::Timestamp::from_second(now as i64 + seconds).unwrap().to_string()
}

/// The day of the week (UTC) so many days from today.
fn day(days: i64) -> &'static str {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    // 1970-01-01 was a Thursday.
    ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][(now / 86_400 + days).rem_euclid(7) as usize]
}

#[test]
fn outside_of_its_window_a_run_that_does_not_wait_begins_nothing_and_says_when() {
    let window =
        format!("[[window]]\nname = \"far\"\ndays = [\"{}\"]\nfrom = \"01:00\"\nto = \"02:00\"\n", day(3));
    let bed = Bed::new(0, &[("ann", "pilot", 3)], "time_zone = \"UTC\"", &window);
    let run = said(bed.dir(), &["run", "mailwave.toml", "--wave", "pilot", "--no-wait", "--json"]);
    assert_eq!(run.code, 75, "{}", run.err);
    let json: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&json["not_begun"], &json["exit_code"]), (&1.into(), &75.into()), "{json}");
    let opens = json["left"][0]["next_window"].as_str().expect("when it opens");
    assert!(opens.ends_with("T01:00:00Z"), "{json}");
    assert!(run.err.contains("the next window opens at 20") && run.err.contains("01:00 UTC"), "{}", run.err);
    assert_eq!(bed.copies(), 0);
    let status = said(bed.dir(), &["status", "mailwave.toml"]);
    assert!(status.out.contains("closed until 20"), "{}", status.out);
}

#[test]
fn a_wave_with_an_open_window_and_an_end_stops_at_the_end_and_goes_on_later() {
    let keys = "time_zone = \"Europe/Berlin\"";
    let tables = "[[window]]\nname = \"all\"\nfrom = \"00:00\"\nto = \"24:00\"\n[wave.pilot]\nwindows = [\"all\"]\n[run]\nopen_mailboxes = 2\n";
    let rows = [("ann", "pilot", 200), ("bob", "pilot", 200), ("cia", "pilot", 200), ("dan", "other", 5)];
    let bed = Bed::new(150, &rows, keys, tables);
    let (code, json, talk) = bed.run(&["--wave", "pilot", "--until", &soon(3)]).end();
    assert_eq!(code, 75, "{json}\n{talk}");
    assert!(talk.contains("wave \"pilot\" is open until"), "{talk}");
    assert!(talk.contains("wave \"pilot\" is closed for good: nothing more of it is begun"), "{talk}");
    let stored = json["messages"]["stored"].as_u64().unwrap();
    assert!(stored > 0 && stored < 600, "it was cut half way: {json}");
    assert_eq!(bed.copies() as u64, stored, "what was under way was finished and recorded");
    assert_eq!(json["messages"]["unknown"], 0);

    let (code, json, talk) = bed.run(&["--wave", "pilot", "--wait"]).end();
    assert_eq!(code, 0, "{json}\n{talk}");
    assert_eq!(json["messages"]["stored"].as_u64().unwrap() + stored, 600, "{json}");
    assert_eq!(bed.copies(), 600, "only the wave");
    assert_eq!(bed.messages, 605);
}

#[test]
fn waves_are_begun_in_the_order_asked_for_and_a_finished_mailbox_is_not_walked_again() {
    let rows = [("ann", "one", 4), ("bob", "two", 4), ("cia", "two", 400)];
    let bed = Bed::new(120, &rows, "", "[wave.two]\nopen_mailboxes = 1\n");
    let mut run = bed.run(&["--wave", "two,one"]);
    // bob and ann are done when the first of cia's are made.
    bed.made(&mut run, 12);
    let drained = said(bed.dir(), &["drain", "mailwave.toml"]);
    assert_eq!(drained.code, 0, "{}", drained.err);
    let (code, first, talk) = run.end();
    assert_eq!(code, 75, "{first}\n{talk}");
    let complete = first["complete"].as_u64().unwrap();
    assert!(complete >= 1, "{first}");

    let (code, second, talk) = bed.run(&["--wave", "two,one"]).end();
    assert_eq!(code, 0, "{second}\n{talk}");
    // The wave that was at the end of its pass waits for the other one, of which only the rest is walked.
    assert_eq!(second["mailboxes"], 1, "{second}");
    assert!(talk.contains("wave \"two\" goes on with its pass 1: 1 mailboxes are at its end"), "{talk}");
    assert_eq!(bed.copies(), 408);
    let status = said(bed.dir(), &["status", "mailwave.toml", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    let two = &status["waves"][1];
    assert_eq!(
        (&two["wave"], &two["pass"], &two["finished_in_pass"]),
        (&"two".into(), &1.into(), &2.into()),
        "{two}"
    );
}

#[test]
fn what_is_wrong_with_windows_waves_and_ends_is_told_with_its_place() {
    let bed = Bed::new(0, &[("ann", "pilot", 1)], "", "");
    let config = bed.dir().join("mailwave.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    for (add, told) in [
        (
            "[[window]]\nfrom = \"20:00\"\nto = \"06:00\"\n",
            "window.1.zone: no time zone is named — add `zone",
        ),
        ("[[window]]\nzone = \"Mars\"\nfrom = \"20:00\"\nto = \"06:00\"\n", "\"Mars\" is no time zone"),
        (
            "[[window]]\nzone = \"UTC\"\nfrom = \"8pm\"\nto = \"06:00\"\n",
            "window.1.from: \"8pm\" is no time of day",
        ),
        (
            "[[window]]\nzone = \"UTC\"\nfrom = \"20:00\"\nto = \"fry 06:00\"\n",
            "window.1.to: \"fry 06:00\" is no time",
        ),
        (
            "[[window]]\nzone = \"UTC\"\ndays = [\"monday\"]\nfrom = \"20:00\"\nto = \"06:00\"\n",
            "\"monday\" is no day",
        ),
        (
            "[[window]]\nzone = \"UTC\"\nfrom = \"20:00\"\nto = \"20:01\"\n",
            "window.1.grace: is as long as the window",
        ),
        (
            "[[black_out]]\nzone = \"UTC\"\nfrom = \"2026-02-29\"\n",
            "black_out.1.from: \"2026-02-29\" is no date",
        ),
        ("[[black_out]]\nzone = \"UTC\"\nfrom = \"2026-03-02\"\nto = \"2026-03-01\"\n", "is before `from`"),
        ("[wave.pilot]\nwindows = [\"night\"]\n", "wave.pilot.windows: there is no window \"night\""),
        ("[wave.pilot]\nopen_mailboxes = 0\n", "wave.pilot.open_mailboxes: 0 is out of range"),
        ("[wave.pilot]\nmessages_per_second = 0\n", "wave.pilot.messages_per_second: 0 is out of range"),
        ("[wave.pilot]\nbatches_at_once = 10001\n", "wave.pilot.batches_at_once: 10001 is out of range"),
        ("[wave.pilot]\nbytes_per_second = \"1KB\"\n", "wave.pilot.bytes_per_second: "),
        ("[wave.pilot]\nbytes_per_seconds = \"1MB\"\n", "bytes_per_second"),
    ] {
        std::fs::write(&config, format!("{good}{add}")).unwrap();
        let run = said(bed.dir(), &["run", "mailwave.toml"]);
        assert_eq!(run.code, 64, "{add}: {}", run.err);
        assert!(run.err.contains(told) && run.err.contains("mailwave.toml:"), "{add}: {}", run.err);
    }
    std::fs::write(&config, &good).unwrap();
    for (args, told) in [
        (&["--wave", "nobody"][..], "no mailbox belongs to the wave"),
        (&["--wave", "pilot,pilot"], "is asked for twice"),
        (&["--until", "yesterday"], "is no time"),
        (&["--until", "06:00"], "names no time zone"),
        (&["--until", "2020-01-01T00:00:00Z"], "is over"),
    ] {
        let run = said(bed.dir(), &[&["run", "mailwave.toml"], args].concat());
        assert_eq!(run.code, 64, "{args:?}: {}", run.err);
        assert!(run.err.contains(told), "{args:?}: {}", run.err);
    }
    assert_eq!(said(bed.dir(), &["run", "mailwave.toml", "--wait", "--no-wait"]).code, 64);
}
