//! Target mailboxes that are not there, may not be entered, or are full.

use mailwave::mock::graph::{GraphOptions, Sizes, UnknownMailbox};

use super::desk::{Desk, Graph, mail};

#[test]
fn unknown_forbidden_and_full_mailboxes_fail_clearly_and_complete_once_repaired() {
    let address = |name: &str| format!("{name}@canary.example");
    let good = GraphOptions {
        auto_provision: false,
        mailboxes: ["ann", "bob", "cal", "dan"].map(address).to_vec(),
        ..GraphOptions::default()
    };
    let bad = GraphOptions {
        mailboxes: ["ann", "cal", "dan"].map(address).to_vec(),
        forbidden: vec![address("cal")],
        sizes: Sizes { mailbox: 200_000, ..Sizes::default() },
        ..good.clone()
    };
    let mut graph = Graph::start(bad);
    let rows: String = ["ann", "bob", "cal", "dan"].map(|n| format!("canary.{n},{}\n", address(n))).concat();
    let desk = Desk::graph(&graph, &format!("source,target\n{rows}"));
    for name in ["ann", "bob", "cal"] {
        desk.fill(&format!("canary.{name}"), 6);
    }
    for n in 1..=6 {
        let large = [mail("canary.dan", n), vec![b'x'; 60_000]].concat();
        desk.put("canary.dan", "", &format!("{n}.large"), &large);
    }

    let ran = desk.run();
    ran.ended(2);
    assert_eq!(
        ran.errors(),
        [
            "3: the target mailbox: the target answered HTTP 404 ErrorInvalidUser — check the target address and that the mailbox is provisioned and licensed",
            "4: the target mailbox: the target answered HTTP 403 ErrorAccessDenied — grant the app Mail.ReadWrite for this mailbox (role assignment and its scope)",
            "5: storing a message: the target answered HTTP 507 ErrorQuotaExceeded — enlarge the target mailbox or its plan, then run again"
        ]
    );
    assert_eq!(ran.mailbox(2)["verdict"], "perfect", "the others complete");
    assert_eq!(graph.messages(&address("ann")).len(), 6);
    let fitted = graph.messages(&address("dan")).len();
    assert!((1..6).contains(&fitted), "some fitted: {fitted}");

    graph.changed(good);
    let ran = desk.run();
    ran.ended(0);
    assert_eq!(ran.errors(), [""; 0]);
    for name in ["ann", "bob", "cal", "dan"] {
        assert_eq!(graph.messages(&address(name)).len(), 6, "{name}: once each");
    }
    let writes = graph.mock.writes();
    let again = desk.run();
    again.ended(0);
    assert_eq!((again.count("already_there"), graph.mock.writes()), (24, writes));
}

#[test]
fn a_mailbox_that_is_still_on_premises_is_told_as_one() {
    let options = GraphOptions {
        auto_provision: false,
        mailboxes: vec!["bob@canary.example".to_owned()],
        unknown_mailbox: UnknownMailbox::MailboxNotEnabledForRestApi,
        ..GraphOptions::default()
    };
    let graph = Graph::start(options);
    let rows = "source,target\ncanary.ann,ann@canary.example\ncanary.bob,bob@canary.example\n";
    let desk = Desk::graph(&graph, rows);
    desk.fill("canary.ann", 2);
    desk.fill("canary.bob", 2);
    let ran = desk.run();
    ran.ended(2);
    assert_eq!(
        ran.errors(),
        [
            "2: the target mailbox: the target answered HTTP 404 MailboxNotEnabledForRESTAPI — check the target address and that the mailbox is provisioned and licensed"
        ]
    );
    assert_eq!(graph.messages("bob@canary.example").len(), 2);
}

#[test]
fn an_app_secret_that_is_wrong_fails_every_mailbox_and_shows_none_of_it() {
    let graph = Graph::start(GraphOptions::default());
    let desk = Desk::graph(&graph, "source,target\ncanary.ann,ann@canary.example\n");
    desk.fill("canary.ann", 2);
    desk.secret("app-secret", "canary-wrong");
    let ran = desk.run();
    ran.ended(2);
    assert_eq!(
        ran.errors(),
        [
            "2: the token endpoint refused the app (HTTP 401 invalid_client) — check tenant, client id, secret or refresh token (has it expired?) and scope"
        ]
    );
    desk.secret("app-secret", "canary-app-secret");
    assert_eq!(desk.run().ended(0).count("stored"), 2);
}
