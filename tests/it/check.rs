//! What `mailwave check` tells of targets, in words and in JSON: rights, rooms, and what to do where something is missing.

use std::sync::Arc;

use mailwave::env::Env;
use mailwave::limit::Gate;
use mailwave::mock::ews::{EwsOptions, Sizes};
use mailwave::mock::graph::{GraphOptions, UnknownMailbox};
use mailwave::target::imap::ImapTarget;
use mailwave::target::{Room, Target, Told};
use serde_json::{Value, json};

use crate::bad_input::desk::{Desk, Graph, MAILDIR_SOURCE, MAILDIR_TARGET};
use crate::cli::said;
use crate::contract_target::ews::EwsHarness;
use crate::imap_target::{USER, settings};
use crate::support::dovecot::{Dovecot, Options};

fn address(name: &str) -> String {
    format!("{name}@canary.example")
}

/// `check --json`, and its exit code.
fn check(desk: &Desk, more: &[&str]) -> (Value, i32, String) {
    let said = said(&desk.path(""), &[&["check", "mailwave.toml", "--json"], more].concat());
    assert!(!said.out.to_lowercase().contains("canary") && !said.err.to_lowercase().contains("canary"));
    (serde_json::from_str(&said.out).unwrap(), said.code, said.err)
}

fn graph_desk(graph: &Graph, names: &[&str]) -> Desk {
    let rows: String = names.iter().map(|n| format!("canary.{n},{}\n", address(n))).collect();
    let desk = Desk::graph(graph, &format!("source,target\n{rows}"));
    for name in names {
        desk.fill(&format!("canary.{name}"), 2);
    }
    desk
}

const OUTSIDE: &str = "the token holds the permission, so a policy keeps the app out of this mailbox: in Exchange Online \
                       PowerShell `Test-ApplicationAccessPolicy -AppId mover -Identity MAILBOX` and \
                       `Test-ServicePrincipalAuthorization -Identity mover -Resource MAILBOX` tell which; widen it, or \
                       replace it by `New-ManagementRoleAssignment -App OBJECT_ID -Role \"Application Mail.ReadWrite\" \
                       -CustomResourceScope SCOPE`, with a scope that holds the mailbox";
const NOT_GRANTED: &str = "the mailbox is outside of what the app may enter, or it was granted nothing: in Exchange Online \
                           PowerShell `Test-ServicePrincipalAuthorization -Identity mover -Resource MAILBOX` tells; grant it \
                           with `New-ManagementRoleAssignment -App OBJECT_ID -Role \"Application Mail.ReadWrite\" \
                           -CustomResourceScope SCOPE`, with a scope that holds the mailbox (or Mail.ReadWrite for all \
                           mailboxes in Entra, with admin consent)";
const NOT_HERE: &str = "the user is known, the mailbox is not in Exchange Online: it is still on premises, inactive, \
                        soft-deleted or without a licence; license or enable it, or give it a target of kind \"ews\" where \
                        it is";
const NOBODY: &str = "no mailbox of this name: check the target address in the list, and that the user is provisioned and \
                      licensed";

#[test]
fn every_reason_why_graph_lets_nobody_in_is_told_with_its_remedy() {
    let options = |unknown_mailbox, roles: Option<&[&str]>| GraphOptions {
        auto_provision: false,
        mailboxes: vec![address("ann"), address("cal")],
        forbidden: vec![address("cal")],
        unknown_mailbox,
        roles: roles.map(|all| all.iter().map(|r| (*r).to_owned()).collect()),
        ..GraphOptions::default()
    };
    let nobody = UnknownMailbox::ErrorInvalidUser;
    let elsewhere = UnknownMailbox::MailboxNotEnabledForRestApi;
    for (unknown, roles, remedies) in [
        (nobody, None, [NOBODY, OUTSIDE]),
        (elsewhere, Some(&["User.Read.All"][..]), [NOT_HERE, NOT_GRANTED]),
        (elsewhere, Some(&[][..]), [NOT_HERE, NOT_GRANTED]),
    ] {
        let graph = Graph::start(options(unknown, roles));
        let desk = graph_desk(&graph, &["ann", "bob", "cal"]);
        let (told, code, _) = check(&desk, &[]);
        assert_eq!((code, &told["failed"]), (2, &json!(2)), "{told}");
        let all = told["mailboxes"].as_array().unwrap();
        let ann = &all[0]["target"];
        assert_eq!((&ann["opened"], &ann["endpoint"]), (&json!(true), &json!("new")), "{told}");
        assert!(ann["folders"].as_u64().unwrap() >= 5, "the well-known ones at least: {ann}");
        assert_eq!((&ann["room"], &ann["fits"]), (&Value::Null, &Value::Null), "never guessed");
        assert!(ann["room_unknown"].as_str().unwrap().contains("Get-Mailbox MAILBOX"), "{ann}");
        let token = json!({"obtained": true, "tenant": null, "app": "mover", "permissions": match roles {
            None => json!(["Mail.ReadWrite"]),
            Some([]) => Value::Null,
            Some(roles) => json!(roles),
        }});
        for (mailbox, remedy) in all[1..].iter().zip(remedies) {
            assert_eq!(mailbox["target"]["token"], token);
            assert_eq!(mailbox["target"]["opened"], false);
            assert_eq!(mailbox["failures"][0]["end"], "target");
            assert_eq!(mailbox["failures"][0]["remedy"], remedy);
        }
        assert_eq!(graph.mock.writes(), 0, "nothing was written");
    }
}

