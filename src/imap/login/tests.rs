//! Logins against a scripted server.

use super::*;
use crate::imap::Security;
use crate::imap::script::{Script, close, connect, expect, line, on_a_runtime, send};

/// Logs in to a server of these capabilities that goes on as `script` says.
fn log_in(capabilities: &str, who: &Login<'_>, script: Vec<Script>) -> Result<bool> {
    log_in_on(capabilities, who, script, Terms::default())
}

fn log_in_on(capabilities: &str, who: &Login<'_>, script: Vec<Script>, terms: Terms<'_>) -> Result<bool> {
    let mut all = vec![
        send("* OK hello\r\n"),
        expect("CAPABILITY"),
        send(&format!("* CAPABILITY IMAP4rev1 {capabilities}\r\n$ OK done\r\n")),
    ];
    all.extend(script);
    on_a_runtime(async {
        let (connection, peer) = connect(Security::Plain, all).await;
        let mut connection = connection.expect("connected");
        let end = login(&mut connection, who, terms).await;
        let extended = connection.capabilities().has("NAMESPACE");
        drop(connection);
        peer.await.expect("the peer saw what it expected");
        end.map(|_| extended).map_err(|refused| refused.error)
    })
}

fn logged_in() -> Vec<Script> {
    vec![
        send("* 5 EXISTS\r\n$ OK [CAPABILITY IMAP4rev1] Logged in\r\n"),
        expect("CAPABILITY"),
        send("* CAPABILITY IMAP4rev1 NAMESPACE\r\n$ OK done\r\n"),
    ]
}

fn password<'a>(user: &'a str, password: &'a SecretString) -> Login<'a> {
    Login::Password { user, act_as: None, password }
}

#[test]
fn login_quotes_what_it_sends_and_asks_for_the_sessions_capabilities() {
    let secret = SecretString::from("p\"w\\d {5}");
    let mut script = vec![expect("LOGIN \"anna\" \"p\\\"w\\\\d {5}\"")];
    script.extend(logged_in());
    assert_eq!(log_in("", &password("anna", &secret), script), Ok(true));
}

#[test]
fn what_comes_right_behind_the_answer_is_not_lost() {
    let secret = SecretString::from("x");
    let script = vec![
        expect("LOGIN"),
        // The answer to a question not asked yet must not be dropped: it would be missing, or half of it.
        send("$ OK Logged in\r\n* 7 EXISTS\r\n* CAPABIL"),
        expect("CAPABILITY"),
        send("ITY IMAP4rev1 NAMESPACE\r\n$ OK done\r\n"),
    ];
    assert_eq!(log_in("", &password("anna", &secret), script), Ok(true));
}

#[test]
fn names_outside_ascii_go_as_literals() {
    let secret = SecretString::from("pä");
    let mut script = vec![
        expect("LOGIN {5}"),
        send("+ go on\r\n"),
        line("jürg {3}"),
        send("* 1 EXISTS\r\n+\r\n"),
        line("pä"),
    ];
    script.extend(logged_in());
    assert_eq!(log_in("", &password("jürg", &secret), script), Ok(true));
}

#[test]
fn a_refused_password_is_an_error_of_the_mailbox_and_tells_no_secret() {
    let secret = SecretString::from("hunter2");
    for answer in [
        "$ NO [AUTHENTICATIONFAILED] no such user anna@example.org hunter2\r\n",
        "$ NO wrong\r\n",
        "$ BAD what?\r\n",
    ] {
        let script = vec![expect("LOGIN"), send(answer)];
        let error = log_in("", &password("anna", &secret), script).expect_err(answer);
        assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Auth, Scope::Mailbox, false));
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && !text.contains("anna"), "{text}");
    }
    let script = vec![expect("LOGIN"), send("$ NO [UNAVAILABLE] backend is down\r\n")];
    assert!(log_in("", &password("anna", &secret), script).is_err_and(|e| e.may_pass()));
}

