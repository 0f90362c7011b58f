//! Whole migrations, seen from outside: the built program with configuration files and lists, between a real Dovecot,
//! its Maildirs or mbox files and a Maildir tree or a mock Graph in another process. What arrived is compared with what
//! was made, message by message; then people change their mail, and another pass mirrors it; then a third writes
//! nothing. The source is never written.

pub mod arrived;
pub mod house;
mod mbox;
pub mod office;
pub mod works;

use arrived::{graph_holds, maildir_holds, snapshot};
use office::{Done, Office, Told};
use works::{Graph, Works, imap};

use crate::support::server::ImapServer;

const USERS: usize = 20;

#[test]
fn twenty_mailboxes_travel_from_a_real_dovecot_to_graph_and_changes_follow() {
    let Some(mut office) = Office::found(101, USERS, '/') else { return };
    let graph = Graph::start(true);
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (sources, rows) = imap(&office.dovecot.reach(), true, passwords.path());
    let works = Works::new(&format!("{sources}{}", graph.config()), &rows);

    let all = office.all();
    assert!(all.stored >= 5000, "{all:?}");
    let (told, files) = (office.told(), office.files());
    works.run(all, USERS, copies(&office));
    graph_holds(&office.mail, &graph.truth());
    untouched(&told, &office);
    assert!(files == office.files(), "no file of the source was renamed, moved or changed");
    touch(&office);

    let done = office.change();
    let told = office.told();
    works.run(done, USERS, copies(&office));
    graph_holds(&office.mail, &graph.truth());
    assert_eq!(recoverable(&graph), done.removed, "what was removed can be recovered");
    untouched(&told, &office);

    let writes = graph.truth().counters.writes();
    works.run(Done::default(), USERS, copies(&office));
    assert_eq!(graph.truth().counters.writes(), writes, "a third run writes nothing");
    let verified = works.verb("verify");
    assert_eq!(verified["exit_code"], 0, "{verified}");
    let status = works.verb("status");
    assert_eq!(status["totals"]["messages"], copies(&office), "{status}");
    let bytes: usize = office.messages().map(|m| m.octets.len()).sum();
    assert_eq!(status["totals"]["bytes"], bytes, "{status}");
    assert_eq!(graph.truth().counters.writes(), writes, "nor does a comparison");
}

#[test]
fn twenty_mailboxes_travel_from_a_real_dovecot_to_maildirs_octet_by_octet_and_changes_follow() {
    let Some(mut office) = Office::found(102, USERS, '.') else { return };
    let passwords = tempfile::tempdir().expect("a temporary folder");
    let (sources, rows) = imap(&office.dovecot.reach(), true, passwords.path());
    let target = "[target.files]\nkind = \"maildir\"\nroot = \"copies\"\n";
    let works = Works::new(&format!("{sources}{target}"), &rows);
    let root = works.path().join("copies");
    let holds = |office: &Office| {
        for (user, folders) in &office.mail {
            maildir_holds(user, &root.join(format!("{user}@target.example")), folders);
        }
    };

    let all = office.all();
    assert!(all.stored >= 5000, "{all:?}");
    let (told, files) = (office.told(), office.files());
    works.run(all, USERS, copies(&office));
    holds(&office);
    untouched(&told, &office);
    assert!(files == office.files(), "no file of the source was renamed, moved or changed");

    let done = office.change();
    works.run(done, USERS, copies(&office));
    holds(&office);
    let mut removed = 0;
    office::files(&root, &mut |path, _| {
        removed += u64::from(path.to_string_lossy().contains("/mailwave-removed/cur/"))
    });
    assert_eq!(removed, done.removed, "what was removed can be recovered");

    let before = snapshot(&root);
    works.run(Done::default(), USERS, copies(&office));
    assert!(snapshot(&root) == before, "a third run writes nothing");
    holds(&office);
}

#[test]
fn twenty_maildirs_of_a_real_dovecot_travel_to_graph_and_changes_follow() {
    let Some(mut office) = Office::found(103, USERS, '/') else { return };
    let graph = Graph::start(false);
    let home = office.dovecot.maildir("{mailbox}");
    // Numbered by the ledger, and by Dovecot itself.
    office.told();
    let root = format!("kind = \"maildir\"\nroot = \"{}\"\n", home.display());
    let sources = format!("[source.files]\n{root}[source.numbered]\n{root}numbers = \"uidlist\"\n");
    let mut rows = "source,target,source_endpoint\n".to_owned();
    for (user, endpoint) in office.mail.keys().zip(["files", "numbered"].into_iter().cycle()) {
        rows.push_str(&format!("{user},{user}@target.example,{endpoint}\n"));
    }
    let works = Works::new(&format!("{sources}{}", graph.config()), &rows);
    let source = home.parent().and_then(|p| p.parent()).expect("the mail's directory").to_owned();

    let before = snapshot(&source);
    works.run(office.all(), USERS, copies(&office));
    graph_holds(&office.mail, &graph.truth());
    assert!(snapshot(&source) == before, "no file of the source was written");

    let done = office.change();
    let before = snapshot(&source);
    works.run(done, USERS, copies(&office));
    graph_holds(&office.mail, &graph.truth());
    assert_eq!(recoverable(&graph), done.removed, "what was removed can be recovered");
    assert!(snapshot(&source) == before, "no file of the source was written");

    let writes = graph.truth().counters.writes();
    works.run(Done::default(), USERS, copies(&office));
    assert_eq!(graph.truth().counters.writes(), writes, "a third run writes nothing");
}

/// Copies that were removed so that they can be taken back.
fn recoverable(graph: &Graph) -> u64 {
    graph.truth().mailboxes.values().map(|m| m.recoverable.len() as u64).sum()
}

fn copies(office: &Office) -> usize {
    office.messages().count()
}

/// Flags, UIDs and what counts as new are as they were.
fn untouched(told: &Told, office: &Office) {
    for (place, now) in office.told() {
        assert_eq!(told[&place], now, "{place:?}");
    }
}

/// Shows that a source that is written would be noticed: whoever opens a folder to write moves its new messages.
fn touch(office: &Office) {
    let before = office.files();
    let user = office.mail.keys().next().expect("a user");
    let told = office.told();
    office.dovecot.client(user).uids(&["INBOX"]);
    assert!(office.files() != before, "the server moves new messages when a folder is opened to write");
    assert!(office.told() != told, "and counts them as seen");
}
