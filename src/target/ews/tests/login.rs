//! Who we are to the server, and whose mailbox is meant.

use super::*;

#[tokio::test]
async fn a_password_is_sent_once_the_server_has_asked_for_it_and_with_every_request_then() {
    let server = Server::default();
    let mailbox = server.open(|_| ()).await;
    server.says(tree(&[])).says(tree(&[]));
    mailbox.find(&StampPrefix::exactly(&stamp(1))).await.expect("nothing found");
    let sent: Vec<_> = server.asked().into_iter().map(|(authorization, ..)| authorization).collect();
    let basic = Some("Basic RVhcbWlncmF0b3I6c2VjcmV0".to_owned());
    assert_eq!(sent, [None, basic.clone(), basic.clone(), basic]);
    assert_eq!(mailbox.round_trips(), 4);
}

#[tokio::test]
async fn a_server_that_takes_no_passwords_never_sees_one() {
    let server = Server::default();
    server.then(|_| challenge("Negotiate, NTLM"));
    let gate = Gate::unlimited(&Env::system());
    let error =
        server.target(|_| ()).open("ann@example.org", "", gate).await.map(|_| ()).expect_err("no Basic");
    assert_eq!((error.kind, error.scope), (Kind::Auth, Scope::Endpoint));
    assert!(error.what.contains("Negotiate, NTLM") && !error.remedy.is_empty(), "{error}");
    assert!(server.asked().iter().all(|(authorization, ..)| authorization.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_not_tried_again_for_a_while_by_any_mailbox() {
    let server = Server::default();
    server.then(|_| challenge("Basic")).then(|_| challenge("Basic"));
    let target = server.target(|_| ());
    let gate = || Gate::unlimited(&Env::system());
    for mailbox in ["ann@example.org", "ben@example.org"] {
        let error = target.open(mailbox, "", gate()).await.map(|_| ()).expect_err("refused");
        assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Auth, Scope::Endpoint, false));
    }
    assert_eq!(server.asked().len(), 2, "one try");
    Env::system().sleep(Duration::from_secs(61)).await;
    server.says(roots());
    target.open("ann@example.org", "", gate()).await.map(|_| ()).expect("the password was put right");
}

#[tokio::test]
async fn an_impersonated_mailbox_is_named_in_head_and_header_and_any_other_in_its_folders() {
    let server = Server::default();
    server.open(|_| ()).await;
    let (_, anchor, body) = server.asked().remove(0);
    assert_eq!(anchor.as_deref(), Some("ann@example.org"));
    assert!(body.contains("<t:PrimarySmtpAddress>ann@example.org</t:PrimarySmtpAddress>"));
    assert!(body.contains("<t:RequestServerVersion Version=\"Exchange2013_SP1\"/>"));
    assert!(!body.contains("EmailAddress>ann@example.org</t:EmailAddress>"));

    let server = Server::default();
    server.open(|settings| settings.impersonation = false).await;
    let body = server.last();
    let own =
        "<t:DistinguishedFolderId Id=\"inbox\"><t:Mailbox><t:EmailAddress>ann@example.org</t:EmailAddress>";
    assert!(body.contains(own) && !body.contains("Impersonation"), "{body}");
}

#[tokio::test]
async fn a_mailbox_is_named_by_an_address_and_nothing_else() {
    let server = Server::default();
    let gate = || Gate::unlimited(&Env::system());
    let long = "a".repeat(1_001);
    for name in ["", "a\r\nX-Evil: b", "a\nb", "a\0b", "a\u{85}b", "a\u{ffff}b", &long] {
        let error = server.target(|_| ()).open(name, "", gate()).await.map(|_| ()).expect_err("no address");
        assert_eq!((error.kind, error.scope), (Kind::Config, Scope::Mailbox), "{name:?}");
    }
    server.says(roots());
    server.target(|_| ()).open("a<b>&c@example.org", "", gate()).await.map(|_| ()).expect("escaped");
    assert!(server.last().contains("a&lt;b&gt;&amp;c@example.org"));
}

#[tokio::test]
async fn a_mailbox_that_is_not_there_or_not_allowed_parks_itself_alone() {
    for (code, kind) in
        [("ErrorNonExistentMailbox", Kind::NotFound), ("ErrorImpersonateUserDenied", Kind::Denied)]
    {
        let server = Server::default();
        server.says(busy(1).replace("ErrorServerBusy", code));
        let gate = Gate::unlimited(&Env::system());
        let error = server
            .target(|_| ())
            .open("ann@example.org", "", gate)
            .await
            .map(|_| ())
            .expect_err("no mailbox");
        assert_eq!((error.kind, error.scope), (kind, Scope::Mailbox));
        assert!(!error.remedy.is_empty() && !error.to_string().contains("ann"));
    }
}

#[tokio::test]
async fn an_address_that_no_header_field_can_hold_is_named_in_the_envelope_alone() {
    for (name, anchored) in
        [("ann@example.org", true), ("änn@example.org", false), ("ann@bücher.example", false)]
    {
        let server = Server::default();
        server.says(roots());
        let gate = Gate::unlimited(&Env::system());
        server.target(|_| ()).open(name, "", gate).await.map(|_| ()).expect("opened");
        let (_, anchor, body) = server.asked().remove(0);
        assert_eq!(anchor.as_deref(), anchored.then_some(name));
        assert!(body.contains(&format!("<t:PrimarySmtpAddress>{name}</t:PrimarySmtpAddress>")), "{body}");
    }
}

#[test]
fn a_password_travels_over_tls_or_to_this_machine_only() {
    let login = || EwsLogin::Basic { user: "EX\\migrator".to_owned(), password: "secret".into() };
    let new = |url: &str, plain_http: bool| {
        let http = InProcess::new(&Env::system(), |_| async { Delivery::NoAnswer });
        let settings = EwsSettings { plain_http, ..EwsSettings::new(url, login()) };
        EwsTarget::new(&Env::system(), Arc::new(http), settings).map(|_| ()).map_err(|e| e.kind)
    };
    let url = "http://mail.example.org/EWS/Exchange.asmx";
    assert_eq!(new(url, false), Err(Kind::Config));
    assert_eq!(new(url, true), Ok(()), "by a test's own choice");
    assert_eq!(new("http://127.0.0.1:8080/EWS/Exchange.asmx", false), Ok(()));
    assert_eq!(new("https://mail.example.org/EWS/Exchange.asmx", false), Ok(()));
}

#[tokio::test]
async fn a_refused_token_names_what_the_server_offers_instead() {
    for (offer, word) in [("Negotiate, NTLM", "virtual directory"), ("Bearer realm=\"x\"", "audience")] {
        let server = Server::default();
        for _ in 0..3 {
            server.then(move |_| challenge(offer));
        }
        let script = server.clone();
        let target = server.target(|settings| {
            let secret = crate::guard::Secret {
                from: crate::guard::SecretFrom::Command(vec!["echo".to_owned(), "token".to_owned()]),
                place: "x".to_owned(),
            };
            let life = Duration::from_secs(3_600);
            settings.login = EwsLogin::Token(crate::http::oauth::TokenSettings::Command { secret, life });
        });
        let gate = Gate::unlimited(&Env::system());
        let error = target.open("ann@example.org", "", gate).await.map(|_| ()).expect_err("refused");
        assert_eq!(
            (error.kind, error.scope, error.may_pass()),
            (Kind::Auth, Scope::Endpoint, false),
            "{error}"
        );
        assert!(error.remedy.contains(word), "{error}");
        assert!(
            error.what.contains(offer.split(' ').next().expect("a word").trim_end_matches(',')),
            "{error}"
        );
        assert_eq!(script.asked().len(), 3);
        assert!(script.asked().iter().all(|(token, ..)| token.as_deref() == Some("Bearer token")));
    }
}