#[test]
fn an_app_that_gets_no_token_is_told_once_for_each_mailbox_and_nothing_else_is_asked() {
    let graph = Graph::start(GraphOptions::default());
    let desk = graph_desk(&graph, &["ann"]);
    desk.secret("app-secret", "canary-wrong");
    let (told, code, _) = check(&desk, &[]);
    assert_eq!(code, 2);
    let ann = &told["mailboxes"][0];
    assert_eq!(ann["target"]["token"]["obtained"], false, "{told}");
    assert_eq!(ann["target"]["folders_unknown"], "the mailbox was not opened");
    assert_eq!(
        (&ann["failures"][0]["what"], &ann["failures"][0]["remedy"]),
        (
            &json!("the token endpoint refused the app (HTTP 401 invalid_client)"),
            &json!("check tenant, client id, secret or refresh token (has it expired?) and scope")
        )
    );
    assert_eq!(told["permissions"], json!([]));
}

#[test]
fn the_permissions_each_mode_needs_now_and_later_are_held_against_the_token() {
    for (advanced, named) in [(false, "no"), (true, "yes")] {
        let graph = Graph::start(GraphOptions { mail_advanced: advanced, ..GraphOptions::default() });
        let desk = graph_desk(&graph, &["ann", "bob"]);
        let config = std::fs::read_to_string(desk.path("mailwave.toml")).unwrap();
        std::fs::write(desk.path("mailwave.toml"), format!("{config}modes = [\"import-mime\", \"json\"]\n"))
            .unwrap();
        let (told, code, _) = check(&desk, &[]);
        assert_eq!(code, 0, "a permission that is missing fails nothing: {told}");
        let [mime, json] = &told["permissions"].as_array().unwrap()[..] else { panic!("two modes: {told}") };
        assert_eq!((&mime["mode"], &json["mode"]), (&json!("import-mime"), &json!("json")));
        assert_eq!((&mime["mailboxes"], &mime["app"]), (&json!(2), &json!("mover")));
        assert_eq!(json["advice"], Value::Null, "{json}");
        let needs = json!([
            {"permission": "Mail.ReadWrite", "in_token": true},
            {"permission": "Mail-Advanced.ReadWrite.All", "in_token": advanced},
        ]);
        assert_eq!(mime["needs"], needs);
        assert_eq!(mime["advice"].is_null(), advanced, "{mime}");
        let text = said(&desk.path(""), &["check", "mailwave.toml"]);
        let row = text.out.lines().find(|line| line.contains("Mail-Advanced")).expect("a row");
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["import-mime", "new", "mover", "Mail-Advanced.ReadWrite.All", named]);
        for line in [
            "from 2026-12-31 on, import-mime needs Mail-Advanced.ReadWrite.All now and then",
            "from 2026-12-31 on, json works without Mail-Advanced.ReadWrite.All: copies get only flags, categories, \
             attachments and a property of our own after their creation, and the announcement names none of these",
            "new: a token was obtained (app mover, tenant not named in it)",
        ] {
            assert!(text.err.contains(line), "{line}\n{}", text.err);
        }
    }
}

#[test]
fn a_sample_is_the_same_for_a_seed_and_another_for_another() {
    let names: Vec<String> = (0..30).map(|n| format!("canary.{n}")).collect();
    let rows: String = names.iter().map(|n| format!("{n},{n}\n")).collect();
    let desk = Desk::files(&format!("source,target\n{rows}"));
    for name in &names {
        desk.fill(name, 1);
    }
    let lines = |more: &[&str]| -> Vec<u64> {
        let (told, code, _) = check(&desk, more);
        assert_eq!(code, 0, "{told}");
        let seed = more.last().and_then(|n| n.parse::<u64>().ok()).unwrap();
        assert_eq!(told["sample"], json!({"of": 30, "taken": 7, "seed": seed}));
        told["mailboxes"].as_array().unwrap().iter().map(|m| m["csv_line"].as_u64().unwrap()).collect()
    };
    let (one, again) = (lines(&["--sample", "7", "--seed", "1"]), lines(&["--sample", "7", "--seed", "1"]));
    assert_eq!(one, again);
    assert_eq!(one.len(), 7);
    assert!(one.is_sorted(), "in the order of the list: {one:?}");
    assert_ne!(one, lines(&["--sample", "7", "--seed", "2"]));
    let (all, _, _) = check(&desk, &["--sample", "99"]);
    assert_eq!(all["mailboxes"].as_array().unwrap().len(), 30);
    assert_eq!(check(&desk, &[]).0["sample"], Value::Null);
    let said = said(&desk.path(""), &["check", "mailwave.toml", "--sample", "7"]);
    assert!(said.err.contains("only 7 of 30 mailboxes were looked at (a sample, seed 1)"), "{}", said.err);
}

