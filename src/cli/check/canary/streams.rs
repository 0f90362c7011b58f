//! Canaries as opaque streams: written by another way, exported, removed, imported again, and held against the first copy.

use super::letters::Letter;
use super::{Fate, Trial, look_and_remove, store};
use crate::model::{Error, Form, Kind, Result, Scope, Stamp};
use crate::target::{Exported, ReadBack, TargetFolderId};

/// Takes one letter through an export and an import.
pub(super) async fn carry(
    trial: &Trial<'_>,
    folder: &TargetFolderId,
    letter: &Letter,
    stamp: &Stamp,
) -> Result<Fate> {
    if !trial.open.capabilities().streams {
        // Nothing is sent; the refusal says what is missing.
        let nothing = Letter { octets: b"?".as_slice().into(), ..letter.clone() };
        let form = Form::Stream { class: "IPM.Note".to_owned() };
        store(trial, folder, &nothing, stamp, form).await?;
    }
    let first = store(trial, folder, letter, stamp, Form::Mime).await?;
    let back = trial.open.read_back(&first).await;
    let exported = trial.open.export(&first).await;
    let removed = trial.open.remove(&[first]).await.into_iter().next();
    let (back, exported): (ReadBack, Exported) = (back?, exported?);
    removed.unwrap_or(Ok(()))?;
    let stream = Letter { octets: exported.octets, ..letter.clone() };
    let copy = store(trial, folder, &stream, stamp, Form::Stream { class: exported.class }).await?;
    // What the other way lost is not this one's loss.
    let before = Letter {
        name: letter.name,
        octets: back.octets,
        flags: back.flags,
        received: back.received.unwrap_or(letter.received),
    };
    look_and_remove(trial, &before, stamp, copy).await
}

/// Does the error concern the way, and not one letter?
pub(super) fn is_over(error: &Error) -> bool {
    error.scope >= Scope::Mailbox && matches!(error.kind, Kind::Denied | Kind::NotFound)
}