#[test]
fn a_login_that_ends_in_bye_silence_or_a_literal_is_no_login() {
    let secret = SecretString::from("x");
    for (answer, kind) in [
        ("* BYE too many\r\n", Kind::Unreachable),
        ("", Kind::Unreachable),
        ("* LIST () \"/\" {500000000}\r\n", Kind::Protocol),
        ("A99 OK Logged in\r\n", Kind::Unreachable),
    ] {
        let script = vec![expect("LOGIN"), send(answer), close()];
        let error = log_in("", &password("anna", &secret), script).expect_err(answer);
        assert_eq!(error.kind, kind, "{answer}");
        assert!(error.may_pass(), "{answer}");
    }
}

#[test]
fn logindisabled_is_honoured() {
    let secret = SecretString::from("x");
    let error = log_in("LOGINDISABLED", &password("anna", &secret), vec![]).expect_err("refused");
    assert_eq!((error.kind, error.scope), (Kind::Denied, Scope::Endpoint));
    let mut script = vec![expect("AUTHENTICATE PLAIN"), send("+ \r\n"), line("AGFubmEAeA==")];
    script.extend(logged_in());
    let end = log_in("LOGINDISABLED AUTH=PLAIN", &password("anna", &secret), script);
    assert_eq!(end, Ok(true));
}

#[test]
fn a_master_user_names_the_mailbox_as_authorisation_id() {
    let secret = SecretString::from("pw");
    let who = Login::Password { user: "master", act_as: Some("anna"), password: &secret };
    let mut script = vec![expect("AUTHENTICATE PLAIN YW5uYQBtYXN0ZXIAcHc=")];
    script.extend(logged_in());
    assert_eq!(log_in("AUTH=PLAIN SASL-IR", &who, script), Ok(true));
    let error = log_in("SASL-IR", &who, vec![]).expect_err("not offered");
    assert_eq!((error.kind, error.scope), (Kind::Denied, Scope::Endpoint));
    let script = vec![expect("AUTHENTICATE PLAIN"), send("$ NO [AUTHORIZATIONFAILED] no\r\n")];
    let error = log_in("AUTH=PLAIN SASL-IR", &who, script).expect_err("refused");
    assert!(error.kind == Kind::Auth && error.remedy.contains("master"));
}

#[test]
fn the_error_challenge_of_xoauth2_is_answered_by_an_empty_line() {
    let secret = SecretString::from("tok");
    let who = Login::Token { user: "anna", token: &secret };
    let initial = "dXNlcj1hbm5hAWF1dGg9QmVhcmVyIHRvawEB";
    for (offer, begin) in [
        ("AUTH=XOAUTH2 SASL-IR", vec![expect(&format!("AUTHENTICATE XOAUTH2 {initial}"))]),
        ("AUTH=XOAUTH2", vec![expect("AUTHENTICATE XOAUTH2"), send("+ \r\n"), line(initial)]),
    ] {
        let mut refused = begin.clone();
        refused.extend([
            send("+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"),
            line(""),
            send("$ NO [AUTHENTICATIONFAILED] bad token\r\n"),
        ]);
        let error = log_in(offer, &who, refused).expect_err("refused");
        assert_eq!(error.kind, Kind::Auth);
        let mut accepted = begin;
        accepted.extend(logged_in());
        assert_eq!(log_in(offer, &who, accepted), Ok(true));
    }
    let error = log_in("AUTH=PLAIN", &who, vec![]).expect_err("not offered");
    assert_eq!(error.kind, Kind::Denied);
}

#[test]
fn what_the_ok_tells_of_the_session_is_not_asked_again() {
    let secret = SecretString::from("x");
    let told = "IMAP4rev1 NAMESPACE UIDPLUS CONDSTORE";
    for end in [
        format!("$ OK [CAPABILITY {told}] Logged in\r\n"),
        format!("* CAPABILITY {told}\r\n$ OK Logged in\r\n"),
    ] {
        let script = vec![expect("AUTHENTICATE PLAIN"), send("+ \r\n"), line("AGFubmEAeA=="), send(&end)];
        assert_eq!(log_in("AUTH=PLAIN", &password("anna", &secret), script), Ok(true));
    }
    let script = vec![expect("LOGIN"), send(&format!("$ OK [CAPABILITY {told}] Logged in\r\n"))];
    assert_eq!(log_in("", &password("anna", &secret), script), Ok(true));
}

