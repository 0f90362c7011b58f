//! What is special with IMAP as Microsoft serves it.

use std::fs;

use mailwave::mock::imap::{Act, ImapOptions, Rule};

use super::{USER, Way};
use crate::bad_input::desk::{Desk, Imap};
use crate::cli::said;

#[test]
fn a_mailbox_that_the_login_does_not_reach_is_told_apart_from_a_wrong_password() {
    let way = Way::new();
    way.fill("INBOX", 1);
    let refusal = Act::No("User is authenticated but not connected.".to_owned());
    way.mock().script(["LOGIN", "AUTHENTICATE"].map(|verb| Rule::on(verb, refusal.clone()).always()));
    let ran = way.run();
    ran.ended(2);
    let [told] = &ran.errors()[..] else { panic!("one error: {:?}", ran.errors()) };
    assert!(!told.contains("wrong name or password"), "{told}");
    assert!(told.contains("mailbox"), "{told}");
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_run_is_renewed_and_the_run_goes_on() {
    let options = ImapOptions { mechanisms: vec!["XOAUTH2".to_owned()], ..ImapOptions::default() }
        .with_users([(USER, "canary-new")]);
    let way = Way::from(options);
    way.fill("INBOX", 8);
    fs::write(way.desk.path("tok"), "canary-old").unwrap();
    let config = fs::read_to_string(way.desk.path("mailwave.toml")).unwrap();
    let give = way.desk.path("give");
    fs::write(&give, "cat tok; echo canary-new > tok").unwrap();
    let command =
        format!("oauth = {{ token_command = [\"sh\", \"{}\"], token_life = \"1h\" }}", give.display());
    fs::write(way.desk.path("mailwave.toml"), config.replace("password = { file = \"pw\" }", &command))
        .unwrap();
    way.mock().script([Rule::on(
        "UID FETCH",
        Act::Bye("Session invalidated - AccessTokenExpired".to_owned()),
    )
    .nth(2)]);
    way.stores(8);
    way.is_whole();
    way.all_fired();
    assert!(way.mock().counters().logins >= 2);
}

#[test]
fn every_mailbox_that_cannot_be_opened_is_told_before_anything_is_moved() {
    let names = ["canary.ann", "canary.bob", "canary.cid", "canary.dan"];
    let server = || Imap::start(ImapOptions::default().with_users(names.map(|name| (name, "canary-right"))));
    let (source, target) = (server(), server());
    source.fill("canary.ann", "INBOX", 3);
    let there = target.config("passwords = \"there\"").replace("[source.old]", "[target.new]");
    let rows: String = names.iter().map(|name| format!("{name},{name}\n")).collect();
    let desk = Desk::new(
        &format!("{}{there}", source.config("passwords = \"here\"")),
        &format!("source,target\n{rows}"),
    );
    let passwords = |wrong: &[&str]| {
        let line =
            |name: &&str| format!("{name},canary-{}\n", if wrong.contains(name) { "wrong" } else { "right" });
        format!("mailbox,password\n{}", names.iter().map(line).collect::<String>())
    };
    desk.secret("here", &passwords(&["canary.bob", "canary.dan"]));
    desk.secret("there", &passwords(&["canary.cid", "canary.dan"]));
    let check = |more: &[&str]| said(&desk.path("."), &[&["check", "mailwave.toml"], more].concat());

    let told = check(&["--json"]);
    assert_eq!(told.code, 2, "{}", told.err);
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let failed = |mailbox: &serde_json::Value| {
        let failures = mailbox["failures"].as_array().unwrap();
        let ends = failures.iter().map(|f| f["end"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert!(failures.iter().all(|f| f["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty())));
        (mailbox["csv_line"].as_u64().unwrap(), ends.join(" "))
    };
    let all: Vec<(u64, String)> = json["mailboxes"].as_array().unwrap().iter().map(failed).collect();
    let each = [(2, ""), (3, "source"), (4, "target"), (5, "source target")];
    assert_eq!(all, each.map(|(line, ends)| (line, ends.to_owned())));
    assert_eq!(json["mailboxes"][0]["folders"], 1);

    let told = check(&[]);
    let failures = told.out.lines().filter(|line| line.starts_with("! ")).count();
    assert_eq!((told.code, failures), (2, 4), "{}", told.out);
    assert!(told.out.contains("(csv line 4), target: the server refused the login"), "{}", told.out);
    assert!(!told.out.contains("canary") && !told.err.contains("canary"), "{}{}", told.out, told.err);
    assert_eq!(check(&["--only", "line:2"]).code, 0);
    assert!(!desk.path("mailwave-ledger").exists(), "nothing was begun");
    assert_eq!(target.mock.store().messages("canary.ann", "INBOX").len(), 0);
}
