use super::*;
use crate::ledger::{FactsCursor, FolderState, IntentItem, MailboxLine, MailboxState, OpenBatch, SkipLine};
use crate::limit::{Cost, Ticket};
use crate::model::{Fact, Flags, FolderPath, Outcome, SourceId};
use crate::target::{Copy, FolderWanted, StoreItem, TargetCapabilities};

/// Tells copies by stamp; by id, those that have one.
struct Told(Vec<Copy>, TargetCapabilities);

fn told(copies: Vec<Copy>, stamps: bool) -> Told {
    let can = TargetCapabilities {
        stamps,
        keeps_octets: true,
        keeps_received: true,
        keeps_keywords: true,
        moves: true,
        streams: false,
        max_message_bytes: 1,
        lanes: 1,
        batch_messages: 1,
        batch_bytes: 1,
        settles_within: std::time::Duration::ZERO,
    };
    Told(copies, can)
}

#[async_trait::async_trait]
impl TargetMailbox for Told {
    fn capabilities(&self) -> &TargetCapabilities {
        &self.1
    }
    async fn look(&self, copies: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        let one = |at: &CopyRef| self.0.iter().find(|c| c.to_ref() == *at).map(|c| c.flags.clone());
        Ok(copies.iter().map(one).collect())
    }
    fn identity(&self) -> &str {
        ""
    }
    fn cost(&self, _: &[u64]) -> Cost {
        Cost::default()
    }
    async fn folder(&self, _: &FolderWanted) -> Result<TargetFolderId> {
        unreachable!("verify writes nothing")
    }
    async fn rename_folder(&self, _: &TargetFolderId, _: &FolderWanted) -> Result<TargetFolderId> {
        unreachable!("verify writes nothing")
    }
    async fn store(&self, _: &TargetFolderId, _: Vec<StoreItem>, _: Ticket) -> Vec<Outcome> {
        unreachable!("verify writes nothing")
    }
    async fn find(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        Ok(self.0.iter().filter(|c| prefix.covers(&c.stamp)).cloned().collect())
    }
    async fn set_flags(&self, _: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        unreachable!("verify writes nothing")
    }
    async fn relocate(&self, _: &[CopyRef], _: &TargetFolderId) -> Vec<Result<String>> {
        unreachable!("verify writes nothing")
    }
    async fn remove(&self, _: &[CopyRef]) -> Vec<Result<(), Error>> {
        unreachable!("verify writes nothing")
    }
}

struct View(Vec<Fact>);

impl LedgerView for View {
    fn mailboxes(&self) -> Result<Vec<MailboxLine>> {
        Ok(Vec::new())
    }
    fn skips(&self) -> Result<Vec<SkipLine>> {
        Ok(Vec::new())
    }
    fn state(&self, _: &MailboxKey) -> Result<Option<MailboxState>> {
        let folder = FolderState {
            epoch: 7,
            target_folder: "inbox".into(),
            ..FolderState::blank(FolderId(1), FolderPath::inbox())
        };
        let open = OpenBatch {
            id: crate::ledger::BatchId(1),
            folder: FolderId(1),
            epoch: 7,
            since: 0,
            anchor: String::new(),
            items: vec![IntentItem { number: 50, id: SourceId::Number(50), size: None }],
        };
        Ok(Some(MailboxState { folders: vec![folder], open: vec![open], ..MailboxState::default() }))
    }
    fn facts_from(
        &self,
        _: &MailboxKey,
        _: FolderId,
        _: FactsCursor,
    ) -> Result<(Vec<Fact>, Option<FactsCursor>)> {
        Ok((self.0.clone(), None))
    }
}

fn source() -> SourceName {
    "acme".parse().expect("valid")
}

fn stamp(folder: u32, number: u64) -> Stamp {
    let mailbox = MailboxKey::of(&source(), "ann");
    Stamp { source: source(), mailbox, folder: FolderId(folder), epoch: 7, number }
}

