use super::*;
use crate::model::SpecialUse;
use proptest::prelude::*;

fn numbers() -> impl Strategy<Value = RunSet> {
    let many = prop::collection::btree_set(prop_oneof![9 => 0u64..400, 1 => any::<u64>()], 0..200);
    many.prop_map(|numbers| numbers.into_iter().collect())
}

prop_compose! {
    fn folder()(
        live in numbers(), more in numbers(), words in prop::collection::vec("[SRF]{0,2}( [a-z]{1,5})?", 1..4),
        kind in 0usize..3, texts in (".{0,40}", ".{0,9}", proptest::option::of(".{0,9}")),
        values: [u64; 7], plain: bool,
    ) -> Folder {
        let mut flags = FlagMap::default();
        live.iter().enumerate().for_each(|(i, n)| flags.set(n, &Flags::decode(&words[i % words.len()])));
        let done = if plain { without(first(&live), last(&live), &[]) } else {
            live.iter().chain(more.iter()).collect()
        };
        Folder {
            mailbox: 7,
            folder: 0,
            special: [None, Some(SpecialUse::Inbox), Some(SpecialUse::Flagged)][kind],
            object_id: texts.2,
            epoch: values[0],
            target_folder: texts.0,
            done,
            live: live.len(),
            flags,
            orphans: values[1],
            bytes: values[2],
            next_number: values[3],
            uidnext: values[4],
            modseq: values[5],
            messages: values[6],
            mark: texts.1,
            missing: plain,
        }
    }
}

prop_compose! {
    fn skip()(
        number: u64, name in ".{0,9}", kind in 0usize..2, detail in ".{0,30}", sized: bool,
        size in proptest::option::of(0..u64::MAX), received: Option<i64>,
    ) -> Skip {
        let reason = [SkipReason::TooLarge, SkipReason::Refused][kind];
        let detail = match size {
            Some(size) if sized => format!("{size}{detail}"),
            _ => detail,
        };
        Skip { number, name, reason, detail, size, received }
    }
}

prop_compose! {
    fn rest()(
        folders in prop::collection::btree_map(any::<u32>(), (folder(), prop::collection::vec(".{0,9}", 0..3)), 0..5),
        chains in prop::collection::btree_map(any::<u32>(), (any::<u32>(), any::<u64>(), any::<[u8; 32]>()), 0..5),
        skips in prop::collection::vec((any::<prop::sample::Index>(), skip()), 0..12),
    ) -> Rest {
        let ids: Vec<u32> = folders.keys().copied().collect();
        let mut skips: Vec<Exception> = skips
            .into_iter()
            .filter(|_| !ids.is_empty())
            .map(|(at, skip)| Exception { mailbox: 7, folder: *at.get(&ids), skip })
            .collect();
        skips.sort_by_key(|s| (s.folder, s.skip.number));
        skips.dedup_by_key(|s| (s.folder, s.skip.number));
        let mut all = Rest { skips, ..Rest::default() };
        for (id, (folder, names)) in folders {
            all.folders.push(Folder { folder: id, ..folder });
            all.names.push(NameRow { mailbox: 7, folder: id, names });
        }
        for (folder, (segment, offset, hash)) in chains {
            all.chains.push(Chain { mailbox: 7, folder, head: Head { segment, offset, hash } });
        }
        all
    }
}

proptest! {
    #[test]
    fn a_mailbox_at_rest_reads_back_as_it_was_packed(rest in rest()) {
        let (bytes, names) = (rest.encode().unwrap(), rest.encode_names().unwrap());
        let mut back = Rest::decode(7, &bytes).unwrap();
        back.names = Rest::decode_names(7, &names).unwrap();
        prop_assert_eq!(&back, &rest);
        prop_assert_eq!(skips_in(7, &bytes), Some(rest.skips));
        for chain in &rest.chains {
            prop_assert_eq!(head_in(&bytes, chain.folder), Some(Some(chain.head)));
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Rest::decode_names(1, &bytes);
        let with_version: Vec<u8> = std::iter::once(VERSION).chain(bytes.iter().copied()).collect();
        let _ = Rest::decode(1, &with_version);
        // As they are after unpacking too, where zstd would have stopped most.
        let mut streams: [&[u8]; STREAMS] = [&bytes; STREAMS];
        let _ = take_folders(1, &mut streams, &[]);
        let _ = take_chains(1, &mut bytes.as_slice());
        let mut streams: [&[u8]; STREAMS] = [&bytes; STREAMS];
        let _ = take_skips(1, &mut streams);
    }

    #[test]
    fn differences_are_undone(a: u64, b: u64) {
        prop_assert_eq!(undo(difference(a, b), b), a);
    }
}

#[test]
fn a_cut_anywhere_is_noticed() {
    let mut flags = FlagMap::default();
    (1..300u64)
        .filter(|n| n % 3 > 0)
        .for_each(|n| flags.set(n, &Flags { seen: n < 250, ..Flags::default() }));
    let folder = Folder {
        mailbox: 1,
        folder: 1,
        special: None,
        object_id: None,
        epoch: 9,
        target_folder: "AQMk".into(),
        done: without(1, 300, &[]),
        live: flags.numbers().len(),
        flags,
        orphans: 0,
        bytes: 1,
        next_number: 1,
        uidnext: 301,
        modseq: 0,
        messages: 200,
        mark: String::new(),
        missing: false,
    };
    let bytes = Rest { folders: vec![folder], ..Rest::default() }.encode().unwrap();
    for cut in 0..bytes.len() {
        assert_eq!(Rest::decode(1, &bytes[..cut]), None, "cut at {cut}");
    }
}
