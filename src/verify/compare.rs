//! What is on record and what is at the target, compared: two sets of stamps, or, where copies carry none, the ids on
//! record against what is there under them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::ledger::LedgerView;
use crate::model::{Error, FolderId, Kind, MailboxKey, Result, Scope, SourceName, Stamp, StampPrefix};
use crate::target::{CopyRef, TargetFolderId, TargetMailbox};

/// Findings kept of one mailbox; further ones are counted only.
const MOST_FINDINGS: usize = 10_000;

/// Copies looked at in one call.
const LOOK: usize = 2000;

/// How a copy compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sigil {
    /// `=`
    Equal,
    /// `-`
    Missing,
    /// `+`
    Extra,
    /// `*`
    Differs,
    /// `!`
    Error,
}

impl fmt::Display for Sigil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sigil::Equal => "=",
            Sigil::Missing => "-",
            Sigil::Extra => "+",
            Sigil::Differs => "*",
            Sigil::Error => "!",
        })
    }
}

impl serde::Serialize for Sigil {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What the ledger says should be there.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    mailbox: String,
    prefix: Option<StampPrefix>,
    copies: BTreeMap<Stamp, Place>,
    /// Stamps recorded more than once: a defect of the ledger.
    doubled: u64,
    /// Stamps of batches without a recorded outcome.
    open: BTreeSet<Stamp>,
    /// Stamps that had none for a while: a late copy may still come.
    watched: BTreeSet<Stamp>,
    folders: BTreeSet<FolderId>,
}

/// Where a copy is recorded.
#[derive(Debug, Clone)]
struct Place {
    folder: FolderId,
    /// The folder's id at the target, and the copy's.
    at: CopyRef,
}

impl Recorded {
    /// How many copies are recorded, in messages.
    pub fn len(&self) -> u64 {
        self.copies.len() as u64
    }

    /// Nothing recorded?
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }
}

/// A copy that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How it compares.
    pub sigil: Sigil,
    /// Its stamp: names the mailbox by its pseudonym, the folder and the message by numbers.
    pub stamp: String,
    /// What that means, one safe line.
    pub note: &'static str,
}

/// One folder's counts, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct FolderCheck {
    /// The folder's ordinal in the ledger; for copies that are not recorded, the one in their stamp.
    pub folder: u32,
    /// Recorded copies.
    pub recorded: u64,
    /// Of those, found complete.
    pub equal: u64,
    /// Of those, found in another folder of the target than recorded: the user files mail, nothing is wrong.
    pub elsewhere: u64,
    /// `-`
    pub missing: u64,
    /// `+`
    pub extra: u64,
    /// `*`
    pub differs: u64,
}

/// What a mailbox's check found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct MailboxCheck {
    /// The mailbox's pseudonym.
    pub mailbox: String,
    /// Copies recorded, in messages.
    pub recorded: u64,
    /// Complete copies at the target, twins included.
    pub at_target: u64,
    /// Its folders, by ordinal.
    pub folders: Vec<FolderCheck>,
    /// What is not equal, at most 10,000; by stamp.
    pub findings: Vec<Finding>,
    /// Findings that are not in the list.
    pub more_findings: u64,
}

impl MailboxCheck {
    /// Is everything as recorded?
    pub fn equal(&self) -> bool {
        self.findings.is_empty() && self.more_findings == 0
    }

    /// One folder's counts added up over all folders.
    pub fn total(&self) -> FolderCheck {
        self.folders.iter().fold(FolderCheck::default(), |sum, f| FolderCheck {
            folder: 0,
            recorded: sum.recorded + f.recorded,
            equal: sum.equal + f.equal,
            elsewhere: sum.elsewhere + f.elsewhere,
            missing: sum.missing + f.missing,
            extra: sum.extra + f.extra,
            differs: sum.differs + f.differs,
        })
    }
}

/// Reads what should be there from the ledger. `None`: the mailbox is not in the ledger yet.
///
/// # Errors
/// `Kind::Ledger`.
pub fn recorded(
    view: &dyn LedgerView,
    source: &SourceName,
    mailbox: &MailboxKey,
) -> Result<Option<Recorded>> {
    let Some(state) = view.state(mailbox)? else { return Ok(None) };
    let stamp = |folder, epoch, number| Stamp {
        source: source.clone(),
        mailbox: mailbox.clone(),
        folder,
        epoch,
        number,
    };
    let mut recorded = Recorded {
        mailbox: mailbox.to_string(),
        prefix: Some(StampPrefix::mailbox(source, mailbox)),
        ..Recorded::default()
    };
    for folder in &state.folders {
        recorded.folders.insert(folder.id);
        view.each_fact(mailbox, folder.id, &mut |fact| {
            let own = stamp(folder.id, fact.epoch, fact.number);
            let stamp = fact.bound.unwrap_or(own);
            let at = CopyRef { folder: TargetFolderId(folder.target_folder.clone()), id: fact.target_id };
            if recorded.copies.insert(stamp, Place { folder: folder.id, at }).is_some() {
                recorded.doubled += 1;
            }
        })?;
    }
    for batch in &state.open {
        recorded.open.extend(batch.items.iter().map(|item| stamp(batch.folder, batch.epoch, item.number)));
    }
    recorded.watched = state.watch.into_iter().map(|watch| watch.stamp).collect();
    Ok(Some(recorded))
}

