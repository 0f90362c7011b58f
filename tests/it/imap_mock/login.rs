//! Who gets in, and how.

use mailwave::mock::imap::{Greeting, ImapOptions};

use super::{Dialogue, mock_of};

#[tokio::test]
async fn passwords_masters_and_tokens_open_the_right_mailboxes() {
    let mut options = ImapOptions::default().with_users([("anna", "secret"), ("bert", "token")]);
    options.master = Some(("boss".to_owned(), "master".to_owned()));
    options.mechanisms = vec!["PLAIN".to_owned(), "XOAUTH2".to_owned()];
    let mock = mock_of(options);
    let plain = |text: &str| encodify::base64::STANDARD.encode(text);
    for (command, answer) in [
        ("LOGIN anna secret".to_owned(), "a OK"),
        ("LOGIN anna wrong".to_owned(), "a NO [AUTHENTICATIONFAILED]"),
        ("LOGIN carl secret".to_owned(), "a NO [AUTHENTICATIONFAILED]"),
        ("LOGIN \"anna*boss\" master".to_owned(), "a OK"),
        ("LOGIN \"anna*boss\" secret".to_owned(), "a NO"),
        (format!("AUTHENTICATE PLAIN {}", plain("\0anna\0secret")), "a OK"),
        (format!("AUTHENTICATE PLAIN {}", plain("bert\0boss\0master")), "a OK"),
        (format!("AUTHENTICATE PLAIN {}", plain("nobody\0boss\0master")), "a NO"),
        (format!("AUTHENTICATE PLAIN {}", plain("bert\0anna\0secret")), "a NO [AUTHORIZATIONFAILED]"),
        (format!("AUTHENTICATE PLAIN {}", plain("anna\0secret")), "a BAD"),
        ("AUTHENTICATE PLAIN !".to_owned(), "a BAD"),
        ("AUTHENTICATE CRAM-MD5".to_owned(), "a NO [CANNOT]"),
        (format!("AUTHENTICATE XOAUTH2 {}", plain("user=bert\x01auth=Bearer token\x01\x01")), "a OK"),
        (format!("AUTHENTICATE XOAUTH2 {}", plain("user=bert\x01auth=Bearer token\x01")), "a BAD"),
    ] {
        let mut d = Dialogue::open(&mock).await;
        d.expect(&format!("a {command}"), answer).await;
    }
    let mut d = Dialogue::open(&mock).await;
    d.say(b"a AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(d.line().await, "+ ");
    d.say(format!("{}\r\n", plain("\0anna\0secret"))).await;
    assert!(d.line().await.starts_with("a OK"));
    let mut d = Dialogue::open(&mock).await;
    d.say(format!("a AUTHENTICATE XOAUTH2 {}\r\n", plain("user=bert\x01auth=Bearer old\x01\x01"))).await;
    assert!(d.line().await.starts_with("+ eyJzdGF0dXMiOiI0MDAi"), "the reason comes as a challenge");
    d.say(b"\r\n").await;
    assert!(d.line().await.starts_with("a NO [AUTHENTICATIONFAILED]"));
    assert_eq!(mock.counters().logins, 6);
}

#[tokio::test]
async fn connections_of_one_user_are_limited_and_given_back() {
    let mock = mock_of(ImapOptions { max_connections_per_user: Some(2), ..ImapOptions::default() });
    let (_a, mut b) = (Dialogue::login(&mock).await, Dialogue::login(&mock).await);
    let mut c = Dialogue::open(&mock).await;
    c.expect("a LOGIN anna x", "a NO [UNAVAILABLE] Maximum number of connections").await;
    c.expect("b LOGIN bert x", "b OK").await;
    b.expect("c LOGOUT", "c OK").await;
    b.rest().await;
    Dialogue::login(&mock).await;
    assert_eq!(mock.counters().most_open, 3);
}

#[tokio::test]
async fn greetings_can_be_preauth_or_bye() {
    let mock =
        mock_of(ImapOptions { greeting: Greeting::Preauth("anna".to_owned()), ..ImapOptions::default() });
    let mut d = Dialogue::connect(&mock);
    assert!(d.line().await.starts_with("* PREAUTH"));
    d.expect("a EXAMINE INBOX", "a OK").await;
    let mock =
        mock_of(ImapOptions { greeting: Greeting::Bye("go away".to_owned()), ..ImapOptions::default() });
    assert_eq!(Dialogue::connect(&mock).rest().await, "* BYE go away\r\n");
}