#[test]
fn the_best_mechanism_is_taken() {
    let secret = SecretString::from("x");
    let token = Login::Token { user: "anna", token: &secret };
    let no = || send("$ NO [UNAVAILABLE] later\r\n");
    for (offer, who, verb) in [
        ("AUTH=PLAIN AUTH=SCRAM-SHA-256", password("anna", &secret), "AUTHENTICATE SCRAM-SHA-256"),
        ("AUTH=PLAIN", password("anna", &secret), "AUTHENTICATE PLAIN"),
        ("AUTH=CRAM-MD5", password("anna", &secret), "LOGIN"),
        ("AUTH=XOAUTH2 AUTH=OAUTHBEARER", token, "AUTHENTICATE OAUTHBEARER"),
        ("AUTH=XOAUTH2", Login::Token { user: "anna", token: &secret }, "AUTHENTICATE XOAUTH2"),
    ] {
        let error = log_in(offer, &who, vec![expect(verb), no()]).expect_err(verb);
        assert!(error.may_pass(), "{error}");
    }
}

#[test]
fn scram_without_a_verifier_gives_way_to_plain_over_tls_only() {
    let secret = SecretString::from("x");
    let offer = "AUTH=PLAIN AUTH=SCRAM-SHA-256 SASL-IR";
    let refusal = vec![expect("AUTHENTICATE SCRAM-SHA-256 "), send("$ NO [AUTHENTICATIONFAILED] no\r\n")];
    let error = log_in(offer, &password("anna", &secret), refusal.clone()).expect_err("refused");
    assert!(error.kind == Kind::Auth && error.what.contains("nothing was sent in clear text"), "{error}");
    let mut script = refusal;
    script.push(expect("AUTHENTICATE PLAIN AGFubmEAeA=="));
    script.extend(logged_in());
    let terms = Terms { protected: true, ..Terms::default() };
    assert_eq!(log_in_on(offer, &password("anna", &secret), script, terms), Ok(true));
}

#[test]
fn a_challenge_that_makes_no_sense_is_aborted_and_nothing_else_is_sent() {
    let secret = SecretString::from("x");
    for challenge in ["+ !!!\r\n", "+ cj1mb28scz1BQUFBLGk9NDA5Ng==\r\n", "+\r\n"] {
        let script = vec![
            expect("AUTHENTICATE SCRAM-SHA-256 "),
            send(challenge),
            line("*"),
            send("$ BAD aborted\r\n"),
        ];
        let error = log_in("AUTH=SCRAM-SHA-256 SASL-IR", &password("anna", &secret), script);
        assert_eq!(error.expect_err(challenge).kind, Kind::Protocol, "{challenge}");
    }
}

#[test]
fn the_error_of_a_token_is_told_in_words_that_help() {
    let secret = SecretString::from("tok");
    let who = Login::Token { user: "a,b", token: &secret };
    for (json, word) in [
        (r#"{"status":"invalid_token","scope":"mail"}"#, "expired"),
        (r#"{"status":"insufficient_scope"}"#, "right"),
        ("not json hunter2", "expired"),
    ] {
        let script = vec![
            expect("AUTHENTICATE OAUTHBEARER bixhPWE9MkNiLAFhdXRoPUJlYXJlciB0b2sBAQ=="),
            send(&format!("+ {}\r\n", encodify::base64::STANDARD.encode(json))),
            line("AQ=="),
            send("$ NO [AUTHENTICATIONFAILED] a,b\r\n"),
        ];
        let error = log_in("AUTH=OAUTHBEARER SASL-IR", &who, script).expect_err("refused");
        assert!(error.kind == Kind::Auth && error.what.contains(word), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