/// How one copy differs.
type Difference = (Stamp, Sigil, &'static str);

/// Asks the target for every copy of the mailbox and compares. Where copies carry no stamp, it is asked for those on
/// record; what else is there cannot be told from its users' own mail.
///
/// # Errors
/// The target could not tell all of them; nothing is known then.
pub async fn compare(recorded: &Recorded, target: &dyn TargetMailbox) -> Result<MailboxCheck> {
    let mut folders: BTreeMap<FolderId, FolderCheck> = BTreeMap::new();
    for id in &recorded.folders {
        folders.entry(*id).or_default();
    }
    for place in recorded.copies.values() {
        folders.entry(place.folder).or_default().recorded += 1;
    }
    let mut check = MailboxCheck {
        mailbox: recorded.mailbox.clone(),
        recorded: recorded.len(),
        more_findings: recorded.doubled,
        ..MailboxCheck::default()
    };
    let mut findings = if target.capabilities().stamps {
        by_stamp(recorded, target, &mut check, &mut folders).await?
    } else {
        by_id(recorded, target, &mut check, &mut folders).await?
    };
    findings.sort();
    check.more_findings += findings.len().saturating_sub(MOST_FINDINGS) as u64;
    findings.truncate(MOST_FINDINGS);
    check.findings =
        findings.into_iter().map(|(s, sigil, note)| Finding { sigil, stamp: s.to_string(), note }).collect();
    check.folders = folders.into_iter().map(|(id, f)| FolderCheck { folder: id.0, ..f }).collect();
    Ok(check)
}

/// Looks at every copy on record by its id.
async fn by_id(
    recorded: &Recorded,
    target: &dyn TargetMailbox,
    check: &mut MailboxCheck,
    folders: &mut BTreeMap<FolderId, FolderCheck>,
) -> Result<Vec<Difference>> {
    let mut findings = Vec::new();
    // By place, so that one call asks for neighbours of one folder.
    let mut copies: Vec<(&Stamp, &Place)> = recorded.copies.iter().collect();
    copies.sort_by_key(|(_, place)| &place.at.folder);
    let mut taken: BTreeSet<&CopyRef> = BTreeSet::new();
    for of_folder in copies.chunk_by(|a, b| a.1.at.folder == b.1.at.folder) {
        for some in of_folder.chunks(LOOK) {
            let asked: Vec<CopyRef> =
                some.iter().map(|(_, p)| p.at.clone()).filter(|at| !at.id.is_empty()).collect();
            let mut flags = match target.look(&asked).await {
                Ok(flags) if flags.len() == asked.len() => flags.into_iter(),
                Ok(_) => {
                    return Err(Error::new(Kind::Internal, Scope::Mailbox, "the target's answer is short"));
                }
                // Numbered anew: none of these ids means anything.
                Err(e) if e.kind == Kind::Conflict && e.scope == Scope::Folder => Vec::new().into_iter(),
                Err(e) => return Err(e),
            };
            for (stamp, place) in some {
                let told = if place.at.id.is_empty() { None } else { flags.next().flatten() };
                let folder = folders.entry(place.folder).or_default();
                if told.is_none() {
                    folder.missing += 1;
                    let note = "recorded, but not where it was put: moved or deleted at the target, or lost";
                    findings.push(((*stamp).clone(), Sigil::Missing, note));
                } else if taken.insert(&place.at) {
                    folder.equal += 1;
                    check.at_target += 1;
                } else {
                    folder.differs += 1;
                    findings.push(((*stamp).clone(), Sigil::Differs, "shares its copy with another message"));
                }
            }
        }
    }
    for stamp in recorded.open.iter().filter(|s| !recorded.copies.contains_key(s)) {
        folders.entry(stamp.folder).or_default().differs += 1;
        findings.push((stamp.clone(), Sigil::Differs, "its outcome is not recorded yet; run again"));
    }
    Ok(findings)
}

/// Compares every stamp the target tells.
async fn by_stamp(
    recorded: &Recorded,
    target: &dyn TargetMailbox,
    check: &mut MailboxCheck,
    folders: &mut BTreeMap<FolderId, FolderCheck>,
) -> Result<Vec<Difference>> {
    let Some(prefix) = &recorded.prefix else { return Ok(Vec::new()) };
    let found = target.find(prefix).await?;
    let mut findings: Vec<Difference> = Vec::new();
    // A cut store may lie beside its complete successor: a complete copy decides, whatever order they come in.
    let mut seen: BTreeMap<Stamp, bool> = BTreeMap::new();
    for copy in found {
        let (at, place) = match recorded.copies.get(&copy.stamp) {
            Some(place) => (place.folder, Some(&place.at.folder)),
            None => (copy.stamp.folder, None),
        };
        let folder = folders.entry(at).or_default();
        if !copy.complete {
            folder.differs += 1;
            seen.entry(copy.stamp.clone()).or_insert(false);
            findings.push((
                copy.stamp,
                Sigil::Differs,
                "incomplete: a store was cut; run again to finish it",
            ));
            continue;
        }
        check.at_target += 1;
        match (place, seen.get(&copy.stamp)) {
            (_, Some(true)) => {
                folder.extra += 1;
                findings.push((copy.stamp, Sigil::Extra, "a second copy of one message"));
                continue;
            }
            (Some(place), _) => {
                folder.equal += 1;
                if *place != copy.folder {
                    folder.elsewhere += 1;
                }
            }
            (None, _) if recorded.open.contains(&copy.stamp) || recorded.watched.contains(&copy.stamp) => {
                folder.differs += 1;
                let note = "stored, but its outcome is not recorded yet; run again";
                findings.push((copy.stamp.clone(), Sigil::Differs, note));
            }
            (None, _) => {
                folder.extra += 1;
                findings.push((copy.stamp.clone(), Sigil::Extra, "not recorded in this ledger"));
            }
        }
        seen.insert(copy.stamp, true);
    }
    for (stamp, place) in &recorded.copies {
        if !seen.contains_key(stamp) {
            folders.entry(place.folder).or_default().missing += 1;
            findings.push((stamp.clone(), Sigil::Missing, "recorded, but not at the target"));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests;