#[test]
fn a_maildir_target_has_the_room_of_its_disk() {
    let desk = Desk::new(&format!("{MAILDIR_SOURCE}{MAILDIR_TARGET}"), "source,target\ncanary.a,canary.a\n");
    desk.fill("canary.a", 1);
    let (told, code, _) = check(&desk, &["--inventory"]);
    assert_eq!(code, 0, "{told}");
    let target = &told["mailboxes"][0]["target"];
    assert_eq!((&target["token"], &target["room"]["shared"]), (&Value::Null, &json!(true)), "{target}");
    assert!(target["room"]["free"].as_u64().unwrap() > 0);
    assert_eq!(target["fits"], Value::Null, "a disk is no mailbox's own");
}

#[test]
fn a_quota_that_is_too_small_for_what_the_source_holds_is_told() {
    let options = Options { quota: Some(3_000), ..Options::default() };
    let Some(dovecot) = Dovecot::with(&options) else { return };
    let (user, password) = dovecot.users[0].clone();
    let desk = Desk::new("", "source,target\na,a\n");
    desk.secret("pw", &format!("{password}\n"));
    let target = format!(
        "[target.new]\nkind = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\npassword = {{ file = \"pw\" }}\n",
        dovecot.plain_port
    );
    desk.configure(&format!("{MAILDIR_SOURCE}{target}"), &format!("source,target\nann,{user}\n"));
    desk.fill("ann", 1);
    let (told, code, _) = check(&desk, &["--inventory"]);
    assert_eq!(code, 0, "{told}");
    // The server rounds up to its unit.
    let room = json!({"limit": 3072, "used": 0, "free": 3072, "shared": false});
    assert_eq!(
        (&told["mailboxes"][0]["target"]["room"], &told["mailboxes"][0]["target"]["fits"]),
        (&room, &json!(true))
    );
    desk.fill("ann", 20);
    let (told, _, _) = check(&desk, &["--inventory"]);
    assert_eq!(told["mailboxes"][0]["target"]["fits"], false, "{told}");
    let said = said(&desk.path(""), &["check", "mailwave.toml", "--inventory"]);
    let line = said.out.lines().find(|line| line.starts_with("! ")).unwrap_or_else(|| panic!("{}", said.out));
    assert!(line.contains("(csv line 2): the source holds "), "{line}");
    assert!(
        line.ends_with(
            "the target mailbox has 3.1 kB left of 3.1 kB; what was moved before counts twice here. Enlarge the mailbox or \
             its plan, or give it an archive"
        ),
        "{line}"
    );
}

#[tokio::test]
async fn a_server_without_quotas_tells_no_room() {
    let Some(dovecot) = Dovecot::start() else { return };
    let env = Env::system();
    let target = ImapTarget::new(env.clone(), settings(&dovecot)).expect("settings");
    let told = target.probe(USER, Gate::unlimited(&env)).await;
    assert_eq!(told.opened, Ok(()));
    assert!(told.folders.yes().is_some_and(|n| *n >= 1), "{told:?}");
    assert!(matches!(told.room, Told::No(why) if why.contains("RFC 9208")), "{told:?}");
    let nobody = target.probe("nobody", Gate::unlimited(&env)).await;
    assert!(nobody.opened.is_err());
}

#[tokio::test]
async fn exchange_tells_its_version_its_folders_and_its_quota_where_it_shows_one() {
    for (tells, token) in [(true, false), (false, true)] {
        let sizes = Sizes { mailbox: 1 << 20, ..Sizes::default() };
        let options = EwsOptions { tells_quota: tells, sizes, ..EwsOptions::default() };
        let harness = EwsHarness::in_process(options, token);
        let target: Arc<dyn Target> = harness.with(harness.settings());
        let told = target.probe("ann@example.org", Gate::unlimited(&Env::system())).await;
        assert_eq!(told.opened, Ok(()));
        assert_eq!(told.server.as_deref(), Some("Exchange 15.1.2507.39"));
        assert!(told.folders.yes().is_some_and(|n| *n >= 10), "{told:?}");
        if tells {
            assert_eq!(told.room, Told::Yes(Room { limit: Some(1 << 20), used: Some(0), shared: false }));
            assert_eq!(told.login, None, "no token is used");
        } else {
            assert!(
                matches!(told.room, Told::No(why) if why.contains("ProhibitSendReceiveQuota")),
                "{told:?}"
            );
            assert!(told.login.is_some_and(|login| login.is_ok()));
        }
        let violations = harness.mock.truth().counters.violations;
        assert!(violations.is_empty(), "{violations:?}");
    }
}
