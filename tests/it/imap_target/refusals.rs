//! Refusals with a code, each of which means something else; and several messages refused at once.

use mailwave::model::{Kind, Outcome, Scope, Status};

use super::peer::Manner;
use super::peers::{ALL, desk, holds, some};

#[tokio::test]
async fn each_code_of_a_refusal_is_told_as_what_it_means() {
    let cases = [
        ("TRYCREATE", Kind::NotFound, Scope::Folder, Status::Permanent),
        ("OVERQUOTA", Kind::Quota, Scope::Mailbox, Status::Temporary),
        ("LIMIT", Kind::Throttled, Scope::Folder, Status::Throttled),
        ("TOOBIG", Kind::TooLarge, Scope::Message, Status::Permanent),
        ("UNAVAILABLE", Kind::Unreachable, Scope::Folder, Status::Temporary),
        ("INUSE", Kind::Unreachable, Scope::Folder, Status::Temporary),
    ];
    for offer in [ALL, "UIDPLUS"] {
        for (code, kind, scope, status) in cases {
            let manner = Manner::offering(offer).judging(move |_, _| Some(format!("NO [{code}] no")));
            let desk = desk(manner).await;
            let outcomes = desk.store(some(3)).await;
            assert_eq!(outcomes.len(), 3, "{code}");
            for outcome in &outcomes {
                let error = match outcome {
                    Outcome::Refused(error) => {
                        assert_eq!(code, "TOOBIG", "only the message itself is refused for good");
                        error
                    }
                    Outcome::NotSent(error) => error,
                    other => panic!("{code}: {other:?}"),
                };
                println!("{code}: {:?} {:?} {:?} {error}", error.kind, error.scope, error.status);
                assert_eq!((error.kind, error.scope, error.status), (kind, scope, status), "{code}: {error}");
                assert!(!error.what.is_empty() && !error.remedy.is_empty(), "{code}: {error:?}");
            }
            assert!(desk.peer.mail("INBOX").is_empty());
        }
    }
}

#[tokio::test]
async fn several_messages_refused_for_the_seventh_of_twenty_are_none_and_then_all_but_that_one() {
    let seventh = some(20)[6].body.bytes().expect("octets");
    let manner = Manner::offering(ALL).judging(move |_, mail| {
        mail.iter().any(|m| m.octets == seventh).then(|| "NO [CANNOT] not this one".to_owned())
    });
    let desk = desk(manner).await;
    let outcomes = desk.store(some(20)).await;
    let refused: Vec<usize> = (0..20).filter(|n| matches!(&outcomes[*n], Outcome::Refused(_))).collect();
    // 6 and 7 are twins.
    assert_eq!(refused, [5, 6], "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|o| matches!(o, Outcome::Stored { .. })).count(), 18);
    assert_eq!(desk.peer.mail("INBOX").len(), 18, "each of them once");
}

#[tokio::test]
async fn a_server_that_kept_a_part_of_what_it_refused_is_not_believed() {
    let manner = Manner {
        keeps_of_refused: 6,
        ..Manner::offering(ALL).judging(|_, mail| {
            (mail.len() > 1 && holds(mail, "Subject: 3\r")).then(|| "NO failed".to_owned())
        })
    };
    let desk = desk(manner).await;
    // As the engine does before each batch.
    let anchor = desk.mailbox.anchor(&desk.inbox).await.expect("an anchor");
    let outcomes = desk.store(some(20)).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Unknown(e) if e.may_pass())), "{outcomes:?}");
    assert_eq!(desk.peer.mail("INBOX").len(), 6, "nothing was sent again unlooked");
    let found = desk.mailbox.stored_since(&desk.inbox, &anchor, &mailwave::target::CopyIds::default()).await;
    assert_eq!(found.expect("a look").len(), 6, "what it kept is found");
}
