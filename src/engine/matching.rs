//! Which listed folder is which recorded folder: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use super::roll::Roll;
use crate::ledger::FolderState;
use crate::model::{Fact, FolderPath, SourceId};

/// A listed folder, as far as matching cares.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundFolder<'a> {
    /// Its place.
    pub path: &'a FolderPath,
    /// Its object id, if the source has one.
    pub object_id: Option<&'a str>,
}

/// What a listed folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// The recorded folder at this index, where it was.
    Same(usize),
    /// The recorded folder at this index, under another path.
    Renamed(usize),
    /// Never seen.
    New,
}

impl Match {
    /// The index of the recorded folder.
    pub fn recorded(self) -> Option<usize> {
        match self {
            Match::Same(k) | Match::Renamed(k) => Some(k),
            Match::New => None,
        }
    }
}

/// Matches by object id, then by path. What is [`Match::New`] then may still be a renamed one: see [`by_content`].
pub(super) fn by_name(known: &[FolderState], found: &[FoundFolder<'_>]) -> Vec<Match> {
    let mut result = vec![Match::New; found.len()];
    let mut taken = BTreeSet::new();
    let matched = |f: usize, k: usize| {
        if known[k].path == *found[f].path { Match::Same(k) } else { Match::Renamed(k) }
    };
    for (f, folder) in found.iter().enumerate() {
        let by_id =
            folder.object_id.and_then(|id| known.iter().position(|k| k.object_id.as_deref() == Some(id)));
        if let Some(k) = by_id.filter(|k| taken.insert(*k)) {
            result[f] = matched(f, k);
        }
    }
    for (f, folder) in found.iter().enumerate().filter(|(f, _)| result[*f] == Match::New).collect::<Vec<_>>()
    {
        // A folder deleted and made anew under its old path has another object id: it is another folder.
        let other_id = |state: &FolderState| {
            folder.object_id.is_some()
                && state.object_id.is_some()
                && folder.object_id != state.object_id.as_deref()
        };
        let by_path = known.iter().position(|state| state.path == *folder.path && !other_id(state));
        if let Some(k) = by_path.filter(|k| taken.insert(*k)) {
            result[f] = matched(f, k);
        }
    }
    result
}

/// Among what is left over on both sides: the one recorded folder of which there is proof that its messages are in
/// this listing. Without proof a folder is new: its messages are then recognised one by one, by digest.
pub(super) fn by_content(facts: &BTreeMap<usize, Vec<Fact>>, epoch: u64, listed: &Roll) -> Match {
    let mut proven = facts.iter().filter(|(_, facts)| holds_the_same(epoch, listed, facts));
    match (proven.next(), proven.next()) {
        (Some((k, _)), None) => Match::Renamed(*k),
        _ => Match::New,
    }
}

/// Candidates for a rename: recorded folders whose path is not listed any more.
pub(super) fn lost(known: &[FolderState], found: &[FoundFolder<'_>]) -> Vec<usize> {
    let gone = |state: &FolderState| {
        !found.iter().any(|f| {
            f.path == &state.path || (state.object_id.is_some() && f.object_id == state.object_id.as_deref())
        })
    };
    known.iter().enumerate().filter(|(_, s)| !s.missing && gone(s)).map(|(k, _)| k).collect()
}

/// Does the listing hold most of what the facts say, message by message, with nothing that contradicts? Numbers count
/// only in their own epoch and with fitting size and equal date: two folders of one second may share a UIDVALIDITY.
/// A file with LF lines is listed smaller than the message it gives, by one octet a line at most.
fn holds_the_same(epoch: u64, listed: &Roll, facts: &[Fact]) -> bool {
    if facts.is_empty() {
        return false;
    }
    let mut numbers = BTreeMap::new();
    let mut names = BTreeSet::new();
    for message in listed {
        match message.id {
            SourceId::Number(n) => {
                numbers.insert(n, (message.size, message.received));
            }
            SourceId::Name(name) => {
                names.insert(name);
            }
        }
    }
    let mut agree = 0usize;
    for fact in facts {
        if !fact.name.is_empty() {
            agree += usize::from(names.contains(&fact.name));
        } else if fact.epoch == epoch
            && epoch != 0
            && let Some((size, received)) = numbers.get(&fact.number)
        {
            let fits = |size: u64| size <= fact.size && fact.size <= size.saturating_mul(2);
            if !size.is_some_and(fits) || (fact.received.is_some() && *received != fact.received) {
                return false;
            }
            agree += 1;
        }
    }
    agree > 0 && agree * 2 > facts.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flags, FolderId, Listed};

    fn path(name: &str) -> FolderPath {
        FolderPath::new(vec![name.to_owned()]).expect("a name")
    }

    fn state(id: u32, name: &str, epoch: u64) -> FolderState {
        FolderState { epoch, ..FolderState::blank(FolderId(id), path(name)) }
    }

    fn fact(epoch: u64, number: u64, size: u64) -> Fact {
        Fact {
            epoch,
            number,
            name: String::new(),
            target_id: String::new(),
            digest: None,
            size,
            received: None,
            header: 0,
            object: 0,
            bound: None,
            losses: String::new(),
            mode: crate::model::WriteMode::Usual,
        }
    }

    fn listed(n: u64, size: u64) -> Listed {
        Listed {
            id: SourceId::Number(n),
            size: Some(size),
            received: None,
            flags: Flags::default(),
            object: 0,
        }
    }

    #[test]
    fn a_renamed_folder_is_recognised_by_its_messages_and_a_namesake_of_its_epoch_is_not() {
        let known = [state(1, "old", 5)];
        let facts = BTreeMap::from([(0, vec![fact(5, 1, 10), fact(5, 2, 20)])]);
        let new = path("new");
        for (sizes, expected) in [
            ([10, 20], Match::Renamed(0)),
            ([10, 19], Match::Renamed(0)),
            ([10, 9], Match::New),
            ([10, 21], Match::New),
        ] {
            let list = [listed(1, sizes[0]), listed(2, sizes[1]), listed(3, 5)].into_iter().collect();
            let found = [FoundFolder { path: &new, object_id: None }];
            assert_eq!((lost(&known, &found), by_name(&known, &found)), (vec![0], vec![Match::New]));
            assert_eq!(by_content(&facts, 5, &list), expected);
        }
    }

    #[test]
    fn an_object_id_beats_the_path() {
        let mut a = state(1, "a", 1);
        a.object_id = Some("x".into());
        let known = [a, state(2, "b", 2)];
        let (pa, pb) = (path("a"), path("b"));
        let found = [
            FoundFolder { path: &pa, object_id: Some("y") },
            FoundFolder { path: &pb, object_id: Some("x") },
        ];
        assert_eq!(by_name(&known, &found), [Match::New, Match::Renamed(0)]);
    }
}
