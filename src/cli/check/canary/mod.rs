//! `mailwave check --canary`: writes trial messages into a mailbox in every way the target knows, reads them back, tells
//! what each way keeps, and removes them again.

mod letters;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::talk::Talk;
use crate::cli::{Failure, wire};
use crate::config::Settings;
use crate::env::Env;
use crate::limit::Gate;
use crate::model::{
    Body, Error, Flags, FolderId, FolderPath, Form, Kind, MailboxKey, Outcome, Result, Scope, Stamp,
    StampPrefix, WriteMode,
};
use crate::report::{Align, table};
use crate::target::{CopyRef, FolderWanted, StoreItem, TargetFolderId, TargetMailbox};
use crate::verify::content::{self, Aspect};
use letters::Letter;

/// The folder they are put into.
const FOLDER: &str = "mailwave canary";
/// Waits before a copy is looked for by its stamp again, in seconds: new items may take a while to be found.
const LOOKS: [u64; 6] = [0, 1, 2, 5, 15, 30];

/// What one way of writing did with one canary.
struct Kept {
    letter: &'static str,
    way: String,
    /// How it fared.
    fate: Result<Fate>,
}

/// What became of one.
#[derive(Debug, Default)]
struct Fate {
    /// What differs from the original.
    differs: Vec<&'static str>,
    /// The received date is the one it was given.
    date: bool,
    /// Flags and keywords are those it was given.
    flags: bool,
    /// It was found by its stamp; `None`: copies carry none.
    found: Option<bool>,
}

impl Fate {
    /// The fewer the better.
    fn losses(&self) -> usize {
        let read = self.differs.iter().filter(|word| **word != Aspect::Octets.word()).count();
        read + usize::from(!self.date) * 3 + usize::from(!self.flags)
    }

    /// Does a run find this copy again, with the date users sort by?
    fn will_do(&self) -> bool {
        self.date && self.found != Some(false)
    }
}

/// Tries every way of every target of the plan in the mailbox named, a name as the target knows it.
pub(super) async fn run(
    env: &Env,
    settings: &Settings,
    endpoint: &str,
    mailbox: &str,
    talk: &Talk,
) -> Result<bool, Failure> {
    let limits = wire::borrowed_limits(env, settings, wire::borrower(env, settings));
    let mut all = Vec::new();
    for (way, target) in wire::ways(env, settings, endpoint)? {
        talk.say(&format!("{endpoint}: writing canaries ({way})"));
        let gate = limits.gate(endpoint, mailbox);
        let open = target.open(mailbox, "", gate.clone()).await.map_err(Failure::from)?;
        let trial = Trial { env, settings, way: &way, open: open.as_ref(), gate: &gate };
        let tried = each(&trial).await;
        open.release().await;
        all.extend(tried.map_err(Failure::from)?);
    }
    Ok(print(endpoint, &all, talk))
}

/// One way, and the mailbox it is tried in.
struct Trial<'a> {
    env: &'a Env,
    settings: &'a Settings,
    way: &'a str,
    open: &'a dyn TargetMailbox,
    gate: &'a Arc<Gate>,
}

async fn each(trial: &Trial<'_>) -> Result<Vec<Kept>> {
    let Trial { env, settings, way, open, .. } = *trial;
    let path = FolderPath::new(vec![FOLDER.to_owned()])
        .ok_or_else(|| Error::new(Kind::Internal, Scope::Run, "the canaries' folder has no name"))?;
    let folder = open.folder(&FolderWanted { path, special: None, subscribed: Some(false) }).await?;
    let epoch = u64::try_from(env.wall()).unwrap_or_default();
    let key = MailboxKey::of(&settings.source_name, "canary");
    let streams = way == WriteMode::ImportStream.word();
    let mut all = Vec::new();
    for (number, letter) in letters::all(env, open.capabilities().max_message_bytes).into_iter().enumerate() {
        let stamp = Stamp {
            source: settings.source_name.clone(),
            mailbox: key.clone(),
            folder: FolderId(1),
            epoch,
            number: number as u64 + 1,
        };
        let fate = if streams {
            streams::carry(trial, &folder, &letter, &stamp).await
        } else {
            carry(trial, &folder, &letter, &stamp).await
        };
        // What concerns the way and not the letter is told once.
        match fate {
            Err(error) if streams && all.is_empty() && streams::is_over(&error) => {
                all.push(Kept { letter: "(all)", way: way.to_owned(), fate: Err(error) });
                break;
            }
            fate => all.push(Kept { letter: letter.name, way: way.to_owned(), fate }),
        }
    }
    Ok(all)
}

/// Stores a letter, looks at its copy, and removes it.
async fn carry(trial: &Trial<'_>, folder: &TargetFolderId, letter: &Letter, stamp: &Stamp) -> Result<Fate> {
    let copy = store(trial, folder, letter, stamp, Form::Mime).await?;
    look_and_remove(trial, letter, stamp, copy).await
}