fn fact(number: u64) -> Fact {
    Fact {
        epoch: 7,
        number,
        name: String::new(),
        target_id: String::new(),
        digest: None,
        size: 1,
        received: None,
        header: 0,
        object: 0,
        bound: None,
        losses: String::new(),
        mode: crate::model::WriteMode::Usual,
    }
}

fn copy(stamp: Stamp, folder: &str, complete: bool) -> Copy {
    Copy {
        stamp,
        id: String::new(),
        folder: TargetFolderId(folder.into()),
        complete,
        flags: Flags::default(),
        made: 0,
    }
}

async fn check(facts: Vec<Fact>, copies: Vec<Copy>) -> MailboxCheck {
    let key = MailboxKey::of(&source(), "ann");
    let recorded = recorded(&View(facts), &source(), &key).expect("readable").expect("known");
    compare(&recorded, &told(copies, true)).await.expect("told")
}

#[tokio::test]
async fn equal_sets_have_no_findings_wherever_the_user_filed_them() {
    let moved = Fact { bound: Some(stamp(9, 3)), ..fact(3) };
    let check = check(
        vec![fact(1), fact(2), moved],
        vec![
            copy(stamp(1, 1), "inbox", true),
            copy(stamp(1, 2), "filed", true),
            copy(stamp(9, 3), "inbox", true),
        ],
    )
    .await;
    assert!(check.equal(), "{:?}", check.findings);
    assert_eq!((check.recorded, check.at_target, check.total().elsewhere), (3, 3, 1));
}

#[tokio::test]
async fn each_kind_of_difference_has_its_sigil() {
    let check = check(
        vec![fact(1), fact(2), fact(3), fact(4)],
        vec![
            copy(stamp(1, 1), "inbox", true),
            copy(stamp(1, 1), "inbox", true),
            copy(stamp(1, 3), "inbox", false),
            copy(stamp(1, 4), "inbox", false),
            copy(stamp(1, 4), "inbox", true),
            copy(stamp(1, 50), "inbox", true),
            copy(stamp(2, 60), "inbox", true),
        ],
    )
    .await;
    let found: Vec<_> = check.findings.iter().map(|f| (f.sigil.to_string(), f.stamp.clone())).collect();
    let is = |sigil: &str, s: Stamp| (sigil.to_owned(), s.to_string());
    assert_eq!(
        found,
        [
            is("+", stamp(1, 1)),
            is("-", stamp(1, 2)),
            is("*", stamp(1, 3)),
            is("*", stamp(1, 4)),
            is("*", stamp(1, 50)),
            is("+", stamp(2, 60)),
        ]
    );
    let first = check.folders[0];
    assert_eq!((first.recorded, first.equal, first.missing, first.extra, first.differs), (4, 2, 1, 1, 3));
    assert_eq!(check.folders[1].extra, 1);
}

#[tokio::test]
async fn without_stamps_each_copy_is_looked_for_where_it_was_put() {
    let by_id = |number: u64, id: &str| Fact { target_id: id.to_owned(), ..fact(number) };
    let at = |folder: &str, id: &str| Copy { id: id.to_owned(), ..copy(stamp(9, 9), folder, true) };
    let facts = vec![by_id(1, "a"), by_id(2, "b"), by_id(3, "c"), by_id(4, "a"), by_id(5, "")];
    let there = vec![at("inbox", "a"), at("inbox", "b"), at("filed", "c")];
    let key = MailboxKey::of(&source(), "ann");
    let recorded = recorded(&View(facts), &source(), &key).expect("readable").expect("known");
    let check = compare(&recorded, &told(there, false)).await.expect("told");
    let found: Vec<_> = check.findings.iter().map(|f| (f.sigil.to_string(), f.stamp.clone())).collect();
    let is = |sigil: &str, number| (sigil.to_owned(), stamp(1, number).to_string());
    assert_eq!(found, [is("-", 3), is("*", 4), is("-", 5), is("*", 50)]);
    assert_eq!((check.recorded, check.at_target, check.total().equal), (5, 2, 2));
}
