//! What is special with IMAP as Microsoft serves it.

use std::fs;

use mailwave::mock::imap::{Act, ImapOptions, Rule};

use super::{USER, Way};

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