/// Stores a letter's octets.
async fn store(
    trial: &Trial<'_>,
    folder: &TargetFolderId,
    letter: &Letter,
    stamp: &Stamp,
    form: Form,
) -> Result<CopyRef> {
    let item = StoreItem {
        stamp: stamp.clone(),
        body: Body::from_bytes(letter.octets.clone()),
        form,
        flags: letter.flags.clone(),
        received: Some(letter.received),
    };
    let ticket = trial.gate.reserve(trial.open.cost(&[letter.octets.len() as u64])).await;
    match trial.open.store(folder, vec![item], ticket).await.into_iter().next() {
        Some(Outcome::Stored { id, .. }) => Ok(CopyRef { folder: folder.clone(), id }),
        Some(Outcome::Refused(e) | Outcome::NotSent(e) | Outcome::Unknown(e)) => Err(e),
        None => Err(Error::new(Kind::Internal, Scope::Mailbox, "the target told no outcome")),
    }
}

async fn look_and_remove(trial: &Trial<'_>, letter: &Letter, stamp: &Stamp, copy: CopyRef) -> Result<Fate> {
    let fate = look(trial.env, trial.open, letter, stamp, &copy).await;
    let removed = trial.open.remove(&[copy]).await.into_iter().next();
    fate.and_then(|fate| removed.unwrap_or(Ok(())).map(|()| fate))
}

async fn look(
    env: &Env,
    open: &dyn TargetMailbox,
    letter: &Letter,
    stamp: &Stamp,
    copy: &CopyRef,
) -> Result<Fate> {
    let back = open.read_back(copy).await?;
    let differs = match content::differences(&letter.octets, &back.octets) {
        Some(aspects) => aspects.into_iter().map(Aspect::word).collect(),
        None => vec!["unreadable"],
    };
    let date = back.received.is_some_and(|r| r.seconds == letter.received.seconds);
    let mut found = None;
    if open.capabilities().stamps {
        found = Some(false);
        for wait in LOOKS {
            env.sleep(Duration::from_secs(wait)).await;
            if open.find(&StampPrefix::exactly(stamp)).await?.iter().any(|c| c.complete) {
                found = Some(true);
                break;
            }
        }
    }
    Ok(Fate { differs, date, flags: same(&letter.flags, &back.flags), found })
}

/// The flags that users see.
fn same(given: &Flags, back: &Flags) -> bool {
    let words = |flags: &Flags| flags.keywords.iter().map(|k| k.to_ascii_lowercase()).collect::<Vec<_>>();
    (given.seen || given.draft, given.flagged, given.draft)
        == (back.seen || given.draft, back.flagged, back.draft)
        && words(given).iter().all(|word| words(back).contains(word))
}

/// Prints the table and the advice. `false`: a way lost a canary or none will do.
fn print(endpoint: &str, all: &[Kept], talk: &Talk) -> bool {
    let header = ["canary", "way", "date", "flags", "found", "differs in"].map(|title| (title, Align::Left));
    let word = |yes: bool| if yes { "kept" } else { "lost" }.to_owned();
    // Losses, and whether its copies will do; a way by which none arrived will not.
    let arrived = |way: &str| all.iter().any(|kept| kept.way == way && kept.fate.is_ok());
    let mut ways: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    let mut rows = Vec::new();
    for kept in all {
        let way = ways.entry(&kept.way).or_insert_with(|| (0, arrived(&kept.way)));
        let (date, flags, found, differs) = match &kept.fate {
            Ok(fate) => {
                way.0 += fate.losses();
                way.1 &= fate.will_do();
                let found = fate.found.map_or("-", |found| if found { "yes" } else { "no" }).to_owned();
                let differs =
                    if fate.differs.is_empty() { "nothing".to_owned() } else { fate.differs.join(", ") };
                (word(fate.date), word(fate.flags), found, differs)
            }
            Err(error) => {
                // One that is refused says nothing of the others.
                way.0 += 10;
                let none = || "-".to_owned();
                (none(), none(), none(), format!("not tried to the end: {error}"))
            }
        };
        rows.push(vec![kept.letter.to_owned(), kept.way.clone(), date, flags, found, differs]);
    }
    talk.data(&table(&header, &rows));
    // Streams go beside mail: they are a way of their own, and no choice between it and others.
    let streams = ways.remove(WriteMode::ImportStream.word()).map(|(_, will_do)| will_do);
    let mut order: Vec<(&str, (usize, bool))> = ways.into_iter().collect();
    order.sort_by_key(|(_, (losses, will_do))| (!will_do, *losses));
    let fine: Vec<&str> = order.iter().filter(|(_, (_, will_do))| *will_do).map(|(way, _)| *way).collect();
    if fine.is_empty() {
        talk.say(&format!("{endpoint}: no way of writing keeps dates and can be looked up; see the table"));
    } else {
        talk.say(&format!("{endpoint}: use {}, best first", fine.join(", ")));
    }
    for (way, _) in order.iter().filter(|(_, (_, will_do))| !will_do) {
        talk.say(&format!(
            "{endpoint}: do not use {way} here: dates are lost, or its copies are not found again"
        ));
    }
    match streams {
        Some(true) => talk.say(&format!("{endpoint}: import-stream takes what was exported as streams")),
        Some(false) => talk.say(&format!("{endpoint}: import-stream cannot be used here; see the table")),
        None => {}
    }
    talk.say(&format!(
        "the canaries were removed as users remove mail; the empty folder \"{FOLDER}\" may be deleted"
    ));
    !fine.is_empty()
}
