//! Servers that cannot be logged in to, cannot be reached, or are not who they should be.

use std::net::TcpListener;

use mailwave::mock::imap::ImapOptions;

use super::desk::{Desk, Imap, MAILDIR_TARGET, mail};
use crate::support::dovecot::{Dovecot, Options};

/// What is said of a wrong password.
const REFUSED: &str = "2: the server refused the login: wrong name or password — check the mailbox's name and the password (master user: that the master may log in as this mailbox); it is tried once only, so that no account gets locked";

const ROWS: &str = "source,target\ncanary.ann,ann\ncanary.bob,bob\n";

#[test]
fn a_wrong_password_fails_its_mailbox_alone_and_once_it_is_right_the_next_run_completes() {
    let users = [("canary.ann", "canary-right"), ("canary.bob", "canary-too")];
    let imap = Imap::start(ImapOptions::default().with_users(users));
    imap.fill("canary.ann", "INBOX", 5);
    imap.fill("canary.bob", "INBOX", 5);
    let desk = Desk::new(&format!("{}{MAILDIR_TARGET}", imap.config("passwords = \"pw\"")), ROWS);
    desk.secret("pw", "mailbox,password\ncanary.ann,canary-wrong\ncanary.bob,canary-too\n");

    let ran = desk.run();
    ran.ended(2);
    assert_eq!(ran.errors(), [REFUSED]);
    assert_eq!((ran.count("stored"), ran.json["complete"].as_u64()), (5, Some(1)), "the other goes on");
    assert_eq!(ran.mailbox(3)["verdict"], "perfect");

    desk.secret("pw", "mailbox,password\ncanary.ann,canary-right\ncanary.bob,canary-too\n");
    let ran = desk.run();
    ran.ended(0);
    assert_eq!((ran.count("stored"), ran.count("already_there")), (5, 5));
    let five = |user: &str| (1..=5).map(|n| mail(user, n)).collect::<Vec<_>>();
    assert_eq!(desk.arrived("ann"), five("canary.ann"));
    assert_eq!(desk.arrived("bob"), five("canary.bob"));
}

#[test]
fn dovecot_refuses_a_wrong_password_and_the_other_mailbox_goes_on() {
    let Some(dovecot) = Dovecot::start() else { return };
    for user in ["user01", "user02"] {
        dovecot.client(user).append(&["INBOX"], &mail(user, 1), "\\Seen", None);
    }
    let source = format!(
        "[source.old]\nkind = \"imap\"\nhost = \"localhost\"\nport = {}\nca_file = \"{}\"\npasswords = \"pw\"\n",
        dovecot.tls_port,
        dovecot.ca_file.display()
    );
    let desk = Desk::new(&format!("{source}{MAILDIR_TARGET}"), "source,target\nuser01,ann\nuser02,bob\n");
    desk.secret("pw", "mailbox,password\nuser01,canary-wrong\nuser02,\"pa ss\"\"w\\rd2\"\n");
    let ran = desk.run();
    ran.ended(2);
    assert_eq!(ran.errors(), [REFUSED]);
    assert_eq!(desk.arrived("bob"), [mail("user02", 1)]);
    desk.secret("pw", "mailbox,password\nuser01,\"pa ss\"\"w\\rd1\"\nuser02,\"pa ss\"\"w\\rd2\"\n");
    desk.run().ended(0);
    assert_eq!((desk.arrived("ann").len(), desk.arrived("bob").len()), (1, 1));
}

#[test]
fn a_host_that_cannot_be_reached_fails_its_mailboxes_and_those_of_other_hosts_go_on() {
    let imap = Imap::start(ImapOptions::default());
    imap.fill("canary.bob", "INBOX", 5);
    // A port that was free a moment ago: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let login = "password = { file = \"pw\" }";
    let gone = format!(
        "[source.gone]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\n{login}\n"
    );
    let desk = Desk::new(
        &format!("{gone}{}{MAILDIR_TARGET}", imap.config(login)),
        "source,target,source_endpoint\ncanary.ann,ann,gone\ncanary.bob,bob,old\n",
    );
    desk.secret("pw", "canary-password\n");
    let ran = desk.run();
    ran.ended(2);
    assert_eq!(
        ran.errors(),
        [format!(
            "2: 127.0.0.1:{port}: the host refuses connections on this port — check `port`, and that the server runs"
        )]
    );
    assert_eq!(ran.mailbox(3)["verdict"], "perfect");
    assert_eq!(desk.arrived("bob").len(), 5);
    assert!(desk.arrived("ann").is_empty());
}

#[test]
fn an_expired_certificate_is_refused_before_any_password_is_sent() {
    let Some(dovecot) = Dovecot::with(&Options { expired_certificate: true, ..Options::default() }) else {
        return;
    };
    let login = "master_user = \"master\"\npassword = { file = \"pw\" }\n";
    let endpoint = |name: &str, port: u16, tls: &str| {
        format!(
            "[source.{name}]\nkind = \"imap\"\nhost = \"localhost\"\nport = {port}\ntls = \"{tls}\"\nca_file = \"{}\"\n{login}",
            dovecot.ca_file.display()
        )
    };
    let desk = Desk::new(
        &format!(
            "{}{}{MAILDIR_TARGET}",
            endpoint("implicit", dovecot.tls_port, "implicit"),
            endpoint("starttls", dovecot.plain_port, "starttls")
        ),
        "source,target,source_endpoint\nuser01,ann,implicit\nuser02,bob,starttls\n",
    );
    desk.secret("pw", "canary-master\n");
    let ran = desk.run();
    ran.ended(2);
    let told = "the server's certificate has expired — renew it on the server; if it is issued by your own authority, `ca_file` must name the one that signed the new one";
    let (first, second) = (dovecot.tls_port, dovecot.plain_port);
    assert_eq!(
        ran.errors(),
        [format!("2: localhost:{first}: {told}"), format!("3: localhost:{second}: {told}")]
    );
    assert!(!dovecot.log().contains("auth failed"), "no password was tried: {}", dovecot.log());
    assert!(desk.arrived("ann").is_empty() && desk.arrived("bob").is_empty());
}
